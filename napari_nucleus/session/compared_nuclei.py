"""The nuclei of a document beside those of another model: a line of numbers to each.

Kept as arrays: objects for 150,000 nuclei would have Python's collector stop the window.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.geometry import Box
from napari_nucleus.session.agreement import SAME_IOU
from napari_nucleus.session.regions import Ground
from napari_nucleus.session.table import NucleusRow

__all__ = ["ComparedNuclei"]

CLASSES = 256
"""More than any class id."""

FIRST = 1024
"""Lines to begin with."""

NEVER = -(2**40)
"""Pixels looked at, of a nucleus that has changed meanwhile: it cannot be made up for."""


class ComparedNuclei:
    """How far each nucleus agrees with what another model found.

    Attributes
    ----------
    ids, ours, theirs
        ``(n,)`` ids, and class ids of the document and of the other model; 0 for none.
    iou
        ``(n,)`` with the same nucleus as the other model found it.
    gone
        ``(n,)`` True for nuclei that are no longer in the document.
    """

    def __init__(self) -> None:
        self._lines: dict[int, int] = {}
        self.ids, self.ours, self.theirs = (np.zeros(0, np.int64) for _ in range(3))
        self.iou, self.gone = np.zeros(0), np.zeros(0, np.bool_)
        self._boxes, self._centroid_yx = np.zeros((0, 4), np.int64), np.zeros((0, 2))
        self._areas, self._looked_at = np.zeros(0, np.int64), np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self._lines)

    def _grow(self, by: int) -> None:
        for name, values in vars(self).items():
            if isinstance(values, np.ndarray):
                more = np.zeros((by, *values.shape[1:]), values.dtype)
                setattr(self, name, np.concatenate([values, more]))

    def _take(self, which: NDArray[np.integer]) -> None:
        for name, values in vars(self).items():
            if isinstance(values, np.ndarray):
                setattr(self, name, values[which])

    # ---- while tiles come in

    def meet(self, rows: Sequence[NucleusRow], core: Box) -> None:
        """Take note of nuclei, and that ``core`` was looked at; each part of the image once."""
        if not rows:
            return
        lines = np.array([self._line_of(row) for row in rows])
        boxes = self._boxes[lines]
        low, high = np.maximum(boxes[:, :2], core[:2]), np.minimum(boxes[:, 2:], core[2:])
        self._looked_at[lines] += np.prod(np.maximum(high - low, 0), axis=1)

    def _line_of(self, row: NucleusRow) -> int:
        line = self._lines.get(row.id)
        if line is None:
            line = self._lines[row.id] = len(self._lines)
            if line == len(self.ids):
                self._grow(max(line, FIRST))
            self.ids[line], self.ours[line] = row.id, row.class_id
            self._boxes[line], self._areas[line] = row.box, row.area
            self._centroid_yx[line] = row.centroid_yx
        elif not self.is_as_it_was(row):
            self._looked_at[line] = NEVER
        return line

    def overlap(self, ids: Sequence[int], common: Sequence[int], area: int, class_id: int) -> None:
        """Take note of what a nucleus of the other model shares with nuclei.

        Parameters
        ----------
        ids, common
            Nuclei met already, and the pixels that it shares with each.
        area, class_id
            Its own.
        """
        for nucleus_id, shared in zip(ids, common, strict=True):
            line = self._lines[nucleus_id]
            iou = shared / (int(self._areas[line]) + area - shared)
            if iou > self.iou[line]:
                self.iou[line], self.theirs[line] = iou, class_id

    # ---- when all are there

    def settle(self, ground: Ground) -> None:
        """Keep those that lie on the ground, and wholly where was looked; in the order of ids."""
        used = np.arange(len(self._lines))
        sides = self._boxes[used, 2:] - self._boxes[used, :2]
        whole = used[self._looked_at[used] == np.prod(sides, axis=1)]
        kept = whole[ground.holds(self._centroid_yx[whole])]
        self._take(kept[np.argsort(self.ids[kept])])
        self._lines = dict(zip(self.ids.tolist(), range(len(self.ids)), strict=True))

    def is_as_it_was(self, row: NucleusRow) -> bool:
        """Return True if a nucleus has the outline that it had when it was met."""
        line = self._lines[row.id]
        same_box = tuple(self._boxes[line].tolist()) == tuple(row.box)
        return same_box and int(self._areas[line]) == row.area

    def known(self, nucleus_id: int) -> tuple[float, int] | None:
        """Return IoU and the other model's class of a nucleus; None if it was not compared."""
        line = self._lines.get(nucleus_id)
        return None if line is None else (float(self.iou[line]), int(self.theirs[line]))

    def ids_in(self, box: Box) -> list[int]:
        """Return those that had their centroid in a level-0 box."""
        centroids = self._centroid_yx
        inside = np.all((centroids >= box[:2]) & (centroids < box[2:]), axis=1)
        return self.ids[inside].tolist()

    def take_over(self, ids: Collection[int], classes: Mapping[int, int]) -> None:
        """Take over the classes of nuclei; those that have none in ``classes`` are gone."""
        for nucleus_id in ids:
            line = self._lines.get(nucleus_id)
            if line is not None:
                self.gone[line] = nucleus_id not in classes
                self.ours[line] = classes.get(nucleus_id, 0)

    @property
    def same(self) -> NDArray[np.bool_]:
        """Which were found by both with an IoU of at least `SAME_IOU`, ``(n,)``."""
        return ~self.gone & (self.iou >= SAME_IOU)

    def pairs(self) -> dict[tuple[int, int], int]:
        """Return how many of the `same` have which class here and which there."""
        same = self.same
        numbers = np.bincount(self.ours[same] * CLASSES + self.theirs[same])
        return {divmod(i, CLASSES): int(numbers[i]) for i in np.flatnonzero(numbers).tolist()}
