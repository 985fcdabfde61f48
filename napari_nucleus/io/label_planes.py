"""Label maps piece by piece: a plane that is read where it is sliced, and every n-th of its pixels.

Knows shapes and axes, no file formats. What is held at a time is what was asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.geometry import Box
from napari_nucleus.errors import LabelsError, LabelShapeError
from napari_nucleus.io.results import Read

__all__ = ["LabelPlane", "check_plausible", "label_plane", "sampled", "sampled_shape", "tile_boxes"]

LARGEST_SIDE = 2_000_000
MOST_PIXELS = 2**35
MOST_TILES = 2**20
LARGEST_TILE = 2**26
"""Pixels of the side and of the whole of a label map, tiles of it and pixels of a tile: no slide
has more, a damaged header easily does."""

READ_SIDE = 2048
"""Pixels of the side of what is read at a time to take samples of it."""


@dataclass(frozen=True, eq=False)
class LabelPlane:
    """The two axes of a picture in an array of any number of axes, the others of length 1.

    Parameters
    ----------
    array
        Anything that can be sliced, such as a numpy or zarr array; integers.
    y, x
        Which of its axes are rows and columns.
    """

    array: Any
    y: int
    x: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.array.shape[self.y]), int(self.array.shape[self.x])

    @property
    def dtype(self) -> np.dtype:
        """Type of the pixels."""
        return np.dtype(self.array.dtype)

    def __getitem__(self, key: slice | tuple[slice, slice]) -> NDArray[Any]:
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        index: list[int | slice] = [0] * len(self.array.shape)
        index[self.y], index[self.x] = rows, columns
        pixels = np.asarray(self.array[tuple(index)])
        return pixels if self.y < self.x else pixels.T


def label_plane(array: Any, name: str, axes: str | None = None) -> LabelPlane:
    """Return the one plane of an array whose other axes have length 1.

    Parameters
    ----------
    array
        Anything that can be sliced.
    name
        What to call it in an error.
    axes
        A letter for each of its axes, ``y`` and ``x`` among them; by default those are the last
        two.

    Raises
    ------
    LabelShapeError
        If it has several planes, or none.
    """
    shape = tuple(int(n) for n in array.shape)
    letters = axes or "?" * (len(shape) - 2) + "yx"
    if len(letters) != len(shape) or letters.count("y") != 1 or letters.count("x") != 1:
        raise LabelShapeError(f"{name}: a label map has 2 dimensions, this has shape {shape}.")
    for letter, size in zip(letters, shape, strict=True):
        if letter not in "yx" and size != 1:
            what = "its first axis" if letter == "?" else f"its axis {letter!r}"
            raise LabelShapeError(
                f"{name}: a label map has 2 dimensions, this has shape {shape}: {what} holds "
                f"{size} planes; save one of them alone."
            )
    return LabelPlane(array, letters.index("y"), letters.index("x"))


def check_plausible(shape: tuple[int, ...], tile: tuple[int, ...] | None, name: str) -> None:
    """Raise `LabelsError` unless a label map can have this shape, and tiles of that shape if any.

    Asked before a file is read that may claim anything.
    """
    pixels, sides = math.prod(shape), max(shape, default=0)
    tiles = 0
    if tile is not None:
        tiles = math.prod(-(-a // max(b, 1)) for a, b in zip(shape, tile, strict=True))
    large = math.prod(tile or (0,)) > LARGEST_TILE or tiles > MOST_TILES
    if large or pixels > MOST_PIXELS or sides > LARGEST_SIDE:
        pieces = "" if tile is None else f" in tiles of {tile}"
        raise LabelsError(
            f"{name}: its header states labels of shape {shape}{pieces}, which cannot be true."
        )


def tile_boxes(shape: tuple[int, int], height: int, width: int | None = None) -> list[Box]:
    """Return boxes that cover an image of this shape, row by row, cut at its far edges."""
    width = height if width is None else width
    return [
        (y, x, min(y + height, shape[0]), min(x + width, shape[1]))
        for y in range(0, shape[0], height)
        for x in range(0, shape[1], width)
    ]


def sampled_shape(shape: tuple[int, int], step: int, first: int = 0) -> tuple[int, int]:
    """Return how many rows and columns there are in ``labels[first::step, first::step]``."""
    return len(range(first, shape[0], step)), len(range(first, shape[1], step))


def sampled(
    read: Read, shape: tuple[int, int], step: int, first: int = 0, window: Box | None = None
) -> NDArray[np.int32]:
    """Return a box of ``labels[first::step, first::step]`` without reading all labels at once.

    Parameters
    ----------
    read
        Returns the labels of a box.
    shape
        Height and width of the whole label map.
    step, first
        Which rows and columns are taken.
    window
        The box in the picture of the samples; by default all of it.
    """
    y0, x0, y1, x1 = window or (0, 0, *sampled_shape(shape, step, first))
    found = np.empty((y1 - y0, x1 - x0), np.int32)
    for a, b, c, d in tile_boxes(found.shape, max(READ_SIDE // step, 1)):
        top, left = first + (y0 + a) * step, first + (x0 + b) * step
        bottom, right = first + (y0 + c - 1) * step + 1, first + (x0 + d - 1) * step + 1
        found[a:c, b:d] = read((top, left, bottom, right))[::step, ::step]
    return found
