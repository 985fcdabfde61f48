"""The comparison group of the Correct tab: where another model disagrees, what only it found."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QGroupBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_nucleus.session.agreement import differ
from napari_nucleus.session.agreement_raster import Band
from napari_nucleus.session.comparison import Comparison
from napari_nucleus.widgets.agreement_layer import COLORS
from napari_nucleus.widgets.annotation import Annotation
from napari_nucleus.widgets.keys import current_keys
from napari_nucleus.widgets.swatches import swatch

if TYPE_CHECKING:
    from napari_nucleus.widgets.workspace import Workspace

__all__ = ["CompareBox"]

LEGEND = {
    Band.CLOSE: "agrees",
    Band.NEAR: "nearly",
    Band.APART: "hardly",
    Band.ALONE: "not found",
    Band.PROPOSED: "only there",
}
"""The bands in words, of the other model."""

CONTRADICTION = QColor(230, 85, 13, 110)


class CompareBox(QGroupBox):
    """Says how far another model agrees, as long as there is a comparison; hidden otherwise."""

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self._pairs: dict[tuple[int, int], int] = {}
        keys = current_keys()
        self.summary = QLabel()
        self.summary.setWordWrap(True)
        self.summary.setToolTip(
            "The same nucleus: an overlap (IoU) of 0.5 or more. N goes through what the two do not "
            "agree on"
        )
        legend = QLabel(
            " ".join(
                f"<span style='color: {COLORS[band]}'>■</span>&nbsp;{text.replace(' ', '&nbsp;')}"
                for band, text in LEGEND.items()
            )
        )
        legend.setWordWrap(True)
        legend.setToolTip(
            "Colours over the image: agreement of 0.75 or more, of 0.5 or more, less, none; and "
            "nuclei that only the other model found"
        )
        self.classes = QTableWidget()
        self.classes.setToolTip(
            "Nuclei that both found: rows by the class here, columns by the other model's. Click a "
            "number to choose those nuclei"
        )
        self.classes.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.classes.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        for header in (self.classes.horizontalHeader(), self.classes.verticalHeader()):
            assert header is not None
            header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.show_it = QPushButton("Show")
        self.show_it.setCheckable(True)
        self.show_it.setToolTip(f"Show the agreement over the image ({keys['agreement']})")
        self.take_all = QPushButton("Add all")
        self.drop = QPushButton("Put away")
        self.drop.setToolTip("Forget what only the other model found; the agreement is kept")

        buttons = QHBoxLayout()
        for button in (self.show_it, self.take_all, self.drop):
            buttons.addWidget(button, 1)
        lines = QVBoxLayout(self)
        lines.addWidget(self.summary)
        lines.addWidget(legend)
        lines.addWidget(self.classes)
        lines.addLayout(buttons)

        self.show_it.clicked.connect(lambda: self._act(lambda a: a.opinion.toggle()))
        self.take_all.clicked.connect(lambda: self._act(lambda a: a.opinion.take_all()))
        self.drop.clicked.connect(lambda: self._act(lambda a: a.opinion.drop()))
        self.classes.cellClicked.connect(self._on_cell)
        workspace.annotation_changed.connect(self._on_annotation)
        workspace.document_changed.connect(self.refresh)
        self._on_annotation()

    def refresh(self, *_: object) -> None:
        """Show what there is."""
        annotation = self._workspace.annotation
        comparison = None if annotation is None else annotation.opinion.comparison
        self.setVisible(comparison is not None)
        if annotation is None or comparison is None:
            return
        model, tally = comparison.made_by.model, comparison.tally()
        self.setTitle(f"Compared with {model}")
        compared = tally.same + tally.other_class + tally.other_outline + tally.alone
        self.summary.setText(
            f"The same for {tally.same:,} of {compared:,}; another class for "
            f"{tally.other_class:,}, another outline for {tally.other_outline:,}. "
            f"Not found by {model}: {tally.alone:,}. "
            f"Only found by it: {tally.proposed:,}; click one to add it."
        )
        self.show_it.setChecked(annotation.opinion.visible)
        self.take_all.setEnabled(tally.proposed > 0)
        self.take_all.setText(f"Add all {tally.proposed:,}" if tally.proposed else "Add all")
        self.take_all.setToolTip(
            f"Add all that only {model} found, as one undo step; they are still to be looked at"
        )
        self._fill(annotation, comparison)

    def _fill(self, annotation: Annotation, comparison: Comparison) -> None:
        """Put the table of classes in; without classes there is none."""
        pairs = comparison.classes()
        if pairs == self._pairs:
            return
        self._pairs = pairs
        scheme = annotation.document.scheme
        rows = sorted({ours for ours, _ in pairs})
        columns = sorted({theirs for _, theirs in pairs})
        table = self.classes
        table.setVisible(rows not in ([], [0]) or columns not in ([], [0]))
        table.clear()
        table.setRowCount(len(rows))
        table.setColumnCount(len(columns))
        for r, ours in enumerate(rows):
            name = QTableWidgetItem(swatch(scheme.color_of(ours)), scheme.name_of(ours))
            table.setVerticalHeaderItem(r, name)
        for c, theirs in enumerate(columns):
            name = QTableWidgetItem(swatch(scheme.color_of(theirs)), scheme.name_of(theirs)[:4])
            name.setToolTip(f"{scheme.name_of(theirs)} for {comparison.made_by.model}")
            table.setHorizontalHeaderItem(c, name)
        for (ours, theirs), count in pairs.items():
            cell = QTableWidgetItem(f"{count:,}")
            cell.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            cell.setData(Qt.ItemDataRole.UserRole, (ours, theirs))
            if differ(ours, theirs, comparison.alike):
                cell.setBackground(CONTRADICTION)
            table.setItem(rows.index(ours), columns.index(theirs), cell)
        heights = sum(table.rowHeight(r) for r in range(len(rows)))
        header = table.horizontalHeader()
        assert header is not None
        table.setFixedHeight(heights + header.sizeHint().height() + 2 * table.frameWidth() + 2)

    def _on_annotation(self) -> None:
        annotation = self._workspace.annotation
        self._pairs = {}
        if annotation is not None:
            annotation.opinion.changed.connect(self.refresh, unique=True)
            annotation.scheme_changed.connect(self._on_scheme, unique=True)
        self.refresh()

    def _on_scheme(self) -> None:
        self._pairs = {}
        self.refresh()

    def _on_cell(self, row: int, column: int) -> None:
        cell = self.classes.item(row, column)
        annotation = self._workspace.annotation
        if cell is None or annotation is None or annotation.opinion.comparison is None:
            return
        ids = annotation.opinion.comparison.ids_of_classes(*cell.data(Qt.ItemDataRole.UserRole))
        annotation.by_hand.choose_these(ids)

    def _act(self, act: Callable[[Annotation], None]) -> None:
        if self._workspace.annotation is not None:
            act(self._workspace.annotation)
