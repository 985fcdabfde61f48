"""Regions of an image that somebody has signed off or excluded.

A region is a value; how it comes into the document is `marking`'s business. All polygons are in
level-0 pixels with a corner origin, ``(y, x)``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_nucleus.core.geometry import Box
from napari_nucleus.errors import EditRefusedError

__all__ = [
    "Ground",
    "Polygons",
    "Region",
    "RegionKind",
    "region_at",
    "signed_off_share",
    "tidy_polygons",
]

Polygons = tuple[NDArray[np.float64], ...]
"""Polygons ``(n, 2)`` of ``(y, x)`` without holes, not closed by a repeated point."""


class RegionKind(StrEnum):
    """What was said about a region."""

    REVIEWED = "reviewed"
    """Somebody has signed it off: every nucleus is there and right."""
    EXCLUDED = "excluded"
    """Not to be annotated: a fold, pen, dirt."""


@dataclass(frozen=True, eq=False)
class Region:
    """A region of the image and what was said about it.

    Parameters
    ----------
    id
        Its number among the regions that there are.
    kind
        What was said.
    polygons
        Where it is; as `tidy_polygons` returns them.
    note
        In the words of who said it.
    annotator
        Who said it.
    made
        When, as an ISO date and time.
    """

    id: int
    kind: RegionKind
    polygons: Polygons
    note: str = ""
    annotator: str = ""
    made: str = ""

    @cached_property
    def box(self) -> Box:
        """Smallest pixel box around it."""
        points = np.concatenate(self.polygons)
        low, high = np.floor(points.min(axis=0)), np.ceil(points.max(axis=0))
        return int(low[0]), int(low[1]), int(high[0]), int(high[1])

    @cached_property
    def area(self) -> float:
        """Its area in pixels; what polygons share counts once."""
        return float(shapely.area(self.shape))

    @cached_property
    def shape(self) -> shapely.Geometry:
        """All of it as one shapely geometry in ``(x, y)``."""
        return _union(self.polygons)

    def contains(self, points_yx: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return which points ``(n, 2)`` lie in it, ``(n,)``."""
        return _contains(self._prepared, points_yx)

    def meets(self, box: Box) -> bool:
        """Return True if it has a part in a box."""
        return _meets(self.shape, box)

    @cached_property
    def _prepared(self) -> shapely.Geometry:
        return _prepared(self.shape)


def tidy_polygons(polygons: Iterable[Any], shape: tuple[int, int]) -> Polygons:
    """Return drawn polygons as they are kept: cut to the image, without crossings and holes.

    Each is taken for all that it goes around. Where it encloses a hole, it is cut in two there.

    Parameters
    ----------
    polygons
        ``(n, 2)`` corners each.
    shape
        Height and width of the image.

    Raises
    ------
    EditRefusedError
        If nothing of them lies in the image, or a corner is not a number.
    """
    image = shapely.box(0, 0, shape[1], shape[0])
    kept: list[NDArray[np.float64]] = []
    drawn = [np.asarray(polygon, np.float64) for polygon in polygons]
    for points in drawn:
        if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
            raise EditRefusedError(
                "A corner of the region is no place in the image; nothing was changed. Draw it "
                "again."
            )
        if len(points) >= 3:
            valid = shapely.make_valid(
                shapely.Polygon(points[:, ::-1]), method="structure", keep_collapsed=False
            )
            for part in _parts(shapely.intersection(valid, image)):
                kept += [_corners(whole) for whole in _without_holes(part)]
    if not kept:
        raise EditRefusedError(
            "The region encloses nothing of the image; nothing was changed. Draw three corners or "
            "more on it."
        )
    return tuple(kept)


def _parts(geometry: shapely.Geometry) -> list[shapely.Polygon]:
    return [
        part
        for part in shapely.get_parts(geometry).tolist()
        if isinstance(part, shapely.Polygon) and part.area > 0
    ]


