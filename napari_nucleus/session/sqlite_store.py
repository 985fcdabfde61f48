"""The document's store in a SQLite file.

Label tiles lie compressed in the file; the ones used last are kept decoded. Nothing else but the
counts is held in memory, and five numbers a nucleus once a table asks for them (`columns`), so that
a document may have any number of nuclei. A transaction of the store is a transaction of SQLite: it
is in the file when it has ended, or it has never been.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.geometry import Box
from napari_nucleus.errors import ProjectError
from napari_nucleus.session.codec import decode_memory, encode_memory
from napari_nucleus.session.columns import Entry, RowColumns
from napari_nucleus.session.grid import TILE_SIZE, cells_of
from napari_nucleus.session.pyramid import level_count
from napari_nucleus.session.regions import Region
from napari_nucleus.session.sqlite_journal import SqliteJournal
from napari_nucleus.session.sqlite_regions import RegionTable
from napari_nucleus.session.sqlite_rows import COLUMNS, MARKS, row_of, values_of
from napari_nucleus.session.sqlite_tiles import TileTables
from napari_nucleus.session.store import Opinions, opinions_of
from napari_nucleus.session.table import TOUCHED_STATES, ClickMemory, NucleusRow

__all__ = ["SqliteStore"]

CACHED_TILES = 64
"""Decoded label tiles that are kept: 64 MiB at 512 pixels a side."""

ASKED_AT_ONCE = 500
"""Ids in one query; SQLite takes 999 in its oldest builds."""

NEXT_ID, HEIGHT, WIDTH, SIZE = "next_id", "height", "width", "tile_size"
"""Facts that the store keeps for itself."""

TOUCHED = tuple(state.value for state in TOUCHED_STATES)

OPINION = "id, score, iou, area, agreement, cy, cx"
"""What `opinions_of` takes."""


class SqliteStore(SqliteJournal):
    """A `Store` in a SQLite database with the tables of `schema`.

    Parameters
    ----------
    connection
        To a database that `SqliteStore.begin` or an earlier session has filled; in autocommit
        mode (``isolation_level=None``).
    name
        What errors call the file.
    read_only
        True to refuse every change.

    Raises
    ------
    ProjectError
        If the facts or tables are not those of a document.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        name: str,
        read_only: bool = False,
        cached_tiles: int = CACHED_TILES,
    ) -> None:
        super().__init__(connection, name)
        self.read_only = read_only
        try:
            self._shape = int(self._known(HEIGHT)), int(self._known(WIDTH))
            self._size = int(self._known(SIZE))
            self._next_id = int(self._known(NEXT_ID))
        except ValueError as error:
            raise ProjectError(f"{name}: its facts are damaged ({error}).") from error
        self._tiles = TileTables(
            connection, self._size, level_count(self._shape), cached_tiles, self._decoded
        )
        self._regions = RegionTable(connection, self._decoded)
        self._classes = self._counted_classes()
        self._untouched = self._counted_untouched()
        self._columns = RowColumns(self._column_entries)
        if not read_only:
            with self.transaction():
                self.forget_empty_actions()

    @classmethod
    def begin(
        cls, connection: sqlite3.Connection, shape: tuple[int, int], tile_size: int = TILE_SIZE
    ) -> None:
        """Write what an empty document has into new tables, inside the caller's transaction."""
        if len(shape) != 2 or min(shape) < 1:
            raise ValueError(f"a document needs a height and a width of at least 1, got {shape}")
        facts = {HEIGHT: shape[0], WIDTH: shape[1], SIZE: tile_size, NEXT_ID: 1}
        connection.executemany(
            "INSERT INTO fact VALUES (?, ?)", [(k, str(v)) for k, v in facts.items()]
        )

    def move_to(self, connection: sqlite3.Connection, name: str) -> None:
        """Go on in a copy of the file, which may be changed."""
        self._sql, self.name, self.read_only = connection, name, False
        self._tiles.connection = self._regions.connection = connection

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the image in pixels."""
        return self._shape

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep what is written inside, in the file, or nothing of it if it raises.

        Raises
        ------
        ProjectError
            If the file cannot be changed: it was opened to read only, the disk is full, gone or
            locked. Nothing has changed then.
        """
        if self._open:
            raise RuntimeError("transactions do not nest")
        if self.read_only:
            raise ProjectError(f"{self.name} is open to read only; nothing was changed.")
        next_id, classes, untouched = self._next_id, self._classes.copy(), self._untouched
        try:
            self._sql.execute("BEGIN IMMEDIATE")
            self._open = True
            yield
            self._tiles.flush()
            if self._next_id != next_id:
                self._set_fact(NEXT_ID, str(self._next_id))
            self._sql.execute("COMMIT")
            self._tiles.settle()
        except BaseException as error:
            self._take_back()
            self._next_id, self._classes, self._untouched = next_id, classes, untouched
            self._columns.forget()
            if isinstance(error, sqlite3.Error):
                raise ProjectError(_sentence(self.name, error)) from error
            raise
        finally:
            self._open = False

    def _take_back(self) -> None:
        self._tiles.take_back()
        self._regions.forget()
        if self._sql.in_transaction:
            self._sql.execute("ROLLBACK")

    # ---- labels

    @property
    def levels(self) -> int:
        """Number of levels of the label map, level 0 included."""
        return self._tiles.levels

    def read_labels(self, box: Box, level: int = 0) -> NDArray[np.int32]:
        """Return a copy of the labels ``(h, w)`` in a box of a level's pixels."""
        return self._tiles.read(level, box)

    def write_labels(self, box: Box, labels: NDArray[np.int32]) -> None:
        """Write labels ``(h, w)`` into a box inside the image."""
        self._check_open()
        self._tiles.write(box, labels)

    def tile_boxes(self) -> list[Box]:
        """Return the boxes of all tiles that may hold a label, row by row."""
        size, (height, width) = self._size, self._shape
        return [
            (r * size, c * size, min((r + 1) * size, height), min((c + 1) * size, width))
            for r, c in self._tiles.cells()
        ]

    # ---- nuclei

    @property
    def next_id(self) -> int:
        """The smallest id above all that ever had a row or were reserved, undone ones included."""
        return self._next_id

    def reserve_ids(self, next_id: int) -> None:
        """Raise `next_id` to at least this."""
        self._check_open()
        self._next_id = max(self._next_id, next_id)

    def row(self, nucleus_id: int) -> NucleusRow | None:
        """Return a nucleus's row, or None."""
        found = self._sql.execute(
            f"SELECT {COLUMNS} FROM nucleus WHERE id = ?", (int(nucleus_id),)
        ).fetchone()
        return None if found is None else row_of(found)

    def rows(self, ids: Sequence[int] | None = None) -> list[NucleusRow]:
        """Return the rows of those of these nuclei that exist, in this order; all by default."""
        if ids is None:
            return [
                row_of(r) for r in self._sql.execute(f"SELECT {COLUMNS} FROM nucleus ORDER BY id")
            ]
        found = {
            r[0]: row_of(r) for r in self._of_ids(f"SELECT {COLUMNS} FROM nucleus WHERE id", ids)
        }
        return [found[i] for i in ids if i in found]

    def count_untouched(self) -> int:
        """Return the number of nuclei that no user has looked at."""
        return self._untouched

    def opinions(self, box: Box | None = None) -> Opinions:
        """Return what models think of nuclei that no user has looked at; all, or those in a box."""
        query = f"SELECT {OPINION} FROM nucleus WHERE state NOT IN (?, ?)"
        if box is None:
            return opinions_of(self._sql.execute(query, TOUCHED))
        return opinions_of(self._of_ids(f"{query} AND id", self.ids_in(box), TOUCHED))

    def put_rows(self, rows: Sequence[NucleusRow]) -> None:
        """Insert rows, or replace those with the same id."""
        self._check_open()
        stays = self._forget_places([row.id for row in rows], {row.id: row.box for row in rows})
        for row in rows:
            self._classes[row.class_id] += 1
            self._untouched += not row.touched
        self._sql.executemany(
            f"INSERT OR REPLACE INTO nucleus ({COLUMNS}) VALUES ({MARKS})",
            map(values_of, rows),
        )
        self._sql.executemany(
            "INSERT INTO place VALUES (?, ?, ?)",
            [
                (r, c, row.id)
                for row in rows
                if row.id not in stays
                for r, c in cells_of(row.box, self._size)
            ],
        )
        self.reserve_ids(max((row.id + 1 for row in rows), default=0))
        self._columns.put(rows)

    def drop_rows(self, ids: Sequence[int]) -> None:
        """Remove rows; their ids are not used again."""
        self._check_open()
        self._forget_places(ids)
        self._sql.executemany("DELETE FROM nucleus WHERE id = ?", [(int(i),) for i in ids])
        self._columns.drop(ids)

    def put_classes(
        self,
        ids: Sequence[int],
        class_ids: Sequence[int],
        class_prob: Sequence[tuple[float, ...]],
    ) -> None:
        """Give rows that exist another class and other probabilities; the rest stays."""
        self._check_open()
        for (class_id,) in self._of_ids("SELECT class_id FROM nucleus WHERE id", ids):
            self._classes[class_id] -= 1
        self._classes.update(class_ids)
        blobs = [np.asarray(prob, "<f8").tobytes() for prob in class_prob]
        self._sql.executemany(
            "UPDATE nucleus SET class_id = ?, class_prob = ? WHERE id = ?",
            list(zip(class_ids, blobs, ids, strict=True)),
        )
        self._columns.put_classes(ids, class_ids)

    def _forget_places(
        self, ids: Sequence[int], boxes: Mapping[int, Box] | None = None
    ) -> set[int]:
        """Take nuclei out of the counts and the index, before they change.

        Those that keep their box, according to ``boxes``, stay in the index and are returned.
        """
        stays: set[int] = set()
        gone: list[tuple[int, int, int]] = []
        for nucleus_id, class_id, state, *box in self._of_ids(
            "SELECT id, class_id, state, y0, x0, y1, x1 FROM nucleus WHERE id", ids
        ):
            self._classes[class_id] -= 1
            self._untouched -= state not in TOUCHED
            if boxes is not None and tuple(box) == tuple(boxes[nucleus_id]):
                stays.add(nucleus_id)
            else:
                gone += [(r, c, nucleus_id) for r, c in cells_of(tuple(box), self._size)]
        self._sql.executemany("DELETE FROM place WHERE r = ? AND c = ? AND id = ?", gone)
        return stays

    def _of_ids(self, query: str, ids: Sequence[int], before: Sequence = ()) -> Iterator[tuple]:
        """Yield the rows of a query that ends in the column of the ids."""
        for start in range(0, len(ids), ASKED_AT_ONCE):
            part = [int(i) for i in ids[start : start + ASKED_AT_ONCE]]
            yield from self._sql.execute(
                f"{query} IN ({', '.join('?' * len(part))})", [*before, *part]
            ).fetchall()

    def ids(self) -> NDArray[np.int64]:
        """Return all ids, ascending."""
        return np.fromiter(
            (i for (i,) in self._sql.execute("SELECT id FROM nucleus ORDER BY id")), np.int64
        )

    @property
    def columns(self) -> RowColumns:
        """What the nuclei are sorted and filtered by."""
        return self._columns

    def _column_entries(self, after: int, limit: int) -> list[Entry]:
        return self._sql.execute(
            "SELECT id, class_id, score, area, state FROM nucleus WHERE id > ? ORDER BY id LIMIT ?",
            (after, limit),
        ).fetchall()

    def ids_in(self, box: Box) -> list[int]:
        """Return the ids of nuclei whose boxes meet ``box``, ascending."""
        return [i for i, _ in self._classes_in(box)]

    def class_ids(self, box: Box | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return ids, ascending, and class ids of the nuclei whose boxes meet a box; of all."""
        found = (
            self._sql.execute("SELECT id, class_id FROM nucleus ORDER BY id").fetchall()
            if box is None
            else self._classes_in(box)
        )
        pairs = np.array(found, np.int64).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]

    def _classes_in(self, box: Box) -> list[tuple[int, int]]:
        """Return id and class id of the nuclei whose boxes meet a box, in the order of ids."""
        y0, x0, y1, x1 = box
        if y1 <= y0 or x1 <= x0:
            return []
        found: set[tuple[int, int]] = set()
        for r in range(y0 // self._size, (y1 - 1) // self._size + 1):
            found.update(
                self._sql.execute(
                    "SELECT n.id, n.class_id FROM place p JOIN nucleus n ON n.id = p.id "
                    "WHERE p.r = ? AND p.c BETWEEN ? AND ? "
                    "AND n.y0 < ? AND n.y1 > ? AND n.x0 < ? AND n.x1 > ?",
                    (r, x0 // self._size, (x1 - 1) // self._size, y1, y0, x1, x0),
                )
            )
        return sorted(found)

    def count(self) -> int:
        """Return the number of nuclei."""
        return sum(self._classes.values())

    def class_counts(self) -> dict[int, int]:
        """Return the number of nuclei of each class id that has any."""
        return {class_id: n for class_id, n in sorted(self._classes.items()) if n}

    def _counted_untouched(self) -> int:
        query = "SELECT COUNT(*) FROM nucleus WHERE state NOT IN (?, ?)"
        return self._sql.execute(query, TOUCHED).fetchone()[0]

    def _counted_classes(self) -> Counter[int]:
        rows = self._sql.execute("SELECT class_id, COUNT(*) FROM nucleus GROUP BY class_id")
        return Counter(dict(rows.fetchall()))

    def memory(self, nucleus_id: int) -> ClickMemory | None:
        """Return a nucleus's click memory, or None."""
        found = self._sql.execute(
            "SELECT data FROM memory WHERE id = ?", (int(nucleus_id),)
        ).fetchone()
        if found is None:
            return None
        return self._decoded(f"the prompts of nucleus {nucleus_id}", decode_memory, found[0])

    def memories(self, ids: Sequence[int]) -> dict[int, ClickMemory]:
        """Return the click memories of those of these nuclei that have one."""
        return {
            i: self._decoded(f"the prompts of nucleus {i}", decode_memory, data)
            for i, data in self._of_ids("SELECT id, data FROM memory WHERE id", ids)
        }

    def put_memories(self, memories: Mapping[int, ClickMemory | None]) -> None:
        """Set click memories; None forgets."""
        self._check_open()
        for nucleus_id, memory in memories.items():
            if memory is None:
                self._sql.execute("DELETE FROM memory WHERE id = ?", (int(nucleus_id),))
            else:
                self._sql.execute(
                    "INSERT OR REPLACE INTO memory VALUES (?, ?)",
                    (int(nucleus_id), encode_memory(memory)),
                )

    # ---- regions

    def regions(self) -> tuple[Region, ...]:
        """Return all regions in the order of their ids; the same tuple until one changes."""
        return self._regions.all()

    def put_regions(self, regions: Mapping[int, Region | None]) -> None:
        """Set regions; None takes away."""
        self._check_open()
        self._regions.put(regions)

    # ---- facts

    def fact(self, key: str) -> str | None:
        """Return what was put under a key, or None."""
        found = self._sql.execute("SELECT value FROM fact WHERE key = ?", (key,)).fetchone()
        return None if found is None else found[0]

    def put_fact(self, key: str, value: str) -> None:
        """Put a text under a key."""
        self._check_open()
        self._set_fact(key, value)

    def _set_fact(self, key: str, value: str) -> None:
        self._sql.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (key, value))

    def _known(self, key: str) -> str:
        value = self.fact(key)
        if value is None:
            raise ValueError(f"{key} is missing")
        return value


def _sentence(name: str, error: sqlite3.Error) -> str:
    """Return what a fault of the file means for the user."""
    text = str(error)
    if "full" in text:
        what = "the disk is full. Make room on it, then do it again"
    elif "readonly" in text or "read-only" in text:
        what = "the file cannot be written. See to its permissions, or save it elsewhere"
    elif "locked" in text or "busy" in text:
        what = "another program holds the file. Close it there, then do it again"
    else:
        what = f"the file does not take it ({text}). Save it elsewhere"
    return f"{name}: the last change was not made, all before it is kept: {what}."
