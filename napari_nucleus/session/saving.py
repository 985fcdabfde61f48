"""Saving a project under another name, while it is worked on.

The copy is made from the file by a connection of its own, so that it can be made on another thread
and edits go on meanwhile. Whoever owns the project sees to it that nothing is missing in the end:
a copy during which something changed is made again.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import filelock

from napari_nucleus.errors import ProjectError
from napari_nucleus.session.project_file import connect, copy_whole, lock_of, release, set_journal
from napari_nucleus.session.schema import migrate

__all__ = ["MOST_COPIES", "Saving"]

MOST_COPIES = 5
"""How often a copy is made again because something changed meanwhile."""


class Saving:
    """A copy of a project file that takes the place of another file when it is complete.

    Parameters
    ----------
    source, target
        The project file, and the file to be.

    Attributes
    ----------
    changes
        How much had been changed in the project when the copy was begun.
    copies
        How many copies were made.

    Raises
    ------
    ProjectError
        If somebody works on the target, or its folder cannot be written.
    """

    def __init__(self, source: Path, target: Path, changes: int) -> None:
        self.target, self.changes, self.copies = target, changes, 0
        self._source = source
        self._part = target.with_name(f"{target.name}.part")
        lock, why = lock_of(target, new=True)
        if why:
            raise ProjectError(f"{target}: {why}")
        self._lock: filelock.BaseFileLock | None = lock

    def copy(self) -> None:
        """Copy the project as it is now; on any thread.

        Raises
        ------
        ProjectError
            If the copy cannot be written.
        """
        self.copies += 1
        try:
            self._part.unlink(missing_ok=True)
            copy_whole(self._source, self._part)
            with contextlib.closing(connect(self._part)) as part:
                migrate(part)  # one that was only read may be of an older version
        except (OSError, ValueError, sqlite3.Error) as error:
            raise self._failure(error) from error

    def take_place(self) -> tuple[sqlite3.Connection, filelock.BaseFileLock | None]:
        """Put the copy in its place and return a connection to it, and its lock.

        Raises
        ------
        ProjectError
            If it cannot be put there.
        """
        connection = None
        try:
            os.replace(self._part, self.target)
            connection = connect(self.target)
            set_journal(connection, self.target)
        except (OSError, sqlite3.Error) as error:
            if connection is not None:
                connection.close()
            raise self._failure(error) from error
        lock, self._lock = self._lock, None
        return connection, lock

    def drop(self) -> None:
        """Leave nothing behind but what was there before."""
        with contextlib.suppress(OSError):
            self._part.unlink(missing_ok=True)
        release(self._lock)
        self._lock = None

    def _failure(self, error: Exception) -> ProjectError:
        self.drop()
        return ProjectError(f"{self.target}: the copy cannot be written ({error}).")
