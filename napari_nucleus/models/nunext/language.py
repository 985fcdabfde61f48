"""The nano's language model: text over a picture whose words stand still.

RMSNorm, SwiGLU and rotary places, as Qwen2.5's. Two things differ. The words of the picture are
not changed from layer to layer: each layer makes keys and values of them once, and only the text is
computed, which is what a laptop can afford. And every token has a place of four numbers (its place
in the text, y, x, and how far along the lines of reading it is) that turns its queries and keys,
with frequencies that are learned: "the next nucleus after this one" is then a matter of distance.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_nucleus.models.nunext.config import LanguageConfig

__all__ = ["Cache", "LanguageModel", "Picture", "waves_of"]

AXES = 4
"""Numbers of a place: in the text, y, x, along the lines; the last three in pixels."""


class Picture(NamedTuple):
    """Words of a picture: ``tokens`` ``(B, T, dim)``, ``places`` ``(B, T, 4)``, ``real`` ``(B, T)``
    False where there is none.
    """

    tokens: Tensor
    places: Tensor
    real: Tensor


class Cache(NamedTuple):
    """Keys and values of one layer, ``(B, heads, T, dim / heads)``; ``real`` ``(B, T)``."""

    keys: Tensor
    values: Tensor
    real: Tensor


def waves_of(position: Tensor, count: int, longest: float = 1024.0) -> Tensor:
    """Return sines and cosines ``(..., 2 · count)`` of positions in pixels, 4 to ``longest``."""
    steps = torch.arange(count, device=position.device) / max(count - 1, 1)
    period = 4.0 * (longest / 4.0) ** steps
    angle = position.float()[..., None] * (2 * math.pi / period)
    return torch.cat([angle.sin(), angle.cos()], -1)


class LanguageModel(nn.Module):
    """Turns embedded text ``(B, L, dim)`` into states ``(B, L, dim)``."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.dim)

    def look(self, picture: Picture) -> list[Cache]:
        """Return each layer's keys and values of a picture."""
        return [layer.look(picture) for layer in self.layers]  # type: ignore[operator]

    def forward(
        self, text: Tensor, places: Tensor, pictures: list[Cache], past: list[Cache] | None = None
    ) -> tuple[Tensor, list[Cache]]:
        """Return the states of a text, and the cache with which it can go on.

        ``places`` ``(B, L, 4)``; ``past`` is what this function returned for the text before.
        """
        kept = []
        for i, layer in enumerate(self.layers):
            text, cache = layer(text, places, pictures[i], past[i] if past else None)
            kept.append(cache)
        return self.norm(text.float()), kept


class Layer(nn.Module):
    """Attention to the picture and the text so far, then SwiGLU."""

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        dim, self.heads = config.dim, config.heads
        self.norm = nn.RMSNorm(dim)
        self.picture_norm = nn.RMSNorm(dim)
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim, bias=False)
        self.ffn_norm = nn.RMSNorm(dim)
        self.gate = nn.Linear(dim, 2 * config.ffn_dim, bias=False)
        self.down = nn.Linear(config.ffn_dim, dim, bias=False)
        self.drop = nn.Dropout(config.dropout)
        self.turns = nn.Parameter(first_turns(self.heads, dim // self.heads // 2))

    def look(self, picture: Picture) -> Cache:
        """Return keys and values of a picture."""
        tokens = self.picture_norm(picture.tokens.float())
        return Cache(*self._keys_values(tokens, picture.places), picture.real)

    def forward(
        self, x: Tensor, places: Tensor, picture: Cache, past: Cache | None
    ) -> tuple[Tensor, Cache]:
        """Return the next states ``(B, L, dim)`` and keys and values of the text so far."""
        y = self.norm(x.float())
        keys, values = self._keys_values(y, places)
        real = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        if past is not None:
            keys = torch.cat([past.keys, keys], 2)
            values = torch.cat([past.values, values], 2)
            real = torch.cat([past.real, real], 1)
        text = Cache(keys, values, real)
        query = self._turned(self._split(self.query(y)), places)
        seen = self._seen(x.shape[1], picture, text)
        # In single precision: half is slower here on CPUs, backwards five times.
        answer = F.scaled_dot_product_attention(
            query.float(),
            torch.cat([picture.keys, keys], 2).float(),
            torch.cat([picture.values, values], 2).float(),
            attn_mask=seen,
        )
        x = x + self.drop(self.out(answer.transpose(1, 2).flatten(2).to(x.dtype)))
        gate, value = self.gate(self.ffn_norm(x.float())).chunk(2, -1)
        return x + self.drop(self.down(F.silu(gate) * value)), text

    def _seen(self, length: int, picture: Cache, text: Cache) -> Tensor:
        """Return ``(B, 1, L, T)``: the whole picture, and the text up to each token."""
        total = text.keys.shape[2]
        before = torch.ones((length, total), dtype=torch.bool, device=text.keys.device)
        causal = before.tril(total - length)[None] & text.real[:, None]
        pictured = picture.real[:, None].expand(-1, length, -1)
        return torch.cat([pictured, causal], 2)[:, None]

    def _keys_values(self, x: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = self.key_value(x).chunk(2, -1)
        return self._turned(self._split(keys), places), self._split(values)

    def _split(self, x: Tensor) -> Tensor:
        b, n, dim = x.shape
        return x.view(b, n, self.heads, dim // self.heads).transpose(1, 2)

    def _turned(self, x: Tensor, places: Tensor) -> Tensor:
        """Turn pairs of channels ``(B, heads, L, d)`` by angles of their places ``(B, L, 4)``."""
        angle = torch.einsum("bla,hpa->bhlp", places.float(), self.turns.float())
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        a, b = x.chunk(2, -1)
        return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


def first_turns(heads: int, pairs: int) -> Tensor:
    """Return angles per unit of place ``(heads, pairs, 4)`` to start from.

    Each pair of channels turns by one axis: half of them along the lines, an eighth in the text,
    the rest by y and x; periods are spread between the smallest gap and the whole, a little other
    for each head.
    """
    ranges = ((3.0, 200.0), (12.0, 400.0), (12.0, 400.0), (20.0, 9000.0))
    counts = [max(pairs // 8, 1), pairs * 3 // 16, pairs * 3 // 16]
    counts.append(pairs - sum(counts))
    turns = torch.zeros(heads, pairs, AXES)
    for head in range(heads):
        row = 0
        for axis, count in enumerate(counts):
            low, high = ranges[axis]
            for i in range(count):
                share = (i + head / heads) / max(count, 1)
                turns[head, row, axis] = 2 * math.pi / (low * (high / low) ** share)
                row += 1
    return turns
