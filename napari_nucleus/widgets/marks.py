"""What is drawn for a moment: the box being dragged, and clicks that wait for the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Shapes
from numpy.typing import NDArray

from napari_nucleus.core.geometry import points_to_centre_origin
from napari_nucleus.widgets.layers import METADATA_KEY, same_place

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["Marks"]

CROSS_PX = 7.0
"""Half the size of a waiting click's cross, in screen pixels."""


class Marks:
    """A layer of ours that holds a few strokes; it exists only while there are any.

    Parameters
    ----------
    viewer, image
        Where to draw, and on what.
    key
        Identifies the document in the layer's metadata.
    """

    def __init__(self, viewer: Viewer, image: Image, key: str) -> None:
        self._viewer, self._image, self._key = viewer, image, key
        self._box: NDArray[np.float64] | None = None
        self._waiting: dict[int, tuple[NDArray[np.float64], str]] = {}
        self._layer: Shapes | None = None

    def show_box(self, first_yx: Any | None, last_yx: Any | None) -> None:
        """Show a box by two opposite corners; None takes it away."""
        if first_yx is None or last_yx is None:
            self._box = None
        else:
            (y0, x0), (y1, x1) = np.asarray(first_yx), np.asarray(last_yx)
            self._box = np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]])
        self._redraw()

    def wait(self, number: int, point_yx: NDArray[np.float64], text: str = "") -> None:
        """Show that the click of a request waits, with a word beside it."""
        self._waiting[number] = (point_yx, text)
        self._redraw()

    def done(self, number: int) -> None:
        """Take a request's click away."""
        if self._waiting.pop(number, None) is not None:
            self._redraw()

    @property
    def texts(self) -> tuple[str, ...]:
        """The words beside waiting clicks."""
        return tuple(text for _, text in self._waiting.values())

    def close(self) -> None:
        """Take everything away."""
        self._box, self._waiting = None, {}
        self._redraw()

    def _redraw(self) -> None:
        shapes: list[NDArray[np.float64]] = []
        kinds: list[str] = []
        texts: list[str] = []
        if self._box is not None:
            shapes.append(self._box)
            kinds.append("rectangle")
            texts.append("")
        reach = CROSS_PX / max(self._viewer.scene.camera.zoom * float(self._image.scale[-1]), 1e-6)
        for point, text in self._waiting.values():
            for direction in ((0.0, 1.0), (1.0, 0.0)):
                step = np.array(direction) * reach
                shapes.append(np.array([point - step, point + step]))
                kinds.append("line")
                texts.append(text if direction[1] else "")
        self._replace([points_to_centre_origin(s) for s in shapes], kinds, texts)

    def _replace(
        self, shapes: list[NDArray[np.float64]], kinds: list[str], texts: list[str]
    ) -> None:
        layers = self._viewer.layers
        if self._layer is not None and self._layer in layers:
            if not shapes:
                layers.remove(self._layer)
                self._layer = None
                return
            self._layer.data = []
        elif shapes:
            self._layer = self._new_layer()
        if not shapes or self._layer is None:
            return
        width = 2.0 / max(self._viewer.scene.camera.zoom * float(self._image.scale[-1]), 1e-6)
        self._layer.add(
            shapes,
            shape_type=kinds,
            edge_width=width,
            edge_color="#ffe119",
            face_color="transparent",
        )
        self._layer.features = {"text": texts}

    def _new_layer(self) -> Shapes:
        layer = Shapes(
            ndim=2,
            name=f"{self._image.name} marks",
            features={"text": np.zeros(0, str)},
            text={"string": "{text}", "size": 9, "color": "#ffe119", "anchor": "upper_left"},
            metadata={METADATA_KEY: {"document": self._key, "role": "marks"}},
            **same_place(self._image),
        )
        active = self._viewer.layers.selection.active
        self._viewer.add_layer(layer)
        if active is not None:
            self._viewer.layers.selection.active = active
        return layer
