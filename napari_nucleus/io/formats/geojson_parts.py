"""Large results in several GeoJSON files, ``STEM_1of3.geojson`` and so on, and together again.

A file says of itself, in the member ``parts``, which part of how many it is. Whoever reads one of
them wants the result, so the other parts that lie beside it are read with it; those that do not
are told of. Parts are known by both name and member: a file that was renamed is read alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_nucleus.io.formats.json_files import load_json

__all__ = ["missing_parts", "part_name", "with_other_parts"]

PART = re.compile(r"_(\d{1,4})of(\d{1,4})(?=\.)", re.IGNORECASE)


def part_name(name: str, number: int, count: int) -> str:
    """Return what part ``number`` of ``count`` of a file is called."""
    low = name.casefold()
    ending = next((e for e in (".geojson.gz", ".json.gz") if low.endswith(e)), Path(name).suffix)
    stem = name[: len(name) - len(ending)]
    return f"{stem}_{number}of{count}{name[len(stem) :]}"


def with_other_parts(value: Any, path: Path) -> Any:
    """Return the value of a file together with those of the other parts that lie beside it.

    A file that is no part of a larger result is returned as it is, and so is one that was given
    another name.

    Raises
    ------
    AnnotationError
        If another part cannot be read.
    """
    parts = value.get("parts") if isinstance(value, dict) else None
    found = PART.findall(path.name)
    if not isinstance(parts, dict) or not found:
        return value
    number, count = (int(n) for n in found[-1])
    if parts.get("here") != [number] or parts.get("of") != count:
        return value
    features, here = list(value.get("features") or ()), [number]
    start, stop = [m.span() for m in PART.finditer(path.name)][-1]
    for k in range(1, count + 1):
        other = path.with_name(f"{path.name[:start]}_{k}of{count}{path.name[stop:]}")
        if k == number or not other.is_file():
            continue
        more = load_json(other)
        if isinstance(more, dict) and _same_result(value, more) and more["parts"]["here"] == [k]:
            features += more.get("features") or ()
            here.append(k)
    return {**value, "features": features, "parts": {**parts, "here": sorted(here)}}


def _same_result(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Return True if two files say of themselves that they are parts of one result."""
    if not isinstance(b.get("parts"), dict):
        return False
    return all(a["parts"].get(k) == b["parts"].get(k) for k in ("of", "nuclei")) and all(
        a.get(k) == b.get(k) for k in ("image", "provenance", "classes")
    )


def missing_parts(parts: Any, name: str) -> list[str]:
    """Return a sentence about the member ``parts`` of a file, none if it has none."""
    if not isinstance(parts, dict) or not isinstance(parts.get("here"), list):
        return []
    here, count = parts["here"], parts.get("of")
    if type(count) is not int or not all(type(k) is int for k in here):
        return []
    if len(here) < count:
        which = ", ".join(map(str, here[:10]))
        return [f"{name}: is part {which} of {count:,}; the others do not lie beside it."]
    return [f"{name}: was read together with the other parts, {count:,} files."]
