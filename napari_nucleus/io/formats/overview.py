"""The formats as a table: what is written, what is read, and what comes back of it.

Made of the registry, so that what the command line and the documentation say stays true.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple

from napari_nucleus.io.formats import FORMATS, Format

__all__ = ["markdown_table", "text_table"]

KEPT = ("masks", "holes", "parts", "ids", "class", "score", "scheme", "mpp", "size", "made by")
"""What people call the members of `Keeps`, in their order."""

HEAD = ("format", "out", "in", *KEPT)


def markdown_table() -> str:
    """Return all formats as a table in Markdown, and their notes below it."""
    rows = [("file", *HEAD), ("---",) * (1 + len(HEAD))]
    for one in FORMATS.values():
        endings = ", ".join(f"`{e}`" for e in (one.ending, *one.endings))
        marks = (("✓" if has else "") for has in _marks(one))
        rows.append((f"{one.title}: {endings}", f"`{one.name}`", *marks))
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    notes = [f"- `{one.name}`: {one.note}" for one in FORMATS.values() if one.note]
    return "\n".join([*lines, "", *notes])


def text_table() -> str:
    """Return all formats as a table in plain text."""
    rows = [HEAD]
    rows += [(one.name, *("x" if has else "-" for has in _marks(one))) for one in FORMATS.values()]
    width = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    titles = ["files", *(f"{one.title}, {one.ending}" for one in FORMATS.values())]
    return "\n".join(
        f"{_aligned(row, width)}  {title}" for row, title in zip(rows, titles, strict=True)
    )


def _marks(one: Format) -> Iterable[bool]:
    return one.write is not None, one.is_read, *astuple(one.keeps)


def _aligned(row: Sequence[str], width: Sequence[int]) -> str:
    return " ".join(text.ljust(w) for text, w in zip(row, width, strict=True))
