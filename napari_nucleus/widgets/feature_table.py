"""The table of the features of a measurement, in which what a sentence rests on is marked."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSize, Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from napari_nucleus.core.tme_measurement import TmeMeasurement
from napari_nucleus.core.tme_words import FeatureRow, feature_rows

__all__ = ["FeatureTable"]

TITLE, VALUE = 0, 1

MARK = QColor(255, 225, 25, 90)
"""Behind what is marked."""

ROWS_SHOWN = 9

ALIGNED = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


class FeatureModel(QAbstractTableModel):
    """Features as rows; another value of one redraws that one."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[FeatureRow] = []
        self._marked: frozenset[str] = frozenset()

    def show(self, rows: list[FeatureRow]) -> None:
        """Show other rows, or other values of the same ones."""
        if [row.key for row in rows] != [row.key for row in self.rows]:
            self.beginResetModel()
            self.rows = rows
            self.endResetModel()
            return
        before, self.rows = self.rows, rows
        for number, (old, new) in enumerate(zip(before, rows, strict=True)):
            if old != new:
                self.dataChanged.emit(self.index(number, TITLE), self.index(number, VALUE))

    def mark(self, keys: Collection[str]) -> int | None:
        """Mark the rows of these features; return the first one, None if there is none."""
        self._marked = frozenset(keys)
        if self.rows:
            self.dataChanged.emit(self.index(0, TITLE), self.index(len(self.rows) - 1, VALUE))
        return next((i for i, row in enumerate(self.rows) if self.is_marked(row)), None)

    def is_marked(self, row: FeatureRow) -> bool:
        """Return True if a row shows a marked feature, in whatever unit."""
        plain = row.key.removesuffix("_um2").removesuffix("_um")
        return row.key in self._marked or plain in self._marked

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        return 2

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row = self.rows[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return row.title if index.column() == TITLE else f"{row.text} {row.unit}".strip()
        if role == Qt.ItemDataRole.ToolTipRole:
            return f"{row.title}\n{row.key}"
        if role == Qt.ItemDataRole.TextAlignmentRole and index.column() == VALUE:
            return ALIGNED
        if role == Qt.ItemDataRole.BackgroundRole and self.is_marked(row):
            return MARK
        return None


class FeatureTable(QTableView):
    """Shows the features of a measurement."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.features = FeatureModel()
        self.setModel(self.features)
        self.setToolTip("The features: point at a sentence to see which of them it rests on")
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setShowGrid(False)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        across, down = self.horizontalHeader(), self.verticalHeader()
        assert across is not None
        assert down is not None
        across.setVisible(False)
        across.setSectionResizeMode(TITLE, QHeaderView.ResizeMode.Stretch)
        across.setSectionResizeMode(VALUE, QHeaderView.ResizeMode.ResizeToContents)
        down.setVisible(False)
        down.setDefaultSectionSize(self.fontMetrics().height() + 6)
        self._shown_height = ROWS_SHOWN * down.defaultSectionSize() + 4
        self.setMinimumHeight(3 * down.defaultSectionSize())

    def sizeHint(self) -> QSize:
        """Return the size for some rows."""
        return QSize(super().sizeHint().width(), self._shown_height)

    def show_values(self, measurement: TmeMeasurement | None) -> None:
        """Show a measurement's features; None for none."""
        rows = []
        if measurement is not None:
            rows = feature_rows(measurement.features, measurement.settings)
        self.features.show(rows)

    def mark(self, keys: Collection[str]) -> None:
        """Mark what something rests on, and bring it into view."""
        first = self.features.mark(keys)
        if first is not None:
            self.scrollTo(self.features.index(first, TITLE))
