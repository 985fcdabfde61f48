"""Stain as numbers: optical density, hematoxylin-eosin jitter, and restaining through CIELAB.

Stain vectors are those of Ruifrok and Johnston (2001) as scikit-image publishes them. Restaining
moves the mean and standard deviation of the tissue in CIELAB (Reinhard et al. 2001); it is meant to
be estimated on a whole image, never per tile, or tiles of one image would disagree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skimage.color import hed_from_rgb, rgb_from_hed

__all__ = [
    "LabStatistics",
    "hed_jitter",
    "lab_statistics",
    "lab_to_rgb",
    "od_to_rgb",
    "restain",
    "rgb_to_lab",
    "rgb_to_od",
    "tissue_mask",
]

_RGB_FROM_HED = np.asarray(rgb_from_hed, np.float32)
_HED_FROM_RGB = np.asarray(hed_from_rgb, np.float32)

_XYZ_FROM_RGB = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ],
    np.float32,
)
_RGB_FROM_XYZ = np.linalg.inv(_XYZ_FROM_RGB).astype(np.float32)
_WHITE_D65 = np.array([0.95047, 1.0, 1.08883], np.float32)


def _srgb_decode(value: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.where(value > 0.04045, ((value + 0.055) / 1.055) ** 2.4, value / 12.92)


def _srgb_encode(value: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.where(value > 0.0031308, 1.055 * value ** (1 / 2.4) - 0.055, value * 12.92)


_LINEAR_OF_BYTE = _srgb_decode(np.arange(256) / 255.0).astype(np.float32)
# Linear light in 4096 steps is finer than one byte of sRGB everywhere but in the darkest shades.
_BYTE_OF_LINEAR = np.rint(_srgb_encode(np.arange(4097) / 4096.0) * 255.0).astype(np.uint8)


def rgb_to_od(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the optical density (natural logarithm, white is 0) of ``(..., 3)`` uint8."""
    return -np.log(np.maximum(rgb, 1).astype(np.float32) / 255.0)


def od_to_rgb(density: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return RGB uint8 of optical densities ``(..., 3)``."""
    return np.clip(np.rint(np.exp(-density) * 255.0), 0, 255).astype(np.uint8)


def hed_jitter(rgb: NDArray[np.uint8], factors: ArrayLike, offsets: ArrayLike) -> NDArray[np.uint8]:
    """Scale and shift the hematoxylin, eosin and residual channels of ``(..., 3)`` uint8.

    Parameters
    ----------
    rgb
        The picture.
    factors, offsets
        Three numbers each; 1 and 0 return the picture (Tellez et al. 2018). Offsets are in units
        of the deconvolved channels.
    """
    stains = rgb_to_od(rgb) @ _HED_FROM_RGB
    stains = stains * np.asarray(factors, np.float32) + np.asarray(offsets, np.float32)
    return od_to_rgb(np.maximum(stains @ _RGB_FROM_HED, 0))


def rgb_to_lab(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return CIELAB (D65) of ``(..., 3)`` sRGB uint8."""
    xyz = _LINEAR_OF_BYTE[rgb] @ _XYZ_FROM_RGB.T / _WHITE_D65
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + np.float32(16 / 116))
    fx, fy, fz = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], axis=-1)


def lab_to_rgb(lab: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return sRGB uint8 of CIELAB (D65) ``(..., 3)``; colours outside the gamut are clipped."""
    lab = np.asarray(lab, np.float32)
    fy = (lab[..., 0] + 16) / 116
    f = np.stack([fy + lab[..., 1] / 500, fy, fy - lab[..., 2] / 200], axis=-1)
    xyz = np.where(f > 0.2068966, f * f * f, (f - np.float32(16 / 116)) / 7.787) * _WHITE_D65
    linear = np.clip(xyz @ _RGB_FROM_XYZ.T, 0, 1)
    return _BYTE_OF_LINEAR[np.rint(linear * 4096).astype(np.int32)]


@dataclass(frozen=True, slots=True)
class LabStatistics:
    """Mean and standard deviation of tissue in CIELAB, three numbers each."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def tissue_mask(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where ``(..., 3)`` uint8 shows tissue: neither empty glass nor black.

    Glass is bright in every channel; pen, folds and the slide's edge are dark in every channel.
    """
    low, high = rgb.min(axis=-1), rgb.max(axis=-1)
    return (low < 215) & (high > 40)


def lab_statistics(
    rgb: NDArray[np.uint8], mask: NDArray[np.bool_] | None = None, minimum_pixels: int = 1000
) -> LabStatistics | None:
    """Return the LAB statistics of the tissue, or None if fewer than ``minimum_pixels`` show it.

    Parameters
    ----------
    rgb
        ``(..., 3)`` uint8.
    mask
        Pixels to use, of the leading shape of ``rgb``; by default `tissue_mask`.
    """
    pixels = rgb[tissue_mask(rgb) if mask is None else mask].reshape(-1, 3)
    if len(pixels) < minimum_pixels:
        return None
    lab = rgb_to_lab(pixels).astype(np.float64)
    mean, std = lab.mean(axis=0), lab.std(axis=0)
    return LabStatistics(tuple(map(float, mean)), tuple(map(float, std)))  # type: ignore[arg-type]


def restain(
    rgb: NDArray[np.uint8],
    source: LabStatistics,
    target: LabStatistics,
    strength: float = 1.0,
) -> NDArray[np.uint8]:
    """Move a picture's LAB statistics from ``source`` towards ``target``.

    Parameters
    ----------
    rgb
        ``(..., 3)`` uint8.
    source
        Statistics of the image that the picture is a part of.
    target
        Statistics to reach at strength 1; 0 returns the picture.
    """
    source_mean, source_std = np.asarray(source.mean), np.maximum(source.std, 1e-3)
    mean = source_mean + strength * (np.asarray(target.mean) - source_mean)
    gain = (np.maximum(target.std, 1e-3) / source_std) ** strength
    shift = (mean - source_mean * gain).astype(np.float32)
    return lab_to_rgb(rgb_to_lab(rgb) * gain.astype(np.float32) + shift)
