"""Folders that results are written into: made when they are needed, refused by name."""

from __future__ import annotations

import os
from pathlib import Path

from napari_nucleus.errors import AnnotationError

__all__ = ["make_folder"]


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Make a folder and those above it, if they are not there, and return it.

    Raises
    ------
    AnnotationError
        If a file is in its place, or it cannot be made.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        in_the_way = next((p for p in (path, *path.parents) if p.is_file()), None)
        reason = f"{in_the_way} is a file" if in_the_way else error.strerror or error
        raise AnnotationError(
            f"{path}: this folder cannot be made ({reason}); nothing was written. "
            "Choose another folder."
        ) from error
    return path
