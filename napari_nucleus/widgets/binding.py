"""The one seam between a document and napari: two label layers that show it.

What one sees is a uint8 raster of class outlines with a colour table of some ten entries, which is
recomputed only in the box that an edit touched; the instance layer lies under it for fills, picking
and saving. The document is the truth: a layer of ours that is deleted comes back from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray
from psygnal import Signal

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.core.geometry import Box, clip_box, pad_box
from napari_nucleus.core.outlines import UNCLASSIFIED_OUTLINE, class_outline
from napari_nucleus.errors import ImageError
from napari_nucleus.session.document import Document
from napari_nucleus.widgets.layers import METADATA_KEY, role_of, same_place

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["LARGEST_SIDE", "LayerBinding"]

LARGEST_SIDE = 8192
"""Images up to this side are shown through arrays in memory."""

SELECTED, REMOVING, CARVING = 253, 252, 251
"""Values of the outline raster that mark one nucleus, whatever its class."""

_MARK_COLORS = {
    SELECTED: (255, 255, 255),
    REMOVING: (255, 30, 30),
    CARVING: (255, 150, 0),
}

INSTANCES, OUTLINES = "instances", "outlines"
"""Roles of the two layers."""


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
        if max(document.shape) > LARGEST_SIDE:
            raise ImageError(
                f"{image.name}: {document.shape[1]} x {document.shape[0]} pixels; the app shows "
                f"images up to {LARGEST_SIDE} x {LARGEST_SIDE}. Crop it, or use the command line."
            )
        self._viewer, self._image, self._document = viewer, image, document
        self._key = key
        self._name = image.name
        self._labels = document.labels()
        self._marked: tuple[int, int] | None = None
        self._outline = self._outline_of((0, 0, *document.shape))
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
        self._show()

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
        wanted = None if nucleus_id is None else (nucleus_id, as_what)
        if wanted == self._marked:
            return
        before, self._marked = self._marked, wanted
        for marked in (before, wanted):
            if marked is not None and marked[0] in self._document:
                self._redraw_outline(self._document.row(marked[0]).box)

    def close(self) -> None:
        """Take the layers out of the viewer and let go of the document."""
        self._closing = True
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
            **same_place(self._image),
        }
        if not instances:
            arguments["colormap"] = outline_colormap(self._document.scheme)
        layer = Labels(self._labels if instances else self._outline, **arguments)
        # Painting on it would not reach the document.
        layer.editable = False
        self._layers[role] = layer
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
        if INSTANCES in self._layers:
            self._layers[INSTANCES].visible = self._filled and not self._hidden
        if OUTLINES in self._layers:
            self._layers[OUTLINES].visible = not self._hidden

    # ---- following the document

    def _on_changed(self, box: Box, kinds: frozenset[str]) -> None:
        if "labels" in kinds:
            self._write(self._layers[INSTANCES], box, self._document.labels(box))
        if kinds & {"labels", "classes"}:
            self._redraw_outline(box)

    def _redraw_outline(self, box: Box) -> None:
        """Draw the outlines in a box again; what surrounds it by a pixel may change as well."""
        box = clip_box(pad_box(box, 1), self._document.shape)
        self._write(self._layers[OUTLINES], box, self._outline_of(box))

    def _outline_of(self, box: Box) -> NDArray[np.uint8]:
        shape = self._document.shape
        around = clip_box(pad_box(box, 1), shape)
        labels = self._document.labels(around)
        edges = (around[0] == 0, around[1] == 0, around[2] == shape[0], around[3] == shape[1])
        outline = class_outline(labels, self._classes_of, image_edges=edges)
        if self._marked is not None:
            nucleus, value = self._marked
            outline[(labels == nucleus) & (outline > 0)] = value
        y, x = box[0] - around[0], box[1] - around[1]
        return outline[y : y + box[2] - box[0], x : x + box[3] - box[1]]

    def _classes_of(self, ids: NDArray[np.integer]) -> NDArray[np.integer]:
        present, where = np.unique(ids, return_inverse=True)
        classes = np.array([self._document.row(int(i)).class_id for i in present], np.int32)
        return classes[where] if len(present) else np.zeros(0, np.int32)

    @staticmethod
    def _write(layer: Labels, box: Box, values: NDArray[np.integer]) -> None:
        """Put new values into a layer by one call that refreshes only what differs."""
        y0, x0, y1, x1 = box
        rows, columns = np.nonzero(np.asarray(layer.data[y0:y1, x0:x1]) != values)
        if len(rows):
            layer.data_setitem((rows + y0, columns + x0), values[rows, columns])


def outline_colormap(scheme: ClassScheme) -> DirectLabelColormap:
    """Return the colours of the outline raster: a class each, and the marks."""
    colors: dict[int | None, Any] = {
        None: (0.0, 0.0, 0.0, 0.0),
        0: (0.0, 0.0, 0.0, 0.0),
        UNCLASSIFIED_OUTLINE: _rgba(scheme.unknown_color),
    }
    colors |= {c.id: _rgba(c.color) for c in scheme.classes}
    colors |= {value: _rgba(color) for value, color in _MARK_COLORS.items()}
    return DirectLabelColormap(color_dict=colors)


def _rgba(color: Iterable[int]) -> tuple[float, ...]:
    return (*(c / 255 for c in color), 1.0)
