"""Label maps in and out: instance ids as pixels, 0 is background.

Reads TIFF and OME-TIFF, PNG (8 and 16 bit, and palette files, whose indices are the ids) and NPY.
Writes tiled, deflated TIFF with the pixel size as TIFF resolution, which Fiji, QuPath and napari
read: of 16 bit while ids fit, since ImageJ shows no whole numbers of 32 bit.
"""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import orjson
import tifffile
import zarr
from numpy.typing import NDArray
from PIL import Image

from napari_nucleus import __version__
from napari_nucleus.core.nuclei import check_labels
from napari_nucleus.errors import LabelsError, LabelShapeError, NucleusError
from napari_nucleus.io.atomic import replacing
from napari_nucleus.io.label_planes import LabelPlane, check_plausible, label_plane, tile_boxes
from napari_nucleus.io.pixel_size import PixelSize, pixel_size_of_dpi, pixel_size_of_tiff

__all__ = [
    "OME_NAMESPACE",
    "SOFTWARE",
    "TILE",
    "LabelFile",
    "OpenLabels",
    "label_dtype",
    "open_labels",
    "provenance_in",
    "provenance_of_text",
    "read_labels",
    "read_plane",
    "write_label_tiles",
    "write_labels",
]

TILE = 512
"""Pixels of the side of the tiles that are written."""

SOFTWARE = f"napari-nucleus {__version__}"

OME_NAMESPACE = "napari-nucleus/nuclei"
"""Of the comment in OME-XML that holds what the description of a plain TIFF does."""

MOST_HELD = 4 * 2**30
"""Bytes of pixels that are read at once; larger label maps are read where they are tiled."""

HELD_AT_ONCE = 2**26
"""Pixels of a tiled file that is read at once, as that is faster."""

BUFFER = 2**25
"""Bytes of tiles that wait for being compressed."""


@dataclass(frozen=True, eq=False, slots=True)
class LabelFile:
    """A label map ``(H, W)`` from a file, with the pixel size that the file states."""

    labels: NDArray[np.integer]
    pixel_size: PixelSize

    @property
    def mpp(self) -> float | None:
        """Micrometres per pixel, or None when unknown."""
        return self.pixel_size.mpp


def read_labels(
    path: str | os.PathLike[str], image_shape: tuple[int, int] | None = None
) -> LabelFile:
    """Read a label map from a TIFF, PNG or NPY file.

    Parameters
    ----------
    path
        The file. Ids may have gaps; whole floats and masks of two values are taken as in
        `napari_nucleus.core.nuclei.check_labels`.
    image_shape
        Height and width of the image that the labels belong to, if it is known.

    Raises
    ------
    LabelsError
        If the file cannot be read, holds no label map, or is not of the image's size.
    """
    name = Path(path).name
    array, pixel_size = read_plane(path, flat=True)
    labels = check_labels(array, name)
    if not labels.size:
        raise LabelsError(f"{name}: the label map has no pixels (shape {labels.shape}).")
    if image_shape is not None and labels.shape != tuple(image_shape):
        raise LabelsError(
            f"{name}: the label map has {labels.shape[1]} x {labels.shape[0]} pixels, the image "
            f"{image_shape[1]} x {image_shape[0]}; export labels at the image's full resolution."
        )
    return LabelFile(labels, pixel_size)


def read_plane(path: str | os.PathLike[str], flat: bool = False) -> tuple[NDArray, PixelSize]:
    """Return the numbers in a TIFF, PNG or NPY file, whatever they mean, and its pixel size.

    Parameters
    ----------
    path
        The file.
    flat
        Refuse what is no single plane before its pixels are read.

    Raises
    ------
    LabelsError
        If the file cannot be read.
    """
    with open_labels(path, flat) as found:
        array = found.array
        size = array.dtype.itemsize * int(np.prod(array.shape, dtype=object))
        if size > MOST_HELD:
            raise LabelsError(
                f"{Path(path).name}: {size / 2**30:,.0f} GiB of labels (shape {array.shape}) are "
                "too many to be read at once; cut it into pieces."
            )
        return np.array(array[:], copy=not isinstance(array, LabelPlane)), found.pixel_size


