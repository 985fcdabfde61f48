"""What is done by hand on one image: gestures, the brush, nuclei chosen together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.geometry import Box
from napari_nucleus.errors import NucleusError
from napari_nucleus.session import actions
from napari_nucleus.session.actions import Steps
from napari_nucleus.session.document import Document
from napari_nucleus.session.group import Group
from napari_nucleus.session.hands import Gesture, HandTool
from napari_nucleus.session.outcomes import Done, Nothing, Outcome
from napari_nucleus.session.outlines import ActionResult
from napari_nucleus.widgets.binding import SELECTED
from napari_nucleus.widgets.brush import Brush

if TYPE_CHECKING:
    from napari_nucleus.widgets.annotation import Annotation

__all__ = ["HandWork"]

STROKES = ("cut", "merge", "scribble")
"""Gestures that a drag ends."""

CLICKS = ("merge", "split")
"""Gestures that clicks end."""


class HandWork:
    """The hand tools of an annotation."""

    def __init__(self, annotation: Annotation) -> None:
        self._annotation = annotation
        self._document = annotation.document
        self.gestures = HandTool(self._document)
        self.group = Group(self._document)
        self.brush = Brush(annotation.viewer, annotation.image, annotation.key)
        self.brush.stroked.connect(self._on_brushed)

    def close(self) -> None:
        """Take the brush's layer away."""
        self.brush.stroked.disconnect(self._on_brushed)
        self.brush.close()

    # ---- gestures

    def begin(self, gesture: Gesture) -> None:
        """Begin a gesture; begun twice, it ends."""
        self.brush.put_down()
        first = self._annotation.meant() if gesture == "merge" else None
        self._annotation.do(partial(self.gestures.begin, gesture, first))

    @property
    def takes_clicks(self) -> bool:
        """True while a click belongs to a gesture."""
        return self.gestures.gesture in CLICKS

    @property
    def takes_strokes(self) -> bool:
        """True while a drag is a stroke."""
        return self.gestures.gesture in STROKES

    @property
    def takes_boxes(self) -> bool:
        """True while a drag is a box."""
        return self.gestures.gesture == "choose"

    def click(self, point_yx: NDArray[np.float64]) -> None:
        """Take a click of a gesture."""
        self._annotation.do(partial(self.gestures.click, point_yx))

    def stroke(self, points_yx: NDArray[np.float64]) -> None:
        """Take the stroke of a gesture."""
        if self.gestures.gesture == "scribble":
            self.gestures.drop()
            self._annotation.do(partial(self._annotation.tool.scribble, points_yx))
        else:
            self._annotation.do(partial(self.gestures.stroke, points_yx))

    def drop(self) -> bool:
        """End what is begun or in the hand; return False if nothing is."""
        if self.gestures.gesture is not None:
            self.gestures.drop()
        elif self.brush.kind is not None:
            self.brush.put_down()
        elif self.group:
            self._choose(self.group.choose, [])
        else:
            return False
        return True

    # ---- shape

    def fill_holes(self) -> None:
        """Fill the holes of the selected nucleus, or of the one under the pointer."""
        self._reshape(actions.fill_holes, "has no holes.")

    def smooth(self) -> None:
        """Smooth the outline of the selected nucleus, or of the one under the pointer."""
        self._reshape(actions.smooth, "is smooth already.")

    def _reshape(self, act: Callable[[Document, list[int]], ActionResult], nothing: str) -> None:
        nucleus = self._annotation.meant()

        def reshape() -> Outcome:
            if nucleus is None:
                return Nothing("No nucleus is selected or under the pointer.")
            result = act(self._document, [nucleus])
            if result.action_id is None:
                return Nothing(f"Nucleus {nucleus} {nothing}")
            return Done(result)

        self._annotation.do(reshape)

    # ---- several nuclei

    def choose(self, box_yxyx: tuple[float, ...]) -> None:
        """Choose the nuclei in a box, to change them together."""
        self.gestures.drop()
        self._choose(self.group.choose_box, box_yxyx)

    def choose_these(self, ids: Sequence[int]) -> None:
        """Choose these nuclei, to change them together."""
        self.gestures.drop()
        self._choose(self.group.choose, ids)

    def _choose(self, choose: Callable[..., Outcome], what: object) -> None:
        self._annotation.do(partial(choose, what))
        self.show_group()

    def choose_like_selected(self) -> None:
        """Choose all nuclei in view of the class of the selected one."""
        nucleus = self._annotation.meant()
        if nucleus is None:
            self._annotation.said.emit("Select a nucleus first; all of its class are chosen then.")
            return
        wanted = self._document.row(nucleus).class_id
        ids, classes = self._document.store.class_ids(self._annotation.visible_box())
        self._choose(self.group.choose, ids[classes == wanted].tolist())

    def on_group(self, act: Callable[[Document, Sequence[int]], Steps]) -> bool:
        """Do one of `actions`' verbs in steps to the chosen nuclei; False if none are chosen."""
        ids = self.group.ids
        if not ids:
            return False
        self._annotation.change(act, ids)
        return True

    def show_group(self) -> None:
        """Mark the chosen nuclei that are there."""
        self._annotation.binding.choose(self.group.ids, SELECTED)

    # ---- brush

    def take_brush(self, erases: bool) -> None:
        """Take the brush or the eraser; taken twice, it is put down."""
        again = self.brush.kind == ("erase" if erases else "paint")
        self.gestures.drop()
        if again:
            self.brush.put_down()
            self._annotation.said.emit("Clicks correct nuclei again.")
            return
        try:
            self.brush.take(erases, self._annotation.mpp)
        except NucleusError as error:
            self._annotation.warned.emit(str(error))
            return
        self._annotation.said.emit(
            "Erase: begin in a nucleus to take from that one only. Escape ends."
            if erases
            else "Paint: begin in a nucleus to extend it, beside nuclei to make one. Escape ends."
        )

    def _on_brushed(
        self, mask: NDArray[np.bool_], box: Box, began_yx: NDArray[np.float64], erases: bool
    ) -> None:
        under = self._document.id_at(began_yx)
        act = actions.erase if erases else actions.paint
        self._annotation.do(lambda: Done(act(self._document, mask, box, under)))
