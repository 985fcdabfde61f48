"""The panel beside the table of nuclei that says which of them are shown."""

from __future__ import annotations

from psygnal import Signal
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QGridLayout, QLabel, QPushButton, QWidget

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.session.columns import RowFilter
from napari_nucleus.session.table import NucleusState
from napari_nucleus.widgets.swatches import swatch

__all__ = ["TableFilters"]

NO_LIMIT = 0.0
"""Value of a limit that is not set."""

LARGEST_AREA = 1e7

WIDTH = 300
"""Pixels that the panel takes at most."""


class TableFilters(QWidget):
    """Class, state, area and score of the nuclei that are shown.

    Attributes
    ----------
    changed
        Emitted when other nuclei are wanted.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scheme: ClassScheme | None = None
        self._mpp: float | None = None
        self.classes = QComboBox()
        self.classes.setToolTip("Show nuclei of this class only")
        self.states = QComboBox()
        self.states.setToolTip("Show nuclei in this state only")
        self.states.addItem("All states", None)
        for state in NucleusState:
            self.states.addItem(state.value.capitalize(), state)
        self.area = _limits(LARGEST_AREA, 0, 1.0, "area")
        self.score = _limits(1.0, 2, 0.05, "score")
        self.unit = QLabel()
        self.clear = QPushButton("Show all")
        self.clear.setToolTip("Take all filters off")
        self.count = QLabel()

        self.setMaximumWidth(WIDTH)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(4)
        grid.setVerticalSpacing(4)
        lines: tuple[tuple[QWidget, ...], ...] = (
            (QLabel("Class"), self.classes),
            (QLabel("State"), self.states),
            (QLabel("Area"), self.area[0], QLabel("to"), self.area[1], self.unit),
            (QLabel("Score"), self.score[0], QLabel("to"), self.score[1]),
            (self.count, self.clear),
        )
        for number, (label, *fields) in enumerate(lines):
            if len(fields) > 1:
                grid.addWidget(label, number, 0)
                for column, field in enumerate(fields):
                    grid.addWidget(field, number, 1 + column)
            elif label is self.count:
                grid.addWidget(label, number, 0, 1, 3)
                grid.addWidget(fields[0], number, 3, 1, 2)
            else:
                grid.addWidget(label, number, 0)
                grid.addWidget(fields[0], number, 1, 1, 4)
        grid.setRowStretch(len(lines), 1)

        self.classes.currentIndexChanged.connect(self._on_change)
        self.states.currentIndexChanged.connect(self._on_change)
        for box in (*self.area, *self.score):
            box.valueChanged.connect(self._on_change)
        self.clear.clicked.connect(lambda: self.reset())
        self.set_mpp(None)
        self._on_change()

    def set_scheme(self, scheme: ClassScheme) -> None:
        """Offer the classes of a scheme; the one chosen stays if it is there too."""
        if scheme == self._scheme:
            return
        chosen = self.classes.currentText()
        self._scheme = scheme
        self.classes.blockSignals(True)
        self.classes.clear()
        self.classes.addItem("All classes", None)
        for kind in scheme.classes:
            self.classes.addItem(swatch(kind.color), kind.name, kind.id)
        self.classes.addItem(swatch(scheme.unknown_color), scheme.name_of(0), 0)
        self.classes.setCurrentIndex(max(self.classes.findText(chosen), 0))
        self.classes.blockSignals(False)
        self._on_change()

    def set_mpp(self, mpp: float | None) -> None:
        """Take areas in µm² at this pixel size, in pixels while it is unknown."""
        before, self._mpp = self._mpp, mpp
        self.unit.setText("px" if mpp is None else "µm²")
        for box in self.area:
            box.setDecimals(0 if mpp is None else 1)
        if before != mpp and any(box.value() != NO_LIMIT for box in self.area):
            self.changed.emit()

    @property
    def wanted(self) -> RowFilter:
        """Which nuclei are shown."""
        class_id, state = self.classes.currentData(), self.states.currentData()
        return RowFilter(
            None if class_id is None else (class_id,),
            None if state is None else (NucleusState(state),),
            _pair(self.area, 1.0 if self._mpp is None else self._mpp**2),
            _pair(self.score, 1.0),
        )

    @property
    def is_on(self) -> bool:
        """True if some nuclei may be left out."""
        return self.wanted != RowFilter()

    def reset(self) -> None:
        """Take all filters off."""
        was_on = self.is_on
        with self.changed.blocked():
            for choice in (self.classes, self.states):
                choice.setCurrentIndex(0)
            for box in (*self.area, *self.score):
                box.setValue(NO_LIMIT)
        if was_on:
            self.changed.emit()

    def _on_change(self, *_: object) -> None:
        self.clear.setEnabled(self.is_on)
        self.changed.emit()


def _limits(largest: float, decimals: int, step: float, what: str) -> tuple[QDoubleSpinBox, ...]:
    boxes = []
    for side in ("Smallest", "Largest"):
        box = QDoubleSpinBox()
        box.setDecimals(decimals)
        box.setRange(NO_LIMIT, largest)
        box.setSingleStep(step)
        box.setSpecialValueText("any")
        box.setKeyboardTracking(False)
        box.setMinimumWidth(90)
        box.setToolTip(f"{side} {what} that is shown")
        boxes.append(box)
    return tuple(boxes)


def _pair(boxes: tuple[QDoubleSpinBox, ...], unit: float) -> tuple[float | None, float | None]:
    low, high = (None if box.value() == NO_LIMIT else box.value() / unit for box in boxes)
    return low, high
