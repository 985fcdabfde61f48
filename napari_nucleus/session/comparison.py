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

from napari_nucleus.core.geometry import Box, box_union, clip_box
from napari_nucleus.core.nuclei import Nuclei, counted
from napari_nucleus.session.agreement import SAME_IOU, agreement, differ
from napari_nucleus.session.compared_nuclei import ComparedNuclei
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
        self.proposals = Proposals(document, Nuclei.empty(), made_by, [])
        self._document, self.alike = document, frozenset(alike)
        self.ground = Ground(within, document.regions)
        self._nuclei = ComparedNuclei()
        self._only_theirs: list[tuple[Nuclei, NDArray[np.float64]]] = []

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
        self._nuclei.meet(store.rows(store.ids_in(window)), core)
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
            self._nuclei.overlap(ids.tolist(), counts.tolist(), area, int(class_ids[i]))
        if free.any():
            centroids = nuclei.centroids_yx
            free &= self.ground.holds(centroids)
            self._only_theirs.append((nuclei.select(free), centroids[free]))

    def note_in_steps(self) -> Generator[None, None, ActionResult]:
        """Let each compared nucleus note its agreement, as one undo step.

        Pauses after every `BATCH` nuclei; see `Document.commit_in_steps`.
        """
        self._nuclei.settle(self.ground)
        yield
        name = f"Compare with {self.made_by.model}"
        action_id = yield from self._document.commit_in_steps(name, self._edits())
        self.proposals = Proposals(
            self._document,
            Nuclei.concatenate([nuclei for nuclei, _ in self._only_theirs]),
            self.made_by,
            [centroids for _, centroids in self._only_theirs],
        )
        self._only_theirs = []
        yield from self.proposals.look_in_steps()
        ids = tuple(self._nuclei.ids.tolist())
        return ActionResult(name, action_id, ids, message=self._sentence())

    def _edits(self) -> Iterator[Edit]:
        store, nuclei = self._document.store, self._nuclei
        for begin in range(0, len(nuclei), BATCH):
            batch = nuclei.ids[begin : begin + BATCH].tolist()
            memories, rows = store.memories(batch), store.rows(batch)
            nuclei.take_over(batch, {row.id: row.class_id for row in rows})
            changes = []
            for row in rows:
                known = self._agreement(row)
                if nuclei.is_as_it_was(row) and known != row.agreement:
                    memory = memories.get(row.id)
                    after = replace(row, agreement=known)
                    changes.append(NucleusChange(row, after, memory, memory))
            if changes:
                yield Edit((), tuple(changes), made_by=self.made_by)

    def _agreement(self, row: NucleusRow) -> float:
        iou, their_class = self._nuclei.known(row.id) or (0.0, 0)
        return agreement(iou, differ(row.class_id, their_class, self.alike))

    # ---- what came of it

    def follow(self, box: Box) -> None:
        """Take note that nuclei in a level-0 box have changed, come or gone."""
        ids, class_ids = self._document.store.class_ids(box)
        there = dict(zip(ids.tolist(), class_ids.tolist(), strict=True))
        self._nuclei.take_over({*self._nuclei.ids_in(box), *there}, there)
        self.proposals.follow(box)

    def tally(self) -> Tally:
        """Return how the two agree, with the classes that nuclei have by now."""
        nuclei, same = self._nuclei, self._nuclei.same
        found = ~nuclei.gone & (nuclei.iou > 0)
        crossed = sum(n for pair, n in self.classes().items() if differ(*pair, self.alike))
        return Tally(
            int(same.sum()) - crossed,
            crossed,
            int((found & ~same).sum()),
            int((~nuclei.gone & ~found).sum()),
            len(self.proposals),
        )

    def classes(self) -> dict[tuple[int, int], int]:
        """Return how many nuclei found by both have which class here and which there."""
        return self._nuclei.pairs()

    def ids_of_classes(self, ours: int, theirs: int) -> list[int]:
        """Return the nuclei found by both that have this class here and that one there."""
        nuclei = self._nuclei
        return nuclei.ids[nuclei.same & (nuclei.ours == ours) & (nuclei.theirs == theirs)].tolist()

    def their_class(self, nucleus_id: int) -> int | None:
        """Return the class that the other model gives a nucleus; None if it did not find it."""
        iou, their_class = self._nuclei.known(nucleus_id) or (0.0, 0)
        return their_class if iou >= SAME_IOU else None

    def _sentence(self) -> str:
        tally = self.tally()
        words = [f"{self.made_by.model} agrees on {tally.same:,} of {counted(len(self._nuclei))}"]
        for n, text in (
            (tally.other_class, "of another class"),
            (tally.other_outline, "with another outline"),
            (tally.alone, "it did not find"),
            (tally.proposed, "only it found"),
        ):
            if n:
                words.append(f"{n:,} {text}")
        return "; ".join(words) + "."
