"""The label tiles of a project file, of every level; the ones used last are kept decoded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.geometry import Box
from napari_nucleus.session.codec import decode_tile, encode_tile
from napari_nucleus.session.grid import Cell
from napari_nucleus.session.pyramid import level_box, sample
from napari_nucleus.session.store import pieces_of

if TYPE_CHECKING:
    import sqlite3

__all__ = ["TileTables", "fill_levels"]

Place = tuple[int, int, int]
"""Level, row and column of a tile."""


class TileTables:
    """Reads and writes label tiles; what was written reaches the file with `flush`.

    Parameters
    ----------
    connection
        To a database with the tables of `schema`.
    size
        Side of a tile.
    levels
        Number of levels, level 0 included.
    cached
        Decoded tiles that are kept in memory.
    decoded
        Calls a decoder with a blob and turns its faults into errors that name the file.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        size: int,
        levels: int,
        cached: int,
        decoded: Callable[..., Any],
    ) -> None:
        self.connection = connection
        self.size, self.levels = size, levels
        self._cached, self._decoded = cached, decoded
        self._tiles: OrderedDict[Place, NDArray[np.int32]] = OrderedDict()
        self._dirty: set[Place] = set()

    def read(self, level: int, box: Box) -> NDArray[np.int32]:
        """Return a copy of a level's labels ``(h, w)`` in a box of its own pixels."""
        out = np.zeros((box[2] - box[0], box[3] - box[1]), np.int32)
        for cell, inside, outside in pieces_of(box, self.size):
            tile = self._tile((level, *cell))
            if tile is not None:
                out[outside] = tile[inside]
        return out

    def write(self, box: Box, labels: NDArray[np.int32]) -> None:
        """Write labels ``(h, w)`` into a level-0 box, and what is seen of them into each level."""
        self._write(0, box, labels)
        for level in range(1, self.levels):
            self._write(level, level_box(box, level), sample(labels, box, level))

    def _write(self, level: int, box: Box, labels: NDArray[np.int32]) -> None:
        for cell, inside, outside in pieces_of(box, self.size):
            place, piece = (level, *cell), labels[outside]
            tile = self._tile(place)
            if tile is None:
                if not piece.any():
                    continue
                tile = np.zeros((self.size, self.size), np.int32)
            self._dirty.add(place)
            self._keep(place, tile)
            tile[inside] = piece

    def flush(self) -> None:
        """Write what has changed into the file."""
        self._store(self._dirty)

    def settle(self) -> None:
        """Note that what was flushed is kept."""
        self._dirty.clear()

    def take_back(self) -> None:
        """Forget what was written since `settle`."""
        for place in self._dirty:
            self._tiles.pop(place, None)
        self._dirty.clear()

    def cells(self) -> list[Cell]:
        """Return row and column of each level-0 tile that may hold a label, row by row."""
        kept = set(self.connection.execute("SELECT r, c FROM tile WHERE level = 0"))
        return sorted(kept | {(r, c) for level, r, c in self._dirty if not level})

    def _tile(self, place: Place) -> NDArray[np.int32] | None:
        """Return a tile's labels, the cached array itself; None for an empty tile."""
        tile = self._tiles.get(place)
        if tile is not None:
            self._tiles.move_to_end(place)
            return tile
        found = self.connection.execute(
            "SELECT data FROM tile WHERE level = ? AND r = ? AND c = ?", place
        ).fetchone()
        if found is None:
            return None
        what = f"label tile {place[1:]} of level {place[0]}"
        tile = self._decoded(what, decode_tile, found[0], self.size)
        self._keep(place, tile)
        return tile

    def _keep(self, place: Place, tile: NDArray[np.int32]) -> None:
        self._tiles[place] = tile
        self._tiles.move_to_end(place)
        while len(self._tiles) > self._cached:
            oldest = next(iter(self._tiles))
            if oldest in self._dirty:
                self._store({oldest})
            del self._tiles[oldest]

    def _store(self, places: Iterable[Place]) -> None:
        for place in sorted(set(places) & self._tiles.keys()):
            tile = self._tiles[place]
            if tile.any():
                self.connection.execute(
                    "INSERT INTO tile (level, r, c, data) VALUES (?, ?, ?, ?) "
                    "ON CONFLICT (level, r, c) DO UPDATE SET data = excluded.data",
                    (*place, encode_tile(tile)),
                )
            else:
                self.connection.execute(
                    "DELETE FROM tile WHERE level = ? AND r = ? AND c = ?", place
                )


def fill_levels(connection: sqlite3.Connection, size: int, levels: int) -> None:
    """Make the levels above 0 from the tiles of level 0, inside the caller's transaction.

    Raises
    ------
    ValueError
        If a tile is damaged.
    """

    def decoded(_: str, decode: Callable[..., Any], *arguments: Any) -> Any:
        return decode(*arguments)

    tiles = TileTables(connection, size, levels, 4 * levels, decoded)
    for r, c in tiles.cells() if levels > 1 else ():
        box = (r * size, c * size, (r + 1) * size, (c + 1) * size)
        tiles.write(box, tiles.read(0, box))
        tiles.flush()
        tiles.settle()
