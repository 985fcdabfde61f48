"""Shows the regions of a document on its image: what is signed off, and what is excluded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Shapes
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_nucleus.core.geometry import points_to_centre_origin
from napari_nucleus.session.document import Document
from napari_nucleus.session.regions import Region, RegionKind
from napari_nucleus.widgets.layers import METADATA_KEY, same_place

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["OVERLAY_ROLE", "RegionOverlay"]

OVERLAY_ROLE = "regions"

EDGES = {RegionKind.REVIEWED: "#2ca02c", RegionKind.EXCLUDED: "#3c3c3c"}
FILLS = {RegionKind.REVIEWED: "#2ca02c1e", RegionKind.EXCLUDED: "#1e1e1ea0"}
"""Excluded tissue is darkened, as a mask on a microscope does; what is signed off has a tint."""

EDGE_PX = 2.5
"""Width of an outline in screen pixels."""

REDRAWN_ZOOM = 1.3
"""Outlines are drawn again when the zoom has changed by this factor."""

FOLLOW_MS = 150
"""How long the zoom must rest before."""


class RegionOverlay:
    """A layer that cannot be edited, made when there is a region; it follows the document.

    While there is none, the layer is hidden: an empty one costs as much, and trouble with some
    graphics drivers when it is removed.

    Parameters
    ----------
    viewer, image
        Where to draw, and on what.
    document
        Whose regions are shown.
    key
        Identifies the document in the layer's metadata.

    Attributes
    ----------
    restored
        Emitted with the layer's name after it was deleted and came back.
    """

    restored = Signal(str)

    def __init__(self, viewer: Viewer, image: Image, document: Document, key: str) -> None:
        self._viewer, self._image, self._document, self._key = viewer, image, document, key
        self._layer: Shapes | None = None
        self._shown: tuple[Region, ...] = ()
        self._zoom = 0.0
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(FOLLOW_MS)
        self._timer.timeout.connect(self._follow_zoom)
        document.regions_changed.connect(self._follow)
        viewer.layers.events.removed.connect(self._on_removed)
        viewer.scene.camera.events.zoom.connect(self._on_zoom)
        self._follow()

    @property
    def layer(self) -> Shapes | None:
        """The layer; None before there ever was a region."""
        return self._layer

    def close(self) -> None:
        """Take the layer out of the viewer and let go of the document."""
        self._timer.stop()
        self._document.regions_changed.disconnect(self._follow)
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        self._viewer.scene.camera.events.zoom.disconnect(self._on_zoom)
        layer, self._layer = self._layer, None
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def _follow(self) -> None:
        regions = self._document.regions
        if regions:
            if self._layer is None:
                self._layer = self._made(regions)
                self._insert(self._layer)
            else:
                self._redraw(self._layer, regions)
            self._shown = regions
        if self._layer is not None:
            self._layer.visible = bool(regions)

    def _redraw(self, layer: Shapes, regions: tuple[Region, ...]) -> None:
        before = len(self._shown)
        # To add costs less than to draw all anew, and is what happens most.
        if regions[:before] == self._shown:
            if len(regions) > before:
                layer.add(**self._drawing(regions[before:]))
            return
        drawing = self._drawing(regions)
        layer.data = [(shape, "polygon") for shape in drawing["data"]]
        layer.edge_color, layer.face_color = drawing["edge_color"], drawing["face_color"]
        layer.edge_width = [drawing["edge_width"]] * len(drawing["data"])

    def _made(self, regions: Sequence[Region]) -> Shapes:
        layer = Shapes(
            **self._drawing(regions),
            name=f"{self._image.name} regions",
            metadata={METADATA_KEY: {"document": self._key, "role": OVERLAY_ROLE}},
            **same_place(self._image),
        )
        layer.editable = False
        # napari makes a layer editable whenever it is shown again.
        layer.events.editable.connect(lambda event: _keep_from_edits(event.source))
        return layer

    def _drawing(self, regions: Sequence[Region]) -> dict[str, Any]:
        """Return the arguments with which the regions are drawn."""
        pairs = [(polygon, r.kind) for r in regions for polygon in r.polygons]
        self._zoom = self._viewer.scene.camera.zoom
        return {
            "data": [points_to_centre_origin(polygon) for polygon, _ in pairs],
            "shape_type": "polygon",
            "edge_color": [EDGES[kind] for _, kind in pairs],
            "face_color": [FILLS[kind] for _, kind in pairs],
            "edge_width": self._edge_width(),
        }

    def _insert(self, layer: Shapes) -> None:
        """Put the layer onto the image, below the nuclei; the active layer stays active."""
        layers = self._viewer.layers
        active = layers.selection.active
        layers.insert(layers.index(self._image) + 1 if self._image in layers else 0, layer)
        if active is not None:
            layers.selection.active = active

    def _on_removed(self, event: Any) -> None:
        if self._layer is None or event.value is not self._layer:
            return
        self._layer = None
        self._shown = ()
        if self._image in self._viewer.layers and self._document.regions:
            self._follow()
            self.restored.emit(event.value.name)

    def _on_zoom(self, _: Any = None) -> None:
        self._timer.start()

    def _follow_zoom(self) -> None:
        zoom = self._viewer.scene.camera.zoom
        ratio = zoom / max(self._zoom, 1e-9)
        if self._layer is not None and not 1 / REDRAWN_ZOOM < ratio < REDRAWN_ZOOM:
            self._zoom = zoom
            self._layer.edge_width = [self._edge_width()] * len(self._layer.data)
            self._layer.refresh(extent=False, thumbnail=False)  # napari does not draw it by itself

    def _edge_width(self) -> float:
        """Return the width of outlines in image pixels."""
        return EDGE_PX / max(self._viewer.scene.camera.zoom * float(self._image.scale[-1]), 1e-6)


def _keep_from_edits(layer: Shapes) -> None:
    if layer.editable:
        layer.editable = False
