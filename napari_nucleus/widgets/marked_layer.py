"""Layers that show a picture over an image bit by bit, such as marks of nuclei and proposals."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
from napari.layers import Image, Labels
from napari.utils import DirectLabelColormap
from qtpy.QtCore import QTimer

from napari_nucleus.core.geometry import Box, clip_box, pad_box
from napari_nucleus.session.document import Document
from napari_nucleus.session.marked_raster import MarkedRaster
from napari_nucleus.session.raster import DrawnInSteps, RasterTiles
from napari_nucleus.widgets.display import write_changed
from napari_nucleus.widgets.layers import METADATA_KEY, same_place
from napari_nucleus.widgets.level_array import LevelArray

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["POINTED_AT", "MarkedLayer", "PictureLayer"]

P = TypeVar("P", bound=DrawnInSteps)

POINTED_AT = 253
"""Value of the outline of the proposal that is pointed at."""

TILES_AT_ONCE = 2
"""Tiles that are drawn between two turns of the window's event loop."""

SLICE_S = 0.03
"""Seconds of drawing again between two turns of the window's event loop."""


class PictureLayer(Generic[P]):
    """Shows a picture over an image; `redraw` must be called where it changes.

    Parameters
    ----------
    viewer, image
        Where, and on what.
    document, raster
        What is shown.
    colormap
        Colours of the picture's values.
    key, role
        Identify the document and what the layer is for in its metadata.
    title
        Name of the layer, after that of the image.
    """

    def __init__(
        self,
        viewer: Viewer,
        image: Image,
        document: Document,
        raster: P,
        colormap: DirectLabelColormap,
        key: str,
        role: str,
        title: str,
    ) -> None:
        self._viewer, self._document, self._raster = viewer, document, raster
        self._tiles = RasterTiles(raster)
        self._closed = self._drawing = False
        self._due: dict[Box, None] = {}
        self.layer = Labels(
            self._levels() if self._raster.levels > 1 else np.zeros(document.shape, np.uint8),
            name=f"{image.name} {title}",
            metadata={METADATA_KEY: {"document": key, "role": role}},
            colormap=colormap,
            blending="translucent",
            opacity=1.0,
            **same_place(image),
        )
        self.layer.editable = False
        active = viewer.layers.selection.active
        viewer.add_layer(self.layer)
        if active is not None:
            viewer.layers.selection.active = active
        self._turn = 0
        self._boxes: list[Box] = []
        self._begin()

    def show(self, raster: P) -> None:
        """Show another picture in the place of this one; cheaper than another layer."""
        self._raster, self._tiles = raster, RasterTiles(raster)
        before, self._boxes = self._boxes, []
        for box in before:
            self.redraw(box)
        self._begin()

    def _begin(self) -> None:
        self._turn += 1
        self._reading = self._raster.read_in_steps()
        self._read_on(self._turn)

    @property
    def is_there(self) -> bool:
        """True until it is closed, here or by the user."""
        return not self._closed and self.layer in self._viewer.layers

    @property
    def visible(self) -> bool:
        """True while it is shown."""
        return self.is_there and self.layer.visible

    @visible.setter
    def visible(self, visible: bool) -> None:
        self.layer.visible = visible

    def redraw(self, box: Box) -> None:
        """Draw a level-0 box again."""
        around = clip_box(pad_box(box, 1), self._document.shape)
        if self._raster.levels > 1:
            self._tiles.redraw(around)
            if self.visible:
                self.layer.refresh(thumbnail=False, extent=False)
        else:
            write_changed(self.layer, around, self._raster.draw(around))

    def redraw_in_steps(self, boxes: Iterable[Box]) -> None:
        """Draw level-0 boxes again, the first ones now and the others bit by bit."""
        self._due |= dict.fromkeys(boxes)
        if not self._drawing:
            self._draw_on()

    @property
    def is_behind(self) -> bool:
        """True while boxes wait to be drawn again."""
        return self._drawing

    def _draw_on(self) -> None:
        """Draw some boxes again, then let the window breathe."""
        self._drawing = False
        if self._closed:
            return
        until = time.perf_counter() + SLICE_S
        while self._due and time.perf_counter() < until:
            box = next(iter(self._due))
            del self._due[box]
            self.redraw(box)
        if self._due:
            self._drawing = True
            # A method alone would be held weakly.
            QTimer.singleShot(0, lambda: self._draw_on())

    def close(self) -> None:
        """Take the layer out of the viewer."""
        if self._closed:
            return
        self._closed = True
        if self.layer in self._viewer.layers:
            self._viewer.layers.remove(self.layer)

    def _levels(self) -> list[LevelArray]:
        def level(number: int) -> LevelArray:
            shape = self._raster.shape(number)
            return LevelArray(shape, np.uint8, lambda box: self._tiles.read(box, number))

        return [level(number) for number in range(self._raster.levels)]

    def _read_on(self, turn: int) -> None:
        """Read some tiles and draw them, then let the window breathe."""
        if self._closed or turn != self._turn:
            return
        boxes = list(islice(self._reading, TILES_AT_ONCE))
        self._boxes += boxes
        for box in boxes:
            self.redraw(box)
        if boxes:
            # A method alone would be held weakly.
            QTimer.singleShot(0, lambda: self._read_on(turn))


class MarkedLayer(PictureLayer[MarkedRaster]):
    """Shows marks over an image; `follow` must be called for each change of the document."""

    def point_at(self, proposal: int | None) -> None:
        """Mark one proposal; None marks none."""
        for box in self._raster.mark(proposal, POINTED_AT):
            self.redraw(box)

    def follow(self, box: Box) -> None:
        """Show what has changed in a level-0 box."""
        self._raster.follow(box)
        self.redraw(box)