def _without_holes(polygon: shapely.Polygon) -> list[shapely.Polygon]:
    """Cut a polygon through its holes until there is none."""
    if not polygon.interiors:
        return [polygon]
    x0, y0, x1, y1 = polygon.bounds
    middle = polygon.interiors[0].centroid.x
    halves = (shapely.box(x0, y0, middle, y1), shapely.box(middle, y0, x1, y1))
    parts = [part for half in halves for part in _parts(shapely.intersection(polygon, half))]
    return [whole for part in parts for whole in _without_holes(part)]


def _corners(polygon: shapely.Polygon) -> NDArray[np.float64]:
    return np.ascontiguousarray(shapely.get_coordinates(polygon.exterior)[:-1, ::-1])


def _union(polygons: Sequence[NDArray[np.float64]]) -> shapely.Geometry:
    return shapely.union_all([shapely.Polygon(points[:, ::-1]) for points in polygons])


def _prepared(geometry: shapely.Geometry) -> shapely.Geometry:
    """Return a copy for many questions from one thread; the original may be asked from any."""
    copy = shapely.transform(geometry, np.array)
    shapely.prepare(copy)
    return copy


def _contains(prepared: shapely.Geometry, points_yx: NDArray[np.floating]) -> NDArray[np.bool_]:
    points = np.asarray(points_yx, np.float64).reshape(-1, 2)
    return shapely.contains_xy(prepared, points[:, 1], points[:, 0])


def _meets(geometry: shapely.Geometry, box: Box) -> bool:
    y0, x0, y1, x1 = box
    square = shapely.box(x0, y0, x1, y1)
    return bool(shapely.intersects(geometry, square) and not shapely.touches(geometry, square))


def region_at(regions: Sequence[Region], point_yx: Any) -> Region | None:
    """Return the smallest region under a point, or None."""
    point = np.asarray(point_yx, np.float64)[None]
    under = [region for region in regions if region.contains(point)[0]]
    return min(under, key=lambda region: region.area, default=None)


@lru_cache(maxsize=4)
def signed_off_share(regions: tuple[Region, ...], shape: tuple[int, int]) -> float:
    """Return which share of an image of this shape is signed off, 0–1.

    What is excluded counts neither way; an image that is excluded whole is done, 1.
    """

    def all_of(kind: RegionKind) -> shapely.Geometry:
        return shapely.union_all([region.shape for region in regions if region.kind is kind])

    image = shapely.box(0, 0, shape[1], shape[0])
    counted = shapely.difference(image, all_of(RegionKind.EXCLUDED))
    total = float(shapely.area(counted))
    done = float(shapely.area(shapely.intersection(counted, all_of(RegionKind.REVIEWED))))
    return min(done / total, 1.0) if total else 1.0


class Ground:
    """Where an automatic run may work: inside what was asked for, outside of closed regions.

    Closed are excluded regions, and those that somebody has signed off.

    Parameters
    ----------
    within
        Polygons that were asked for; everywhere if there are none.
    closed
        Regions to leave alone.
    """

    def __init__(self, within: Polygons = (), closed: tuple[Region, ...] = ()) -> None:
        self.closed = closed
        self._within = _union(within) if within else None
        self._closed = shapely.union_all([region.shape for region in closed]) if closed else None
        self._tests = [
            (wanted, _prepared(part))
            for part, wanted in ((self._within, True), (self._closed, False))
            if part is not None
        ]

    def holds(self, points_yx: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return which points ``(n, 2)`` lie on it, ``(n,)``."""
        held = np.ones(len(points_yx), np.bool_)
        for wanted, part in self._tests:
            held &= _contains(part, points_yx) == wanted
        return held

    def meets(self, box: Box) -> bool:
        """Return True if a part of a box lies on it; may be asked from any thread."""
        if self._within is not None and not _meets(self._within, box):
            return False
        if self._closed is None:
            return True
        y0, x0, y1, x1 = box
        return not bool(shapely.covers(self._closed, shapely.box(x0, y0, x1, y1)))
