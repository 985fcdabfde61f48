"""What another model finds where a document has nuclei already: how far the two agree.

Its nuclei come in tile by tile, as those of a run do, and change nothing. When all are there, each
nucleus of the document that lies wholly where the model has looked notes the agreement, all of them
as one undo step; nuclei that only the model found become `Proposals`. Signed-off and excluded
regions are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.geometry import Box, box_area, box_intersection, box_union, clip_box
from napari_nucleus.core.nuclei import Nuclei, counted
from napari_nucleus.session.agreement import SAME_IOU, agreement, differ
from napari_nucleus.session.document import Document
from napari_nucleus.session.edits import Edit, NucleusChange
from napari_nucleus.session.masks import place_mask
from napari_nucleus.session.outlines import ActionResult
from napari_nucleus.session.placement import KEPT_SHARE, in_scheme
from napari_nucleus.session.proposals import Proposals
from napari_nucleus.session.provenance import MadeBy
from napari_nucleus.session.regions import Ground, Polygons
from napari_nucleus.session.table import NucleusRow

__all__ = ["Comparison", "Tally"]

BATCH = 250
"""Nuclei that note their agreement at once."""

CLASSES = 256
"""More than any class id."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How two models agree, in numbers of nuclei.

    Parameters
    ----------
    same
        Found by both, with an IoU of at least `SAME_IOU` and no contradiction in their classes.
    other_class
        Found by both so, but of another class.
    other_outline
        Found by both, with a lower IoU.
    alone
        Not found by the other model.
    proposed
        Found by the other model only, and still to be decided on.
    """

    same: int
    other_class: int
    other_outline: int
    alone: int
    proposed: int


@dataclass(slots=True)
class _Seen:
    """A nucleus of the document beside the other model's: how much of its box was looked at."""

    row: NucleusRow
    looked_at: int = 0
    iou: float = 0.0
    their_class: int = 0


