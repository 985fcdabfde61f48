"""What is drawn for a moment: the box being dragged, and clicks that wait for the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Points, Vectors
from numpy.typing import NDArray
from qtpy.QtCore import QTimer

from napari_nucleus.core.geometry import points_to_centre_origin
from napari_nucleus.widgets.layers import METADATA_KEY, same_place

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

__all__ = ["Marks"]

CROSS_PX = 14.0
"""Size of a waiting click's cross, in screen pixels."""

PATIENCE_MS = 200
"""How long a click waits before it is marked."""

COLOR = "#ffe119"


class Marks:
    """Two layers of ours that hold a few strokes, made when there is something to show.

    They stay, empty, until `close`: making and removing a layer costs more than a click may take.

    Parameters
    ----------
    viewer, image
        Where to draw, and on what.
    key
        Identifies the document in the layers' metadata.
    """

    def __init__(self, viewer: Viewer, image: Image, key: str) -> None:
        self._viewer, self._image, self._key = viewer, image, key
        self._waiting: dict[int, tuple[NDArray[np.float64], str]] = {}
        self._crosses: Points | None = None
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

    def wait(self, number: int, point_yx: NDArray[np.float64], text: str = "") -> None:
        """Show that the click of a request waits, with a word beside it.

        Without a word it is shown only if it waits for long: most answers come before an eye sees
        a cross, and drawing it would take longer than they do.
        """
        self._waiting[number] = (point_yx, text)
        if text:
            self._show_waiting()
        else:
            QTimer.singleShot(PATIENCE_MS, self._show_waiting)

    def done(self, number: int) -> None:
        """Take a request's click away."""
        if self._waiting.pop(number, None) is not None and self._shows_waiting():
            self._show_waiting()

    def close(self) -> None:
        """Take everything away."""
        self._waiting = {}
        for layer in (self._crosses, self._edges):
            if layer is not None and layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        self._crosses = self._edges = None

    def _shows_waiting(self) -> bool:
        return self._crosses is not None and self._crosses.visible

    def _show_waiting(self) -> None:
        if not self._waiting and not self._shows_waiting():
            return
        layer = self._crosses
        if layer is None or layer not in self._viewer.layers:
            layer = Points(
                ndim=2,
                symbol="cross",
                face_color=COLOR,
                border_width=0,
                features={"text": np.zeros(0, str)},
                text={"string": "{text}", "size": 9, "color": COLOR, "anchor": "upper_left"},
                **self._arguments("waiting"),
            )
            self._add(layer)
            self._crosses = layer
        layer.visible = bool(self._waiting)
        if self._waiting:
            points, texts = zip(*self._waiting.values(), strict=True)
            layer.data = points_to_centre_origin(np.array(points))
            layer.features = {"text": np.array(texts)}
            layer.size = CROSS_PX * self._image_pixels_per_screen_pixel()

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
