"""From dense maps to instances: seeds in the distance map, watershed in the foreground.

The instances serve as box prompts beside the detector's, as a check of detections, and as the
result of an encoder that is trained before the other heads are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

__all__ = ["dense_instances"]


def dense_instances(
    foreground: NDArray[np.floating],
    distance: NDArray[np.floating],
    threshold: float = 0.5,
    seed_levels: tuple[float, float] = (0.45, 0.7),
    min_area: int = 10,
    sigma: float = 1.0,
) -> NDArray[np.int32]:
    """Return instance labels 1..n of one tile.

    Parameters
    ----------
    foreground
        ``(H, W)`` probability.
    distance
        ``(H, W)`` distance to the border, 1 at the centre of each nucleus.
    threshold
        Foreground begins here.
    seed_levels
        A seed is a connected part of the distance map above the first level; where it falls into
        several parts above the second level, those are the seeds.
    min_area
        Smaller instances are dropped, in pixels.
    sigma
        Smoothing of the distance map, in pixels.
    """
    inside = foreground > threshold
    smooth = ndimage.gaussian_filter(distance.astype(np.float32), sigma)
    seeds = _two_level_seeds(np.where(inside, smooth, 0), seed_levels)
    if not seeds.any():
        return np.zeros(foreground.shape, np.int32)
    labels = watershed(-smooth, seeds, mask=inside)
    area = np.bincount(labels.ravel())
    keep = area >= min_area
    keep[0] = False
    renumber = np.zeros(len(area), np.int32)
    renumber[keep] = np.arange(1, keep.sum() + 1)
    return renumber[labels]


def _two_level_seeds(
    smooth: NDArray[np.floating], levels: tuple[float, float], min_seed: int = 4
) -> NDArray[np.int32]:
    low, n_low = ndimage.label(smooth > levels[0])
    high, n_high = ndimage.label(smooth > levels[1])
    if n_low == 0:
        return low.astype(np.int32)
    area = np.bincount(high.ravel(), minlength=n_high + 1)
    big = np.flatnonzero(area >= min_seed)
    big = big[big > 0]
    # The low seed that holds each high one, read at any of its pixels.
    parent = np.zeros(n_high + 1, np.int64)
    parent[high.ravel()] = low.ravel()
    split = np.zeros(n_low + 1, bool)
    children = np.bincount(parent[big], minlength=n_low + 1)
    split[children >= 2] = True
    seeds = np.where(split[low], 0, low).astype(np.int32)
    number = np.zeros(n_high + 1, np.int32)
    chosen = big[split[parent[big]]]
    number[chosen] = n_low + 1 + np.arange(len(chosen))
    return np.where(number[high] > 0, number[high], seeds)
