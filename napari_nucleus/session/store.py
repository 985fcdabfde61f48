"""Where the document is kept: label tiles, nuclei, click memories and the journal of actions.

`Store` is the protocol; `MemoryStore` keeps everything in memory, `SqliteStore` in a file. A store
holds the whole state of a document, the history included, so that whatever is written inside one
transaction is there entirely or not at all. A store knows edits as values; what they mean is
`edits`, `history` and `actions`' business. Nothing here is safe to use from two threads at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.geometry import Box
from napari_nucleus.session.columns import RowColumns
from napari_nucleus.session.edits import Edit
from napari_nucleus.session.grid import cells_of
from napari_nucleus.session.regions import Region
from napari_nucleus.session.table import ClickMemory, NucleusRow

__all__ = ["ActionEntry", "Opinions", "Piece", "Store", "opinions_of", "pieces_of"]

Piece = tuple[tuple[int, int], tuple[slice, slice], tuple[slice, slice]]
"""A tile ``(row, column)``, a part of the tile, and the part of a box that lies there."""


@dataclass(frozen=True, slots=True)
class ActionEntry:
    """One user action in the journal: its id, rising with time, and its name for people."""

    id: int
    name: str


class Opinions(NamedTuple):
    """Nuclei that no user has looked at: ``(n,)`` arrays in the order of their ids.

    ``iou`` is NaN where no click model has judged, ``agreement`` where only one model has looked;
    ``centroid_yx`` is ``(n, 2)``.
    """

    ids: NDArray[np.int64]
    score: NDArray[np.float64]
    iou: NDArray[np.float64]
    area: NDArray[np.int64]
    agreement: NDArray[np.float64]
    centroid_yx: NDArray[np.float64]


class Store(Protocol):
    """Keeps a document. Writes are allowed inside `transaction` only.

    Attributes
    ----------
    annotator
        Who works on it; noted where the store and actions keep such notes.
    """

    annotator: str

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the image in pixels."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """Open a transaction: all writes in it are kept if it ends well, none if it raises.

        Transactions do not nest. Reads inside see what was written.
        """
        ...

    # ---- labels

    @property
    def levels(self) -> int:
        """Number of levels of the label map (`pyramid`), level 0 included."""
        ...

    def read_labels(self, box: Box, level: int = 0) -> NDArray[np.int32]:
        """Return a copy of the labels ``(h, w)`` in a box of a level's pixels, inside the level."""
        ...

    def write_labels(self, box: Box, labels: NDArray[np.int32]) -> None:
        """Write labels ``(h, w)`` into a box inside the image."""
        ...

    def tile_boxes(self) -> list[Box]:
        """Return the boxes of all tiles that may hold a label, row by row."""
        ...

    # ---- nuclei

    @property
    def next_id(self) -> int:
        """The smallest id above all that ever had a row or were reserved, undone ones included."""
        ...

    def reserve_ids(self, next_id: int) -> None:
        """Raise `next_id` to at least this."""
        ...

    def row(self, nucleus_id: int) -> NucleusRow | None:
        """Return a nucleus's row, or None."""
        ...

    def rows(self, ids: Sequence[int] | None = None) -> list[NucleusRow]:
        """Return the rows of those of these nuclei that exist, in this order; all by default.

        All are in the order of their ids.
        """
        ...

    def count_untouched(self) -> int:
        """Return the number of nuclei that no user has looked at."""
        ...

    def opinions(self, box: Box | None = None) -> Opinions:
        """Return what models think of nuclei that no user has looked at, as arrays.

        Of all, or of those whose boxes meet ``box``.
        """
        ...

    def put_rows(self, rows: Sequence[NucleusRow]) -> None:
        """Insert rows, or replace those with the same id."""
        ...

    def drop_rows(self, ids: Sequence[int]) -> None:
        """Remove rows; their ids are not used again."""
        ...

    def put_classes(
        self,
        ids: Sequence[int],
        class_ids: Sequence[int],
        class_prob: Sequence[tuple[float, ...]],
    ) -> None:
        """Give rows that exist another class and other probabilities; the rest stays."""
        ...

    def ids(self) -> NDArray[np.int64]:
        """Return all ids, ascending."""
        ...

    @property
    def columns(self) -> RowColumns:
        """What the nuclei are sorted and filtered by; empty until its `RowColumns.load`."""
        ...

    def ids_in(self, box: Box) -> list[int]:
        """Return the ids of nuclei whose boxes meet ``box``, ascending."""
        ...

    def count(self) -> int:
        """Return the number of nuclei."""
        ...

    def class_ids(self, box: Box | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return ids, ascending, and class ids of the nuclei whose boxes meet a box; of all."""
        ...

    def class_counts(self) -> dict[int, int]:
        """Return the number of nuclei of each class id that has any."""
        ...

    def memory(self, nucleus_id: int) -> ClickMemory | None:
        """Return a nucleus's click memory, or None."""
        ...

    def memories(self, ids: Sequence[int]) -> dict[int, ClickMemory]:
        """Return the click memories of those of these nuclei that have one."""
        ...

    def put_memories(self, memories: Mapping[int, ClickMemory | None]) -> None:
        """Set click memories; None forgets."""
        ...

    # ---- regions

    def regions(self) -> tuple[Region, ...]:
        """Return all regions in the order of their ids; the same tuple until one changes."""
        ...

    def put_regions(self, regions: Mapping[int, Region | None]) -> None:
        """Set regions; None takes away."""
        ...

    # ---- facts: what is kept beside the nuclei, as short texts

    def fact(self, key: str) -> str | None:
        """Return what was put under a key, or None."""
        ...

    def put_fact(self, key: str, value: str) -> None:
        """Put a text under a key."""
        ...

    # ---- journal: actions in order of time, the undone ones last

    def add_action(self, name: str) -> int:
        """Begin a new action after the last one that is done; forget all undone ones."""
        ...

    def add_edit(self, action_id: int, edit: Edit) -> None:
        """Note one more edit of an action; the edit itself is applied by the caller."""
        ...

    def edits_of(self, action_id: int) -> Sequence[Edit]:
        """Return the edits of an action in the order they were made.

        Raises
        ------
        KeyError
            If the action is forgotten.
        """
        ...

    def rewrite_action(self, action_id: int, name: str, edits: Sequence[Edit]) -> None:
        """Give the last action done another name and other edits; forget all undone ones."""
        ...

    def drop_action(self, action_id: int) -> None:
        """Forget an action."""
        ...

    def mark_undone(self, action_id: int) -> None:
        """Note that the last action done is undone."""
        ...

    def mark_done(self, action_id: int) -> None:
        """Note that the first action undone is done again."""
        ...

    def last_done(self) -> ActionEntry | None:
        """Return the action that undo takes back."""
        ...

    def first_undone(self) -> ActionEntry | None:
        """Return the action that redo brings back."""
        ...

    def actions_after(self, action_id: int) -> Sequence[ActionEntry]:
        """Return the actions begun after this one, done or undone."""
        ...


def opinions_of(rows: Iterable[tuple]) -> Opinions:
    """Return nuclei in any order as arrays.

    Parameters
    ----------
    rows
        Id, score, IoU or None, area, agreement or None, and the two coordinates of the centroid.
    """
    table = np.array(list(rows), float).reshape(-1, 7)
    table = table[np.argsort(table[:, 0])]
    ids, score, iou, area, agreement = table[:, :5].T
    return Opinions(
        ids.astype(np.int64), score, iou, area.astype(np.int64), agreement, table[:, 5:]
    )


def pieces_of(box: Box, size: int) -> Iterator[Piece]:
    """Yield each tile of side ``size`` that a box meets, the part of it and the part of the box."""
    y0, x0, y1, x1 = box
    for cell in cells_of(box, size):
        ty, tx = cell[0] * size, cell[1] * size
        a, b = max(y0, ty), max(x0, tx)
        c, d = min(y1, ty + size), min(x1, tx + size)
        inside = slice(a - ty, c - ty), slice(b - tx, d - tx)
        yield cell, inside, (slice(a - y0, c - y0), slice(b - x0, d - x0))
