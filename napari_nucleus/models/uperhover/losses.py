"""Losses of UperHoVer: classes by cross-entropy, offsets by their values and gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_nucleus.models.uperhover.network import Maps

__all__ = ["LossConfig", "gradients", "uperhover_loss"]


@dataclass(frozen=True, slots=True)
class LossConfig:
    """Weights and kernels.

    Parameters
    ----------
    hv
        Weight of the offsets' loss (λ of the paper).
    gradient
        Weight of the gradients' error within it.
    dice
        Weight of the foreground's Dice loss; 0 in the paper.
    class_weights
        Weight of each class among the nuclei; equal in the paper. How much a pixel counts for
        telling nuclei from background is not changed by them.
    sobel5
        HoVer-Net's 5x5 gradient kernel in place of Sobel's 3x3.
    """

    hv: float = 1.0
    gradient: float = 2.0
    dice: float = 0.0
    class_weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 1.0)
    sobel5: bool = False


def uperhover_loss(
    maps: Maps, targets: dict[str, Tensor], config: LossConfig
) -> tuple[Tensor, dict[str, float]]:
    """Return the loss and its parts.

    Parameters
    ----------
    maps
        Logits and offsets at the size of the targets.
    targets
        ``class_set`` ``(B, 1 + C, H, W)`` with 1 for each class that would be right (all nuclei
        where the class is unknown) and all 0 where nothing is known; ``hv`` ``(B, 2, H, W)``;
        ``hv_mask`` ``(B, H, W)`` 1 where offsets are known.
    """
    classes = class_loss(maps.classes.float(), targets["class_set"], config)
    error, slope = offset_loss(maps.hv.float(), targets["hv"], targets["hv_mask"], config)
    parts = {"class": classes, "hv": error, "gradient": slope}
    loss = classes + config.hv * (error + config.gradient * slope)
    if config.dice:
        parts["dice"] = foreground_dice(maps.classes.float(), targets["class_set"])
        loss = loss + config.dice * parts["dice"]
    return loss, {name: float(value.detach()) for name, value in parts.items()}


def class_loss(logits: Tensor, class_set: Tensor, config: LossConfig) -> Tensor:
    """Return −log of the summed probability of the classes that would be right.

    It is the sum of two terms, nucleus or not and which class if one, so that class weights leave
    the first alone; with equal weights it is the cross-entropy over all classes.
    """
    log_p = F.log_softmax(logits, dim=1)
    known = class_set.amax(1)
    nucleus = class_set[:, 1:].amax(1)
    inside = torch.logsumexp(log_p[:, 1:], 1)
    presence = torch.where(nucleus > 0, inside, log_p[:, 0]) * known
    right = torch.logsumexp(log_p[:, 1:].masked_fill(class_set[:, 1:] == 0, -1e4), 1) - inside
    weights = logits.new_tensor(config.class_weights)[:, None, None]
    chosen = class_set[:, 1:].to(logits.dtype)
    weight = (chosen * weights).sum(1) / chosen.sum(1).clamp(min=1)
    which = torch.where(nucleus > 0, right * weight, torch.zeros_like(right))
    return -(presence + which).sum() / known.sum().clamp(min=1)


def foreground_dice(logits: Tensor, class_set: Tensor) -> Tensor:
    """Return 1 − Dice of the nuclei's probability over all known pixels."""
    known = class_set.amax(1)
    p = (1 - logits.softmax(1)[:, 0]) * known
    t = class_set[:, 1:].amax(1).to(logits.dtype)
    return 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)


def offset_loss(
    hv: Tensor, target: Tensor, mask: Tensor, config: LossConfig
) -> tuple[Tensor, Tensor]:
    """Return the squared error of the offsets and of their gradients over the nuclei's pixels.

    The horizontal map is derived along x, the vertical one along y.
    """
    area = mask.sum().clamp(min=1)
    error = ((hv - target).square() * mask[:, None]).sum() / area
    slope = gradients(hv, config.sobel5) - gradients(target, config.sobel5)
    return error, (slope.square() * mask[:, None]).sum() / area


def gradients(hv: Tensor, sobel5: bool = False) -> Tensor:
    """Return ∂x of the horizontal and ∂y of the vertical map, ``(B, 2, H, W)``.

    By Sobel's kernel over 8, so that a slope of 1 per pixel gives 1; with ``sobel5`` by HoVer-Net's
    kernel, which is not normalised.
    """
    reach = 2 if sobel5 else 1
    line = torch.arange(-reach, reach + 1, device=hv.device, dtype=hv.dtype)
    y, x = torch.meshgrid(line, line, indexing="ij")
    along = x / (x * x + y * y + 1e-15) if sobel5 else x * (2 - y.abs()) / 8
    kernel = torch.stack([along, along.T])[:, None]
    padded = F.pad(hv, (reach,) * 4, mode="replicate")
    return F.conv2d(padded, kernel, groups=2)
