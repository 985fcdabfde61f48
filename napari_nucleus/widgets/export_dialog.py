"""Asks where to write files, under what name, and in which formats."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from psygnal import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_nucleus.io.export import USUAL
from napari_nucleus.io.formats import FORMATS

__all__ = ["ExportDialog"]


class ExportDialog(QDialog):
    """A dialog that does not block; emits ``chosen(folder, stem, formats)``."""

    chosen = Signal(Path, str, tuple)

    def __init__(
        self,
        folder: Path,
        name: str,
        parent: QWidget | None = None,
        title: str = "Export nuclei",
        formats: Mapping[str, str] = {name: FORMATS[name].title for name in USUAL},
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.folder = QLineEdit(str(folder))
        browse = QPushButton("Browse…")
        self.stem = QLineEdit(re.sub(r"[^\w.-]+", "_", name).strip("._") or "nuclei")
        self.formats = {key: QCheckBox(text) for key, text in formats.items()}
        for box in self.formats.values():
            box.setChecked(True)
        buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Save | QDialogButtonBox.StandardButton.Cancel
        )
        line = QHBoxLayout()
        line.addWidget(self.folder, 1)
        line.addWidget(browse)
        form = QFormLayout()
        form.addRow("Folder", line)
        form.addRow("Name", self.stem)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        for box in self.formats.values():
            layout.addWidget(box)
        layout.addWidget(buttons)
        self.save = buttons.button(QDialogButtonBox.StandardButton.Save)
        browse.clicked.connect(self._on_browse)
        buttons.accepted.connect(self._on_save)
        buttons.rejected.connect(self.reject)

    def _on_browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder", self.folder.text())
        if folder:
            self.folder.setText(folder)

    def _on_save(self) -> None:
        formats = tuple(key for key, box in self.formats.items() if box.isChecked())
        if formats and self.stem.text().strip():
            self.chosen.emit(
                Path(self.folder.text()).expanduser(), self.stem.text().strip(), formats
            )
            self.accept()
