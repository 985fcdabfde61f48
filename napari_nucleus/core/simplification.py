"""Outlines with fewer corners, for programs that draw many: nuclei that touch go on touching.

All nuclei of a label map are simplified together, as a coverage, by the method of Visvalingam and
Whyatt (1993): of the corners of a border, which belongs to both of its nuclei, those go first that
span the smallest triangle with the corners beside them. Corners only go, none is moved, so that
coordinates stay whole numbers. What is so small or thin that this would change it is left exact.
Areas are not measured on these outlines but on masks.
"""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_nucleus.core.polygons import coverage_of_labels

__all__ = ["TOLERANCE", "simplified_polygons"]

TOLERANCE = 1.0
"""Pixels; triangles up to its square go. Nuclei keep half of their corners and 98 % of IoU."""

SMALLEST = 16
"""Pixels; nuclei with fewer stay exact."""

LARGEST_CHANGE = 0.1
"""Share of its area by which a nucleus may change; others stay exact."""


def simplified_polygons(
    labels: NDArray[np.integer],
    offset_yx: tuple[int, int] = (0, 0),
    tolerance: float = TOLERANCE,
) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Trace every nucleus of a label map and leave out corners that matter little.

    Parameters
    ----------
    labels
        ``(H, W)`` integers, 0 is background. Borders to nuclei that are not in it are simplified
        as if nothing were there.
    offset_yx
        Position of the array's first pixel, added to the coordinates.
    tolerance
        Pixels; the area of a triangle that goes is less than its square.

    Returns
    -------
    ids
        ``(n,)`` label ids, ascending.
    polygons
        ``(n,)`` valid polygons or multipolygons with area, whole-number coordinates ``(x, y)``.
        Neighbours have their border in common; only where one of them is left exact they may
        overlap or part by such triangles.
    """
    ids, exact = coverage_of_labels(labels, offset_yx)
    if not len(ids):
        return ids, exact
    fewer = shapely.coverage_simplify(exact, tolerance)
    area = shapely.area(exact)
    unfit = (area < SMALLEST) | ~shapely.is_valid(fewer)
    unfit |= np.abs(shapely.area(fewer) - area) > LARGEST_CHANGE * area
    return ids, np.where(unfit, exact, fewer)
