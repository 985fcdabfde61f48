"""Mouse events of the canvas as clicks, boxes, strokes and hovering on one image.

Armed, it sits on the viewer, so that it does not matter which layer is active, and acts in pan-zoom
mode only: while the user paints or draws with another layer, it keeps still. A press that moves
less than `SLOP` screen pixels is a click, anything else is left to the viewer to pan with. A double
click is two clicks and does not zoom. Disarmed, it leaves no trace.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.widgets.layers import point_of_event

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

__all__ = ["SLOP", "Pointer", "PointerTarget"]

SLOP = 4.0
"""Screen pixels that a hand may move during a click."""


class PointerTarget(Protocol):
    """What the pointer acts on; all points are level-0, ``(y, x)``, corner-origin."""

    image: Image

    def clicked(self, point_yx: NDArray[np.float64], taking: bool) -> None:
        """Take a click; ``taking`` while Ctrl is held."""

    def boxed(
        self, first_yx: NDArray[np.float64], last_yx: NDArray[np.float64], choosing: bool
    ) -> None:
        """Take a drawn box by two opposite corners; ``choosing`` if it is to choose nuclei."""

    @property
    def box_wanted(self) -> bool:
        """True while a drag is a box that chooses and does not move the view."""
        ...

    def box_changed(
        self, first_yx: NDArray[np.float64] | None, last_yx: NDArray[np.float64] | None
    ) -> None:
        """Show the box that is being drawn; None when it ends."""

    def hovered(self, point_yx: NDArray[np.float64], taking: bool) -> None:
        """Take note of where the pointer is."""

    @property
    def stroke_wanted(self) -> bool:
        """True while a drag is a stroke and does not move the view."""
        ...

    def stroked(self, points_yx: NDArray[np.float64]) -> None:
        """Take a stroke ``(m, 2)``."""

    def stroke_changed(self, points_yx: NDArray[np.float64] | None) -> None:
        """Show the stroke that is being drawn; None when it ends."""


class Pointer:
    """Listens to the viewer's mouse for what ``target`` returns; for nothing while that is None."""

    def __init__(self, viewer: Viewer, target: Callable[[], PointerTarget | None]) -> None:
        self._viewer, self._target = viewer, target
        self._double_clicks: list[Callable] | None = None

    @property
    def armed(self) -> bool:
        """True while it listens."""
        return self._double_clicks is not None

    def arm(self) -> None:
        """Listen."""
        if self.armed:
            return
        self._double_clicks = list(self._viewer.mouse_double_click_callbacks)
        self._viewer.mouse_double_click_callbacks[:] = [self._on_double_click]
        self._viewer.mouse_drag_callbacks.insert(0, self._on_drag)
        self._viewer.mouse_move_callbacks.insert(0, self._on_move)

    def disarm(self) -> None:
        """Stop listening and put the viewer's callbacks back as they were."""
        if self._double_clicks is None:
            return
        self._viewer.mouse_double_click_callbacks[:] = self._double_clicks
        self._double_clicks = None
        for callbacks, ours in (
            (self._viewer.mouse_drag_callbacks, self._on_drag),
            (self._viewer.mouse_move_callbacks, self._on_move),
        ):
            with suppress(ValueError):
                callbacks.remove(ours)

    def _on_drag(self, _: Any, event: Any) -> Generator[None, None, None]:
        target = self._acts_on(event)
        if target is None or event.button != 1:
            return
        image = target.image
        start, pressed = _screen(event), point_of_event(image, event.position)
        taking, stroking = "Control" in event.modifiers, target.stroke_wanted
        choosing = not stroking and (target.box_wanted or ("Shift" in event.modifiers and taking))
        boxing = choosing or ("Shift" in event.modifiers and not stroking)
        panned = self._viewer.scene.camera.mouse_pan
        if boxing or stroking:
            self._viewer.scene.camera.mouse_pan = False
        moved, points = False, [pressed]
        try:
            yield
            while event.type == "mouse_move":
                moved = moved or float(np.hypot(*(_screen(event) - start))) > SLOP
                points.append(point_of_event(image, event.position))
                if boxing and moved:
                    target.box_changed(pressed, points[-1])
                elif stroking and moved:
                    target.stroke_changed(np.array(points))
                yield
        finally:
            if boxing or stroking:
                self._viewer.scene.camera.mouse_pan = panned
                target.box_changed(None, None)
        last = point_of_event(image, event.position)
        if not moved:
            target.clicked(pressed, taking)
        elif boxing:
            target.boxed(pressed, last, choosing)
        elif stroking:
            target.stroked(np.array([*points, last]))

    def _on_double_click(self, _: Any, event: Any) -> None:
        """Take the second click of a double click, which the viewer reports as this alone."""
        target = self._acts_on(event)
        if target is None:
            for callback in self._double_clicks or ():
                callback(_, event)
            return
        if event.button == 1:
            point = point_of_event(target.image, event.position)
            target.clicked(point, "Control" in event.modifiers)

    def _on_move(self, _: Any, event: Any) -> None:
        target = self._acts_on(event)
        if target is not None and not event.is_dragging:
            point = point_of_event(target.image, event.position)
            target.hovered(point, "Control" in event.modifiers)

    def _acts_on(self, event: Any) -> PointerTarget | None:
        """Return the target, unless another layer is being drawn on or the view is not 2-D."""
        active = self._viewer.layers.selection.active
        if active is not None and str(active.mode) not in ("pan_zoom", "Mode.PAN_ZOOM"):
            return None
        if len(event.dims_displayed) != 2 or "Alt" in event.modifiers:
            return None
        return self._target()


def _screen(event: Any) -> NDArray[np.float64]:
    position: Iterable[float] = event.pos
    return np.asarray(list(position), float)[:2]
