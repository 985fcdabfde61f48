"""Smaller copies of a label map for looking at large images.

Level ``k`` samples every 2^k-th pixel. Its pixel shows the label in the middle of the square that
it stands for, so that the labels of an edit's box are all that is needed to bring every level up
to date. Nuclei smaller than the step
may vanish, none is ever mixed with another.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.geometry import Box

__all__ = ["level_box", "level_count", "level_shape", "sample"]

T = TypeVar("T", bound=np.generic)

WHOLE_SIDE = 4096
"""Images up to this side are shown from level 0 alone and have no other levels."""

COARSEST_SIDE = 1024
"""Longest side of the last level."""


def level_count(shape: tuple[int, int]) -> int:
    """Return the number of levels that a label map of this shape has, level 0 included."""
    if max(shape) <= WHOLE_SIDE:
        return 1
    count = 1
    while max(level_shape(shape, count - 1)) > COARSEST_SIDE:
        count += 1
    return count


def level_shape(shape: tuple[int, int], level: int) -> tuple[int, int]:
    """Return height and width of a level, at least 1 each."""
    height, width = level_box((0, 0, *shape), level)[2:]
    return max(height, 1), max(width, 1)


def level_box(box: Box, level: int) -> Box:
    """Return the box of a level's pixels whose samples lie in a level-0 box; it may be empty."""
    step = 1 << level
    offset = step >> 1
    # -(-a // b) rounds up.
    y0, x0, y1, x1 = (max(-((offset - at) // step), 0) for at in box)
    return y0, x0, y1, x1


def sample(labels: NDArray[T], box: Box, level: int) -> NDArray[T]:
    """Return the pixels of `level_box` out of the labels ``(h, w)`` of a level-0 box."""
    step = 1 << level
    y0, x0 = level_box(box, level)[:2]
    offset = step >> 1
    return labels[y0 * step + offset - box[0] :: step, x0 * step + offset - box[1] :: step]
