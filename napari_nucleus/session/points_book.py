"""Points that wait to become nuclei: what the user does to them, and what must be outlined again.

Points come from a detector, tile by tile, and from the user. Each is to be outlined by a model that
takes clicks; the answer belongs to the point as long as neither it nor a neighbour has changed.
What must be asked again after an edit is what lies near the places that it concerns: neighbours
share no pixel, so that a point that comes, goes or moves may give or take pixels of theirs.

Nothing here is in the document; `points_entry` makes nuclei of it. Knows no model: who asks is told
which points to ask about, and hands the answers back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.core.geometry import Box
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.points import Points
from napari_nucleus.core.schemes import mapped_probabilities
from napari_nucleus.session.points_outlines import OutlinedPoint, PointOutlines
from napari_nucleus.session.points_table import Origin, PointsEdit, PointTable
from napari_nucleus.session.points_values import AskedPoints, PointSearch, Standing
from napari_nucleus.session.provenance import MadeBy
from napari_nucleus.session.regions import Ground, Polygons

__all__ = ["CLOSE_UM", "REACH_UM", "PointBook"]

REACH_UM = 15.0
"""How far from a point, in µm, others may change with it; more than a large nucleus."""

CLOSE_UM = 1.5
"""Distance, in µm, below which two points are one."""


class PointBook:
    """The points of an image.

    Parameters
    ----------
    shape
        Height and width of the image in pixels.
    scheme
        Classes of its document.
    mpp
        µm per pixel.

    Attributes
    ----------
    table
        All points, hidden ones too.
    outlines
        What they became.
    searches
        The searches that they come from.
    """

    def __init__(self, shape: tuple[int, int], scheme: ClassScheme, mpp: float) -> None:
        self.shape, self.scheme, self.mpp = shape, scheme, mpp
        self.table = PointTable.empty(len(scheme))
        self.outlines = PointOutlines()
        self.searches: list[PointSearch] = []
        self._reach, self._close = REACH_UM / mpp, CLOSE_UM / mpp
        self._threshold = 0.0
        self._next_id = self._first_of_search = 1
        self._turn = 0
        self._stale: dict[int, int] = {}
        self._done: list[PointsEdit] = []
        self._undone: list[PointsEdit] = []

    @classmethod
    def of(
        cls,
        shape: tuple[int, int],
        scheme: ClassScheme,
        mpp: float,
        table: PointTable,
        searches: list[PointSearch],
    ) -> PointBook:
        """Return a book with points of before; nothing is known of their outlines."""
        book = cls(shape, scheme, mpp)
        book.table, book.searches = table, searches
        book._next_id = book._first_of_search = int(table.ids[-1]) + 1 if len(table) else 1
        book._expect(table.ids.tolist())
        return book

    # ---- found by a detector

    def begin_search(self, made_by: MadeBy, within: Polygons = ()) -> None:
        """Begin to take in what a detector finds, in the place of what was found before there.

        Points that the user has made or changed stay; what he did can be undone no more.
        """
        self.searches.append(PointSearch(made_by, within))
        self._first_of_search = self._next_id
        self._done, self._undone = [], []

    def add_found(self, core: Box, points: Points, ground: Ground) -> None:
        """Take in the points of one tile of the search that was begun last.

        Parameters
        ----------
        core
            The part of the image that the tile answers for.
        points
            Those in it, in level-0 pixels, with the detector's classes or none.
        ground
            Where points are wanted.
        """
        table = self.table
        older = (table.origin == Origin.FOUND) & (table.ids < self._first_of_search)
        older &= _inside(table.yx, core) & ground.holds(table.yx)
        self._forget(table.ids[older].tolist())
        self.table = table.select(~older)
        found = points.select(ground.holds(points.yx) & self.contains(points.yx))
        if len(found) and len(self.table):
            apart, _ = cKDTree(self.table.yx).query(found.yx, distance_upper_bound=self._close)
            found = found.select(np.isinf(apart))
        self.searches[-1].cores.append(core)
        rows = self._rows(found)
        self.table = self.table.with_rows(rows)
        self._invalidate(rows.ids, np.concatenate([rows.yx, table.yx[older]]))

    def _rows(self, points: Points) -> PointTable:
        n, number = len(points), len(self.searches) - 1
        rows = PointTable.of(self._new_ids(n), points.yx, len(self.scheme), 0, Origin.FOUND)
        class_ids, prob = rows.class_ids, rows.class_prob
        if points.class_prob.shape[1]:
            classes = self.searches[number].made_by.classes or self.scheme
            class_ids, prob = mapped_probabilities(points.class_prob, classes, self.scheme)
        return replace(
            rows,
            score=points.score,
            class_ids=class_ids.astype(np.int32),
            class_prob=prob.astype(np.float32),
            search=np.full(n, number, np.int16),
        )

    def _new_ids(self, n: int) -> NDArray[np.int64]:
        first, self._next_id = self._next_id, self._next_id + n
        return np.arange(first, first + n)

    # ---- what there is

    @property
    def threshold(self) -> float:
        """Score below which points that nobody has touched are hidden."""
        return self._threshold

    @threshold.setter
    def threshold(self, threshold: float) -> None:
        before = self.shown
        self._threshold = threshold
        other = before != self.shown
        self.outlines.touch(self.table.ids[other].tolist())
        self._invalidate(self.table.ids[:0], self.table.yx[other])

    @property
    def shown(self) -> NDArray[np.bool_]:
        """Which points of the table are not hidden, ``(n,)``."""
        return self.is_shown(self.table)

    def is_shown(self, rows: PointTable) -> NDArray[np.bool_]:
        """Return which of some points are not hidden, ``(n,)``."""
        return (rows.origin != Origin.FOUND) | (rows.score >= self._threshold)

    @property
    def standing(self) -> Standing:
        """How many points there are, and how far they have come."""
        shown = self.table.ids[self.shown]
        ready = np.isin(shown, self.outlines.known) & ~np.isin(shown, self._waiting)
        empty = np.isin(shown, self.outlines.empty)
        return Standing(
            len(shown), len(self.table) - len(shown), int(ready.sum()), int(empty.sum())
        )

    @property
    def class_ids(self) -> NDArray[np.int32]:
        """The class of each point, ``(n,)``; by its outline where nobody else has named one."""
        return self.classes_of(self.table)

    def classes_of(self, rows: PointTable) -> NDArray[np.int32]:
        """Return the class of each of some points; see `class_ids`."""
        ids = rows.class_ids.copy()
        for at in np.flatnonzero(ids == 0).tolist():
            outlined = self.outlines.get(int(rows.ids[at]))
            if outlined is not None:
                ids[at] = outlined.class_id
        return ids

    def contains(self, points_yx: ArrayLike) -> NDArray[np.bool_]:
        """Return which points ``(n, 2)`` lie on the image."""
        return _inside(np.asarray(points_yx, float).reshape(-1, 2), (0, 0, *self.shape))

    # ---- changed by the user

    def add(self, points_yx: ArrayLike, class_id: int = 0) -> NDArray[np.int64]:
        """Add points of the user's, all on the image; return their ids."""
        points = np.asarray(points_yx, float).reshape(-1, 2)
        ids = self._new_ids(len(points))
        after = PointTable.of(ids, points, len(self.scheme), class_id)
        self._do(PointsEdit(_named("Add", len(ids)), self.table.rows([]), after))
        return ids

    def move(self, ids: ArrayLike, points_yx: ArrayLike) -> None:
        """Put points elsewhere on the image; ``points_yx`` ``(k, 2)`` in the order of ``ids``."""
        numbers, points = np.asarray(ids, np.int64), np.asarray(points_yx, float).reshape(-1, 2)
        before = self.table.rows(numbers)
        after = replace(before, yx=points[np.argsort(numbers)], origin=_touched(before.origin))
        self._do(PointsEdit(_named("Move", len(before)), before, after))

    def remove(self, ids: ArrayLike) -> None:
        """Take points out."""
        before = self.table.rows(ids)
        self._do(PointsEdit(_named("Delete", len(before)), before, self.table.rows([])))

    def classify(self, ids: ArrayLike, class_id: int) -> None:
        """Name the class of points; 0 leaves it to the model that outlines them."""
        before = self.table.rows(ids)
        after = replace(
            before,
            class_ids=np.full(len(before), class_id, np.int32),
            class_prob=np.zeros_like(before.class_prob),
            origin=_touched(before.origin),
        )
        self._do(PointsEdit(_named("Classify", len(before)), before, after))

    @property
    def undo_name(self) -> str | None:
        """What `undo` would take back; None without anything."""
        return self._done[-1].name if self._done else None

    @property
    def redo_name(self) -> str | None:
        """What `redo` would bring back; None without anything."""
        return self._undone[-1].name if self._undone else None

    def undo(self) -> str | None:
        """Take back the user's last change; return its name, None without one."""
        return self._step(self._done, self._undone)

    def redo(self) -> str | None:
        """Bring back the change that was taken back last; return its name, None without one."""
        return self._step(self._undone, self._done)

    def _do(self, edit: PointsEdit) -> None:
        if len(edit.before) or len(edit.after):
            self._done.append(edit)
            self._undone = []
            self._apply(edit)

    def _step(self, of: list[PointsEdit], to: list[PointsEdit]) -> str | None:
        if not of:
            return None
        edit = of.pop()
        to.append(edit.inverse())
        self._apply(edit.inverse())
        return edit.name

    def _apply(self, edit: PointsEdit) -> None:
        self.table = edit.applied(self.table)
        placed = edit.placed
        self._forget([*edit.removed.tolist(), *placed.tolist()])
        self.outlines.touch(edit.after.ids.tolist())
        self._invalidate(placed, edit.places_yx)

    # ---- outlines

    def ask(self, box: Box | None = None) -> AskedPoints | None:
        """Return the points in a box, everywhere by default, that are to be outlined.

        With them come their neighbours that have outlines. None where nothing is to be asked.
        """
        shown, table = self.shown, self.table
        wanted = np.isin(table.ids, self._waiting) & shown
        if box is not None:
            wanted &= _inside(table.yx, box)
        if not wanted.any():
            return None
        asked = self._near(table.yx[wanted]) & shown
        rows = table.select(asked)
        points = Points(rows.yx, rows.score, np.zeros((len(rows), 0), np.float32))
        return AskedPoints(rows.ids, wanted[asked], points, self._turn)

    def answer(
        self,
        asked: AskedPoints,
        which: NDArray[np.integer],
        nuclei: Nuclei,
        nucleus: NDArray[np.integer],
        classes: ClassScheme | None,
    ) -> None:
        """Take in what some of the asked points became.

        Points that have changed since they were asked about are left as they are.

        Parameters
        ----------
        which
            ``(j,)`` their positions among ``asked``.
        nuclei
            Outlines, in level-0 pixels.
        nucleus
            ``(j,)`` position in ``nuclei`` of what each became; -1 for nothing.
        classes
            The scheme of the nuclei's probabilities; the document's by default.
        """
        for place, became in zip(which.tolist(), nucleus.tolist(), strict=True):
            point = int(asked.ids[place])
            if not asked.wanted[place] or self._stale.get(point, asked.turn + 1) > asked.turn:
                continue
            del self._stale[point]
            outlined = None
            if became >= 0:
                outlined = OutlinedPoint.of(nuclei.select([became]), classes, self.scheme)
            self.outlines.put(point, outlined)

    @property
    def _waiting(self) -> NDArray[np.int64]:
        """The points that are to be asked about, ``(k,)``, hidden ones too."""
        return np.fromiter(self._stale, np.int64, len(self._stale))

    def _near(self, places_yx: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which points lie within reach of some places, ``(n,)``."""
        if not len(places_yx) or not len(self.table):
            return np.zeros(len(self.table), np.bool_)
        apart, _ = cKDTree(places_yx).query(self.table.yx, distance_upper_bound=self._reach)
        return np.isfinite(apart)

    def _invalidate(self, placed: NDArray[np.int64], places_yx: NDArray[np.float64]) -> None:
        """Have points asked about that are new somewhere, and all within reach of the places."""
        near = self.table.ids[self._near(places_yx)]
        self._expect([*placed.tolist(), *near.tolist()])

    def _expect(self, points: Iterable[int]) -> None:
        """Want new answers about points; the outlines that they have are kept until then."""
        self._turn += 1
        for point in points:
            self._stale[point] = self._turn
            if self.outlines.is_empty(point):
                self.outlines.drop([point])

    def _forget(self, points: Iterable[int]) -> None:
        """Let go of all that is known of points."""
        for point in points:
            self._stale.pop(point, None)
            self.outlines.drop([point])

    # ---- the document's classes

    def rescheme(self, scheme: ClassScheme) -> None:
        """Go over to another class scheme; what the user did before can be undone no more."""
        if scheme != self.scheme:
            self.table = self.table.rescheme(self.scheme, scheme)
            self.outlines.rescheme(self.scheme, scheme)
            self.scheme = scheme
            self._done, self._undone = [], []


def _inside(points_yx: NDArray[np.float64], box: Box) -> NDArray[np.bool_]:
    """Return which points ``(n, 2)`` lie in a box, ``(n,)``."""
    return np.all((points_yx >= box[:2]) & (points_yx < box[2:]), axis=1)


def _touched(origin: NDArray[np.int8]) -> NDArray[np.int8]:
    return np.where(origin == Origin.FOUND, Origin.CHANGED, origin).astype(np.int8)


def _named(verb: str, n: int) -> str:
    return f"{verb} point" if n == 1 else f"{verb} {n:,} points"
