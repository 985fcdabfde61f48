"""Brush and eraser: a small label layer over what is seen, read and emptied after each stroke.

The layer is napari's own, with its brush, cursor and keys; it never holds nuclei, so that painting
costs the same on an image of any size, and what was painted is one edit of the document.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap
from napari.utils.transforms import Affine
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_nucleus.core.geometry import box_area
from napari_nucleus.errors import ImageError
from napari_nucleus.widgets.layers import METADATA_KEY, point_of_event, same_place, visible_box

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["Brush"]

LARGEST_AREA = 4096 * 4096
"""Pixels in view above which one must come nearer to paint: a stroke would be a nucleus wide."""

STILL_MS = 120
"""How long the view must be still before the layer follows it."""

DIAMETER_UM = 2.5
"""Width of the brush at first; napari's keys [ and ] change it."""

PAINT, ERASE = 1, 2
"""Values that a stroke leaves on the layer."""

_COLORS = {
    None: (0.0, 0.0, 0.0, 0.0),
    0: (0.0, 0.0, 0.0, 0.0),
    PAINT: (1.0, 0.88, 0.1, 0.55),
    ERASE: (1.0, 0.12, 0.12, 0.55),
}


class Brush:
    """Paints on an image layer.

    Parameters
    ----------
    viewer, image
        Where to paint, and on what.
    key
        Identifies the document in the layer's metadata.

    Attributes
    ----------
    stroked
        Emitted after a stroke with its mask ``(h, w)``, its level-0 box, the level-0 point where it
        began, and True if it erases.
    """

    stroked = Signal(object, tuple, object, bool)

    def __init__(self, viewer: Viewer, image: Image, key: str) -> None:
        self._viewer, self._image, self._key = viewer, image, key
        self._layer: Labels | None = None
        self._corner = (0, 0)
        self._erases = False
        self._active = False
        self._drawing = False
        self._before: Any = None
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(STILL_MS)
        self._timer.timeout.connect(lambda: self._follow())

    @property
    def kind(self) -> str | None:
        """``"paint"`` or ``"erase"`` while the brush is in hand, else None."""
        if not self._active:
            return None
        return "erase" if self._erases else "paint"

    def take(self, erases: bool, mpp: float | None) -> None:
        """Take the brush, or the eraser, into the hand.

        Raises
        ------
        ImageError
            If so much is in view that a stroke could not be placed.
        """
        before = self._viewer.layers.selection.active
        layer = self._fitted()
        if not self._active:
            self._before = before
            self._viewer.scene.camera.events.connect(self._on_camera)
            self._viewer.layers.events.removed.connect(self._on_removed)
            if self._layer is None:
                layer.brush_size = max(round(DIAMETER_UM / (mpp or 0.25)), 1)
        self._layer, self._active, self._erases = layer, True, erases
        layer.visible = True
        layer.selected_label = ERASE if erases else PAINT
        layer.mode = "paint"
        self._viewer.layers.selection.active = layer

    def put_down(self) -> None:
        """Give the mouse back."""
        if not self._active:
            return
        self._active = False
        self._timer.stop()
        self._viewer.scene.camera.events.disconnect(self._on_camera)
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        layer, layers = self._layer, self._viewer.layers
        if layer is not None and layer in layers:
            layer.mode = "pan_zoom"
            layer.visible = False
        before = self._before if self._before in layers else self._image
        if before in layers:
            layers.selection.active = before

    def close(self) -> None:
        """Take the layer away."""
        self.put_down()
        layer, self._layer = self._layer, None
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    # ---- the layer

    def _fitted(self) -> Labels:
        """Return the layer, lying over what is seen."""
        box = visible_box(self._image)
        if box_area(box) > LARGEST_AREA:
            raise ImageError(
                f"{self._image.name}: {box[3] - box[1]} x {box[2] - box[0]} pixels are in view; "
                "come nearer to paint."
            )
        empty = np.zeros((box[2] - box[0], box[3] - box[1]), np.uint8)
        place = same_place(self._image)
        inner = Affine(
            scale=place["scale"],
            translate=place["translate"],
            rotate=place["rotate"],
            shear=place["shear"],
        )
        self._corner = box[:2]
        place["translate"] = inner(np.array(box[:2], float))
        layer = self._layer
        if layer is not None and layer in self._viewer.layers:
            layer.data = empty
            layer.translate = place["translate"]
            return layer
        layer = Labels(
            empty,
            name=f"{self._image.name} brush",
            metadata={METADATA_KEY: {"document": self._key, "role": "brush"}},
            colormap=DirectLabelColormap(color_dict=_COLORS),
            opacity=1.0,
            **place,
        )
        self._viewer.add_layer(layer)
        layer.mouse_drag_callbacks.append(self._on_drag)
        return layer

    def _on_camera(self, _: Any = None) -> None:
        self._timer.start()

    def _follow(self) -> None:
        if not self._active:
            return
        if self._drawing:
            self._timer.start()
            return
        try:
            self._fitted()
        except ImageError:
            # Seen from so far off the brush does nothing; coming nearer it works again.
            return

    def _on_removed(self, event: Any) -> None:
        if event.value is self._layer:
            self._layer = None
            self.put_down()

    # ---- strokes

    def _on_drag(self, _: Any, event: Any) -> Generator[None, None, None]:
        began = point_of_event(self._image, event.position)
        self._drawing = True
        yield
        while event.type == "mouse_move":
            yield
        self._drawing = False
        # The layer's own callback paints the last piece of the stroke on release, maybe after us.
        QTimer.singleShot(0, lambda: self._finish(began))

    def _finish(self, began_yx: NDArray[np.float64]) -> None:
        layer = self._layer
        if layer is None or not self._active:
            return
        rows, columns = np.nonzero(layer.data)
        if not len(rows):
            return
        values = np.asarray(layer.data)[rows, columns]
        layer.data_setitem((rows, columns), 0)
        y0, x0 = int(rows.min()), int(columns.min())
        mask = np.zeros((int(rows.max()) - y0 + 1, int(columns.max()) - x0 + 1), bool)
        mask[rows - y0, columns - x0] = True
        top, left = y0 + self._corner[0], x0 + self._corner[1]
        box = (top, left, top + mask.shape[0], left + mask.shape[1])
        self.stroked.emit(mask, box, began_yx, bool((values == ERASE).any()))
