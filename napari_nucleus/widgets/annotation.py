"""One image under annotation: its layer, document, click tool, and what shows them.

Main thread only. Knows the model as something that answers later; says what happened through
signals and never opens a dialog.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray
from psygnal import Signal

from napari_nucleus.core.geometry import Box
from napari_nucleus.errors import CancelledError, NucleusError
from napari_nucleus.models.api import Calibration
from napari_nucleus.session import actions
from napari_nucleus.session.actions import Steps
from napari_nucleus.session.document import Document
from napari_nucleus.session.outcomes import Decode, Done, Nothing, Outcome, Selected
from napari_nucleus.session.outlines import ActionResult
from napari_nucleus.session.tool import ClickTool
from napari_nucleus.widgets.asking import Asking
from napari_nucleus.widgets.background import when_done
from napari_nucleus.widgets.binding import CARVING, REMOVING, SELECTED, LayerBinding
from napari_nucleus.widgets.hand_work import HandWork
from napari_nucleus.widgets.layers import frame, layer_mpp, layer_source, visible_box
from napari_nucleus.widgets.marks import Marks
from napari_nucleus.widgets.model import AppModel
from napari_nucleus.widgets.region_overlay import RegionOverlay
from napari_nucleus.widgets.reviewing import Reviewing
from napari_nucleus.widgets.second_opinion import SecondOpinion
from napari_nucleus.widgets.stepping import BUSY, Stepping

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["Annotation"]

T = TypeVar("T")


class Annotation:
    """An image layer with its document.

    Parameters
    ----------
    viewer, image
        The viewer, and the layer in it that is annotated.
    model
        Answers clicks.
    document
        What was annotated on the image before, and where it is kept.

    Attributes
    ----------
    said
        Emitted with a sentence about what happened, for the status line.
    warned
        Emitted with a sentence the user should not miss.
    selection_changed
        Emitted with the id of the selected nucleus, or None.
    scheme_changed
        Emitted when the classes are others.
    mpp_changed
        Emitted when the pixel size becomes known or is estimated.
    closing
        Emitted while the document can be read for the last time.
    """

    said = Signal(str)
    warned = Signal(str)
    selection_changed = Signal(object)
    scheme_changed = Signal()
    mpp_changed = Signal()
    closing = Signal()

    def __init__(self, viewer: Viewer, image: Image, model: AppModel, document: Document) -> None:
        self.viewer, self.image, self.model = viewer, image, model
        self.key = uuid.uuid4().hex
        self.source = layer_source(image, layer_mpp(image))
        self.document = document
        self.tool = ClickTool(self.document)
        self.reviewing = Reviewing(self)
        self.binding = LayerBinding(viewer, image, self.document, self.key)
        self.overlay = RegionOverlay(viewer, image, document, self.key)
        self.marks = Marks(viewer, image, self.key)
        self.by_hand = HandWork(self)
        self.opinion = SecondOpinion(self)
        self.estimated_mpp: float | None = None
        document.scheme_changed.connect(self._on_scheme)
        self.asking = Asking(self)
        self._stepping: Stepping | None = None
        self._hover: NDArray[np.float64] | None = None
        self._shown: int | None = None
        for restored in (self.binding.restored, self.overlay.restored):
            restored.connect(
                lambda name: self.said.emit(f"{name!r} belongs to the annotation and was put back.")
            )

    # ---- pixel size

    @property
    def mpp(self) -> float | None:
        """µm per pixel that the document goes by; None while it is unknown."""
        return self.document.mpp

    def set_mpp(self, mpp: float | None) -> None:
        """State the pixel size; what comes from now on is found with it."""
        if mpp == self.document.mpp:
            return
        self.finish_change()
        try:
            self.document.mpp = mpp
        except NucleusError as error:
            self.warned.emit(str(error))
        self.mpp_changed.emit()

    def estimate_mpp(self) -> None:
        """Have the pixel size estimated from the size of the nuclei."""
        when_done(self.calibration(), self._on_estimate, self.tell_failure)

    def calibration(self) -> Future[Calibration]:
        """Return what the model knows of this image, estimating what is not stated."""
        return self.model.calibration(self.source, self.document.mpp)

    def _on_estimate(self, calibration: Calibration) -> None:
        if calibration.mpp_estimated:
            self.estimated_mpp = calibration.mpp
            self.mpp_changed.emit()

    # ---- the model

    def answer_with(self, model: AppModel) -> None:
        """Let another model answer from now on; what is not answered yet is given up."""
        self.asking.drop()
        self.model = model

    # ---- the pointer

    def clicked(self, point_yx: NDArray[np.float64], taking: bool) -> None:
        """Take a click of the pointer: one of a gesture that was begun, else the click tool's."""
        if self.by_hand.takes_clicks:
            self.by_hand.click(point_yx)
        elif not self.opinion.click(point_yx, taking != self.tool.flipped):
            self.do(partial(self.tool.click, point_yx, taking))

    def boxed(
        self, first_yx: NDArray[np.float64], last_yx: NDArray[np.float64], choosing: bool
    ) -> None:
        """Take a drawn box: around a nucleus, or around several to be chosen."""
        if choosing:
            self.by_hand.choose((*first_yx, *last_yx))
        else:
            self.do(partial(self.tool.box, (*first_yx, *last_yx)))

    def box_changed(
        self, first_yx: NDArray[np.float64] | None, last_yx: NDArray[np.float64] | None
    ) -> None:
        """Show the box that is being drawn."""
        self.marks.show_box(first_yx, last_yx)

    @property
    def stroke_wanted(self) -> bool:
        """True while a drag is a stroke."""
        return self.by_hand.takes_strokes

    @property
    def box_wanted(self) -> bool:
        """True while a drag is a box that chooses."""
        return self.by_hand.takes_boxes

    def stroked(self, points_yx: NDArray[np.float64]) -> None:
        """Take a drawn stroke."""
        self.by_hand.stroke(points_yx)

    def stroke_changed(self, points_yx: NDArray[np.float64] | None) -> None:
        """Show the stroke that is being drawn."""
        self.marks.show_stroke(points_yx)

    def hovered(self, point_yx: NDArray[np.float64], taking: bool) -> None:
        """Show what a click here would do."""
        self._hover = point_yx
        self.opinion.hover(point_yx)
        intent = self.tool.hover(point_yx, taking)
        if intent.kind == "remove":
            self.binding.mark(intent.id, REMOVING)
        elif intent.kind == "carve":
            self.binding.mark(intent.id, CARVING)
        else:
            self._show_selection()

    @property
    def pointed_at(self) -> NDArray[np.float64] | None:
        """Where the pointer was last, level-0 ``(y, x)``; None before it was on the canvas."""
        return self._hover

    # ---- keys and buttons

    def swap(self) -> None:
        """Show the other reading of the last click."""
        self.do(self.tool.swap)

    def escape(self) -> None:
        """Drop what was begun or taken by hand, else what is pending, else the selection."""
        if self.by_hand.drop():
            self.said.emit("Never mind.")
            return
        if not self.asking.drop():
            self.tool.escape()
        self.opinion.look_at(None)
        self._show_selection()

    def select(self, nucleus: int) -> None:
        """Select a nucleus and bring it into view."""
        self.tool.select(nucleus)
        frame(self.viewer, self.image, self.document.row(nucleus).box)
        self.said.emit(f"{self.describe(nucleus)}.")
        self._show_selection()

    def meant(self) -> int | None:
        """Return the selected nucleus, else the one under the pointer."""
        if self.tool.selected is not None:
            return self.tool.selected
        return None if self._hover is None else self.document.id_at(self._hover)

    def visible_box(self) -> Box:
        """Return the level-0 box of what the canvas shows of the image."""
        return visible_box(self.image)

    def change(self, act: Callable[[Document, Sequence[int]], Steps], ids: Sequence[int]) -> None:
        """Do one of `actions`' verbs in steps to many nuclei, as one undo step."""
        self.work(act(self.document, ids), lambda result: result.message or result.name)

    def toggle_sign(self) -> None:
        """Swap what click and Ctrl-click do."""
        self.tool.toggle_sign()
        self.said.emit(
            "Click takes away, Ctrl-click adds."
            if self.tool.flipped
            else "Click adds, Ctrl-click takes away."
        )

    def classify_by_key(self, key: str) -> None:
        """Give the chosen nuclei the class with this key, or else the one under the pointer."""
        found = self.document.scheme.by_key(key)
        if found is None:
            self.said.emit(f"No class has the key {key}.")
            return
        if self.by_hand.on_group(partial(actions.classify_in_steps, class_id=found.id)):
            return
        under = None if self._hover is None else self.document.id_at(self._hover)
        self._classify(under, found.id)

    def classify_selected(self, class_id: int) -> None:
        """Give the chosen nuclei a class, or else the selected one."""
        if self.by_hand.on_group(partial(actions.classify_in_steps, class_id=class_id)):
            return
        self._classify(self.tool.selected, class_id)

    def _classify(self, nucleus: int | None, class_id: int) -> None:
        if nucleus is None:
            self.said.emit("No nucleus under the pointer.")
        else:
            self.do(lambda: Done(actions.classify(self.document, [nucleus], class_id)))

    def undo(self) -> None:
        """Take back the last step."""
        if self.document.history.undo_name is None:
            self.said.emit("Nothing to undo.")
        else:
            self.work(self.document.undo_in_steps(), lambda name: f"Undone: {name}.")

    def redo(self) -> None:
        """Bring back the step undone last."""
        if self.document.history.redo_name is None:
            self.said.emit("Nothing to redo.")
        else:
            self.work(self.document.redo_in_steps(), lambda name: f"Done again: {name}.")

    def toggle_fill(self) -> None:
        """Fill nuclei, or show outlines only."""
        self.binding.toggle_fill()
        self.said.emit("Nuclei are filled." if self.binding.filled else "Outlines only.")

    def toggle_hidden(self) -> None:
        """Hide nuclei, or show them again."""
        self.binding.toggle_hidden()
        self.said.emit("Nuclei are hidden." if self.binding.hidden else "Nuclei are shown.")

    # ---- outcomes

    def do(self, act: Callable[[], Outcome]) -> None:
        """Do something to the document, show what came of it, and say it."""
        if self.busy:
            self.said.emit(BUSY)
            return
        try:
            outcome = act()
        except NucleusError as error:
            self.warned.emit(str(error))
            return
        self._take(outcome)

    def _take(self, outcome: Outcome) -> None:
        match outcome:
            case Decode(request):
                self.asking.ask(request)
            case Done(result):
                self._on_result(result)
            case Selected(nucleus):
                self.said.emit(f"{self.describe(nucleus)}.")
            case Nothing(reason):
                if reason:
                    self.said.emit(reason)
        self._show_selection()

    @property
    def busy(self) -> bool:
        """True while a long change is being made, and nothing else may be done."""
        return self._stepping is not None

    def finish_change(self) -> None:
        """Work a long change through to its end."""
        if self._stepping is not None:
            self._stepping.finish()

    def work(self, steps: Generator[Any, None, T], tell: Callable[[T], str]) -> None:
        """Make a change that may be long bit by bit; ``tell`` says what came of it."""
        if self.busy:
            self.said.emit(BUSY)
            return
        stepping = self._stepping = Stepping(steps)

        def on_end(outcome: T | None) -> None:
            self._stepping = None
            if outcome is not None:
                self.said.emit(tell(outcome))
            self._show_selection()
            self.by_hand.show_group()

        stepping.ended.connect(on_end)
        stepping.failed.connect(lambda sentence: self.warned.emit(sentence))
        # Nuclei that stream in must not find the document in the middle of a change.
        if self.document.is_running:
            stepping.finish()
        else:
            stepping.start()
        if self.busy:
            self.asking.drop()
            self.said.emit("One moment…")

    def tell_failure(self, error: BaseException) -> None:
        """Warn of what went wrong, unless the user wanted it so."""
        if not isinstance(error, CancelledError):
            self.warned.emit(str(error) or type(error).__name__)

    def _on_result(self, result: ActionResult) -> None:
        message = result.message or f"{result.name}."
        if self.tool.can_swap:
            message += " Tab shows the other reading."
        self.said.emit(message)

    def describe(self, nucleus: int) -> str:
        """Return a nucleus in words: class, area, score, what another model thinks, state."""
        row = self.document.row(nucleus)
        area = f"{row.area} px" if self.mpp is None else f"{row.area * self.mpp**2:.1f} µm²"
        name = self.document.scheme.name_of(row.class_id)
        words = [f"Nucleus {row.id}: {name}", area, f"score {row.score:.2f}"]
        if row.agreement is not None:
            words.append(f"another model agrees by {row.agreement:.2f}")
        words.append(self.opinion.describe(nucleus))
        return ", ".join(word for word in (*words, row.state.value) if word)

    def _show_selection(self) -> None:
        selected = self.tool.selected
        if selected is not None:
            self.opinion.look_at(None)
        self.binding.mark(selected, SELECTED)
        if selected != self._shown:
            self._shown = selected
            self.selection_changed.emit(selected)

    def _on_scheme(self) -> None:
        self.binding.set_scheme(self.document.scheme)
        self.scheme_changed.emit()

    def close(self) -> None:
        """Take everything of ours out of the viewer; the document stays as it is."""
        self.closing.emit()
        self.document.scheme_changed.disconnect(self._on_scheme)
        self.asking.close()
        self.by_hand.close()
        self.opinion.drop()
        self.marks.close()
        self.overlay.close()
        self.binding.close()
