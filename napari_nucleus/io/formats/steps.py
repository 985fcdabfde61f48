"""Progress and cancellation of what is written piece by piece, but not nucleus by nucleus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from napari_nucleus.core.progress import Progress
from napari_nucleus.io.formats.base import Export

__all__ = ["steps"]

T = TypeVar("T")


def steps(export: Export, pieces: Sequence[T], what: str) -> Iterator[T]:
    """Yield the pieces one by one, telling how far it is.

    Parameters
    ----------
    export
        Who is told, and who may cancel.
    pieces
        Of about the same work each.
    what
        What they are, in words: ``"tiles"``.

    Raises
    ------
    CancelledError
        If it was cancelled.
    """
    started = Progress(0, len(pieces)).started
    for done, piece in enumerate(pieces, 1):
        export.cancel.check()
        yield piece
        text = f"{done:,} of {len(pieces):,} {what}"
        export.progress(Progress(done, len(pieces), text, started))
