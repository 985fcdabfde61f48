"""OME-Zarr labels, versions 0.4 (zarr 2) and 0.5 (zarr 3), out.

With an image: an image group with its pyramid and ``labels/nuclei`` inside. Without one, or with
one too large to be copied: the labels alone, as a group of their own. Follows the OME-NGFF
specifications 0.4 and 0.5. What is read is in `ome_zarr_in`.

Two things are written because readers need them: the list of labels with the version (without it
ngio replaces the list by an empty one) and as many levels of labels as of the image. Colours by
label are written for few nuclei only, since readers hold them one by one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import zarr
from numpy.typing import NDArray

from napari_nucleus.core.image import ImageSource
from napari_nucleus.io.atomic import replacing_folder
from napari_nucleus.io.formats.base import PLAIN, Export, Format, Keeps
from napari_nucleus.io.formats.ome_tiff import pyramid_shapes
from napari_nucleus.io.formats.ome_zarr_in import read_ome_zarr
from napari_nucleus.io.formats.overlay import check_same_size
from napari_nucleus.io.formats.steps import steps
from napari_nucleus.io.formats.zarr_tables import ATTRIBUTE, attribute_of, write_table
from napari_nucleus.io.label_planes import tile_boxes
from napari_nucleus.io.results import SegmentationResult

__all__ = ["OME_ZARR", "OME_ZARR_04", "write_ome_zarr"]

Version = Literal["0.4", "0.5"]

CHUNK = 1024
"""Pixels of the side of a chunk, and of the image that is written at a time."""

MOST_COPIED = 2**30
"""Pixels of an image that is copied beside its labels; 3 GiB before it is compressed."""

MOST_COLOURED = 5000
"""Nuclei whose colours are written one by one."""

CHANNELS = (("red", "FF0000"), ("green", "00FF00"), ("blue", "0000FF"))


def write_ome_zarr(
    path: str | os.PathLike[str],
    result: SegmentationResult,
    export: Export = PLAIN,
    version: Version = "0.5",
) -> None:
    """Write the label map of a result as OME-Zarr, piece by piece.

    Parameters
    ----------
    path
        Folder to write; it is complete or as it was before.
    result
        The nuclei.
    export
        Its source is written as the image of the labels, if it has no more pixels than
        `MOST_COPIED`; its stem names it.
    version
        Of OME-Zarr.

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
    if source is not None:
        check_same_size(source, result)
        if result.shape[0] * result.shape[1] > MOST_COPIED:
            source = None
    with replacing_folder(path) as folder:
        root = zarr.create_group(folder, zarr_format=2 if version == "0.4" else 3)
        labels = root if source is None else root.create_group("labels/nuclei")
        pyramids = [_Pyramid(labels, result.shape, np.dtype(np.uint32), _labels_of(result))]
        if source is not None:
            root.require_group("labels").attrs.update(_said({"labels": ["nuclei"]}, version))
            pyramids.append(_Pyramid(root, result.shape, np.dtype(np.uint8), _planes_of(source)))
            root.attrs.update(_image_metadata(pyramids[1], result, export.stem, version))
        labels.attrs.update(_label_metadata(pyramids[0], result, source is not None, version))
        labels.attrs[ATTRIBUTE] = attribute_of(result)
        region = ".." if source is None else "../labels/nuclei"
        write_table(folder, root, result, region)
        pieces = [piece for pyramid in pyramids for piece in pyramid.pieces()]
        for write in steps(export, pieces, "pieces"):
            write()


def _labels_of(result: SegmentationResult) -> Any:
    return lambda box: result.read(box)


def _planes_of(source: ImageSource) -> Any:
    return lambda box: np.moveaxis(source.read(box), -1, 0)


