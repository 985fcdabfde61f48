"""Random textures as arrays: smooth noise, thin lines of it, crops for small objects.

Knows nothing of tissue. All noise has mean 0 and standard deviation 1 by construction, so that a
field does not depend on its own statistics, and is float32. Lattice noise is the cubic B-spline
value noise of procedural texturing, evaluated as two matrix products because it is separable.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["NoiseBank", "ridges", "smooth_noise", "smoothstep"]

Array = NDArray[np.floating]

SPLINE_STD = 0.4794  # std of unit white noise under a cubic B-spline on both axes
SPLINE_SIGMA = 0.5774  # width of the cubic B-spline, in cells
GAUSS_BELOW_PX = 6.0  # below this scale filtering white noise is the cheaper way


def smoothstep(x: NDArray, low: float = 0.0, high: float = 1.0) -> Array:
    """Return the cubic step that is 0 below ``low`` and 1 above ``high``."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), np.float32)


def ridges(noise: Array, width: float) -> Array:
    """Return thin lines (0-1) where noise crosses zero, ``width`` standard deviations wide."""
    return np.exp(-np.square(noise / np.float32(width)))


@lru_cache(maxsize=256)
def _spline_basis(n: int, scale: float) -> Array:
    """Return the ``(n, cells)`` weights that interpolate a lattice of ``scale`` pixels."""
    x = np.arange(n) / scale
    cell = np.floor(x).astype(int)
    t = x - cell
    weights = np.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1
    )
    basis = np.zeros((n, cell[-1] + 4), np.float32)
    for k in range(4):
        basis[np.arange(n), cell + k] = weights[:, k] / 6.0
    return basis


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], scale_px: float) -> Array:
    """Return noise ``(H, W)`` whose features are about ``scale_px`` across."""
    scale = max(round(float(scale_px), 2), 0.5)
    if scale < GAUSS_BELOW_PX:
        sigma = max(SPLINE_SIGMA * scale, 0.3)
        white = rng.standard_normal(shape, dtype=np.float32)
        radius = int(3.0 * sigma + 0.5)
        kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
        gain = float((kernel**2).sum() / kernel.sum() ** 2)
        smooth = ndimage.gaussian_filter(white, sigma, mode="wrap", radius=radius)
        return np.asarray(smooth / gain, np.float32)
    rows, cols = _spline_basis(shape[0], scale), _spline_basis(shape[1], scale)
    lattice = rng.standard_normal((rows.shape[1], cols.shape[1]), dtype=np.float32)
    return (rows @ lattice @ cols.T) / np.float32(SPLINE_STD)


class NoiseBank:
    """Noise to be cut into crops for many small objects at once.

    Parameters
    ----------
    rng
        Source of the patterns.
    scales_px
        One map is made for each scale.
    """

    SIZE = 224

    def __init__(self, rng: np.random.Generator, scales_px: tuple[float, ...]) -> None:
        self._maps = [smooth_noise(rng, (self.SIZE, self.SIZE), s) for s in scales_px]

    def crops(self, rng: np.random.Generator, which: int, n: int, size: int) -> Array:
        """Return ``(n, size, size)`` crops at random places of map ``which``."""
        windows = np.lib.stride_tricks.sliding_window_view(self._maps[which], (size, size))
        corner = rng.integers(0, self.SIZE - size + 1, (2, n))
        return windows[corner[0], corner[1]]
