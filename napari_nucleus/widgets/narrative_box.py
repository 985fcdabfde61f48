"""What a measurement says in words: the six axes of the phenotype, and a text with its evidence."""

from __future__ import annotations

from collections.abc import Sequence

from psygnal import Signal
from qtpy.QtCore import QEvent, QRectF, Qt
from qtpy.QtGui import QColor, QEnterEvent, QPainter, QPaintEvent
from qtpy.QtWidgets import QGridLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_nucleus.core.narrative import Sentence
from napari_nucleus.core.tme import Features, TmeSettings
from napari_nucleus.core.tme_measurement import TmeMeasurement
from napari_nucleus.core.tme_phenotypes import THRESHOLDS, Axis, axis_feature
from napari_nucleus.core.tme_words import (
    axis_rule,
    axis_title,
    feature_text,
    feature_title,
    feature_unit,
)

__all__ = ["NarrativeBox", "PhenotypeBox"]

POINTED_AT = "background: rgba(255, 225, 25, 60);"

GAUGE = QColor(120, 130, 145)
ZONE = QColor(85, 95, 110)
MARKER = QColor(255, 225, 25)


class _Pointed(QLabel):
    """A label that tells when the pointer is on it."""

    pointed = Signal(bool)

    def enterEvent(self, event: QEnterEvent | None) -> None:
        self.pointed.emit(True)
        super().enterEvent(event)

    def leaveEvent(self, event: QEvent | None) -> None:
        self.pointed.emit(False)
        super().leaveEvent(event)


class NarrativeBox(QWidget):
    """The sentences of a measurement, one below the other.

    Attributes
    ----------
    pointed
        Emitted with the keys of the features that the sentence under the pointer rests on; with
        none when it leaves.
    """

    pointed = Signal(tuple)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.labels: list[_Pointed] = []
        self._sentences: Sequence[Sentence] = ()
        self._lines = QVBoxLayout(self)
        self._lines.setContentsMargins(0, 0, 0, 0)
        self._lines.setSpacing(2)

    def show_values(self, measurement: TmeMeasurement | None) -> None:
        """Show a measurement's text; None for none."""
        self._sentences = () if measurement is None else measurement.narrative.sentences
        while len(self.labels) < len(self._sentences):
            self._add_label(len(self.labels))
        for number, label in enumerate(self.labels):
            label.setVisible(number < len(self._sentences))
        for label, sentence in zip(self.labels, self._sentences, strict=False):
            if measurement is not None and label.text() != sentence.text:
                label.setText(sentence.text)
                label.setToolTip(_evidence(sentence, measurement))

    def _add_label(self, number: int) -> None:
        label = _Pointed()
        label.setWordWrap(True)
        label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        label.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
        label.pointed.connect(lambda inside: self._on_pointed(number, inside))
        self.labels.append(label)
        self._lines.addWidget(label)

    def _on_pointed(self, number: int, inside: bool) -> None:
        self.labels[number].setStyleSheet(POINTED_AT if inside else "")
        known = number < len(self._sentences)
        self.pointed.emit(self._sentences[number].evidence if inside and known else ())


def _evidence(sentence: Sentence, measurement: TmeMeasurement) -> str:
    """Return what a sentence rests on, a line to each feature."""
    lines = [
        f"{feature_title(key, measurement.settings)}: "
        f"{feature_text(key, measurement.features.get(key))} {feature_unit(key)}".strip()
        for key in sentence.evidence
    ]
    return "\n".join(["Rests on:", *lines])


class Gauge(QWidget):
    """Where a value lies: below the low threshold, above the high one, or between them."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._place: float | None = None
        self.setFixedHeight(12)
        self.setFixedWidth(60)

    @property
    def place(self) -> float | None:
        """Where the marker stands, 0–1; a third of it to each zone. None without a value."""
        return self._place

    @place.setter
    def place(self, place: float | None) -> None:
        self._place = place
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        width, middle = self.width() / 3, self.height() / 2
        for zone in range(3):
            painter.setBrush(GAUGE if zone == 1 else ZONE)
            painter.drawRoundedRect(QRectF(zone * width + 1, middle - 2.5, width - 2, 5), 2, 2)
        if self._place is not None:
            painter.setBrush(MARKER)
            x = min(max(self._place * self.width(), 4.0), self.width() - 4.0)
            painter.drawEllipse(QRectF(x - 4, middle - 4, 8, 8))
        painter.end()


class PhenotypeBox(QWidget):
    """The six axes: where the value of each lies, and what that is called.

    Attributes
    ----------
    pointed
        As of `NarrativeBox`.
    """

    pointed = Signal(tuple)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.labels: dict[Axis, _Pointed] = {}
        self.gauges: dict[Axis, Gauge] = {}
        self._settings = TmeSettings()
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setVerticalSpacing(3)
        for number, axis in enumerate(Axis):
            title = _Pointed(axis_title(axis).partition(" ")[0])
            label, gauge = _Pointed(), Gauge()
            label.setWordWrap(True)
            for part in (title, label):
                part.pointed.connect(lambda inside, axis=axis: self._on_pointed(axis, inside))
            self.labels[axis], self.gauges[axis] = label, gauge
            grid.addWidget(title, number, 0)
            grid.addWidget(gauge, number, 1)
            grid.addWidget(label, number, 2)
        grid.setColumnStretch(2, 1)

    def show_values(self, measurement: TmeMeasurement | None) -> None:
        """Show a measurement's phenotype; None for none."""
        for axis, label in self.labels.items():
            if measurement is None:
                label.setText("")
                self.gauges[axis].place = None
                continue
            self._settings = settings = measurement.settings
            label.setText(measurement.phenotypes.labels[axis])
            rule = axis_rule(axis, settings)
            for part in (label, self.gauges[axis]):
                part.setToolTip(rule)
            value = _on_scale(axis, measurement.features, measurement.mpp, settings)
            self.gauges[axis].place = None if value is None else _place(value, *THRESHOLDS[axis])

    def _on_pointed(self, axis: Axis, inside: bool) -> None:
        self.pointed.emit((axis_feature(axis, self._settings),) if inside else ())


def _on_scale(axis: Axis, features: Features, mpp: float, settings: TmeSettings) -> float | None:
    """Return the value of an axis in the unit of its thresholds."""
    key = axis_feature(axis, settings)
    value = features[key]
    powers = {"px": 1, "px²": 2}
    scale = settings.threshold_scale(mpp) ** powers.get(feature_unit(key), 0)
    return None if value is None else value * scale


def _place(value: float, low: float, high: float) -> float:
    """Return where a value stands, 0–1, with a third of it below ``low`` and one above ``high``."""
    if value < low:
        return max(value, 0) / low / 3
    if value <= high:
        return (1 + (value - low) / (high - low)) / 3
    return (2 + min((value - high) / high, 1.0)) / 3
