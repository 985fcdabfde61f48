"""Losses of UniNuc: dense maps, masks, and the detector's set loss.

IA-BCE is LW-DETR's; mask losses are Dice + 20 focal + MSE of the predicted IoU as in UniNuc.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_nucleus.models.uninuc.dense import DenseMaps

__all__ = ["dense_loss", "dice_loss", "focal_loss", "heatmap_loss"]


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return 1 − Dice of each row; both ``(N, ...)``, target 0 or 1."""
    p, t = torch.sigmoid(logits).flatten(1), target.flatten(1)
    return 1 - (2 * (p * t).sum(1) + 1) / (p.sum(1) + t.sum(1) + 1)


def focal_loss(logits: Tensor, target: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Return the sigmoid focal loss of each row, averaged over its pixels."""
    ce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    p = torch.sigmoid(logits)
    miss = p + target - 2 * p * target
    weight = alpha * target + (1 - alpha) * (1 - target)
    return (weight * miss.pow(gamma) * ce).flatten(1).mean(1)


def heatmap_loss(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return CenterNet's penalty-reduced focal loss over all pixels, for each centre."""
    p = torch.sigmoid(logits)
    centre = (target > 0.95).to(logits.dtype) * weight
    positive = centre * (1 - p).pow(2) * F.logsigmoid(logits)
    negative = weight * (1 - target).pow(4) * p.pow(2) * F.logsigmoid(-logits)
    return -(positive + (weight - centre) * negative).sum() / centre.sum().clamp(min=1)


def dense_loss(
    maps: DenseMaps, targets: dict[str, Tensor], class_weights: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """Return the sum of the dense losses and its parts.

    Parameters
    ----------
    maps
        Predictions at the size of the targets.
    targets
        ``foreground``, ``distance``, ``heatmap``, ``known`` ``(B, H, W)``, ``hv``
        ``(B, 2, H, W)``, ``class_set`` ``(B, C, H, W)`` with 1 for each class that would be right
        and all 0 where the class is unknown.
    class_weights
        ``(C,)``, applied by the right class (the mean where several are right).
    """
    known = targets["known"]
    total = known.sum().clamp(min=1)
    fg = targets["foreground"]
    bce = F.binary_cross_entropy_with_logits(maps.foreground[:, 0], fg, reduction="none")
    bce = (bce * known).sum() / total
    masked = torch.where(known > 0, maps.foreground[:, 0], torch.full_like(fg, -20.0))
    dice = dice_loss(masked.flatten()[None], (fg * known).flatten()[None])[0]
    # Where only points are known, distance and offsets are not.
    full = known.flatten(1).amin(1)[:, None, None]
    distance = F.smooth_l1_loss(
        maps.distance[:, 0], targets["distance"], reduction="none", beta=0.2
    )
    distance = (distance * full).mean()
    inside = fg * full
    hv = F.smooth_l1_loss(maps.hv, targets["hv"], reduction="none", beta=0.2).mean(1)
    hv = (hv * inside).sum() / inside.sum().clamp(min=1)
    heat = heatmap_loss(maps.heatmap[:, 0], targets["heatmap"], known)
    classes = class_loss(maps.classes, targets["class_set"], class_weights)
    parts = {
        "fg_bce": bce,
        "fg_dice": dice,
        "distance": distance,
        "hv": hv,
        "heat": heat,
        "class": classes,
    }
    loss = bce + dice + 4 * distance + hv + 0.5 * heat + 0.5 * classes
    return loss, {k: float(v.detach()) for k, v in parts.items()}


def class_loss(logits: Tensor, class_set: Tensor, class_weights: Tensor) -> Tensor:
    """Return −log of the summed probability of the classes that would be right.

    ``logits`` and ``class_set`` are ``(B, C, ...)``; places without a right class count nothing.
    """
    log_p = F.log_softmax(logits, dim=1)
    right = torch.logsumexp(log_p.masked_fill(class_set == 0, -1e4), dim=1)
    n_right = class_set.sum(1)
    shape = (1, -1, *([1] * (logits.ndim - 2)))
    weight = (class_set * class_weights.view(shape)).sum(1) / n_right.clamp(min=1)
    return -(right * weight).sum() / weight.sum().clamp(min=1)
