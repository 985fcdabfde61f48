"""The dock's header: which image, how large its pixels are, which model on which device."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from magicgui.widgets import ComboBox, create_widget
from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QWidget,
)

from napari_nucleus.core.image import MPP_RANGE
from napari_nucleus.widgets.layers import role_of
from napari_nucleus.widgets.model import AppModel
from napari_nucleus.widgets.series_bar import SeriesBar

if TYPE_CHECKING:
    from napari_nucleus.widgets.workspace import Workspace

__all__ = ["Header"]

UNKNOWN_MPP = 0.0
"""Shown in the pixel-size box while the size is unknown."""


class Header(QWidget):
    """Image, µm per pixel, model, device."""

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self.image = cast(ComboBox, create_widget(annotation=Image, options={"nullable": True}))
        self.image.native.setToolTip("The image whose nuclei are segmented and corrected")
        self.mpp = QDoubleSpinBox()
        self.mpp.setDecimals(4)
        self.mpp.setRange(UNKNOWN_MPP, MPP_RANGE[1])
        self.mpp.setSingleStep(0.01)
        self.mpp.setSpecialValueText("unknown")
        self.mpp.setSuffix(" µm/px")
        self.mpp.setKeyboardTracking(False)
        self.mpp.setToolTip(
            "Pixel size of the image. It sets the magnification the model works at, and µm² in "
            "the results"
        )
        self.estimate = QPushButton("Estimate")
        self.estimate.setToolTip("Estimate the pixel size from the size of the nuclei")
        self.warning = QLabel()
        self.warning.setWordWrap(True)
        self.warning.setStyleSheet("color: #ffb000;")
        self.warning.hide()
        self.model = QLabel()
        self.model.setToolTip("The models and the devices they run on")
        self.model.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)

        self.annotator = QLineEdit(workspace.keeping.annotator)
        self.annotator.setToolTip("Your name, noted in the project with each thing you do")

        size = QHBoxLayout()
        size.addWidget(self.mpp, 1)
        size.addWidget(self.estimate)
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow(SeriesBar(workspace))
        form.addRow("Image", self.image.native)
        form.addRow("Pixel size", size)
        form.addRow(self.warning)
        form.addRow("Model", self.model)
        form.addRow("Annotator", self.annotator)

        self.image.changed.connect(self._on_image)
        self.mpp.valueChanged.connect(self._on_mpp)
        self.estimate.clicked.connect(self._on_estimate)
        self.annotator.editingFinished.connect(self._on_annotator)
        workspace.annotation_changed.connect(self.refresh)
        workspace.models.state_changed.connect(self._show_models)
        workspace.models.chosen_changed.connect(self._show_models)
        self._show_models()
        self.refresh()

    def choose(self, image: Image | None) -> None:
        """Show an image as the chosen one and work on it."""
        self.image.reset_choices()
        if image is None or image in self.image.choices:
            self.image.value = image
        self._workspace.set_image(image)

    def reset_choices(self) -> None:
        """Look again which image layers there are; take the first if none is chosen."""
        self.image.reset_choices()
        choices = [c for c in self.image.choices if c is not None and role_of(c) is None]
        if self.image.value is None and choices:
            self.image.value = choices[-1]
        elif self.image.value is None:
            self._workspace.set_image(None)

    def refresh(self) -> None:
        """Show what the workspace works on."""
        annotation = self._workspace.annotation
        shown = None if annotation is None else annotation.image
        if shown is None or shown in self.image.choices:
            with self.image.changed.blocked():
                self.image.value = shown
        self.mpp.setEnabled(annotation is not None)
        self.estimate.setEnabled(annotation is not None)
        if annotation is not None:
            annotation.mpp_changed.connect(self._show_mpp, unique=True)
        self._show_mpp()

    def _show_mpp(self) -> None:
        annotation = self._workspace.annotation
        mpp = None if annotation is None else annotation.mpp
        self.mpp.blockSignals(True)
        self.mpp.setValue(UNKNOWN_MPP if mpp is None else mpp)
        self.mpp.blockSignals(False)
        self.warning.setVisible(annotation is not None and mpp is None)
        if annotation is None or mpp is not None:
            return
        if annotation.estimated_mpp is None:
            self.estimate.setText("Estimate")
            self.warning.setText("This image does not say how large its pixels are.")
        else:
            self.estimate.setText(f"Use {annotation.estimated_mpp:.3f}")
            self.warning.setText(
                "This image does not say how large its pixels are. The nuclei suggest "
                f"{annotation.estimated_mpp:.3f} µm/px."
            )

    def _on_image(self, image: Image | None) -> None:
        self._workspace.set_image(image)

    def _on_mpp(self, value: float) -> None:
        annotation = self._workspace.annotation
        if annotation is not None:
            known = value >= MPP_RANGE[0]
            annotation.set_mpp(value if known else None)
            self._show_mpp()

    def _on_annotator(self) -> None:
        keeping = self._workspace.keeping
        if self.annotator.text() != keeping.annotator:
            keeping.annotator = self.annotator.text()
            self.annotator.setText(keeping.annotator)

    def _on_estimate(self) -> None:
        annotation = self._workspace.annotation
        if annotation is None:
            return
        if annotation.mpp is None and annotation.estimated_mpp is not None:
            annotation.set_mpp(round(annotation.estimated_mpp, 4))
        else:
            annotation.set_mpp(None)
            annotation.estimate_mpp()

    def _show_models(self) -> None:
        models = self._workspace.models
        if models.automatic is models.clicks:
            self.model.setText(_in_words(models.clicks))
        else:
            self.model.setText(
                f"{_in_words(models.automatic)} finds nuclei\n"
                f"{_in_words(models.clicks)} answers clicks"
            )


def _in_words(model: AppModel) -> str:
    device = model.host.device
    words = {
        "new": "not loaded yet",
        "starting": "loading…",
        "ready": device or "ready",
        "busy": f"{device or 'working'}, busy",
        "restarting": "restarting after a fault…",
        "failed": "cannot be loaded",
        "closed": "closed",
    }
    return f"{model.name} ({words[model.host.state]})"
