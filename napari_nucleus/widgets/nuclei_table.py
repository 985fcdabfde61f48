"""The table of nuclei: sorted, filtered, linked with the canvas, and a way to change many at once.

It costs what is seen of it: ids come from arrays in memory (`session.columns`), rows are read page
by page. What is selected in it is selected on the canvas and brought into view; what is selected on
the canvas is selected in it, and the view stays where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtGui import QHideEvent, QResizeEvent, QShowEvent
from qtpy.QtWidgets import QBoxLayout, QLabel, QMenu, QPushButton, QWidget

from napari_nucleus.core.nuclei import counted
from napari_nucleus.session import actions
from napari_nucleus.session.actions import Steps
from napari_nucleus.session.document import Document
from napari_nucleus.widgets.annotation import Annotation
from napari_nucleus.widgets.swatches import swatch
from napari_nucleus.widgets.table_filters import TableFilters
from napari_nucleus.widgets.table_model import NucleiModel
from napari_nucleus.widgets.table_view import TableView

if TYPE_CHECKING:
    from napari_nucleus.widgets.workspace import Workspace

__all__ = ["NucleiTable"]

REFRESH_MS = 300
"""How long changes are gathered before the table is ordered anew."""


class NucleiTable(QWidget):
    """Filters, the table, and what can be done to the rows that are selected.

    Parameters
    ----------
    workspace
        Whose nuclei are shown; another image is followed.
    """

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self._annotation: Annotation | None = None
        self._selected_later: int | None = None
        self.filters = TableFilters()
        self.model = NucleiModel(self)
        self.view = TableView(self.model)
        self.select_all = QPushButton("Select all shown")
        self.select_all.setToolTip("Select every nucleus that the filters leave (Ctrl-A)")
        self.selected = QLabel()
        self.classify = QPushButton("Set class")
        self.classify.setToolTip("Give all selected nuclei a class, as one step")
        self.accept = QPushButton("Accept")
        self.accept.setToolTip("Accept all selected nuclei as they are, as one step")
        self.remove = QPushButton("Remove")
        self.remove.setToolTip("Remove all selected nuclei, as one step (Delete)")
        self.classes = QMenu("Set class", self)
        self.classify.setMenu(self.classes)
        self.menu = QMenu(self)
        self.menu.addMenu(self.classes)
        self.menu.addAction("Accept", self._on_accept)
        self.menu.addAction("Remove", self._on_remove)
        self.menu.addSeparator()
        self.menu.addAction("Select all shown", self.view.selectAll)

        buttons = (self.select_all, self.classify, self.accept, self.remove)
        self._actions = QBoxLayout(QBoxLayout.Direction.TopToBottom)
        self._actions.setSpacing(4)
        self._actions.addWidget(self.selected)
        for button in buttons:
            self._actions.addWidget(button)
        self._actions.addStretch(1)
        self._parts = QBoxLayout(QBoxLayout.Direction.LeftToRight, self)
        self._parts.setContentsMargins(6, 4, 6, 4)
        self._parts.setSpacing(10)
        self._parts.addWidget(self.filters)
        self._parts.addWidget(self.view, 1)
        self._parts.addLayout(self._actions)

        self._refreshing = _timer(REFRESH_MS, self.refresh)
        self._loading = _timer(0, self.refresh)
        self.filters.changed.connect(self.refresh)
        self.model.order_changed.connect(self.refresh)
        self.view.chosen.connect(self._on_chosen)
        self.view.selection_changed.connect(self._show_selected)
        self.view.delete_pressed.connect(self._on_remove)
        self.view.customContextMenuRequested.connect(self._on_menu)
        self.select_all.clicked.connect(lambda: self.view.selectAll())
        self.accept.clicked.connect(lambda: self._on_accept())
        self.remove.clicked.connect(lambda: self._on_remove())
        workspace.annotation_changed.connect(self._on_annotation)
        self._on_annotation()

    def let_go(self) -> None:
        """Follow the workspace no more."""
        for timer in (self._refreshing, self._loading):
            timer.stop()
        self._workspace.annotation_changed.disconnect(self._on_annotation)
        self._follow(None)

    # ---- following the document

    def _on_annotation(self) -> None:
        self._follow(self._workspace.annotation)

    def _on_closing(self) -> None:
        self._follow(None)

    def _follow(self, annotation: Annotation | None) -> None:
        before, self._annotation = self._annotation, annotation
        if before is not None:
            before.document.changed.disconnect(self._on_changed)
            before.selection_changed.disconnect(self._on_selection)
            before.mpp_changed.disconnect(self._on_mpp)
            before.scheme_changed.disconnect(self._on_changed)
            before.closing.disconnect(self._on_closing)
        self._selected_later = None
        self.model.show(None if annotation is None else annotation.document)
        self.setEnabled(annotation is not None)
        if annotation is not None:
            annotation.document.changed.connect(self._on_changed)
            annotation.selection_changed.connect(self._on_selection)
            annotation.mpp_changed.connect(self._on_mpp)
            annotation.scheme_changed.connect(self._on_changed)
            annotation.closing.connect(self._on_closing)
            self._selected_later = annotation.tool.selected
            self._on_mpp()
        self.refresh()

    def _on_changed(self, *_: object) -> None:
        self.model.forget_rows()
        self.view.redraw()
        # Not begun anew: while nuclei stream in, the table follows them all the same.
        if not self._refreshing.isActive():
            self._refreshing.start()

    def _on_mpp(self) -> None:
        annotation = self._annotation
        if annotation is not None:
            self.filters.set_mpp(annotation.document.mpp)
            self.model.headerDataChanged.emit(
                Qt.Orientation.Horizontal, 0, self.model.columnCount() - 1
            )
            self.view.redraw()

    def refresh(self) -> None:
        """Order and filter the nuclei anew; does nothing while the table is not on screen."""
        self._refreshing.stop()
        annotation = self._annotation
        if annotation is None:
            self._show_count(0)
            return
        if not self.isVisible():
            return
        document = annotation.document
        self._offer_classes(document)
        columns = document.store.columns
        if not columns.load():
            self.filters.count.setText(f"Reading, {len(columns):,} of {document.count:,}…")
            self._loading.start()
            return
        ids = document.ordered_ids(self.model.order, self.filters.wanted)
        self.view.show_ids(ids)
        if self._selected_later is not None:
            self._on_selection(self._selected_later)
        self._show_count(document.count)

    def _offer_classes(self, document: Document) -> None:
        scheme = document.scheme
        self.filters.set_scheme(scheme)
        known = [action.data() for action in self.classes.actions()]
        offered = [*((c.id, c.name, c.color) for c in scheme.classes)]
        offered.append((0, scheme.name_of(0), scheme.unknown_color))
        if known == offered:
            return
        self.classes.clear()
        for kind in offered:
            class_id, name, color = kind
            action = self.classes.addAction(swatch(color), name)
            assert action is not None
            action.setData(kind)
            action.triggered.connect(partial(self._on_class, class_id))

    def _show_count(self, total: int) -> None:
        shown = len(self.model.ids)
        self.filters.count.setText(f"{shown:,} of {total:,}" if shown != total else counted(total))
        self._show_selected()

    def _show_selected(self) -> None:
        n = self.view.selected_count
        self.selected.setText(f"{counted(n)} selected" if n else "None selected")
        for widget in (self.classify, self.accept, self.remove):
            widget.setEnabled(n > 0)
        for action in self.menu.actions()[:3]:
            action.setEnabled(n > 0)
        self.select_all.setEnabled(len(self.model.ids) > 0)

    def showEvent(self, event: QShowEvent | None) -> None:
        """Catch up with what has changed while the table was not on screen."""
        super().showEvent(event)
        self._loading.start()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Put the parts side by side, or one below the other where the table is docked upright."""
        upright = self.height() > self.width()
        directions = QBoxLayout.Direction
        self._parts.setDirection(directions.TopToBottom if upright else directions.LeftToRight)
        self._actions.setDirection(directions.LeftToRight if upright else directions.TopToBottom)
        super().resizeEvent(event)

    def hideEvent(self, event: QHideEvent | None) -> None:
        """Rest while the table is not on screen."""
        self._loading.stop()
        super().hideEvent(event)

    # ---- the link with the canvas

    def _on_chosen(self, nucleus: int) -> None:
        """Select on the canvas what the user has selected in the table."""
        annotation = self._annotation
        if annotation is not None and nucleus in annotation.document:
            self._selected_later = None
            annotation.select(nucleus)

    def _on_selection(self, nucleus: int | None) -> None:
        """Select in the table what is selected on the canvas; one that is new comes later."""
        self._selected_later = None
        if nucleus is None:
            self.view.deselect_one()
        elif not self.view.select_nucleus(nucleus) and (
            self._refreshing.isActive() or self._loading.isActive() or not self.isVisible()
        ):
            self._selected_later = nucleus

    # ---- changing many at once

    def _on_menu(self, place: QPoint) -> None:
        viewport = self.view.viewport()
        assert viewport is not None
        self.menu.popup(viewport.mapToGlobal(place))

    def _on_class(self, class_id: int, *_: object) -> None:
        self._change(lambda document, ids: actions.classify_in_steps(document, ids, class_id))

    def _on_accept(self) -> None:
        self._change(actions.accept_in_steps)

    def _on_remove(self) -> None:
        self._change(actions.remove_in_steps)

    def _change(self, act: Callable[[Document, Sequence[int]], Steps]) -> None:
        annotation, ids = self._annotation, self.view.selected_ids()
        if annotation is not None and len(ids):
            annotation.change(act, _present(annotation.document, ids))
            self.refresh()


def _present(document: Document, ids: NDArray[np.int64]) -> list[int]:
    """Return those of these nuclei that are still there, in the order of their ids."""
    return np.intersect1d(ids, document.ordered_ids()).tolist()


def _timer(interval_ms: int, then: Callable[[], None]) -> QTimer:
    timer = QTimer()
    timer.setSingleShot(True)
    timer.setInterval(interval_ms)
    timer.timeout.connect(lambda: then())
    return timer
