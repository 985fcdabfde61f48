"""The document's store in memory: for evaluation, for tests, and where no file can be written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.geometry import Box, box_intersection
from napari_nucleus.session.columns import Entry, RowColumns
from napari_nucleus.session.edits import Edit
from napari_nucleus.session.grid import TILE_SIZE, GridIndex
from napari_nucleus.session.pyramid import level_box, level_count, sample
from napari_nucleus.session.regions import Region
from napari_nucleus.session.store import ActionEntry, Opinions, opinions_of, pieces_of
from napari_nucleus.session.table import ClickMemory, NucleusRow

__all__ = ["MemoryStore"]


@dataclass(slots=True)
class _Action:
    id: int
    name: str
    edits: list[Edit] = field(default_factory=list)

    @property
    def entry(self) -> ActionEntry:
        return ActionEntry(self.id, self.name)


class MemoryStore:
    """A `Store` in memory; tiles without labels cost nothing.

    Parameters
    ----------
    shape
        Height and width of the image in pixels.
    tile_size
        Side of the label tiles in pixels.
    """

    def __init__(self, shape: tuple[int, int], tile_size: int = TILE_SIZE) -> None:
        if len(shape) != 2 or min(shape) < 1:
            raise ValueError(f"a document needs a height and a width of at least 1, got {shape}")
        self.annotator = ""
        self._shape = int(shape[0]), int(shape[1])
        self._size = tile_size
        self._tiles: dict[tuple[int, int], NDArray[np.int32]] = {}
        self._rows: dict[int, NucleusRow] = {}
        self._grid = GridIndex(tile_size)
        self._classes: Counter[int] = Counter()
        self._untouched = 0
        self._memories: dict[int, ClickMemory] = {}
        self._regions: tuple[Region, ...] = ()
        self._facts: dict[str, str] = {}
        self._next_id = 1
        self._columns = RowColumns(self._column_entries)
        self._actions: list[_Action] = []
        self._done = 0
        self._last_action_id = 0
        self._log: list[Callable[[], object]] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the image in pixels."""
        return self._shape

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep what is written inside, or take all of it back if it raises."""
        if self._log is not None:
            raise RuntimeError("transactions do not nest")
        self._log = []
        try:
            yield
        except BaseException:
            for take_back in reversed(self._log):
                take_back()
            self._columns.forget()
            raise
        finally:
            self._log = None

    def _on_rollback(self, call: Callable[..., object], *args: object) -> None:
        if self._log is None:
            raise RuntimeError("a store is written inside a transaction only")
        self._log.append(partial(call, *args))

    # ---- labels

    @property
    def levels(self) -> int:
        """Number of levels of the label map, level 0 included."""
        return level_count(self._shape)

    def read_labels(self, box: Box, level: int = 0) -> NDArray[np.int32]:
        """Return a copy of the labels ``(h, w)`` in a box of a level's pixels."""
        out = np.zeros((box[2] - box[0], box[3] - box[1]), np.int32)
        if level:
            self._sample(box, level, out)
            return out
        for cell, inside, outside in pieces_of(box, self._size):
            tile = self._tiles.get(cell)
            if tile is not None:
                out[outside] = tile[inside]
        return out

    def _sample(self, box: Box, level: int, out: NDArray[np.int32]) -> None:
        """Write what a level shows of each tile; levels are not kept here."""
        for whole in self.tile_boxes():
            seen = box_intersection(level_box(whole, level), box)
            if seen is not None:
                y0, x0 = level_box(whole, level)[:2]
                tile = sample(
                    self._tiles[whole[0] // self._size, whole[1] // self._size], whole, level
                )
                out[seen[0] - box[0] : seen[2] - box[0], seen[1] - box[1] : seen[3] - box[1]] = (
                    tile[seen[0] - y0 : seen[2] - y0, seen[1] - x0 : seen[3] - x0]
                )

    def write_labels(self, box: Box, labels: NDArray[np.int32]) -> None:
        """Write labels ``(h, w)`` into a box inside the image."""
        previous = self.read_labels(box)
        if not previous.any():
            # A long import writes mostly on empty ground; its way back need not hold pixels.
            previous = np.broadcast_to(np.int32(0), previous.shape)
        self._on_rollback(self._paste, box, previous)
        self._paste(box, labels)

    def _paste(self, box: Box, labels: NDArray[np.int32]) -> None:
        for cell, inside, outside in pieces_of(box, self._size):
            piece, tile = labels[outside], self._tiles.get(cell)
            if piece.any():
                if tile is None:
                    tile = self._tiles[cell] = np.zeros((self._size, self._size), np.int32)
                tile[inside] = piece
            elif tile is not None:
                tile[inside] = 0
                if not tile.any():
                    del self._tiles[cell]

    def tile_boxes(self) -> list[Box]:
        """Return the boxes of all tiles that may hold a label, row by row."""
        size, (height, width) = self._size, self._shape
        return [
            (r * size, c * size, min((r + 1) * size, height), min((c + 1) * size, width))
            for r, c in sorted(self._tiles)
        ]

    # ---- nuclei

    @property
    def next_id(self) -> int:
        """The smallest id above all that ever had a row or were reserved, undone ones included."""
        return self._next_id

    def reserve_ids(self, next_id: int) -> None:
        """Raise `next_id` to at least this."""
        self._on_rollback(setattr, self, "_next_id", self._next_id)
        self._next_id = max(self._next_id, next_id)

    def row(self, nucleus_id: int) -> NucleusRow | None:
        """Return a nucleus's row, or None."""
        return self._rows.get(nucleus_id)

    def rows(self, ids: Sequence[int] | None = None) -> list[NucleusRow]:
        """Return the rows of those of these nuclei that exist, in this order; all by default."""
        wanted = sorted(self._rows) if ids is None else ids
        return [self._rows[i] for i in wanted if i in self._rows]

    def count_untouched(self) -> int:
        """Return the number of nuclei that no user has looked at."""
        return self._untouched

    def opinions(self, box: Box | None = None) -> Opinions:
        """Return what models think of nuclei that no user has looked at; all, or those in a box."""
        rows = self._rows.values() if box is None else map(self._rows.__getitem__, self.ids_in(box))
        return opinions_of(
            (row.id, row.score, row.iou, row.area, row.agreement, *row.centroid_yx)
            for row in rows
            if not row.touched
        )

    def put_rows(self, rows: Sequence[NucleusRow]) -> None:
        """Insert rows, or replace those with the same id."""
        self.reserve_ids(max((row.id + 1 for row in rows), default=0))
        for row in rows:
            self._change_row(row.id, row)
        self._columns.put(rows)

    def drop_rows(self, ids: Sequence[int]) -> None:
        """Remove rows; their ids are not used again."""
        for nucleus_id in ids:
            self._change_row(nucleus_id, None)
        self._columns.drop(ids)

    def put_classes(
        self,
        ids: Sequence[int],
        class_ids: Sequence[int],
        class_prob: Sequence[tuple[float, ...]],
    ) -> None:
        """Give rows that exist another class and other probabilities; the rest stays."""
        new = zip(self.rows(ids), class_ids, class_prob, strict=True)
        self.put_rows([replace(row, class_id=c, class_prob=p) for row, c, p in new])

    def _change_row(self, nucleus_id: int, row: NucleusRow | None) -> None:
        self._on_rollback(self._set_row, nucleus_id, self._rows.get(nucleus_id))
        self._set_row(nucleus_id, row)

    def _set_row(self, nucleus_id: int, row: NucleusRow | None) -> None:
        old = self._rows.pop(nucleus_id, None)
        if old is not None:
            self._grid.discard(nucleus_id, old.box)
            self._classes[old.class_id] -= 1
            self._untouched -= not old.touched
        if row is not None:
            self._rows[nucleus_id] = row
            self._grid.add(nucleus_id, row.box)
            self._classes[row.class_id] += 1
            self._untouched += not row.touched

    def ids(self) -> NDArray[np.int64]:
        """Return all ids, ascending."""
        return np.sort(np.fromiter(self._rows, np.int64, len(self._rows)))

    @property
    def columns(self) -> RowColumns:
        """What the nuclei are sorted and filtered by."""
        return self._columns

    def _column_entries(self, after: int, limit: int) -> list[Entry]:
        ids = self.ids()
        first = int(np.searchsorted(ids, after, side="right"))
        rows = self.rows(ids[first : first + limit].tolist())
        return [(row.id, row.class_id, row.score, row.area, row.state) for row in rows]

    def ids_in(self, box: Box) -> list[int]:
        """Return the ids of nuclei whose boxes meet ``box``, ascending."""
        y0, x0, y1, x1 = box
        found = []
        for nucleus_id in self._grid.near(box):
            a, b, c, d = self._rows[nucleus_id].box
            if a < y1 and c > y0 and b < x1 and d > x0:
                found.append(nucleus_id)
        return sorted(found)

    def count(self) -> int:
        """Return the number of nuclei."""
        return len(self._rows)

    def class_ids(self, box: Box | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return ids, ascending, and class ids of the nuclei whose boxes meet a box; of all."""
        ids = self.ids() if box is None else np.array(self.ids_in(box), np.int64)
        return ids, np.array([self._rows[int(i)].class_id for i in ids], np.int64)

    def class_counts(self) -> dict[int, int]:
        """Return the number of nuclei of each class id that has any."""
        return {class_id: n for class_id, n in sorted(self._classes.items()) if n}

    def memory(self, nucleus_id: int) -> ClickMemory | None:
        """Return a nucleus's click memory, or None."""
        return self._memories.get(nucleus_id)

    def memories(self, ids: Sequence[int]) -> dict[int, ClickMemory]:
        """Return the click memories of those of these nuclei that have one."""
        return {i: self._memories[i] for i in ids if i in self._memories}

    def put_memories(self, memories: Mapping[int, ClickMemory | None]) -> None:
        """Set click memories; None forgets."""
        for nucleus_id, memory in memories.items():
            self._put(self._memories, nucleus_id, memory)

    def _put(self, kept: dict[Any, Any], key: object, value: object) -> None:
        """Set an entry, or forget it for None, with its way back."""
        self._on_rollback(_set, kept, key, kept.get(key))
        _set(kept, key, value)

    # ---- regions

    def regions(self) -> tuple[Region, ...]:
        """Return all regions in the order of their ids; the same tuple until one changes."""
        return self._regions

    def put_regions(self, regions: Mapping[int, Region | None]) -> None:
        """Set regions; None takes away."""
        self._on_rollback(setattr, self, "_regions", self._regions)
        kept = {region.id: region for region in self._regions} | dict(regions)
        self._regions = tuple(kept[i] for i in sorted(kept) if kept[i] is not None)  # type: ignore[misc]

    # ---- facts

    def fact(self, key: str) -> str | None:
        """Return what was put under a key, or None."""
        return self._facts.get(key)

    def put_fact(self, key: str, value: str) -> None:
        """Put a text under a key."""
        self._put(self._facts, key, value)

    # ---- journal

    def add_action(self, name: str) -> int:
        """Begin a new action after the last one that is done; forget all undone ones."""
        self._last_action_id += 1
        self._replace_tail(self._done, [_Action(self._last_action_id, name)], self._done + 1)
        return self._last_action_id

    def add_edit(self, action_id: int, edit: Edit) -> None:
        """Note one more edit of an action."""
        action = self._actions[self._index(action_id)]
        self._on_rollback(action.edits.pop)
        action.edits.append(edit)

    def edits_of(self, action_id: int) -> Sequence[Edit]:
        """Return the edits of an action in the order they were made."""
        return tuple(self._actions[self._index(action_id)].edits)

    def rewrite_action(self, action_id: int, name: str, edits: Sequence[Edit]) -> None:
        """Give the last action done another name and other edits; forget all undone ones."""
        self._check_turn(action_id, self.last_done())
        self._replace_tail(self._done - 1, [_Action(action_id, name, list(edits))], self._done)

    def drop_action(self, action_id: int) -> None:
        """Forget an action."""
        index = self._index(action_id)
        done = self._done - (index < self._done)
        self._replace_tail(index, self._actions[index + 1 :], done)

    def mark_undone(self, action_id: int) -> None:
        """Note that the last action done is undone."""
        self._check_turn(action_id, self.last_done())
        self._replace_tail(len(self._actions), [], self._done - 1)

    def mark_done(self, action_id: int) -> None:
        """Note that the first action undone is done again."""
        self._check_turn(action_id, self.first_undone())
        self._replace_tail(len(self._actions), [], self._done + 1)

    def last_done(self) -> ActionEntry | None:
        """Return the action that undo takes back."""
        return self._actions[self._done - 1].entry if self._done else None

    def first_undone(self) -> ActionEntry | None:
        """Return the action that redo brings back."""
        return self._actions[self._done].entry if self._done < len(self._actions) else None

    def actions_after(self, action_id: int) -> Sequence[ActionEntry]:
        """Return the actions begun after this one, done or undone."""
        return [action.entry for action in self._actions[self._index(action_id) + 1 :]]

    def _index(self, action_id: int) -> int:
        # The newest are asked for by far the most.
        for index in range(len(self._actions) - 1, -1, -1):
            if self._actions[index].id == action_id:
                return index
        raise KeyError(f"no action {action_id} in the journal")

    def _check_turn(self, action_id: int, entry: ActionEntry | None) -> None:
        if entry is None or entry.id != action_id:
            raise ValueError(f"action {action_id} is not next, {entry} is")

    def _replace_tail(self, start: int, tail: Iterable[_Action], done: int) -> None:
        """Put ``tail`` in the place of the actions from ``start`` on; ``done`` of all are done."""
        self._on_rollback(self._set_tail, start, self._actions[start:], self._done)
        self._set_tail(start, tail, done)

    def _set_tail(self, start: int, tail: Iterable[_Action], done: int) -> None:
        self._actions[start:] = tail
        self._done = done


def _set(kept: dict[Any, Any], key: object, value: object) -> None:
    if value is None:
        kept.pop(key, None)
    else:
        kept[key] = value
