"""The app without its window: what a user does with pointer and keys, answered at once.

Every method is one gesture of the app and goes through the same click tool, gestures and actions;
what is refused there changes nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.geometry import Box
from napari_nucleus.errors import EditRefusedError
from napari_nucleus.hosting.planning import click_tile
from napari_nucleus.session import actions
from napari_nucleus.session.document import Document
from napari_nucleus.session.hands import HandTool
from napari_nucleus.session.outcomes import Decode, Done, Outcome
from napari_nucleus.session.outlines import ActionResult
from napari_nucleus.session.tool import ClickTool
from napari_nucleus.training.embeddings import Embeddings

__all__ = ["SECONDS_PER_ACTION", "Desk"]

SECONDS_PER_ACTION = 1.5
"""How fast the user works; less than `tool.TOUCH_SECONDS`, so the next click follows the last."""


class Desk:
    """A document under correction by one user.

    Parameters
    ----------
    document
        What is corrected.
    embeddings
        Answers for the model.

    Attributes
    ----------
    seconds
        The user's clock.
    neighbours_changed
        Pixels that answers of the model changed of nuclei that were not meant.
    """

    def __init__(self, document: Document, embeddings: Embeddings) -> None:
        self.document = document
        self.embeddings = embeddings
        self.seconds = 0.0
        self.neighbours_changed = 0
        self.tool = ClickTool(document, lambda: self.seconds)
        self.hands = HandTool(document)
        self._tile: Box | None = None

    def click(self, point_yx: NDArray[np.floating], taking: bool = False) -> bool:
        """Click, with Ctrl held if ``taking``; return whether the document changed."""
        return self._do(lambda: self.tool.click(point_yx, taking))

    def box(self, box_yxyx: Sequence[float]) -> bool:
        """Shift-drag a box."""
        return self._do(lambda: self.tool.box(box_yxyx))

    def swap(self) -> bool:
        """Press Tab."""
        return self._do(self.tool.swap)

    def undo(self) -> bool:
        """Press Ctrl-Z."""
        self._tick()
        return self.document.undo() is not None

    def cut(self, stroke_yx: NDArray[np.floating]) -> bool:
        """Press K and drag a stroke."""
        self.hands.begin("cut")
        changed = self._do(lambda: self.hands.stroke(stroke_yx))
        self.hands.drop()
        return changed

    def merge(self, stroke_yx: NDArray[np.floating]) -> bool:
        """Press G and drag a stroke over the nuclei to merge."""
        self.hands.begin("merge")
        changed = self._do(lambda: self.hands.stroke(stroke_yx))
        self.hands.drop()
        return changed

    def paint(self, mask: NDArray[np.bool_], box: Box, nucleus_id: int | None) -> bool:
        """Drag the brush, over background or from a nucleus on."""
        return self._do(lambda: Done(actions.paint(self.document, mask, box, nucleus_id)))

    def erase(self, mask: NDArray[np.bool_], box: Box, nucleus_id: int | None) -> bool:
        """Drag the eraser, from a nucleus on or over all."""
        return self._do(lambda: Done(actions.erase(self.document, mask, box, nucleus_id)))

    def wait(self, seconds: float) -> None:
        """Let time pass, in which nothing is done."""
        self.seconds += seconds

    def _tick(self) -> None:
        self.seconds += SECONDS_PER_ACTION

    def _do(self, act: Callable[[], Outcome]) -> bool:
        self._tick()
        try:
            outcome = act()
            if isinstance(outcome, Decode):
                return _changed(self._answer(outcome))
            return isinstance(outcome, Done) and _changed(outcome.result)
        except EditRefusedError:
            return False

    def _answer(self, asked: Decode) -> ActionResult | None:
        request = asked.request
        model, calibration = self.embeddings.model, self.embeddings.calibration
        shape = self.embeddings.source.shape
        self._tile = click_tile(request.box, shape, model.info, calibration, self._tile)
        answers = self.embeddings.refine(self._tile, [c.prompts for c in request.candidates])
        before = self.document.labels(self._tile)
        result = self.tool.answer(request, answers)
        if result is not None:
            meant = [0, *result.ids, *result.removed]
            differs = before != self.document.labels(self._tile)
            self.neighbours_changed += int((~np.isin(before[differs], meant)).sum())
        return result


def _changed(result: ActionResult | None) -> bool:
    return result is not None and result.action_id is not None