class Comparison:
    """A comparison of a document with another model.

    Parameters
    ----------
    document
        What is compared.
    made_by
        The other model.
    within
        Polygons to compare in; everywhere if there are none.
    alike
        Class ids that do not contradict each other, see `agreement.differ`.

    Attributes
    ----------
    made_by, alike
        As given.
    proposals
        What only it found; empty until `note_in_steps` has come to its end.
    """

    def __init__(
        self,
        document: Document,
        made_by: MadeBy,
        within: Polygons = (),
        alike: Collection[int] = (),
    ) -> None:
        self.made_by = made_by
        self.proposals = Proposals(document, Nuclei.empty(), made_by)
        self._document, self.alike = document, frozenset(alike)
        self.ground = Ground(within, document.regions)
        self._seen: dict[int, _Seen] = {}
        self._only_theirs: list[Nuclei] = []
        self._result = _Result.empty()

    def add_tile(self, core: Box, nuclei: Nuclei) -> None:
        """Take in what the other model found in a tile.

        Parameters
        ----------
        core
            The part of the image whose nuclei the tile owns, level-0 pixels; each part comes once.
        nuclei
            Nuclei that the tile owns, in level-0 pixels.
        """
        store, shape = self._document.store, self._document.shape
        core = clip_box(core, shape)
        window = core
        for box in nuclei.boxes.tolist():
            window = box_union(window, clip_box(box, shape))
        seen = {row.id: self._seen_of(row) for row in store.rows(store.ids_in(window))}
        for one in seen.values():
            common = box_intersection(one.row.box, core)
            one.looked_at += 0 if common is None else box_area(common)
        labels = store.read_labels(window)
        class_ids, _ = in_scheme(nuclei, self._document.scheme, self.made_by.classes)
        free = np.zeros(len(nuclei), np.bool_)
        for i in range(len(nuclei)):
            box = clip_box(nuclei.boxes[i], shape)
            mask = place_mask(nuclei.masks[i], tuple(nuclei.boxes[i].tolist()), box)
            area = int(np.count_nonzero(mask))
            y, x = box[0] - window[0], box[1] - window[1]
            held = labels[y : y + mask.shape[0], x : x + mask.shape[1]][mask]
            ids, counts = np.unique(held[held > 0], return_counts=True)
            free[i] = area - counts.sum() >= KEPT_SHARE * area > 0
            for nucleus_id, common in zip(ids.tolist(), counts.tolist(), strict=True):
                one = seen[nucleus_id]
                iou = common / (one.row.area + area - common)
                if iou > one.iou:
                    one.iou, one.their_class = iou, int(class_ids[i])
        if free.any():
            free &= self.ground.holds(nuclei.centroids_yx)
            self._only_theirs.append(nuclei.select(free))

    def _seen_of(self, row: NucleusRow) -> _Seen:
        """Return what is known of a nucleus; nothing, once it has changed its outline."""
        known = self._seen.get(row.id)
        if known is None:
            known = self._seen[row.id] = _Seen(row)
        elif (known.row.box, known.row.area) != (row.box, row.area):
            known.looked_at = -box_area(row.box)
        return known

    def note_in_steps(self) -> Generator[None, None, ActionResult]:
        """Let each compared nucleus note its agreement, as one undo step.

        Pauses after every `BATCH` nuclei; see `Document.commit_in_steps`.
        """
        compared = [one for one in self._seen.values() if one.looked_at == box_area(one.row.box)]
        centroids = np.array([one.row.centroid_yx for one in compared]).reshape(-1, 2)
        held = self.ground.holds(centroids)
        yield
        compared = [one for one, on_it in zip(compared, held.tolist(), strict=True) if on_it]
        compared.sort(key=lambda one: one.row.id)
        self._result = _Result.of(compared)
        self._seen = {}
        yield
        name = f"Compare with {self.made_by.model}"
        action_id = yield from self._document.commit_in_steps(name, self._edits(compared))
        self.proposals = Proposals(
            self._document, Nuclei.concatenate(self._only_theirs), self.made_by
        )
        self._only_theirs = []
        yield from self.proposals.look_in_steps()
        ids = tuple(one.row.id for one in compared)
        return ActionResult(name, action_id, ids, message=self._sentence())

    def _edits(self, compared: list[_Seen]) -> Iterator[Edit]:
        store = self._document.store
        for begin in range(0, len(compared), BATCH):
            batch = {one.row.id: one for one in compared[begin : begin + BATCH]}
            memories = store.memories(list(batch))
            rows = store.rows(list(batch))
            self._result.take_over(list(batch), {row.id: row.class_id for row in rows})
            changes = []
            for row in rows:
                one = batch[row.id]
                known = self._agreement(row, one)
                if (one.row.box, one.row.area) == (row.box, row.area) and known != row.agreement:
                    memory = memories.get(row.id)
                    after = replace(row, agreement=known)
                    changes.append(NucleusChange(row, after, memory, memory))
            if changes:
                yield Edit((), tuple(changes), made_by=self.made_by)

    def _agreement(self, row: NucleusRow, one: _Seen) -> float:
        return agreement(one.iou, differ(row.class_id, one.their_class, self.alike))

    # ---- what came of it

    def follow(self, box: Box) -> None:
        """Take note that nuclei in a level-0 box have changed, come or gone."""
        ids, class_ids = self._document.store.class_ids(box)
        there = dict(zip(ids.tolist(), class_ids.tolist(), strict=True))
        self._result.take_over([*self._result.ids_in(box), *there], there)
        self.proposals.follow(box)

    def tally(self) -> Tally:
        """Return how the two agree, with the classes that nuclei have by now."""
        found = self._result
        there = ~found.gone
        close = there & (found.iou >= SAME_IOU)
        crossed = sum(n for pair, n in self.classes().items() if differ(*pair, self.alike))
        return Tally(
            int(close.sum()) - crossed,
            crossed,
            int((there & (found.iou > 0) & ~close).sum()),
            int((there & (found.iou == 0)).sum()),
            len(self.proposals),
        )

    def classes(self) -> dict[tuple[int, int], int]:
        """Return how many nuclei found by both have which class here and which there."""
        found = self._result
        close = ~found.gone & (found.iou >= SAME_IOU)
        numbers = np.bincount(found.ours[close] * CLASSES + found.theirs[close])
        return {divmod(i, CLASSES): int(numbers[i]) for i in np.flatnonzero(numbers).tolist()}

    def ids_of_classes(self, ours: int, theirs: int) -> list[int]:
        """Return the nuclei found by both that have this class here and that one there."""
        found = self._result
        wanted = ~found.gone & (found.iou >= SAME_IOU)
        wanted &= (found.ours == ours) & (found.theirs == theirs)
        return found.ids[wanted].tolist()

    def their_class(self, nucleus_id: int) -> int | None:
        """Return the class that the other model gives a nucleus; None if it did not find it."""
        found = self._result
        at = int(np.searchsorted(found.ids, nucleus_id))
        known = at < len(found.ids) and found.ids[at] == nucleus_id and found.iou[at] >= SAME_IOU
        return int(found.theirs[at]) if known else None

    def _sentence(self) -> str:
        tally = self.tally()
        words = [f"{self.made_by.model} agrees on {tally.same:,} of {counted(len(self._result))}"]
        for n, text in (
            (tally.other_class, "of another class"),
            (tally.other_outline, "with another outline"),
            (tally.alone, "it did not find"),
            (tally.proposed, "only it found"),
        ):
            if n:
                words.append(f"{n:,} {text}")
        return "; ".join(words) + "."


@dataclass(eq=False)
class _Result:
    """Compared nuclei in the order of their ids: ``(n,)`` arrays, ``(n, 2)`` centroids."""

    ids: NDArray[np.int64]
    iou: NDArray[np.float64]
    ours: NDArray[np.int64]
    theirs: NDArray[np.int64]
    centroid_yx: NDArray[np.float64]
    gone: NDArray[np.bool_]

    @classmethod
    def empty(cls) -> _Result:
        return cls.of([])

    @classmethod
    def of(cls, compared: list[_Seen]) -> _Result:
        return cls(
            np.array([one.row.id for one in compared], np.int64),
            np.array([one.iou for one in compared]),
            np.array([one.row.class_id for one in compared], np.int64),
            np.array([one.their_class for one in compared], np.int64),
            np.array([one.row.centroid_yx for one in compared]).reshape(-1, 2),
            np.zeros(len(compared), np.bool_),
        )

    def __len__(self) -> int:
        return len(self.ids)

    def ids_in(self, box: Box) -> list[int]:
        inside = np.all((self.centroid_yx >= box[:2]) & (self.centroid_yx < box[2:]), axis=1)
        return self.ids[inside].tolist()

    def take_over(self, ids: list[int], classes: dict[int, int]) -> None:
        """Take over the classes of nuclei; those that have none are gone."""
        asked = np.array(ids, np.int64)
        at = np.searchsorted(self.ids, asked)
        known = at < len(self.ids)
        known[known] = self.ids[at[known]] == asked[known]
        for place, nucleus_id in zip(at[known].tolist(), asked[known].tolist(), strict=True):
            self.gone[place] = nucleus_id not in classes
            self.ours[place] = classes.get(nucleus_id, 0)
