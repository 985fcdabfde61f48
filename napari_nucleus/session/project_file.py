"""The file of a project: opened, locked for one program, and known as one of ours."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import filelock

from napari_nucleus.errors import ProjectError
from napari_nucleus.session.drives import is_network_drive
from napari_nucleus.session.schema import APPLICATION_ID, VERSION

__all__ = ["check_kind", "connect", "copy_whole", "lock_of", "release", "set_journal"]

COPIED_PAGES = 1000
"""Pages of 4 KiB that are copied at once where a writer has to wait for that long."""


def connect(path: Path, read_only: bool = False) -> sqlite3.Connection:
    """Open the database in a file; the caller closes it."""
    if not read_only:
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA busy_timeout = 2000")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        return connection
    uri = path.resolve().as_uri()
    connection = sqlite3.connect(f"{uri}?mode=ro", uri=True, isolation_level=None)
    try:
        connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        # A log that cannot be made beside the file: the folder is protected, nobody writes there.
        connection.close()
        connection = sqlite3.connect(f"{uri}?immutable=1", uri=True, isolation_level=None)
    except BaseException:
        connection.close()
        raise
    return connection


def set_journal(connection: sqlite3.Connection, path: Path) -> None:
    """Have edits written as the drive allows: through a log, or each waiting for the disk."""
    if is_network_drive(path):
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA synchronous = FULL")
    else:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")


def check_kind(connection: sqlite3.Connection, path: Path) -> None:
    """Raise `ProjectError` unless the database is a project of a version that is known."""
    kind = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if kind != APPLICATION_ID:
        raise ProjectError(f"{path.name}: a database of another program, no project.")
    if version > VERSION:
        raise ProjectError(
            f"{path.name}: made by a newer napari-nucleus (its tables are version {version}, this "
            f"program knows {VERSION}); update the program."
        )


def lock_of(path: Path, new: bool = False) -> tuple[filelock.BaseFileLock | None, str]:
    """Return the lock of a project file, or why there is none for us.

    The system lets go of it when the program ends, however it ends.
    """
    if not new and not os.access(path, os.W_OK):
        return None, "The file is protected; it is open to read only."
    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        return (
            None,
            "Another window or program works on this project; it is open to read only here.",
        )
    except OSError as error:
        reason = error.strerror or error
        return None, f"The folder cannot be written ({reason}); it is open to read only."
    return lock, ""


def release(lock: filelock.BaseFileLock | None) -> None:
    """Let go of a lock, and leave no file of it behind."""
    if lock is not None:
        with contextlib.suppress(OSError):
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def copy_whole(source: Path, target: Path) -> None:
    """Copy a project file as it is at one moment into a new file, on any thread.

    Whoever writes goes on meanwhile; without a write-ahead log the copying begins anew when
    something was written.
    """
    with (
        contextlib.closing(connect(source, read_only=True)) as whole,
        contextlib.closing(sqlite3.connect(target, isolation_level=None)) as copy,
    ):
        logged = whole.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        whole.backup(copy, pages=-1 if logged else COPIED_PAGES, sleep=0.01)
        copy.execute("PRAGMA journal_mode = DELETE")
