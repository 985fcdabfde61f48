"""The table that compares regions; those that are drawn can be given names in it."""

from __future__ import annotations

from collections.abc import Sequence

from psygnal import Signal
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem, QWidget

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.core.tme_measurement import TmeMeasurement
from napari_nucleus.core.tme_phenotypes import Axis
from napari_nucleus.widgets.measuring import Details
from napari_nucleus.widgets.named_regions import NamedRegion
from napari_nucleus.widgets.swatches import swatch

__all__ = ["RegionsTable"]

ALIGNED = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter

MOST_ROWS = 8
"""Rows that are shown without scrolling."""


class RegionsTable(QTableWidget):
    """A row to each region, and one to all of the area above them.

    Attributes
    ----------
    renamed
        Emitted with the number of a drawn shape and its new name.
    """

    renamed = Signal(int, str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._regions: Sequence[NamedRegion] = ()
        self.setToolTip("Regions side by side. Double-click the name of a drawn one to change it")
        self.setEditTriggers(QAbstractItemView.EditTrigger.DoubleClicked)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        across, down = self.horizontalHeader(), self.verticalHeader()
        assert across is not None
        assert down is not None
        across.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        down.setVisible(False)
        down.setDefaultSectionSize(self.fontMetrics().height() + 8)
        self.itemChanged.connect(self._on_item)

    def show_details(
        self,
        details: Details | None,
        regions: Sequence[NamedRegion],
        scheme: ClassScheme | None,
        in_um: bool,
    ) -> None:
        """Show regions beside each other; None for none.

        Parameters
        ----------
        details
            What was measured of them.
        regions
            The regions that ``details`` is about.
        scheme
            Colours of the canonical classes.
        in_um
            False while the pixel size is unknown.
        """
        if details is None or scheme is None or len(details.regions) != len(regions):
            return
        self._regions = regions
        whole = details.whole
        heads = ["Region", "Nuclei", *(["mm²"] if in_um else [])]
        heads += [whole.class_title(i)[:4] for i in whole.class_ids] + ["Entropy", "Immune"]
        self.blockSignals(True)
        self.setColumnCount(len(heads))
        self.setRowCount(1 + len(regions))
        for number, head in enumerate(heads):
            self.setHorizontalHeaderItem(number, QTableWidgetItem(head))
        first = len(heads) - len(whole.class_ids) - 2
        for number, class_id in enumerate(whole.class_ids):
            item = self.horizontalHeaderItem(first + number)
            assert item is not None
            item.setIcon(swatch(scheme.color_of(class_id)))
            item.setToolTip(f"Share of {whole.class_title(class_id)} nuclei")
        for row, measurement in enumerate([whole, *details.regions]):
            drawn = row > 0 and regions[row - 1].shape is not None
            for column, text in enumerate(_cells(measurement, in_um)):
                item = QTableWidgetItem(text)
                if column:
                    item.setTextAlignment(ALIGNED)
                if column or not drawn:
                    item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEditable)
                self.setItem(row, column, item)
        self.blockSignals(False)
        self._fit()

    def _fit(self) -> None:
        across, down = self.horizontalHeader(), self.verticalHeader()
        bar = self.horizontalScrollBar()
        assert across is not None
        assert down is not None
        assert bar is not None
        rows = min(self.rowCount(), MOST_ROWS) * down.defaultSectionSize()
        self.setFixedHeight(rows + across.sizeHint().height() + bar.sizeHint().height() + 4)

    def _on_item(self, item: QTableWidgetItem) -> None:
        row = item.row() - 1
        shape = self._regions[row].shape if 0 <= row < len(self._regions) else None
        if item.column() == 0 and shape is not None:
            self.renamed.emit(shape, item.text())


def _cells(m: TmeMeasurement, in_um: bool) -> list[str]:
    total = int(m.features["total_cells"] or 0)
    shares = [f"{100 * m.tally_of(i) / total:.0f} %" if total else "–" for i in m.class_ids]
    entropy = m.features["mean_spatial_entropy"]
    return [
        m.name,
        f"{total:,}",
        *([f"{m.area_mm2:.3g}"] if in_um else []),
        *shares,
        "–" if entropy is None else f"{entropy:.2f}",
        m.phenotypes.labels[Axis.IMMUNE],
    ]
