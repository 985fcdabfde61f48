"""Strokes that a hand draws: where they go, how the hand shakes, what a round brush covers.

Strokes are planned from what a user who knows the true outline sees; no mask is ever copied. All
coordinates are ``(y, x)`` pixels of the window that was given, corner-origin.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree
from skimage.measure import find_contours

__all__ = ["JITTER", "begun_in", "brushed", "cut_stroke", "erase_stroke", "paint_stroke", "shaken"]

JITTER = 1.0
"""Standard deviation in pixels of the hand's error, in each direction."""

WAVE = 8.0
"""Pixels along a stroke over which the hand's error stays alike."""

COST = 1.0
"""Pixels of gain that a pixel of a stroke must bring to be drawn: the hand errs by as much."""

BEYOND = 4.0
"""Pixels by which a cut begins and ends outside of what it cuts."""

Mask = NDArray[np.bool_]
Points = NDArray[np.floating]


def shaken(path_yx: Points, rng: np.random.Generator, jitter: float = JITTER) -> Points:
    """Return a path as a hand draws it: off by ``jitter``, alike within `WAVE`."""
    sigma = WAVE / 2
    margin = int(4 * sigma)
    noise = rng.normal(size=(len(path_yx) + 2 * margin, 2))
    smooth = ndimage.gaussian_filter1d(noise, sigma, axis=0)[margin : margin + len(path_yx)]
    # A Gaussian of this width lowers the deviation of white noise by this factor.
    return path_yx + jitter * np.sqrt(2 * np.sqrt(np.pi) * sigma) * smooth


def brushed(path_yx: Points, radius: float, shape: tuple[int, int]) -> Mask:
    """Return the pixels ``shape`` whose centres a round brush covers along a path."""
    centres = np.indices(shape).reshape(2, -1).T + 0.5
    far, _ = KDTree(_resampled(path_yx, 0.5)).query(centres, distance_upper_bound=radius + 1e-9)
    return np.isfinite(far).reshape(shape)


def paint_stroke(truth: Mask, missing: Mask, radius: float) -> Points | None:
    """Return a stroke inside the true outline that covers what is missing of it.

    It follows the outline at the depth of the brush, as far as that pays.
    """
    depth = np.asarray(ndimage.distance_transform_edt(np.pad(truth, 1)))[1:-1, 1:-1]
    level = min(radius + 0.5, 0.7 * float(depth.max()))
    if level <= 0:
        return None
    return _best_arc(depth, level, missing.astype(int), radius + 1.5)


def erase_stroke(truth: Mask, surplus: Mask, right: Mask, radius: float) -> Points | None:
    """Return a stroke outside the true outline that takes what is surplus.

    ``right`` are pixels of other nuclei that had better stay.
    """
    away = np.asarray(ndimage.distance_transform_edt(~truth))
    return _best_arc(away, radius + 0.5, surplus.astype(int) - right, radius + 1.5)


def begun_in(path_yx: Points, mask: Mask) -> Points:
    """Return a path that begins in a mask: with a short way to it, from the nearer end."""
    pixels = np.argwhere(mask) + 0.5
    first, last = (np.linalg.norm(pixels - end, axis=1) for end in (path_yx[0], path_yx[-1]))
    if last.min() < first.min():
        path_yx, first = path_yx[::-1], last
    return np.concatenate([pixels[first.argmin()][None], path_yx])


def cut_stroke(truth: Mask, blob: Mask) -> Points | None:
    """Return a stroke along the true outline that cuts a blob there, from outside to outside."""
    outlines = find_contours(np.pad(truth, 1).astype(float), 0.5)
    if not outlines:
        return None
    contour = _resampled(max(outlines, key=len) - 0.5, 1.0)
    pixels = np.clip(np.floor(contour).astype(int), 0, np.array(blob.shape) - 1)
    inside = blob[tuple(pixels.T)]
    if inside.all():
        return contour
    arc = _best_run(np.where(inside, 1.0, -0.7))
    if arc is None:
        return None
    extra = int(BEYOND)
    first, n = arc
    return contour[np.arange(first - extra, first + n + extra) % len(contour)]


def _best_arc(
    field: NDArray[np.float64], level: float, weights: NDArray[np.integer], reach: float
) -> Points | None:
    """Return the arc of a level line whose pixels within reach weigh most, less its length."""
    outlines = find_contours(np.pad(field, 1, mode="edge"), level)
    if not outlines:
        return None
    contour = _resampled(max(outlines, key=len) - 0.5, 1.0)
    pixels = np.argwhere(weights)
    if not len(pixels):
        return None
    gaps = np.linalg.norm(pixels[:, None] + 0.5 - contour[None], axis=2)
    nearest = gaps.argmin(axis=1)
    near = gaps.min(axis=1) <= reach
    weight = weights[tuple(pixels[near].T)]
    gain = np.bincount(nearest[near], weight, len(contour)) - COST
    arc = _best_run(gain)
    if arc is None:
        return None
    first, n = arc
    return contour[np.arange(first, first + n) % len(contour)]


def _best_run(gain: NDArray[np.floating]) -> tuple[int, int] | None:
    """Return begin and length of the run round a circle that gains most; None if none gains."""
    n = len(gain)
    sums = np.concatenate([[0.0], np.cumsum(np.tile(gain, 2))])
    best, run = 0.0, None
    for first in range(n):
        ends = sums[first + 1 : first + n + 1] - sums[first]
        k = int(ends.argmax())
        if ends[k] > best + 1e-9:
            best, run = float(ends[k]), (first, k + 1)
    return run


def _resampled(path_yx: Points, step: float) -> Points:
    """Return points every ``step`` pixels along a path."""
    if len(path_yx) < 2:
        return path_yx
    lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path_yx, axis=0), axis=1))])
    n = max(2, int(np.ceil(lengths[-1] / step)) + 1)
    at = np.linspace(0.0, lengths[-1], n)
    return np.stack([np.interp(at, lengths, path_yx[:, i]) for i in range(2)], axis=1)
