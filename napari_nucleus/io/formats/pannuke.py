"""PanNuke's arrays: 256 px tiles, with a plane of instance ids for each of its five classes.

Follows the data set of that name (Gamper et al. 2020): ``masks.npy`` is ``(n, 256, 256, 6)``, the
planes are neoplastic, inflammatory, connective, dead, epithelial, and last the background, 1 where
there is no nucleus; ``images.npy`` is ``(n, 256, 256, 3)`` and ``types.npy`` the ``(n,)`` tissues.
Only tiles that may hold nuclei are written. Classes of other schemes go to the planes by
`napari_nucleus.core.schemes`; nuclei that have none there are in ``others.npy`` ``(n, 256, 256)``.

Tiles are cut straight through nuclei, whose pieces keep one id. ``index.json``, which is ours, says
where tiles lie and what the classes were, so that nuclei come back whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson
from numpy.typing import NDArray

from napari_nucleus.core.classes import PANNUKE, PANNUKE_CHANNELS
from napari_nucleus.core.geometry import Box, clip_box
from napari_nucleus.core.image import ImageSource
from napari_nucleus.core.label_runs import label_table
from napari_nucleus.core.nuclei import check_labels
from napari_nucleus.core.schemes import class_mapping, mapped_ids
from napari_nucleus.errors import AnnotationError, LabelsError
from napari_nucleus.io.annotation_file import AnnotationFile, Stated, of_masks, sized_as_nuclei
from napari_nucleus.io.atomic import replacing_folder
from napari_nucleus.io.formats.base import PLAIN, Export, Format, Keeps
from napari_nucleus.io.formats.json_files import load_json
from napari_nucleus.io.formats.label_tiff import read_label_file
from napari_nucleus.io.formats.members import (
    class_types,
    members_of,
    number_in,
    provenance_in,
    scheme_in,
    shape_in,
    whole_in,
)
from napari_nucleus.io.formats.steps import steps
from napari_nucleus.io.results import SegmentationResult

__all__ = ["PANNUKE_ARRAYS", "read_pannuke", "write_pannuke"]

TILE = 256

PLANES = len(PANNUKE_CHANNELS) + 1
"""Planes of a tile; the last is the background."""

OTHERS = len(PANNUKE_CHANNELS)
"""In place of a plane: nuclei of no class of PanNuke's."""

GLASS = 255
"""Value of pixels of tiles that lie outside of the image: empty glass."""

TISSUE = "unknown"

Piece = tuple[int, int, NDArray[np.bool_]]
"""Row and column at which a mask lies in the image, and the mask."""


def write_pannuke(
    path: str | os.PathLike[str], result: SegmentationResult, export: Export = PLAIN
) -> None:
    """Write the nuclei of an image, and the image where the export has it, as PanNuke's arrays.

    Parameters
    ----------
    path
        Folder to write; it is complete or as it was before.
    result
        The nuclei.
    export
        Without a source there is no ``images.npy``.

    Raises
    ------
    AnnotationError
        If the folder cannot be written.
    LabelsError
        If the image and the labels differ in size.
    CancelledError
        If it was cancelled.
    """
    source = export.source
    if source is not None and source.shape != result.shape:
        raise LabelsError(
            f"the labels have {result.shape[1]} x {result.shape[0]} pixels, the image "
            f"{source.shape[1]} x {source.shape[0]}."
        )
    corners = _corners_of_tiles(result)
    types = class_types(result)
    canonical = mapped_ids(types, class_mapping(result.scheme, PANNUKE))
    planes = np.where(canonical > 0, canonical - 1, OTHERS)
    shape = (len(corners), TILE, TILE)
    with replacing_folder(path) as folder, ExitStack() as stack:

        def array(name: str, *last: int, dtype: type = np.int32) -> BinaryIO:
            file = stack.enter_context(open(folder / name, "wb"))
            _write_header(file, (*shape, *last), np.dtype(dtype))
            return file

        masks = array("masks.npy", PLANES)
        others = array("others.npy") if (planes == OTHERS).any() else None
        images = None if source is None else array("images.npy", 3, dtype=np.uint8)
        for y, x in steps(export, corners, "tiles"):
            box = clip_box((y, x, y + TILE, x + TILE), result.shape)
            tile = _padded(result.read(box), 0)
            plane = np.full(tile.shape, -1)
            plane[tile > 0] = planes[np.searchsorted(result.ids, tile[tile > 0])]
            masks.write(_planes(tile, plane).tobytes())
            if others is not None:
                others.write(np.where(plane == OTHERS, tile, 0).astype(np.int32).tobytes())
            if images is not None and source is not None:
                images.write(_picture(source, box).tobytes())
        np.save(folder / "types.npy", np.full(len(corners), TISSUE))
        scores = result.scores.astype(np.float64).tolist()
        index = {
            **members_of(result),
            "tile": TILE,
            "tiles": corners,
            "ids": result.ids.tolist(),
            "class_ids": types.tolist(),
            "scores": [s if np.isfinite(s) else None for s in scores],
        }
        (folder / "index.json").write_bytes(orjson.dumps(index))


