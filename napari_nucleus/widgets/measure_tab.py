"""The Measure tab: the microenvironment of the view, of drawn regions or of the whole image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QHideEvent, QShowEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QFrame,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from napari_nucleus.core.tme_measurement import TmeMeasurement
from napari_nucleus.errors import NucleusError
from napari_nucleus.io.measurements import MEASUREMENT_FORMATS
from napari_nucleus.widgets.area_box import AreaBox
from napari_nucleus.widgets.entropy_layer import EntropyLayer
from napari_nucleus.widgets.export_dialog import ExportDialog
from napari_nucleus.widgets.feature_table import FeatureTable
from napari_nucleus.widgets.figure_box import FigureBox
from napari_nucleus.widgets.keys import current_keys
from napari_nucleus.widgets.measuring import Details, Measuring
from napari_nucleus.widgets.narrative_box import NarrativeBox, PhenotypeBox
from napari_nucleus.widgets.regions_table import RegionsTable
from napari_nucleus.widgets.reporting import canonical_scheme, write_report

if TYPE_CHECKING:
    from napari_nucleus.widgets.workspace import Workspace

__all__ = ["MeasureTab"]

NO_PIXEL_SIZE = (
    "The size of the pixels is unknown: lengths are in pixels, the labels take them for pixels of "
    "0.25 µm, and there are neither densities nor curves. State µm/px above."
)


class MeasureTab(QWidget):
    """Measures as long as it is shown."""

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self._entropy: EntropyLayer | None = None
        self._note = ""
        keys = current_keys()
        self.measuring = Measuring(workspace)
        self.area = AreaBox(workspace)
        self.correct = QCheckBox("Correct here, too")
        self.correct.setToolTip(
            "Clicks and keys correct nuclei as in the Correct tab, and the values follow"
        )
        self.note = QLabel()
        self.note.setWordWrap(True)
        self.note.setStyleSheet("color: #ffb000;")
        self.phenotype = PhenotypeBox()
        self.narrative = NarrativeBox()
        self.table = FeatureTable()
        self.figures = FigureBox()
        self.regions = RegionsTable()
        self.entropy = QPushButton("Entropy map")
        self.entropy.setCheckable(True)
        self.entropy.setToolTip(
            f"Show over the image how mixed the classes are among neighbours ({keys['entropy']})"
        )
        self.report = QPushButton("Report…")
        self.report.setToolTip("Write an HTML report, JSON, tables and figures of what is measured")

        self.results = QWidget()
        self.boxes: dict[str, QGroupBox] = {}
        lines = QVBoxLayout(self.results)
        lines.setContentsMargins(0, 0, 0, 0)
        for title, part in (
            ("Phenotype", self.phenotype),
            ("In words", self.narrative),
            ("Figures", self.figures),
            ("Regions", self.regions),
        ):
            self.boxes[title] = box = QGroupBox(title)
            QVBoxLayout(box).addWidget(part)
            lines.addWidget(box)
        content = QWidget()
        column = QVBoxLayout(content)
        column.addWidget(self.area)
        column.addWidget(self.correct)
        column.addWidget(self.note)
        column.addWidget(self.results)
        column.addStretch(1)
        self.scrolled = scrolled = QScrollArea()
        scrolled.setWidget(content)
        scrolled.setWidgetResizable(True)
        scrolled.setFrameShape(QFrame.Shape.NoFrame)
        scrolled.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        # What a sentence rests on is marked in the table, which must be in sight beside it.
        parts = QSplitter(Qt.Orientation.Vertical)
        parts.addWidget(scrolled)
        parts.addWidget(self.table)
        parts.setStretchFactor(0, 1)
        parts.setChildrenCollapsible(False)
        buttons = QHBoxLayout()
        buttons.addWidget(self.entropy, 1)
        buttons.addWidget(self.report, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(parts, 1)
        layout.addLayout(buttons)

        self.measuring.area_wanted.connect(self._on_area_wanted)
        self.measuring.began.connect(self._on_began)
        self.measuring.noted.connect(self._on_noted)
        self.measuring.measured.connect(self._on_measured)
        self.measuring.detailed.connect(self._on_detailed)
        self.area.changed.connect(self.measuring.area_changes)
        self.narrative.pointed.connect(self.table.mark)
        self.phenotype.pointed.connect(self.table.mark)
        self.regions.renamed.connect(self.area.rename)
        self.entropy.toggled.connect(self._on_entropy)
        self.report.clicked.connect(self._on_report)
        workspace.annotation_changed.connect(self._on_annotation)
        self._on_annotation()

    def let_go(self) -> None:
        """Measure nothing more, and let go of the viewer."""
        self.measuring.close()
        self.area.let_go()

    def showEvent(self, event: QShowEvent | None) -> None:
        """Measure what has changed meanwhile."""
        super().showEvent(event)
        self.measuring.active = True

    def hideEvent(self, event: QHideEvent | None) -> None:
        """Measure nothing while nobody looks."""
        super().hideEvent(event)
        self.measuring.active = False

    # ---- what is measured

    def _on_annotation(self) -> None:
        annotation = self._workspace.annotation
        self.setEnabled(annotation is not None)
        self._entropy = None
        if annotation is not None:
            self._entropy = EntropyLayer(annotation)
            annotation.closing.connect(self._entropy.close)
        self.measuring.wants_map = False
        self.entropy.setChecked(False)
        self._on_measured(None)

    def _on_area_wanted(self) -> None:
        where = self.area.where()
        self.measuring.measure(where)
        if where is None:
            self._on_measured(None)

    def _on_began(self) -> None:
        self.note.setText("Measuring…")
        self.note.show()

    def _on_noted(self, note: str) -> None:
        self._note = note

    def _on_measured(self, measurement: TmeMeasurement | None) -> None:
        annotation = self._workspace.annotation
        counted = 0 if measurement is None else int(measurement.features["total_cells"] or 0)
        for part in (self.results, self.table):
            part.setVisible(counted > 0)
        for button in (self.entropy, self.report):
            button.setEnabled(counted > 0)
        shown = measurement if counted else None
        for part in (self.phenotype, self.narrative, self.table):
            part.show_values(shown)
        if shown is None:
            self._show_details(None)
        notes = []
        if annotation is not None and measurement is None:
            notes.append("Draw a region to be measured." if self.measuring.active else "")
        elif annotation is not None and measurement is not None:
            if not counted:
                notes.append("There are no nuclei with a class here; segment them first.")
            if annotation.mpp is None:
                notes.append(NO_PIXEL_SIZE)
            notes.append(self._note)
        text = "\n".join(filter(None, notes))
        self.note.setText(text)
        self.note.setVisible(bool(text))

    def _on_detailed(self, details: Details) -> None:
        annotation = self._workspace.annotation
        if annotation is None or not self.results.isVisibleTo(self):
            return
        self._show_details(details)
        if details.entropies is not None and self._entropy is not None and self.entropy.isChecked():
            self._entropy.show(details.entropies)

    def _show_details(self, details: Details | None) -> None:
        annotation = self._workspace.annotation
        scheme, in_um = None, True
        if annotation is not None:
            scheme = canonical_scheme(annotation.document.scheme)
            in_um = annotation.mpp is not None
        self.figures.show_details(details, scheme)
        self.regions.show_details(details, self.area.regions, scheme, in_um)
        self.boxes["Figures"].setVisible(details is not None)
        self.boxes["Regions"].setVisible(details is not None and bool(details.regions))

    # ---- map and report

    def toggle_entropy(self) -> None:
        """Show the entropy map, or hide it."""
        if self.entropy.isEnabled():
            self.entropy.toggle()

    def _on_entropy(self, wanted: bool) -> None:
        self.measuring.wants_map = wanted
        if not wanted and self._entropy is not None:
            self._entropy.hide()

    def _on_report(self) -> None:
        annotation = self._workspace.annotation
        if annotation is None:
            return
        if annotation.mpp is None:
            self._workspace.warned.emit(
                "A report needs the size of the pixels: state µm/px above, then press this again."
            )
            return
        dialog = ExportDialog(
            Path.home(), annotation.image.name, "Report of measurements", MEASUREMENT_FORMATS, self
        )
        dialog.chosen.connect(self._write)
        dialog.open()

    def _write(self, folder: Path, stem: str, formats: tuple[str, ...]) -> None:
        try:
            write_report(self._workspace, self.measuring, folder, stem, formats)
        except NucleusError as error:
            self._workspace.warned.emit(str(error))
