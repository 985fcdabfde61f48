"""Text encoder: hashed words and n-grams, a small transformer, and which classes are asked for.

A word is the mean of the embeddings of its CRC-32 bucket and of those of its 3- to 5-grams, so that
plurals and typing errors land near their word; Python's own hash differs from run to run.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_nucleus.models.promptgroup.config import TextConfig

__all__ = ["Read", "TextEncoder", "buckets_of"]


class Read(NamedTuple):
    """``tokens`` ``(T, L, dim)``, ``mask`` ``(T, L)`` True at words, ``pooled`` ``(T, dim)`` their
    mean, ``wanted`` ``(T, C)`` logits of each class being asked for.
    """

    tokens: Tensor
    mask: Tensor
    pooled: Tensor
    wanted: Tensor

    def repeated(self, index: Tensor) -> Read:
        """Return the texts at ``index``."""
        return Read(*(value[index] for value in self))


@lru_cache(maxsize=16384)
def buckets_of(word: str, buckets: int, grams: tuple[int, int]) -> tuple[int, ...]:
    """Return the rows that a word and its n-grams are hashed into; row 0 is padding."""
    framed = f"<{word}>"
    parts = [
        framed[i : i + n]
        for n in range(grams[0], grams[1] + 1)
        for i in range(len(framed) - n + 1)
        if n < len(framed)
    ]
    return tuple(1 + crc32(part.encode()) % (buckets - 1) for part in (framed, *parts))


class TextEncoder(nn.Module):
    """Turns texts, each a sequence of words, into `Read` of ``out_dim``."""

    def __init__(self, config: TextConfig, out_dim: int, n_classes: int) -> None:
        super().__init__()
        self.config = config
        self.words = nn.Embedding(config.buckets, config.dim, padding_idx=0)
        self.places = nn.Embedding(config.max_words, config.dim)
        nn.init.normal_(self.places.weight, std=0.02)
        layer = nn.TransformerEncoderLayer(
            config.dim, config.heads, config.ffn_dim, 0.1, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(config.dim)
        self.out = nn.Linear(config.dim, out_dim)
        self.wanted = nn.Linear(config.dim, n_classes)

    def forward(self, texts: Sequence[Sequence[str]]) -> Read:
        """Read texts; one without words is read as one unknown word."""
        ids = self.ids(texts).to(self.words.weight.device)
        count = (ids > 0).sum(2)
        # A bag adds the parts of a word up without holding each of them.
        sums = F.embedding_bag(ids.flatten(0, 1), self.words.weight, mode="sum", padding_idx=0)
        x = sums.unflatten(0, count.shape) / count.clamp(min=1)[..., None]
        mask = count > 0
        x = x + self.places.weight[: x.shape[1]]
        x = self.norm(self.layers(x, src_key_padding_mask=~mask))
        pooled = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return Read(self.out(x), mask, self.out(pooled), self.wanted(pooled))

    def ids(self, texts: Sequence[Sequence[str]]) -> Tensor:
        """Return ``(T, L, G)`` rows of words and their n-grams, 0 where there is none."""
        config = self.config
        rows = [
            [buckets_of(w, config.buckets, config.grams) for w in text[: config.max_words]]
            or [buckets_of("", config.buckets, config.grams)]
            for text in texts
        ]
        length = max(len(words) for words in rows)
        width = max(len(parts) for words in rows for parts in words)
        ids = np.zeros((len(rows), length, width), np.int64)
        for t, words in enumerate(rows):
            for i, parts in enumerate(words):
                ids[t, i, : len(parts)] = parts
        return torch.from_numpy(ids)
