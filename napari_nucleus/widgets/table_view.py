"""The view of the table of nuclei: selection by ids, which outlives another order of the rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.QtCore import (
    QItemSelection,
    QItemSelectionModel,
    QItemSelectionRange,
    Qt,
    QTimer,
)
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView

from napari_nucleus.widgets.table_model import NucleiModel

__all__ = ["TableView"]

ROW_HEIGHT = 22
ROOM = """
QTableView { alternate-background-color: rgba(128, 128, 128, 24); }
QTableView::item { padding-left: 8px; padding-right: 8px; }
QHeaderView::section { padding: 3px 18px 3px 8px; }
"""

WIDTHS = (72, 140, 80, 110, 100)

MOST_RUNS = 4000
"""Runs of rows that are selected again after the order has changed; of more, none is."""

MOVES = (
    Qt.Key.Key_Up,
    Qt.Key.Key_Down,
    Qt.Key.Key_PageUp,
    Qt.Key.Key_PageDown,
    Qt.Key.Key_Home,
    Qt.Key.Key_End,
)

ROWS = QItemSelectionModel.SelectionFlag.Rows
CLEAR_AND_SELECT = QItemSelectionModel.SelectionFlag.ClearAndSelect


class TableView(QTableView):
    """Shows the rows of a model of nuclei.

    Attributes
    ----------
    chosen
        Emitted with the id of the nucleus that the user has selected, or has selected last.
    selection_changed
        Emitted when other rows are selected.
    delete_pressed
        Emitted when the user presses Delete.
    """

    chosen = Signal(int)
    selection_changed = Signal()
    delete_pressed = Signal()

    def __init__(self, model: NucleiModel) -> None:
        super().__init__()
        self._model = model
        self._busy = False
        self._announced: int | None = None
        header, side = self.horizontalHeader(), self.verticalHeader()
        assert header is not None
        assert side is not None
        side.hide()
        side.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        side.setDefaultSectionSize(ROW_HEIGHT)
        self.setModel(model)
        for column, width in enumerate(WIDTHS):
            self.setColumnWidth(column, width)
        header.setStretchLastSection(True)
        # With the selection of the table, it would ask every row whether it is selected.
        header.setSelectionModel(QItemSelectionModel(model, header))
        header.setSortIndicator(0, Qt.SortOrder.AscendingOrder)
        self.setSortingEnabled(True)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setAlternatingRowColors(True)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)
        self.setCornerButtonEnabled(False)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.setMinimumHeight(7 * ROW_HEIGHT)
        self.setStyleSheet(ROOM)
        # Qt tells of the selection and of the current row in this order or the other.
        self._telling = QTimer(self)
        self._telling.setSingleShot(True)
        self._telling.setInterval(0)
        self._telling.timeout.connect(lambda: self._tell())
        self._selection.selectionChanged.connect(self._on_selection)
        self._selection.currentRowChanged.connect(self._on_selection)

    @property
    def _selection(self) -> QItemSelectionModel:
        selection = self.selectionModel()
        assert selection is not None
        return selection

    # ---- what is selected

    @property
    def selected_count(self) -> int:
        """Number of selected rows."""
        return sum(r.bottom() - r.top() + 1 for r in self._selection.selection())

    def selected_ids(self) -> NDArray[np.int64]:
        """Return the ids of the selected nuclei, ``(n,)``."""
        ranges = [slice(r.top(), r.bottom() + 1) for r in self._selection.selection()]
        ids = self._model.ids
        return np.concatenate([ids[r] for r in ranges]) if ranges else ids[:0]

    def select_nucleus(self, nucleus_id: int) -> bool:
        """Select a nucleus alone and scroll to it, telling nobody; False if it is not shown."""
        position = self._model.position_of(nucleus_id)
        if position is None:
            self.deselect_one()
            return False
        self._announced = nucleus_id
        index = self._model.index(position, 0)
        selection = self._selection
        # One of several selected rows may be the one on the canvas.
        if selection.currentIndex().row() != position or not selection.isSelected(index):
            self._busy = True
            selection.setCurrentIndex(index, CLEAR_AND_SELECT | ROWS)
            self._busy = False
            self.scrollTo(index, self._hint(position))
            self.selection_changed.emit()
        return True

    def deselect_one(self) -> None:
        """Select nothing, unless the user has selected several rows."""
        self._announced = None
        if self.selected_count <= 1:
            self._busy = True
            self._selection.clear()
            self._busy = False
            self.selection_changed.emit()

    def _hint(self, position: int) -> QAbstractItemView.ScrollHint:
        """Return where to scroll a row to: nowhere if it is seen, into the middle otherwise."""
        viewport = self.viewport()
        assert viewport is not None
        y = self.rowViewportPosition(position)
        seen = y >= 0 and y + ROW_HEIGHT <= viewport.height()
        hints = QAbstractItemView.ScrollHint
        return hints.EnsureVisible if seen else hints.PositionAtCenter

    def _on_selection(self, *_: object) -> None:
        if not self._busy:
            self._telling.start()
            self.selection_changed.emit()

    def _tell(self) -> None:
        index = self._selection.currentIndex()
        if not index.isValid() or not self._selection.isSelected(index):
            return
        nucleus = int(self._model.ids[index.row()])
        if nucleus != self._announced:
            self._announced = nucleus
            self.chosen.emit(nucleus)

    # ---- what is shown

    def redraw(self) -> None:
        """Draw what is seen again."""
        viewport = self.viewport()
        if viewport is not None:
            viewport.update()

    def show_ids(self, ids: NDArray[np.int64]) -> None:
        """Show these nuclei; what is selected and what is seen at the top stays so."""
        old = self._model.ids
        if len(ids) >= len(old) and np.array_equal(ids[: len(old)], old):
            if len(ids) > len(old):
                self._model.append(ids)
            self.redraw()
            return
        selected, top = self.selected_ids(), self.rowAt(0)
        current = self._selection.currentIndex().row()
        kept = [int(old[row]) if 0 <= row < len(old) else None for row in (current, top)]
        self._busy = True
        self._model.replace(ids)
        if len(selected):
            self._select_again(selected)
        places = [None if i is None else self._model.position_of(i) for i in kept]
        if places[0] is not None:
            index = self._model.index(places[0], 0)
            self._selection.setCurrentIndex(index, QItemSelectionModel.SelectionFlag.NoUpdate)
        self._busy = False
        bar = self.verticalScrollBar()
        if places[1] is not None and bar is not None and top > 0:
            self.scrollTo(
                self._model.index(places[1], 0), QAbstractItemView.ScrollHint.PositionAtTop
            )
        self.selection_changed.emit()

    def _select_again(self, selected: NDArray[np.int64]) -> None:
        is_selected = np.isin(self._model.ids, selected).astype(np.int8)
        edges = np.flatnonzero(np.diff(is_selected, prepend=0, append=0)).tolist()
        if len(edges) > 2 * MOST_RUNS:
            return
        last = self._model.columnCount() - 1
        rows = QItemSelection()
        for first, end in zip(edges[::2], edges[1::2], strict=True):
            rows.append(
                QItemSelectionRange(self._model.index(first, 0), self._model.index(end - 1, last))
            )
        self._selection.select(rows, CLEAR_AND_SELECT)

    # ---- keys

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Move and select by keys; those of the app go on to the app."""
        if event is None:
            return
        if event.key() == Qt.Key.Key_Delete:
            self.delete_pressed.emit()
        elif event.key() in MOVES or (
            event.key() == Qt.Key.Key_A and event.modifiers() == Qt.KeyboardModifier.ControlModifier
        ):
            super().keyPressEvent(event)
        else:
            event.ignore()
