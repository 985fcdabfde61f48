"""The layer that shows how far another model agrees; made when it is first shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image
from napari.utils import DirectLabelColormap

from napari_nucleus.core.outlines import INTERIOR
from napari_nucleus.session.agreement_raster import AgreementRaster, Band
from napari_nucleus.session.document import Document
from napari_nucleus.session.proposals import Proposals
from napari_nucleus.widgets.marked_layer import POINTED_AT, MarkedLayer

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["AGREEMENT_ROLE", "COLORS", "agreement_layer"]

AGREEMENT_ROLE = "agreement"

COLORS: dict[Band, str] = {
    Band.CLOSE: "#4cc9f0",
    Band.NEAR: "#ffe119",
    Band.APART: "#ff9f1c",
    Band.ALONE: "#e6194b",
    Band.PROPOSED: "#ffffff",
}
"""Of outline and inside; they keep apart from each other and from the stain for all eyes."""

FILL_ALPHA = 0.35
"""How much of the inside a colour covers; where models agree there is nothing to cover."""


def agreement_layer(
    viewer: Viewer,
    image: Image,
    document: Document,
    proposals: Proposals,
    key: str,
    title: str,
) -> MarkedLayer:
    """Show agreement and proposals over an image; see `MarkedLayer`."""
    raster = AgreementRaster(document, proposals)
    return MarkedLayer(viewer, image, document, raster, _colormap(), key, AGREEMENT_ROLE, title)


def _colormap() -> DirectLabelColormap:
    colors: dict[int | None, Any] = {None: (0, 0, 0, 0), 0: (0, 0, 0, 0)}
    for band, color in COLORS.items():
        rgb = tuple(int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
        colors[int(band)] = (*rgb, 1.0)
        colors[int(band) + INTERIOR] = (*rgb, 0.0 if band is Band.CLOSE else FILL_ALPHA)
    colors[POINTED_AT] = (1.0, 0.0, 1.0, 1.0)
    return DirectLabelColormap(color_dict=colors)
