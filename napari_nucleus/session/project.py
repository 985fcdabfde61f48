"""A project: the annotation of one image in one file, ``NAME.nucleus``.

Every edit is in the file before anybody is told that it was made, so there is nothing to save and a
program that is killed loses nothing. On a local disk the file is written through SQLite's
write-ahead log: after a power cut the last seconds (`SETTLE_SECONDS`) may be missing, what is there
is whole. On a network drive, where such a log is not safe, every edit waits for the disk instead.

Only one program at a time may change a project; a second one reads it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

import filelock
import orjson

from napari_nucleus import __version__
from napari_nucleus.core.classes import PANNUKE, ClassScheme, NucleusClass
from napari_nucleus.core.image import check_mpp
from napari_nucleus.errors import ImageError, ProjectError
from napari_nucleus.session.document import MPP_FACT, Document
from napari_nucleus.session.drives import is_network_drive
from napari_nucleus.session.schema import APPLICATION_ID, VERSION, create_tables, migrate
from napari_nucleus.session.sqlite_store import SqliteStore

__all__ = ["SUFFIX", "ImageReference", "Project"]

SUFFIX = ".nucleus"

SETTLE_SECONDS = 3.0
"""How often the write-ahead log is brought to the disk and into the file, in the background."""

IMAGE_FACT, SCHEME_FACT, PROGRAM_FACT = "image", "scheme", "program"


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
        self.image = _image_of(self._fact(IMAGE_FACT), path.name)
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
            with contextlib.closing(_connect(path)) as connection:
                connection.execute("BEGIN")
                create_tables(connection)
                SqliteStore.begin(connection, shape)
                facts = {
                    IMAGE_FACT: _text([image.name, image.fingerprint, image.path]),
                    SCHEME_FACT: _scheme_text(scheme),
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
    def open(cls, path: Path) -> Project:
        """Open a project file; to read only if another program works on it or it is protected.

        Raises
        ------
        ProjectError
            If there is no such file, or it is no project, or one of a newer version.
        """
        if not path.is_file():
            raise ProjectError(f"{path}: there is no such file (any more).")
        lock, why = _locked(path)
        try:
            connection = _connect(path, read_only=bool(why))
            _check_kind(connection, path)
            if not why:
                migrate(connection)
                _set_journal(connection, path)
            return cls(path, connection, lock, why)
        except sqlite3.Error as error:
            _release(lock)
            raise ProjectError(
                f"{path.name}: no project of napari-nucleus, or damaged ({error})."
            ) from error
        except BaseException:
            _release(lock)
            raise

    @property
    def read_only(self) -> bool:
        """True if nothing can be changed."""
        return bool(self.why_read_only)

    @property
    def is_empty(self) -> bool:
        """True if nothing was ever annotated that could be undone or redone."""
        history = self.document.history
        return not self.document.count and history.undo_name is None and history.redo_name is None

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
            self._store.put_fact(IMAGE_FACT, _text([image.name, image.fingerprint, image.path]))
        self.image = image

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
        lock, why = _locked(path, new=True)
        if why:
            raise ProjectError(f"{path}: {why}")
        part = path.with_name(f"{path.name}.part")
        try:
            part.unlink(missing_ok=True)
            with contextlib.closing(sqlite3.connect(part, isolation_level=None)) as copy:
                self._connection.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")
            os.replace(part, path)
            connection = _connect(path)
            _set_journal(connection, path)
        except (OSError, sqlite3.Error) as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            _release(lock)
            raise ProjectError(f"{path}: the copy cannot be written ({error}).") from error
        self._let_go()
        self.path, self._connection, self._lock, self.why_read_only = path, connection, lock, ""
        self._store.move_to(connection, path.name)
        self._settling = _Settling(path)

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
        _release(self._lock)
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
                    with contextlib.closing(_connect(self._path)) as connection:
                        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
                    seen = now
            except (OSError, sqlite3.Error):
                # There is no log on a network drive; a full disk shows at the next edit.
                continue


def _connect(path: Path, read_only: bool = False) -> sqlite3.Connection:
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
    return connection


def _set_journal(connection: sqlite3.Connection, path: Path) -> None:
    if is_network_drive(path):
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA synchronous = FULL")
    else:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")


def _check_kind(connection: sqlite3.Connection, path: Path) -> None:
    kind = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if kind != APPLICATION_ID:
        raise ProjectError(f"{path.name}: a database of another program, no project.")
    if version > VERSION:
        raise ProjectError(
            f"{path.name}: made by a newer napari-nucleus (its tables are version {version}, this "
            f"program knows {VERSION}); update the program."
        )


def _locked(path: Path, new: bool = False) -> tuple[filelock.BaseFileLock | None, str]:
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


def _release(lock: filelock.BaseFileLock | None) -> None:
    if lock is not None:
        with contextlib.suppress(OSError):
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _text(value: object) -> str:
    return orjson.dumps(value).decode()


def _image_of(text: str, name: str) -> ImageReference:
    try:
        return ImageReference(*orjson.loads(text))
    except (TypeError, ValueError) as error:
        raise ProjectError(f"{name}: does not say which image it is about ({text!r}).") from error


def _mpp_of(text: str, name: str) -> float | None:
    try:
        return check_mpp(float(text), name) if text else None
    except (ValueError, ImageError) as error:
        raise ProjectError(f"{name}: its pixel size is {text!r}, which cannot be.") from error


def _scheme_text(scheme: ClassScheme) -> str:
    classes = [[c.id, c.name, c.color, c.key] for c in scheme.classes]
    return _text([scheme.name, classes, scheme.unknown_color])


def _scheme_of(text: str, name: str) -> ClassScheme:
    try:
        title, classes, unknown = orjson.loads(text)
        kinds = tuple(NucleusClass(i, label, tuple(color), key) for i, label, color, key in classes)
        return ClassScheme(title, kinds, tuple(unknown))
    except (TypeError, ValueError) as error:
        raise ProjectError(f"{name}: its classes are damaged ({error}).") from error
