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
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.atomic import check_stem

__all__ = ["ExportDialog"]

AMBER = "color: #ffb000;"


class ExportDialog(QDialog):
    """A dialog that does not block; emits ``chosen(folder, stem, formats)``.

    Parameters
    ----------
    folder, name
        Where files go, and what they are called, unless the user says otherwise.
    title
        Of the window.
    formats
        What to call each format, by its name.
    """

    chosen = Signal(Path, str, tuple)

    def __init__(
        self,
        folder: Path,
        name: str,
        title: str,
        formats: Mapping[str, str],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.folder = QLineEdit(str(folder))
        browse = QPushButton("Browse…")
        self.stem = QLineEdit(re.sub(r"[^\w.-]+", "_", name).strip("._") or "nuclei")
        self.formats = {key: QCheckBox(text) for key, text in formats.items()}
        for box in self.formats.values():
            box.setChecked(True)
        self.problem = QLabel()
        self.problem.setWordWrap(True)
        self.problem.setStyleSheet(AMBER)
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
        for widget in self.middle():
            layout.addWidget(widget)
        layout.addWidget(self.problem)
        layout.addWidget(buttons)
        save = buttons.button(QDialogButtonBox.StandardButton.Save)
        assert save is not None
        self.save = save
        browse.clicked.connect(self._on_browse)
        buttons.accepted.connect(self._on_save)
        buttons.rejected.connect(self.reject)
        self.stem.textChanged.connect(lambda _: self.refresh())
        self.folder.textChanged.connect(lambda _: self.refresh())
        for box in self.formats.values():
            box.toggled.connect(lambda _: self.refresh())
        self.refresh()

    def middle(self) -> list[QWidget]:
        """Return what stands between the name of the files and the buttons."""
        return list(self.formats.values())

    @property
    def target(self) -> tuple[Path, str, tuple[str, ...]]:
        """Folder, beginning of the files' names and formats, as they are chosen now."""
        formats = tuple(key for key, box in self.formats.items() if box.isChecked())
        return Path(self.folder.text().strip()).expanduser(), self.stem.text().strip(), formats

    def refresh(self) -> None:
        """Say what is wrong or will be replaced, and allow what can be done."""
        wrong, note = self.fault(), self.note()
        self.problem.setText(wrong or note)
        self.problem.setVisible(bool(wrong or note))
        self.save.setEnabled(not wrong)

    def fault(self) -> str:
        """Return a sentence about what keeps it from being written; empty for nothing."""
        folder, stem, formats = self.target
        if not formats:
            return "Choose a format."
        if not self.folder.text().strip():
            return "Choose a folder."
        try:
            check_stem(stem)
        except AnnotationError as error:
            return str(error) if stem else "Give the files a name."
        if folder.exists() and not folder.is_dir():
            return f"{folder.name} is a file; choose a folder."
        return ""

    def note(self) -> str:
        """Return a sentence about what should be known before; empty for nothing."""
        return ""

    def _on_browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder", self.folder.text())
        if folder:
            self.folder.setText(folder)

    def _on_save(self) -> None:
        if not self.fault():
            self.settle()
            self.accept()

    def settle(self) -> None:
        """Tell what was chosen."""
        self.chosen.emit(*self.target)
