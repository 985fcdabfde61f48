"""The first image of a TIFF as one plane that is read region by region.

Knows what tifffile's series, axes and photometric interpretations mean for an H&E picture; not
how pixels become RGB uint8, which is `napari_nucleus.core.image`'s rule. Tiled files are decoded
tile by tile through tifffile's zarr store; files in strips are read at once.
"""

from __future__ import annotations

import os
import weakref
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray

from napari_nucleus.core.image import check_layout, value_range
from napari_nucleus.errors import ImageError
from napari_nucleus.io.pixel_size import PixelSize, pixel_size_of_tiff

__all__ = ["TiffPlane", "open_tiff_plane"]

LARGEST_IN_STRIPS = 4 * 2**30
"""Bytes of pixels that are held in memory at most, for files that are not tiled."""

LARGEST_SIDE = 2_000_000
"""Pixels; no slide scanner makes more, a damaged header easily does."""

JPEG_COMPRESSIONS = {6, 7, 33003, 33005, 33007, 34712}
"""Compressions whose decoders turn YCbCr into RGB by themselves."""


PHOTOMETRIC = tifffile.PHOTOMETRIC


@dataclass(frozen=True, eq=False)
class TiffPlane:
    """An array ``(H, W)`` or ``(H, W, samples)`` that reads only what is sliced.

    Parameters
    ----------
    array
        A zarr or numpy array.
    axes
        A letter for each of its axes, as tifffile names them.
    samples
        The axis that holds the samples of a pixel, empty for none. Other axes than this, Y and X
        have length 1.
    colormap
        ``(3, n)`` uint16 colours of a palette image, or None.
    white_is_zero
        True if small values are light.
    lease
        Held for what it keeps open.
    """

    array: Any
    axes: str
    samples: str = ""
    colormap: NDArray[np.uint16] | None = None
    white_is_zero: bool = False
    lease: object = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width and, if there are any, samples."""
        sizes = dict(zip(self.axes, self.array.shape, strict=True))
        height_and_width = sizes["Y"], sizes["X"]
        if self.colormap is not None:
            return (*height_and_width, 3)
        return (*height_and_width, sizes[self.samples]) if self.samples else height_and_width

    @property
    def dtype(self) -> np.dtype:
        """Type of the pixels."""
        return np.dtype(np.uint8) if self.colormap is not None else np.dtype(self.array.dtype)

    def __getitem__(self, key: tuple[slice, slice]) -> NDArray[Any]:
        chosen = {"Y": key[0], "X": key[1], self.samples: slice(None)}
        pixels = np.asarray(self.array[tuple(chosen.get(axis, 0) for axis in self.axes)])
        if self.samples:
            kept = [axis for axis in self.axes if axis in chosen]
            pixels = np.moveaxis(pixels, kept.index(self.samples), -1)
        if self.colormap is not None:
            return (self.colormap[:, pixels] >> 8).astype(np.uint8).transpose(1, 2, 0)
        if not self.white_is_zero:
            return pixels
        if pixels.dtype == np.bool_:
            return ~pixels
        top = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
        return (top - pixels).astype(pixels.dtype)


def open_tiff_plane(
    path: str | os.PathLike[str], name: str
) -> tuple[list[TiffPlane], PixelSize, tuple[float, float] | None]:
    """Open the first image of a TIFF; a tiled file stays open as long as a plane is used.

    Returns
    -------
    planes
        Its pixels at full resolution, and the smaller copies in the file.
    pixel_size
        What the file says of it.
    limits
        The values that become 0 and 255, or None for 8 bit.

    Raises
    ------
    ImageError
        If the file is cut off, or holds something else than one picture.
    """
    tiff = tifffile.TiffFile(path)
    try:
        planes, limits = _planes(tiff, name)
        pixel_size = pixel_size_of_tiff(tiff, name)
    except BaseException:
        tiff.close()
        raise
    if isinstance(planes[0].array, np.ndarray):
        tiff.close()
    else:
        lease = _Lease(tiff)
        planes = [replace(plane, lease=lease) for plane in planes]
    return planes, pixel_size, limits


class _Lease:
    """Keeps a file open as long as any of its planes is there."""

    def __init__(self, tiff: tifffile.TiffFile) -> None:
        weakref.finalize(self, tiff.close)


def _planes(
    tiff: tifffile.TiffFile, name: str
) -> tuple[list[TiffPlane], tuple[float, float] | None]:
    series = tiff.series[0]
    page = series.keyframe
    samples = _samples_axis(series, name)
    _check_colours(page, name)
    _check_size(series, name)
    _check_complete(series, tiff.filehandle.size, name)
    array = zarr.open_array(series.aszarr(level=0), mode="r") if page.is_tiled else series.asarray()
    colormap = page.colormap if page.photometric == PHOTOMETRIC.PALETTE else None
    white_is_zero = page.photometric == PHOTOMETRIC.MINISWHITE
    plane = TiffPlane(array, series.axes, samples, colormap, white_is_zero)
    planes = [plane, *_smaller(series, plane)]
    if plane.dtype == np.uint8:
        return planes, None
    # The coarsest level tells how many bits are in use, which holds for all.
    coarse = series.levels[-1].asarray() if page.is_tiled else array
    coarse_plane = TiffPlane(coarse, series.axes, samples, None, white_is_zero)
    return planes, value_range(coarse_plane[:, :], name)


def _smaller(series: tifffile.TiffPageSeries, whole: TiffPlane) -> list[TiffPlane]:
    """Return the smaller copies of a tiled image that are tiled as well."""
    if not series.keyframe.is_tiled:
        return []
    return [
        replace(whole, array=zarr.open_array(series.aszarr(level=level), mode="r"))
        for level in range(1, len(series.levels))
        if series.levels[level].keyframe.is_tiled
    ]


def _samples_axis(series: tifffile.TiffPageSeries, name: str) -> str:
    """Return the axis of the samples of a pixel, or refuse what is more than one picture."""
    sizes = dict(zip(series.axes, series.shape, strict=True))
    others = [axis for axis, size in sizes.items() if axis not in "YX" and size != 1]
    if {"Y", "X"} <= sizes.keys() and not others:
        check_layout((sizes["Y"], sizes["X"]), series.dtype, name)
        return ""
    # Three planes of unnamed kind are RGB, as many programs write it; S is RGB or RGBA by itself.
    if len(others) == 1 and (others[0] == "S" or (others[0] in "CQI" and sizes[others[0]] == 3)):
        check_layout((sizes["Y"], sizes["X"], sizes[others[0]]), series.dtype, name)
        return others[0]
    raise ImageError(
        f"{name}: {series.shape} pixels with axes {series.axes} are several planes or channels; an "
        "H&E picture has 1 (grey), 3 (RGB) or 4 (RGBA). Multichannel fluorescence is not supported."
    )


def _check_colours(page: tifffile.TiffPage, name: str) -> None:
    simple = {PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB, PHOTOMETRIC.PALETTE}
    decoded = page.photometric == PHOTOMETRIC.YCBCR and page.compression in JPEG_COMPRESSIONS
    if page.photometric not in simple and not decoded:
        kind = getattr(page.photometric, "name", page.photometric)
        raise ImageError(f"{name}: colours of the kind {kind} are not read; save it as RGB.")


def _check_size(series: tifffile.TiffPageSeries, name: str) -> None:
    height, width = (series.shape[series.axes.index(axis)] for axis in "YX")
    if not height or not width:
        raise ImageError(f"{name}: the picture has {width} x {height} pixels.")
    if max(height, width) > LARGEST_SIDE:
        raise ImageError(
            f"{name}: its header states {width} x {height} pixels, which cannot be true."
        )
    if not series.keyframe.is_tiled and series.nbytes > LARGEST_IN_STRIPS:
        raise ImageError(
            f"{name}: its header states {width} x {height} pixels in strips, too many to be read "
            "at once; save it as a tiled TIFF."
        )


def _check_complete(series: tifffile.TiffPageSeries, file_size: int, name: str) -> None:
    """Refuse a file that ends before its pixels do."""
    for page in series.levels[0].pages:
        if page is None or page.parent is not series.parent:
            continue
        ends = np.add(page.dataoffsets, page.databytecounts)
        if len(ends) < np.prod(page.chunked) or ends.max(initial=0) > file_size:
            raise ImageError(
                f"{name}: the file is cut off after {file_size:,} bytes; copy it again from where "
                "it came from."
            )
