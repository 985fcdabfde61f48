"""Edits: what changed, small enough to keep for ever, and its own inverse.

An edit is a set of `Patch` (these pixels went from nucleus a to nucleus b), of `NucleusChange`
(row and click memory before and after) and of `RegionChange` (a region before and after). Its size
follows what changed, never the image. Edits know nothing of what the user meant (`actions`) and how
they are kept (`store`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.core.geometry import Box, box_area, box_union
from napari_nucleus.session.grid import TILE_SIZE
from napari_nucleus.session.provenance import MadeBy, note_model
from napari_nucleus.session.recoding import Recoding, apply_recoding
from napari_nucleus.session.regions import Region
from napari_nucleus.session.table import ClickMemory, NucleusRow

if TYPE_CHECKING:
    from napari_nucleus.session.store import Store

__all__ = [
    "Edit",
    "NucleusChange",
    "Patch",
    "RegionChange",
    "Touched",
    "apply_edit",
    "patches_between",
]


@dataclass(frozen=True, slots=True)
class Patch:
    """Pixels that went from one nucleus to another.

    Parameters
    ----------
    box
        Pixel box ``(y0, x0, y1, x1)`` of the mask.
    bits
        The mask over the box, row by row, packed with `numpy.packbits`.
    before, after
        Label of all these pixels before and after; 0 is background.
    """

    box: Box
    bits: bytes
    before: int
    after: int

    @classmethod
    def of(cls, box: Box, mask: NDArray[np.bool_], before: int, after: int) -> Patch:
        """Return the patch of a ``(h, w)`` bool mask at ``box``."""
        return cls(box, np.packbits(mask).tobytes(), before, after)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The pixels, ``(h, w)`` bool."""
        y0, x0, y1, x1 = self.box
        bits = np.frombuffer(self.bits, np.uint8)
        flat = np.unpackbits(bits, count=(y1 - y0) * (x1 - x0))
        return flat.view(np.bool_).reshape(y1 - y0, x1 - x0)

    def inverse(self) -> Patch:
        """Return the patch that gives the pixels back."""
        return Patch(self.box, self.bits, self.after, self.before)


@dataclass(frozen=True, slots=True)
class NucleusChange:
    """A nucleus's row and click memory before and after; None where there was or is none."""

    row_before: NucleusRow | None
    row_after: NucleusRow | None
    memory_before: ClickMemory | None = None
    memory_after: ClickMemory | None = None

    def __post_init__(self) -> None:
        if self.row_before is None and self.row_after is None:
            raise ValueError("a change needs a row before or after")

    @property
    def id(self) -> int:
        """Id of the nucleus."""
        row = self.row_after or self.row_before
        assert row is not None
        return row.id

    def inverse(self) -> NucleusChange:
        """Return the change back."""
        return NucleusChange(self.row_after, self.row_before, self.memory_after, self.memory_before)


@dataclass(frozen=True, slots=True)
class RegionChange:
    """A region before and after; None where there was or is none."""

    before: Region | None
    after: Region | None

    def __post_init__(self) -> None:
        if self.before is None and self.after is None:
            raise ValueError("a change needs a region before or after")

    @property
    def id(self) -> int:
        """Id of the region."""
        region = self.after or self.before
        assert region is not None
        return region.id

    def inverse(self) -> RegionChange:
        """Return the change back."""
        return RegionChange(self.after, self.before)


@dataclass(frozen=True, slots=True)
class Edit:
    """One invertible change of the document.

    Patches of one edit share no pixel, so their order does not matter. A ``recoding`` comes with
    another class scheme; ``made_by`` is the model that found what the edit brings.
    """

    patches: tuple[Patch, ...] = ()
    changes: tuple[NucleusChange, ...] = ()
    regions: tuple[RegionChange, ...] = ()
    recoding: Recoding | None = None
    made_by: MadeBy | None = None

    def __bool__(self) -> bool:
        return bool(self.patches or self.changes or self.regions or self.recoding is not None)

    @property
    def box(self) -> Box | None:
        """Smallest box that holds all nuclei that changed; None if none did."""
        union: Box | None = None
        for box in _boxes(self):
            union = box if union is None else box_union(union, box)
        return union

    def inverse(self) -> Edit:
        """Return the edit that undoes this one to the last bit."""
        return Edit(
            tuple(p.inverse() for p in self.patches),
            tuple(c.inverse() for c in self.changes),
            tuple(r.inverse() for r in self.regions),
            None if self.recoding is None else self.recoding.inverse(),
            self.made_by,
        )


