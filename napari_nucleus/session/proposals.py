"""Nuclei that only another model found, which the user may take over or leave.

Proposals go by the numbers -1, -2, …, which no nucleus has. A proposal is open as long as it is
not dismissed and no more than half of its pixels belong to nuclei; hence one that was taken, or
that the user made by himself, is open again when that is undone. They are not kept with the
project.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nucleus.core.geometry import Box, clip_box
from napari_nucleus.core.nuclei import Nuclei, counted
from napari_nucleus.session.document import Document
from napari_nucleus.session.edits import Edit
from napari_nucleus.session.imports import batches_of
from napari_nucleus.session.masks import place_mask
from napari_nucleus.session.outlines import ActionResult, how_many
from napari_nucleus.session.placement import KEPT_SHARE, in_scheme, place_nuclei
from napari_nucleus.session.provenance import MadeBy
from napari_nucleus.session.table import NucleusState

__all__ = ["Proposals"]

BATCH = 250
"""Proposals that are looked at between two pauses."""


class Proposals:
    """What another model found beside the nuclei of a document.

    Parameters
    ----------
    document
        Where they may be taken over.
    nuclei
        The proposals, in level-0 pixels.
    made_by
        The model.
    centroids_yx
        Centroids ``(m, 2)`` of all of them, in parts.
    """

    def __init__(
        self,
        document: Document,
        nuclei: Nuclei,
        made_by: MadeBy,
        centroids_yx: Sequence[NDArray[np.float64]],
    ) -> None:
        self.made_by = made_by
        self._document, self._nuclei = document, nuclei
        self._centroid_yx = np.concatenate([np.zeros((0, 2)), *centroids_yx])
        self._dismissed = np.zeros(len(nuclei), np.bool_)
        self._held = np.zeros(len(nuclei), np.bool_)

    def __len__(self) -> int:
        return int(np.count_nonzero(self._open))

    @property
    def ids(self) -> NDArray[np.int64]:
        """Those that are open, ``(n,)``."""
        return -1 - np.flatnonzero(self._open)

    @property
    def scores(self) -> NDArray[np.float64]:
        """How sure the model is of each open one, ``(n,)`` in 0–1."""
        return self._nuclei.score[self._open].astype(float)

    @property
    def centroids_yx(self) -> NDArray[np.float64]:
        """Centroids of the open ones, ``(n, 2)``, level-0 pixels."""
        return self._centroid_yx[self._open]

    @property
    def nuclei(self) -> Nuclei:
        """Those that are open, in the order of `ids`."""
        return self._nuclei.select(self._open)

    @property
    def boxes(self) -> NDArray[np.int32]:
        """Level-0 boxes ``(m, 4)`` of all of them, open or not."""
        return self._nuclei.boxes

    def is_open(self, proposal: int) -> bool:
        """Return True if it can be taken."""
        at = -1 - proposal
        return 0 <= at < len(self._nuclei) and bool(self._open[at])

    def box(self, proposal: int) -> Box:
        """Return its level-0 box, cut to the image."""
        return clip_box(self._nuclei.boxes[-1 - proposal], self._document.shape)

    def mask(self, proposal: int) -> NDArray[np.bool_]:
        """Return its pixels ``(h, w)`` over its box."""
        at = -1 - proposal
        whole: Box = tuple(self._nuclei.boxes[at].tolist())  # type: ignore[assignment]
        return place_mask(self._nuclei.masks[at], whole, self.box(proposal))

    def at(self, point_yx: ArrayLike) -> int | None:
        """Return the open proposal under a level-0 point, or None."""
        y, x = np.floor(np.asarray(point_yx, float)).astype(int).tolist()
        for proposal in self.ids_in((y, x, y + 1, x + 1)):
            y0, x0, _, _ = self.box(proposal)
            if self.mask(proposal)[y - y0, x - x0]:
                return proposal
        return None

    def ids_in(self, box: Box) -> list[int]:
        """Return the open ones whose boxes meet a level-0 box."""
        return (-1 - np.flatnonzero(self._open & self._meets(box))).tolist()

    def describe(self, proposal: int) -> str:
        """Return it in words: who found it, its class and score."""
        one = self._nuclei.select([-1 - proposal])
        class_id = int(in_scheme(one, self._document.scheme, self.made_by.classes)[0][0])
        name = self._document.scheme.name_of(class_id)
        return f"Only {self.made_by.model} found this: {name}, score {float(one.score[0]):.2f}"

    # ---- what becomes of them

    def dismiss(self, proposal: int) -> None:
        """Leave it; it is not proposed again."""
        self._dismissed[-1 - proposal] = True

    def take_in_steps(
        self, proposals: Sequence[int], state: NucleusState
    ) -> Generator[None, None, ActionResult]:
        """Make nuclei of proposals, as one undo step; they take background only.

        Pauses after each batch; see `Document.commit_in_steps`.

        Parameters
        ----------
        state
            State of the new nuclei: accepted, if the user has looked at each, else automatic.
        """
        chosen = self._nuclei.select(-1 - np.asarray(proposals, np.int64))
        name = f"Add {how_many(len(chosen))} of {self.made_by.model}"
        entered: list[int] = []
        action_id = yield from self._document.commit_in_steps(
            name, self._edits(chosen, state, entered)
        )
        message = f"{counted(len(entered))} of {self.made_by.model} added."
        if len(entered) < len(chosen):
            message += f" {len(chosen) - len(entered):,} left out: others hold their place."
        return ActionResult(name, action_id, tuple(entered), message=message)

    def _edits(self, nuclei: Nuclei, state: NucleusState, entered: list[int]) -> Iterator[Edit]:
        document = self._document
        class_ids, nuclei = in_scheme(nuclei, document.scheme, self.made_by.classes)
        for index in batches_of(nuclei):
            first = document.store.next_id
            ids = range(first, first + len(index))
            placed = place_nuclei(
                document.store, nuclei.select(index), ids, class_ids[index], state
            )
            if placed.edit:
                entered += placed.ids
                # The model that had looked there before found none.
                changes = tuple(
                    replace(c, row_after=c.row_after and replace(c.row_after, agreement=0.0))
                    for c in placed.edit.changes
                )
                yield replace(placed.edit, changes=changes, made_by=self.made_by)

    # ---- following the document

    def follow(self, box: Box) -> None:
        """Look again which of those in a level-0 box are held by nuclei."""
        self._look(np.flatnonzero(self._meets(box)))

    def look_in_steps(self) -> Generator[None, None, None]:
        """Look which of all are held by nuclei, pausing after every `BATCH`."""
        for begin in range(0, len(self._nuclei), BATCH):
            self._look(np.arange(begin, min(begin + BATCH, len(self._nuclei))))
            yield

    def _look(self, which: NDArray[np.intp]) -> None:
        for at in which.tolist():
            mask = self.mask(-1 - at)
            held = (self._document.store.read_labels(self.box(-1 - at)) != 0) & mask
            self._held[at] = held.sum() > KEPT_SHARE * mask.sum()

    @property
    def _open(self) -> NDArray[np.bool_]:
        return ~(self._dismissed | self._held)

    def _meets(self, box: Box) -> NDArray[np.bool_]:
        boxes = self._nuclei.boxes
        return np.all((boxes[:, :2] < box[2:]) & (boxes[:, 2:] > box[:2]), axis=1)
