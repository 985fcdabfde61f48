"""What one sees of the answer to a text: nuclei that are meant, and new ones."""

from __future__ import annotations

from collections.abc import Iterator

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
    ids, boxes
        ``(k,)`` nuclei of the document that are meant, and their boxes ``(k, 4)``; one that is gone
        is drawn no more.
    """

    def __init__(
        self,
        document: Document,
        ids: NDArray[np.int64],
        boxes: NDArray[np.integer],
        new: Proposals,
    ) -> None:
        super().__init__(document, new, NEW)
        self._boxes = boxes
        self._marks.put(ids, np.full(len(ids), MEANT, np.uint8))

    def read_in_steps(self) -> Iterator[Box]:
        """Yield level-0 boxes where there is something; nowhere else is anything to be drawn."""
        yield from self.around(np.concatenate([self._boxes, self._proposals.boxes]))

    def follow(self, box: Box) -> None:
        """Do nothing: a nucleus that is meant stays so, whatever becomes of it."""
