"""Asks what to do where the image of a project was moved or changed, without blocking the app."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton, QFileDialog, QMessageBox, QWidget

from napari_nucleus.core.nuclei import counted
from napari_nucleus.io.images import IMAGE_SUFFIXES
from napari_nucleus.widgets.project_images import ChangedImage, MovedImage

if TYPE_CHECKING:
    from napari_nucleus.widgets.opening import Opening

__all__ = ["ImageQuestion"]


class ImageQuestion(QMessageBox):
    """A question about an image, whose answers go to the `Opening` that asked."""

    def __init__(
        self, question: MovedImage | ChangedImage, opening: Opening, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._question, self._opening = question, opening
        self.setWindowTitle(question.project.path.name)
        self.setIcon(QMessageBox.Icon.Question)
        self.setText(question.sentence)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        nuclei = counted(question.project.nuclei)
        accept, other = QMessageBox.ButtonRole.AcceptRole, QMessageBox.ButtonRole.ActionRole
        self.find: QAbstractButton | None = None
        self.look_only: QAbstractButton | None = None
        self.use_changed: QAbstractButton | None = None
        if isinstance(question, MovedImage):
            self.setInformativeText(f"Its annotation ({nuclei}) is kept. Where is the image now?")
            self.find = self.addButton("Find it…", accept)
        else:
            self.setInformativeText(
                f"Its annotation ({nuclei}) is kept whatever you choose. Is it still right for the "
                "picture as it is now?"
            )
            self.look_only = self.addButton("Open read-only", other)
            self.use_changed = self.addButton("Use the changed image", accept)
        self.addButton(QMessageBox.StandardButton.Cancel)
        self.buttonClicked.connect(self._on_button)

    def _on_button(self, button: QAbstractButton) -> None:
        question = self._question
        if isinstance(question, MovedImage):
            if button is self.find:
                self._ask_where(question)
        elif button is self.look_only:
            self._opening.look_only(question)
        elif button is self.use_changed:
            self._opening.use_changed(question)

    def _ask_where(self, question: MovedImage) -> None:
        opening = self._opening
        endings = " ".join(f"*{suffix}" for suffix in sorted(IMAGE_SUFFIXES))
        name = Path(question.project.image.path or question.project.image.name).name
        dialog = QFileDialog(
            self.parentWidget(), f"Where is {name}?", str(Path.home()), f"Images ({endings})"
        )
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.fileSelected.connect(lambda file: opening.find(question, Path(file)))
        dialog.open()
