"""The columns that the table of nuclei is sorted and filtered by, as arrays in memory.

A store fills them from its rows when a table first asks, in slices that a user does not notice, and
keeps them up with every row it writes. To order 150,000 nuclei then takes some milliseconds; a
database takes a hundred.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.session.table import NucleusRow, NucleusState

__all__ = ["SLICE", "Column", "RowColumns", "RowFilter", "RowOrder"]

SLICE = 4000
"""Rows that are read at once: some 10 ms from a file."""

STATES = tuple(sorted(NucleusState))
"""States in the order of their names; their places stand for them in the arrays."""

_CODES = {state: code for code, state in enumerate(STATES)}

_TYPES = (np.int64, np.int64, np.float64, np.int64, np.int8)
"""Of id, class id, score, area and the place of the state."""

Entry = tuple[int, int, float, int, str]
"""Id, class id, score, area in pixels and state of a nucleus."""


class Column(StrEnum):
    """What the nuclei can be ordered by."""

    ID = "id"
    CLASS = "class"
    SCORE = "score"
    AREA = "area"
    STATE = "state"


@dataclass(frozen=True, slots=True)
class RowOrder:
    """By which column; what is alike there is in the order of the ids, always rising."""

    column: Column = Column.ID
    descending: bool = False


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Which nuclei are wanted; all by default.

    Parameters
    ----------
    class_ids
        Of one of these classes, 0 for unclassified; None for any.
    states
        In one of these states; None for any.
    area
        Smallest and largest area in pixels, both included; None for no limit.
    score
        Smallest and largest score, both included; None for no limit.
    """

    class_ids: Collection[int] | None = None
    states: Collection[NucleusState] | None = None
    area: tuple[float | None, float | None] = (None, None)
    score: tuple[float | None, float | None] = (None, None)


class RowColumns:
    """Id, class, score, area and state of the nuclei of a store, in the order of the ids.

    Parameters
    ----------
    read
        Called with an id and a number: returns the entries of at most so many nuclei with larger
        ids, in the order of their ids.
    """

    def __init__(self, read: Callable[[int, int], Sequence[Entry]]) -> None:
        self._read = read
        self.forget()

    def forget(self) -> None:
        """Begin anew when asked next: what was written is taken back."""
        self._arrays = _arrays([])
        self._read_to = 0
        self._asked, self._complete = False, False

    @property
    def complete(self) -> bool:
        """True when all rows are here."""
        return self._complete

    def __len__(self) -> int:
        return len(self._arrays[0])

    def load(self, limit: int = SLICE) -> bool:
        """Read the next rows, at most ``limit``; return True when all are here."""
        self._asked = True
        if not self._complete:
            entries = self._read(self._read_to, limit)
            self._complete = len(entries) < limit
            if entries:
                self._read_to = entries[-1][0]
                self._arrays = _joined(self._arrays, _arrays(entries))
        return self._complete

    def put(self, rows: Sequence[NucleusRow]) -> None:
        """Take over rows that the store has written."""
        if not self._asked:
            return
        new = _arrays(
            sorted(
                (row.id, row.class_id, row.score, row.area, row.state)
                for row in rows
                if self._complete or row.id <= self._read_to
            )
        )
        places, known = self._places(new[0])
        for old, values in zip(self._arrays, new, strict=True):
            old[places[known]] = values[known]
        if not known.all():
            added = [values[~known] for values in new]
            if len(self) and added[0][0] < self._arrays[0][-1]:
                where = places[~known]
                self._arrays = [
                    np.insert(old, where, values)
                    for old, values in zip(self._arrays, added, strict=True)
                ]
            else:
                self._arrays = _joined(self._arrays, added)

    def put_classes(self, ids: Sequence[int], class_ids: Sequence[int]) -> None:
        """Take over other classes that the store has given to rows."""
        if self._asked:
            places, known = self._places(np.asarray(ids, np.int64))
            self._arrays[1][places[known]] = np.asarray(class_ids, np.int64)[known]

    def drop(self, ids: Iterable[int]) -> None:
        """Let go of rows that the store has dropped."""
        if self._asked:
            places, known = self._places(np.fromiter((int(i) for i in ids), np.int64))
            if known.any():
                self._arrays = [np.delete(values, places[known]) for values in self._arrays]

    def _places(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Return where ids are or would be put in, and which of them are there."""
        here = self._arrays[0]
        places = np.searchsorted(here, ids)
        known = places < len(here)
        known[known] = here[places[known]] == ids[known]
        return places, known

    def ordered_ids(
        self, order: RowOrder, wanted: RowFilter, scheme: ClassScheme
    ) -> NDArray[np.int64]:
        """Return the ids ``(n,)`` of the wanted nuclei in an order; classes go by their names."""
        while not self._complete:
            self.load()
        ids, classes, score, area, state = self._arrays
        keep = np.ones(len(ids), bool)
        if wanted.class_ids is not None:
            keep &= np.isin(classes, list(wanted.class_ids))
        if wanted.states is not None:
            keep &= np.isin(state, [_CODES[s] for s in wanted.states])
        for values, (low, high) in ((area, wanted.area), (score, wanted.score)):
            if low is not None:
                keep &= values >= low
            if high is not None:
                keep &= values <= high
        keys = {Column.SCORE: score, Column.AREA: area, Column.STATE: state}
        key = keys.get(order.column)
        if order.column is Column.CLASS:
            key = _ranks(classes, scheme)
        ids = ids[keep]
        if key is None:
            return ids[::-1] if order.descending else ids
        key = key[keep]
        return ids[np.argsort(-key if order.descending else key, kind="stable")]


def _ranks(classes: NDArray[np.int64], scheme: ClassScheme) -> NDArray[np.int16]:
    """Return the place of each nucleus's class among the names."""
    present, where = np.unique(classes, return_inverse=True)
    names = [scheme.name_of(int(class_id)).casefold() for class_id in present]
    ranks = {name: rank for rank, name in enumerate(sorted(set(names)))}
    return np.array([ranks[name] for name in names], np.int16)[where.reshape(-1)]


def _arrays(entries: Iterable[Entry]) -> list[NDArray]:
    columns = list(zip(*entries, strict=True)) or [()] * len(_TYPES)
    columns[-1] = tuple(_CODES[NucleusState(state)] for state in columns[-1])
    return [np.array(column, kind) for column, kind in zip(columns, _TYPES, strict=True)]


def _joined(first: list[NDArray], second: list[NDArray]) -> list[NDArray]:
    return [np.concatenate(pair) for pair in zip(first, second, strict=True)]
