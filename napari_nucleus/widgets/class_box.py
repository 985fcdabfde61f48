"""The classes of the document as buttons, and the way to change them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGridLayout, QPushButton, QWidget

from napari_nucleus.core.classes import NucleusClass
from napari_nucleus.widgets.scheme_dialog import SchemeDialog
from napari_nucleus.widgets.swatches import swatch

if TYPE_CHECKING:
    from napari_nucleus.widgets.workspace import Workspace

__all__ = ["ClassBox"]

PER_LINE = 2


class ClassBox(QWidget):
    """A button for each class, which gives it to the selected nucleus, and one for the scheme."""

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self.buttons: list[QPushButton] = []
        self.edit = QPushButton("Classes…")
        self.edit.setToolTip("Choose another class scheme, or change names, colours and keys")
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(4)
        self.edit.clicked.connect(self.open_dialog)
        workspace.annotation_changed.connect(self._on_annotation)
        workspace.document_changed.connect(self.refresh)
        workspace.said.connect(self.refresh)
        self._on_annotation()

    def refresh(self, *_: object) -> None:
        """Show whether there is a nucleus to give a class."""
        annotation = self._workspace.annotation
        chosen = annotation is not None and (
            annotation.tool.selected is not None or bool(annotation.by_hand.group)
        )
        for button in self.buttons:
            button.setEnabled(chosen)
        self.edit.setEnabled(annotation is not None)

    def open_dialog(self) -> None:
        """Ask for another scheme; does not block the app."""
        annotation, workspace = self._workspace.annotation, self._workspace
        if annotation is None:
            return
        document = annotation.document
        dialog = SchemeDialog(
            document.scheme,
            document.counts_by_class(),
            annotation.model.info.classes,
            workspace.keeping.preferences.last_scheme,
            workspace.change_scheme,
            self,
        )
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.chosen.connect(workspace.keeping.settle_scheme)
        dialog.open()

    def _on_annotation(self) -> None:
        annotation = self._workspace.annotation
        if annotation is not None:
            annotation.selection_changed.connect(self.refresh, unique=True)
            annotation.scheme_changed.connect(self._on_scheme, unique=True)
        self._on_scheme()

    def _on_scheme(self) -> None:
        annotation = self._workspace.annotation
        for button in self.buttons:
            self._grid.removeWidget(button)
            button.deleteLater()
        scheme = None if annotation is None else annotation.document.scheme
        self.buttons = [] if scheme is None else [self._button(c) for c in scheme.classes]
        for i, button in enumerate([*self.buttons, self.edit]):
            self._grid.addWidget(button, i // PER_LINE, i % PER_LINE)
        self.refresh()

    def _button(self, nucleus_class: NucleusClass) -> QPushButton:
        name, key = nucleus_class.name, nucleus_class.key
        button = QPushButton(swatch(nucleus_class.color), f"{key}  {name}" if key else name)
        tip = f"Make it {name}"
        if key:
            tip += f"; the key {key} does so for the nucleus under the pointer"
        button.setToolTip(tip)
        button.clicked.connect(partial(self._classify, nucleus_class.id))
        return button

    def _classify(self, class_id: int, *_: object) -> None:
        if self._workspace.annotation is not None:
            self._workspace.annotation.classify_selected(class_id)