def _corners_of_tiles(result: SegmentationResult) -> list[tuple[int, int]]:
    """Return row and column of the first pixel of the tiles that the boxes of nuclei reach."""
    y0, x0, y1, x1 = result.table.boxes.astype(np.int64).T
    first, last = np.column_stack([y0, x0]) // TILE, np.column_stack([y1 - 1, x1 - 1]) // TILE
    span = (last - first).max(axis=0, initial=0) + 1
    found: set[tuple[int, int]] = set()
    for dy, dx in np.ndindex(*span.tolist()):
        cells = np.add(first, (dy, dx))
        within = (cells <= last).all(axis=1)
        found.update(map(tuple, np.unique(cells[within], axis=0).tolist()))
    return [(y * TILE, x * TILE) for y, x in sorted(found)]


def _write_header(file: BinaryIO, shape: tuple[int, ...], dtype: np.dtype) -> None:
    np.lib.format.write_array_header_1_0(
        file,
        {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape},
    )


def _padded(tile: NDArray, value: int) -> NDArray:
    missing = [(0, TILE - tile.shape[0]), (0, TILE - tile.shape[1])]
    return np.pad(tile, missing + [(0, 0)] * (tile.ndim - 2), constant_values=value)


def _planes(tile: NDArray[np.int32], plane: NDArray[np.int64]) -> NDArray[np.int32]:
    planes = np.zeros((TILE, TILE, PLANES), np.int32)
    for number in range(OTHERS):
        planes[..., number] = np.where(plane == number, tile, 0)
    planes[..., -1] = tile == 0
    return planes


def _picture(source: ImageSource, box: Box) -> NDArray[np.uint8]:
    return _padded(source.read(box), GLASS)


def read_pannuke(path: Path) -> AnnotationFile:
    """Read PanNuke's masks: a folder that was written here, or a ``masks.npy`` of one tile.

    Parameters
    ----------
    path
        The folder, or a file; one of another kind of label map is read as such.

    Raises
    ------
    AnnotationError
        If there are several tiles and nothing says where they lie.
    """
    folder, file = (path, path / "masks.npy") if path.is_dir() else (path.parent, path)
    if not file.is_file():
        raise AnnotationError(f"{path.name}: has no file 'masks.npy'.")
    masks = np.load(file, mmap_mode="r", allow_pickle=False)
    if masks.ndim == 2:
        return read_label_file(file)
    if masks.ndim == 3:
        masks = masks[None]
    if masks.ndim != 4 or masks.shape[3] not in (OTHERS, PLANES) or masks.dtype.kind not in "uif":
        raise AnnotationError(
            f"{path.name}: {masks.dtype} of shape {masks.shape} are no masks of PanNuke's "
            f"(tiles, {TILE}, {TILE}, {PLANES})."
        )
    index, others = _index(folder / "index.json", len(masks)), None
    if index is None and len(masks) != 1:
        raise AnnotationError(
            f"{path.name}: holds {len(masks):,} tiles of separate images, and no index.json that "
            "says where they lie in one; nothing was read. Save one of them alone (masks[0])."
        )
    if index is None:
        index = _Index([(0, 0)], (masks.shape[1], masks.shape[2]), {})
    elif (folder / "others.npy").is_file():
        others = np.load(folder / "others.npy", mmap_mode="r", allow_pickle=False)
        if others.shape != masks.shape[:3]:
            raise AnnotationError(
                f"{path.name}: others.npy has the shape {others.shape}, masks.npy {masks.shape}."
            )
    return _whole(path.name, masks, others, index)


@dataclass(frozen=True, eq=False)
class _Index:
    """Where tiles lie ``(y, x)``, the size of their image, and what else ``index.json`` says."""

    corners: list[tuple[int, int]]
    shape: tuple[int, int]
    members: Mapping[str, Any]

    def of_id(self, member: str) -> dict[int, Any]:
        """Return what a list beside that of the ids says of each."""
        ids, values = self.members.get("ids"), self.members.get(member)
        if not isinstance(ids, list) or not isinstance(values, list) or len(ids) != len(values):
            return {}
        numbers = [whole_in(i) for i in ids]
        return {i: v for i, v in zip(numbers, values, strict=True) if i is not None}


