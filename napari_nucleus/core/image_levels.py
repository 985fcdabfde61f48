"""An image with smaller copies of itself, so that any part can be looked at from any distance."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.geometry import Box, box_intersection
from napari_nucleus.core.image import ArraySource, ImageSource

__all__ = ["CachedSource", "PyramidSource", "with_levels"]

COARSEST_SIDE = 1024
"""Longest side of the last level."""

STRIDE = 4
"""Largest step from one level of a file to the next that is left as it is."""

BAND = 1024
"""Rows that are read at once to be halved."""

TILE_SIDE = 512
CACHE_BYTES = 128 * 2**20


@dataclass(frozen=True, eq=False)
class PyramidSource:
    """An `ImageSource` with smaller copies.

    Parameters
    ----------
    levels
        The image and its copies, each smaller than the one before.
    """

    levels: tuple[ImageSource, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width at level 0, in pixels."""
        return self.levels[0].shape

    @property
    def mpp(self) -> float | None:
        """Micrometres per level-0 pixel, or None when unknown."""
        return self.levels[0].mpp

    def read(self, box: Box) -> NDArray[np.uint8]:
        """Return the RGB pixels ``(h, w, 3)`` of a level-0 box."""
        return self.levels[0].read(box)


class CachedSource:
    """An `ImageSource` that keeps the tiles read last; to be read from any thread.

    Parameters
    ----------
    source
        What is read.
    cache_bytes
        How much is kept.
    """

    def __init__(self, source: ImageSource, cache_bytes: int = CACHE_BYTES) -> None:
        self._source = source
        self._capacity = max(cache_bytes // (3 * TILE_SIDE**2), 1)
        self._tiles: OrderedDict[tuple[int, int], NDArray[np.uint8]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, in pixels."""
        return self._source.shape

    @property
    def mpp(self) -> float | None:
        """Micrometres per pixel, or None when unknown."""
        return self._source.mpp

    def read(self, box: Box) -> NDArray[np.uint8]:
        """Return the RGB pixels ``(h, w, 3)`` of a box inside the image."""
        y0, x0, y1, x1 = box
        out = np.empty((y1 - y0, x1 - x0, 3), np.uint8)
        for r in range(y0 // TILE_SIDE, (y1 - 1) // TILE_SIDE + 1):
            for c in range(x0 // TILE_SIDE, (x1 - 1) // TILE_SIDE + 1):
                tile, (ty, tx) = self._tile(r, c), (r * TILE_SIDE, c * TILE_SIDE)
                there = box_intersection(box, (ty, tx, ty + tile.shape[0], tx + tile.shape[1]))
                if there is not None:
                    a, b, e, f = there
                    out[a - y0 : e - y0, b - x0 : f - x0] = tile[a - ty : e - ty, b - tx : f - tx]
        return out

    def _tile(self, r: int, c: int) -> NDArray[np.uint8]:
        with self._lock:
            tile = self._tiles.get((r, c))
            if tile is not None:
                self._tiles.move_to_end((r, c))
                return tile
        height, width = self.shape
        y, x = r * TILE_SIDE, c * TILE_SIDE
        tile = self._source.read((y, x, min(y + TILE_SIDE, height), min(x + TILE_SIDE, width)))
        with self._lock:
            self._tiles[r, c] = tile
            while len(self._tiles) > self._capacity:
                self._tiles.popitem(last=False)
        return tile


def with_levels(levels: tuple[ImageSource, ...]) -> PyramidSource:
    """Return an image with levels close enough to each other, and down to an overview.

    Parameters
    ----------
    levels
        The image, and the smaller copies that there are; where one is missing it is made, by
        averaging, of the one before.

    Raises
    ------
    ImageError
        If pixels cannot be read.
    """
    whole, *given = levels
    done: list[ImageSource] = [whole]
    while max(done[-1].shape) > COARSEST_SIDE:
        side = max(done[-1].shape)
        near = [s for s in given if side / STRIDE * 0.95 <= max(s.shape) < side * 0.75]
        done.append(min(near, key=lambda s: max(s.shape)) if near else _halved(done[-1]))
    return PyramidSource(tuple(done))


def _halved(source: ImageSource) -> ArraySource:
    height, width = source.shape
    half = np.empty((max(height // 2, 1), max(width // 2, 1), 3), np.uint8)
    for y in range(0, half.shape[0], BAND // 2):
        rows = min(BAND // 2, half.shape[0] - y)
        band = source.read((2 * y, 0, min(2 * (y + rows), height), width))
        for axis, length in enumerate((rows, half.shape[1])):
            if band.shape[axis] < 2 * length:  # a single row or column
                band = np.repeat(band, 2, axis)
        band = band[: 2 * rows, : 2 * half.shape[1]]
        total = band[0::2, 0::2].astype(np.uint16)
        for dy, dx in ((0, 1), (1, 0), (1, 1)):
            total += band[dy::2, dx::2]
        half[y : y + rows] = (total + 2) >> 2
    return ArraySource(half, source.mpp, getattr(source, "name", "image"))
