"""What one sees of a comparison: nuclei by how far two models agree on them, and proposals.

A uint8 picture as `core.outlines.class_raster` makes it, with a `Band` in the place of the class;
nuclei of which nothing is known leave it empty.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from napari_nucleus.core.geometry import Box, clip_box
from napari_nucleus.session.agreement import SAME_IOU
from napari_nucleus.session.document import Document
from napari_nucleus.session.marked_raster import MarkedRaster
from napari_nucleus.session.proposals import Proposals

__all__ = ["CLOSE_IOU", "AgreementRaster", "Band", "band_of"]

CLOSE_IOU = 0.75
"""Agreement from which two models are taken to say the same."""


class Band(IntEnum):
    """How far two models agree; the value of an outline in the picture."""

    ALONE = 1
    """Only the model of the document found it."""
    APART = 2
    """Below `SAME_IOU`."""
    NEAR = 3
    """Below `CLOSE_IOU`."""
    CLOSE = 4
    """From there on."""
    PROPOSED = 5
    """Only the other model found it."""


def band_of(agreement: float | None) -> int:
    """Return the band of an agreement; 0 where only one model has looked."""
    if agreement is None:
        return 0
    if agreement <= 0:
        return Band.ALONE
    if agreement < SAME_IOU:
        return Band.APART
    return Band.NEAR if agreement < CLOSE_IOU else Band.CLOSE


class AgreementRaster(MarkedRaster):
    """Draws the agreement of a document with another model; see `MarkedRaster`."""

    def __init__(self, document: Document, proposals: Proposals) -> None:
        super().__init__(document, proposals, Band.PROPOSED)

    def follow(self, box: Box) -> None:
        """Take note that nuclei in a level-0 box have changed."""
        store = self._document.store
        rows = store.rows(store.ids_in(clip_box(box, self._document.shape)))
        self._marks.put(
            np.array([row.id for row in rows], np.int64),
            np.array([band_of(row.agreement) for row in rows], np.uint8),
        )
