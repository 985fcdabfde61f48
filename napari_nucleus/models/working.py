"""From tile pixels to the network's pixels and back: magnification and stain in one place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from napari_nucleus.core.stain import LabStatistics, restain
from napari_nucleus.models.api import Calibration

__all__ = [
    "FLIPS",
    "Working",
    "flip_offsets",
    "mirror_to",
    "normalise",
    "pad_to_multiple",
    "to_network",
    "to_working",
]

FLIPS: tuple[tuple[int, ...], ...] = ((), (3,), (2,), (2, 3))
"""Mirrorings whose answers are averaged, in the order in which they are added."""

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Working:
    """A tile at the model's magnification.

    Parameters
    ----------
    rgb
        ``(1, 3, h, w)`` float in 0–1, on the model's device.
    per_tile_pixel
        Working pixels for each tile pixel on ``y`` and ``x``; the axes differ by a rounding.
    """

    rgb: Tensor
    per_tile_pixel: tuple[float, float]


def to_working(
    rgb: NDArray[np.uint8],
    calibration: Calibration,
    upscale: float,
    training_stain: LabStatistics | None,
    strength: float,
    device: torch.device,
) -> Working:
    """Restain a tile towards the training data and bring it to the working magnification.

    Parameters
    ----------
    rgb
        ``(H, W, 3)`` uint8.
    upscale
        Network pixels per working pixel.
    training_stain, strength
        Where the image's LAB statistics (of the calibration) are moved to, and how far.
    """
    if training_stain is not None and strength > 0 and calibration.lab_mean is not None:
        assert calibration.lab_std is not None
        source = LabStatistics(calibration.lab_mean, calibration.lab_std)
        rgb = restain(rgb, source, training_stain, strength)
    h, w = rgb.shape[:2]
    pixels = torch.tensor(rgb, device=device).permute(2, 0, 1)[None]
    pixels = pixels.float() / 255
    factor = calibration.scale * upscale
    size = (max(round(h * factor), 1), max(round(w * factor), 1))
    if size != (h, w):
        pixels = F.interpolate(
            pixels, size, mode="bilinear", align_corners=False, antialias=factor < 1
        )
    return Working(pixels, (size[0] / h, size[1] / w))


def normalise(rgb: Tensor) -> Tensor:
    """Return ``(B, 3, H, W)`` in 0–1 with ImageNet's mean and deviation taken out."""
    mean = rgb.new_tensor(_MEAN)[:, None, None]
    std = rgb.new_tensor(_STD)[:, None, None]
    return (rgb - mean) / std


def pad_to_multiple(pixels: Tensor, multiple: int) -> Tensor:
    """Extend ``(B, C, H, W)`` at the bottom and right to multiples by mirroring."""
    h, w = pixels.shape[-2:]
    return mirror_to(pixels, (h + -h % multiple, w + -w % multiple))


def mirror_to(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Extend ``(B, C, H, W)`` at the bottom and right to ``size`` by mirroring."""
    bottom, right = size[0] - pixels.shape[-2], size[1] - pixels.shape[-1]
    while bottom or right:
        # Mirroring cannot add more than the picture has, so tiny pictures take several rounds.
        step = (0, min(right, max(pixels.shape[-1] - 1, 0)), 0, min(bottom, pixels.shape[-2] - 1))
        if step == (0, 0, 0, 0):
            return F.pad(pixels, (0, right, 0, bottom), mode="replicate")
        pixels = F.pad(pixels, step, mode="reflect")
        bottom, right = bottom - step[3], right - step[1]
    return pixels


def to_network(rgb: Tensor, multiple: int) -> Tensor:
    """Return normalised, padded network input of ``(B, 3, H, W)`` in 0–1."""
    return normalise(pad_to_multiple(rgb, multiple)).contiguous(memory_format=torch.channels_last)


def flip_offsets(hv: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return offsets ``(B, 2, H, W)``, x then y, mirrored along spatial axes 2 (y) and 3 (x)."""
    signs = [-1.0 if 3 in axes else 1.0, -1.0 if 2 in axes else 1.0]
    return hv.flip(axes) * hv.new_tensor(signs)[:, None, None]
