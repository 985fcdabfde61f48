"""How a batch of nuclei enters a document that already has some: the policy, in one place.

- New nuclei take background only; no pixel of a nucleus that stays is changed.
- A new nucleus of which less than `KEPT_SHARE` would remain is left out: it is another view of
  what is there already. Otherwise its largest remaining part enters.
- Within a batch the better score goes first.
- A run replaces nuclei that are automatic, untouched and older than the run, if their centroid
  lies in the core of the tile or if a new nucleus covers most of them (the same nucleus, seen
  from the other side of a seam).
- A run leaves nuclei alone whose centroid lies off its ground (`regions.Ground`).
- A new nucleus notes how far it agrees with what another model had found in its place, by outline
  and class (`agreement`).
- Pixels and nuclei that the user worked on since the run began are left as they are, even where
  that work was undone, so that the user's steps can be undone and redone on their own.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.core.geometry import Box, box_area, box_intersection, box_union, clip_box
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.schemes import mapped_probabilities
from napari_nucleus.errors import LabelsError
from napari_nucleus.session.agreement import agreement, differ
from napari_nucleus.session.edits import Edit, NucleusChange, Patch
from napari_nucleus.session.masks import TightMask, largest_part, place_mask, tight_mask
from napari_nucleus.session.regions import Ground
from napari_nucleus.session.store import Store
from napari_nucleus.session.table import NucleusRow, NucleusState, remember

__all__ = ["KEPT_SHARE", "Placed", "Replacement", "Reserved", "in_scheme", "place_nuclei"]

KEPT_SHARE = 0.5
"""Share of a new nucleus that must remain after neighbours have kept their pixels."""

COVERED_SHARE = 0.5
"""Share of an old nucleus above which a new one that covers it is taken for the same nucleus."""


@dataclass(frozen=True)
class Placed:
    """What became of a batch.

    Parameters
    ----------
    edit
        The edit that enters it.
    ids
        Ids of the new nuclei.
    replaced
        Ids of the nuclei that they replace.
    trimmed_px, trimmed_by
        Pixels that nuclei which entered left to others, and the ids of those.
    left_out
        Number of nuclei that did not enter, because others hold their place.
    outside
        Number of nuclei that did not enter, because they lie outside the image.
    """

    edit: Edit = field(default_factory=Edit)
    ids: tuple[int, ...] = ()
    replaced: tuple[int, ...] = ()
    trimmed_px: int = 0
    trimmed_by: frozenset[int] = frozenset()
    left_out: int = 0
    outside: int = 0


class Reserved:
    """Pixels and nuclei of the steps begun after an action, which that action must leave alone."""

    def __init__(self, store: Store, action_id: int) -> None:
        later = [store.edits_of(entry.id) for entry in store.actions_after(action_id)]
        self._patches = [p for edits in later for edit in edits for p in edit.patches]
        self.ids = {c.id for edits in later for edit in edits for c in edit.changes}

    def pixels(self, window: Box) -> NDArray[np.bool_]:
        """Return the reserved pixels of a window, ``(h, w)`` bool."""
        out = np.zeros((window[2] - window[0], window[3] - window[1]), np.bool_)
        for patch in self._patches:
            if box_intersection(patch.box, window) is not None:
                out |= place_mask(patch.mask, patch.box, window)
        return out


def in_scheme(
    nuclei: Nuclei, scheme: ClassScheme, source: ClassScheme | None = None
) -> tuple[NDArray[np.int32], Nuclei]:
    """Return the class id ``(n,)`` of each nucleus in a document's scheme, and the batch in it.

    Parameters
    ----------
    nuclei
        The batch; without class columns its ids are 0.
    scheme
        The document's.
    source
        The scheme of the batch's columns, such as a model's; by default the document's. Classes go
        from one to the other by the rule of `core.schemes`.

    Raises
    ------
    LabelsError
        If the batch has another number of classes than its scheme.
    """
    columns = nuclei.class_prob.shape[1]
    if columns == 0:
        return np.zeros(len(nuclei), np.int32), nuclei
    whose, source = ("its model", source) if source else ("this document", scheme)
    if columns != len(source):
        raise LabelsError(
            f"{nuclei.source or 'import'}: {columns} class columns, but the scheme "
            f"{source.name!r} of {whose} has {len(source)}; nothing was added. "
            "Map the classes by name first."
        )
    class_ids, class_prob = mapped_probabilities(nuclei.class_prob, source, scheme)
    return class_ids, replace(nuclei, class_prob=class_prob)


@dataclass(frozen=True, slots=True)
class Replacement:
    """What a tile of a run may replace.

    Parameters
    ----------
    core
        The part of the tile whose nuclei it owns, level-0 pixels.
    first_id
        First id that was free when the run began; nuclei from it on belong to the run.
    ground
        Where the run may work.
    """

    core: Box
    first_id: int
    ground: Ground = field(default_factory=Ground)

    def owns(self, row: NucleusRow) -> bool:
        """Return True if a nucleus's centroid lies in the core."""
        (y, x), (y0, x0, y1, x1) = row.centroid_yx, self.core
        return y0 <= y < y1 and x0 <= x < x1

    def reaches(self, rows: Sequence[NucleusRow]) -> list[NucleusRow]:
        """Return those of these nuclei that may be replaced: automatic ones on the ground."""
        rows = [row for row in rows if row.state is NucleusState.AUTOMATIC]
        held = self.ground.holds(np.array([row.centroid_yx for row in rows]).reshape(-1, 2))
        return [row for row, on_it in zip(rows, held.tolist(), strict=True) if on_it]