def _index(path: Path, n: int) -> _Index | None:
    """Return the index of n tiles, None where there is none or it is of something else."""
    try:
        value = load_json(path) if path.is_file() else None
    except AnnotationError as error:
        raise AnnotationError(f"{path.parent.name}: {error}") from error
    if not isinstance(value, dict) or not isinstance(value.get("tiles"), list):
        return None
    shape = shape_in(value.get("shape"))
    corners = [
        tuple(whole_in(v) for v in corner) if isinstance(corner, list) else ()
        for corner in value["tiles"]
    ]
    known = [(c[0], c[1]) for c in corners if len(c) == 2 and None not in c]
    found = [(y, x) for y, x in known if y is not None and x is not None]
    inside = shape is not None and all(0 <= y < shape[0] and 0 <= x < shape[1] for y, x in found)
    if shape is None or not inside or not len(found) == len(corners) == n:
        raise AnnotationError(
            f"{path.parent.name}: index.json does not say where each of the {n:,} tiles of "
            "masks.npy lies; nothing was read."
        )
    return _Index(found, shape, value)


def _whole(name: str, masks: NDArray, others: NDArray | None, index: _Index) -> AnnotationFile:
    """Put nuclei together of what is in the planes of the tiles."""
    pieces: dict[tuple[int, int], list[Piece]] = {}
    for number, (y, x) in enumerate(index.corners):
        for plane, labels in _planes_of_tile(masks, others, number):
            for label, mask, (dy, dx) in _instances(labels, name):
                pieces.setdefault((plane, label), []).append((y + dy, x + dx, mask))
    boxes = np.array([_box(p) for p in pieces.values()], np.int64).reshape(-1, 4)
    notes: list[str] = []
    sized = sized_as_nuclei(name, boxes, notes)
    joined = [
        _joined(p, box) if ok else None
        for p, box, ok in zip(pieces.values(), boxes, sized.tolist(), strict=True)
    ]
    scheme = scheme_in(index.members.get("type_info"), name)
    stated = Stated(
        ids=[label for _, label in pieces],
        classes=_classes(list(pieces), index, name),
        scores=_scores(list(pieces), index),
        scheme=scheme,
        shape=index.shape,
        mpp=number_in(index.members.get("mpp")),
        provenance=provenance_in(index.members.get("provenance")),
        notes=notes,
    )
    return of_masks(name, joined, boxes[:, :2], stated)


def _planes_of_tile(
    masks: NDArray, others: NDArray | None, number: int
) -> Iterator[tuple[int, NDArray]]:
    tile = np.asarray(masks[number])
    for plane in range(OTHERS):
        yield plane, tile[..., plane]
    if others is not None:
        yield OTHERS, np.asarray(others[number])


def _instances(
    labels: NDArray, name: str
) -> Iterator[tuple[int, NDArray[np.bool_], tuple[int, int]]]:
    """Yield id, mask and position of each instance of a plane."""
    if not labels.any():
        return
    checked = check_labels(labels, name)
    table = label_table(checked)
    for i, (y0, x0, y1, x1) in zip(table.ids.tolist(), table.boxes.tolist(), strict=True):
        yield i, checked[y0:y1, x0:x1] == i, (y0, x0)


def _box(pieces: list[Piece]) -> Box:
    ends = [(y + mask.shape[0], x + mask.shape[1]) for y, x, mask in pieces]
    return (
        min(y for y, _, _ in pieces),
        min(x for _, x, _ in pieces),
        max(y for y, _ in ends),
        max(x for _, x in ends),
    )


def _joined(pieces: list[Piece], box: NDArray[np.int64]) -> NDArray[np.bool_]:
    y0, x0, y1, x1 = box.tolist()
    whole: NDArray[np.bool_] = np.zeros((y1 - y0, x1 - x0), bool)
    for y, x, mask in pieces:
        whole[y - y0 : y - y0 + mask.shape[0], x - x0 : x - x0 + mask.shape[1]] |= mask
    return whole


def _classes(keys: list[tuple[int, int]], index: _Index, name: str) -> list[str | None]:
    """Return the class of each nucleus as the index has it, or else by its plane.

    Who moved a nucleus to another plane gave it another class.
    """
    scheme = scheme_in(index.members.get("type_info"), name)
    stated = index.of_id("class_ids")
    mapping = class_mapping(scheme, PANNUKE) if scheme is not None else {}
    names: list[str | None] = []
    for plane, label in keys:
        of_plane = PANNUKE_CHANNELS[plane] if plane < OTHERS else 0
        class_id = whole_in(stated.get(label))
        known = scheme.by_id(class_id) if scheme is not None and class_id is not None else None
        if known is not None and mapping.get(known.id, 0) == of_plane:
            names.append(known.name)
            continue
        names.append(PANNUKE.name_of(of_plane) if of_plane else None)
    return names


def _scores(keys: list[tuple[int, int]], index: _Index) -> list[float]:
    stated = index.of_id("scores")
    found = [number_in(stated.get(label)) for _, label in keys]
    return [np.nan if score is None else score for score in found]


PANNUKE_ARRAYS = Format(
    "pannuke",
    "PanNuke arrays (256 px tiles)",
    "_pannuke",
    Keeps(),
    write_pannuke,
    read_pannuke,
    endings=("masks.npy",),
    is_folder=True,
    note="Nuclei are cut at the borders of tiles; index.json joins them again when they are read.",
)
"""PanNuke's arrays, in a folder."""
