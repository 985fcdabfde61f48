"""Choosing a project file, without blocking the app."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from qtpy.QtCore import Signal  # pyright: ignore[reportPrivateImportUsage]
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_nucleus.session.project import SUFFIX

__all__ = ["ProjectDialog"]


class ProjectDialog(QFileDialog):
    """A file dialog that emits ``chosen(path)``."""

    chosen = Signal(Path)

    def __init__(self, title: str, at: Path, parent: QWidget | None = None) -> None:
        super().__init__(parent, title, str(at.parent), f"Project (*{SUFFIX})")
        self.setDefaultSuffix(SUFFIX.removeprefix("."))
        self.selectFile(at.name)
        self.fileSelected.connect(lambda path: self.chosen.emit(Path(path)))

    @classmethod
    def to_save(cls, at: Path, parent: QWidget | None = None) -> Self:
        """Ask for a file to write; an existing one is replaced after a question."""
        dialog = cls("Save the project as", at, parent)
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        return dialog

    @classmethod
    def to_open(cls, parent: QWidget | None = None) -> Self:
        """Ask for a file that there is."""
        dialog = cls("Open a project", Path.home() / f"*{SUFFIX}", parent)
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        return dialog
