"""The tables of a project file, and how older files become what they are now.

``PRAGMA application_id`` says that a SQLite file is one of ours, ``PRAGMA user_version`` which
version of the tables it has.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Mapping

from napari_nucleus.errors import ProjectError
from napari_nucleus.session.pyramid import level_count
from napari_nucleus.session.sqlite_tiles import fill_levels

__all__ = ["APPLICATION_ID", "VERSION", "create_tables", "migrate", "up_to_date"]

APPLICATION_ID = 0x4E55434C
"""``NUCL`` in ASCII."""

VERSION = 3

TABLES = """
CREATE TABLE fact (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE tile (
  level INTEGER NOT NULL, r INTEGER NOT NULL, c INTEGER NOT NULL, data BLOB NOT NULL,
  UNIQUE (level, r, c)
);
CREATE TABLE nucleus (
  id INTEGER PRIMARY KEY,
  y0 INTEGER NOT NULL, x0 INTEGER NOT NULL, y1 INTEGER NOT NULL, x1 INTEGER NOT NULL,
  area INTEGER NOT NULL, cy REAL NOT NULL, cx REAL NOT NULL,
  class_id INTEGER NOT NULL, class_prob BLOB NOT NULL,
  score REAL NOT NULL, iou REAL, state TEXT NOT NULL, source TEXT NOT NULL, agreement REAL
);
CREATE TABLE place (
  r INTEGER NOT NULL, c INTEGER NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (r, c, id)
) WITHOUT ROWID;
CREATE TABLE region (
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL, polygons BLOB NOT NULL,
  note TEXT NOT NULL, annotator TEXT NOT NULL, made TEXT NOT NULL
);
CREATE TABLE memory (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE action (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL, undone INTEGER NOT NULL DEFAULT 0, made TEXT NOT NULL, annotator TEXT NOT NULL
);
CREATE INDEX action_turn ON action (undone, id);
CREATE TABLE edit (
  action_id INTEGER NOT NULL, number INTEGER NOT NULL, data BLOB NOT NULL,
  UNIQUE (action_id, number)
);
"""


def _add_levels(connection: sqlite3.Connection) -> None:
    """Version 2: tiles have levels, for looking at large images."""
    known = dict(connection.execute("SELECT key, value FROM fact"))
    shape, size = (int(known["height"]), int(known["width"])), int(known["tile_size"])
    connection.execute("ALTER TABLE tile RENAME TO whole_tile")
    connection.execute(
        "CREATE TABLE tile (level INTEGER NOT NULL, r INTEGER NOT NULL, c INTEGER NOT NULL, "
        "data BLOB NOT NULL, UNIQUE (level, r, c))"
    )
    connection.execute("INSERT INTO tile SELECT 0, r, c, data FROM whole_tile")
    connection.execute("DROP TABLE whole_tile")
    fill_levels(connection, size, level_count(shape))


def _add_regions(connection: sqlite3.Connection) -> None:
    """Version 3: regions, and how far two models agree on a nucleus."""
    connection.execute(
        "CREATE TABLE region (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, polygons BLOB NOT NULL, "
        "note TEXT NOT NULL, annotator TEXT NOT NULL, made TEXT NOT NULL)"
    )
    connection.execute("ALTER TABLE nucleus ADD COLUMN agreement REAL")


MIGRATIONS: Mapping[int, Callable[[sqlite3.Connection], None]] = {1: _add_levels, 2: _add_regions}
"""What makes version ``n + 1`` of version ``n``, for each ``n`` there ever was."""


def create_tables(connection: sqlite3.Connection) -> None:
    """Make the tables in an empty database, inside the caller's transaction."""
    for statement in TABLES.split(";"):
        if statement.strip():
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def migrate(
    connection: sqlite3.Connection,
    migrations: Mapping[int, Callable[[sqlite3.Connection], None]] = MIGRATIONS,
    version: int = VERSION,
) -> int:
    """Bring the tables up to ``version``, whole or not at all, and return the version they had."""
    had = found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if found == version:
        return had
    connection.execute("BEGIN IMMEDIATE")
    try:
        while found < version:
            migrations[found](connection)
            found += 1
            connection.execute(f"PRAGMA user_version = {found}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    return had


def up_to_date(connection: sqlite3.Connection, name: str, read_only: bool) -> sqlite3.Connection:
    """Return a connection to tables of this version.

    A file that may be written is brought up to date. One of an older version that may only be read
    is copied into memory and brought up to date there; its own connection is closed.

    Raises
    ------
    ProjectError
        If an older file, ``name``, cannot be brought up to date; it is as it was.
    """
    try:
        if read_only and connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            copy = sqlite3.connect(":memory:", isolation_level=None)
            with contextlib.closing(connection):
                connection.backup(copy)
            connection = copy
        migrate(connection)
    except (KeyError, ValueError, sqlite3.Error) as error:
        connection.close()
        raise ProjectError(
            f"{name}: made by an older napari-nucleus, and it cannot be brought up to date "
            f"({error}); the file is as it was."
        ) from error
    return connection
