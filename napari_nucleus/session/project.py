"""A project: the annotation of one image in one file, ``NAME.nucleus``.

Every edit is in the file before anybody is told that it was made, so there is nothing to save and a
program that is killed loses nothing. On a local disk the file is written through SQLite's
write-ahead log: after a power cut the last seconds (`SETTLE_SECONDS`) may be missing, what is there
is whole. On a network drive, where such a log is not safe, every edit waits for the disk instead.

Only one program at a time may change a project; a second one reads it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import filelock
import orjson

from napari_nucleus import __version__
from napari_nucleus.core.classes import PANNUKE, ClassScheme
from napari_nucleus.core.image import check_mpp
from napari_nucleus.core.schemes import scheme_of_text, text_of_scheme
from napari_nucleus.errors import ImageError, ProjectError
from napari_nucleus.session.document import MPP_FACT, Document
from napari_nucleus.session.points_kept import POINTS_FACT
from napari_nucleus.session.project_file import (
    check_kind,
    connect,
    lock_of,
    release,
    set_journal,
)
from napari_nucleus.session.recoding import SCHEME_FACT
from napari_nucleus.session.saving import MOST_COPIES, Saving
from napari_nucleus.session.schema import create_tables, up_to_date
from napari_nucleus.session.sqlite_store import SqliteStore
from napari_nucleus.session.view import View

__all__ = ["IMAGE_FACT", "SUFFIX", "ImageReference", "Project"]

SUFFIX = ".nucleus"

SETTLE_SECONDS = 3.0
"""How often the write-ahead log is brought to the disk and into the file, in the background."""

IMAGE_FACT, PROGRAM_FACT, VIEW_FACT = "image", "program", "view"


@dataclass(frozen=True, slots=True)
class ImageReference:
    """Which image a project is about.

    Parameters
    ----------
    name
        What people call it.
    fingerprint
        Of its shape and pixels; the same for every copy of the picture.
    path
        Where it was last seen; empty for an image that is in no file.
    """

    name: str
    fingerprint: str
    path: str = ""

    def found(self, beside: Path) -> Path | None:
        """Return where the image is: where it was, or in the folder of the project file."""
        candidates = [Path(self.path), beside.parent / Path(self.path).name] if self.path else []
        return next((p for p in candidates if p.is_file()), None)

    def to_text(self) -> str:
        """Return it as a line of JSON."""
        return _text([self.name, self.fingerprint, self.path])

    @classmethod
    def of_text(cls, text: str, name: str) -> Self:
        """Return what `to_text` wrote; ``name`` is the project file's, for `ProjectError`."""
        try:
            return cls(*orjson.loads(text))
        except (TypeError, ValueError) as error:
            raise ProjectError(
                f"{name}: does not say which image it is about ({text!r})."
            ) from error


