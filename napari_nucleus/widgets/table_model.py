"""The table of nuclei as Qt sees it: ids in an order, and rows that are read when they are seen."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt

from napari_nucleus.session.columns import Column, RowOrder
from napari_nucleus.session.document import Document
from napari_nucleus.session.table import NucleusRow
from napari_nucleus.widgets.swatches import swatch

__all__ = ["COLUMNS", "NucleiModel"]

PAGE = 64
"""Rows that are read together."""

KEPT_PAGES = 16

COLUMNS = (Column.ID, Column.CLASS, Column.SCORE, Column.AREA, Column.STATE)
TITLES = {Column.ID: "Id", Column.CLASS: "Class", Column.SCORE: "Score", Column.STATE: "State"}
TIPS = {
    Column.ID: "Value of the nucleus in the label map",
    Column.CLASS: "Class of the nucleus",
    Column.SCORE: "Confidence of the model that found it, 0 to 1; 1 for what you made",
    Column.AREA: "Area of the nucleus",
    Column.STATE: "How it came to be: automatic, imported, accepted by you, or made or changed by "
    "you (user)",
}

NUMBERS = (Column.ID, Column.SCORE, Column.AREA)

Index = QModelIndex | QPersistentModelIndex


class NucleiModel(QAbstractTableModel):
    """Shows nuclei of a document in an order that is set from outside.

    Attributes
    ----------
    order_changed
        Emitted when the user wants another order.
    """

    order_changed = Signal()

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.order = RowOrder()
        self._document: Document | None = None
        self._ids: NDArray[np.int64] = np.zeros(0, np.int64)
        self._pages: OrderedDict[int, dict[int, NucleusRow]] = OrderedDict()

    @property
    def ids(self) -> NDArray[np.int64]:
        """Ids of the nuclei shown, ``(n,)``, in their order."""
        return self._ids

    def show(self, document: Document | None) -> None:
        """Show nothing yet, of another document."""
        self.beginResetModel()
        self._document = document
        self._ids = np.zeros(0, np.int64)
        self._pages.clear()
        self.endResetModel()

    def forget_rows(self) -> None:
        """Read rows again where somebody looks: some have changed."""
        self._pages.clear()

    def append(self, ids: NDArray[np.int64]) -> None:
        """Show these nuclei, which begin with all that are shown."""
        self.beginInsertRows(QModelIndex(), len(self._ids), len(ids) - 1)
        self._ids = ids
        self._pages.clear()
        self.endInsertRows()

    def replace(self, ids: NDArray[np.int64]) -> None:
        """Show these nuclei; forgets selection and current row of views."""
        self.beginResetModel()
        self._ids = ids
        self._pages.clear()
        self.endResetModel()

    def position_of(self, nucleus_id: int) -> int | None:
        """Return the row that shows a nucleus, or None."""
        found = np.flatnonzero(self._ids == nucleus_id)
        return int(found[0]) if len(found) else None

    def nucleus_at(self, position: int) -> NucleusRow | None:
        """Return the nucleus of a row; None if it is gone and the table does not know yet."""
        page = position // PAGE
        rows = self._pages.get(page)
        if rows is None:
            assert self._document is not None
            wanted = self._ids[page * PAGE : (page + 1) * PAGE].tolist()
            rows = {row.id: row for row in self._document.store.rows(wanted)}
            self._pages[page] = rows
            while len(self._pages) > KEPT_PAGES:
                self._pages.popitem(last=False)
        return rows.get(int(self._ids[position]))

    # ---- what Qt asks

    def rowCount(self, parent: Index | None = None) -> int:
        """Return the number of nuclei shown."""
        return 0 if parent is not None and parent.isValid() else len(self._ids)

    def columnCount(self, parent: Index | None = None) -> int:
        """Return the number of columns."""
        return 0 if parent is not None and parent.isValid() else len(COLUMNS)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Return the title of a column."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        column = COLUMNS[section]
        if role == Qt.ItemDataRole.DisplayRole:
            if column is Column.AREA:
                return f"Area ({'px' if self._mpp is None else 'µm²'})"
            return TITLES[column]
        if role == Qt.ItemDataRole.ToolTipRole:
            return f"{TIPS[column]}. Click to sort by it, again for the other way round."
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _alignment(column)
        return None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return what a cell shows."""
        column = COLUMNS[index.column()]
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _alignment(column)
        if role == Qt.ItemDataRole.DisplayRole:
            nucleus = self.nucleus_at(index.row())
            if nucleus is not None:
                return self._text(nucleus, column)
            return str(self._ids[index.row()]) if column is Column.ID else "removed"
        if role == Qt.ItemDataRole.DecorationRole and column is Column.CLASS:
            nucleus = self.nucleus_at(index.row())
            if nucleus is not None and self._document is not None:
                return swatch(self._document.scheme.color_of(nucleus.class_id))
        return None

    def _text(self, nucleus: NucleusRow, column: Column) -> str:
        assert self._document is not None
        match column:
            case Column.ID:
                return str(nucleus.id)
            case Column.CLASS:
                return self._document.scheme.name_of(nucleus.class_id)
            case Column.SCORE:
                return f"{nucleus.score:.2f}"
            case Column.AREA:
                mpp = self._mpp
                return f"{nucleus.area:,}" if mpp is None else f"{nucleus.area * mpp**2:,.1f}"
            case Column.STATE:
                return nucleus.state.value

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Take note of the order that the user wants."""
        wanted = RowOrder(COLUMNS[column], order == Qt.SortOrder.DescendingOrder)
        if wanted != self.order:
            self.order = wanted
            self.order_changed.emit()

    @property
    def _mpp(self) -> float | None:
        return None if self._document is None else self._document.mpp


def _alignment(column: Column) -> Qt.AlignmentFlag:
    side = Qt.AlignmentFlag.AlignRight if column in NUMBERS else Qt.AlignmentFlag.AlignLeft
    return side | Qt.AlignmentFlag.AlignVCenter
