"""Cellpose's ``_seg.npy``: a dict with the label map, as its window saves and opens it.

Follows what Cellpose 3 and 4 write: ``masks`` numbered 1 to n without a gap, ``outlines`` the same
on the inner boundary, ``ismanual``, ``filename``, ``flows``, ``chan_choose``, ``diameter``, and
``colors`` for its window. The ids of the nuclei, which had to go, and what else Cellpose does not
have stand beside them. Files are read without running what may be in them (see `numpy_pickles`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.nuclei import check_labels
from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.annotation_file import LARGEST_ID, AnnotationFile, Stated, of_labels
from napari_nucleus.io.atomic import replacing
from napari_nucleus.io.formats.base import PLAIN, Export, Format, Keeps
from napari_nucleus.io.formats.label_tiff import read_label_file
from napari_nucleus.io.formats.members import (
    class_types,
    label_map,
    members_of,
    number_in,
    provenance_in,
    scheme_in,
)
from napari_nucleus.io.formats.numpy_pickles import LARGEST_FILE, holds_objects, load_dict
from napari_nucleus.io.results import SegmentationResult

__all__ = ["CELLPOSE", "read_cellpose", "write_cellpose"]

STRIP = 1024
"""Rows that are worked on at a time."""

ROOM = 2**26
"""Bytes of a file for all but its two maps."""


def write_cellpose(
    path: str | os.PathLike[str], result: SegmentationResult, export: Export = PLAIN
) -> None:
    """Write the label map of a result as Cellpose does.

    Raises
    ------
    AnnotationError
        If the file cannot be written, or the image is too large for the format.
    """
    n, (height, width) = len(result), result.shape
    dtype = np.uint16 if n < 2**16 - 1 else np.uint32
    if 2 * height * width * np.dtype(dtype).itemsize > LARGEST_FILE - ROOM:
        raise AnnotationError(
            f"{Path(path).name}: {width:,} x {height:,} pixels are more than a file of Cellpose's "
            "holds; nothing was written. Choose a label TIFF, or a region."
        )
    masks = label_map(result, export, numbered=True).astype(dtype)
    export.cancel.check()
    diameter = 2 * np.sqrt(np.median(result.table.areas) / np.pi) if n else np.nan
    colors = [result.scheme.color_of(int(c)) for c in result.class_ids]
    value = {
        "outlines": _outlines(masks),
        "masks": masks,
        "chan_choose": [0, 0],
        "ismanual": np.zeros(n, bool),
        "filename": export.stem,
        "flows": [],
        "diameter": float(diameter),
        "colors": np.array(colors, np.uint8).reshape(-1, 3),
        "ids": result.ids,
        "class_ids": class_types(result),
        "scores": result.scores,
        **members_of(result),
    }
    with replacing(path) as file:
        # Numpy saves a dict as the one object of an array.
        np.save(file, np.array(value, object), allow_pickle=True)


def _outlines(masks: NDArray[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
    """Return the masks where one of the four neighbours in the image is another, 0 elsewhere."""
    outlines = np.zeros_like(masks)
    for top in range(0, len(masks), STRIP):
        first = max(top - 1, 0)
        strip = masks[first : top + STRIP + 1]
        edge: NDArray[np.bool_] = np.zeros(strip.shape, bool)
        down, right = strip[1:] != strip[:-1], strip[:, 1:] != strip[:, :-1]
        edge[1:] |= down
        edge[:-1] |= down
        edge[:, 1:] |= right
        edge[:, :-1] |= right
        rows = slice(top - first, top - first + STRIP)
        outlines[top : top + STRIP] = strip[rows] * edge[rows]
    return outlines


def read_cellpose(path: Path) -> AnnotationFile:
    """Read the masks of a ``_seg.npy`` file; a plain label map of that name is read as one.

    Raises
    ------
    AnnotationError
        If there are no flat masks in it, or anything that could run a program.
    """
    name = path.name
    if not holds_objects(path) and path.stat().st_size:
        return read_label_file(path)
    value = load_dict(path)
    masks = value.get("masks")
    if not isinstance(masks, np.ndarray):
        raise AnnotationError(f"{name}: has no 'masks', so is no segmentation of Cellpose's.")
    labels = _flat(masks, name)
    n = int(labels.max(initial=0))
    notes: list[str] = []
    numbers = np.arange(1, n + 1) if n <= labels.size else np.unique(labels)
    ids = _ids(value, n, name, notes)
    if ids is not None:
        labels, numbers = np.append(0, ids)[labels], ids
    scheme = scheme_in(value.get("type_info"), name)
    classes = _column(value, "class_ids", n, "iu")
    scores = _column(value, "scores", n, "f")
    class_of_id: dict[int, str] = {}
    if scheme is not None and classes is not None:
        pairs = zip(numbers.tolist(), classes.tolist(), strict=True)
        class_of_id = {i: scheme.name_of(c) for i, c in pairs if scheme.by_id(c) is not None}
    score_of_id: dict[int, float] = {}
    if scores is not None:
        score_of_id = dict(zip(numbers.tolist(), scores.tolist(), strict=True))
    stated = Stated(
        scheme=scheme,
        mpp=number_in(value.get("mpp")),
        provenance=provenance_in(value.get("provenance")),
        notes=notes,
    )
    return of_labels(name, labels, stated, class_of_id, score_of_id)


def _flat(masks: NDArray, name: str) -> NDArray[np.integer]:
    """Return the one plane of masks as a label map; files of old begin with -1."""
    while masks.ndim > 2 and masks.shape[0] == 1:
        masks = masks[0]
    if masks.ndim != 2:
        raise AnnotationError(
            f"{name}: its masks have shape {masks.shape}; only single planes are read."
        )
    if masks.dtype.kind in "if" and masks.size and masks.min() == -1:
        masks = masks + 1
    return check_labels(masks, name)


def _column(
    value: Mapping[Any, Any], member: str, n: int, kinds: str
) -> NDArray[np.generic] | None:
    """Return what a member says of each of n nuclei, None where it does not."""
    column = value.get(member)
    fits = isinstance(column, np.ndarray) and column.shape == (n,) and column.dtype.kind in kinds
    return column if fits else None


def _ids(value: Mapping[Any, Any], n: int, name: str, notes: list[str]) -> NDArray[np.int64] | None:
    """Return the id of each of the masks 1 to n, where the file has them."""
    if "ids" not in value:
        return None
    ids = _column(value, "ids", n, "iu")
    if ids is not None:
        numbers = ids.astype(np.int64)
        within = ((numbers >= 1) & (numbers <= LARGEST_ID)).all()
        if within and len(np.unique(numbers)) == n:
            return numbers
    notes.append(f"{name}: its ids do not fit its masks, which were changed since; left out.")
    return None


CELLPOSE = Format(
    "cellpose",
    "Cellpose (_seg.npy)",
    "_seg.npy",
    Keeps(),
    write_cellpose,
    read_cellpose,
    note="The whole label map is held in memory; Cellpose numbers nuclei without gaps.",
)
"""Cellpose's file of masks."""
