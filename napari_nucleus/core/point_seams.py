"""One point for each nucleus out of what several tiles saw of it.

The same idea as `tiling.SeamResolver` for masks: a point belongs to the tile whose core it lies in.
Two tiles place a nucleus on their seam a little differently, so that both may claim it or each may
leave it to the other. Everything is in level-0 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from napari_nucleus.core.points import Points, suppress_points
from napari_nucleus.core.tiling import TileSpec

__all__ = ["SEAM_RADIUS_UM", "PointSeams"]

SEAM_RADIUS_UM = 1.5
"""Points of two tiles that are nearer than this are one nucleus; 6 pixels at 0.25 µm."""


@dataclass(frozen=True, eq=False)
class _Left:
    """Points that a tile left to others, and the numbers ``(n,)`` of those."""

    points: Points
    owner: NDArray[np.int64]

    def to(self, number: int) -> Points:
        """Return the points that were left to one tile."""
        return self.points.select(self.owner == number)


class PointSeams:
    """Turns the points of tiles, in any order, into points that each come once.

    Parameters
    ----------
    specs
        All tiles of the run. Memory is held only for points near seams.
    radius
        Pixels within which points of two tiles are one nucleus.
    """

    def __init__(self, specs: Sequence[TileSpec], radius: float) -> None:
        self._number = {spec: i for i, spec in enumerate(specs)}
        cores = np.array([s.core for s in specs], float).reshape(-1, 4)
        self._tree = shapely.STRtree(shapely.box(*cores.T[[1, 0, 3, 2]]))
        self._done = np.zeros(len(specs), bool)
        self._radius = radius
        self._given = np.zeros((0, 2))
        self._left: dict[int, _Left] = {}

    def add(self, spec: TileSpec, points: Points) -> Points:
        """Take all points that a tile saw, its halo included; return those to show now.

        Returned are the tile's own points, without those that a neighbour has already given, and
        points on the seam that this tile and a neighbour each left to the other.

        Parameters
        ----------
        spec
            One of the tiles given at the start, not added before.
        points
            Its points in level-0 pixels.
        """
        number = self._number.get(spec)
        if number is None or self._done[number]:
            raise ValueError(f"{spec} is not one of the tiles of this run that are to come")
        self._done[number] = True
        own = points.within(spec.core)
        own = own.select(~_near(own.yx, self._given, self._radius))
        self._give(spec, own)
        orphans = self._orphans(number, self._leave(spec, points))
        self._give(spec, orphans)
        return Points.joined([own, orphans])

    def _give(self, spec: TileSpec, points: Points) -> None:
        """Remember points that a neighbour may see within the radius."""
        inside = points.yx - np.array(spec.core[:2]), np.array(spec.core[2:]) - points.yx
        on_rim = (np.minimum(*inside) < self._radius).any(axis=1)
        self._given = np.concatenate([self._given, points.yx[on_rim]])

    def _leave(self, spec: TileSpec, points: Points) -> _Left:
        """Return the points near a tile's core that lie in the cores of others."""
        low, high = np.array(spec.core[:2]), np.array(spec.core[2:])
        beyond = np.maximum(low - points.yx, points.yx - high).max(axis=1, initial=-np.inf)
        near = points.select((beyond < self._radius) & ~points.inside(spec.core))
        owner = np.full(len(near), -1)
        i, tile = self._tree.query(shapely.points(near.yx[:, 1], near.yx[:, 0]))
        others = tile != self._number[spec]
        owner[i[others]] = tile[others]
        return _Left(near.select(owner >= 0), owner[owner >= 0])

    def _orphans(self, number: int, left: _Left) -> Points:
        """Return the points that tile ``number`` and an earlier one each left to the other."""
        found = [left.points.select(np.zeros(len(left.points), bool))]
        for earlier, theirs in self._left.items():
            a, b = theirs.to(number), left.to(earlier)
            both = [
                a.select(_near(a.yx, b.yx, self._radius)),
                b.select(_near(b.yx, a.yx, self._radius)),
            ]
            found += [p.select(~_near(p.yx, self._given, self._radius)) for p in both]
        self._left[number] = left
        waiting = {n: left for n, left in self._left.items() if not self._done[left.owner].all()}
        self._left = waiting
        return suppress_points(Points.joined(found), self._radius)


def _near(yx: NDArray[np.float64], others: NDArray[np.float64], radius: float) -> NDArray[np.bool_]:
    """Return which points have one of the others within a radius."""
    if not len(yx) or not len(others):
        return np.zeros(len(yx), bool)
    distance, _ = cKDTree(others).query(yx, distance_upper_bound=radius)
    return np.isfinite(distance)