@dataclass(frozen=True, eq=False)
class _Pyramid:
    """An image or labels at several sizes, in a group.

    ``read`` returns the pixels ``([3,] h, w)`` of a box of the largest. Labels have no channels,
    and lose every second row and column from level to level; an image has three, and is averaged.
    """

    group: zarr.Group
    shape: tuple[int, int]
    dtype: np.dtype
    read: Any

    @property
    def axes(self) -> str:
        return "yx" if self.dtype == np.uint32 else "cyx"

    @property
    def shapes(self) -> list[tuple[int, int]]:
        return pyramid_shapes(self.shape, CHUNK)

    def pieces(self) -> Iterator[Any]:
        """Make the arrays and yield the functions that fill them, to be called in this order.

        Each writes whole chunks.
        """
        below = None
        for level, shape in enumerate(self.shapes):
            array = self._array(str(level), shape)
            for box in tile_boxes(shape, CHUNK):
                yield partial(self._fill, array, below, box)
            below = array

    def _array(self, name: str, shape: tuple[int, int]) -> zarr.Array:
        second = self.group.metadata.zarr_format == 2
        channels = (3,) if self.axes == "cyx" else ()
        chunks = (CHUNK, CHUNK)
        return self.group.create_array(
            name,
            shape=(*channels, *shape),
            chunks=(*(1 for _ in channels), *chunks),
            dtype=self.dtype,
            compressors=_compressor(second, self.dtype),
            fill_value=0,
            dimension_names=None if second else list(self.axes),
            chunk_key_encoding={"name": "v2" if second else "default", "separator": "/"},
        )

    def _fill(self, array: zarr.Array, below: zarr.Array | None, box: Any) -> None:
        y0, x0, y1, x1 = box
        if below is None:
            pixels = self.read(box)
        else:
            twice = np.asarray(below[..., 2 * y0 : 2 * y1, 2 * x0 : 2 * x1])
            pixels = twice[::2, ::2] if self.axes == "yx" else _halved(twice)
        array[..., y0:y1, x0:x1] = pixels.astype(self.dtype, copy=False)

    def multiscales(self, name: str, mpp: float | None, version: Version) -> list[dict[str, Any]]:
        """Return the metadata of the pyramid; the scale is in pixels if their size is unknown."""
        unit = {} if mpp is None else {"unit": "micrometer"}
        axes: list[dict[str, str]] = [{"name": a, "type": "space", **unit} for a in "yx"]
        if self.axes == "cyx":
            axes.insert(0, {"name": "c", "type": "channel"})
        side = 1.0 if mpp is None else mpp
        datasets = [
            {
                "path": str(level),
                "coordinateTransformations": [
                    {"type": "scale", "scale": [1.0] * (len(axes) - 2) + [side * 2**level] * 2}
                ],
            }
            for level in range(len(self.shapes))
        ]
        stated = {"version": version} if version == "0.4" else {}
        return [{**stated, "name": name, "axes": axes, "datasets": datasets}]


def _compressor(second: bool, dtype: np.dtype) -> Any:
    """Return Zstandard over sorted bits: labels are mostly equal in their higher ones."""
    how = "bitshuffle" if dtype == np.uint32 else "noshuffle"
    if second:
        from numcodecs import Blosc

        shuffle = Blosc.BITSHUFFLE if how == "bitshuffle" else Blosc.NOSHUFFLE
        return Blosc(cname="zstd", clevel=3, shuffle=shuffle)
    from zarr.codecs import BloscCodec

    return BloscCodec(cname="zstd", clevel=3, shuffle=how, typesize=dtype.itemsize)


def _halved(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the means of squares of two pixels of ``(3, h, w)``; the last row or column counts
    twice where it is alone."""
    height, width = pixels.shape[1:]
    even = np.pad(pixels, ((0, 0), (0, height % 2), (0, width % 2)), mode="edge").astype(np.uint16)
    rows = even[:, ::2] + even[:, 1::2]
    return ((rows[:, :, ::2] + rows[:, :, 1::2] + 2) // 4).astype(np.uint8)


def _said(members: dict[str, Any], version: Version) -> dict[str, Any]:
    """Return attributes as the version has them: 0.5 keeps them together, with its number."""
    return members if version == "0.4" else {"ome": {"version": version, **members}}


def _image_metadata(
    pyramid: _Pyramid, result: SegmentationResult, name: str, version: Version
) -> dict[str, Any]:
    window = {"min": 0, "max": 255, "start": 0, "end": 255}
    channels = [
        {"label": label, "color": color, "active": True, "window": window}
        for label, color in CHANNELS
    ]
    members = {
        "multiscales": pyramid.multiscales(name, result.mpp, version),
        "omero": {"name": name, "channels": channels, "rdefs": {"model": "color"}},
    }
    return _said(members, version)


def _label_metadata(
    pyramid: _Pyramid, result: SegmentationResult, has_image: bool, version: Version
) -> dict[str, Any]:
    label: dict[str, Any] = {"version": version}
    if has_image:
        label["source"] = {"image": "../../"}
    if len(result) <= MOST_COLOURED:
        colours = {c: (*result.scheme.color_of(c), 255) for c in set(result.class_ids.tolist())}
        label["colors"] = [
            {"label-value": i, "rgba": list(colours[c])}
            for i, c in zip(result.ids.tolist(), result.class_ids.tolist(), strict=True)
        ]
    members = {
        "multiscales": pyramid.multiscales("nuclei", result.mpp, version),
        "image-label": label,
    }
    return _said(members, version)


OME_ZARR = Format(
    "ome-zarr",
    "OME-Zarr labels (0.5)",
    ".zarr",
    Keeps(),
    write_ome_zarr,
    read_ome_zarr,
    is_folder=True,
    note="With a copy of the image, unless it has more than a thousand million pixels.",
)
"""Labels for readers of zarr 3."""

OME_ZARR_04 = Format(
    "ome-zarr-0.4",
    "OME-Zarr labels (0.4)",
    "_0.4.zarr",
    Keeps(),
    partial(write_ome_zarr, version="0.4"),
    read_ome_zarr,
    is_folder=True,
    note="For programs that do not read version 0.5 yet.",
)
"""Labels for readers of zarr 2."""
