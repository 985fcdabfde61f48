"""A long action that adds nuclei piece by piece: an automatic run, or a large import.

Every piece is a transaction of its own, all of them are one undo step. The step stands in the
history where the run began, whatever the user does meanwhile:

- Undo takes back what the user did since, step by step, while the run goes on; the run leaves
  alone all pixels and nuclei of those steps, done or undone (`placement.Reserved`).
- When the run's own turn comes, undo stops it and takes back all it added; redo brings back what
  it had added until then.
- Cancelling, or an error in the middle, keeps what was added.
- Off its ground (outside of what was asked for, in excluded or signed-off regions) no nucleus found
  automatically enters and none is replaced, by the centroid.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from napari_nucleus.core.geometry import Box
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.errors import CancelledError
from napari_nucleus.session.edits import Edit
from napari_nucleus.session.placement import (
    Placed,
    Replacement,
    Reserved,
    in_scheme,
    place_nuclei,
)
from napari_nucleus.session.provenance import MadeBy
from napari_nucleus.session.regions import Ground, Polygons
from napari_nucleus.session.table import NucleusState

if TYPE_CHECKING:
    from napari_nucleus.session.document import Document

__all__ = ["Run"]


class Run:
    """An open run of a document; made by `Document.run`, a context manager.

    Parameters
    ----------
    within
        Polygons that it works in; everywhere if there are none.
    made_by
        The model that finds the nuclei, in whose classes they come; None for an import.
    alike
        Class ids that do not contradict each other where two models are compared.

    Attributes
    ----------
    action_id, name
        The run's undo step.
    added, left_out, trimmed_px
        Number of nuclei that entered, number that did not because others hold their place, and
        pixels left to neighbours, up to now.
    """

    def __init__(
        self,
        document: Document,
        action_id: int,
        name: str,
        within: Polygons = (),
        made_by: MadeBy | None = None,
        alike: Collection[int] = (),
    ) -> None:
        self.action_id = action_id
        self.name = name
        self.added = 0
        self.left_out = 0
        self.trimmed_px = 0
        self._document = document
        self._within, self._made_by, self._alike = within, made_by, alike
        self._ground = Ground(within, document.regions)
        self._first_id = document.store.next_id
        self._stopped = False
        self._closed = False

    @property
    def stopped(self) -> bool:
        """True once nothing can be added any more: undone by the user, or closed."""
        return self._stopped or self._closed

    @property
    def ground(self) -> Ground:
        """Where it may work now; another one after regions have changed."""
        if self._ground.closed is not self._document.regions:
            self._ground = Ground(self._within, self._document.regions)
        return self._ground

    def add_tile(self, core_box: Box, nuclei: Nuclei) -> Placed:
        """Add the result of one tile; replaces older untouched automatic nuclei of its core.

        Parameters
        ----------
        core_box
            The part of the image whose nuclei the tile owns, level-0 pixels.
        nuclei
            Nuclei that the tile owns, in level-0 pixels.

        Raises
        ------
        CancelledError
            If the user has undone the run.
        LabelsError
            If the batch's classes are not the document's.
        """
        self._check_open()
        replacement = Replacement(core_box, self._first_id, self.ground)
        nuclei = nuclei.select(self.ground.holds(nuclei.centroids_yx))
        return self._place(nuclei, NucleusState.AUTOMATIC, replacement=replacement)

    def add(self, nuclei: Nuclei, ids: Sequence[int] | None = None) -> Placed:
        """Add imported nuclei that lie close together; replaces nothing.

        Parameters
        ----------
        nuclei
            In level-0 pixels; `actions.batches_of` cuts up a large batch.
        ids
            Ids to give them, from `Document.reserve_ids`; by default new ones.

        Raises
        ------
        CancelledError, LabelsError
            As `add_tile`.
        """
        self._check_open()
        return self._place(nuclei, NucleusState.IMPORTED, ids)

    def extend(self, edit: Edit) -> None:
        """Add an edit that leaves alone what `spared` says.

        Raises
        ------
        CancelledError
            As `add_tile`.
        """
        self._check_open()
        if edit:
            self._document.extend_run(self, edit)

    def spared(self) -> Collection[int]:
        """Return the nuclei of the steps since the run began, done or undone."""
        return Reserved(self._document.store, self.action_id).ids

    def stop(self) -> None:
        """Refuse further pieces; what was added stays."""
        self._stopped = True

    def close(self) -> None:
        """End the run; a run that added nothing leaves no undo step."""
        if not self._closed:
            self._closed = True
            self._document.end_run(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self.stopped:
            raise CancelledError(
                f"{self.name!r} was undone or has ended; nothing more was added, redo brings back "
                "what it had found."
            )

    def _place(
        self,
        nuclei: Nuclei,
        state: NucleusState,
        ids: Sequence[int] | None = None,
        replacement: Replacement | None = None,
    ) -> Placed:
        store = self._document.store
        classes = None if self._made_by is None else self._made_by.classes
        class_ids, nuclei = in_scheme(nuclei, self._document.scheme, classes)
        if ids is None:
            ids = range(store.next_id, store.next_id + len(nuclei))
        taken = next((i for i in ids if store.row(i) is not None), None)
        if taken is not None:
            raise ValueError(f"id {taken} belongs to a nucleus already")
        reserved = Reserved(store, self.action_id)
        placed = place_nuclei(
            store, nuclei, ids, class_ids, state, reserved, replacement, self._alike
        )
        if placed.edit:
            self._document.extend_run(self, replace(placed.edit, made_by=self._made_by))
        self.added += len(placed.ids)
        self.left_out += placed.left_out
        self.trimmed_px += placed.trimmed_px
        return placed
