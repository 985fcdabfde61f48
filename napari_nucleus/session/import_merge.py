"""Which nuclei of a file are nuclei of the document, and what becomes of those.

Two are the same nucleus if they share at least half of the pixels that they cover together; then
no other can be either. One that the user made, changed or accepted stays as it is, any other takes
the file's outline. It takes no pixel of a nucleus that stays; where too little would be left of the
outline, it stays as well. Outlines of one file that share pixels are parted before the document is
looked at: what each takes then depends on no order, and the same file again changes nothing.

The edits come in two rounds: first nuclei give pixels up, then they take pixels and get their rows.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.geometry import Box, box_union, grouped_by_cell
from napari_nucleus.session.document import Document
from napari_nucleus.session.edits import Edit, NucleusChange, Patch
from napari_nucleus.session.grid import TILE_SIZE
from napari_nucleus.session.import_batch import Incoming, batches_of, parted_in_steps
from napari_nucleus.session.masks import TightMask, largest_part, place_mask, tight_mask
from napari_nucleus.session.placement import KEPT_SHARE
from napari_nucleus.session.table import NucleusRow, NucleusState

__all__ = ["Merge", "merge_in_steps"]

SAME_SCORE = 1e-3
"""Scores that differ by less are the same: formats round them."""

ROWS_AT_ONCE = 250


@dataclass(eq=False)
class Merge:
    """The nuclei that a document and a file have in common; made by `merge_in_steps`.

    Attributes
    ----------
    takers
        Position in the batch of the outline that each nucleus takes, by its id.
    kept
        Nuclei of the user's that the file has as well.
    without_room
        Nuclei that would have taken an outline of which others hold too much.
    only_there
        ``(m,)`` positions of nuclei that the document does not have.
    changed
        Nuclei that are others than before; filled by `edits`.
    """

    document: Document
    incoming: Incoming
    takers: dict[int, int]
    kept: tuple[int, ...]
    without_room: tuple[int, ...]
    only_there: NDArray[np.int64]
    changed: list[int] = field(default_factory=list)

    def edits(self) -> Iterator[Edit]:
        """Yield the edits, some empty; each must be made before the next is asked for."""
        ids = np.array(list(self.takers), np.int64)
        rows = np.array(list(self.takers.values()), np.int64)
        batches = list(grouped_by_cell(self.incoming.nuclei.boxes[rows], TILE_SIZE))
        for make in (self._giving_up, self._taking):
            for batch in batches:
                yield make(ids[batch].tolist(), rows[batch].tolist())

    def _giving_up(self, ids: list[int], of_batch: list[int]) -> Edit:
        """Return the pixels that nuclei have and will not have."""
        patches = []
        for row, i in zip(self.document.store.rows(ids), of_batch, strict=True):
            window, own, wanted = self._seen(row, i)
            lost = own & ~wanted
            if lost.any():
                patches.append(Patch.of(window, lost, row.id, 0))
        return Edit(tuple(patches))

    def _taking(self, ids: list[int], of_batch: list[int]) -> Edit:
        """Return the pixels that nuclei take, and their rows."""
        patches, changes = [], []
        store = self.document.store
        memories = store.memories(ids)
        for row, i in zip(store.rows(ids), of_batch, strict=True):
            window, own, wanted = self._seen(row, i)
            gained = wanted & ~own
            shape = tight_mask(wanted, window)
            assert shape is not None
            reshaped = bool(gained.any()) or shape.area != row.area
            new = self._row(row, i, shape, reshaped)
            if new is row:
                continue
            if gained.any():
                patches.append(Patch.of(window, gained, 0, row.id))
            memory = memories.get(row.id)
            changes.append(NucleusChange(row, new, memory, None if reshaped else memory))
            self.changed.append(row.id)
        return Edit(tuple(patches), tuple(changes))

    def _seen(self, row: NucleusRow, i: int) -> tuple[Box, NDArray[np.bool_], NDArray[np.bool_]]:
        """Return a window, the pixels there that a nucleus has now, and those that it will have."""
        nuclei = self.incoming.nuclei
        window = box_union(row.box, nuclei.boxes[i])
        labels = self.document.store.read_labels(window)
        mask = place_mask(nuclei.masks[i], tuple(nuclei.boxes[i].tolist()), window)
        return window, labels == row.id, _room(mask, labels, self.takers)

    def _row(self, row: NucleusRow, i: int, shape: TightMask, reshaped: bool) -> NucleusRow:
        """Return the row with what the file states; the same object where nothing is other."""
        score = float(self.incoming.scores[i])
        if np.isnan(score) or abs(score - row.score) < SAME_SCORE:
            score = row.score
        class_id = int(self.incoming.class_ids[i]) or row.class_id
        reclassed = class_id != row.class_id
        if not (reshaped or reclassed or score != row.score):
            return row
        return replace(
            row,
            box=shape.box,
            area=shape.area,
            centroid_yx=shape.centroid_yx,
            class_id=class_id,
            class_prob=() if reclassed else row.class_prob,
            score=score,
            iou=None if reshaped else row.iou,
            state=NucleusState.IMPORTED,
            source=self.incoming.nuclei.source or str(NucleusState.IMPORTED),
            agreement=None if reshaped or reclassed else row.agreement,
        )


def merge_in_steps(
    document: Document, incoming: Incoming, same_iou: float
) -> Generator[None, None, Merge]:
    """Find out what a merge does, changing nothing; pauses now and then.

    Parameters
    ----------
    document
        It must not be changed until the merge's edits are made.
    incoming
        Nuclei of a file; they may overlap, those of the result do not.
    same_iou
        IoU from which two are the same nucleus, at least 0.5.
    """
    incoming = yield from parted_in_steps(incoming)
    overlaps = yield from _overlaps(document, incoming)
    known, areas, touched = yield from _known(document, np.unique(overlaps.ids))
    place = np.searchsorted(known, overlaps.ids)
    covered = overlaps.areas + areas[place] - overlaps.common
    pairs = _matched(overlaps, overlaps.common / covered, same_iou)
    taking = ~touched[place[pairs]]
    ours, theirs = overlaps.ids[pairs], overlaps.index[pairs]
    takers = dict(zip(ours[taking].tolist(), theirs[taking].tolist(), strict=True))
    without_room = yield from _drop_without_room(document, incoming, overlaps, takers, same_iou)
    lone = np.ones(len(incoming), np.bool_)
    lone[theirs] = False
    return Merge(
        document,
        incoming,
        takers,
        tuple(sorted(ours[~taking].tolist())),
        without_room,
        np.flatnonzero(lone),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Overlaps:
    """Nuclei of a batch and of a document that share pixels.

    Position and area in the batch, id in the document and number of pixels, ``(k,)`` each.
    """

    index: NDArray[np.int64]
    areas: NDArray[np.int64]
    ids: NDArray[np.int64]
    common: NDArray[np.int64]


def _overlaps(document: Document, incoming: Incoming) -> Generator[None, None, _Overlaps]:
    nuclei = incoming.nuclei
    index, areas, ids, common = [], [], [], []
    for batch in batches_of(nuclei, TILE_SIZE):
        low, high = nuclei.boxes[batch, :2].min(axis=0), nuclei.boxes[batch, 2:].max(axis=0)
        y0, x0 = low.tolist()
        labels = document.labels((y0, x0, *high.tolist()))
        for i in batch.tolist() if labels.any() else ():
            a, b, c, d = nuclei.boxes[i].tolist()
            under = labels[a - y0 : c - y0, b - x0 : d - x0][nuclei.masks[i]]
            found, counts = np.unique(under[under > 0], return_counts=True)
            index += [i] * len(found)
            areas += [len(under)] * len(found)
            ids += found.tolist()
            common += counts.tolist()
        yield
    return _Overlaps(*(np.array(column, np.int64) for column in (index, areas, ids, common)))


def _known(
    document: Document, ids: NDArray[np.int64]
) -> Generator[None, None, tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]]:
    """Return ids, ascending, areas, and whether the user made, changed or accepted them."""
    areas, touched = [], []
    for begin in range(0, len(ids), ROWS_AT_ONCE):
        for row in document.rows(ids[begin : begin + ROWS_AT_ONCE].tolist()):
            areas.append(row.area)
            touched.append(row.touched)
        yield
    return ids, np.array(areas, np.int64), np.array(touched, np.bool_)


def _matched(overlaps: _Overlaps, iou: NDArray[np.float64], same_iou: float) -> NDArray[np.int64]:
    """Return the positions of overlaps that are pairs, the best first, each nucleus in one only."""
    fitting = np.flatnonzero(iou >= same_iou)
    order = np.lexsort((overlaps.ids[fitting], overlaps.index[fitting], -iou[fitting]))
    theirs, ours, pairs = set[int](), set[int](), []
    for k in fitting[order].tolist():
        i, nucleus_id = int(overlaps.index[k]), int(overlaps.ids[k])
        if i not in theirs and nucleus_id not in ours:
            theirs.add(i)
            ours.add(nucleus_id)
            pairs.append(k)
    return np.array(pairs, np.int64)


def _drop_without_room(
    document: Document,
    incoming: Incoming,
    overlaps: _Overlaps,
    takers: dict[int, int],
    same_iou: float,
) -> Generator[None, None, tuple[int, ...]]:
    """Take nuclei out of ``takers`` whose outline others hold too much of; return them.

    One that stays as it is may in turn be in the way of another: what is left is where no more go.
    """
    share = max(KEPT_SHARE, same_iou)
    holders: dict[int, list[int]] = {}
    for i, nucleus_id in zip(overlaps.index.tolist(), overlaps.ids.tolist(), strict=True):
        holders.setdefault(nucleus_id, []).append(i)
    taker_of = {i: nucleus_id for nucleus_id, i in takers.items()}
    waiting = [
        i for nucleus_id, found in holders.items() if nucleus_id not in takers for i in found
    ]
    gone = []
    while waiting:
        nucleus_id = taker_of.get(waiting.pop())
        if nucleus_id is None or nucleus_id not in takers:
            continue
        i = takers[nucleus_id]
        mask, box = incoming.nuclei.masks[i], tuple(incoming.nuclei.boxes[i].tolist())
        room = _room(mask, document.labels(box), takers)
        if np.count_nonzero(room) < share * np.count_nonzero(mask):
            del takers[nucleus_id]
            gone.append(nucleus_id)
            waiting += holders[nucleus_id]
        yield
    return tuple(sorted(gone))


def _room(
    mask: NDArray[np.bool_], labels: NDArray[np.int32], takers: dict[int, int]
) -> NDArray[np.bool_]:
    """Return what is left of an outline by nuclei that stay: its largest part if not all."""
    under = np.unique(labels[mask]).tolist()
    staying = [i for i in under if i and i not in takers]
    return largest_part(mask & ~np.isin(labels, staying)) if staying else mask
