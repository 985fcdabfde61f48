"""Rings of outlines: polygons taken apart for formats that store rings, and put together again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.formats.geojson_shapes import Rings

__all__ = ["corners_in", "ellipse", "nested", "ring_of", "rings_of"]

MOST_NESTED = 500
"""Rings of one outline whose nesting is looked into; no nucleus has as many holes and parts."""

AROUND = 64
"""Corners of a polygon that stands for an ellipse."""


def rings_of(polygons: NDArray[np.object_]) -> Iterator[list[Rings]]:
    """Yield the parts of each of n polygons or multipolygons, each the shell and then its holes.

    Rings are ``(m, 2)`` xy, and open: the last corner is not the first again. Their numbers are
    integers if all of them are whole.
    """
    parts, polygon_of_part = shapely.get_parts(polygons, return_index=True)
    rings, part_of_ring = shapely.get_rings(parts, return_index=True)
    xy: NDArray[Any] = shapely.get_coordinates(rings)
    whole = xy.astype(np.int64)
    if np.array_equal(whole, xy):
        xy = whole
    ends = np.cumsum(shapely.get_num_coordinates(rings))
    lines = [xy[a : b - 1] for a, b in zip(np.append(0, ends), ends, strict=False)]
    first_ring = np.searchsorted(part_of_ring, np.arange(len(parts) + 1)).tolist()
    first_part = np.searchsorted(polygon_of_part, np.arange(len(polygons) + 1)).tolist()
    for begin, end in pairwise(first_part):
        yield [lines[first_ring[part] : first_ring[part + 1]] for part in range(begin, end)]


def corners_in(value: Any, name: str, where: str) -> NDArray[np.float64]:
    """Return the corners ``(m, 2)`` xy of a ring in a file; more than two numbers each are cut.

    Raises
    ------
    AnnotationError
        If they are no positions, or a number is not finite.
    """
    try:
        with np.errstate(invalid="ignore"):  # what is no number is told of below
            xy = np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise AnnotationError(f"{name}: {where} has corners that are no positions.") from error
    if not xy.size:
        return np.zeros((0, 2))
    if xy.ndim != 2 or xy.shape[1] < 2:
        raise AnnotationError(f"{name}: {where} has corners that are no positions.")
    xy = xy[:, :2]
    if not np.isfinite(xy).all():
        bad = xy[~np.isfinite(xy)][0]
        raise AnnotationError(f"{name}: {where} has the coordinate {bad}, which is no number.")
    return xy


def ring_of(xy: NDArray) -> NDArray[np.float64]:
    """Return corners as a closed ring; an empty one of fewer than three."""
    if len(xy) < 3:
        return np.zeros((0, 2))
    closed = np.array_equal(xy[0], xy[-1]) and len(xy) > 3
    return np.ascontiguousarray(xy if closed else np.concatenate([xy, xy[:1]]), np.float64)


def ellipse(box: tuple[float, float, float, float], angle: float = 0.0) -> NDArray[np.float64]:
    """Return an ellipse of the same area as a polygon.

    Parameters
    ----------
    box
        ``(x0, y0, x1, y1)`` around it before it is turned.
    angle
        By which it is turned about its middle, radians from x to y.
    """
    x0, y0, x1, y1 = box
    turn = 2 * np.pi * np.arange(AROUND) / AROUND
    # A polygon with its corners on the curve would be smaller.
    larger = np.sqrt(2 * np.pi / (AROUND * np.sin(2 * np.pi / AROUND))) / 2
    x, y = larger * (x1 - x0) * np.cos(turn), larger * (y1 - y0) * np.sin(turn)
    c, s = np.cos(angle), np.sin(angle)
    return np.column_stack([(x0 + x1) / 2 + c * x - s * y, (y0 + y1) / 2 + s * x + c * y])


def nested(rings: Sequence[NDArray[np.float64]]) -> list[Rings]:
    """Return the parts that closed rings make by the even-odd rule.

    A ring inside of no other, or of an even number of them, is a shell; the others are holes.
    """
    some = [ring for ring in rings if len(ring)]
    if len(some) < 2:
        return [some] if some else []
    if len(some) > MOST_NESTED:
        return [some]
    shapes = np.asarray(shapely.polygons(np.asarray([shapely.linearrings(r) for r in some])))
    areas = shapely.area(shapes)
    inner, outer = shapely.STRtree(shapes).query(shapely.point_on_surface(shapes), "within")
    larger = areas[outer] > areas[inner]
    inner, outer = inner[larger], outer[larger]
    depth = np.bincount(inner, minlength=len(some))
    parts = {i: [some[i]] for i in np.flatnonzero(depth % 2 == 0).tolist()}
    for hole in np.flatnonzero(depth % 2).tolist():
        around = outer[inner == hole]
        parts[int(around[depth[around] == depth[hole] - 1][0])].append(some[hole])
    return list(parts.values())