def place_nuclei(
    store: Store,
    nuclei: Nuclei,
    ids: Sequence[int],
    class_ids: NDArray[np.int32],
    state: NucleusState,
    reserved: Reserved | None = None,
    replacement: Replacement | None = None,
    alike: Collection[int] = (),
) -> Placed:
    """Return what becomes of a batch of nuclei that lie close together; changes nothing.

    Parameters
    ----------
    nuclei
        The batch, in level-0 pixels.
    ids, class_ids
        Id and class id for each.
    state
        State of their rows.
    reserved
        What must be left as it is.
    replacement
        What may be replaced; nothing by default.
    alike
        Class ids of which one does not contradict the other, see `agreement.differ`.
    """
    canvas = _canvas(store, nuclei, reserved, replacement)
    if canvas is None:
        return Placed(outside=len(nuclei))
    patches: list[Patch] = []
    changes: list[NucleusChange] = []
    entered: list[int] = []
    trimmed_px, trimmed_by, left_out, outside = 0, set[int](), 0, 0
    source = nuclei.source or str(state)
    others = _Others(canvas, source, alike)
    for i in np.argsort(-nuclei.score, kind="stable").tolist():
        box = clip_box(nuclei.boxes[i], store.shape)
        mask = nuclei.masks[i]
        if mask.shape != (box[2] - box[0], box[3] - box[1]):
            mask = place_mask(mask, tuple(nuclei.boxes[i].tolist()), box)
        wanted = int(np.count_nonzero(mask))
        if not wanted:
            outside += 1
            continue
        room = canvas.room_for(mask, box)
        if room.shape is None or room.shape.area < KEPT_SHARE * wanted:
            left_out += 1
            continue
        for row in room.covered:
            canvas.drop(row)
        patches += canvas.paint(room.shape, ids[i])
        trimmed_px += wanted - room.shape.area
        trimmed_by |= room.holders
        entered.append(ids[i])
        row = NucleusRow(
            ids[i],
            room.shape.box,
            room.shape.area,
            room.shape.centroid_yx,
            int(class_ids[i]),
            tuple(nuclei.class_prob[i].tolist()),
            float(nuclei.score[i]),
            state=state,
            source=source,
            agreement=others.agreement(room.shape, int(class_ids[i])),
        )
        changes.append(NucleusChange(None, row, None, remember(None, nuclei.logits[i])))
    for row in canvas.dropped:
        patches += canvas.removal(row)
        changes.append(NucleusChange(row, None, store.memory(row.id), None))
    return Placed(
        Edit(tuple(patches), tuple(changes)),
        tuple(entered),
        tuple(row.id for row in canvas.dropped),
        trimmed_px,
        frozenset(trimmed_by),
        left_out,
        outside,
    )


def _canvas(
    store: Store, nuclei: Nuclei, reserved: Reserved | None, replacement: Replacement | None
) -> _Canvas | None:
    """Return the canvas for a batch, from which the tile's own old nuclei are dropped already."""
    window: Box | None = None
    if len(nuclei):
        low, high = nuclei.boxes[:, :2].min(axis=0), nuclei.boxes[:, 2:].max(axis=0)
        window = clip_box((*low, *high), store.shape)
        if not box_area(window):
            window = None
    old: dict[int, NucleusRow] = {}
    if replacement is not None:
        core = clip_box(replacement.core, store.shape)
        near = set(store.ids_in(core)) | set(store.ids_in(window) if window else ())
        spared = reserved.ids if reserved else set()
        rows = store.rows([i for i in sorted(near - spared) if i < replacement.first_id])
        for row in replacement.reaches(rows):
            if replacement.owns(row) or (window and box_intersection(row.box, window)):
                old[row.id] = row
    for row in old.values():
        window = row.box if window is None else box_union(window, row.box)
    if window is None:
        return None
    labels = store.read_labels(window)
    taken = labels != 0
    if reserved is not None:
        taken |= reserved.pixels(window)
    before = labels.copy() if old else labels
    canvas = _Canvas(window, before, labels, taken, old)
    for row in list(old.values()):
        if replacement is not None and replacement.owns(row):
            canvas.drop(row)
    return canvas