class Project:
    """An open project file.

    Attributes
    ----------
    path
        The file.
    document
        The annotation, kept in it.
    image
        Which image it is about.
    read_only, why_read_only
        True if nothing can be changed, and the reason as a sentence.
    """

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        lock: filelock.BaseFileLock | None,
        why: str,
    ) -> None:
        self.path, self.why_read_only = path, why
        self._connection, self._lock = connection, lock
        self._store = SqliteStore(connection, path.name, read_only=bool(why))
        self.image = ImageReference.of_text(self._fact(IMAGE_FACT), path.name)
        scheme = _scheme_of(self._fact(SCHEME_FACT), path.name)
        self.document = Document(self._store, scheme, _mpp_of(self._fact(MPP_FACT), path.name))
        self._settling = None if why else _Settling(path)

    @classmethod
    def create(
        cls,
        path: Path,
        image: ImageReference,
        shape: tuple[int, int],
        scheme: ClassScheme = PANNUKE,
        mpp: float | None = None,
    ) -> Project:
        """Make a project file for an image of this shape.

        Raises
        ------
        ProjectError
            If there is such a file already, or it cannot be written.
        """
        if path.exists():
            raise ProjectError(
                f"{path.name}: there is such a file already; open it, or take another."
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(connect(path)) as connection:
                connection.execute("BEGIN")
                create_tables(connection)
                SqliteStore.begin(connection, shape)
                facts = {
                    IMAGE_FACT: image.to_text(),
                    SCHEME_FACT: text_of_scheme(scheme),
                    MPP_FACT: "" if mpp is None else repr(float(mpp)),
                    PROGRAM_FACT: f"napari-nucleus {__version__}",
                }
                connection.executemany("INSERT INTO fact VALUES (?, ?)", list(facts.items()))
                connection.execute("COMMIT")
        except (OSError, sqlite3.Error) as error:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            raise ProjectError(f"{path}: the project file cannot be made ({error}).") from error
        return cls.open(path)

    @classmethod
    def open(cls, path: Path, look_only: str = "") -> Project:
        """Open a project file; to read only if another program works on it or it is protected.

        Parameters
        ----------
        look_only
            A sentence that says why it is to be read only in any case.

        Raises
        ------
        ProjectError
            If there is no such file, or it is no project, or one of a newer version.
        """
        if not path.is_file():
            raise ProjectError(f"{path}: there is no such file (any more).")
        lock, why = (None, look_only) if look_only else lock_of(path)
        connection = None
        try:
            connection = connect(path, read_only=bool(why))
            check_kind(connection, path)
            connection = up_to_date(connection, path.name, read_only=bool(why))
            if not why:
                set_journal(connection, path)
            return cls(path, connection, lock, why)
        except BaseException as error:
            if connection is not None:
                connection.close()
            release(lock)
            if isinstance(error, sqlite3.Error):
                raise ProjectError(
                    f"{path.name}: no project of napari-nucleus, or damaged ({error})."
                ) from error
            raise

    @property
    def read_only(self) -> bool:
        """True if nothing can be changed."""
        return bool(self.why_read_only)

    @property
    def is_empty(self) -> bool:
        """True if nothing was ever annotated that could be undone or redone, and no points wait."""
        history = self.document.history
        if self.document.count or self._fact(POINTS_FACT):
            return False
        return history.undo_name is None and history.redo_name is None

    @property
    def annotator(self) -> str:
        """Who works on it; noted with each action."""
        return self._store.annotator

    @annotator.setter
    def annotator(self, name: str) -> None:
        self._store.annotator = name

    def refer_to(self, image: ImageReference) -> None:
        """Note another place or name of the image.

        Raises
        ------
        ProjectError
            If the file cannot be changed.
        """
        with self._store.transaction():
            self._store.put_fact(IMAGE_FACT, image.to_text())
        self.image = image

    @property
    def view(self) -> View | None:
        """Where the image was looked at when it was left. Setting it is no undo step."""
        return View.of_text(self._fact(VIEW_FACT))

    @view.setter
    def view(self, view: View) -> None:
        with self._store.transaction():
            self._store.put_fact(VIEW_FACT, view.to_text())

    def save_as(self, path: Path) -> None:
        """Copy the project to another file and go on there; an older file there is replaced.

        Raises
        ------
        ProjectError
            If the copy cannot be written, or that file is being worked on; the project then stays
            where it is.
        """
        if path.resolve() == self.path.resolve():
            return
        saving = self.begin_save_as(path)
        saving.copy()
        while not self.finish_save_as(saving):
            saving.copy()

    def begin_save_as(self, path: Path) -> Saving:
        """Begin to save under another name, where the copying may be left to another thread.

        `Saving.copy` makes the copy, `finish_save_as` or `Saving.drop` ends it.

        Raises
        ------
        ProjectError
            If that file is being worked on, or cannot be written.
        """
        return Saving(self.path, path, self._connection.total_changes)

    def finish_save_as(self, saving: Saving) -> bool:
        """Go on in the copy, and return True; False if an edit came and it must be copied again.

        Raises
        ------
        ProjectError
            If the copy cannot be put in its place, or something changed during each of
            `MOST_COPIES` copies; the project then stays where it is.
        """
        changes = self._connection.total_changes
        # A long change pauses in the middle of its transaction.
        if changes != saving.changes or self._connection.in_transaction:
            saving.changes = changes
            if saving.copies < MOST_COPIES:
                return False
            saving.drop()
            raise ProjectError(
                f"{saving.target}: the project kept changing while it was copied, and stays where "
                "it is. Wait until the segmentation has ended, then save it again."
            )
        connection, lock = saving.take_place()
        self._let_go()
        self.path, self._connection, self._lock = saving.target, connection, lock
        self.why_read_only = ""
        self._store.move_to(connection, self.path.name)
        self._settling = _Settling(self.path)
        return True

    def close(self) -> None:
        """Close the file; what was annotated is in it, in one piece."""
        self._let_go()

    def _let_go(self) -> None:
        if self._settling is not None:
            self._settling.stop()
            self._settling = None
        with contextlib.suppress(sqlite3.Error):  # whatever cannot be tidied up is read next time
            if not self.read_only:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                self._connection.execute("PRAGMA journal_mode = DELETE")
        self._connection.close()
        release(self._lock)
        self._lock = None

    def _fact(self, key: str) -> str:
        return self._store.fact(key) or ""


class _Settling:
    """Brings the write-ahead log into the file, on a thread and a connection of its own.

    SQLite would do it inside an edit and wait for the disk there.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._wal = path, path.with_name(f"{path.name}-wal")
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="settling", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        seen = None
        while not self._stopped.wait(SETTLE_SECONDS):
            try:
                stat = self._wal.stat()
                now = stat.st_size, stat.st_mtime_ns
                if now != seen:
                    with contextlib.closing(connect(self._path)) as connection:
                        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
                    seen = now
            except (OSError, sqlite3.Error):
                # There is no log on a network drive; a full disk shows at the next edit.
                continue


def _text(value: object) -> str:
    return orjson.dumps(value).decode()


def _mpp_of(text: str, name: str) -> float | None:
    try:
        return check_mpp(float(text), name) if text else None
    except (ValueError, ImageError) as error:
        raise ProjectError(f"{name}: its pixel size is {text!r}, which cannot be.") from error


def _scheme_of(text: str, name: str) -> ClassScheme:
    try:
        return scheme_of_text(text)
    except ValueError as error:
        raise ProjectError(f"{name}: its classes are damaged ({error}).") from error
