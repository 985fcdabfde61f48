"""The Correct tab: what a click does now, and the nucleus that is selected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFrame,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QMessageBox,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_nucleus.widgets.annotation import Annotation
from napari_nucleus.widgets.class_box import ClassBox
from napari_nucleus.widgets.compare_box import CompareBox
from napari_nucleus.widgets.hand_box import HandBox
from napari_nucleus.widgets.keys import current_keys, key_card
from napari_nucleus.widgets.review_box import ReviewBox

if TYPE_CHECKING:
    from napari_nucleus.widgets.workspace import Workspace

__all__ = ["CorrectTab"]

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


class CorrectTab(QScrollArea):
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
        self.model = QComboBox()
        self.model.setToolTip("The model that answers clicks, boxes and scribbles")
        for model in workspace.models.answering:
            self.model.addItem(model.name)
            last = self.model.count() - 1
            self.model.setItemData(last, model.info.title, Qt.ItemDataRole.ToolTipRole)
        self.selected = QLabel("No nucleus selected. Click one.")
        self.selected.setWordWrap(True)
        self.remove = QPushButton("Remove")
        self.remove.setToolTip(f"Remove the selected nucleus ({keys['delete']})")
        self.by_hand = HandBox(workspace)
        self.review = ReviewBox(workspace)
        self.compared = CompareBox(workspace)
        self.fill_holes = QPushButton("Fill holes")
        self.fill_holes.setToolTip(f"Fill the holes of the nucleus ({keys['fill_holes']})")
        self.smooth = QPushButton("Smooth")
        self.smooth.setToolTip(f"Smooth the outline of the nucleus ({keys['smooth']})")
        self.fill = QPushButton("Fill")
        self.fill.setCheckable(True)
        self.fill.setToolTip(f"Fill nuclei, or outlines only ({keys['fill']})")
        self.hide_nuclei = QPushButton("Hide")
        self.hide_nuclei.setToolTip(f"Hide nuclei, or show them again ({keys['hide']})")
        self.table = QPushButton("Table")
        self.table.setToolTip(
            f"Show the table of nuclei, to sort, find and change many at once ({keys['table']})"
        )
        self.help = QPushButton("?")
        self.help.setFixedWidth(32)
        self.help.setToolTip(f"List the keys ({keys['help']})")

        self.classes = ClassBox(workspace)
        selected = QGroupBox("Nucleus")
        lines = QVBoxLayout(selected)
        lines.addWidget(self.selected)
        lines.addWidget(self.classes)
        shape = QHBoxLayout()
        for button in (self.remove, self.fill_holes, self.smooth):
            shape.addWidget(button, 1)
        lines.addLayout(shape)
        clicks = QHBoxLayout()
        clicks.addWidget(self.sign, 1)
        clicks.addWidget(self.swap, 1)
        shown = QHBoxLayout()
        shown.addWidget(self.fill)
        shown.addWidget(self.hide_nuclei)
        shown.addStretch(1)
        shown.addWidget(self.table)
        shown.addWidget(self.help)
        content = QWidget()
        layout = QVBoxLayout(content)
        layout.addWidget(self.hint)
        layout.addLayout(clicks)
        if self.model.count() > 1:
            answered = QHBoxLayout()
            answered.addWidget(QLabel("Answered by"))
            answered.addWidget(self.model, 1)
            layout.addLayout(answered)
        layout.addWidget(selected)
        layout.addWidget(self.review)
        layout.addWidget(self.compared)
        layout.addWidget(self.by_hand)
        layout.addLayout(shown)
        layout.addStretch(1)
        self.setWidget(content)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

        self.sign.clicked.connect(self._act(Annotation.toggle_sign))
        self.swap.clicked.connect(self._act(Annotation.swap))
        self.model.textActivated.connect(lambda name: workspace.choose_click_model(name))
        workspace.models.chosen_changed.connect(self._show_model)
        self.remove.clicked.connect(self._act(lambda a: a.reviewing.delete()))
        self.fill_holes.clicked.connect(self._act(lambda a: a.by_hand.fill_holes()))
        self.smooth.clicked.connect(self._act(lambda a: a.by_hand.smooth()))
        self.fill.clicked.connect(self._act(Annotation.toggle_fill))
        self.hide_nuclei.clicked.connect(self._act(Annotation.toggle_hidden))
        self.table.clicked.connect(lambda: workspace.table_asked.emit())
        self.help.clicked.connect(self.show_keys)
        workspace.annotation_changed.connect(self._on_annotation)
        workspace.document_changed.connect(self.refresh)
        workspace.said.connect(self.refresh)
        self._show_model()
        self._on_annotation()

    def _show_model(self) -> None:
        self.model.setCurrentText(self._workspace.models.clicks.name)

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
        self.by_hand.refresh()
        for button in (self.remove, self.fill_holes, self.smooth):
            button.setEnabled(nucleus is not None)
        if annotation is None or nucleus is None:
            self.selected.setText("No nucleus selected. Click one.")
            return
        self.selected.setText(annotation.describe(nucleus))

    def _on_annotation(self) -> None:
        annotation = self._workspace.annotation
        if annotation is not None:
            annotation.selection_changed.connect(self.refresh, unique=True)
        self.refresh()

    def _act(self, act: object) -> object:
        def on_click(*_: object) -> None:
            if self._workspace.annotation is not None:
                act(self._workspace.annotation)  # type: ignore[operator]
                self.refresh()

        return on_click
