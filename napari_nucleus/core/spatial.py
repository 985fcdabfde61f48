"""How densely cells lie and how far from each other, class by class.

Nearest-neighbour distribution functions follow Diggle (2013); they are corrected for what lies
beyond the edge of the measured area by the Kaplan–Meier estimator of Baddeley and Gill (1997).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.tme import CLASS_NAMES
from napari_nucleus.core.tme_area import TumourBorder
from napari_nucleus.core.tme_cells import CellTable

__all__ = [
    "Infiltration",
    "NeighbourCurve",
    "PairDistance",
    "densities_per_mm2",
    "infiltration",
    "neighbour_curves",
    "pair_distances",
]

LEAST_BAND = 0.1
"""A band of less than this part of the median area is a sliver."""

STEP_UM = 1.0
RADII_UM = np.arange(101, dtype=np.float64) * STEP_UM
"""Distances at which the curves are given."""


@dataclass(frozen=True, slots=True)
class PairDistance:
    """How far cells of one class lie from the nearest cell of another, or of their own.

    Parameters
    ----------
    source, target
        Class ids.
    count
        Cells of ``source`` that have a nearest one.
    lower_um, median_um, upper_um
        Quartiles of their distances in µm; None without any.
    """

    source: int
    target: int
    count: int
    lower_um: float | None
    median_um: float | None
    upper_um: float | None


@dataclass(frozen=True, eq=False, slots=True)
class NeighbourCurve:
    """Which share of the cells of a class has a cell of another within a distance, G(r).

    Parameters
    ----------
    source, target
        Class ids.
    radii_um
        ``(r,)`` distances in µm.
    share
        ``(r,)`` in 0–1; shorter than ``radii_um`` where the area is too small to tell.
    random
        ``(r,)`` the same if cells of ``target`` lay at random, as many to the area.
    """

    source: int
    target: int
    radii_um: NDArray[np.float64]
    share: NDArray[np.float64]
    random: NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Infiltration:
    """How densely cells lie in bands along a tumour border.

    Parameters
    ----------
    edges_um
        ``(b + 1,)`` signed distances that part the bands, < 0 inside.
    areas_mm2
        ``(b,)``.
    counts
        ``(b, 6)`` cells by class id.
    """

    edges_um: NDArray[np.float64]
    areas_mm2: NDArray[np.float64]
    counts: NDArray[np.int64]

    @property
    def densities_per_mm2(self) -> NDArray[np.float64]:
        """Cells per mm² ``(b, 6)``; 0 in a band without area."""
        areas = self.areas_mm2[:, None]
        return np.divide(self.counts, areas, out=np.zeros(self.counts.shape), where=areas > 0)

    @property
    def sizeable(self) -> NDArray[np.bool_]:
        """Which bands are more than a sliver, so that their densities say something, ``(b,)``."""
        return self.areas_mm2 >= LEAST_BAND * np.median(self.areas_mm2)


def densities_per_mm2(counts: NDArray[np.int64], area_mm2: float) -> dict[int, float | None]:
    """Return cells per mm² by class id, under 0 of all together; None without an area."""
    both = {0: int(counts[1:].sum()), **{i: int(counts[i]) for i in CLASS_NAMES}}
    return {i: n / area_mm2 if area_mm2 > 0 else None for i, n in both.items()}


def pair_distances(table: CellTable, mpp: float, class_ids: tuple[int, ...]) -> list[PairDistance]:
    """Return the quartiles of the nearest distances between all pairs of classes."""
    found = []
    for source in class_ids:
        nearest = table.nearest_px[table.class_ids == source]
        for target in class_ids:
            distances = nearest[:, target]
            distances = distances[np.isfinite(distances)]
            lower = median = upper = None
            if len(distances):
                quartiles = np.percentile(distances, (25, 50, 75)) * mpp
                lower, median, upper = (float(q) for q in quartiles)
            found.append(PairDistance(source, target, len(distances), lower, median, upper))
    return found


def neighbour_curves(
    table: CellTable, mpp: float, area_mm2: float, class_ids: tuple[int, ...]
) -> list[NeighbourCurve]:
    """Return G(r) of every pair of classes that there are cells of, in order."""
    found = []
    counts = np.bincount(table.class_ids, minlength=6)
    for source in class_ids:
        rows = table.class_ids == source
        edge_um = table.edge_px[rows] * mpp
        for target in class_ids:
            others = counts[target] - (source == target)
            if not counts[source] or others < 1 or area_mm2 <= 0:
                continue
            share = _kaplan_meier(table.nearest_px[rows, target] * mpp, edge_um)
            random = 1 - np.exp(-others / (area_mm2 * 1e6) * np.pi * RADII_UM**2)
            found.append(NeighbourCurve(source, target, RADII_UM, share, random))
    return found


def _kaplan_meier(distance_um: NDArray, edge_um: NDArray) -> NDArray[np.float64]:
    """Return G at `RADII_UM`; who is nearer to the edge than to a neighbour counts up to there."""
    seen = distance_um <= edge_um
    n_steps = len(RADII_UM) + 1
    # An event at a radius itself has happened by then.
    step = np.ceil(np.minimum(distance_um, edge_um) / STEP_UM).clip(max=n_steps - 1).astype(int)
    events = np.bincount(step[seen], minlength=n_steps)
    ends = np.bincount(step, minlength=n_steps)
    at_risk = len(step) - np.append(0, np.cumsum(ends)[:-1])
    known = int((at_risk > 0).sum())
    share = 1 - np.cumprod(1 - events[:known] / at_risk[:known])
    if share[-1] == 1.0:  # all have one by then, and at any larger distance
        share = np.append(share, np.ones(n_steps - known))
    return share[: len(RADII_UM)].astype(np.float64)


def infiltration(table: CellTable, border: TumourBorder) -> Infiltration:
    """Return the cells of each band of a border that the table was made with."""
    if table.border_px is None:
        raise ValueError("the cells were not measured along a border")
    n_bands = len(border.areas_mm2)
    band = border.band_of(table.border_px)
    inside = band >= 0
    places = band[inside] * 6 + table.class_ids[inside]
    counts = np.bincount(places, minlength=n_bands * 6).reshape(n_bands, 6)
    return Infiltration(border.edges_um, border.areas_mm2, counts)
