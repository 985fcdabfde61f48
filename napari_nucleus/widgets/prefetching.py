"""Encoding what is in view before it is clicked, while nothing else is to be done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer

from napari_nucleus.core.geometry import Box
from napari_nucleus.hosting.planning import click_tile, tile_pixels
from napari_nucleus.models.api import Calibration
from napari_nucleus.widgets.annotation import Annotation
from napari_nucleus.widgets.background import when_done
from napari_nucleus.widgets.layers import visible_box

if TYPE_CHECKING:
    from napari_nucleus.widgets.workspace import Workspace

__all__ = ["Prefetching"]

MOST_TILES = 6
"""Most click tiles around the view that are encoded in advance."""

DELAY_MS = 300
"""How long the view must be still before."""


class Prefetching:
    """Follows the view of a workspace while clicks correct nuclei."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(DELAY_MS)
        self._timer.timeout.connect(self._prefetch)
        workspace.viewer.scene.camera.events.connect(self._on_camera)

    def schedule(self) -> None:
        """Encode what is in view when it has been still for a moment."""
        if self._workspace.armed and self._workspace.annotation is not None:
            self._timer.start()

    def close(self) -> None:
        """Let go of the viewer."""
        self._timer.stop()
        self._workspace.viewer.scene.camera.events.disconnect(self._on_camera)

    def _on_camera(self, _: Any = None) -> None:
        self.schedule()

    def _prefetch(self) -> None:
        workspace, annotation = self._workspace, self._workspace.annotation
        if annotation is None or workspace.runs.running:
            return

        def encode(calibration: Calibration) -> None:
            if workspace.annotation is annotation:
                boxes = _click_tiles_in_view(annotation, calibration)
                annotation.model.host.prefetch(annotation.source, boxes, calibration)

        when_done(annotation.calibration(), encode, lambda _: None)


def _click_tiles_in_view(annotation: Annotation, calibration: Calibration) -> list[Box]:
    """Return the click tiles that the view shows, from its centre outwards."""
    info = annotation.model.info
    y0, x0, y1, x1 = visible_box(annotation.image)
    core, _ = tile_pixels(info.click_tile, info.halo, calibration)
    centre = np.array([(y0 + y1) / 2, (x0 + x1) / 2])
    grid = [
        (y, x)
        for y in np.arange(y0 + core / 2, max(y1, y0 + core), core)
        for x in np.arange(x0 + core / 2, max(x1, x0 + core), core)
        if y < annotation.source.shape[0] and x < annotation.source.shape[1]
    ]
    grid.sort(key=lambda p: float(np.hypot(*(np.array(p) - centre))))
    boxes = [click_tile(p, annotation.source.shape, info, calibration) for p in grid]
    return list(dict.fromkeys(boxes))[:MOST_TILES]
