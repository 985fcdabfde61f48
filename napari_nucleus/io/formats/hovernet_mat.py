"""HoVer-Net's MATLAB files: an instance map with a type and a centroid for each instance.

Follows what HoVer-Net saves of a tile and what CoNSeP's ground truth has: ``inst_map`` ``(H, W)``,
``inst_uid`` and ``inst_type`` ``(n, 1)``, ``inst_centroid`` ``(n, 2)`` as ``x, y`` with 0 in the
middle of the first pixel, and ``type_map`` ``(H, W)``. Ours have ``inst_score``, names, colours and
ids of classes, the pixel size, and provenance as JSON beside them.

MATLAB's format 5 holds a map whole and in at most 4 GiB.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from napari_nucleus.core.geometry import points_to_centre_origin
from napari_nucleus.core.nuclei import check_labels
from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.annotation_file import AnnotationFile, Stated, of_labels
from napari_nucleus.io.atomic import replacing
from napari_nucleus.io.formats.base import PLAIN, Export, Format, Keeps
from napari_nucleus.io.formats.members import (
    class_types,
    label_map,
    names_of_types,
    number_in,
    provenance_in,
    scheme_in,
    type_info,
    type_names_in,
    whole_in,
)
from napari_nucleus.io.results import SegmentationResult

__all__ = ["HOVERNET_MAT", "read_hovernet_mat", "write_hovernet_mat"]

LARGEST_MAP = 2**30 - 2**16
"""Pixels of four bytes that a variable of a MATLAB file can have."""

READ = (
    "inst_map",
    "inst_uid",
    "inst_type",
    "inst_score",
    "type_map",
    "class_ids",
    "class_names",
    "class_colors",
    "mpp",
    "provenance",
)


def write_hovernet_mat(
    path: str | os.PathLike[str], result: SegmentationResult, export: Export = PLAIN
) -> None:
    """Write the label map of a result as HoVer-Net does.

    Raises
    ------
    AnnotationError
        If the file cannot be written, or the image is too large for the format.
    """
    from scipy.io import savemat

    height, width = result.shape
    if height * width > LARGEST_MAP:
        raise AnnotationError(
            f"{Path(path).name}: {width:,} x {height:,} pixels are more than a MATLAB file holds; "
            "nothing was written. Choose HoVer-Net JSON, or a region."
        )
    labels = label_map(result, export)
    types = class_types(result)
    value = {
        "inst_map": labels,
        "inst_uid": _column(result.ids.astype(np.int32)),
        "inst_type": _column(types),
        "inst_centroid": points_to_centre_origin(result.table.centroids_yx)[:, ::-1],
        "inst_score": _column(result.scores.astype(np.float64)),
        "type_map": _type_map(labels, result.ids, types),
        **_classes(result),
        "provenance": orjson.dumps(dict(result.provenance)).decode(),
    }
    if result.mpp is not None:
        value["mpp"] = result.mpp
    export.cancel.check()
    with replacing(path) as file:
        savemat(file, value, do_compression=True)


def _column(values: NDArray) -> NDArray:
    return values.reshape(-1, 1)


def _type_map(
    labels: NDArray[np.int32], ids: NDArray[np.int64], types: NDArray[np.int32]
) -> NDArray[np.uint8]:
    found = np.zeros(labels.shape, np.uint8)
    inside = labels > 0
    found[inside] = types[np.searchsorted(ids, labels[inside])]
    return found


def _classes(result: SegmentationResult) -> dict[str, NDArray]:
    info = type_info(result.scheme)
    names = np.empty((len(info), 1), object)
    names[:, 0] = [name for name, _ in info.values()]
    return {
        "class_ids": _column(np.array([int(i) for i in info], np.int32)),
        "class_names": names,
        "class_colors": np.array([color for _, color in info.values()], np.uint8),
    }


def read_hovernet_mat(path: Path) -> AnnotationFile:
    """Read an instance map from a MATLAB file, with types where there are any.

    Raises
    ------
    AnnotationError
        If there is no instance map in the file, or it is of MATLAB's newer format 7.3.
    """
    name = path.name
    value = _loaded(path)
    labels = check_labels(value["inst_map"], name)
    ids = np.unique(labels)
    ids = ids[ids > 0].astype(np.int64)
    notes: list[str] = []
    info = _type_info(value)
    types = _by_id(value, "inst_type", ids, name, notes)
    if not types and "type_map" in value:
        types = _most_frequent(labels, value["type_map"])
    numbers = {i: whole_in(t) for i, t in types.items()}
    names = names_of_types(numbers.values(), type_names_in(info), name, notes)
    scores = {i: number_in(s) for i, s in _by_id(value, "inst_score", ids, name, notes).items()}
    stated = Stated(
        scheme=scheme_in(info, name),
        mpp=_number(value.get("mpp")),
        provenance=_provenance(value.get("provenance")),
        notes=notes,
    )
    return of_labels(
        name,
        labels,
        stated,
        {i: n for i, n in zip(numbers, names, strict=True) if n is not None},
        {i: s for i, s in scores.items() if s is not None},
    )


def _loaded(path: Path) -> dict[str, NDArray]:
    from scipy.io import loadmat, whosmat

    try:
        listed = {n: (shape, kind) for n, shape, kind in whosmat(str(path), appendmat=False)}
    except NotImplementedError as error:
        raise AnnotationError(
            f"{path.name}: is of MATLAB's format 7.3, which is not read; save it with '-v7'."
        ) from error
    if "inst_map" not in listed:
        some = ", ".join(list(listed)[:8]) or "nothing"
        raise AnnotationError(f"{path.name}: has no instance map 'inst_map' (it has {some}).")
    for variable in READ:
        shape = listed.get(variable, ((),))[0]
        if np.prod(shape, dtype=np.float64) > LARGEST_MAP:
            raise AnnotationError(f"{path.name}: {variable!r} of {shape} is too large to be read.")
    wanted = [v for v in READ if v in listed]
    found = loadmat(str(path), appendmat=False, variable_names=wanted)
    return {v: found[v] for v in wanted if isinstance(found.get(v), np.ndarray)}


def _by_id(
    value: Mapping[str, NDArray],
    member: str,
    ids: NDArray[np.int64],
    name: str,
    notes: list[str],
) -> dict[int, Any]:
    """Return what a column says of each instance: by ``inst_uid``, or in the order of the ids.

    Some files of HoVer-Net have id and type side by side.
    """
    column = value.get(member)
    if column is None or column.dtype.kind not in "buif" or column.ndim != 2:
        return {}
    uids = value.get("inst_uid")
    if column.shape[1] == 2 and member == "inst_type":
        keys, entries = column[:, 0].tolist(), column[:, 1].tolist()
    elif uids is not None and uids.size == column.size and uids.dtype.kind in "uif":
        keys, entries = uids.ravel().tolist(), column.ravel().tolist()
    elif column.size == len(ids):
        keys, entries = ids.tolist(), column.ravel().tolist()
    else:
        notes.append(
            f"{name}: {member!r} has {column.size:,} values for {len(ids):,} instances; left out."
        )
        return {}
    numbers = [whole_in(key) for key in keys]
    return {i: e for i, e in zip(numbers, entries, strict=True) if i is not None}


def _most_frequent(labels: NDArray[np.integer], types: NDArray) -> dict[int, int]:
    """Return the type of most pixels of each instance."""
    if types.shape != labels.shape or types.dtype.kind not in "uif":
        return {}
    inside = labels > 0
    ids, instance = np.unique(labels[inside], return_inverse=True)
    kinds, kind = np.unique(types[inside], return_inverse=True)
    if not len(ids) or not np.isfinite(kinds).all():
        return {}
    pairs, votes = np.unique(instance * len(kinds) + kind, return_counts=True)
    # Of the pairs of an instance the one of most votes is the last.
    order = np.lexsort((votes, pairs // len(kinds)))
    pairs = pairs[order]
    last = np.flatnonzero(np.diff(pairs // len(kinds), append=len(ids)))
    best = pairs[last]
    return dict(
        zip(ids[best // len(kinds)].tolist(), kinds[best % len(kinds)].astype(int), strict=True)
    )


def _type_info(value: Mapping[str, NDArray]) -> dict[str, Any] | None:
    """Return the classes that our files state, laid out as ``type_info``."""
    ids, names, colors = (value.get(f"class_{m}") for m in ("ids", "names", "colors"))
    if ids is None or names is None or names.dtype != object or ids.size != names.size:
        return None
    texts = ["".join(np.asarray(n).astype(str).ravel().tolist()) for n in names.ravel()]
    rows = colors.tolist() if colors is not None and colors.shape == (ids.size, 3) else None
    numbers = ids.ravel().tolist()
    if rows is None:
        return {str(i): text for i, text in zip(numbers, texts, strict=True)}
    return {str(i): [text, row] for i, text, row in zip(numbers, texts, rows, strict=True)}


def _number(value: NDArray | None) -> float | None:
    return number_in(value.item()) if value is not None and value.size == 1 else None


def _provenance(value: NDArray | None) -> dict[str, str | float | int]:
    if value is None or value.dtype.kind != "U" or value.size != 1:
        return {}
    try:
        return provenance_in(orjson.loads(str(value.item())))
    except orjson.JSONDecodeError:
        return {}


HOVERNET_MAT = Format(
    "hovernet-mat",
    "HoVer-Net MATLAB file (instance map)",
    ".mat",
    Keeps(),
    write_hovernet_mat,
    read_hovernet_mat,
    note="The whole label map is held in memory; up to 32,000 x 32,000 pixels.",
)
"""HoVer-Net's instance map as MATLAB has it."""
