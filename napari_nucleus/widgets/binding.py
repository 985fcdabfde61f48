"""The one seam between a document and napari: two label layers that show it.

What one sees is a uint8 raster of classes with a small colour table, which is drawn again only in
the box that an edit touched; the map of the nuclei lies under it, to be looked into and saved. The
document is the truth: a layer of ours that is deleted comes back from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap
from psygnal import Signal

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.core.geometry import Box
from napari_nucleus.core.outlines import INTERIOR, UNCLASSIFIED_OUTLINE
from napari_nucleus.session.document import Document
from napari_nucleus.session.raster import ClassRaster
from napari_nucleus.widgets.display import display_of
from napari_nucleus.widgets.layers import METADATA_KEY, role_of, same_place

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["LayerBinding"]

SELECTED, REMOVING, CARVING = 253, 252, 251
"""Values of the outline raster that mark one nucleus, whatever its class."""

_MARK_COLORS = {
    SELECTED: (255, 255, 255),
    REMOVING: (255, 30, 30),
    CARVING: (255, 150, 0),
}

INSTANCES, OUTLINES = "instances", "outlines"
"""Roles of the two layers."""

FILL_ALPHA = 0.4
"""How much of a nucleus's inside its class covers where nuclei are filled."""

NOTHING = (0.0, 0.0, 0.0, 0.0)


class LayerBinding:
    """Shows a document on an image layer.

    Parameters
    ----------
    viewer
        Where the layers go.
    image
        The layer that the document annotates; ours are put exactly onto it.
    document
        What is shown.
    key
        Identifies the document in the layers' metadata.

    Attributes
    ----------
    restored
        Emitted with a layer's name after a deleted layer came back.
    """

    restored = Signal(str)

    def __init__(self, viewer: Viewer, image: Image, document: Document, key: str) -> None:
        self._viewer, self._image, self._document = viewer, image, document
        self._key = key
        self._name = image.name
        self._raster = ClassRaster(document)
        self._display = display_of(document, self._raster)
        self._scheme = document.scheme
        self._filled, self._hidden = False, False
        self._closing = False
        self._layers: dict[str, Labels] = {}
        for role in (INSTANCES, OUTLINES):
            self._add_layer(role)
        viewer.layers.selection.active = image
        document.changed.connect(self._on_changed)
        viewer.layers.events.removed.connect(self._on_removed)

    @property
    def layers(self) -> tuple[Labels, Labels]:
        """The instance layer and the outline layer."""
        return self._layers[INSTANCES], self._layers[OUTLINES]

    @property
    def filled(self) -> bool:
        """True while nuclei are shown filled."""
        return self._filled

    def toggle_fill(self) -> None:
        """Show nuclei filled as well, or as outlines only."""
        self._filled = not self._filled
        self._color()

    @property
    def hidden(self) -> bool:
        """True while nuclei are not shown."""
        return self._hidden

    def toggle_hidden(self) -> None:
        """Hide all nuclei, or show them again."""
        self._hidden = not self._hidden
        self._show()

    def mark(self, nucleus_id: int | None, as_what: int = SELECTED) -> None:
        """Mark one nucleus by the colour of its outline; None marks none."""
        for box in self._raster.mark(nucleus_id, as_what):
            self._display.redraw(box, labels_too=False)

    def choose(self, ids: Sequence[int], as_what: int) -> None:
        """Mark several nuclei, and no others than these."""
        for box in self._raster.choose(ids, as_what):
            self._display.redraw(box, labels_too=False)

    def set_scheme(self, scheme: ClassScheme) -> None:
        """Show nuclei in the colours of a scheme."""
        self._scheme = scheme
        self._color()

    def close(self) -> None:
        """Take the layers out of the viewer and let go of the document."""
        self._closing = True
        self._display.close()
        self._document.changed.disconnect(self._on_changed)
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        for layer in self._layers.values():
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)

    # ---- layers

    def _add_layer(self, role: str) -> None:
        instances = role == INSTANCES
        arguments: dict[str, Any] = {
            "name": f"{self._name} {'nuclei' if instances else 'outlines'}",
            "metadata": {METADATA_KEY: {"document": self._key, "role": role}},
            "blending": "translucent",
            "opacity": 0.35 if instances else 1.0,
            # Nuclei are seen by their classes; the map of the nuclei is there to be saved.
            "visible": not instances,
            **same_place(self._image),
        }
        if not instances:
            arguments["colormap"] = raster_colormap(self._scheme, self._filled)
        data = self._display.labels() if instances else self._display.raster()
        layer = Labels(data, **arguments)
        # Painting on it would not reach the document.
        layer.editable = False
        self._layers[role] = layer
        self._display.attach(self._layers.get(INSTANCES), self._layers.get(OUTLINES))
        layers = self._viewer.layers
        below = self._image if instances else self._layers[INSTANCES]
        position = layers.index(below) + 1 if below in layers else len(layers)
        active = layers.selection.active
        layers.insert(position, layer)
        if active is not None:
            layers.selection.active = active
        self._show()

    def _on_removed(self, event: Any) -> None:
        role = role_of(event.value)
        if self._closing or role is None or role[0] != self._key:
            return
        if self._layers.get(role[1]) is not event.value:
            return
        self._add_layer(role[1])
        self.restored.emit(self._layers[role[1]].name)

    def _show(self) -> None:
        if OUTLINES in self._layers:
            self._layers[OUTLINES].visible = not self._hidden

    def _color(self) -> None:
        self._layers[OUTLINES].colormap = raster_colormap(self._scheme, self._filled)

    # ---- following the document

    def _on_changed(self, box: Box, kinds: frozenset[str]) -> None:
        if kinds & {"labels", "classes"}:
            self._raster.follow(box)
            self._display.redraw(box, labels_too="labels" in kinds)


def raster_colormap(scheme: ClassScheme, filled: bool) -> DirectLabelColormap:
    """Return the colours of the class raster: outline and inside of each class, and the marks."""
    outlines = {c.id: c.color for c in scheme.classes}
    outlines[UNCLASSIFIED_OUTLINE] = scheme.unknown_color
    colors: dict[int | None, Any] = {None: NOTHING, 0: NOTHING}
    for value, color in outlines.items():
        colors[value] = _rgba(color)
        colors[value + INTERIOR] = _rgba(color, FILL_ALPHA) if filled else NOTHING
    colors |= {value: _rgba(color) for value, color in _MARK_COLORS.items()}
    return DirectLabelColormap(color_dict=colors)


def _rgba(color: Iterable[int], alpha: float = 1.0) -> tuple[float, ...]:
    return (*(c / 255 for c in color), alpha)
