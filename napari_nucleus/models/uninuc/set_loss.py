"""The detector's losses: one-to-many on proposals, set matching with IA-BCE on the decoder.

IA-BCE and the matching costs are LW-DETR's; the weights of classification, L1 and GIoU are
UniNuc's (1, 2, 5). Classes are sets: where several would be right, the likeliest counts, and where
none is known, the class is whatever the model thinks it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from napari_nucleus.models.uninuc.detector import Detections, Proposals

__all__ = ["BoxTargets", "SetLossConfig", "decoder_loss", "giou", "ia_bce", "proposal_loss"]


@dataclass(frozen=True, eq=False)
class BoxTargets:
    """True boxes of one image: ``boxes`` ``(M, 4)`` cx, cy, w, h; ``class_set`` ``(M, C)`` 0 or 1.

    A row of ``class_set`` marks every class that would be right; all zeros if it is unknown.
    """

    boxes: Tensor
    class_set: Tensor

    def right_class(self, logits: Tensor) -> Tensor:
        """Return the class each nucleus counts as, given logits ``(M, C)``."""
        known = self.class_set.sum(1) > 0
        allowed = torch.where(known[:, None], self.class_set > 0, True)
        return logits.masked_fill(~allowed, -1e4).argmax(1)


@dataclass(frozen=True, slots=True)
class SetLossConfig:
    """Weights of the losses; matching uses the costs 2, 5 and 2 of LW-DETR."""

    classes: float = 1.0
    l1: float = 2.0
    giou: float = 5.0
    alpha: float = 0.25
    match_class: float = 2.0
    match_l1: float = 5.0
    match_giou: float = 2.0


def corners(boxes: Tensor) -> Tensor:
    """Return ``x0, y0, x1, y1`` of ``cx, cy, w, h``."""
    half = boxes[..., 2:] / 2
    return torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], dim=-1)


def iou_and_giou(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return IoU and generalised IoU of boxes ``cx, cy, w, h`` that broadcast."""
    a, b = corners(a), corners(b)
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    inter = (high - low).clamp(min=0).prod(-1)
    areas = [(box[..., 2:] - box[..., :2]).prod(-1) for box in (a, b)]
    union = areas[0] + areas[1] - inter
    hull = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    hull = hull.prod(-1).clamp(min=1e-6)
    iou = inter / union.clamp(min=1e-6)
    return iou, iou - (hull - union) / hull


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Return the generalised IoU of boxes that broadcast."""
    return iou_and_giou(a, b)[1]


def ia_bce(logits: Tensor, positive: Tensor, iou: Tensor, known: Tensor, alpha: float) -> Tensor:
    """Return the summed IoU-aware cross-entropy.

    Parameters
    ----------
    logits
        ``(N, C)``.
    positive
        ``(N, C)`` bool, at most one in a row.
    iou
        ``(N,)`` IoU of the row's box with its nucleus, detached.
    known
        ``(N, C)`` bool, entries that count as negatives where they are not positive.
    alpha
        Exponent of the probability in the target.
    """
    p = logits.sigmoid()
    t = (p.detach() ** alpha * iou[:, None] ** (1 - alpha)).clamp(min=0.01)
    hit = (1 - t) * logits - F.logsigmoid(logits)
    miss = p**2 * (logits - F.logsigmoid(logits))
    return torch.where(positive, hit, torch.where(known, miss, torch.zeros_like(miss))).sum()


def proposal_loss(
    proposals: Proposals,
    anchors: Tensor,
    targets: list[BoxTargets],
    config: SetLossConfig,
    reference_px: float,
) -> Tensor:
    """Return the one-to-many loss: every cell in the central half of a nucleus learns its box.

    A cell inside several nuclei belongs to the one whose size is nearest to its own.
    """
    total = proposals.logits.new_zeros(())
    count = 0
    for logits, boxes, target in zip(proposals.logits, proposals.boxes, targets, strict=True):
        logits = logits.float()
        positive = torch.zeros_like(logits, dtype=torch.bool)
        known = torch.ones_like(positive)
        iou = logits.new_zeros(len(logits))
        box_loss = logits.new_zeros(())
        if len(target.boxes):
            offset = (anchors[:, None, :2] - target.boxes[None, :, :2]).abs()
            inside = (offset <= target.boxes[None, :, 2:] / 4).all(-1)
            # The nearest cell always counts, or nuclei smaller than a cell would teach nothing.
            nearest = offset.sum(-1).argmin(0)
            inside[nearest, torch.arange(len(nearest), device=nearest.device)] = True
            side = target.boxes[:, 2:].prod(-1).sqrt()
            misfit = (anchors[:, None, 2] / side[None]).log().abs() + (~inside) * 1e3
            cells = torch.nonzero(inside.any(1))[:, 0]
            owner = misfit[cells].argmin(1)
            truth = target.boxes[owner]
            value, general = iou_and_giou(boxes[cells], truth)
            iou[cells] = value.detach()
            l1 = (boxes[cells] - truth).abs().sum(-1) / reference_px
            box_loss = (config.giou * (1 - general) + config.l1 * l1).sum()
            chosen = _sub(target, owner).right_class(logits[cells].detach())
            positive[cells, chosen] = True
            known[cells] = (target.class_set[owner].sum(1) > 0)[:, None] & (
                target.class_set[owner] == 0
            )
            # Cells near a nucleus that are not its own say neither yes nor no.
            edge = (offset <= target.boxes[None, :, 2:] / 2.5).all(-1).any(1) & ~inside.any(1)
            known[edge] = False
            count += len(cells)
        scored = ia_bce(logits, positive, iou, known, config.alpha)
        total = total + config.classes * scored + box_loss
    return total / max(count, 1)


def decoder_loss(
    out: Detections,
    targets: list[BoxTargets],
    groups: list[int],
    config: SetLossConfig,
    reference_px: float,
) -> Tensor:
    """Return the set loss of all layers and groups, for each nucleus.

    ``groups`` are the sizes of the query groups; each is matched on its own.
    """
    n_layers, n_images = out.logits.shape[:2]
    total = out.logits.new_zeros(())
    n_boxes = max(sum(len(t.boxes) for t in targets), 1)
    starts = [sum(groups[:g]) for g in range(len(groups))]
    for layer in range(n_layers):
        for b in range(n_images):
            for start, size in zip(starts, groups, strict=True):
                rows = slice(start, start + size)
                total = total + _matched_loss(
                    out.logits[layer, b, rows].float(),
                    out.boxes[layer, b, rows],
                    targets[b],
                    config,
                    reference_px,
                )
    return total / (n_boxes * len(groups) * n_layers)


def denoising_loss(
    out: Detections,
    targets: list[BoxTargets],
    index: Tensor,
    config: SetLossConfig,
    reference_px: float,
) -> Tensor:
    """Return the loss of queries that were given a noisy true box each.

    ``index`` ``(B, M)`` says which nucleus of its image a query was made from, −1 for padding.
    """
    total = out.logits.new_zeros(())
    count = 0
    for layer in range(len(out.logits)):
        for b, target in enumerate(targets):
            rows = torch.nonzero(index[b] >= 0)[:, 0]
            if not len(rows):
                continue
            total = total + _pair_loss(
                out.logits[layer, b, rows].float(),
                out.boxes[layer, b, rows],
                _sub(target, index[b, rows]),
                torch.arange(len(rows), device=rows.device),
                config,
                reference_px,
            )
            count += len(rows)
    return total / max(count, 1)


def _matched_loss(
    logits: Tensor, boxes: Tensor, target: BoxTargets, config: SetLossConfig, reference_px: float
) -> Tensor:
    if not len(target.boxes):
        return _negatives(logits)
    query, nucleus = match(logits, boxes, target, config, reference_px)
    return _pair_loss(logits, boxes, _sub(target, nucleus), query, config, reference_px)


def _negatives(logits: Tensor) -> Tensor:
    return (logits.sigmoid() ** 2 * (logits - F.logsigmoid(logits))).sum()


def _pair_loss(
    logits: Tensor,
    boxes: Tensor,
    target: BoxTargets,
    query: Tensor,
    config: SetLossConfig,
    reference_px: float,
) -> Tensor:
    """Return the loss of ``query`` matched to the rows of ``target``; the rest are negative."""
    value, general = iou_and_giou(boxes[query], target.boxes)
    positive = torch.zeros_like(logits, dtype=torch.bool)
    known = torch.ones_like(positive)
    positive[query, target.right_class(logits[query].detach())] = True
    known[query] = (target.class_set.sum(1) > 0)[:, None] & (target.class_set == 0)
    iou = logits.new_zeros(len(logits))
    iou[query] = value.detach()
    l1 = (boxes[query] - target.boxes).abs().sum(-1) / reference_px
    box = config.giou * (1 - general) + config.l1 * l1
    return config.classes * ia_bce(logits, positive, iou, known, config.alpha) + box.sum()


@torch.no_grad()
def match(
    logits: Tensor, boxes: Tensor, target: BoxTargets, config: SetLossConfig, reference_px: float
) -> tuple[Tensor, Tensor]:
    """Return the queries and nuclei of the cheapest one-to-one matching, by LW-DETR's costs."""
    p = logits.sigmoid()
    hit = 0.25 * (1 - p) ** 2 * -F.logsigmoid(logits)
    miss = 0.75 * p**2 * -F.logsigmoid(-logits)
    cost = hit - miss
    known = target.class_set.sum(1) > 0
    allowed = torch.where(known[:, None], target.class_set > 0, True)
    # The cheapest class that would be right: (Q, 1, C) against (1, M, C).
    by_class = cost[:, None].masked_fill(~allowed[None], 1e4).amin(-1)
    l1 = torch.cdist(boxes, target.boxes, p=1) / reference_px
    general = giou(boxes[:, None], target.boxes[None])
    total = config.match_class * by_class + config.match_l1 * l1 - config.match_giou * general
    rows, columns = linear_sum_assignment(total.cpu().numpy())
    device = logits.device
    return torch.as_tensor(rows, device=device), torch.as_tensor(columns, device=device)


def _sub(target: BoxTargets, index: Tensor) -> BoxTargets:
    return BoxTargets(target.boxes[index], target.class_set[index])
