"""The microenvironment of cells that change: what a change does not touch is not computed again.

`LiveTme` holds for every counted cell its nearest neighbours, the entropy among them and the
nearest cell of each class. Another class of a cell concerns those who have it for a neighbour or
for the nearest of its class; a cell that comes, goes or moves concerns those around it as well.
Anything larger is computed anew, and gives the same.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.cells import Cells
from napari_nucleus.core.neighbourhood import (
    nearest_member,
    nearest_of_classes,
    neighbour_entropy,
    neighbours,
    neighbours_of,
    squared_distances,
)
from napari_nucleus.core.tme import TmeSettings, merged_classes
from napari_nucleus.core.tme_area import MeasuredArea, TumourBorder
from napari_nucleus.core.tme_cells import CellTable
from napari_nucleus.core.tme_measurement import TmeMeasurement, measurement_of

__all__ = ["LiveTme", "measure_cells"]

FEWEST = 64
"""With fewer cells everything is computed anew: it takes no time."""

MOST_CHANGES = 250
"""If more cells change at once, everything is computed anew: it takes as long."""


class LiveTme:
    """Keeps the table of cells of an area up with changes; to be used from one thread.

    An area is measured as if it were alone: neighbours outside of it do not count.

    Parameters
    ----------
    cells
        All cells there are; those outside of the area or without a known class do not count.
    area
        What is measured.
    settings
        How.
    border
        A drawn tumour border in the area, if there is one.
    """

    def __init__(
        self,
        cells: Cells,
        area: MeasuredArea,
        settings: TmeSettings = TmeSettings(),
        border: TumourBorder | None = None,
    ) -> None:
        self.area, self.settings, self.border = area, settings, border
        self.mpp = cells.mpp
        self._start(cells.select(self._counts(cells)))

    def __len__(self) -> int:
        return len(self._slot_of)

    def _counts(self, cells: Cells) -> NDArray[np.bool_]:
        return cells.counted & self.area.holds(cells.centroids_yx)

    def _start(self, cells: Cells) -> None:
        """Compute everything of these cells, all of which count."""
        order = np.argsort(cells.ids)
        self._ids = cells.ids[order]
        self._points = cells.centroids_yx[order]
        self._areas = cells.areas[order]
        self._classes = merged_classes(cells.class_ids[order], self.settings)
        self._near = neighbours(self._points, self._ids, self.settings.neighbours)
        self._entropies = neighbour_entropy(self._classes, self._near)
        self._squared, self._nearest = nearest_of_classes(self._points, self._classes)
        self._edge = self.area.distance_to_edge(self._points)
        self._signed = self._border_distances(self._points)
        self._slot_of = {int(i): slot for slot, i in enumerate(self._ids)}
        self._free: list[int] = []
        self._order: NDArray[np.int64] | None = np.arange(len(self._ids))

    def _border_distances(self, points_yx: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.border is None:
            return np.zeros(len(points_yx))
        return self.border.signed_distance(points_yx)

    def table(self) -> CellTable:
        """Return what is known of each cell now."""
        if self._order is None:
            slots = np.fromiter(self._slot_of.values(), np.int64, len(self))
            self._order = slots[np.argsort(self._ids[slots])]
        order = self._order
        return CellTable(
            self._ids[order],
            self._points[order],
            self._areas[order],
            self._classes[order],
            self._entropies[order],
            np.sqrt(self._squared[order]),
            self._edge[order],
            self._signed[order] if self.border is not None else None,
        )

    def result(self) -> TmeMeasurement:
        """Return everything that is measured, as the cells are now."""
        return measurement_of(self.table(), self.area, self.mpp, self.settings, self.border)

    def update(self, changed: Cells | None = None, removed: Iterable[int] = ()) -> None:
        """Take in cells that are new or otherwise than before, and let go of others.

        Parameters
        ----------
        changed
            The cells as they are now, those that it does not name stay. One that has left the
            area or lost its class stops counting.
        removed
            Ids of cells that are gone; ids that never counted are none of our business.

        Raises
        ------
        ValueError
            If the pixel size is another one.
        """
        gone = [int(i) for i in removed]
        if changed is not None:
            if changed.mpp != self.mpp:
                raise ValueError(f"cells at {changed.mpp} µm/px among those at {self.mpp}")
            counts = self._counts(changed)
            gone += changed.ids[~counts].tolist()
            changed = changed.select(counts)
        gone = [i for i in dict.fromkeys(gone) if i in self._slot_of]
        n_changed = len(gone) + (0 if changed is None else len(changed))
        if len(self) - len(gone) < FEWEST or n_changed > MOST_CHANGES:
            self._start(self._merged(changed, gone))
        else:
            self._change(changed, gone)

    def _merged(self, changed: Cells | None, gone: list[int]) -> Cells:
        """Return all cells that count as they are after a change."""
        before = self.table()
        fresh = np.zeros(0, np.int64) if changed is None else changed.ids
        kept = ~np.isin(before.ids, np.concatenate([fresh, np.array(gone, np.int64)]))
        old = Cells(
            before.centroids_yx[kept],
            before.areas[kept],
            before.class_ids[kept],
            self.mpp,
            before.ids[kept],
        )
        if changed is None:
            return old
        return Cells(
            np.concatenate([old.centroids_yx, changed.centroids_yx]),
            np.concatenate([old.areas, changed.areas]),
            np.concatenate([old.class_ids, changed.class_ids]),
            self.mpp,
            np.concatenate([old.ids, changed.ids]) if len(old) else changed.ids,
        )

    def _change(self, changed: Cells | None, gone: list[int]) -> None:
        """Compute what a few changes concern."""
        gone_slots = np.array([self._slot_of.pop(i) for i in gone], np.int64)
        if changed is None:
            changed = Cells(np.zeros((0, 2)), np.zeros(0), np.zeros(0, np.int32), self.mpp)
        slots, is_new = self._slots_for(changed.ids)
        classes = merged_classes(changed.class_ids, self.settings)
        moved = ~is_new & (self._points[slots] != changed.centroids_yx).any(axis=1)
        reclassified = ~is_new & (self._classes[slots] != classes)
        placed = slots[is_new | moved]
        vacated = np.concatenate([gone_slots, slots[moved]])
        leaving = np.concatenate([gone_slots, slots[moved | reclassified]])
        left_classes = self._classes[leaving]
        joining = slots[is_new | moved | reclassified]

        self._points[gone_slots], self._classes[gone_slots] = np.inf, 0
        self._points[slots], self._classes[slots] = changed.centroids_yx, classes
        self._areas[slots], self._ids[slots] = changed.areas, changed.ids
        self._edge[placed] = self.area.distance_to_edge(self._points[placed])
        self._signed[placed] = self._border_distances(self._points[placed])
        self._renew_neighbours(vacated, placed, joining)
        self._renew_nearest(leaving, left_classes, placed, joining)
        self._free += gone_slots.tolist()
        if len(gone) or is_new.any():
            self._order = None

    def _slots_for(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the slot of each id and whether the id is new; make room for those that are."""
        is_new = np.array([int(i) not in self._slot_of for i in ids], bool)
        missing = int(is_new.sum()) - len(self._free)
        if missing > 0:
            self._grow(max(missing, len(self._ids) // 8))
        for i in ids[is_new].tolist():
            self._slot_of[i] = self._free.pop()
        return np.array([self._slot_of[int(i)] for i in ids], np.int64), is_new

    def _grow(self, by: int) -> None:
        """Add free slots; whoever is in none is infinitely far and of no class."""
        n = len(self._ids)
        for name, fill in _EMPTY_SLOT.items():
            old = getattr(self, name)
            setattr(
                self, name, np.concatenate([old, np.full((by, *old.shape[1:]), fill, old.dtype)])
            )
        self._free += range(n, n + by)

    def _renew_neighbours(
        self, vacated: NDArray[np.int64], placed: NDArray[np.int64], joining: NDArray[np.int64]
    ) -> None:
        """Find neighbours where cells went or came, and entropies where a neighbour is another."""
        points, alive = self._points, self._classes > 0
        concerned = np.asarray(_flags(vacated, len(points))[self._near].any(axis=1))
        if len(placed):
            with np.errstate(invalid="ignore"):  # between two free slots
                last = squared_distances(points, points[self._near[:, -1]])
            for slot in placed:
                concerned |= squared_distances(points, points[slot]) <= last
            concerned[placed] = True
        rows = np.flatnonzero(concerned & alive)
        self._near[rows] = neighbours_of(rows, points, self._ids, self._near.shape[1])
        concerned |= _flags(joining, len(points))[self._near].any(axis=1)
        rows = np.flatnonzero(concerned & alive)
        self._entropies[rows] = neighbour_entropy(self._classes, self._near[rows])

    def _renew_nearest(
        self,
        leaving: NDArray[np.int64],
        left_classes: NDArray[np.int64],
        placed: NDArray[np.int64],
        joining: NDArray[np.int64],
    ) -> None:
        """Find the nearest of a class where it went, and where another came nearer."""
        points, alive = self._points, self._classes > 0
        for slot in joining:
            class_id = self._classes[slot]
            squared = squared_distances(points, points[slot])
            squared[slot] = np.inf
            nearer = np.flatnonzero(squared < self._squared[:, class_id])
            self._squared[nearer, class_id] = squared[nearer]
            self._nearest[nearer, class_id] = slot
        for class_id in range(1, 6):
            lost = _flags(leaving[left_classes == class_id], len(points))
            concerned = lost[self._nearest[:, class_id]] | _flags(placed, len(points))[:-1]
            rows = np.flatnonzero(concerned & alive)
            members = np.flatnonzero(self._classes == class_id)
            if len(rows):
                found = nearest_member(rows, members, points)
                self._squared[rows, class_id], self._nearest[rows, class_id] = found


_EMPTY_SLOT = {
    "_ids": 0,
    "_points": np.inf,
    "_areas": 0.0,
    "_classes": 0,
    "_near": 0,
    "_entropies": 0.0,
    "_squared": np.inf,
    "_nearest": -1,
    "_edge": 0.0,
    "_signed": 0.0,
}


def _flags(slots: NDArray[np.int64], n: int) -> NDArray[np.bool_]:
    """Return ``(n + 1,)`` flags of slots; the last one, which -1 points to, is never set."""
    flags = np.zeros(n + 1, bool)
    flags[slots] = True
    return flags


def measure_cells(
    cells: Cells,
    area: MeasuredArea,
    settings: TmeSettings = TmeSettings(),
    border: TumourBorder | None = None,
) -> TmeMeasurement:
    """Measure the microenvironment of an area once; the parameters are those of `LiveTme`."""
    return LiveTme(cells, area, settings, border).result()