class _Others:
    """What other models had found where a batch goes, to be compared with."""

    def __init__(self, canvas: _Canvas, source: str, alike: Collection[int]) -> None:
        rows = [*canvas.dropped, *canvas.old.values()]
        self._canvas, self._alike = canvas, alike
        self._theirs = {row.id: row for row in rows if row.source != source}
        # They are taken to have looked where they found something, and between that.
        boxes = [row.box for row in self._theirs.values()]
        self._seen = reduce(box_union, boxes) if boxes else None
        self._known = {row.id: row for row in rows if row.source == source}

    def agreement(self, shape: TightMask, class_id: int) -> float | None:
        """Return the agreement on a nucleus with another model; None if none has looked."""
        ids, counts = self._canvas.held_before(shape)
        best, their_class = 0.0, 0
        for nucleus_id, common in zip(ids, counts, strict=True):
            theirs = self._theirs.get(nucleus_id)
            if theirs is not None:
                iou = common / (shape.area + theirs.area - common)
                if iou > best:
                    best, their_class = iou, theirs.class_id
            elif nucleus_id in self._known and 2 * common > shape.area:
                # The same model again: what was known of this nucleus stays.
                return self._known[nucleus_id].agreement
        if best:
            return agreement(best, differ(class_id, their_class, self._alike))
        y, x = shape.centroid_yx
        inside = self._seen is not None and (
            self._seen[0] <= y < self._seen[2] and self._seen[1] <= x < self._seen[3]
        )
        return 0.0 if inside else None


@dataclass(frozen=True, slots=True, eq=False)
class _Room:
    """What others leave of a new nucleus, the old ones it may replace, and who holds the rest."""

    shape: TightMask | None
    covered: tuple[NucleusRow, ...] = ()
    holders: frozenset[int] = frozenset()


@dataclass(slots=True, eq=False)
class _Canvas:
    """The labels of a window while nuclei are placed in it.

    ``before`` is as the document has it (needed only if nuclei may be replaced), ``after`` as it
    will be, ``taken`` where nothing may go; ``old`` are the nuclei that may be replaced,
    ``dropped`` those that are.
    """

    window: Box
    before: NDArray[np.int32]
    after: NDArray[np.int32]
    taken: NDArray[np.bool_]
    old: dict[int, NucleusRow]
    dropped: list[NucleusRow] = field(default_factory=list)

    def room_for(self, mask: NDArray[np.bool_], box: Box) -> _Room:
        """Return where a new nucleus could go."""
        place = self._at(box)
        held = mask & self.taken[place]
        if not np.count_nonzero(held):
            return _Room(tight_mask(mask, box))
        labels = self.after[place]
        holders, counts = np.unique(labels[held], return_counts=True)
        covered = tuple(
            self.old[i]
            for i, n in zip(holders.tolist(), counts.tolist(), strict=True)
            if i in self.old and n > COVERED_SHARE * self.old[i].area
        )
        if covered:
            held &= ~np.isin(labels, [row.id for row in covered])
        return _Room(
            tight_mask(largest_part(mask & ~held), box),
            covered,
            frozenset(holders.tolist()) - {row.id for row in covered} - {0},
        )

    def held_before(self, shape: TightMask) -> tuple[list[int], list[int]]:
        """Return which nuclei held pixels of a shape before, and how many each."""
        if self.before is self.after:
            return [], []
        held = self.before[self._at(shape.box)][shape.mask]
        ids, counts = np.unique(held[held > 0], return_counts=True)
        return ids.tolist(), counts.tolist()

    def drop(self, row: NucleusRow) -> None:
        """Take an old nucleus out."""
        place = self._at(row.box)
        own = self.after[place] == row.id
        self.after[place][own] = 0
        self.taken[place][own] = False
        del self.old[row.id]
        self.dropped.append(row)

    def paint(self, shape: TightMask, nucleus_id: int) -> list[Patch]:
        """Enter a nucleus; return its patch of former background."""
        place = self._at(shape.box)
        self.after[place][shape.mask] = nucleus_id
        self.taken[place][shape.mask] = True
        fresh = shape.mask
        if self.dropped:
            fresh = fresh & (self.before[place] == 0)
            if not fresh.any():
                return []
        return [Patch.of(shape.box, fresh, 0, nucleus_id)]

    def removal(self, row: NucleusRow) -> list[Patch]:
        """Return the patches of a dropped nucleus: to background and to each new nucleus."""
        place = self._at(row.box)
        own, new = self.before[place] == row.id, self.after[place]
        values = np.unique(new[own]).tolist()
        return [Patch.of(row.box, own & (new == value), row.id, value) for value in values]

    def _at(self, box: Box) -> tuple[slice, slice]:
        y0, x0 = self.window[0], self.window[1]
        return slice(box[0] - y0, box[2] - y0), slice(box[1] - x0, box[3] - x0)
