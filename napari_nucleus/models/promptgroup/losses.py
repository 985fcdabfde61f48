"""Losses of prompt-group-aware training (MODELS.md E.3, exactly where the paper is).

Each prompt of a group has a loss of its own: focal and Dice on the mask, cross-entropy on the
presence. Two terms tie the prompts of a group together: one weighs them by how well they do, one
draws their logits towards those of the first.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "GroupConfig",
    "GroupLosses",
    "LossConfig",
    "SegmentationConfig",
    "aggregated",
    "consistency",
    "effective_coefficients",
    "group_term",
    "grouped_loss",
    "segmentation_loss",
]


@dataclass(frozen=True, slots=True)
class SegmentationConfig:
    """Weights of the parts of L_seg, 1 each by default, and the focal loss's α and γ."""

    mask: float = 1.0
    dice: float = 1.0
    presence: float = 1.0
    alpha: float = 0.25
    gamma: float = 2.0


@dataclass(frozen=True, slots=True)
class GroupConfig:
    """How the prompts of a group are tied together.

    Parameters
    ----------
    mode
        ``"reweight"``: prompts that do better count for more; the gradient goes through the
        weights. ``"literal"``: as the paper words it, all detached, so that the term is a constant
        and only logged. ``"off"``: neither this term nor consistency.
    weight
        λ, of the group term.
    consistency
        β, of the squared difference from the first prompt's logits.
    temperature
        τ of the weights.
    floor
        Least coefficient of a prompt, over 1/K: without it bad prompts would be un-trained.
    clamp
        Logits beyond this are as sure as it, in the difference.
    """

    mode: Literal["reweight", "literal", "off"] = "reweight"
    weight: float = 1.0
    consistency: float = 0.1
    temperature: float = 1.0
    floor: float = 0.1
    clamp: float = 10.0

    def scaled(self, by: float) -> GroupConfig:
        """Return the same with λ and β times a factor, 0 of them in a warm-up."""
        return replace(self, weight=self.weight * by, consistency=self.consistency * by)


class GroupLosses(NamedTuple):
    """``total`` to descend; ``group`` and ``consistency`` before their weights; ``weights``
    ``(G, K)``, the softmax of the prompts' losses, to log by quality.
    """

    total: Tensor
    group: Tensor
    consistency: Tensor
    weights: Tensor


def segmentation_loss(
    logits: Tensor,
    presence: Tensor,
    target: Tensor,
    known: Tensor,
    present: Tensor,
    config: SegmentationConfig,
) -> Tensor:
    """Return L_seg of each prompt, ``(n,)``.

    Parameters
    ----------
    logits
        ``(n, H, W)``.
    presence
        ``(n,)`` logits.
    target, known
        ``(n, H, W)`` 0 or 1: what is asked for, and where that is known.
    present
        ``(n,)`` 1 if what is asked for is there, 0 if not, negative if that is not known.
    """
    target, known = target.to(logits.dtype), known.to(logits.dtype)
    p = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    wrong = torch.where(target > 0.5, 1 - p, p)
    alpha = torch.where(target > 0.5, config.alpha, 1 - config.alpha)
    area = known.sum((1, 2)).clamp(min=1)
    focal = (alpha * wrong**config.gamma * entropy * known).sum((1, 2)) / area
    p, t = p * known, target * known
    dice = 1 - (2 * (p * t).sum((1, 2)) + 1) / (p.sum((1, 2)) + t.sum((1, 2)) + 1)
    there = F.binary_cross_entropy_with_logits(
        presence, present.clamp(min=0).to(presence.dtype), reduction="none"
    )
    return config.mask * focal + config.dice * dice + config.presence * there * (present >= 0)


def aggregated(
    masks: Tensor,
    scores: Tensor,
    k: int,
    how: Literal["logsumexp", "max"] = "logsumexp",
    temperature: float = 0.2,
) -> Tensor:
    """Return the logit map Z of one prompt: its ``k`` best queries, pixel by pixel.

    ``masks`` ``(Q, H, W)`` and ``scores`` ``(Q,)`` are logits and scores of the queries. The
    maximum is the paper's; its smooth form gives every chosen query a gradient.
    """
    best = masks[scores.topk(min(k, len(scores))).indices]
    if how == "max":
        return best.amax(0)
    return temperature * torch.logsumexp(best / temperature, 0)


def effective_coefficients(losses: Tensor, config: GroupConfig) -> Tensor:
    """Return by how much each prompt's gradient counts in mean L + λ L_group, ``(G, K)``."""
    k = losses.shape[1]
    share = torch.full_like(losses, 1 / k)
    if config.mode != "reweight":
        return share
    return share + config.weight * _advantage(losses, config) / config.temperature


def group_term(losses: Tensor, config: GroupConfig) -> Tensor:
    """Return L_group of each group, ``(G,)``, of the losses of its prompts ``(G, K)``.

    −Σ q̃ log w with w the softmax of −L/τ and q̃ the detached advantage of each prompt, clipped.
    """
    weights = F.log_softmax(-losses / config.temperature, 1)
    if config.mode == "literal":
        weights = weights.detach()
    return -(_advantage(losses, config) * weights).sum(1)


def _advantage(losses: Tensor, config: GroupConfig) -> Tensor:
    """Return q̃ ``(G, K)``: how much better than the mean of its group a prompt is, detached.

    It is clipped so that no effective coefficient falls below ``floor`` / K (not in the literal
    mode). What the clipping adds is taken from the better prompts: the sum must stay 0, or the
    softmax's normaliser would put it back.
    """
    advantage = (losses.mean(1, keepdim=True) - losses).detach()
    if config.mode == "literal" or config.weight == 0:
        return advantage
    k = losses.shape[1]
    least = -(1 - config.floor) * config.temperature / (config.weight * k)
    worse = advantage.clamp(min=least, max=0)
    better = advantage.clamp(min=0)
    return worse + better * (-worse.sum(1, keepdim=True) / better.sum(1, keepdim=True).clamp(1e-12))


def consistency(logits: Tensor, clamp: float = 10.0) -> Tensor:
    """Return L_cons of each group, ``(G,)``, of logit maps ``(G, K, H, W)``.

    The mean over pixels and prompts of the squared difference from the first prompt's map, which
    is a fixed reference: it gets no gradient.
    """
    z = logits.clamp(-clamp, clamp)
    return (z[:, 1:] - z[:, :1].detach()).square().mean((1, 2, 3))


def grouped_loss(losses: Tensor, logits: Tensor, config: GroupConfig) -> GroupLosses:
    """Return mean L + λ L_group + β L_cons over groups of prompts.

    Parameters
    ----------
    losses
        ``(G, K)`` L_seg of each prompt.
    logits
        ``(G, K, H, W)`` Z of each prompt; the first of a group is the reference.
    """
    weights = F.softmax(-losses.detach() / config.temperature, 1)
    plain = losses.mean()
    if config.mode == "off":
        zero = plain.new_zeros(())
        return GroupLosses(plain, zero, zero, weights)
    group = group_term(losses, config).mean()
    tied = consistency(logits, config.clamp).mean()
    total = plain + config.weight * group + config.consistency * tied
    return GroupLosses(total, group, tied, weights)


@dataclass(frozen=True, slots=True)
class LossConfig:
    """Both parts; ``wanted`` weighs the cross-entropy of the classes that a text asks for."""

    segmentation: SegmentationConfig = field(default_factory=SegmentationConfig)
    group: GroupConfig = field(default_factory=GroupConfig)
    wanted: float = 0.2
