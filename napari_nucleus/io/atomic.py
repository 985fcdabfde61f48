"""Files that are either complete or not there at all, alone or several that belong together.

A file is written under another name beside its target, forced to the disk and then renamed, which
every file system does at once. Whatever goes wrong, the target is as it was before.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from napari_nucleus.errors import AnnotationError

__all__ = ["check_stem", "replace_whole", "replacing", "replacing_folder", "replacing_together"]


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file that takes the place of ``path`` when the block ends without an error.

    Raises
    ------
    AnnotationError
        If the file cannot be written; ``path`` is then unchanged and nothing else is left behind.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with open(part, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        kept = "the file of that name is as it was" if path.exists() else "no file was left behind"
        raise AnnotationError(
            f"{path.name} could not be written ({error.strerror or error}); {kept}. "
            "Choose another folder or make room, then export again."
        ) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def replace_whole(source: Path, target: Path) -> None:
    """Let a complete file or folder take the place of ``target`` on the same disk.

    A folder that is there is moved aside first, since systems replace only files at once, and is
    moved back if the new one cannot take its place.

    Raises
    ------
    OSError
        If it cannot be moved; the target is then as it was.
    """
    if not (target.is_dir() and not target.is_symlink()):
        os.replace(source, target)
        return
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.old")
    os.replace(target, aside)
    try:
        os.replace(source, target)
    except OSError:
        os.replace(aside, target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def replacing_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a new folder that takes the place of ``path`` when the block ends without an error.

    Raises
    ------
    AnnotationError
        If it cannot be written; ``path`` is then unchanged and nothing else is left behind.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        part.mkdir()
        yield part
        replace_whole(part, path)
    except OSError as error:
        raise AnnotationError(
            f"{path.name} could not be written ({error.strerror or error}); what was there is as "
            "it was. Choose another folder or make room, then export again."
        ) from error
    finally:
        with suppress(OSError):
            shutil.rmtree(part)


def check_stem(stem: str) -> None:
    """Refuse what cannot begin a file name.

    Raises
    ------
    AnnotationError
        If it is empty or holds folders.
    """
    if not stem or Path(stem).name != stem:
        raise AnnotationError(f"{stem!r} cannot begin a file name; leave out folders.")


@contextmanager
def replacing_together(out_dir: str | os.PathLike[str], what: str) -> Iterator[Path]:
    """Give a folder whose files move into ``out_dir`` when the block ends without an error.

    Parameters
    ----------
    out_dir
        Folder; it is made if it is not there.
    what
        What the files are about, to begin an error with.

    Raises
    ------
    AnnotationError
        If a file cannot be written; those that were there are as they were.
    """
    out_dir = Path(out_dir)
    part = None
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=".export-", dir=out_dir))
        yield part
        for file in sorted(part.iterdir()):
            replace_whole(file, out_dir / file.name)
    except OSError as error:
        raise AnnotationError(
            f"{what}: nothing could be written into the folder {out_dir.name!r} "
            f"({error.strerror or error}). Choose another folder or make room, then export again."
        ) from error
    finally:
        if part is not None:
            with suppress(OSError):
                shutil.rmtree(part)
