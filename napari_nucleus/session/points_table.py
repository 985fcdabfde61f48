"""Points that are no nuclei yet, as rows; and changes of them that can be taken back.

A row is a place, how sure a detector was of it, a class in the scheme of the document, and who made
it. Tables and edits are values: an edit holds the rows before and after, so that undo brings back
the very same ones.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.core.schemes import class_mapping, mapped_ids, mapped_probabilities

__all__ = ["Origin", "PointTable", "PointsEdit"]


class Origin(IntEnum):
    """Who is responsible for a point."""

    FOUND = 0
    """A detector; nobody has touched it."""
    CHANGED = 1
    """The user, who moved it or named its class."""
    ADDED = 2
    """The user, who added it."""


@dataclass(frozen=True, eq=False)
class PointTable:
    """Points by id.

    Parameters
    ----------
    ids
        ``(n,)`` ascending.
    yx
        ``(n, 2)`` level-0 pixels, corner-origin.
    score
        ``(n,)`` how sure the detector was, 0–1; 1 for points of the user.
    class_ids
        ``(n,)`` ids in a document's scheme; 0 where nobody has named a class.
    class_prob
        ``(n, C)`` the detector's probabilities in the order of the scheme; zeros where it gave
        none, and where the user has named the class.
    origin
        ``(n,)`` an `Origin` each.
    search
        ``(n,)`` the number of the search that found it; -1 for none.
    """

    ids: NDArray[np.int64]
    yx: NDArray[np.float64]
    score: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    class_prob: NDArray[np.float32]
    origin: NDArray[np.int8]
    search: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def empty(cls, n_classes: int) -> PointTable:
        """Return no points, for a scheme with so many classes."""
        return cls.of(np.zeros(0, np.int64), np.zeros((0, 2)), n_classes)

    @classmethod
    def of(
        cls,
        ids: ArrayLike,
        yx: ArrayLike,
        n_classes: int,
        class_id: int = 0,
        origin: Origin = Origin.ADDED,
    ) -> PointTable:
        """Return points without a detector, all of one class."""
        ids = np.asarray(ids, np.int64)
        n = len(ids)
        return cls(
            ids,
            np.asarray(yx, np.float64).reshape(n, 2),
            np.ones(n, np.float32),
            np.full(n, class_id, np.int32),
            np.zeros((n, n_classes), np.float32),
            np.full(n, origin, np.int8),
            np.full(n, -1, np.int16),
        )

    def select(self, which: NDArray) -> PointTable:
        """Return the rows at these places, or where a bool array is True."""
        return PointTable(*(getattr(self, field.name)[which] for field in fields(self)))

    def places(self, ids: ArrayLike) -> NDArray[np.intp]:
        """Return where those of ``ids`` that are in the table stand, in ascending order."""
        wanted = np.unique(np.asarray(ids, np.int64))
        at = np.searchsorted(self.ids, wanted)
        known = at < len(self.ids)
        known[known] = self.ids[at[known]] == wanted[known]
        return at[known]

    def rows(self, ids: ArrayLike) -> PointTable:
        """Return the rows of those of ``ids`` that are in the table."""
        return self.select(self.places(ids))

    def without(self, ids: ArrayLike) -> PointTable:
        """Return all rows but these."""
        kept = np.ones(len(self), np.bool_)
        kept[self.places(ids)] = False
        return self.select(kept)

    def with_rows(self, rows: PointTable) -> PointTable:
        """Return the table with rows put in, in the place of those with the same id."""
        rest = self.without(rows.ids)
        order = np.argsort(np.concatenate([rest.ids, rows.ids]), kind="stable")
        both = ((getattr(rest, f.name), getattr(rows, f.name)) for f in fields(self))
        return PointTable(*(np.concatenate(parts)[order] for parts in both))

    def rescheme(self, before: ClassScheme, after: ClassScheme) -> PointTable:
        """Return the points with the classes of another scheme, by the rule of `core.schemes`."""
        ids = mapped_ids(self.class_ids, class_mapping(before, after))
        told = self.class_prob.any(axis=1)
        by_detector, prob = mapped_probabilities(self.class_prob, before, after)
        return replace(
            self,
            class_ids=np.where(told, by_detector, ids).astype(np.int32),
            class_prob=prob.astype(np.float32),
        )


@dataclass(frozen=True, eq=False)
class PointsEdit:
    """A change of some points.

    Parameters
    ----------
    name
        What was done, as a user reads it.
    before, after
        The rows that it concerns; one that is only in ``before`` was removed, one that is only in
        ``after`` was added.
    """

    name: str
    before: PointTable
    after: PointTable

    def inverse(self) -> PointsEdit:
        """Return the edit that undoes this one."""
        return PointsEdit(self.name, self.after, self.before)

    def applied(self, table: PointTable) -> PointTable:
        """Return the table after the edit."""
        return table.without(self.before.ids).with_rows(self.after)

    @property
    def removed(self) -> NDArray[np.int64]:
        """Ids of points that are gone, ``(k,)``."""
        return np.setdiff1d(self.before.ids, self.after.ids)

    @property
    def placed(self) -> NDArray[np.int64]:
        """Ids of points that are new or lie elsewhere, ``(k,)``."""
        at = self.before.places(self.after.ids)
        same = self.before.select(at)
        there = self.after.rows(same.ids)
        stayed = same.ids[(same.yx == there.yx).all(axis=1)]
        return np.setdiff1d(self.after.ids, stayed)

    @property
    def places_yx(self) -> NDArray[np.float64]:
        """Where a point was or is, of those that came, went or moved, ``(k, 2)``."""
        concerned = np.concatenate([self.removed, self.placed])
        return np.concatenate([self.before.rows(concerned).yx, self.after.rows(concerned).yx])
