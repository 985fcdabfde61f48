"""Two ways to bring a document's label map and class raster into napari layers.

Small images are held as arrays, which napari changes in place. Large ones are shown through levels
that are read where somebody looks; a change draws again what is kept of it and has napari read the
view once more, at most once for each turn of the event loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray
from qtpy.QtCore import QTimer

from napari_nucleus.core.geometry import Box, box_intersection, clip_box, pad_box
from napari_nucleus.session.document import Document
from napari_nucleus.session.raster import ClassRaster, RasterTiles
from napari_nucleus.widgets.layers import visible_box
from napari_nucleus.widgets.level_array import LevelArray

__all__ = ["Display", "display_of", "write_changed"]


class Display(Protocol):
    """What two layers show of a document."""

    def labels(self) -> Any:
        """Return the data of a layer of nuclei."""

    def raster(self) -> Any:
        """Return the data of a layer of their classes."""

    def attach(self, labels: Labels | None, raster: Labels | None) -> None:
        """Take note of the layers that were made of the data."""

    def redraw(self, box: Box, labels_too: bool) -> None:
        """Show what has changed in a level-0 box."""

    def close(self) -> None:
        """Let go of the layers."""


def display_of(document: Document, raster: ClassRaster) -> Display:
    """Return the display that fits the size of a document's image."""
    if raster.levels == 1:
        return _WholeDisplay(document, raster)
    return _LevelDisplay(document, raster)


class _WholeDisplay:
    """Arrays in memory; each change is one call that refreshes only what differs."""

    def __init__(self, document: Document, raster: ClassRaster) -> None:
        self._document, self._raster = document, raster
        self._pixels = document.labels()
        self._drawn = raster.draw((0, 0, *document.shape))
        self._layers: list[Labels | None] = [None, None]

    def labels(self) -> NDArray[np.int32]:
        return self._pixels

    def raster(self) -> NDArray[np.uint8]:
        return self._drawn

    def attach(self, labels: Labels | None, raster: Labels | None) -> None:
        self._layers = [labels, raster]

    def redraw(self, box: Box, labels_too: bool) -> None:
        labels, raster = self._layers
        if labels is not None and labels_too:
            write_changed(labels, box, self._document.labels(box))
        if raster is not None:
            around = clip_box(pad_box(box, 1), self._document.shape)
            write_changed(raster, around, self._raster.draw(around))

    def close(self) -> None:
        self._layers = [None, None]


def write_changed(layer: Labels, box: Box, values: NDArray[np.integer]) -> None:
    """Put new values into a layer by one call that refreshes only what differs."""
    y0, x0, y1, x1 = box
    if not layer.visible:
        # It reads its data when it is shown; before, there is nothing to refresh.
        layer.data[y0:y1, x0:x1] = values
        return
    rows, columns = np.nonzero(np.asarray(layer.data[y0:y1, x0:x1]) != values)
    if len(rows):
        layer.data_setitem((rows + y0, columns + x0), values[rows, columns])


class _LevelDisplay:
    """Levels read on demand; layers over them cannot be written by napari."""

    def __init__(self, document: Document, raster: ClassRaster) -> None:
        self._document, self._raster = document, raster
        self._tiles = RasterTiles(raster)
        self._layers: list[Labels] = []
        self._stale = False
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.timeout.connect(lambda: self._refresh())

    def labels(self) -> list[LevelArray]:
        return self._levels(np.int32, self._document.store.read_labels)

    def raster(self) -> list[LevelArray]:
        return self._levels(np.uint8, self._tiles.read)

    def _levels(self, dtype: Any, read: Callable[[Box, int], NDArray]) -> list[LevelArray]:
        return [
            LevelArray(self._raster.shape(level), dtype, lambda box, k=level: read(box, k))
            for level in range(self._raster.levels)
        ]

    def attach(self, labels: Labels | None, raster: Labels | None) -> None:
        self._layers = [layer for layer in (labels, raster) if layer is not None]

    def redraw(self, box: Box, labels_too: bool) -> None:
        self._tiles.redraw(box)
        shown = [layer for layer in self._layers if layer.visible]
        if any(box_intersection(visible_box(layer), pad_box(box, 1)) for layer in shown):
            self._timer.start()

    def _refresh(self) -> None:
        for layer in self._layers:
            if layer.visible:
                layer.refresh(thumbnail=False, extent=False)

    def close(self) -> None:
        self._timer.stop()
        self._layers = []
