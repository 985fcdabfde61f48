"""Looking into project files without opening them for work, from any thread."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from napari_nucleus.errors import ProjectError
from napari_nucleus.session.project import IMAGE_FACT, ImageReference
from napari_nucleus.session.project_file import check_kind, connect, copy_whole
from napari_nucleus.session.schema import VERSION, up_to_date
from napari_nucleus.session.sqlite_store import HEIGHT, TOUCHED, WIDTH, SqliteStore

__all__ = ["ProjectSummary", "image_in", "peek", "reading"]


@dataclass(frozen=True, slots=True)
class ProjectSummary:
    """What a project file is about, and how far it is.

    Parameters
    ----------
    path
        The file.
    image
        Which image it is about.
    shape
        Height and width of the image in pixels.
    nuclei, looked_at
        How many nuclei it has, and how many of them a user has touched or accepted.
    """

    path: Path
    image: ImageReference
    shape: tuple[int, int]
    nuclei: int
    looked_at: int


def image_in(path: Path) -> ImageReference:
    """Return which image a project file is about.

    Raises
    ------
    ProjectError
        If there is no such file, or it is no project, or one of a newer version.
    """
    with _looking_into(path) as connection:
        return _image_in(connection, path)


def peek(path: Path) -> ProjectSummary:
    """Return what a project file holds, in a few numbers.

    Raises
    ------
    ProjectError
        If there is no such file, or it is no project, or one of a newer version.
    """
    with _looking_into(path) as connection:
        nuclei, looked_at = connection.execute(
            "SELECT COUNT(*), COALESCE(SUM(state IN (?, ?)), 0) FROM nucleus", TOUCHED
        ).fetchone()
        height, width = (_fact(connection, key) for key in (HEIGHT, WIDTH))
        try:
            shape = int(height), int(width)
        except ValueError as error:
            raise ProjectError(f"{path.name}: its facts are damaged ({error}).") from error
        return ProjectSummary(path, _image_in(connection, path), shape, nuclei, looked_at)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[SqliteStore]:
    """Open what a project file holds at this moment, whatever is changed in it meanwhile.

    Nobody who writes has to wait for whoever reads: where there is no write-ahead log, a copy is
    read, and so it is where the file is of an older version.

    Raises
    ------
    ProjectError
        If it cannot be read.
    """
    with _looking_into(path) as connection:
        logged = connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        if logged and connection.execute("PRAGMA user_version").fetchone()[0] == VERSION:
            connection.execute("BEGIN")
            yield SqliteStore(connection, path.name, read_only=True)
            return
        with tempfile.TemporaryDirectory(prefix="napari-nucleus-") as folder:
            copy = Path(folder) / path.name
            copy_whole(path, copy)
            with contextlib.closing(connect(copy)) as other:
                up_to_date(other, path.name, read_only=False)
                yield SqliteStore(other, path.name, read_only=True)


@contextlib.contextmanager
def _looking_into(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.is_file():
        raise ProjectError(f"{path}: there is no such file (any more).")
    try:
        with contextlib.closing(connect(path, read_only=True)) as connection:
            check_kind(connection, path)
            yield connection
    except sqlite3.Error as error:
        raise ProjectError(
            f"{path.name}: no project of napari-nucleus, or damaged ({error})."
        ) from error


def _image_in(connection: sqlite3.Connection, path: Path) -> ImageReference:
    return ImageReference.of_text(_fact(connection, IMAGE_FACT), path.name)


def _fact(connection: sqlite3.Connection, key: str) -> str:
    found = connection.execute("SELECT value FROM fact WHERE key = ?", (key,)).fetchone()
    return "" if found is None else found[0]
