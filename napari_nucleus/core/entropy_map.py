"""A map of how mixed the classes are, for an image layer and for reports.

The entropy among the neighbours of each cell is averaged over a Gaussian window on a grid over the
measured area (Nadaraya–Watson); where no cell is near there is nothing to show.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage

from napari_nucleus.core.tme_area import MeasuredArea
from napari_nucleus.core.tme_cells import CellTable

__all__ = ["EntropyMap", "entropy_map"]

REACH = 2.0
"""Standard deviations of the window within which there must be a cell."""

MOST_POINTS = 4_000_000


@dataclass(frozen=True, eq=False, slots=True)
class EntropyMap:
    """Entropies on a grid.

    Parameters
    ----------
    values
        ``(h, w)`` float32, bits; 0 where nothing is known.
    known
        ``(h, w)`` True in the area where a cell is near.
    origin_yx
        Corner of the grid in level-0 pixels.
    step_px
        Level-0 pixels per grid point; the first point is half a step from the corner.
    """

    values: NDArray[np.float32]
    known: NDArray[np.bool_]
    origin_yx: tuple[float, float]
    step_px: float


def entropy_map(
    cells: CellTable,
    area: MeasuredArea,
    mpp: float,
    step_um: float = 5.0,
    sigma_um: float = 20.0,
) -> EntropyMap:
    """Return the map of an area.

    Parameters
    ----------
    cells
        As a measurement of the area has them.
    area
        Where.
    mpp
        Micrometres per pixel.
    step_um
        Distance of the points of the grid; larger for areas that would have too many.
    sigma_um
        Standard deviation of the window.
    """
    if shapely.is_empty(area.geometry):
        nothing = np.zeros((0, 0))
        return EntropyMap(nothing.astype(np.float32), nothing > 0, (0.0, 0.0), step_um / mpp)
    x0, y0, x1, y1 = (float(v) for v in shapely.bounds(area.geometry))
    step = max(step_um / mpp, ((x1 - x0) * (y1 - y0) / MOST_POINTS) ** 0.5)
    shape = int(np.ceil((y1 - y0) / step)), int(np.ceil((x1 - x0) / step))
    rows, columns = ((cells.centroids_yx - (y0, x0)) / step).astype(np.int64).T
    place = rows.clip(0, shape[0] - 1) * shape[1] + columns.clip(0, shape[1] - 1)
    sigma = sigma_um / mpp / step
    weight, total = (
        ndimage.gaussian_filter(
            np.bincount(place, values, shape[0] * shape[1]).reshape(shape).astype(np.float64),
            sigma,
            mode="constant",
        )
        for values in (None, cells.entropies)
    )
    least = np.exp(-(REACH**2) / 2) / (2 * np.pi * sigma**2)
    y = y0 + (np.arange(shape[0]) + 0.5) * step
    x = x0 + (np.arange(shape[1]) + 0.5) * step
    y, x = np.minimum(y, y1 - step / 100), np.minimum(x, x1 - step / 100)  # the last are cut off
    shapely.prepare(area.geometry)
    known = (weight >= least) & shapely.contains_xy(area.geometry, x[None], y[:, None])
    values = np.divide(total, weight, out=np.zeros(shape), where=known)
    return EntropyMap(values.astype(np.float32), known, (y0, x0), step)
