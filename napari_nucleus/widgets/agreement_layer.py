"""The layer that shows how far another model agrees; made when it is first shown."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils import DirectLabelColormap
from qtpy.QtCore import QTimer

from napari_nucleus.core.geometry import Box, clip_box, pad_box
from napari_nucleus.core.outlines import INTERIOR
from napari_nucleus.session.agreement_raster import AgreementRaster, Band
from napari_nucleus.session.document import Document
from napari_nucleus.session.proposals import Proposals
from napari_nucleus.session.raster import RasterTiles
from napari_nucleus.widgets.display import write_changed
from napari_nucleus.widgets.layers import METADATA_KEY, same_place
from napari_nucleus.widgets.level_array import LevelArray

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["AGREEMENT_ROLE", "COLORS", "AgreementLayer"]

AGREEMENT_ROLE = "agreement"

COLORS: dict[Band, str] = {
    Band.CLOSE: "#4cc9f0",
    Band.NEAR: "#ffe119",
    Band.APART: "#ff9f1c",
    Band.ALONE: "#e6194b",
    Band.PROPOSED: "#ffffff",
}
"""Of outline and inside; they keep apart from each other and from the stain for all eyes."""

POINTED_AT = 253
"""Value of the outline of the proposal that is pointed at."""

FILL_ALPHA = 0.35
"""How much of the inside a colour covers; where models agree there is nothing to cover."""

TILES_AT_ONCE = 2
"""Tiles that are drawn between two turns of the window's event loop."""


class AgreementLayer:
    """Shows agreement and proposals over an image; `follow` must be called for each change.

    Parameters
    ----------
    viewer, image
        Where, and on what.
    document, proposals
        What is shown.
    key
        Identifies the document in the layer's metadata.
    title
        Name of the layer, after that of the image.
    """

    def __init__(
        self,
        viewer: Viewer,
        image: Image,
        document: Document,
        proposals: Proposals,
        key: str,
        title: str,
    ) -> None:
        self._viewer, self._document = viewer, document
        self._raster = AgreementRaster(document, proposals)
        self._tiles = RasterTiles(self._raster)
        self._closed = False
        self.layer = Labels(
            self._levels() if self._raster.levels > 1 else np.zeros(document.shape, np.uint8),
            name=f"{image.name} {title}",
            metadata={METADATA_KEY: {"document": key, "role": AGREEMENT_ROLE}},
            colormap=_colormap(),
            blending="translucent",
            opacity=1.0,
            **same_place(image),
        )
        self.layer.editable = False
        active = viewer.layers.selection.active
        viewer.add_layer(self.layer)
        if active is not None:
            viewer.layers.selection.active = active
        self._reading = self._raster.read_in_steps()
        self._read_on()

    @property
    def visible(self) -> bool:
        """True while it is shown."""
        return not self._closed and self.layer in self._viewer.layers and self.layer.visible

    @visible.setter
    def visible(self, visible: bool) -> None:
        self.layer.visible = visible

    def point_at(self, proposal: int | None) -> None:
        """Mark one proposal; None marks none."""
        for box in self._raster.mark(proposal, POINTED_AT):
            self.redraw(box)

    def follow(self, box: Box) -> None:
        """Show what has changed in a level-0 box."""
        self._raster.follow(box)
        self.redraw(box)

    def redraw(self, box: Box) -> None:
        """Draw a level-0 box again."""
        around = clip_box(pad_box(box, 1), self._document.shape)
        if self._raster.levels > 1:
            self._tiles.redraw(around)
            if self.visible:
                self.layer.refresh(thumbnail=False, extent=False)
        else:
            write_changed(self.layer, around, self._raster.draw(around))

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

    def _read_on(self) -> None:
        """Read some tiles and draw them, then let the window breathe."""
        if self._closed:
            return
        boxes = list(islice(self._reading, TILES_AT_ONCE))
        for box in boxes:
            self.redraw(box)
        if boxes:
            # A method alone would be held weakly.
            QTimer.singleShot(0, lambda: self._read_on())


def _colormap() -> DirectLabelColormap:
    colors: dict[int | None, Any] = {None: (0, 0, 0, 0), 0: (0, 0, 0, 0)}
    for band, color in COLORS.items():
        rgb = tuple(int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
        colors[int(band)] = (*rgb, 1.0)
        colors[int(band) + INTERIOR] = (*rgb, 0.0 if band is Band.CLOSE else FILL_ALPHA)
    colors[POINTED_AT] = (1.0, 0.0, 1.0, 1.0)
    return DirectLabelColormap(color_dict=colors)
