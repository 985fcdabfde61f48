"""The coordinate frame of everything: level-0 pixels with a corner origin.

Pixel ``(r, c)`` covers ``[c, c+1] x [r, r+1]``; its centre is at ``(r + 0.5, c + 0.5)``. Points are
``(y, x)`` and boxes ``(y0, x0, y1, x1)``, half-open, in this convention everywhere in the package.
The places where others count differently (napari and OpenCV put 0 at the centre of the first
pixel) convert at their door with `points_to_centre_origin` and `points_from_centre_origin`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Box",
    "Frame",
    "box_area",
    "box_intersection",
    "box_union",
    "clip_box",
    "grouped_by_cell",
    "pad_box",
    "pixels_of_points",
    "points_from_centre_origin",
    "points_to_centre_origin",
]

Box = tuple[int, int, int, int]
"""A half-open pixel box ``(y0, x0, y1, x1)``."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a raster lies on level 0 of its image, and how large its pixels are.

    Parameters
    ----------
    origin_yx
        Level-0 position of the raster's top-left corner, in pixels.
    downsample_yx
        Level-0 pixels per raster pixel on each axis (2 for a raster at half size). The axes may
        differ by a rounding, because a raster has a whole number of pixels.
    mpp
        Micrometres per level-0 pixel; None when it is unknown.
    level
        Pyramid level the raster was read from; for information only.
    """

    origin_yx: tuple[float, float] = (0.0, 0.0)
    downsample_yx: tuple[float, float] = (1.0, 1.0)
    mpp: float | None = None
    level: int = 0

    def __post_init__(self) -> None:
        if not all(d > 0 and np.isfinite(d) for d in self.downsample_yx):
            raise ValueError(f"downsample must be positive and finite, got {self.downsample_yx}")
        if self.mpp is not None and not (np.isfinite(self.mpp) and self.mpp > 0):
            raise ValueError(f"mpp must be positive and finite, got {self.mpp}")

    @property
    def raster_mpp(self) -> float | None:
        """Micrometres per pixel of this raster (geometric mean of the axes)."""
        if self.mpp is None:
            return None
        dy, dx = self.downsample_yx
        return self.mpp * float(np.sqrt(dy * dx))

    def to_level0(self, points_yx: ArrayLike) -> NDArray[np.float64]:
        """Map raster points ``(..., 2)`` to level 0."""
        points = np.asarray(points_yx, dtype=np.float64)
        return points * np.asarray(self.downsample_yx) + np.asarray(self.origin_yx)

    def from_level0(self, points_yx: ArrayLike) -> NDArray[np.float64]:
        """Map level-0 points ``(..., 2)`` to this raster."""
        points = np.asarray(points_yx, dtype=np.float64)
        return (points - np.asarray(self.origin_yx)) / np.asarray(self.downsample_yx)

    def boxes_to_level0(self, boxes: ArrayLike) -> NDArray[np.float64]:
        """Map raster boxes ``(..., 4)`` to level 0."""
        boxes = np.asarray(boxes, dtype=np.float64)
        return np.concatenate([self.to_level0(boxes[..., :2]), self.to_level0(boxes[..., 2:])], -1)

    def boxes_from_level0(self, boxes: ArrayLike) -> NDArray[np.float64]:
        """Map level-0 boxes ``(..., 4)`` to this raster."""
        boxes = np.asarray(boxes, dtype=np.float64)
        return np.concatenate(
            [self.from_level0(boxes[..., :2]), self.from_level0(boxes[..., 2:])], -1
        )

    def resampled(self, shape: tuple[int, int], new_shape: tuple[int, int]) -> Frame:
        """Return the frame of this raster of ``shape`` after resizing it to ``new_shape``.

        Resizing keeps the outer corners in place, hence corner coordinates scale by the ratio of
        the sizes; that is the rule ``x' = (x + 0.5) s - 0.5`` for pixel centres.
        """
        dy, dx = self.downsample_yx
        factors = (dy * shape[0] / new_shape[0], dx * shape[1] / new_shape[1])
        return Frame(self.origin_yx, factors, self.mpp, self.level)

    def cropped(self, y0: int, x0: int) -> Frame:
        """Return the frame of the part of this raster that begins at pixel ``(y0, x0)``."""
        (oy, ox), (dy, dx) = self.origin_yx, self.downsample_yx
        return Frame((oy + y0 * dy, ox + x0 * dx), self.downsample_yx, self.mpp, self.level)


def points_to_centre_origin(points_yx: ArrayLike) -> NDArray[np.float64]:
    """Convert corner-origin points to coordinates in which 0 is the centre of the first pixel."""
    return np.asarray(points_yx, dtype=np.float64) - 0.5


def points_from_centre_origin(points_yx: ArrayLike) -> NDArray[np.float64]:
    """Convert points counted from the centre of the first pixel to corner-origin points."""
    return np.asarray(points_yx, dtype=np.float64) + 0.5


def pixels_of_points(points_yx: ArrayLike) -> NDArray[np.int64]:
    """Return the ``(row, column)`` of the pixels that hold corner-origin points."""
    return np.floor(np.asarray(points_yx, dtype=np.float64)).astype(np.int64)


def clip_box(box: Any, shape: tuple[int, int]) -> Box:
    """Clip a pixel box to an array of ``shape``; the result may be empty, never inverted."""
    y0, x0, y1, x1 = (int(v) for v in box)
    y0, x0 = min(max(y0, 0), shape[0]), min(max(x0, 0), shape[1])
    return y0, x0, min(max(y1, y0), shape[0]), min(max(x1, x0), shape[1])


def pad_box(box: Any, by: int) -> Box:
    """Grow a pixel box by ``by`` pixels on all sides."""
    y0, x0, y1, x1 = (int(v) for v in box)
    return y0 - by, x0 - by, y1 + by, x1 + by


def box_area(box: Any) -> int:
    """Return the number of pixels in a box; 0 for an empty one."""
    y0, x0, y1, x1 = (int(v) for v in box)
    return max(y1 - y0, 0) * max(x1 - x0, 0)


def box_intersection(a: Any, b: Any) -> Box | None:
    """Return the common part of two pixel boxes, or None where they do not meet."""
    y0, x0 = max(int(a[0]), int(b[0])), max(int(a[1]), int(b[1]))
    y1, x1 = min(int(a[2]), int(b[2])), min(int(a[3]), int(b[3]))
    return (y0, x0, y1, x1) if y1 > y0 and x1 > x0 else None


def box_union(a: Any, b: Any) -> Box:
    """Return the smallest box that holds both boxes."""
    return (
        min(int(a[0]), int(b[0])),
        min(int(a[1]), int(b[1])),
        max(int(a[2]), int(b[2])),
        max(int(a[3]), int(b[3])),
    )


def grouped_by_cell(boxes: NDArray[np.integer], size: int) -> Iterator[NDArray[np.int64]]:
    """Yield the positions of boxes ``(n, 4)`` that begin in the same square, row by row.

    Squares have ``size`` pixels a side; inside one the positions ascend.
    """
    if not len(boxes):
        return
    cells = boxes[:, :2].astype(np.int64) // size
    order = np.lexsort((cells[:, 1], cells[:, 0]))
    borders = np.flatnonzero(np.diff(cells[order], axis=0).any(axis=1)) + 1
    yield from np.split(order, borders)
