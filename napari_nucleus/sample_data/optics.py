"""What microscope, camera and file format do to light before it is an RGB image.

Blur, the sharpening of slide scanners, lateral colour error, uneven light, white balance, sensor
noise and block compression (the 8 x 8 cosine transform and quality scale of ITU T.81, with
half-size chroma). Knows nothing of stains.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_nucleus.sample_data.noise import smooth_noise

__all__ = ["Optics", "photograph", "random_optics"]

LUMA_TABLE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    dtype=np.float32,
)
CHROMA_TABLE = np.full((8, 8), 99, np.float32)
CHROMA_TABLE[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
RGB_TO_YCC = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)
YCC_TO_RGB = np.linalg.inv(RGB_TO_YCC.astype(np.float64)).astype(np.float32)
COSINES = np.array(
    [[0.5 * np.cos(np.pi / 8 * k * (i + 0.5)) for i in range(8)] for k in range(8)], np.float32
)
COSINES[0] = np.sqrt(0.125)


@dataclass(frozen=True)
class Optics:
    """One microscope, camera and file format.

    Parameters
    ----------
    blur_px
        Standard deviation of the point spread, pixels.
    sharpen
        Strength of unsharp masking after it; 0 for none.
    colour_shift_px
        Shift of red against blue, pixels on each axis.
    noise
        Standard deviation of the sensor noise, grey levels.
    quality
        JPEG quality 1-100; 0 for none.
    unevenness
        Relative swing of the illumination over the field.
    balance
        Gain of each RGB channel.
    gamma
        Exponent of the tone curve.
    """

    blur_px: float = 0.6
    sharpen: float = 0.5
    colour_shift_px: tuple[float, float] = (0.1, -0.1)
    noise: float = 1.5
    quality: int = 85
    unevenness: float = 0.02
    balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    gamma: float = 1.0


def random_optics(rng: np.random.Generator) -> Optics:
    """Draw optics: mostly good scans, some soft, noisy or heavily compressed ones."""
    poor = rng.random() < 0.2
    dy, dx = rng.normal(0, 0.2, 2)
    r, g, b = 1.0 + rng.normal(0, 0.012, 3)
    return Optics(
        blur_px=round(float(rng.uniform(0.9, 1.5) if poor else rng.uniform(0.5, 0.9)), 3),
        sharpen=round(float(rng.uniform(0.2, 1.3) * (rng.random() < 0.75)), 3),
        colour_shift_px=(round(float(dy), 3), round(float(dx), 3)),
        noise=round(float(rng.uniform(0.5, 3.0 if poor else 2.0)), 3),
        quality=int(rng.integers(35, 75)) if poor else int(rng.integers(70, 97)),
        unevenness=round(float(rng.uniform(0.0, 0.04)), 3),
        balance=(round(float(r), 4), round(float(g), 4), round(float(b), 4)),
        gamma=round(float(np.exp(rng.normal(0, 0.05))), 3),
    )


def photograph(
    light: NDArray[np.float32], optics: Optics, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return the picture ``(H, W, 3)`` uint8 of light ``(H, W, 3)`` in 0-255."""
    height, width = light.shape[:2]
    planes = np.empty((3, height, width), np.float32)
    dy, dx = optics.colour_shift_px
    for c, sign in enumerate((0.5, 0.0, -0.5)):
        plane = ndimage.gaussian_filter(light[..., c], optics.blur_px, truncate=3.0)
        planes[c] = _shifted(plane, dy * sign, dx * sign)
    if optics.sharpen > 0:
        for plane in planes:
            plane += optics.sharpen * (plane - ndimage.gaussian_filter(plane, 1.2, truncate=2.5))
    shade = smooth_noise(rng, (height, width), max(height, width) / 2.5)
    planes *= 1.0 + optics.unevenness * 0.5 * shade
    planes *= np.asarray(optics.balance, np.float32)[:, None, None]
    if optics.gamma != 1.0:
        planes = 255.0 * np.clip(planes / 255.0, 0.0, 1.0) ** optics.gamma
    # Grain shared by the channels and grain of each, as demosaicking leaves it.
    planes += optics.noise * 0.7 * rng.standard_normal((height, width), dtype=np.float32)
    planes += optics.noise * 0.7 * rng.standard_normal(planes.shape, dtype=np.float32)
    if optics.quality > 0:
        planes = _compressed(planes, optics.quality)
    return np.clip(planes + 0.5, 0, 255).astype(np.uint8).transpose(1, 2, 0).copy()


def _shifted(plane: NDArray, dy: float, dx: float) -> NDArray:
    """Shift by less than a pixel by linear interpolation; the last row and column stay."""
    for axis, d in ((0, dy), (1, dx)):
        if abs(d) < 0.02:
            continue
        d = float(np.clip(d, -0.9, 0.9))
        neighbour = np.roll(plane, int(np.sign(d)), axis)
        edge = [slice(None)] * 2
        edge[axis] = slice(0, 1) if d > 0 else slice(-1, None)
        neighbour[tuple(edge)] = plane[tuple(edge)]
        plane = plane * (1 - abs(d)) + neighbour * abs(d)
    return plane


def _compressed(planes: NDArray[np.float32], quality: int) -> NDArray[np.float32]:
    """Return the planes ``(3, H, W)`` after JPEG's colour change, halving and quantisation."""
    height, width = planes.shape[1:]
    scale = 50.0 / quality if quality < 50 else 2.0 - quality / 50.0
    pad = ((0, 0), (0, -height % 16), (0, -width % 16))
    padded = np.clip(np.pad(planes, pad, mode="edge"), 0, 255)
    ycc = np.tensordot(RGB_TO_YCC, padded, axes=1)
    ycc[0] = _quantised(ycc[0] - 128.0, LUMA_TABLE, scale) + 128.0
    for c in (1, 2):
        small = ycc[c].reshape(ycc.shape[1] // 2, 2, ycc.shape[2] // 2, 2).mean(axis=(1, 3))
        small = _quantised(small, CHROMA_TABLE, scale)
        ycc[c] = ndimage.uniform_filter(small.repeat(2, axis=0).repeat(2, axis=1), 2)
    return np.tensordot(YCC_TO_RGB, ycc, axes=1)[:, :height, :width]


def _quantised(plane: NDArray[np.float32], table: NDArray, scale: float) -> NDArray[np.float32]:
    rows, cols = plane.shape[0] // 8, plane.shape[1] // 8
    steps = np.clip(np.floor(table * scale + 0.5), 1, 255)
    blocks = plane.reshape(rows, 8, cols, 8).transpose(0, 2, 1, 3)
    coefficients = COSINES @ blocks @ COSINES.T
    coefficients = np.rint(coefficients / steps) * steps
    restored = (COSINES.T @ coefficients @ COSINES).transpose(0, 2, 1, 3)
    return np.asarray(restored, np.float32).reshape(plane.shape)