@dataclass(frozen=True, eq=False, slots=True)
class OpenLabels:
    """A label file while it is open.

    Parameters
    ----------
    array
        Its numbers, whatever they mean: a numpy array, or a `LabelPlane` that reads from the file.
    pixel_size
        What the file says of it.
    text
        What the file says of what made it; empty if it says nothing.
    """

    array: NDArray | LabelPlane
    pixel_size: PixelSize
    text: str = ""


@contextmanager
def open_labels(path: str | os.PathLike[str], flat: bool = True) -> Iterator[OpenLabels]:
    """Open a TIFF, PNG or NPY file with numbers as pixels; large tiled files are read in pieces.

    Parameters
    ----------
    path
        The file.
    flat
        Refuse what is no single plane before its pixels are read.

    Raises
    ------
    LabelsError
        If the file cannot be read, or its header states what cannot be.
    """
    path = Path(path)
    name = path.name
    try:
        with open(path, "rb") as file:
            begin = file.read(8)
        if not begin:
            raise LabelsError(f"{name}: the file is empty.")
        if begin[:2] in (b"II", b"MM"):
            with tifffile.TiffFile(path) as tiff:
                array = _tiff_pixels(tiff, name, flat)
                yield OpenLabels(array, pixel_size_of_tiff(tiff, name), _text_in(tiff))
        elif begin.startswith(b"\x93NUMPY"):
            # A map of the file takes no memory for what its header only claims to hold.
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            yield OpenLabels(_one_plane(array), PixelSize())
        elif begin == b"\x89PNG\r\n\x1a\n":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                picture = Image.open(path, formats=("PNG",))
            with picture:
                pixel_size = pixel_size_of_dpi(picture.info.get("dpi"), name, "PNG resolution")
                yield OpenLabels(np.asarray(picture), pixel_size)
        else:
            raise LabelsError(f"{name}: no label map that can be read (TIFF, PNG, NPY).")
    except (NucleusError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise LabelsError(f"{name}: there is no such file (any more).") from error
    except Exception as error:  # each decoder has its own kinds of error
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:200]
        raise LabelsError(f"{name}: the file is damaged or cannot be read ({reason}).") from error


def _tiff_pixels(tiff: tifffile.TiffFile, name: str, flat: bool) -> NDArray | LabelPlane:
    """Return the first picture of a TIFF at full resolution."""
    whole = [one for one in tiff.series if not one.keyframe.is_reduced] or tiff.series[:1]
    if len(whole) > 1:
        shapes = ", ".join(str(one.shape) for one in whole[:3])
        raise LabelShapeError(f"{name}: holds {len(whole)} pictures ({shapes} …), not one.")
    series = whole[0]
    page = series.keyframe
    axes = "".join(a.lower() if a in "YX" else a for a in series.axes)
    if flat:
        label_plane(series, name, axes)
    check_plausible(series.shape, None, name)
    if page.is_tiled:
        tile = page.tilelength, page.tilewidth
        check_plausible((page.imagelength, page.imagewidth), tile, name)
    for one in series.levels[0].pages:
        stored = 0 if one is None else len(one.dataoffsets)
        if one is not None and stored < math.prod(one.chunked):
            raise LabelsError(
                f"{name}: the file is damaged or cannot be read ({stored:,} pieces of pixels where "
                f"its header states {math.prod(one.chunked):,})."
            )
    pixels = math.prod(series.shape)
    if page.is_tiled and pixels > HELD_AT_ONCE and flat:
        array = zarr.open_array(series.aszarr(level=0), mode="r")
        return label_plane(array, name, axes)
    if pixels * series.dtype.itemsize > MOST_HELD:
        raise LabelsError(
            f"{name}: {series.shape} pixels are too many to be read at once; save it as a tiled "
            "TIFF."
        )
    array = series.asarray()
    return label_plane(array, name, axes)[:] if flat else _one_plane(array)


def _text_in(tiff: tifffile.TiffFile) -> str:
    """Return the description of a TIFF, of an OME-TIFF the comment in our namespace."""
    if not tiff.is_ome:
        return tiff.pages.first.description
    try:
        root = ElementTree.fromstring(tiff.ome_metadata or "")
    except ElementTree.ParseError:
        return ""
    for element in root.iter():
        if element.get("Namespace") == OME_NAMESPACE and element.tag.endswith("CommentAnnotation"):
            return "".join(element.itertext())
    return ""


