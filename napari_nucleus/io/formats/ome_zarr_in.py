"""OME-Zarr labels in: of any version up to 0.5, beside an image or alone.

Only the level of full resolution is read. A file is a stranger's: what it would take to read it is
checked before anything is allocated, and chunks are decoded by codecs that only decompress.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.errors import GroupNotFoundError

from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.annotation_file import AnnotationFile, Stated, of_labels
from napari_nucleus.io.formats.zarr_tables import ATTRIBUTE, provenance_of_attribute, read_table
from napari_nucleus.io.label_planes import LabelPlane, check_plausible, label_plane
from napari_nucleus.io.pixel_size import PixelSize, pixel_size_of_lengths

__all__ = ["read_ome_zarr"]

PREFERRED = "nuclei"
"""Name of the labels that are read if there are several."""

UM_PER_UNIT = {
    "angstrom": 1e-4, "nanometer": 1e-3, "micrometer": 1.0, "millimeter": 1e3, "centimeter": 1e4,
    "meter": 1e6,
}  # fmt: skip
"""Length units of OME-Zarr (those of UDUNITS-2) that a microscope has."""

PLAIN_CODECS = frozenset(
    (
        "bytes", "transpose", "sharding_indexed", "crc32c", "blosc", "zstd", "gzip", "zlib", "lz4",
        "bz2", "lzma", "delta", "shuffle", "bitround", "packbits", "crc32", "adler32",
    )
)  # fmt: skip
"""Codecs that turn bytes into bytes; others may run what is in a file."""


def read_ome_zarr(path: Path) -> AnnotationFile:
    """Read the labels of an OME-Zarr folder.

    Parameters
    ----------
    path
        An image with labels, of which ``nuclei`` are read or else the first; the group of all
        labels; or labels themselves.

    Raises
    ------
    AnnotationError
        If it is no OME-Zarr, or holds no labels, or several planes of them.
    LabelsError
        If what it holds are no ids.
    """
    name = path.name
    try:
        root = zarr.open_group(path, mode="r", use_consolidated=False)
    except (GroupNotFoundError, FileNotFoundError, NotADirectoryError) as error:
        raise AnnotationError(f"{name}: is no folder of OME-Zarr.") from error
    # Labels inside a folder of labels need not say that they are some.
    inside = path.absolute().parent.name == "labels"
    labels, notes = _labels_in(root, name, inside)
    said = _said(labels)
    scale = _first(said.get("multiscales"), f"{name}: its labels say nothing of their sizes.")
    dataset = _first(scale.get("datasets"), f"{name}: its labels have no levels.")
    array = labels.get(str(dataset.get("path")))
    if not isinstance(array, zarr.Array):
        raise AnnotationError(f"{name}: its labels {dataset.get('path')!r} are not there.")
    axes = _axes(scale, len(array.shape), name)
    plane = _plane(array, axes, name)
    size = _pixel_size(scale, dataset, axes, name)
    attribute = labels.attrs.get(ATTRIBUTE)
    table = read_table(path.absolute().parents[1] if inside else path, attribute, name)
    stated = Stated(
        scheme=table.scheme,
        mpp=size.mpp,
        provenance=provenance_of_attribute(attribute),
        notes=(*notes, *([size.note] if size.note else []), *table.notes),
    )
    return of_labels(name, plane, stated, table.class_of_id, table.score_of_id)


def _said(group: zarr.Group) -> dict[str, Any]:
    """Return the attributes that OME-Zarr knows, wherever the version puts them."""
    attributes = group.attrs.asdict()
    inner = attributes.get("ome")
    return inner if isinstance(inner, dict) else attributes


def _first(value: Any, fault: str) -> dict[str, Any]:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return value[0]
    raise AnnotationError(fault)


def _labels_in(root: zarr.Group, name: str, inside: bool) -> tuple[zarr.Group, list[str]]:
    """Return the group of the labels that are meant, and notes."""
    said = _said(root)
    if "plate" in said or "well" in said:
        raise AnnotationError(f"{name}: is a plate of many images; choose one image in it.")
    if "bioformats2raw.layout" in said and isinstance(inner := root.get("0"), zarr.Group):
        root, said = inner, _said(inner)
    group = root if "labels" in said else root.get("labels")
    if isinstance(group, zarr.Group):
        listed = _said(group).get("labels")
        names = [n for n in listed if isinstance(n, str)] if isinstance(listed, list) else []
        # Some programs leave the list empty though labels are there.
        names = names or sorted(group.group_keys())
        if names:
            chosen = PREFERRED if PREFERRED in names else names[0]
            labels = group.get(chosen)
            if not isinstance(labels, zarr.Group):
                raise AnnotationError(f"{name}: its labels {chosen!r} are not there.")
            others = ", ".join(repr(n) for n in names if n != chosen)
            notes = [f"{name}: read the labels {chosen!r}, not {others}."] if others else []
            return labels, notes
    if "image-label" in said or inside:
        return root, []
    what = "is an image without labels" if "multiscales" in said else "holds no OME-Zarr labels"
    raise AnnotationError(f"{name}: {what}.")


def _axes(scale: dict[str, Any], count: int, name: str) -> str:
    """Return a letter for each axis; version 0.1 and 0.2 name none, 0.3 no types."""
    stated = scale.get("axes") or list("tczyx"[-count:])
    names = [a.get("name") if isinstance(a, dict) else a for a in stated]
    if len(names) != count or not {"y", "x"} <= set(names):
        raise AnnotationError(f"{name}: axes {names} do not fit an array of {count} dimensions.")
    return "".join(str(n)[:1] or "?" for n in names)


def _plane(array: zarr.Array, axes: str, name: str) -> LabelPlane:
    """Return the one plane of an array that can be read without harm."""
    plane = label_plane(array, name, axes)
    if plane.dtype.kind not in "buif":
        raise AnnotationError(f"{name}: type {plane.dtype} cannot hold label ids.")
    check_plausible(array.shape, array.chunks, name)
    if array.shards is not None:
        check_plausible(array.shape, array.shards, name)
    strange = [c for c in _codecs(array) if c.removeprefix("numcodecs.") not in PLAIN_CODECS]
    if strange:
        raise AnnotationError(
            f"{name}: its pixels are packed by {strange[0]!r}, which is not read."
        )
    return plane


def _codecs(array: zarr.Array) -> Iterator[str]:
    """Yield the names of all codecs of an array, those inside of shards too."""
    stated = array.metadata.to_dict()
    found: list[Any] = [stated.get(key) for key in ("codecs", "filters", "compressor")]
    while found:
        one = found.pop()
        if isinstance(one, list | tuple):
            found.extend(one)
        elif isinstance(one, dict):
            yield str(one.get("name", one.get("id")))
            inner = one.get("configuration")
            if isinstance(inner, dict):
                found.extend([inner.get("codecs"), inner.get("index_codecs")])


def _pixel_size(scale: dict[str, Any], dataset: dict[str, Any], axes: str, name: str) -> PixelSize:
    """Return the pixel size that the scales and units say; unknown for pixels without a unit."""
    sides = np.ones(len(axes))
    for holder in (dataset, scale):
        transforms = holder.get("coordinateTransformations")
        for one in transforms if isinstance(transforms, list) else []:
            factors = one.get("scale") if isinstance(one, dict) else None
            if isinstance(factors, list) and len(factors) == len(axes):
                sides = sides * np.array(factors, np.float64)
    stated = scale.get("axes")
    units = [a.get("unit") if isinstance(a, dict) else None for a in stated or [None] * len(axes)]
    lengths = []
    for axis in (axes.index("x"), axes.index("y")):
        unit = units[axis]
        if unit is None and sides[axis] == 1:
            return PixelSize()
        factor = UM_PER_UNIT.get("micrometer" if unit is None else str(unit))
        if factor is None:
            note = f"{name}: its pixel size has the unit {unit!r}, which is no length of a nucleus."
            return PixelSize(None, "OME-Zarr scale", f"{note} State the pixel size by hand.")
        lengths.append(float(sides[axis]) * factor)
    size = pixel_size_of_lengths(lengths[0], lengths[1], name, "OME-Zarr scale")
    if size.mpp is not None and None in (units[axes.index("x")], units[axes.index("y")]):
        return replace(size, note=f"{name}: its pixel size has no unit; taken for micrometres.")
    return size
