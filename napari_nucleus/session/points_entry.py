"""Points become nuclei of the document: all of them as one undo step.

The policy is that of an automatic run (`placement`): they take background only, older automatic
nuclei make room where the detector has looked, and what the user has made, changed or accepted
stays. A point that nobody has touched becomes an automatic nucleus, still to be looked at, and none
off the ground of the run; one that the user added, moved or named becomes his.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.geometry import Box
from napari_nucleus.core.nuclei import Nuclei, counted
from napari_nucleus.session.document import Document
from napari_nucleus.session.edits import Edit
from napari_nucleus.session.import_batch import batches_of
from napari_nucleus.session.outlines import ActionResult
from napari_nucleus.session.placement import Replacement, place_nuclei
from napari_nucleus.session.points_book import PointBook
from napari_nucleus.session.points_table import Origin, PointTable
from napari_nucleus.session.points_values import PointSearch
from napari_nucleus.session.provenance import MadeBy, note_model
from napari_nucleus.session.regions import Ground
from napari_nucleus.session.table import NucleusState

__all__ = ["enter_points_in_steps"]

AT_ONCE = 40
"""Points of a core that become nuclei at once."""

NOWHERE: Box = (0, 0, 0, 0)


def enter_points_in_steps(
    document: Document, book: PointBook, outlined_by: MadeBy, alike: Collection[int] = ()
) -> Generator[None, None, ActionResult]:
    """Make nuclei of all points that are shown and have an outline, as one undo step.

    Pauses now and then; see `Document.commit_in_steps`.

    Parameters
    ----------
    document, book
        The document, and its points.
    outlined_by
        The model that outlined them.
    alike
        Class ids of which one does not contradict the other, see `agreement.differ`.
    """
    entry = _Entry(document, book, outlined_by, alike)
    n = len(entry.rows)
    name = "Accept point" if n == 1 else f"Accept {n:,} points"
    action_id = yield from document.commit_in_steps(name, entry.edits())
    return ActionResult(name, action_id, tuple(entry.entered), message=entry.message)


class _Entry:
    """Points on their way into a document."""

    def __init__(
        self, document: Document, book: PointBook, outlined_by: MadeBy, alike: Collection[int]
    ) -> None:
        shown = book.table.select(book.shown)
        has = [int(point) in book.outlines for point in shown.ids.tolist()]
        self.rows = shown.select(np.array(has, np.bool_))
        self.entered: list[int] = []
        self._document, self._book, self._by = document, book, outlined_by
        self._alike = alike
        self._first_id = document.store.next_id
        self._without = len(shown) - len(self.rows)
        self._left_out = self._off_ground = 0

    @property
    def message(self) -> str:
        """What came of it, in a sentence or two."""
        text = f"{counted(len(self.entered))} made of points."
        if self._left_out:
            text += f" {self._left_out:,} gave way to nuclei that stay, or to better ones."
        if self._off_ground:
            text += f" {self._off_ground:,} lie in excluded or signed-off regions."
        if self._without:
            text += f" {self._without:,} points became no nucleus of their own."
        return text

    def edits(self) -> Iterator[Edit]:
        """Yield the edits; each must be made before the next is asked for."""
        store, closed = self._document.store, self._document.regions
        if len(self.rows):
            note_model(store, self._by)
        # The user's first: what is found automatically gives way to them.
        mine = self.rows.origin != Origin.FOUND
        named = mine & (self.rows.class_ids > 0)
        ground = Ground((), closed)
        for which, columns in ((mine & ~named, len(self._book.scheme)), (named, 0)):
            nuclei, class_ids = self._nuclei(self.rows.select(which), columns)
            for index in batches_of(nuclei):
                yield self._place(
                    nuclei.select(index),
                    class_ids[index],
                    Replacement(NOWHERE, self._first_id, ground),
                    self._by,
                    NucleusState.USER,
                )
        for number, search in enumerate(self._book.searches):
            left = self.rows.select(~mine & (self.rows.search == number))
            ground = Ground(search.within, closed)
            for core in search.cores:
                inside = np.all((left.yx >= core[:2]) & (left.yx < core[2:]), axis=1)
                for part, rows in _parts(core, left.select(inside)):
                    yield self._place_found(part, rows, search, ground)
                left = left.select(~inside)

    def _place_found(
        self, core: Box, rows: PointTable, search: PointSearch, ground: Ground
    ) -> Edit:
        nuclei, class_ids = self._nuclei(rows, len(self._book.scheme))
        held = ground.holds(nuclei.centroids_yx)
        self._off_ground += int(np.count_nonzero(~held))
        return self._place(
            nuclei.select(held),
            class_ids[held],
            Replacement(core, self._first_id, ground),
            search.made_by,
            NucleusState.AUTOMATIC,
        )

    def _place(
        self,
        nuclei: Nuclei,
        class_ids: NDArray[np.int32],
        replacement: Replacement,
        made_by: MadeBy,
        state: NucleusState,
    ) -> Edit:
        store = self._document.store
        ids = range(store.next_id, store.next_id + len(nuclei))
        nuclei = replace(nuclei, source=made_by.model)
        placed = place_nuclei(store, nuclei, ids, class_ids, state, None, replacement, self._alike)
        self.entered += placed.ids
        self._left_out += placed.left_out
        return replace(placed.edit, made_by=made_by)

    def _nuclei(self, rows: PointTable, columns: int) -> tuple[Nuclei, NDArray[np.int32]]:
        """Return the nuclei of points and their class ids ``(n,)``.

        Parameters
        ----------
        rows
            The points.
        columns
            Number of classes; 0 for points whose class the user has named, for which there are no
            probabilities.
        """
        class_ids = self._book.classes_of(rows)
        found = [self._book.outlines.get(int(point)) for point in rows.ids.tolist()]
        nuclei = []
        for i, outlined in enumerate(found):
            assert outlined is not None
            prob = outlined.nucleus.class_prob
            if rows.class_prob[i].any() or prob.shape[1] != columns:
                prob = rows.class_prob[i : i + 1, :columns]
            nuclei.append(replace(outlined.nucleus, class_prob=prob))
        if not nuclei:
            return Nuclei.empty(columns), class_ids
        return Nuclei.concatenate(nuclei), class_ids


def _parts(core: Box, rows: PointTable) -> Iterator[tuple[Box, PointTable]]:
    """Yield a core in parts that hold `AT_ONCE` points at most, each with its points."""
    y0, x0, y1, x1 = core
    if len(rows) <= AT_ONCE or min(y1 - y0, x1 - x0) < 2:
        yield core, rows
        return
    y, x = (y0 + y1) // 2, (x0 + x1) // 2
    for part in ((y0, x0, y, x), (y0, x, y, x1), (y, x0, y1, x), (y, x, y1, x1)):
        inside = np.all((rows.yx >= part[:2]) & (rows.yx < part[2:]), axis=1)
        yield from _parts(part, rows.select(inside))
