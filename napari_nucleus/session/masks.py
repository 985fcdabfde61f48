"""Pure functions on the mask of one nucleus: obedience to clicks, tidy shape, core and rim.

Masks are ``(h, w)`` bool; points are ``(row, column)`` pixels of the mask, unless they are called
``point_yx``. Knows neither the document nor what the user meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_nucleus.core.geometry import Box, box_intersection

__all__ = [
    "CORE_SHARE",
    "DISK_RADIUS",
    "TightMask",
    "in_core",
    "largest_part",
    "obey_points",
    "place_mask",
    "tidy_mask",
    "tight_mask",
]

DISK_RADIUS = 2.5
"""Radius in pixels of the disk that is joined or taken where a model disobeys a click: 21 pixels,
enough to be seen and to be hit again."""

CORE_SHARE = 0.5
"""Depth, as a share of the largest, from which a pixel is in the core of its nucleus."""

Pixel = tuple[int, int]


def place_mask(mask: NDArray[np.bool_], box: Box, window: Box) -> NDArray[np.bool_]:
    """Return the mask at ``box`` as seen through ``window``; what lies outside is cut."""
    out = np.zeros((window[2] - window[0], window[3] - window[1]), np.bool_)
    common = box_intersection(box, window)
    if common is not None:
        a, b, c, d = common
        part = mask[a - box[0] : c - box[0], b - box[1] : d - box[1]]
        out[a - window[0] : c - window[0], b - window[1] : d - window[1]] = part
    return out


@dataclass(frozen=True, slots=True, eq=False)
class TightMask:
    """A mask cropped to its pixels, its level-0 box, its area and its centroid.

    The centroid, corner-origin, comes from sums of whole numbers: the same pixels give the same
    one to the last bit.
    """

    mask: NDArray[np.bool_]
    box: Box
    area: int
    centroid_yx: tuple[float, float]


def tight_mask(mask: NDArray[np.bool_], box: Box) -> TightMask | None:
    """Crop a mask at ``box`` to its pixels and measure it; None without pixels."""
    rows = np.add.reduce(mask, axis=1, dtype=np.int64)
    cols = np.add.reduce(mask, axis=0, dtype=np.int64)
    area = int(np.add.reduce(rows))
    if not area:
        return None
    centroid = (
        int(rows @ np.arange(len(rows))) / area + 0.5 + box[0],
        int(cols @ np.arange(len(cols))) / area + 0.5 + box[1],
    )
    if not (rows[0] and rows[-1] and cols[0] and cols[-1]):
        used_rows, used_cols = np.flatnonzero(rows), np.flatnonzero(cols)
        a, c = int(used_rows[0]), int(used_rows[-1]) + 1
        b, d = int(used_cols[0]), int(used_cols[-1]) + 1
        mask, box = mask[a:c, b:d], (box[0] + a, box[1] + b, box[0] + c, box[1] + d)
    return TightMask(mask, box, area, centroid)


def obey_points(
    mask: NDArray[np.bool_], points_rc: Sequence[Pixel], positive: Sequence[bool]
) -> NDArray[np.bool_]:
    """Return the mask with every positive point inside and every negative point outside.

    A point that the mask disobeys is put right by a disk of `DISK_RADIUS`; of two points on one
    pixel the later counts, and no disk changes the pixel of another point.
    """
    out = mask.copy()
    wanted: dict[Pixel, bool] = {}
    for pixel, sign in zip(points_rc, positive, strict=True):
        wanted.pop(pixel, None)
        wanted[pixel] = bool(sign)
    rows, cols = np.ogrid[: mask.shape[0], : mask.shape[1]]
    for (r, c), sign in wanted.items():
        if out[r, c] != sign:
            out[(rows - r) ** 2 + (cols - c) ** 2 <= DISK_RADIUS**2] = sign
    for (r, c), sign in wanted.items():
        out[r, c] = sign
    return out


def tidy_mask(
    mask: NDArray[np.bool_],
    free: NDArray[np.bool_],
    inside_rc: Iterable[Pixel] = (),
    outside_rc: Iterable[Pixel] = (),
) -> NDArray[np.bool_]:
    """Return a mask within ``free``: its largest part, parts with a point, holes filled.

    Parameters
    ----------
    mask
        The wished shape.
    free
        Pixels it may take; the others belong to neighbours.
    inside_rc
        Points whose parts are kept however small.
    outside_rc
        Points whose holes stay open. A hole that holds a neighbour stays open as well.

    Notes
    -----
    Parts are 4-connected, so that each is one valid polygon.
    """
    parts, n = _parts(mask & free)
    if n == 0:
        return np.zeros_like(mask)
    sizes = np.bincount(parts.ravel(), minlength=n + 1)
    kept = np.zeros(n + 1, np.bool_)
    kept[1 + int(sizes[1:].argmax())] = True
    kept[[parts[pixel] for pixel in inside_rc]] = True
    kept[0] = False
    out = kept[parts]
    holes = np.asarray(ndimage.binary_fill_holes(out), np.bool_) & ~out
    if holes.any():
        numbers, n = _parts(holes)
        filled = np.ones(n + 1, np.bool_)
        filled[numbers[holes & ~free]] = False
        filled[[numbers[pixel] for pixel in outside_rc]] = False
        filled[0] = False
        out |= filled[numbers]
    return out


def largest_part(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest 4-connected part of a mask."""
    parts, n = _parts(mask)
    if n <= 1:
        return mask
    return parts == 1 + int(np.bincount(parts.ravel())[1:].argmax())


def _parts(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Number the 4-connected parts of a mask from 1 on."""
    return cast(tuple[NDArray[np.int32], int], ndimage.label(mask))


def in_core(mask: NDArray[np.bool_], pixel: Pixel) -> bool:
    """Return True if a pixel lies at least `CORE_SHARE` as deep as the deepest one.

    Depth is the distance to the rim; the image border and the mask's own box count as rim. Very
    large masks are thinned out first: the pointer asks this at every move.
    """
    step = max(1, max(mask.shape) // 256)
    depth = np.asarray(ndimage.distance_transform_edt(np.pad(mask[::step, ::step], 1)))
    return bool(depth[pixel[0] // step + 1, pixel[1] // step + 1] >= CORE_SHARE * depth.max())