def provenance_in(path: str | os.PathLike[str]) -> dict[str, str | float | int]:
    """Return what was noted in a label TIFF of what made it; empty if another program wrote it.

    Raises
    ------
    LabelsError
        If the file cannot be read.
    """
    path = Path(path)
    try:
        with tifffile.TiffFile(path) as tiff:
            text = _text_in(tiff)
    except OSError as error:
        raise LabelsError(f"{path.name}: the file cannot be read ({error.strerror}).") from error
    except (tifffile.TiffFileError, ValueError):
        return {}
    return provenance_of_text(text)


def provenance_of_text(text: str) -> dict[str, str | float | int]:
    """Return the plain members of a JSON object; empty for any other text."""
    try:
        value: Any = orjson.loads(text)
    except ValueError:
        return {}
    plain = value.items() if isinstance(value, dict) else ()
    return {k: v for k, v in plain if isinstance(v, str | float | int)}


def _one_plane(array: NDArray) -> NDArray:
    """Drop axes of length 1 in front of the two of a picture."""
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    return array


def label_dtype(largest_id: int) -> np.dtype:
    """Return the smallest type that programs for images read and that holds an id."""
    return np.dtype(np.uint16 if largest_id <= np.iinfo(np.uint16).max else np.uint32)


def write_labels(
    path: str | os.PathLike[str],
    labels: NDArray[np.integer],
    mpp: float | None = None,
    provenance: Mapping[str, str | float | int] | None = None,
) -> None:
    """Write a label map as TIFF.

    Parameters
    ----------
    path
        File to write; it is complete or as it was before.
    labels
        ``(H, W)`` integers from 0.
    mpp
        Micrometres per pixel, kept as resolution in pixels per centimetre.
    provenance
        What made the labels; kept as JSON in the image description.

    Raises
    ------
    LabelsError
        If ``labels`` is no label map.
    AnnotationError
        If the file cannot be written.
    """
    labels = check_labels(labels, Path(path).name)
    shape = (labels.shape[0], labels.shape[1])
    dtype = label_dtype(int(labels.max(initial=0)))
    tiles = (labels[a:c, b:d] for a, b, c, d in tile_boxes(shape, TILE))
    text = json.dumps(dict(provenance)) if provenance else ""
    write_label_tiles(path, shape, dtype, tiles, mpp, text)


def write_label_tiles(
    path: str | os.PathLike[str],
    shape: tuple[int, int],
    dtype: np.dtype,
    tiles: Iterator[NDArray[np.integer]],
    mpp: float | None = None,
    text: str = "",
) -> None:
    """Write a label map as TIFF tile by tile.

    Parameters
    ----------
    path
        File to write; it is complete or as it was before.
    shape
        Height and width in pixels.
    dtype
        Of the pixels, see `label_dtype`.
    tiles
        The labels of each of ``tile_boxes(shape, TILE)``.
    mpp
        Micrometres per pixel, kept as resolution in pixels per centimetre.
    text
        ASCII, kept as the image description.

    Raises
    ------
    AnnotationError
        If the file cannot be written.
    """
    # A classic TIFF ends at 4 GiB; label maps deflate, so only very large ones need the other kind.
    bigtiff = shape[0] * shape[1] * dtype.itemsize > 2**32 - 2**25
    resolution = {} if mpp is None else {"resolution": (1e4 / mpp,) * 2, "resolutionunit": 3}
    with replacing(path) as file:
        tifffile.imwrite(
            file,
            (tile.astype(dtype, copy=False) for tile in tiles),
            shape=shape,
            dtype=dtype,
            bigtiff=bigtiff,
            tile=(TILE, TILE),
            compression="zlib",
            photometric="minisblack",
            description=text or None,
            metadata=None,
            software=SOFTWARE,
            buffersize=BUFFER,
            **resolution,
        )
        # The last tile was taken and never asked beyond; it tells that it is done only then.
        next(tiles, None)
