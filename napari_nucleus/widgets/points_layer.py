"""Points over an image as a napari Points layer, in which the user works with napari's own tools.

What the layer shows is put in by `show`; what the user does to it comes out as a `PointsChange`, by
the ids of the points. Points have one size on the screen at every magnification.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Points
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_nucleus.core.geometry import points_from_centre_origin, points_to_centre_origin
from napari_nucleus.widgets.layers import METADATA_KEY, same_place

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["POINTS_ROLE", "PointsChange", "PointsLayer", "ShownPoints"]

POINTS_ROLE = "points"

SCREEN_PX = 10.0
"""Diameter of a point on the screen."""

SCREEN_LIMITS = (0.7 * SCREEN_PX, 1.2 * SCREEN_PX)
"""Within these it stays while the magnification changes. Points that are kept from getting smaller
are drawn with thick borders, hence the smaller one must lie below `SCREEN_PX`."""

BORDER = 0.2
"""Width of its border, as a share of the diameter."""

RESIZE_MS = 120
"""How long the magnification must rest before points are made to fit it."""


@dataclass(frozen=True, eq=False)
class ShownPoints:
    """Points as they are shown.

    Parameters
    ----------
    ids
        ``(n,)``.
    yx
        ``(n, 2)`` level-0 pixels.
    face, border
        ``(n, 4)`` colours, 0–1.
    crossed
        ``(n,)`` True for a cross in the place of a disc.
    words
        Columns that napari's status line tells of the point under the pointer.
    """

    ids: NDArray[np.int64]
    yx: NDArray[np.float64]
    face: NDArray[np.float32]
    border: NDArray[np.float32]
    crossed: NDArray[np.bool_]
    words: dict[str, NDArray]


@dataclass(frozen=True, eq=False)
class PointsChange:
    """What the user did.

    Parameters
    ----------
    removed
        ``(k,)`` ids.
    moved, moved_yx
        ``(m,)`` ids, and where they are now ``(m, 2)``.
    added_yx
        ``(a, 2)`` where new ones are.
    """

    removed: NDArray[np.int64]
    moved: NDArray[np.int64]
    moved_yx: NDArray[np.float64]
    added_yx: NDArray[np.float64]


class PointsLayer:
    """The layer.

    Parameters
    ----------
    viewer, image
        Where, and on what.
    key
        Identifies the document in the layer's metadata.
    keys
        What keys do while the layer is active, in the place of what napari has for them.

    Attributes
    ----------
    changed
        Emitted with a `PointsChange`; `show` must be called after it.
    """

    changed = Signal(object)

    def __init__(
        self,
        viewer: Viewer,
        image: Image,
        key: str,
        keys: Mapping[str, Callable[[], None]],
    ) -> None:
        self._viewer, self._image = viewer, image
        self._ids = np.zeros(0, np.int64)
        self._yx = np.zeros((0, 2))
        self._showing = self._has_crosses = False
        self.layer = Points(
            np.zeros((0, 2)),
            ndim=2,
            name="Points",
            metadata={METADATA_KEY: {"document": key, "role": POINTS_ROLE}},
            size=self._size(),
            border_width=BORDER,
            border_width_is_relative=True,
            canvas_size_limits=SCREEN_LIMITS,
            **same_place(image),
        )
        self._disc = self.layer.current_symbol
        for name, act in keys.items():
            self.layer.bind_key(name, lambda _, act=act: act(), overwrite=True)
        viewer.add_layer(self.layer)
        self._resizing = QTimer()
        self._resizing.setSingleShot(True)
        self._resizing.setInterval(RESIZE_MS)
        self._resizing.timeout.connect(lambda: self._resize())
        self.layer.events.data.connect(self._on_data)
        viewer.scene.camera.events.zoom.connect(self._on_zoom)

    @property
    def is_there(self) -> bool:
        """True until it is closed, here or by the user."""
        return self.layer in self._viewer.layers

    @property
    def mode(self) -> str:
        """``"add"``, ``"select"`` or another one of napari's."""
        return str(self.layer.mode)

    @mode.setter
    def mode(self, mode: str) -> None:
        self.layer.mode = mode

    def work(self, mode: str) -> None:
        """Let clicks on the canvas add points, or select and move them."""
        self._viewer.layers.selection.active = self.layer
        self.layer.visible = True
        self.layer.mode = mode

    def rest(self) -> None:
        """Let clicks on the canvas do nothing to points; keys are those of the image."""
        self.layer.mode = "pan_zoom"
        layers = self._viewer.layers
        if layers.selection.active is self.layer and self._image in layers:
            layers.selection.active = self._image

    @property
    def selected(self) -> NDArray[np.int64]:
        """Ids of the selected points, ``(k,)`` ascending."""
        at = np.array(sorted(self.layer.selected_data), np.int64)
        return np.sort(self._ids[at[at < len(self._ids)]])

    def delete_selected(self) -> None:
        """Take the selected points out, as the key Delete does."""
        self.layer.remove_selected()

    def show(self, points: ShownPoints) -> None:
        """Show these points, and no others; those that are selected stay so."""
        if not self.is_there:
            return
        selected = self.selected
        self._showing = True
        try:
            if len(points.ids) != len(self.layer.data) or not np.array_equal(
                points_to_centre_origin(points.yx), self.layer.data
            ):
                self.layer.selected_data = set()
                self.layer.data = points_to_centre_origin(points.yx)
                self._resize()
            if len(points.ids):
                self._dress(points)
            self.layer.features = points.words
        finally:
            self._showing = False
        self._ids, self._yx = points.ids, points.yx
        at = np.flatnonzero(np.isin(points.ids, selected)).tolist()
        if set(at) != set(self.layer.selected_data):
            self.layer.selected_data = set(at)

    def expect(self, face: tuple[float, ...], border: tuple[float, ...]) -> None:
        """Let points that the user adds have these colours from the start."""
        with self.layer.block_update_properties():
            self.layer.current_face_color = face
            self.layer.current_border_color = border
            self.layer.current_symbol = self._disc

    def _dress(self, points: ShownPoints) -> None:
        """Give points their looks; what is as it should be is left, for all of it costs time."""
        if not np.array_equal(self.layer.face_color, points.face):
            self.layer.face_color = points.face
        if not np.array_equal(self.layer.border_color, points.border):
            self.layer.border_color = points.border
        if self._has_crosses or points.crossed.any():
            self.layer.symbol = np.where(points.crossed, "cross", "disc")
            self._has_crosses = bool(points.crossed.any())

    def close(self) -> None:
        """Take the layer out of the viewer."""
        self._resizing.stop()
        self.layer.events.data.disconnect(self._on_data)
        self._viewer.scene.camera.events.zoom.disconnect(self._on_zoom)
        if self.is_there:
            self._viewer.layers.remove(self.layer)

    # ---- what the user does

    def take_changes(self) -> PointsChange | None:
        """Return what the user did that was not told yet, such as points that were pasted."""
        return self._change(())

    def _on_data(self, event: Any) -> None:
        action = str(getattr(event.action, "value", event.action))
        if self._showing or action not in ("added", "removed", "changed"):
            return
        change = self._change(tuple(event.data_indices) if action == "removed" else ())
        if change is not None:
            self.changed.emit(change)

    def _change(self, removed: tuple[int, ...]) -> PointsChange | None:
        """Return what is otherwise; ``removed`` are positions in the layer as it was before."""
        yx = points_from_centre_origin(np.asarray(self.layer.data, float).reshape(-1, 2))
        # Points that are not known come last; napari does not tell of those that were pasted.
        before = np.full(max(len(yx) + len(removed), len(self._ids)), -1, np.int64)
        before[: len(self._ids)] = self._ids
        gone = np.zeros(len(before), np.bool_)
        gone[list(removed)] = True
        gone[len(yx) + len(removed) :] = True
        ids = before[~gone]
        known = ids >= 0
        was = np.concatenate([self._yx, np.zeros((len(before) - len(self._ids), 2))])[~gone]
        moved = known & ~np.isclose(was, yx, rtol=0, atol=1e-6).all(axis=1)
        lost = before[gone & (before >= 0)]
        if not (len(lost) or moved.any() or (~known).any()):
            return None
        return PointsChange(lost, ids[moved], yx[moved], yx[~known])

    # ---- the size on the screen

    def _size(self) -> float:
        """Return the diameter in image pixels that is `SCREEN_PX` on the screen."""
        zoom = float(self._viewer.scene.camera.zoom) * float(abs(self._image.scale[-1]))
        return SCREEN_PX / max(zoom, 1e-6)

    def _on_zoom(self, _: Any = None) -> None:
        self._resizing.start()

    def _resize(self) -> None:
        # It is drawn in one size anyway; where a click hits a point goes by this.
        size = self._size()
        with self.layer.block_update_properties():
            self.layer.current_size = size
        if len(self.layer.data):
            self.layer.size = size
