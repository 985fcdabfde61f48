"""The embeddings a worker keeps: least recently used out first, within a number of bytes."""

from __future__ import annotations

from collections import OrderedDict

from napari_nucleus.hosting.messages import TileKey
from napari_nucleus.models.api import Embedding

__all__ = ["EmbeddingCache"]


class EmbeddingCache:
    """Embeddings by `TileKey`, at most ``max_bytes`` of them.

    The newest is kept even if it alone is larger, so that the next click on its tile finds it.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held: OrderedDict[TileKey, Embedding] = OrderedDict()
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: TileKey) -> Embedding | None:
        """Return the embedding of a tile and mark it as used, or None."""
        found = self._held.get(key)
        if found is not None:
            self._held.move_to_end(key)
        return found

    def put(self, key: TileKey, embedding: Embedding) -> tuple[TileKey, ...]:
        """Keep an embedding; return the keys of those that had to go."""
        replaced = self._held.pop(key, None)
        self.nbytes += embedding.nbytes - (replaced.nbytes if replaced else 0)
        self._held[key] = embedding
        evicted = []
        while self.nbytes > self._max_bytes and len(self._held) > 1:
            oldest, gone = self._held.popitem(last=False)
            self.nbytes -= gone.nbytes
            evicted.append(oldest)
        return tuple(evicted)
