"""Label maps of known size for the benchmarks, made from a seed; no files needed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["disturbed", "nuclei_field"]


def nuclei_field(size: int = 2048, pitch: int = 45, seed: int = 0) -> NDArray[np.int32]:
    """Return a ``(size, size)`` label map with one wavy ellipse in each cell of a grid.

    At the default pitch 2,025 nuclei with a median of about 480 pixels; neighbours touch, one in
    fifty has a hole and one in fifty a piece of debris that touches it at a corner.
    """
    rng = np.random.default_rng(seed)
    labels = np.zeros((size, size), np.int32)
    per_side = size // pitch
    half = pitch // 2 + 6
    yy, xx = np.mgrid[-half : half + 1, -half : half + 1]
    for number in range(per_side * per_side):
        cy, cx = (np.array(divmod(number, per_side)) + 0.5) * pitch + rng.uniform(-7, 7, 2)
        oy, ox = int(cy) - half, int(cx) - half
        angle = rng.uniform(0, np.pi)
        a, b = rng.uniform(10, 17), rng.uniform(8, 12)
        u = (yy * np.cos(angle) + xx * np.sin(angle)) / a
        v = (xx * np.cos(angle) - yy * np.sin(angle)) / b
        wave = 1 + 0.12 * np.sin(3 * np.arctan2(v, u) + rng.uniform(0, 6))
        mask = np.hypot(u, v) < wave
        if number % 50 == 7:
            mask &= np.hypot(yy, xx) > 2.5
        if number % 50 == 9:
            corner = np.argwhere(mask)[0]
            mask[corner[0] - 1, corner[1] - 1] = True
        y0, x0 = max(oy, 0), max(ox, 0)
        window = labels[y0 : oy + 2 * half + 1, x0 : ox + 2 * half + 1]
        part = mask[y0 - oy :, x0 - ox :][: window.shape[0], : window.shape[1]]
        window[part & (window == 0)] = number + 1
    return labels


def disturbed(labels: NDArray[np.int32], seed: int = 1) -> NDArray[np.int32]:
    """Return a prediction of ``labels``: shifted, grown, some nuclei dropped, some merged."""
    rng = np.random.default_rng(seed)
    n = int(labels.max())
    new_id = rng.permutation(n).astype(np.int32) + 1
    new_id[rng.random(n) < 0.05] = 0
    merged = np.flatnonzero(rng.random(n - 1) < 0.05)
    new_id[merged] = new_id[merged + 1]
    pred = np.concatenate([[0], new_id]).astype(np.int32)[labels]
    pred = np.roll(pred, (2, -3), axis=(0, 1))
    grown = ndimage.grey_dilation(pred, size=(3, 3))
    return np.where(pred == 0, grown, pred).astype(np.int32)
