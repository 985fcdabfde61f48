"""The Correct tab: what a click does now, and the nucleus that is selected."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QGridLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QMessageBox,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.session.hands import Gesture
from napari_nucleus.widgets.annotation import Annotation
from napari_nucleus.widgets.keys import current_keys, key_card

if TYPE_CHECKING:
    from napari_nucleus.widgets.workspace import Workspace

__all__ = ["CorrectTab", "swatch"]

ADDS = (
    "<b>Click</b> a missing nucleus, or what is missing of one, to add it.<br>"
    "<b>Ctrl-click</b> a nucleus to remove it; near its rim, to take that part away.<br>"
    "<b>Shift-drag</b> a box around a nucleus."
)
TAKES = (
    "<b>Click</b> a nucleus to remove it; near its rim, to take that part away.<br>"
    "<b>Ctrl-click</b> to add.<br>"
    "<b>Shift-drag</b> a box around a nucleus."
)


GESTURES: tuple[tuple[Gesture, str, str], ...] = (
    ("cut", "Cut", "Drag a stroke across nuclei to cut them"),
    ("split", "Split", "Split a nucleus between two clicks in it"),
    ("merge", "Merge", "Make one of the selected nucleus and the one that you click next"),
)


class CorrectTab(QWidget):
    """Hints, the selected nucleus, its class, and how nuclei are shown."""

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workspace = workspace
        keys = current_keys()
        self.hint = QLabel(ADDS)
        self.hint.setWordWrap(True)
        self.sign = QPushButton("Click takes away")
        self.sign.setCheckable(True)
        self.sign.setToolTip(
            f"Swap what click and Ctrl-click do, for trackpads ({keys['toggle_sign']})"
        )
        self.swap = QPushButton("Other reading")
        self.swap.setToolTip(f"Show the other reading of the last click ({keys['swap']})")
        self.selected = QLabel("No nucleus selected. Click one.")
        self.selected.setWordWrap(True)
        self.remove = QPushButton("Remove")
        self.remove.setToolTip(f"Remove the selected nucleus ({keys['delete']})")
        self.gestures: dict[Gesture, QPushButton] = {}
        for gesture, text, tip in GESTURES:
            button = QPushButton(text)
            button.setCheckable(True)
            button.setToolTip(f"{tip} ({keys[gesture]})")
            button.clicked.connect(self._act(partial(Annotation.begin, gesture=gesture)))
            self.gestures[gesture] = button
        self.before = QPushButton("Back")
        self.before.setToolTip(f"The doubtful nucleus before ({keys['previous_doubtful']})")
        self.accept = QPushButton("Accept")
        self.accept.setToolTip(f"Accept it and go to the next ({keys['accept']})")
        self.next = QPushButton("Next")
        self.next.setToolTip(f"The next doubtful nucleus ({keys['next_doubtful']})")
        self.fill_holes = QPushButton("Fill holes")
        self.fill_holes.setToolTip(f"Fill the holes of the nucleus ({keys['fill_holes']})")
        self.smooth = QPushButton("Smooth")
        self.smooth.setToolTip(f"Smooth the outline of the nucleus ({keys['smooth']})")
        self.fill = QPushButton("Fill")
        self.fill.setCheckable(True)
        self.fill.setToolTip(f"Fill nuclei, or outlines only ({keys['fill']})")
        self.hide_nuclei = QPushButton("Hide")
        self.hide_nuclei.setToolTip(f"Hide nuclei, or show them again ({keys['hide']})")
        self.help = QPushButton("?")
        self.help.setFixedWidth(32)
        self.help.setToolTip(f"List the keys ({keys['help']})")

        self._classes = QGridLayout()
        self._classes.setSpacing(4)
        selected = QGroupBox("Nucleus")
        lines = QVBoxLayout(selected)
        lines.addWidget(self.selected)
        lines.addLayout(self._classes)
        shape = QHBoxLayout()
        for button in (self.remove, self.fill_holes, self.smooth):
            shape.addWidget(button, 1)
        lines.addLayout(shape)
        review = QGroupBox("Doubtful nuclei, the worst first")
        queue = QHBoxLayout(review)
        for button in (self.before, self.accept, self.next):
            queue.addWidget(button, 1)
        by_hand = QGroupBox("By hand")
        hand = QHBoxLayout(by_hand)
        for button in self.gestures.values():
            hand.addWidget(button, 1)
        clicks = QHBoxLayout()
        clicks.addWidget(self.sign, 1)
        clicks.addWidget(self.swap, 1)
        shown = QHBoxLayout()
        shown.addWidget(self.fill)
        shown.addWidget(self.hide_nuclei)
        shown.addStretch(1)
        shown.addWidget(self.help)
        layout = QVBoxLayout(self)
        layout.addWidget(self.hint)
        layout.addLayout(clicks)
        layout.addWidget(selected)
        layout.addWidget(review)
        layout.addWidget(by_hand)
        layout.addLayout(shown)
        layout.addStretch(1)

        self.sign.clicked.connect(self._act(Annotation.toggle_sign))
        self.swap.clicked.connect(self._act(Annotation.swap))
        self.remove.clicked.connect(self._act(Annotation.delete))
        self.before.clicked.connect(self._act(partial(Annotation.next_doubtful, forward=False)))
        self.accept.clicked.connect(self._act(Annotation.accept_and_advance))
        self.next.clicked.connect(self._act(Annotation.next_doubtful))
        self.fill_holes.clicked.connect(self._act(Annotation.fill_holes))
        self.smooth.clicked.connect(self._act(Annotation.smooth))
        self.fill.clicked.connect(self._act(Annotation.toggle_fill))
        self.hide_nuclei.clicked.connect(self._act(Annotation.toggle_hidden))
        self.help.clicked.connect(self.show_keys)
        workspace.annotation_changed.connect(self._on_annotation)
        workspace.document_changed.connect(self.refresh)
        workspace.said.connect(self.refresh)
        self._on_annotation()

    def show_keys(self) -> None:
        """Show the card of keys; it does not block the app."""
        card = QMessageBox(self)
        card.setWindowTitle("Keys")
        card.setTextFormat(Qt.TextFormat.RichText)
        card.setText(key_card())
        card.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        card.open()

    def refresh(self, *_: object) -> None:
        """Show the selected nucleus and the state of the tool."""
        annotation = self._workspace.annotation
        nucleus = None if annotation is None else annotation.tool.selected
        self.setEnabled(annotation is not None)
        flipped = annotation is not None and annotation.tool.flipped
        self.sign.setChecked(flipped)
        self.hint.setText(TAKES if flipped else ADDS)
        self.swap.setEnabled(annotation is not None and annotation.tool.can_swap)
        self.fill.setChecked(annotation is not None and annotation.binding.filled)
        for gesture, button in self.gestures.items():
            button.setChecked(annotation is not None and annotation.hands.gesture == gesture)
        for button in (self.remove, self.fill_holes, self.smooth):
            button.setEnabled(nucleus is not None)
        for i in range(self._classes.count()):
            item = self._classes.itemAt(i)
            button = None if item is None else item.widget()
            if button is not None:
                button.setEnabled(nucleus is not None)
        if annotation is None or nucleus is None:
            self.selected.setText("No nucleus selected. Click one.")
            return
        self.selected.setText(annotation.describe(nucleus))

    def _on_annotation(self) -> None:
        annotation = self._workspace.annotation
        while self._classes.count():
            item = self._classes.takeAt(0)
            button = None if item is None else item.widget()
            if button is not None:
                button.deleteLater()
        if annotation is not None:
            annotation.selection_changed.connect(self.refresh, unique=True)
            self._add_classes(annotation.document.scheme)
        self.refresh()

    def _add_classes(self, scheme: ClassScheme) -> None:
        for i, nucleus_class in enumerate(scheme.classes):
            button = QPushButton(
                swatch(nucleus_class.color), f"{nucleus_class.id}  {nucleus_class.name}"
            )
            button.setToolTip(
                f"Make it {nucleus_class.name}; the key {nucleus_class.id} does so for the nucleus "
                "under the pointer"
            )
            button.clicked.connect(partial(self._classify_selected, nucleus_class.id))
            self._classes.addWidget(button, i // 2, i % 2)

    def _classify_selected(self, class_id: int, *_: object) -> None:
        if self._workspace.annotation is not None:
            self._workspace.annotation.classify_selected(class_id)

    def _act(self, act: object) -> object:
        def on_click(*_: object) -> None:
            if self._workspace.annotation is not None:
                act(self._workspace.annotation)  # type: ignore[operator]
                self.refresh()

        return on_click


def swatch(color: tuple[int, int, int]) -> QIcon:
    """Return a small square of a colour."""
    pixmap = QPixmap(12, 12)
    pixmap.fill(QColor(*color))
    return QIcon(pixmap)
