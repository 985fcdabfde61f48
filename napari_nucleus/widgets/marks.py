"""What is shown for a moment: the box or stroke being drawn, and that the model is at work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Vectors
from numpy.typing import NDArray
from qtpy.QtCore import QRect, QTimer
from qtpy.QtGui import QCursor
from qtpy.QtWidgets import QToolTip

from napari_nucleus.core.geometry import points_to_centre_origin
from napari_nucleus.widgets.layers import METADATA_KEY, same_place

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

__all__ = ["Marks"]

PATIENCE_MS = 200
"""How long a click waits before that is shown."""

LONGEST_WAIT_MS = 60_000
"""How long that is shown at most."""

COLOR = "#ffe119"


class Marks:
    """A layer of ours that holds a few strokes, made when there is something to show.

    It stays, hidden, until `close`: making and removing a layer costs more than a click may take.

    Parameters
    ----------
    viewer, image
        Where to draw, and on what.
    key
        Identifies the document in the layers' metadata.
    """

    def __init__(self, viewer: Viewer, image: Image, key: str) -> None:
        self._viewer, self._image, self._key = viewer, image, key
        self._waiting: dict[int, str] = {}
        self._shows_waiting = False
        self._edges: Vectors | None = None

    def show_box(self, first_yx: Any | None, last_yx: Any | None) -> None:
        """Show a box by two opposite corners; None takes it away."""
        if first_yx is None or last_yx is None:
            self.show_stroke(None)
            return
        (y0, x0), (y1, x1) = np.asarray(first_yx), np.asarray(last_yx)
        self.show_stroke(np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0], [y0, x0]]))

    def show_stroke(self, points_yx: NDArray[np.float64] | None) -> None:
        """Show a stroke ``(m, 2)``; None takes it away."""
        layer = self._edges
        if points_yx is None or len(points_yx) < 2:
            if layer is not None:
                layer.visible = False
            return
        points = points_to_centre_origin(points_yx)
        edges = np.stack([points[:-1], np.diff(points, axis=0)], axis=1)
        if layer is None or layer not in self._viewer.layers:
            layer = Vectors(edges, edge_color=COLOR, vector_style="line", **self._arguments("box"))
            self._add(layer)
            self._edges = layer
        layer.edge_width = 2.0 * self._image_pixels_per_screen_pixel()
        layer.data = edges
        layer.visible = True

    def wait(self, number: int, text: str = "") -> None:
        """Show at the pointer that a request waits, in a few words.

        Without words it is shown only if it waits for long: most answers come before an eye sees
        anything, and showing it would take longer than they do.
        """
        self._waiting[number] = text
        if text:
            self._show_waiting()
        else:
            QTimer.singleShot(PATIENCE_MS, self._show_waiting)

    def done(self, number: int) -> None:
        """Show no more that a request waits."""
        if self._waiting.pop(number, None) is not None and not self._waiting:
            self._hide_waiting()

    def close(self) -> None:
        """Take everything away."""
        self._waiting = {}
        self._hide_waiting()
        if self._edges is not None and self._edges in self._viewer.layers:
            self._viewer.layers.remove(self._edges)
        self._edges = None

    def _show_waiting(self) -> None:
        # A tool tip is a window of its own: no layer comes and goes, and the canvas stays as it is.
        if self._waiting:
            text = next(filter(None, reversed(self._waiting.values())), "working…")
            QToolTip.showText(QCursor.pos(), text, None, QRect(), LONGEST_WAIT_MS)
            self._shows_waiting = True

    def _hide_waiting(self) -> None:
        if self._shows_waiting:
            self._shows_waiting = False
            QToolTip.hideText()

    def _image_pixels_per_screen_pixel(self) -> float:
        zoom = self._viewer.scene.camera.zoom
        return 1.0 / max(zoom * float(self._image.scale[-1]), 1e-6)

    def _arguments(self, role: str) -> dict[str, Any]:
        return {
            "name": f"{self._image.name} {role}",
            "metadata": {METADATA_KEY: {"document": self._key, "role": role}},
            **same_place(self._image),
        }

    def _add(self, layer: Layer) -> None:
        active = self._viewer.layers.selection.active
        self._viewer.add_layer(layer)
        if active is not None:
            self._viewer.layers.selection.active = active
