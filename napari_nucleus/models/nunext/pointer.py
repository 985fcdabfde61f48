"""Coordinates are mostly copied: which word of the picture is meant decides them.

A pointer network beside the language model's own head. It scores the words of the picture by what
they hold and by how far from the last point they are, along the lines of reading, in y and in x;
a coordinate is as likely as the words that lie there. The scores are not normalised: where no word
fits, none of the coordinates is likely, and the end is.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_nucleus.models.nunext.config import SequenceConfig
from napari_nucleus.models.nunext.language import Picture

__all__ = ["Pointed", "Pointer"]

UNITS = (16.0, 2.0, 4.0, 4.0)
"""Pixels of distance ahead and behind along the lines, in y and in x, that count as 1."""

NEAR = 5.0
"""Pixels within which a point covers a word."""

FIRST = ((0.25, 1.0, 0.02, 0.02), (0.1, 1.0, 0.02, 2.0))
"""Slopes to start from, for x and for y: the next word, and the next one at this x."""


class Pointed(NamedTuple):
    """What can be pointed at in B windows, for x and for y (A = 2).

    ``keys`` ``(A, B, T, dim)``; ``worth`` ``(B, T, A)``, what a word scores by itself; ``places``
    ``(B, T, 4)``; ``real`` ``(B, T)``; ``bins`` ``(A, B, T, K)``, how likely each bin is if a word
    is meant.
    """

    keys: Tensor
    worth: Tensor
    places: Tensor
    real: Tensor
    bins: Tensor


class Pointer(nn.Module):
    """Turns states into logits of coordinates."""

    def __init__(self, dim: int, sequence: SequenceConfig, sigma: float = 1.2) -> None:
        super().__init__()
        self.sequence, self.sigma = sequence, sigma
        self.norm = nn.RMSNorm(dim)
        self.queries = nn.ModuleList(nn.Linear(dim, dim) for _ in FIRST)
        self.keys = nn.ModuleList(nn.Linear(dim, dim, bias=False) for _ in FIRST)
        self.offset = nn.Parameter(torch.zeros(len(FIRST)))
        self.slopes = nn.Parameter(torch.tensor(FIRST).expm1().log())

    def look(self, picture: Picture, worth: Tensor) -> Pointed:
        """Return what can be pointed at, of words that are worth ``(B, T, A)`` by themselves."""
        tokens = self.norm(picture.tokens.float())
        keys = torch.stack([key(tokens) for key in self.keys])
        bins = torch.stack([self._bins(picture.places[..., axis]) for axis in (2, 1)])
        return Pointed(keys, worth, picture.places, picture.real, bins)

    def forward(
        self, states: Tensor, places: Tensor, covered: Tensor, pointed: Pointed, axis: int
    ) -> Tensor:
        """Return logits ``(B, L, K)`` of x (``axis`` 0) or y (1) after states ``(B, L, dim)``.

        ``places`` ``(B, L, 4)`` are those of the states' tokens, ``covered`` ``(B, L, T)`` the
        words that cannot be meant because a point lies on them.
        """
        keys = pointed.keys[axis]
        alike = (self.queries[axis](states) @ keys.transpose(1, 2)).float() * keys.shape[-1] ** -0.5
        score = alike + self.offset[axis] + pointed.worth[:, None, :, axis]
        score = score - self._far(places, pointed.places, axis)
        score = score.clamp(-30, 12).masked_fill(~pointed.real[:, None] | covered, -30)
        return torch.log(score.exp() @ pointed.bins[axis] + 1e-2)

    def covered(self, pointed: Pointed, yx: Tensor) -> Tensor:
        """Return ``(B, n, T)``: the words on which the points ``(B, n, 2)`` up to each lie."""
        near = torch.cdist(yx.float(), pointed.places[..., 1:3]) <= NEAR
        return near.cumsum(1) > 0

    def _far(self, places: Tensor, words: Tensor, axis: int) -> Tensor:
        """Return how far words ``(B, T, 4)`` are from places, ``(B, L, T)``, in slopes."""
        slopes = F.softplus(self.slopes[axis].float())
        y, x, along = (words[:, None, :, i] - places[:, :, None, i] for i in (1, 2, 3))
        distances = (along.clamp(min=0), (-along).clamp(min=0), y.abs(), x.abs())
        parts = [s * d / u for s, d, u in zip(slopes, distances, UNITS, strict=True)]
        return torch.stack(parts).sum(0)

    def _bins(self, position: Tensor) -> Tensor:
        """Return Gaussians over the bins ``(B, T, K)`` around positions in pixels ``(B, T)``."""
        k, frame = self.sequence.bins, self.sequence.frame
        centre = torch.arange(k, device=position.device) + 0.5
        distance = (centre - position.float()[..., None] * (k / frame)) / self.sigma
        return torch.exp(-0.5 * distance**2)
