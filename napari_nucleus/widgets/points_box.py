"""The group of the Segment tab in which points are worked on until they become nuclei."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QComboBox,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from napari_nucleus.errors import NucleusError
from napari_nucleus.session.points_values import Standing
from napari_nucleus.widgets.keys import current_keys
from napari_nucleus.widgets.points_run import counted_points
from napari_nucleus.widgets.swatches import swatch

if TYPE_CHECKING:
    from napari_nucleus.widgets.workspace import Workspace

__all__ = ["PointsBox"]

SURENESS = 95
"""Largest score, in hundredths, below which points can be hidden."""

HINT = (
    "No nucleus yet: put the points right, their outlines follow. <b>Accept</b> makes nuclei of "
    "them, as one undo step."
)

BY_MODEL = "as the models say"


class PointsBox(QGroupBox):
    """Buttons for points; hidden while there are none."""

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__("Points", parent)
        self._workspace = workspace
        self._points = workspace.points
        keys = current_keys()
        undo_key, redo_key = (keys[k].replace("Control", "Ctrl") for k in ("undo", "redo"))
        self.sentence = QLabel()
        self.sentence.setWordWrap(True)
        self.hint = QLabel(HINT)
        self.hint.setWordWrap(True)
        self.select = QPushButton("Select, move")
        self.select.setToolTip(
            "Click a point to select it, drag it to move it, drag a box around several; Delete "
            "takes the selected ones out"
        )
        self.add = QPushButton("Add")
        self.add.setToolTip("Click where a nucleus has no point")
        for button in (self.select, self.add):
            button.setCheckable(True)
        self.delete = QPushButton("Delete")
        self.delete.setToolTip("Take the selected points out (Delete)")
        self.undo = QPushButton("Undo")
        self.undo.setToolTip(f"Take back the last change of points ({undo_key} on their layer)")
        self.redo = QPushButton("Redo")
        self.redo.setToolTip(f"Bring back a change that was taken back ({redo_key})")
        self.classes = QComboBox()
        self.classes.setAccessibleName("Class of points")
        self.classes.setToolTip(
            "The class of points that you add, and of those that are selected (its digit)"
        )
        self.sureness = QSlider(Qt.Orientation.Horizontal)
        self.sureness.setRange(0, SURENESS)
        self.sureness.setAccessibleName("Fewer, surer points")
        self.sureness.setToolTip(
            "Hides points that the detector is less sure of than this; yours always stay"
        )
        self.least = QLabel()
        self.accept = QPushButton("Accept")
        self.accept.setToolTip("Make nuclei of all points that are shown, as one undo step")
        self.discard = QPushButton("Discard")
        self.discard.setToolTip("Put the points away; the nuclei stay as they are")
        self.bring_back = QPushButton()
        self.bring_back.setToolTip("Show the points again that were accepted or discarded last")

        self._work = QWidget()
        lines = QVBoxLayout(self._work)
        lines.setContentsMargins(0, 0, 0, 0)
        lines.addWidget(self.sentence)
        lines.addWidget(self.hint)
        for widgets in ((self.select, self.add, self.delete), (self.undo, self.redo)):
            lines.addLayout(_line(*widgets))
        lines.addLayout(_line(QLabel("Class"), self.classes))
        lines.addLayout(_line(QLabel("Surer only"), self.sureness, self.least))
        lines.addLayout(_line(self.accept, self.discard))
        layout = QVBoxLayout(self)
        layout.addWidget(self._work)
        layout.addWidget(self.bring_back)

        points = self._points
        self.select.clicked.connect(lambda on: self._set_mode("select" if on else ""))
        self.add.clicked.connect(lambda on: self._set_mode("add" if on else ""))
        self.delete.clicked.connect(points.delete_selected)
        self.undo.clicked.connect(points.undo)
        self.redo.clicked.connect(points.redo)
        self.classes.activated.connect(lambda _: points.classify(self.classes.currentData()))
        self.sureness.valueChanged.connect(self._on_sureness)
        self.accept.clicked.connect(lambda: self._act(points.accept))
        self.discard.clicked.connect(points.discard)
        self.bring_back.clicked.connect(points.bring_back)
        # Several things change together; they are shown once, after the last.
        self._refreshing = QTimer(self)
        self._refreshing.setSingleShot(True)
        self._refreshing.setInterval(0)
        self._refreshing.timeout.connect(self.refresh)
        points.changed.connect(self._on_changed)
        workspace.annotation_changed.connect(self._on_annotation)
        workspace.progressed.connect(self._on_progress)
        self._running = False
        self._on_annotation()

    def refresh(self) -> None:
        """Show the points there are, and what can be done with them."""
        points, book = self._points, self._points.book
        self._work.setVisible(book is not None)
        self.bring_back.setVisible(book is None and points.put_away > 0)
        self.setVisible(book is not None or points.put_away > 0)
        self.bring_back.setText(f"Bring {counted_points(points.put_away)} back")
        if book is None:
            return
        standing = book.standing
        self.sentence.setText(f"<b>{_described(standing)}</b>")
        self.select.setChecked(points.mode == "select")
        self.add.setChecked(points.mode == "add")
        self.delete.setEnabled(points.selected > 0)
        self.undo.setEnabled(book.undo_name is not None)
        self.redo.setEnabled(book.redo_name is not None)
        for button in (self.accept, self.discard):
            button.setEnabled(not self._running)
        self.accept.setText(f"Accept {counted_points(standing.shown)}")
        self.sureness.blockSignals(True)
        self.sureness.setValue(round(100 * book.threshold))
        self.sureness.blockSignals(False)
        self.least.setText(f"{book.threshold:.2f}")
        self.classes.setCurrentIndex(max(self.classes.findData(points.new_class), 0))

    def _on_changed(self) -> None:
        self._refreshing.start()

    def _on_annotation(self) -> None:
        annotation = self._workspace.annotation
        if annotation is not None:
            annotation.scheme_changed.connect(self._list_classes, unique=True)
        self._list_classes()
        self.refresh()

    def _list_classes(self) -> None:
        self.classes.clear()
        self.classes.addItem(BY_MODEL, 0)
        annotation = self._workspace.annotation
        if annotation is not None:
            for c in annotation.document.scheme.classes:
                self.classes.addItem(swatch(c.color), c.name, c.id)

    def _on_progress(self, report: object) -> None:
        self._running = report is not None
        self.refresh()

    def _on_sureness(self, value: int) -> None:
        self.least.setText(f"{value / 100:.2f}")
        self._points.set_threshold(value / 100)

    def _set_mode(self, mode: str) -> None:
        if mode:
            self._points.work(mode)
        else:
            self._points.rest()
        self.refresh()

    def _act(self, act: Callable[[], None]) -> None:
        try:
            act()
        except NucleusError as error:
            self._workspace.warned.emit(str(error))


def _described(standing: Standing) -> str:
    """Return in a line how many points there are, and how far they have come."""
    text = f"{counted_points(standing.shown)}, {standing.outlined:,} outlined"
    if standing.hidden:
        text += f", {standing.hidden:,} hidden"
    if standing.empty:
        text += f", {standing.empty:,} without a nucleus of their own (crosses)"
    return f"{text}."


def _line(*widgets: QWidget) -> QHBoxLayout:
    line = QHBoxLayout()
    for widget in widgets:
        line.addWidget(widget, 0 if isinstance(widget, QLabel) else 1)
    return line
