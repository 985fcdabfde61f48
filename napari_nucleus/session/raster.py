"""The class raster of a document, drawn where somebody looks.

What one sees of nuclei is a uint8 picture of class ids (`core.outlines.class_raster`). It is drawn
from the labels of the level that is looked at, so that outlines are one pixel wide at every
magnification, and drawn again only in the box of an edit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.geometry import Box, box_intersection, box_union, clip_box, pad_box
from napari_nucleus.core.outlines import INTERIOR, class_raster
from napari_nucleus.session.document import Document
from napari_nucleus.session.grid import TILE_SIZE
from napari_nucleus.session.pyramid import level_box, level_shape
from napari_nucleus.session.store import pieces_of

__all__ = ["BytePages", "ClassRaster", "Drawn", "DrawnInSteps", "RasterTiles"]

PAGE_BITS = 16
"""They are kept in pages of 2^16 nuclei."""

CACHED_TILES = 256
"""Drawn tiles that are kept: 64 MiB at 512 pixels a side."""

Place = tuple[int, int, int]
"""Level, row and column of a tile."""


class BytePages:
    """A byte, such as a class id, by nucleus id; the ids may lie anywhere."""

    def __init__(self) -> None:
        self._pages: dict[int, NDArray[np.uint8]] = {}

    def put(self, ids: NDArray[np.int64], values: NDArray[np.integer]) -> None:
        """Keep the value ``(n,)`` of each id."""
        for page in np.unique(ids >> PAGE_BITS):
            there = ids >> PAGE_BITS == page
            kept = self._pages.setdefault(int(page), np.zeros(1 << PAGE_BITS, np.uint8))
            kept[ids[there] & ((1 << PAGE_BITS) - 1)] = values[there]

    def __call__(self, ids: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Return the value of each id; 0 for ids never heard of."""
        out = np.zeros(ids.shape, np.uint8)
        if not ids.size:
            return out
        first, last = int(ids.min()) >> PAGE_BITS, int(ids.max()) >> PAGE_BITS
        for page, kept in self._pages.items():
            if first <= page <= last:
                there = slice(None) if first == last else ids >> PAGE_BITS == page
                out[there] = kept[ids[there] & ((1 << PAGE_BITS) - 1)]
        return out


class ClassRaster:
    """Draws the class raster of a document, and one marked nucleus.

    Parameters
    ----------
    document
        What is drawn; `follow` must be called for each of its changes.
    """

    def __init__(self, document: Document) -> None:
        self._document = document
        self._classes = BytePages()
        self._classes.put(*document.store.class_ids())
        self._marked: tuple[int, int] | None = None
        self._chosen = np.zeros(0, np.int64)
        self._chosen_value = 0

    @property
    def levels(self) -> int:
        """Number of levels, level 0 included."""
        return self._document.store.levels

    def shape(self, level: int) -> tuple[int, int]:
        """Return height and width of a level."""
        return level_shape(self._document.shape, level)

    def follow(self, box: Box) -> None:
        """Take note that nuclei in a level-0 box have changed."""
        self._classes.put(*self._document.store.class_ids(box))

    def mark(self, nucleus_id: int | None, value: int) -> list[Box]:
        """Give a nucleus's outline a value of its own; None marks none.

        Returns
        -------
        list of Box
            Where the raster is another now.
        """
        wanted = None if nucleus_id is None else (nucleus_id, value)
        if wanted == self._marked:
            return []
        both, self._marked = (self._marked, wanted), wanted
        rows = [self._document.store.row(marked[0]) for marked in both if marked is not None]
        return [row.box for row in rows if row is not None]

    def choose(self, ids: Sequence[int], value: int) -> list[Box]:
        """Give the outlines of several nuclei a value of their own.

        Returns
        -------
        list of Box
            Where the raster is another now.
        """
        both = [self._chosen.tolist(), list(ids)]
        self._chosen, self._chosen_value = np.array(sorted(ids), np.int64), value
        boxes = [[row.box for row in self._document.store.rows(some)] for some in both]
        return [reduce(box_union, some) for some in boxes if some]

    def draw(self, box: Box, level: int = 0) -> NDArray[np.uint8]:
        """Return the raster ``(h, w)`` in a box of a level's pixels."""
        shape = self.shape(level)
        around = clip_box(pad_box(box, 1), shape)
        labels = self._document.store.read_labels(around, level)
        edges = (around[0] == 0, around[1] == 0, around[2] == shape[0], around[3] == shape[1])
        raster = class_raster(labels, self._classes, edges)
        if len(self._chosen):
            raster[np.isin(labels, self._chosen) & (raster < INTERIOR)] = self._chosen_value
        if self._marked is not None:
            nucleus, value = self._marked
            raster[(labels == nucleus) & (raster < INTERIOR)] = value
        y, x = box[0] - around[0], box[1] - around[1]
        return raster[y : y + box[2] - box[0], x : x + box[3] - box[1]]


class Drawn(Protocol):
    """A picture of a document with levels, drawn part by part."""

    def shape(self, level: int) -> tuple[int, int]:
        """Return height and width of a level."""
        ...

    def draw(self, box: Box, level: int = 0) -> NDArray[np.uint8]:
        """Return the picture ``(h, w)`` in a box of a level's pixels."""
        ...


class DrawnInSteps(Drawn, Protocol):
    """A picture that says where there is something to be drawn."""

    @property
    def levels(self) -> int:
        """Number of levels, level 0 included."""
        ...

    def read_in_steps(self) -> Iterator[Box]:
        """Yield level-0 boxes where there is something."""
        ...


class RasterTiles:
    """The levels of a picture in tiles, drawn when first looked at and kept for a while."""

    def __init__(self, raster: Drawn, cached: int = CACHED_TILES) -> None:
        self._raster, self._cached = raster, cached
        self._tiles: OrderedDict[Place, NDArray[np.uint8]] = OrderedDict()

    def read(self, box: Box, level: int = 0) -> NDArray[np.uint8]:
        """Return a copy of the picture ``(h, w)`` in a box of a level's pixels."""
        out = np.zeros((box[2] - box[0], box[3] - box[1]), np.uint8)
        for cell, inside, outside in pieces_of(box, TILE_SIZE):
            out[outside] = self._tile((level, *cell))[inside]
        return out

    def redraw(self, box: Box) -> None:
        """Draw what is kept of a level-0 box again."""
        for place, tile in self._tiles.items():
            level = place[0]
            there = self._box(place)
            # An outline may change a pixel beside what has changed.
            seen = box_intersection(pad_box(level_box(box, level), 1), there)
            if seen is not None:
                y0, x0, y1, x1 = seen
                rows, columns = (
                    slice(y0 - there[0], y1 - there[0]),
                    slice(x0 - there[1], x1 - there[1]),
                )
                tile[rows, columns] = self._raster.draw(seen, level)

    def _tile(self, place: Place) -> NDArray[np.uint8]:
        tile = self._tiles.get(place)
        if tile is None:
            tile = self._tiles[place] = self._raster.draw(self._box(place), place[0])
            while len(self._tiles) > self._cached:
                self._tiles.popitem(last=False)
        self._tiles.move_to_end(place)
        return tile

    def _box(self, place: Place) -> Box:
        level, r, c = place
        cell = (r * TILE_SIZE, c * TILE_SIZE, (r + 1) * TILE_SIZE, (c + 1) * TILE_SIZE)
        return clip_box(cell, self._raster.shape(level))
