"""The dock's footer: counts, undo and redo, progress, export, and what was just said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_nucleus.core.nuclei import counted
from napari_nucleus.core.progress import Progress
from napari_nucleus.errors import NucleusError
from napari_nucleus.session.import_policy import ImportPolicy
from napari_nucleus.session.preferences import ExportChoices
from napari_nucleus.widgets.annotation import Annotation
from napari_nucleus.widgets.exported_nuclei import areas_of
from napari_nucleus.widgets.import_dialog import ImportDialog
from napari_nucleus.widgets.importing import FoundFile
from napari_nucleus.widgets.keys import current_keys
from napari_nucleus.widgets.nuclei_export_dialog import ExportOrder, NucleiExportDialog
from napari_nucleus.widgets.progress_bar import ProgressBar
from napari_nucleus.widgets.project_dialog import ProjectDialog

if TYPE_CHECKING:
    from napari_nucleus.widgets.workspace import Workspace

__all__ = ["Footer"]

LONGEST_STEP = 22
"""Letters of a step's name that a button shows."""


class Footer(QWidget):
    """What is always in sight."""

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self._dialog: QDialog | None = None
        keys = current_keys()
        self.counts = QLabel()
        self.counts.setWordWrap(True)
        self.counts.setToolTip("Nuclei in the document, by class")
        self.undo = QPushButton("Undo")
        self.redo = QPushButton("Redo")
        self._undo_key = keys["undo"].replace("Control", "Ctrl")
        self._redo_key = keys["redo"].replace("Control", "Ctrl")
        self.bar = ProgressBar()
        self.bar.setTextVisible(True)
        self.cancel = QPushButton("Cancel")
        self.cancel.setToolTip("Stop within one tile; what was found is kept")
        self.export_bar = ProgressBar()
        self.export_cancel = QPushButton("Cancel")
        self.export_cancel.setToolTip("Stop after the file being written; none is left behind")
        self.export = QPushButton("Export…")
        self.export.setToolTip("Write nuclei to files: for QuPath, for Python, as tables, pictures")
        self.import_ = QPushButton("Import…")
        self.import_.setToolTip(
            "Take nuclei in from a file of QuPath, CellViT, Cellpose and others; or drop it here"
        )
        self.saved = QLabel()
        self.save_as = QPushButton("Save as…")
        self.save_as.setToolTip("Give the project a file of your own; nothing else needs saving")
        self.message = QLabel()
        self.message.setWordWrap(True)

        history = QHBoxLayout()
        history.addWidget(self.undo, 1)
        history.addWidget(self.redo, 1)
        running = QHBoxLayout()
        running.addWidget(self.bar, 1)
        running.addWidget(self.cancel)
        writing = QHBoxLayout()
        writing.addWidget(self.export_bar, 1)
        writing.addWidget(self.export_cancel)
        keeping = QHBoxLayout()
        keeping.addWidget(self.saved, 1)
        keeping.addWidget(self.save_as)
        files = QHBoxLayout()
        files.addWidget(self.import_, 1)
        files.addWidget(self.export, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.message)
        layout.addLayout(running)
        layout.addLayout(writing)
        layout.addWidget(self.counts)
        layout.addLayout(history)
        layout.addLayout(keeping)
        layout.addLayout(files)

        self.undo.clicked.connect(self._act(Annotation.undo))
        self.redo.clicked.connect(self._act(Annotation.redo))
        self.cancel.clicked.connect(lambda: workspace.runs.cancel())
        self.export.clicked.connect(lambda: self.open_export())
        self.import_.clicked.connect(lambda: self.open_import())
        self.save_as.clicked.connect(self._on_save_as)
        workspace.keeping.changed.connect(self.refresh)
        workspace.said.connect(self._on_message)
        workspace.warned.connect(self._on_message)
        workspace.progressed.connect(self._on_progress)
        self.export_cancel.clicked.connect(lambda: workspace.exporting.cancel())
        workspace.exporting.progressed.connect(self._on_export_progress)
        workspace.document_changed.connect(self.refresh)
        workspace.annotation_changed.connect(self.refresh)
        workspace.annotation_changed.connect(self._close_dialog)
        self._on_progress(None)
        self._on_export_progress(None)
        self.refresh()

    def refresh(self) -> None:
        """Show counts and what undo and redo would do."""
        annotation = self._workspace.annotation
        if annotation is None:
            self.counts.setText("")
            self.saved.setText("")
            for button in (self.undo, self.redo, self.export, self.import_, self.save_as):
                button.setEnabled(False)
            return
        document = annotation.document
        counts = document.counts_by_class()
        chips = [
            f"<span style='color: rgb{document.scheme.color_of(class_id)}'>■</span> "
            f"{document.scheme.name_of(class_id)} {count:,}"
            for class_id, count in sorted(counts.items())
        ]
        self.counts.setText(f"<b>{counted(document.count)}</b> &nbsp; " + " &nbsp; ".join(chips))
        self._show_step(self.undo, "Undo", document.history.undo_name, self._undo_key)
        self._show_step(self.redo, "Redo", document.history.redo_name, self._redo_key)
        self.export.setEnabled(document.count > 0)
        self.import_.setEnabled(True)
        words, sentence = self._workspace.keeping.state
        self.saved.setText(words)
        self.saved.setToolTip(sentence)
        self.save_as.setEnabled(self._workspace.keeping.project is not None)

    def _on_message(self, message: str) -> None:
        self.message.setText(message)

    @staticmethod
    def _show_step(button: QPushButton, verb: str, name: str | None, key: str) -> None:
        button.setEnabled(name is not None)
        text = verb if name is None else f"{verb} {name[0].lower()}{name[1:]}"
        button.setText(text if len(text) <= LONGEST_STEP else f"{text[: LONGEST_STEP - 1]}…")
        button.setToolTip(f"{text} ({key})")

    def _on_progress(self, report: Progress | None) -> None:
        self.bar.setVisible(report is not None)
        self.cancel.setVisible(report is not None)
        if report is None:
            return
        self.bar.set_progress(report.done, report.total)
        left = report.seconds_left()
        text = f"{report.done} of {report.total} tiles" if report.total else report.text
        if left is not None and report.done < report.total:
            text += f", about {left:.0f} s"
        self.bar.setFormat(text)

    def _on_export_progress(self, report: Progress | None) -> None:
        for widget in (self.export_bar, self.export_cancel):
            widget.setVisible(report is not None)
        if report is not None:
            self.export_bar.set_progress(report.done, max(report.total, 1))
            self.export_bar.setFormat(report.text)

    def open_export(self, ids: Sequence[int] = ()) -> None:
        """Ask what to export, of some nuclei or of all; does not block the app."""
        annotation = self._workspace.annotation
        if annotation is None or not annotation.document.count:
            self._workspace.warned.emit("There are no nuclei to export yet.")
            return
        preferences = self._workspace.keeping.preferences
        dialog = NucleiExportDialog(
            annotation.document,
            annotation.image.name,
            areas_of(annotation, self._workspace.regions.drawing()),
            preferences.export,
            self,
            ids,
        )
        dialog.ordered.connect(self._export)
        self._open(dialog)

    def _open(self, dialog: QDialog) -> None:
        """Open a dialog about the document; it is closed where another one is worked on."""
        self._close_dialog()
        self._dialog = dialog
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.finished.connect(self._on_finished)
        dialog.open()

    def _on_finished(self, _: int) -> None:
        self._dialog = None

    def _close_dialog(self) -> None:
        if self._dialog is not None:
            self._dialog.reject()

    def _export(self, order: ExportOrder, choices: ExportChoices) -> None:
        self._workspace.keeping.preferences.export = choices
        try:
            self._workspace.export(
                order.folder, order.stem, order.formats, order.nuclei, order.simplify
            )
        except NucleusError as error:
            self._workspace.warned.emit(str(error))

    def open_import(self, path: Path | None = None) -> None:
        """Ask what to import, beginning with a file if there is one; does not block the app."""
        annotation = self._workspace.annotation
        if annotation is None:
            self._workspace.warned.emit("Open the image first that the nuclei belong to.")
            return
        folder = Path(self._workspace.keeping.preferences.import_folder or Path.home())
        dialog = ImportDialog(self._workspace.importing, annotation.document, folder, self)
        dialog.chosen.connect(self._import)
        self._open(dialog)
        if path is not None:
            dialog.look_into(path)

    def _import(self, found: FoundFile, policy: ImportPolicy) -> None:
        self._workspace.keeping.preferences.import_folder = str(found.path.parent)
        try:
            self._workspace.importing.enter(found, policy)
        except NucleusError as error:
            self._workspace.warned.emit(str(error))

    def _on_save_as(self) -> None:
        project = self._workspace.keeping.project
        if project is None:
            return
        dialog = ProjectDialog.to_save(Path.home() / project.path.name, self)
        dialog.chosen.connect(self._save_as)
        dialog.open()

    def _save_as(self, path: Path) -> None:
        try:
            self._workspace.keeping.save_as(path)
        except NucleusError as error:
            self._workspace.warned.emit(str(error))

    def _act(self, act: object) -> object:
        def on_click(*_: object) -> None:
            if self._workspace.annotation is not None:
                act(self._workspace.annotation)  # type: ignore[operator]

        return on_click
