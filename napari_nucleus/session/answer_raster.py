"""What one sees of the answer to a text: nuclei that are meant, and new ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.geometry import Box
from napari_nucleus.session.document import Document
from napari_nucleus.session.marked_raster import MarkedRaster
from napari_nucleus.session.proposals import Proposals

__all__ = ["MEANT", "NEW", "AnswerRaster"]

MEANT, NEW = 1, 2
"""Marks of nuclei of the document and of new ones."""


class AnswerRaster(MarkedRaster):
    """Draws an answer; see `MarkedRaster`.

    Parameters
    ----------
    ids
        ``(k,)`` nuclei of the document that are meant; one that is gone is drawn no more.
    """

    def __init__(self, document: Document, ids: NDArray[np.int64], new: Proposals) -> None:
        super().__init__(document, new, NEW)
        self._marks.put(ids, np.full(len(ids), MEANT, np.uint8))

    def follow(self, box: Box) -> None:
        """Do nothing: a nucleus that is meant stays so, whatever becomes of it."""
