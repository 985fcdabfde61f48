"""The journal of actions in a SQLite file: the part of `SqliteStore` that undo and redo live on."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from napari_nucleus.errors import ProjectError
from napari_nucleus.session.codec import decode_edit, encode_edit
from napari_nucleus.session.edits import Edit
from napari_nucleus.session.store import ActionEntry

__all__ = ["SqliteJournal"]

Value = TypeVar("Value")


class _EditsInFile(Sequence[Edit]):
    """The edits of an action, read one by one when they are asked for."""

    def __init__(self, numbers: Sequence[int], read: Callable[[int], Edit]) -> None:
        self._numbers, self._read = numbers, read

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> Edit:  # type: ignore[override]
        return self._read(self._numbers[index])


class SqliteJournal:
    """Actions in the order of time, the undone ones last; see `Store`.

    Attributes
    ----------
    annotator
        Noted with every action from now on.
    """

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self.annotator, self.name = "", name
        self._sql = connection
        self._open = False

    def _decoded(self, what: str, decode: Callable[..., Value], *packed: Any) -> Value:
        """Return what was packed, or say what of the file is damaged."""
        try:
            return decode(*packed)
        except (KeyError, TypeError, ValueError) as error:
            raise ProjectError(f"{self.name}: {what} is damaged ({error}).") from error

    def _check_open(self) -> None:
        if not self._open:
            raise RuntimeError("a store is written inside a transaction only")

    def add_action(self, name: str) -> int:
        """Begin a new action after the last one that is done; forget all undone ones."""
        self._check_open()
        self._forget_undone()
        made = datetime.now(UTC).isoformat(timespec="milliseconds")
        cursor = self._sql.execute(
            "INSERT INTO action (name, made, annotator) VALUES (?, ?, ?)",
            (name, made, self.annotator),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def add_edit(self, action_id: int, edit: Edit) -> None:
        """Note one more edit of an action."""
        self._check_open()
        self._check_there(action_id)
        self._sql.execute(
            "INSERT INTO edit (action_id, number, data) VALUES (?, "
            "(SELECT COALESCE(MAX(number), 0) + 1 FROM edit WHERE action_id = ?), ?)",
            (action_id, action_id, encode_edit(edit)),
        )

    def edits_of(self, action_id: int) -> Sequence[Edit]:
        """Return the edits of an action in the order they were made; each is read when used."""
        self._check_there(action_id)
        numbers = self._sql.execute(
            "SELECT number FROM edit WHERE action_id = ? ORDER BY number", (action_id,)
        ).fetchall()

        def read(number: int) -> Edit:
            data = self._sql.execute(
                "SELECT data FROM edit WHERE action_id = ? AND number = ?", (action_id, number)
            ).fetchone()[0]
            return self._decoded(f"step {action_id}", decode_edit, data)

        return _EditsInFile([n for (n,) in numbers], read)

    def rewrite_action(self, action_id: int, name: str, edits: Sequence[Edit]) -> None:
        """Give the last action done another name and other edits; forget all undone ones."""
        self._check_open()
        self._check_turn(action_id, self.last_done())
        self._forget_undone()
        self._sql.execute("UPDATE action SET name = ? WHERE id = ?", (name, action_id))
        self._sql.execute("DELETE FROM edit WHERE action_id = ?", (action_id,))
        for edit in edits:
            self.add_edit(action_id, edit)

    def drop_action(self, action_id: int) -> None:
        """Forget an action."""
        self._check_open()
        self._check_there(action_id)
        self._sql.execute("DELETE FROM edit WHERE action_id = ?", (action_id,))
        self._sql.execute("DELETE FROM action WHERE id = ?", (action_id,))

    def mark_undone(self, action_id: int) -> None:
        """Note that the last action done is undone."""
        self._check_open()
        self._check_turn(action_id, self.last_done())
        self._sql.execute("UPDATE action SET undone = 1 WHERE id = ?", (action_id,))

    def mark_done(self, action_id: int) -> None:
        """Note that the first action undone is done again."""
        self._check_open()
        self._check_turn(action_id, self.first_undone())
        self._sql.execute("UPDATE action SET undone = 0 WHERE id = ?", (action_id,))

    def last_done(self) -> ActionEntry | None:
        """Return the action that undo takes back."""
        return self._entry("SELECT id, name FROM action WHERE undone = 0 ORDER BY id DESC LIMIT 1")

    def first_undone(self) -> ActionEntry | None:
        """Return the action that redo brings back."""
        return self._entry("SELECT id, name FROM action WHERE undone = 1 ORDER BY id LIMIT 1")

    def actions_after(self, action_id: int) -> Sequence[ActionEntry]:
        """Return the actions begun after this one, done or undone."""
        self._check_there(action_id)
        rows = self._sql.execute(
            "SELECT id, name FROM action WHERE id > ? ORDER BY id", (action_id,)
        )
        return [ActionEntry(*row) for row in rows]

    def _entry(self, query: str) -> ActionEntry | None:
        found = self._sql.execute(query).fetchone()
        return None if found is None else ActionEntry(*found)

    def _check_there(self, action_id: int) -> None:
        if self._entry(f"SELECT id, name FROM action WHERE id = {int(action_id)}") is None:
            raise KeyError(f"no action {action_id} in the journal")

    def _check_turn(self, action_id: int, entry: ActionEntry | None) -> None:
        if entry is None or entry.id != action_id:
            raise ValueError(f"action {action_id} is not next, {entry} is")

    def _forget_undone(self) -> None:
        self._sql.execute(
            "DELETE FROM edit WHERE action_id IN (SELECT id FROM action WHERE undone = 1)"
        )
        self._sql.execute("DELETE FROM action WHERE undone = 1")

    def forget_empty_actions(self) -> None:
        """Forget steps without edits: runs that had found nothing yet when the program ended."""
        self._check_open()
        self._sql.execute("DELETE FROM action WHERE id NOT IN (SELECT action_id FROM edit)")
