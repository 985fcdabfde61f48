"""Losses of NuNext: soft supervision of the sequence, and the union mask of its latent tokens.

MODELS.md C.2: the bins of a coordinate are neighbours, so a near miss costs less than a far one;
all other tokens are told apart by plain cross-entropy. Also the weights of every objective, those
of the reinforcement stage (C.3) included. Knows token ids as numbers only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "IGNORED",
    "CovtConfig",
    "GrpoConfig",
    "SoftConfig",
    "covt_weight",
    "sequence_loss",
    "sigma_of",
    "soft_targets",
    "union_mask_loss",
]

IGNORED = -100
"""Target of a position that is not learnt."""


@dataclass(frozen=True, slots=True)
class SoftConfig:
    """Supervision of the sequence.

    Parameters
    ----------
    sigma
        Standard deviation of a coordinate's soft target in bins, 0 for one-hot; None takes
        `sigma_of` the number of bins and the size of the image.
    label_smoothing
        Share of the target of all other tokens that is spread over the vocabulary.
    """

    sigma: float | None = None
    label_smoothing: float = 0.0


@dataclass(frozen=True, slots=True)
class CovtConfig:
    """Supervision of the latent tokens: α of the union mask's loss, reached in ``warm`` steps."""

    alpha: float = 1.0
    warm: int = 500


@dataclass(frozen=True, slots=True)
class GrpoConfig:
    """The reinforcement stage; each part of it can be left out for an ablation.

    Parameters
    ----------
    group
        G, rollouts of an image.
    updates
        Optimiser steps on the same rollouts; in the first all ratios are 1.
    temperature, top_p
        Of the sampling.
    epsilon
        How far the ratio of probabilities counts to either side of 1.
    kl
        Coefficient of the k3 estimate of the divergence from the reference.
    learning_rate, weight_decay, clip
        AdamW, and the largest gradient norm.
    radius_um
        Distance within which a point has found a nucleus: 12 px at 0.25 µm.
    gamma
        Weight of panoptic quality in the reward.
    delta
        Groups whose rewards have a lower standard deviation teach nothing and are dropped.
    beta
        Factor on the tokens of a wrong point in a good rollout and of a right one in a bad one.
    reward
        ``"task"``: detection and γ times panoptic quality. ``"detection"``: detection alone.
        ``"format"``: whether a sequence is well formed.
    low_variance_filter, fine_grained
        Whether groups are dropped, and whether tokens are scaled.
    """

    group: int = 8
    updates: int = 1
    temperature: float = 1.0
    top_p: float = 0.99
    epsilon: float = 0.2
    kl: float = 0.01
    learning_rate: float = 1e-6
    weight_decay: float = 0.0
    clip: float = 1.0
    radius_um: float = 3.0
    gamma: float = 0.5
    delta: float = 0.02
    beta: float = 0.5
    reward: Literal["task", "detection", "format"] = "task"
    low_variance_filter: bool = True
    fine_grained: bool = True


def sigma_of(bins: int, size: float) -> float:
    """Return σ in bins for an image side of ``size`` pixels: one pixel, at least 0.8 bins.

    The published 1000 bins of 256 px take the round 4.
    """
    if (bins, size) == (1000, 256):
        return 4.0
    return max(bins / size, 0.8)


def soft_targets(bins: Tensor, count: int, sigma: float) -> Tensor:
    """Return s(k|t) ∝ exp(−(k−t)² / 2σ²) over the bins, ``(n, count)`` float32.

    Each row sums to 1, at the borders too. ``bins`` ``(n,)`` are the true bins t; σ of 0 gives
    one-hot rows.
    """
    if sigma == 0:
        return F.one_hot(bins.long(), count).float()
    k = torch.arange(count, device=bins.device, dtype=torch.float32)
    return torch.softmax(-((k - bins[:, None].float()) ** 2) / (2 * sigma**2), 1)


def sequence_loss(
    logits: Tensor,
    target: Tensor,
    coordinate_ids: Tensor,
    sigma: float,
    class_sets: Tensor | None = None,
    separator_ids: Tensor | None = None,
    weights: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return the mean loss of all target tokens, a scalar.

    −Σ s log P for a coordinate, with P the softmax over the whole vocabulary; −log of the summed
    probability of the classes that would be right for a separator with a set of them;
    cross-entropy for every other token.

    Parameters
    ----------
    logits
        ``(B, L, V)``; row l predicts ``target[:, l]``.
    target
        ``(B, L)`` int64 token ids, `IGNORED` where nothing is learnt.
    coordinate_ids
        ``(K,)`` token id of each bin.
    sigma
        In bins.
    class_sets
        ``(B, L, C)`` bool, True for each class that would be right; rows of False leave a token
        to its cross-entropy.
    separator_ids
        ``(C,)`` token id of each class, wanted with ``class_sets``.
    weights
        ``(B, L)`` of the tokens in the mean, or None for all alike.
    label_smoothing
        Share spread over the vocabulary where the target is neither a bin nor a set.
    """
    kept = target != IGNORED
    scores, ids = logits[kept].float(), target[kept]
    normaliser = torch.logsumexp(scores, 1)
    bin_of = torch.full((logits.shape[-1],), -1, device=ids.device)
    bin_of[coordinate_ids] = torch.arange(len(coordinate_ids), device=ids.device)
    bins = bin_of[ids]
    plain = bins < 0
    right = scores.gather(1, ids[:, None])[:, 0]

    rows = torch.nonzero(~plain)[:, 0]
    soft = soft_targets(bins[rows], len(coordinate_ids), sigma)
    near = scores.index_select(0, rows).index_select(1, coordinate_ids)
    right = right.index_copy(0, rows, (soft * near).sum(1))

    if class_sets is not None:
        if separator_ids is None:
            raise ValueError("class sets need the ids of their separators")
        sets = class_sets[kept]
        rows = torch.nonzero(plain & sets.any(1))[:, 0]
        plain[rows] = False
        of_classes = scores.index_select(0, rows).index_select(1, separator_ids)
        of_classes = of_classes.masked_fill(~sets[rows], -torch.inf)
        right = right.index_copy(0, rows, torch.logsumexp(of_classes, 1))

    if label_smoothing:
        spread = label_smoothing * plain
        right = right * (1 - spread) + scores.mean(1) * spread
    loss = normaliser - right
    each = torch.ones_like(loss) if weights is None else weights[kept].float()
    return (loss * each).sum() / each.sum().clamp(min=1e-6)


def covt_weight(step: int, warm: int = 500, alpha: float = 1.0) -> float:
    """Return the weight of the union mask, which rises evenly to ``alpha`` in ``warm`` steps."""
    return alpha * min(step / warm, 1.0) if warm else alpha


def union_mask_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return binary cross-entropy + Dice of the union of all nuclei, a mean over images.

    ``logits`` and ``target`` are ``(B, H, W)``; the target is bool.
    """
    true = target.to(logits.dtype)
    entropy = F.binary_cross_entropy_with_logits(logits, true)
    p = logits.sigmoid()
    overlap, total = (p * true).sum((1, 2)), (p + true).sum((1, 2))
    return entropy + (1 - (2 * overlap + 1) / (total + 1)).mean()
