"""What napari needs of an array, for pixels that are read where somebody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.geometry import Box

__all__ = ["LevelArray"]

CHUNK = 512
"""Side of the squares that napari reads whole."""


class LevelArray:
    """What napari needs of an array, over a function that reads boxes.

    Parameters
    ----------
    shape, dtype
        Of the level; ``shape`` may have an axis of samples behind height and width.
    read
        Returns the pixels of a box ``(y0, x0, y1, x1)`` inside the level.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: Any, read: Callable[[Box], NDArray[Any]]
    ) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.chunks = (CHUNK, CHUNK, *shape[2:])
        self._read = read

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        keys: list[Any] = list(key) if isinstance(key, tuple) else [key]
        if Ellipsis in keys:
            at = keys.index(Ellipsis)
            keys[at : at + 1] = [slice(None)] * (self.ndim - len(keys) + 1)
        keys += [slice(None)] * (self.ndim - len(keys))
        (y0, y1, rows), (x0, x1, columns) = (
            _bounds(k, n) for k, n in zip(keys[:2], self.shape, strict=False)
        )
        if y1 <= y0 or x1 <= x0:
            pixels = np.zeros((max(y1 - y0, 0), max(x1 - x0, 0), *self.shape[2:]), self.dtype)
        else:
            pixels = self._read((y0, x0, y1, x1))
        return pixels[(rows, columns, *keys[2:])]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole = self[:, :]
        return whole if dtype is None else whole.astype(dtype)


def _bounds(key: Any, length: int) -> tuple[int, int, Any]:
    """Return first and last of what an index needs, and the index within that."""
    if isinstance(key, slice):
        start, stop, step = key.indices(length)
        if step > 0:
            return start, max(stop, start), slice(None, None, step)
        return 0, length, key
    if isinstance(key, Iterable):
        wanted = np.asarray(key)
        if not wanted.size:
            return 0, 0, wanted
        low, high = int(wanted.min()), int(wanted.max())
        return low, high + 1, wanted - low
    index = int(key) + (length if key < 0 else 0)
    if not 0 <= index < length:
        raise IndexError(f"index {key} is outside 0–{length - 1}")
    return index, index + 1, 0
