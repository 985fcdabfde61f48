"""What the dense heads are asked to predict, made from a label map."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["DenseTargets", "dense_targets", "heatmap_of_points", "normalised_distance"]


class DenseTargets(NamedTuple):
    """Targets of one crop.

    ``foreground`` ``(H, W)`` 0 or 1; ``distance`` ``(H, W)`` 0–1; ``hv`` ``(2, H, W)`` −1–1 (x, y);
    ``heatmap`` ``(H, W)`` 0–1; ``classes`` ``(H, W)`` uint8; all float32 but the last.
    """

    foreground: NDArray[np.float32]
    distance: NDArray[np.float32]
    hv: NDArray[np.float32]
    heatmap: NDArray[np.float32]
    classes: NDArray[np.uint8]


def dense_targets(
    labels: NDArray[np.int32], class_target: NDArray[np.uint8], heatmap_sigma: float
) -> DenseTargets:
    """Return the targets of a label map with ids that index ``class_target``."""
    labels, ids = _compact(labels)
    targets = class_target[ids]
    hv, centroids = _offsets(labels, len(ids))
    return DenseTargets(
        (labels > 0).astype(np.float32),
        normalised_distance(labels),
        hv,
        heatmap_of_points(centroids, labels.shape, heatmap_sigma),
        targets[labels],
    )


def _compact(labels: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the map with ids 0..n and the original id of each."""
    present = np.zeros(int(labels.max()) + 1, bool)
    present[labels.ravel()] = True
    present[0] = True
    ids = np.flatnonzero(present)
    renumber = np.zeros(len(present), np.int32)
    renumber[ids] = np.arange(len(ids))
    return renumber[labels], ids.astype(np.int32)


def normalised_distance(labels: NDArray[np.int32]) -> NDArray[np.float32]:
    """Return each pixel's distance to the border of its nucleus, 1 at the deepest point.

    Touching nuclei have a border between them; the edge of the picture is none.
    """
    same = np.ones(labels.shape, bool)
    for axis in (0, 1):
        step = np.diff(labels, axis=axis) != 0
        first = [slice(None)] * 2
        second = [slice(None)] * 2
        first[axis], second[axis] = slice(None, -1), slice(1, None)
        same[tuple(first)] &= ~step
        same[tuple(second)] &= ~step
    inner = ndimage.distance_transform_edt(same) if not same.all() else np.full(labels.shape, 99.0)
    distance = np.where(labels > 0, inner + 0.5, 0).astype(np.float32)
    n = int(labels.max())
    deepest = np.ones(n + 1, np.float32)
    if n:
        deepest[1:] = np.maximum(ndimage.maximum(distance, labels, np.arange(1, n + 1)), 0.5)
    return distance / deepest[labels]


def _offsets(
    labels: NDArray[np.int32], n_ids: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return offsets from the centroid, and the centroids as pixel indices.

    They are ±1 where a nucleus reaches farthest on an axis; HoVer-Net's, which are scaled on each
    side apart, jump at the centroid.
    """
    count = np.maximum(np.bincount(labels.ravel(), minlength=n_ids), 1)
    hv = np.zeros((2, *labels.shape), np.float32)
    centroids = np.zeros((n_ids, 2))
    for axis, plane in ((1, 0), (0, 1)):
        shape = [1, 1]
        shape[axis] = labels.shape[axis]
        position = np.broadcast_to(np.arange(labels.shape[axis]).reshape(shape), labels.shape)
        centre = np.bincount(labels.ravel(), position.ravel(), minlength=n_ids) / count
        offset = position - centre[labels]
        reach = np.ones(n_ids)
        if n_ids > 1:
            reach[1:] = ndimage.maximum(np.abs(offset), labels, np.arange(1, n_ids))
        hv[plane] = np.where(labels > 0, offset / np.maximum(reach, 1)[labels], 0)
        centroids[:, axis] = centre
    return hv, centroids[1:]


def heatmap_of_points(
    points_yx: NDArray[np.floating], shape: tuple[int, int], sigma: float
) -> NDArray[np.float32]:
    """Return a map with a Gaussian of height 1 at each point (pixel indices), their maximum.

    The pixel nearest to a point is 1, wherever in it the point lies: losses know centres by that.
    """
    heatmap = np.zeros(shape, np.float32)
    reach = int(np.ceil(3 * sigma))
    for y, x in points_yx:
        r, c = round(float(y)), round(float(x))
        y0, y1 = max(r - reach, 0), min(r + reach + 1, shape[0])
        x0, x1 = max(c - reach, 0), min(c + reach + 1, shape[1])
        if y0 >= y1 or x0 >= x1:
            continue
        dy = np.exp(-0.5 * ((np.arange(y0, y1) - y) / sigma) ** 2)
        dx = np.exp(-0.5 * ((np.arange(x0, x1) - x) / sigma) ** 2)
        np.maximum(heatmap[y0:y1, x0:x1], np.outer(dy, dx), out=heatmap[y0:y1, x0:x1])
        if 0 <= r < shape[0] and 0 <= c < shape[1]:
            heatmap[r, c] = 1
    return heatmap
