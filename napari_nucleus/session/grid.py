"""Which nuclei lie where: a grid of cells, each with the ids whose boxes meet it.

Knows boxes only. A query costs the cells it meets and the nuclei in them, whatever the number of
nuclei elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator

from napari_nucleus.core.geometry import Box

__all__ = ["TILE_SIZE", "GridIndex", "cells_of"]

TILE_SIZE = 512
"""Side of a label tile and of a grid cell, in pixels."""

Cell = tuple[int, int]


def cells_of(box: Box, size: int = TILE_SIZE) -> Iterator[Cell]:
    """Yield the ``(row, column)`` of each cell of side ``size`` that a box meets."""
    y0, x0, y1, x1 = box
    if y1 <= y0 or x1 <= x0:
        return
    for row in range(y0 // size, (y1 - 1) // size + 1):
        for col in range(x0 // size, (x1 - 1) // size + 1):
            yield row, col


class GridIndex:
    """The ids whose boxes meet each cell."""

    def __init__(self, size: int = TILE_SIZE) -> None:
        self._size = size
        self._cells: dict[Cell, set[int]] = {}

    def add(self, nucleus_id: int, box: Box) -> None:
        """Enter a nucleus."""
        for cell in cells_of(box, self._size):
            self._cells.setdefault(cell, set()).add(nucleus_id)

    def discard(self, nucleus_id: int, box: Box) -> None:
        """Take out a nucleus that was entered with this box."""
        for cell in cells_of(box, self._size):
            ids = self._cells[cell]
            ids.discard(nucleus_id)
            if not ids:
                del self._cells[cell]

    def near(self, box: Box) -> set[int]:
        """Return the ids in the cells that ``box`` meets: all that meet it, and some beside it."""
        y0, x0, y1, x1 = box
        wanted = ((y1 - y0) // self._size + 2) * ((x1 - x0) // self._size + 2)
        if wanted < len(self._cells):
            cells = cells_of(box, self._size)
            return set().union(*(self._cells.get(cell, ()) for cell in cells))
        low, high = (y0 // self._size, x0 // self._size), (y1 // self._size, x1 // self._size)
        return set().union(
            *(
                ids
                for (row, col), ids in self._cells.items()
                if low[0] <= row <= high[0] and low[1] <= col <= high[1]
            )
        )
