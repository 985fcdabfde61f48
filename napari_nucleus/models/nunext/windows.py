"""Tiles of any size in windows of the size that a detector was trained on, their points joined.

Windows overlap; a point counts where it lies in its window's core. The cores of a tile cover it
once, and each reaches to the middle of the overlap with its neighbours. Knows neither networks nor
pixels: a callable finds the points of windows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

from napari_nucleus.core.geometry import Box
from napari_nucleus.core.points import Points, suppress_points

__all__ = ["Piece", "Window", "cut_windows", "detect_in_windows"]


@dataclass(frozen=True, slots=True)
class Window:
    """A window of a tile: what is seen, and the part of it whose points count, in tile pixels."""

    box: Box
    core: Box


@dataclass(frozen=True, slots=True)
class Piece:
    """A window of the tile of that number."""

    tile: int
    window: Window


def cut_windows(shape: tuple[int, int], side: int, halo: int) -> list[Window]:
    """Return the windows of a tile, rows first.

    Parameters
    ----------
    shape
        Height and width of the tile.
    side
        Of a window; a tile that is shorter has shorter ones.
    halo
        What a window sees beyond its core, at least, where another window begins.
    """
    rows, columns = (_cut_axis(length, side, halo) for length in shape)
    return [
        Window((y[0], x[0], y[1], x[1]), (y[2], x[2], y[3], x[3])) for y in rows for x in columns
    ]


def detect_in_windows(
    shapes: Sequence[tuple[int, int]],
    detect: Callable[[Sequence[Piece]], Sequence[Points]],
    side: int = 256,
    halo: int = 32,
    radius: float = 6.0,
    batch: int = 4,
) -> list[Points]:
    """Return the points of tiles, found window by window.

    Parameters
    ----------
    shapes
        Height and width of each tile.
    detect
        Finds the points of some windows, in pixels of each window.
    side, halo
        As for `cut_windows`.
    radius
        Of two points nearer than this the better stays.
    batch
        Windows at a time, of one tile or of several.
    """
    pieces = [Piece(i, w) for i, s in enumerate(shapes) for w in cut_windows(s, side, halo)]
    found: list[list[Points]] = [[] for _ in shapes]
    for first in range(0, len(pieces), batch):
        some = pieces[first : first + batch]
        for piece, points in zip(some, detect(some), strict=True):
            y, x = piece.window.box[:2]
            found[piece.tile].append(points.shifted(y, x).within(piece.window.core))
    return [suppress_points(Points.joined(parts), radius) for parts in found]


def _cut_axis(length: int, side: int, halo: int) -> list[tuple[int, int, int, int]]:
    """Return begin and end of each window of an axis, and of its core."""
    if side <= 2 * halo:
        raise ValueError(f"a window of {side} px is all halo of {halo} px")
    n = max(ceil((length - 2 * halo) / (side - 2 * halo)), 1)
    last = max(length - side, 0)
    starts = [round(i * last / max(n - 1, 1)) for i in range(n)]
    ends = [min(start + side, length) for start in starts]
    middles = [(end + start) // 2 for end, start in zip(ends[:-1], starts[1:], strict=True)]
    return list(zip(starts, ends, [0, *middles], [*middles, length], strict=True))
