"""Polygons of GeoJSON (RFC 7946): checked value by value, so that errors can name what is wrong."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_nucleus.errors import AnnotationError

__all__ = ["GEOMETRIES", "Rings", "parts_of", "polygons_of_parts", "shown"]

POINTS_AND_LINES = ("Point", "MultiPoint", "LineString", "MultiLineString")
GEOMETRIES = ("Polygon", "MultiPolygon", "GeometryCollection", *POINTS_AND_LINES)

Rings = list[NDArray[np.float64]]
"""A polygon: closed rings ``(m, 2)`` xy, the outer one first."""


def parts_of(geometry: Any, where: str) -> list[Rings] | None:
    """Return the polygons of a geometry; None if it is of points or lines.

    Parameters
    ----------
    geometry
        A value of JSON. Rings of less than three corners are passed over, and polygons without an
        outer ring.
    where
        Begins the errors: the file and the feature.

    Raises
    ------
    AnnotationError
        If it is no geometry, or a coordinate no number.
    """
    if not isinstance(geometry, dict):
        raise AnnotationError(f"{where} has {shown(geometry)} as its geometry, no object.")
    parts: list[Rings] = []
    stack, has_area = [geometry], False
    while stack:
        one = stack.pop()
        kind = one.get("type") if isinstance(one, dict) else one
        if kind not in GEOMETRIES:
            raise AnnotationError(f"{where} has a geometry of the type {shown(kind)}.")
        if kind in POINTS_AND_LINES:
            continue
        inner = one.get("geometries" if kind == "GeometryCollection" else "coordinates")
        if not isinstance(inner, list):
            raise AnnotationError(f"{where} has {shown(inner)} as its coordinates, no list.")
        if kind == "GeometryCollection":
            stack.extend(reversed(inner))
            continue
        has_area = True
        for polygon in [inner] if kind == "Polygon" else inner:
            if not isinstance(polygon, list):
                raise AnnotationError(f"{where} has {shown(polygon)} as a polygon, no list.")
            rings = [_ring(ring, where) for ring in polygon]
            if rings and len(rings[0]):
                parts.append([ring for ring in rings if len(ring)])
    return parts if has_area else None


def _ring(points: Any, where: str) -> NDArray[np.float64]:
    """Return a closed ring ``(m, 2)``; empty if it has no area."""
    if not isinstance(points, list):
        raise AnnotationError(f"{where} has {shown(points)} as a ring, no list of positions.")
    if len(points) < 3:
        return np.zeros((0, 2))
    try:
        xy = np.array(points)
    except (ValueError, OverflowError):  # some positions have a height, or are no lists
        xy = np.array(None)
    if xy.dtype.kind not in "iuf" or xy.ndim != 2 or xy.shape[1] < 2:
        xy = np.array([_position(point, where) for point in points])
    xy = xy[:, :2].astype(np.float64)
    if not np.isfinite(xy).all():
        value = xy[~np.isfinite(xy)][0]
        raise AnnotationError(f"{where} has the coordinate {value}, which is no number.")
    return xy if (xy[0] == xy[-1]).all() and len(xy) > 3 else np.concatenate([xy, xy[:1]])


def _position(point: Any, where: str) -> tuple[float, float]:
    """Return a position of which something is unusual."""
    if not isinstance(point, list) or len(point) < 2:
        raise AnnotationError(f"{where} has {shown(point)} as a position, no pair of numbers.")
    for value in point[:2]:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise AnnotationError(f"{where} has the coordinate {shown(value)}, which is no number.")
    with suppress(OverflowError):
        return float(point[0]), float(point[1])
    raise AnnotationError(f"{where} has a coordinate of more than 300 digits.")


def polygons_of_parts(geometries: Sequence[list[Rings]]) -> NDArray[np.object_]:
    """Make a polygon of each of n outlines, a multipolygon of several parts, an empty one of none.

    What crosses itself is made as it is.
    """
    parts = [part for outline in geometries for part in outline]
    rings = [ring for part in parts for ring in part]
    counts = np.array([len(outline) for outline in geometries], np.int64)
    made = np.full(len(geometries), shapely.Polygon(), object)
    if not rings:
        return made
    ring_ends = np.append(0, np.cumsum([len(ring) for ring in rings]))
    part_ends = np.append(0, np.cumsum([len(part) for part in parts]))
    polygons = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, np.concatenate(rings), (ring_ends, part_ends)
    )
    first = np.cumsum(counts) - counts
    made[counts == 1] = polygons[first[counts == 1]]
    several = counts > 1
    if several.any():
        group = np.repeat(np.arange(several.sum()), counts[several])
        of_several = polygons[np.repeat(several, counts)]
        made[several] = shapely.multipolygons(of_several, indices=group)
    return made


def shown(value: Any) -> str:
    """Return a value as it can stand in a sentence, however large it is."""
    return reprlib.repr(value)
