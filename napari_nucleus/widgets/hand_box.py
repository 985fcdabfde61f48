"""The hand tools as buttons."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QGridLayout, QGroupBox, QPushButton, QWidget

from napari_nucleus.session.hands import Gesture
from napari_nucleus.widgets.hand_work import HandWork
from napari_nucleus.widgets.keys import current_keys

if TYPE_CHECKING:
    from napari_nucleus.widgets.workspace import Workspace

__all__ = ["HandBox"]

BRUSHES = (
    ("brush", "Brush", False, "Paint: begin in a nucleus to extend it, else you make a new one"),
    ("eraser", "Eraser", True, "Erase: begin in a nucleus to take from that one only"),
)
GESTURES: tuple[tuple[Gesture, str, str], ...] = (
    ("scribble", "Scribble", "Drag along a nucleus; the model finds its outline"),
    ("cut", "Cut", "Drag a stroke across nuclei to cut them"),
    ("split", "Split", "Split a nucleus between two clicks in it"),
    ("merge", "Merge", "Make one of the selected nucleus and the one clicked next, or of a stroke"),
    ("choose", "Choose", "Drag a box around nuclei to change them together"),
)
COLUMNS = 3


class HandBox(QGroupBox):
    """Brush, eraser, gestures; each lights up while it is in use."""

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__("By hand", parent)
        self._workspace = workspace
        self._grid = QGridLayout(self)
        self._grid.setSpacing(4)
        self.brushes = {
            erases: self._button(name, text, tip, lambda h, e=erases: h.take_brush(e))
            for name, text, erases, tip in BRUSHES
        }
        self.gestures: dict[Gesture, QPushButton] = {
            gesture: self._button(gesture, text, tip, lambda h, g=gesture: h.begin(g))
            for gesture, text, tip in GESTURES
        }
        self.like = self._button(
            "choose_like",
            "Choose alike",
            "Choose all nuclei in view of the class of the selected one",
            HandWork.choose_like_selected,
        )
        self.like.setCheckable(False)
        self.refresh()

    def refresh(self) -> None:
        """Show what is in use."""
        annotation = self._workspace.annotation
        by_hand = None if annotation is None else annotation.by_hand
        for erases, button in self.brushes.items():
            kind = None if by_hand is None else by_hand.brush.kind
            button.setChecked(kind == ("erase" if erases else "paint"))
        for gesture, button in self.gestures.items():
            button.setChecked(by_hand is not None and by_hand.gestures.gesture == gesture)

    def _button(
        self, name: str, text: str, tip: str, act: Callable[[HandWork], None]
    ) -> QPushButton:
        button = QPushButton(text)
        button.setCheckable(True)
        button.setToolTip(f"{tip} ({current_keys()[name]})")

        def on_click(*_: object) -> None:
            if self._workspace.annotation is not None:
                act(self._workspace.annotation.by_hand)
            self.refresh()

        button.clicked.connect(on_click)
        place = self._grid.count()
        self._grid.addWidget(button, place // COLUMNS, place % COLUMNS)
        return button
