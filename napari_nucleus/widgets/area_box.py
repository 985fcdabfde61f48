"""The group of the Measure tab that says where: an area, regions in it, the tumour's border."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Shapes
from psygnal import Signal
from qtpy.QtWidgets import QComboBox, QGroupBox, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_nucleus.session.regions import RegionKind
from napari_nucleus.widgets.drawn_layer import DrawnLayer
from napari_nucleus.widgets.extents import view_extent
from napari_nucleus.widgets.layers import role_of
from napari_nucleus.widgets.measured_area import Where
from napari_nucleus.widgets.named_regions import NamedRegion, name_region, named_regions
from napari_nucleus.widgets.regions import DRAWING_ROLE

if TYPE_CHECKING:
    from napari_nucleus.widgets.annotation import Annotation
    from napari_nucleus.widgets.workspace import Workspace

__all__ = ["AreaBox"]

BORDER_ROLE = "tumour border"
BORDER_COLOR = "#ff00ff"

WHOLE, VIEW, DRAWN = "Whole image", "View", "Drawn regions"


class AreaBox(QGroupBox):
    """Chooses what is measured.

    Attributes
    ----------
    changed
        Emitted when `where` may be another than before: also while the view moves.
    """

    changed = Signal()

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__("Measure", parent)
        self._workspace = workspace
        self._followed: weakref.WeakSet[Shapes] = weakref.WeakSet()
        self.regions: list[NamedRegion] = []
        self.area = QComboBox()
        self.area.setToolTip("What is measured. Excluded regions are always left out")
        for name, tip in (
            (WHOLE, "All of the image"),
            (VIEW, "What the canvas shows; follows when you move"),
            (DRAWN, "What you have drawn; each region is compared with the others as well"),
        ):
            self.area.addItem(name)
            self.area.setItemData(self.area.count() - 1, tip, 3)
        self.draw = QPushButton("Draw region…")
        self.draw.setToolTip("Draw a region: polygon by clicks, ends with a double click")
        self.border = QPushButton("Tumour border…")
        self.border.setToolTip(
            "Draw around the tumour: densities are then measured by the distance from that line"
        )
        buttons = QHBoxLayout()
        buttons.addWidget(self.draw)
        buttons.addWidget(self.border)
        lines = QVBoxLayout(self)
        lines.addWidget(self.area)
        lines.addLayout(buttons)

        self.area.currentIndexChanged.connect(lambda _: self.changed.emit())
        self.draw.clicked.connect(self._on_draw)
        self.border.clicked.connect(self._on_border)
        viewer = workspace.viewer
        self._events = (
            (viewer.scene.camera.events, self._on_camera),
            (viewer.layers.events.inserted, self._on_layer),
            (viewer.layers.events.removed, self._on_layer),
        )
        for event, slot in self._events:
            event.connect(slot)

    def let_go(self) -> None:
        """Follow the viewer no more."""
        for event, slot in self._events:
            event.disconnect(slot)
        for layer in self._followed:
            layer.events.data.disconnect(self._on_shapes)

    def where(self) -> Where | None:
        """Return what is to be measured; None if nothing is drawn, or there is no image."""
        annotation = self._workspace.annotation
        if annotation is None:
            return None
        document, drawing = annotation.document, self._drawing(annotation)
        self.regions = named_regions(annotation, drawing)
        chosen = self.area.currentText()
        within: tuple[Any, ...] = ()
        if chosen == VIEW:
            y0, x0, y1, x1 = view_extent(annotation).box
            within = (np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]], float),)
        elif chosen == DRAWN:
            within = tuple(p for r in self.regions if r.shape is not None for p in r.polygons)
            if not within:
                return None
        excluded = [r for r in document.regions if r.kind is RegionKind.EXCLUDED]
        return Where(
            chosen,
            annotation.source.shape,
            within,
            tuple(polygon for region in excluded for polygon in region.polygons),
            tuple((region.name, region.polygons) for region in self.regions),
            tuple(self._border(annotation).polygons),
        )

    def rename(self, shape: int, name: str) -> None:
        """Give a drawn shape another name."""
        annotation = self._workspace.annotation
        drawing = None if annotation is None else self._drawing(annotation)
        if drawing is not None:
            name_region(drawing, shape, name)
            self.changed.emit()

    def _drawing(self, annotation: Annotation) -> Shapes | None:
        """Return the layer of drawn regions, and follow what is drawn in it."""
        drawing = self._workspace.regions.drawing()
        if drawing is None or role_of(drawing) == (annotation.key, BORDER_ROLE):
            return None
        self._follow(drawing)
        return drawing

    def _border(self, annotation: Annotation) -> DrawnLayer:
        return DrawnLayer(annotation, BORDER_ROLE, "Tumour border", BORDER_COLOR)

    def _follow(self, layer: Shapes) -> None:
        if layer not in self._followed:
            self._followed.add(layer)
            layer.events.data.connect(self._on_shapes)

    def _on_draw(self) -> None:
        layer = self._workspace.regions.draw()
        if layer is not None:
            self._follow(layer)
            self.area.setCurrentText(DRAWN)

    def _on_border(self) -> None:
        annotation = self._workspace.annotation
        if annotation is not None:
            self._follow(self._border(annotation).draw())

    def _on_camera(self, _: Any = None) -> None:
        if self.area.currentText() == VIEW:
            self.changed.emit()

    def _on_layer(self, event: Any) -> None:
        role = role_of(event.value)
        if role is not None and role[1] in (DRAWING_ROLE, BORDER_ROLE):
            self.changed.emit()

    def _on_shapes(self, _: Any = None) -> None:
        self.changed.emit()
