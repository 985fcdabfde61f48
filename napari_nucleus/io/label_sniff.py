"""Tells a file of instance ids from one of a picture, by its header and some of its pixels.

Types of more than 16 bit are ids: no camera counts so far. Of 8 and 16 bit, ids are what is the
same in most neighbouring pixels that are not background, which no grey picture of tissue is.
"""

from __future__ import annotations

import os

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

__all__ = ["holds_labels", "tiff_shape"]

LOOKED_AT = 16
"""Tiles or strips that are decoded at most, spread over the picture."""

LARGEST_PIECE = 2**26
"""Pixels; a larger tile, strip or picture is not looked into."""

ALIKE = 0.75
"""Which share of neighbours in a label map has the same id, at least: of nuclei of 5 pixels' width
four in five have, of pixels of a grey picture one in ten."""


def tiff_shape(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Return height and width of the one plane of integers in a TIFF; None if it is none."""
    try:
        with tifffile.TiffFile(path) as tiff:
            return _plane(tiff)
    except Exception:  # what cannot be looked into is for others to complain about
        return None


def holds_labels(path: str | os.PathLike[str]) -> bool:
    """Return True if a TIFF, PNG or NPY file holds instance ids.

    False for any other file and for damaged ones. Reads the header and 16 tiles at most.
    """
    try:
        with open(path, "rb") as file:
            begin = file.read(8)
        if begin[:2] in (b"II", b"MM"):
            with tifffile.TiffFile(path) as tiff:
                return _plane(tiff) is not None and _tiff_holds_labels(tiff.series[0].keyframe)
        if begin.startswith(b"\x93NUMPY"):
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            return array.ndim == 2 and array.dtype.kind in "uib"
        if begin == b"\x89PNG\r\n\x1a\n":
            return _png_holds_labels(path)
    except Exception:  # as in `tiff_shape`
        return False
    return False


def _plane(tiff: tifffile.TiffFile) -> tuple[int, int] | None:
    series = tiff.series[0]
    page = series.keyframe
    one = [n for n in series.shape if n != 1]
    grey = page.photometric in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.MINISWHITE)
    if len(one) > 2 or not grey or np.dtype(page.dtype).kind not in "uib":
        return None
    sizes = dict(zip(series.axes, series.shape, strict=True))
    return int(sizes["Y"]), int(sizes["X"])


def _tiff_holds_labels(page: tifffile.TiffPage) -> bool:
    if np.dtype(page.dtype).itemsize > 2 or str(page.software).startswith("napari-nucleus"):
        return True
    count = len(page.dataoffsets)
    some = np.unique(np.linspace(0, count - 1, min(count, LOOKED_AT)).astype(int))
    pieces = [_piece(page, index) for index in some.tolist()]
    return _alike([pixels for pixels in pieces if pixels is not None]) >= ALIKE


def _png_holds_labels(path: str | os.PathLike[str]) -> bool:
    with Image.open(path, formats=("PNG",)) as picture:
        if picture.mode in ("1", "P"):
            return True
        if picture.mode not in ("L", "I", "I;16") or np.prod(picture.size) > LARGEST_PIECE:
            return False
        return _alike([np.asarray(picture)]) >= ALIKE


def _alike(pieces: list[NDArray]) -> float:
    """Return which share of neighbours in a row, both not background, is of one value."""
    same = total = 0
    for pixels in pieces:
        left, right = pixels[:, :-1], pixels[:, 1:]
        both = (left != 0) & (right != 0)
        same += int((left == right)[both].sum())
        total += int(both.sum())
    # Nuclei of one pixel, or none: nothing speaks for a picture, whose pixels have neighbours.
    return same / total if total else 1.0


def _piece(page: tifffile.TiffPage, index: int) -> NDArray | None:
    """Return a tile or strip ``(h, w)``; None where there is none or it is too large."""
    size = page.databytecounts[index]
    if not size or np.prod(page.chunks) > LARGEST_PIECE:
        return None
    page.parent.filehandle.seek(page.dataoffsets[index])
    data = page.parent.filehandle.read(size)
    pixels = page.decode(data, index, jpegtables=page.jpegtables)[0]
    # As (depth, h, w, samples), depth and samples being 1.
    return None if pixels is None else pixels.reshape(pixels.shape[-3], pixels.shape[-2])