def patches_between(
    box: Box, before: NDArray[np.int32], after: NDArray[np.int32]
) -> tuple[Patch, ...]:
    """Return the patches that turn the labels ``before`` at ``box`` into ``after``.

    One patch for each pair of labels that pixels went between, cropped to its pixels.
    """
    rows, cols = np.nonzero(before != after)
    if not len(rows):
        return ()
    old, new = before[rows, cols], after[rows, cols]
    pairs, which = np.unique(np.stack([old, new]), axis=1, return_inverse=True)
    which = which.reshape(-1)
    patches = []
    for i, (a, b) in enumerate(pairs.T):
        r, c = rows[which == i], cols[which == i]
        y0, x0, y1, x1 = int(r.min()), int(c.min()), int(r.max()) + 1, int(c.max()) + 1
        mask = np.zeros((y1 - y0, x1 - x0), np.bool_)
        mask[r - y0, c - x0] = True
        place = (box[0] + y0, box[1] + x0, box[0] + y1, box[1] + x1)
        patches.append(Patch.of(place, mask, int(a), int(b)))
    return tuple(patches)


def apply_edit(store: Store, edit: Edit) -> None:
    """Write an edit into a store, inside the store's open transaction.

    Raises
    ------
    ValueError
        If the pixels are not what the edit says they were: it belongs to another state of the
        document. The transaction then takes back what was written.
    """
    groups: dict[tuple[int, int], list[Patch]] = {}
    for patch in edit.patches:
        cell = (patch.box[0] // TILE_SIZE, patch.box[1] // TILE_SIZE)
        groups.setdefault(cell, []).append(patch)
    for group in groups.values():
        _apply_patches(store, group)
    store.put_rows([c.row_after for c in edit.changes if c.row_after is not None])
    store.drop_rows([c.id for c in edit.changes if c.row_after is None])
    memories = {c.id: c.memory_after for c in edit.changes if c.memory_after is not c.memory_before}
    if memories:
        store.put_memories(memories)
    if edit.recoding is not None:
        apply_recoding(store, edit.recoding)
    if edit.made_by is not None:
        note_model(store, edit.made_by)
    if edit.regions:
        store.put_regions({change.id: change.after for change in edit.regions})


def _apply_patches(store: Store, patches: Sequence[Patch]) -> None:
    """Read the surroundings of neighbouring patches once, change them, write them once."""
    y0 = min(p.box[0] for p in patches)
    x0 = min(p.box[1] for p in patches)
    box = (y0, x0, max(p.box[2] for p in patches), max(p.box[3] for p in patches))
    labels = store.read_labels(box)
    for patch in patches:
        a, b, c, d = patch.box
        part, mask = labels[a - y0 : c - y0, b - x0 : d - x0], patch.mask
        if (part[mask] != patch.before).any():
            raise ValueError(
                f"an edit at {patch.box} expects nucleus {patch.before} there, the document differs"
            )
        part[mask] = patch.after
    store.write_labels(box, labels)


class Touched:
    """What a series of edits changed, and where; holds boxes, never the edits.

    Attributes
    ----------
    kinds
        Some of ``"labels"`` (pixels), ``"classes"`` (the class of a nucleus, or the number of
        nuclei of a class) and ``"table"`` (rows).
    regions
        True if regions changed; they lie in no box, for what shows nuclei does not show them.
    scheme
        The class scheme that holds from now on; None if it is as it was.
    """

    def __init__(self) -> None:
        self.kinds: set[str] = set()
        self.regions = False
        self.scheme: ClassScheme | None = None
        self._groups: dict[tuple[int, int], Box] = {}

    @classmethod
    def of(cls, edits: Iterable[Edit]) -> Touched:
        """Return what these edits changed."""
        touched = cls()
        for edit in edits:
            touched.add(edit)
        return touched

    def add(self, edit: Edit) -> None:
        """Take one more edit into account."""
        if edit.patches:
            self.kinds.add("labels")
        if edit.changes:
            self.kinds.add("table")
        if any(_changes_class(change) for change in edit.changes):
            self.kinds.add("classes")
        if edit.regions:
            self.regions = True
        if edit.recoding is not None:
            self.scheme = edit.recoding.after.scheme
            if len(edit.recoding.ids):
                self.kinds |= {"table", "classes"}
        for box in _boxes(edit):
            cell = (box[0] // TILE_SIZE, box[1] // TILE_SIZE)
            known = self._groups.get(cell)
            self._groups[cell] = box if known is None else box_union(known, box)

    def areas(self) -> list[Box]:
        """Return boxes that together hold all that changed, without much that did not.

        One box when the changes lie together, else one for each tile they begin in: two nuclei at
        opposite corners of a slide must not redraw the slide.
        """
        boxes = list(self._groups.values())
        if not boxes:
            return []
        union = reduce(box_union, boxes)
        return [union] if box_area(union) <= 2 * sum(map(box_area, boxes)) else boxes


def _changes_class(change: NucleusChange) -> bool:
    old, new = change.row_before, change.row_after
    return old is None or new is None or old.class_id != new.class_id


def _boxes(edit: Edit) -> Iterable[Box]:
    if edit.recoding is not None and edit.recoding.box is not None:
        yield edit.recoding.box
    for patch in edit.patches:
        yield patch.box
    for change in edit.changes:
        for row in (change.row_before, change.row_after):
            if row is not None:
                yield row.box
