"""What another model thinks of an image: agreement and proposals, shown and decided on."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_nucleus.core.geometry import Box
from napari_nucleus.session.agreement import differ
from napari_nucleus.session.comparison import Comparison
from napari_nucleus.session.outlines import ActionResult
from napari_nucleus.session.table import NucleusState
from napari_nucleus.widgets.agreement_layer import agreement_layer
from napari_nucleus.widgets.layers import frame
from napari_nucleus.widgets.marked_layer import MarkedLayer

if TYPE_CHECKING:
    from napari_nucleus.widgets.annotation import Annotation

__all__ = ["SecondOpinion"]

SLICE_S = 0.015
"""Seconds of following between two turns of the event loop."""


class SecondOpinion:
    """The comparison of an annotation with another model, once there is one.

    Attributes
    ----------
    changed
        Emitted when there is another comparison or none, when it is shown or hidden, and when a
        proposal was decided on.
    """

    changed = Signal()

    def __init__(self, annotation: Annotation) -> None:
        self._annotation = annotation
        self._layer: MarkedLayer | None = None
        self._focus: int | None = None
        self._hovered: int | None = None
        self._action_id: int | None = None
        self._changes: deque[Box] = deque()
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.timeout.connect(lambda: self._follow())
        self.comparison: Comparison | None = None

    def conclude(self, comparison: Comparison) -> None:
        """Let nuclei note what came of a comparison, and show it."""
        self._annotation.finish_change()

        def tell(result: ActionResult) -> str:
            self._show(comparison, result.action_id)
            return f"{result.message} N goes through what the two do not agree on."

        self._annotation.work(comparison.note_in_steps(), tell)

    def _show(self, comparison: Comparison, action_id: int | None) -> None:
        self.drop()
        annotation = self._annotation
        self.comparison, self._action_id = comparison, action_id
        annotation.reviewing.queue.propose(comparison.proposals)
        annotation.document.changed.connect(self._on_changed)
        annotation.document.history_changed.connect(self._on_history)
        self.visible = True

    def drop(self) -> None:
        """Put the comparison away; what nuclei have noted stays."""
        if self.comparison is None:
            return
        self.comparison = None
        self._focus = self._hovered = None
        self._changes.clear()
        self._timer.stop()
        self._annotation.document.changed.disconnect(self._on_changed)
        self._annotation.document.history_changed.disconnect(self._on_history)
        self._annotation.reviewing.queue.propose(None)
        self.close()
        self.changed.emit()

    def close(self) -> None:
        """Take the layer out of the viewer."""
        if self._layer is not None:
            self._layer.close()
            self._layer = None

    # ---- shown

    @property
    def visible(self) -> bool:
        """True while agreement and proposals are shown over the image."""
        return self._layer is not None and self._layer.visible

    @visible.setter
    def visible(self, visible: bool) -> None:
        annotation, comparison = self._annotation, self.comparison
        if self._layer is not None and self._layer.layer not in annotation.viewer.layers:
            self.close()  # the user has deleted it
        if self._layer is not None:
            self._layer.visible = visible
        elif visible and comparison is not None:
            self._layer = agreement_layer(
                annotation.viewer,
                annotation.image,
                annotation.document,
                comparison.proposals,
                annotation.key,
                f"agreement with {comparison.made_by.model}",
            )
            self._layer.layer.events.visible.connect(self._on_visible)
        self.changed.emit()

    def _on_visible(self, _: object = None) -> None:
        self.changed.emit()

    def toggle(self) -> None:
        """Show agreement and proposals, or hide them."""
        if self.comparison is None:
            self._annotation.said.emit(
                "Nothing is compared yet: Compare in the Segment tab asks another model."
            )
        else:
            self.visible = not self.visible

    def describe(self, nucleus: int) -> str:
        """Return what the other model calls a nucleus, if it is something else; else ""."""
        if self.comparison is None:
            return ""
        document = self._annotation.document
        theirs = self.comparison.their_class(nucleus)
        ours = document.row(nucleus).class_id
        if theirs is None or not differ(ours, theirs, self.comparison.alike):
            return ""
        return f"{document.scheme.name_of(theirs)} for {self.comparison.made_by.model}"

    # ---- proposals

    @property
    def at(self) -> int | None:
        """The proposal that was looked at last, decided on or not; None after a nucleus was."""
        return self._focus

    @property
    def focus(self) -> int | None:
        """The proposal that is to be decided on, or None."""
        comparison, focus = self.comparison, self._focus
        known = comparison is not None and focus is not None and comparison.proposals.is_open(focus)
        return focus if known else None

    def look_at(self, proposal: int | None) -> None:
        """Bring a proposal into view, to be decided on; None lets go."""
        self._focus = proposal
        self._point_at(proposal)
        if proposal is None or self.comparison is None:
            return
        self.visible = True
        annotation = self._annotation
        frame(annotation.viewer, annotation.image, self.comparison.proposals.box(proposal))
        annotation.said.emit(
            f"{self.comparison.proposals.describe(proposal)}. Enter adds it, Delete drops it."
        )

    def hover(self, point_yx: NDArray[np.float64]) -> None:
        """Mark the proposal under the pointer: a click would take it."""
        under = self._at(point_yx)
        if under != self._hovered:
            self._hovered = under
            self._point_at(self.focus if under is None else under)

    def click(self, point_yx: NDArray[np.float64], taking: bool) -> bool:
        """Take the proposal under a click, or leave it if the click takes away; False for none."""
        under = self._at(point_yx)
        if under is None:
            return False
        if taking:
            self.dismiss(under)
        else:
            self.take(under)
        return True

    def take(self, proposal: int) -> None:
        """Make an accepted nucleus of a proposal."""
        if self.comparison is None:
            return
        self._annotation.work(
            self.comparison.proposals.take_in_steps([proposal], NucleusState.ACCEPTED),
            lambda result: result.message,
        )

    def take_all(self) -> None:
        """Make nuclei of all proposals, as one step; they are still to be looked at."""
        if self.comparison is None or not len(self.comparison.proposals):
            return
        proposals = self.comparison.proposals
        steps = proposals.take_in_steps(proposals.ids.tolist(), NucleusState.AUTOMATIC)

        def tell(result: ActionResult) -> str:
            self._annotation.reviewing.queue.renew()
            return result.message

        self._annotation.work(steps, tell)

    def dismiss(self, proposal: int) -> None:
        """Leave a proposal."""
        if self.comparison is None:
            return
        self.comparison.proposals.dismiss(proposal)
        self._point_at(None)
        if self._layer is not None:
            self._layer.redraw(self.comparison.proposals.box(proposal))
        self._annotation.said.emit("Not taken over.")
        self.changed.emit()

    def _at(self, point_yx: NDArray[np.float64]) -> int | None:
        comparison, document = self.comparison, self._annotation.document
        if comparison is None or not self.visible or not document.contains_point(point_yx):
            return None
        return None if document.id_at(point_yx) else comparison.proposals.at(point_yx)

    def _point_at(self, proposal: int | None) -> None:
        if self._layer is not None:
            self._layer.point_at(proposal)

    # ---- following the document

    def _on_changed(self, box: Box, _: frozenset[str]) -> None:
        self._changes.append(box)
        self._timer.start()

    def _follow(self) -> None:
        """Take some changes into account, then let the window breathe."""
        until = time.perf_counter() + SLICE_S
        while self._changes and self.comparison is not None:
            box = self._changes.popleft()
            self.comparison.follow(box)
            if self._layer is not None:
                self._layer.follow(box)
            if time.perf_counter() > until:
                self._timer.start()
                return
        self.changed.emit()

    def _on_history(self) -> None:
        """Put the comparison away when it is undone."""
        undone = self._annotation.document.store.first_undone()
        if undone is not None and self._action_id is not None and undone.id <= self._action_id:
            self.drop()
