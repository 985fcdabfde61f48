"""What the map of centres says of the next word.

The peaks of the map are put into the order of reading. After a point, the next one is the first
peak that is a nucleus: each peak is it with its own probability times that of none before it. From
that follow the probabilities of the next x, of y given x, and of the end. They are added to the
logits of the words, so that these have to order and to judge rather than to find.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_nucleus.models.nunext.config import GuideConfig, SequenceConfig

__all__ = ["Guide", "Peaks", "find_peaks", "reading_place"]

STRIDE = 2
"""Pixels per cell of the map of centres."""


class Peaks(NamedTuple):
    """Peaks of B windows in the order of reading: ``yx`` ``(B, P, 2)`` in pixels, ``logit``
    ``(B, P)``, minus infinity where there is none, and ``along`` ``(B, P)`` their reading place.
    """

    yx: Tensor
    logit: Tensor
    along: Tensor

    @property
    def probability(self) -> Tensor:
        """``(B, P)``, 0 where there is none."""
        return self.logit.sigmoid()

    def likely(self, least: float) -> Peaks:
        """Return them without those that are less probable."""
        return self._replace(logit=self.logit.where(self.probability >= least, -torch.inf))


def reading_place(y: Tensor, x: Tensor, sequence: SequenceConfig) -> Tensor:
    """Return how far along the lines of a frame places in pixels are."""
    line = torch.floor(y / max(sequence.line, 1))
    return line * sequence.frame + x


def find_peaks(
    heat: Tensor, corner: Tensor, config: GuideConfig, sequence: SequenceConfig
) -> Peaks:
    """Return the peaks of logits ``(B, 1, h, w)`` at stride 2, of windows whose corners ``(B, 2)``
    lie there in the frame.
    """
    reach = max(round(config.radius / STRIDE), 1)
    value = heat[:, 0].float()
    top = F.max_pool2d(value[:, None], 2 * reach + 1, 1, reach)[:, 0]
    least = torch.logit(torch.tensor(config.least)).item()
    peak = torch.where((value == top) & (value > least), value, -torch.inf)
    count = min(config.peaks, max(int((peak > -torch.inf).flatten(1).sum(1).max()), 1))
    logit, index = peak.flatten(1).topk(count, 1)
    y, x = index // heat.shape[-1], index % heat.shape[-1]
    yx = torch.stack([y, x], -1).float() * STRIDE + STRIDE / 2
    yx = yx + _within(value, y, x, logit) * STRIDE + corner[:, None].float()
    along = reading_place(yx[..., 0], yx[..., 1], sequence)
    along = torch.where(logit > -torch.inf, along, torch.inf)
    order = along.argsort(dim=1, stable=True)
    return Peaks(
        yx.gather(1, order[..., None].expand(-1, -1, 2)),
        logit.gather(1, order),
        along.gather(1, order),
    )


def _within(value: Tensor, y: Tensor, x: Tensor, logit: Tensor) -> Tensor:
    """Return where between its neighbours a peak lies, in cells, by a parabola through them."""
    rows = torch.arange(len(value), device=value.device)[:, None]

    def at(dy: int, dx: int) -> Tensor:
        return value[
            rows,
            (y + dy).clamp(0, value.shape[1] - 1),
            (x + dx).clamp(0, value.shape[2] - 1),
        ]

    parts = []
    for dy, dx in ((1, 0), (0, 1)):
        before, here, after = at(-dy, -dx), at(0, 0), at(dy, dx)
        bend = (2 * here - before - after).clamp(min=1e-3)
        parts.append(((after - before) / (2 * bend)).clamp(-0.5, 0.5))
    shift = torch.stack(parts, -1)
    return torch.where((logit > -torch.inf)[..., None], shift, torch.zeros_like(shift))


class Guide(nn.Module):
    """Turns peaks into logits of words; how much they count is learned."""

    def __init__(self, config: GuideConfig, sequence: SequenceConfig) -> None:
        super().__init__()
        self.config, self.sequence = config, sequence
        self.weight = nn.Parameter(torch.ones(()))
        # At first half of the peaks of probability 0.32 are nuclei.
        self.slope = nn.Parameter(torch.tensor(2.0))
        self.shift = nn.Parameter(torch.tensor(1.5))

    def next_peak(self, peaks: Peaks, last: Tensor, taken: Tensor) -> tuple[Tensor, Tensor]:
        """Return for each step which peak is next, ``(B, n, P)``, and the end, ``(B, n)``.

        ``last`` ``(B, n)`` reading place of the point before, ``taken`` ``(B, n, P)`` bool peaks
        that points before lie on. Probabilities.
        """
        logit = peaks.logit.clamp(-30, 30) * self.slope + self.shift
        hit = torch.where(peaks.logit > -torch.inf, logit.sigmoid(), torch.zeros_like(logit))
        free = (peaks.along[:, None] > last[..., None]) & ~taken
        hit = hit[:, None] * free
        missed = torch.log1p(-hit.clamp(max=1 - 1e-4)).cumsum(2)
        before = F.pad(missed[..., :-1], (1, 0))
        return hit * before.exp(), missed[..., -1].exp()

    def first_coordinate(self, first: Tensor, peaks: Peaks, best: bool = False) -> Tensor:
        """Return logits ``(B, n, K)`` of the next x, for next peaks ``(B, n, P)``.

        A bin is as likely as all peaks there together or, if ``best``, as the likeliest of them:
        two doubtful peaks below each other do not make a sure one.
        """
        at = self._bins(peaks.yx[..., 1])
        x = (first[..., None] * at[:, None]).amax(2) if best else first @ at
        return torch.log(x + self.config.floor) * self.weight

    def second_coordinate(self, first: Tensor, peaks: Peaks, x: Tensor) -> Tensor:
        """Return log-probabilities ``(B, n, K)`` of y, given the bins ``x`` ``(B, n)``."""
        at = self._bins(peaks.yx[..., 1])
        weight = first * at.gather(2, x[:, None].expand(-1, at.shape[1], -1)).transpose(1, 2)
        weight = weight / weight.sum(2, keepdim=True).clamp(min=1e-6)
        return torch.log(weight @ self._bins(peaks.yx[..., 0]) + self.config.floor) * self.weight

    def ending(self, end: Tensor) -> Tensor:
        """Return log-probabilities of the end, for probabilities of any shape."""
        return torch.log(end + self.config.floor) * self.weight

    def after(self, y: Tensor, x: Tensor) -> Tensor:
        """Return the reading place after which peaks may follow points in pixels."""
        slack = self.config.slack
        return reading_place(y - slack, x - slack, self.sequence)

    def taken(self, peaks: Peaks, yx: Tensor) -> Tensor:
        """Return ``(B, n, P)``: the peaks on which the points ``(B, n, 2)`` up to each lie."""
        near = torch.cdist(yx.float(), peaks.yx) <= self.config.radius
        return near.cumsum(1) > 0

    def _bins(self, position: Tensor) -> Tensor:
        """Return Gaussians of height 1 over the bins ``(B, P, K)`` around positions in pixels.

        So a sure peak is as likely as a sure end, however much the guide counts.
        """
        k, frame = self.sequence.bins, self.sequence.frame
        centre = torch.arange(k, device=position.device) + 0.5
        distance = centre - position[..., None] * (k / frame)
        return torch.exp(-0.5 * (distance / self.config.sigma) ** 2)
