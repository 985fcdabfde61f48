"""The detector's own losses on one prompt: queries matched with nuclei, one to one.

Weights and costs are those of SAM3's fine-tuning (MODELS.md E.1): boxes by L1 and generalised IoU,
scores by an IoU-aware cross-entropy, masks by focal and Dice loss. A nucleus that no query is left
for is not asked of the queries; the semantic answer has it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from napari_nucleus.models.uninuc.set_loss import ia_bce, iou_and_giou

__all__ = ["NativeConfig", "boxes_of_masks", "native_loss"]


@dataclass(frozen=True, slots=True)
class NativeConfig:
    """Weights of the parts, exponents of focal losses, and costs of the matching."""

    score: float = 20.0
    l1: float = 5.0
    giou: float = 2.0
    mask: float = 200.0
    dice: float = 10.0
    alpha: float = 0.25
    gamma: float = 2.0
    match_score: float = 2.0
    match_l1: float = 5.0
    match_giou: float = 2.0


def native_loss(
    masks: Tensor, scores: Tensor, boxes: Tensor, nuclei: Tensor, config: NativeConfig | None = None
) -> Tensor:
    """Return the set loss of one prompt.

    Parameters
    ----------
    masks, scores, boxes
        Of Q queries: logits ``(Q, h, w)`` and ``(Q,)``, x0, y0, x1, y1 in 0–1 ``(Q, 4)``.
    nuclei
        ``(n, H, W)`` bool, what was asked for.
    """
    config = config or NativeConfig()
    scores, boxes = scores.float(), _centred(boxes.float())
    positive = torch.zeros((len(scores), 1), dtype=torch.bool, device=scores.device)
    iou = scores.new_zeros(len(scores))
    if not len(nuclei):
        return config.score * ia_bce(scores[:, None], positive, iou, ~positive, config.alpha)
    true = boxes_of_masks(nuclei)
    rows, columns = _matched(scores, boxes, true, config)
    value, general = iou_and_giou(boxes[rows], true[columns])
    positive[rows] = True
    iou[rows] = value.detach()
    n = len(rows)
    known = torch.ones_like(positive)
    found = config.score * ia_bce(scores[:, None], positive, iou, known, config.alpha)
    found = found + config.l1 * (boxes[rows] - true[columns]).abs().sum()
    found = found + config.giou * (1 - general).sum()
    return (found + _mask_loss(masks[rows].float(), nuclei[columns], config)) / n


def boxes_of_masks(masks: Tensor) -> Tensor:
    """Return the tight boxes of masks ``(n, H, W)``: cx, cy, w, h in 0–1."""
    corners = []
    for axis in (1, 2):  # columns, then rows
        line = masks.any(axis)
        length = line.shape[1]
        first = line.float().argmax(1)
        last = length - line.flip(1).float().argmax(1)
        corners.append((first / length, last / length))
    (x0, x1), (y0, y1) = corners
    return torch.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], 1)


def _centred(boxes: Tensor) -> Tensor:
    return torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)


@torch.no_grad()
def _matched(
    scores: Tensor, boxes: Tensor, true: Tensor, config: NativeConfig
) -> tuple[Tensor, Tensor]:
    """Return matching rows of queries and of nuclei."""
    away = (boxes[:, None] - true[None]).abs().sum(-1)
    general = iou_and_giou(boxes[:, None], true[None])[1]
    cost = config.match_l1 * away - config.match_giou * general
    cost = cost - config.match_score * scores.sigmoid()[:, None]
    rows, columns = linear_sum_assignment(cost.cpu().numpy())
    return torch.as_tensor(rows, device=boxes.device), torch.as_tensor(columns, device=boxes.device)


def _mask_loss(logits: Tensor, nuclei: Tensor, config: NativeConfig) -> Tensor:
    """Return the summed focal and Dice loss of masks at the size of the logits."""
    size = (logits.shape[1], logits.shape[2])
    target = F.interpolate(nuclei[:, None].float(), size, mode="area")[:, 0]
    p = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    wrong = (p - target).abs()
    alpha = config.alpha * target + (1 - config.alpha) * (1 - target)
    focal = (alpha * wrong**config.gamma * entropy).mean((1, 2)).sum()
    common = 2 * (p * target).sum((1, 2)) + 1
    dice = (1 - common / (p.sum((1, 2)) + target.sum((1, 2)) + 1)).sum()
    return config.mask * focal + config.dice * dice
