"""The figures of a measurement in the dock, one at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QDialog, QTabBar, QVBoxLayout, QWidget

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.core.figures import (
    composition_figure,
    curves_figure,
    infiltration_figure,
    regions_figure,
)
from napari_nucleus.widgets.figure_view import FigureView
from napari_nucleus.widgets.measuring import Details

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FigureBox"]

LARGE = (900, 700)
"""Size of the window of an enlarged figure."""


class FigureBox(QWidget):
    """A bar to choose a figure, and the figure."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._details: Details | None = None
        self._scheme: ClassScheme | None = None
        self._names: list[str] = []
        self.bar = QTabBar()
        self.bar.setDrawBase(False)
        self.bar.setExpanding(False)
        self.bar.setToolTip("Which figure is shown")
        self.view = FigureView()
        self.view.setToolTip("Double-click for a larger one")
        self.view.setCursor(Qt.CursorShape.PointingHandCursor)
        lines = QVBoxLayout(self)
        lines.setContentsMargins(0, 0, 0, 0)
        lines.setSpacing(0)
        lines.addWidget(self.bar)
        lines.addWidget(self.view)
        self.bar.currentChanged.connect(lambda _: self._show())

    def show_details(self, details: Details | None, scheme: ClassScheme | None) -> None:
        """Show the figures of a measurement, in the colours of a scheme; None for none."""
        self._details, self._scheme = details, scheme
        names = [] if details is None else _names(details)
        if names != self._names:
            self._names = names
            current = self.bar.tabText(self.bar.currentIndex())
            self.bar.blockSignals(True)
            while self.bar.count():
                self.bar.removeTab(0)
            for name in names:
                self.bar.addTab(name)
            self.bar.setCurrentIndex(names.index(current) if current in names else 0)
            self.bar.blockSignals(False)
        self._show()

    def mouseDoubleClickEvent(self, event: QMouseEvent | None) -> None:
        """Show the figure in a window of its own."""
        make = self._maker()
        if make is None:
            return
        window = QDialog(self)
        window.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        window.setWindowTitle(self.bar.tabText(self.bar.currentIndex()))
        view = FigureView()
        lines = QVBoxLayout(window)
        lines.addWidget(view)
        lines.addStretch(1)
        window.resize(*LARGE)
        window.show()
        view.show_figure(make)

    def _show(self) -> None:
        self.view.show_figure(self._maker())

    def _maker(self) -> Callable[[], Figure] | None:
        details, scheme = self._details, self._scheme
        at = self.bar.currentIndex()
        if details is None or scheme is None or not 0 <= at < len(self._names):
            return None
        whole = details.whole
        return {
            CLASSES: lambda: composition_figure(whole, scheme),
            DISTANCES: lambda: curves_figure(whole, scheme),
            BORDER: lambda: infiltration_figure(whole, scheme),
            REGIONS: lambda: regions_figure([whole, *details.regions], scheme),
        }[self._names[at]]


CLASSES, DISTANCES, BORDER, REGIONS = "Classes", "Distances", "Border", "Regions"


def _names(details: Details) -> list[str]:
    """Return the figures that there are."""
    there = {
        CLASSES: True,
        DISTANCES: bool(details.whole.curves),
        BORDER: details.whole.infiltration is not None,
        REGIONS: bool(details.regions),
    }
    return [name for name, is_there in there.items() if is_there]
