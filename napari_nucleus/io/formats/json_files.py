"""JSON files as values, compressed or not; every fault is one `AnnotationError`."""

from __future__ import annotations

import gzip
import json
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from napari_nucleus.errors import AnnotationError

__all__ = ["load_json"]

LARGEST = 4 * 2**30
"""Bytes of text that are unpacked at most."""


def load_json(path: Path) -> Any:
    """Return the value in a JSON file, which may be compressed with gzip.

    Raises
    ------
    AnnotationError
        If it cannot be read or is no JSON.
    """
    name = path.name
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        if packed:
            with gzip.open(path, "rb") as unpacked:
                data = unpacked.read(LARGEST + 1)
        else:
            data = path.read_bytes()
    except FileNotFoundError as error:
        raise AnnotationError(f"{name}: there is no such file (any more).") from error
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise AnnotationError(f"{name}: is damaged or cannot be read ({reason}).") from error
    if len(data) > LARGEST:
        raise AnnotationError(f"{name}: unpacked it is larger than {LARGEST:,} bytes.")
    if not data.strip():
        raise AnnotationError(f"{name}: the file is empty.")
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        return orjson.loads(data)
    except (orjson.JSONDecodeError, RecursionError) as error:
        if b"NaN" in data or b"Infinity" in data:
            # No JSON, but what Python and QuPath write for numbers that are none.
            with suppress(ValueError, RecursionError):
                return json.loads(data)
        raise AnnotationError(f"{name}: is no JSON ({error}).") from error
