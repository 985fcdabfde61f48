"""Files that are either complete or not there at all.

A file is written under another name beside its target, forced to the disk and then renamed, which
every file system does at once. Whatever goes wrong, the target is as it was before.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from napari_nucleus.errors import AnnotationError

__all__ = ["replacing"]


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
