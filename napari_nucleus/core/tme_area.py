"""Where the microenvironment is measured: the whole image or a part of it, and a drawn border.

Geometry only; polygons are in level-0 pixels with a corner origin. Areas are exact, distances are
those to the drawn lines.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

__all__ = ["MeasuredArea", "TumourBorder", "geometry_of"]

CURVE_SEGMENTS = 32
"""Sides of a quarter of a circle where a band goes around a corner."""

BAND_STEPS_UM = (5.0, 10.0, 20.0, 25.0, 50.0)
MOST_BANDS = 10
"""The narrowest bands that reach everything with so many on either side, or else the widest."""

LARGEST_REACH_UM = 500.0
"""How far from a border is looked, as for the invasive margin."""


def geometry_of(polygons_yx: Iterable[ArrayLike]) -> shapely.Geometry:
    """Return the union of polygons ``(n, 2)`` of ``(y, x)`` as one geometry in ``(x, y)``.

    What a ring that crosses itself goes around belongs to it.
    """
    rings = [np.asarray(points, np.float64)[:, ::-1] for points in polygons_yx]
    shapes = [
        shapely.make_valid(shapely.Polygon(ring), method="structure", keep_collapsed=False)
        for ring in rings
        if len(ring) >= 3
    ]
    return shapely.union_all(shapes) if shapes else shapely.Polygon()


@dataclass(frozen=True, eq=False)
class MeasuredArea:
    """A part of the image that is measured for itself.

    Parameters
    ----------
    name
        What people call it.
    geometry
        Polygon or multipolygon ``(x, y)`` in level-0 pixels, without what is excluded.
    """

    name: str
    geometry: shapely.Geometry

    @classmethod
    def of(
        cls,
        name: str,
        shape: tuple[int, int],
        within: shapely.Geometry | None = None,
        excluded: shapely.Geometry | None = None,
    ) -> MeasuredArea:
        """Return the part of an image of ``shape`` (height, width) within one geometry and outside
        of another.
        """
        geometry = shapely.box(0, 0, shape[1], shape[0])
        if within is not None:
            geometry = shapely.intersection(geometry, within)
        if excluded is not None:
            geometry = shapely.difference(geometry, excluded)
        return cls(name, geometry)

    @cached_property
    def pixels(self) -> float:
        """Its area in square pixels."""
        return float(shapely.area(self.geometry))

    def square_millimetres(self, mpp: float) -> float:
        """Return its area in mm²."""
        return self.pixels * mpp**2 / 1e6

    def holds(self, points_yx: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which points ``(n, 2)`` lie in it, ``(n,)``."""
        shapely.prepare(self.geometry)
        return shapely.contains_xy(self.geometry, points_yx[:, 1], points_yx[:, 0])

    def distance_to_edge(self, points_yx: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how far points ``(n, 2)`` in it are from where it ends, in pixels."""
        return _distances(points_yx, shapely.boundary(self.geometry))


@dataclass(frozen=True, eq=False)
class TumourBorder:
    """Bands of equal distance from a drawn border; negative distances are inside.

    Parameters
    ----------
    inside
        What the border goes around, ``(x, y)`` level-0 pixels.
    edges_um
        ``(b + 1,)`` signed distances that part the bands, ascending.
    areas_mm2
        ``(b,)`` area of each band within the measured area.
    mpp
        Micrometres per pixel.
    """

    inside: shapely.Geometry
    edges_um: NDArray[np.float64]
    areas_mm2: NDArray[np.float64]
    mpp: float

    @classmethod
    def of(
        cls,
        inside: shapely.Geometry,
        area: MeasuredArea,
        mpp: float,
        step_um: float | None = None,
        reach_um: float = LARGEST_REACH_UM,
    ) -> TumourBorder:
        """Lay bands around the border of a geometry, as far as the measured area goes.

        Parameters
        ----------
        inside
            What the border goes around.
        area
            What is measured; bands are cut to it.
        step_um
            Width of a band; by default one of `BAND_STEPS_UM`.
        reach_um
            Largest distance on either side.

        Raises
        ------
        ValueError
            If the border lies outside of the measured area, or goes around nothing.
        """
        if not shapely.area(shapely.intersection(area.geometry, inside)) > 0:
            raise ValueError("the border goes around nothing of what is measured")

        def beyond(distance_um: float) -> bool:
            """Return True if a part of the area is farther from the border, on this side."""
            grown = _grown(inside, distance_um / mpp)
            side = shapely.intersection if distance_um < 0 else shapely.difference
            return bool(shapely.area(side(area.geometry, grown)) > 0)

        if step_um is None:
            fitting = (
                step
                for step in BAND_STEPS_UM
                if not (beyond(step * MOST_BANDS) or beyond(-step * MOST_BANDS))
            )
            step_um = next(fitting, BAND_STEPS_UM[-1])
        most = int(reach_um / step_um + 1e-9)
        counts = [
            next((n for n in range(most) if not beyond(sign * max(n * step_um, 1e-9))), most)
            for sign in (-1, 1)
        ]
        edges = np.arange(-counts[0], counts[1] + 1) * np.float64(step_um)
        cut = [shapely.intersection(area.geometry, _grown(inside, e / mpp)) for e in edges]
        areas = np.diff(shapely.area(cut)) * mpp**2 / 1e6
        return cls(inside, edges, areas, mpp)

    def signed_distance(self, points_yx: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return distances ``(n,)`` of points ``(n, 2)`` from the border in pixels, < 0 inside."""
        shapely.prepare(self.inside)
        within = shapely.contains_xy(self.inside, points_yx[:, 1], points_yx[:, 0])
        distance = _distances(points_yx, shapely.boundary(self.inside))
        return np.where(within, -distance, distance)

    def band_of(self, signed_px: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the band of each signed distance ``(n,)``; -1 beyond the outermost bands."""
        band = np.searchsorted(self.edges_um, signed_px * self.mpp, side="right") - 1
        return np.where(band < len(self.areas_mm2), band, -1)


def _grown(geometry: shapely.Geometry, by: float) -> shapely.Geometry:
    return shapely.buffer(geometry, by, quad_segs=CURVE_SEGMENTS) if by else geometry


def _distances(points_yx: NDArray[np.float64], line: shapely.Geometry) -> NDArray[np.float64]:
    if not len(points_yx):
        return np.zeros(0)
    shapely.prepare(line)
    return np.asarray(shapely.distance(line, shapely.points(points_yx[:, ::-1])))
