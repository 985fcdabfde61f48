"""Small lists of conveniences in JSON files, such as what was used last.

That one cannot be read or written is no reason to stop: it is then as if it were empty.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import orjson

__all__ = ["read_list", "write_list"]


def read_list(file: Path) -> list[Any]:
    """Return what is in a file; nothing if it is not there or is no list."""
    try:
        found = orjson.loads(file.read_bytes())
    except (OSError, ValueError):
        return []
    return found if isinstance(found, list) else []


def write_list(file: Path, rows: list[Any]) -> None:
    """Put a list in the place of a file, whole or not at all."""
    part = file.with_suffix(".part")
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(orjson.dumps(rows, option=orjson.OPT_INDENT_2))
        os.replace(part, file)
