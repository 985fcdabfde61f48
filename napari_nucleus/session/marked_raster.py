"""A picture over an image in which some nuclei of a document, and proposals, are marked.

A uint8 picture as `core.outlines.class_raster` makes it, with a mark in the place of the class;
nuclei without a mark leave it empty. What marks mean is for subclasses to say.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.geometry import Box, clip_box, grouped_by_cell, pad_box
from napari_nucleus.core.outlines import INTERIOR, class_raster
from napari_nucleus.session.document import Document
from napari_nucleus.session.grid import TILE_SIZE
from napari_nucleus.session.proposals import Proposals
from napari_nucleus.session.pyramid import level_box, level_shape, sample
from napari_nucleus.session.raster import BytePages

__all__ = ["MarkedRaster", "labels_of_masks"]


class MarkedRaster(ABC):
    """Draws the marks of nuclei, and proposals.

    Parameters
    ----------
    document
        What is drawn; `follow` must be called for each of its changes.
    proposals
        Nuclei that the document does not have.
    proposed
        Mark of the proposals.
    """

    def __init__(self, document: Document, proposals: Proposals, proposed: int) -> None:
        self._document, self._proposals, self._proposed_mark = document, proposals, proposed
        self._marks = BytePages()
        self._marked: tuple[int, int] | None = None

    @property
    def levels(self) -> int:
        """Number of levels, level 0 included."""
        return self._document.store.levels

    def shape(self, level: int) -> tuple[int, int]:
        """Return height and width of a level."""
        return level_shape(self._document.shape, level)

    def read_in_steps(self) -> Iterator[Box]:
        """Read the marks of nuclei, tile by tile; yields level-0 boxes where there is something."""
        for box in self._document.store.tile_boxes():
            self.follow(box)
            yield box
        yield from self.around(self._proposals.boxes)

    def around(self, boxes: NDArray[np.integer]) -> Iterator[Box]:
        """Yield level-0 boxes around boxes ``(n, 4)``, one for those that begin together."""
        for group in grouped_by_cell(boxes, TILE_SIZE):
            low, high = boxes[group, :2].min(axis=0), boxes[group, 2:].max(axis=0)
            yield clip_box((*low.tolist(), *high.tolist()), self._document.shape)

    @abstractmethod
    def follow(self, box: Box) -> None:
        """Take note that nuclei in a level-0 box have changed."""

    def mark(self, proposal: int | None, value: int) -> list[Box]:
        """Give a proposal's outline a value of its own; None marks none.

        Returns
        -------
        list of Box
            Where the picture is another now.
        """
        wanted = None if proposal is None else (proposal, value)
        if wanted == self._marked:
            return []
        both, self._marked = (self._marked, wanted), wanted
        return [self._proposals.box(marked[0]) for marked in both if marked is not None]

    def draw(self, box: Box, level: int = 0) -> NDArray[np.uint8]:
        """Return the picture ``(h, w)`` in a box of a level's pixels."""
        shape = self.shape(level)
        around = clip_box(pad_box(box, 1), shape)
        edges = (around[0] == 0, around[1] == 0, around[2] == shape[0], around[3] == shape[1])
        labels = self._document.store.read_labels(around, level)
        picture = class_raster(labels, self._marks, edges)
        outside = self._marks(labels) == 0
        picture[outside] = 0
        proposed = self._proposed(around, level)
        if proposed is not None:
            mark = self._proposed_mark
            drawn = class_raster(proposed, lambda ids: np.full(len(ids), mark), edges)
            if self._marked is not None:
                proposal, value = self._marked
                drawn[(proposed == -proposal) & (drawn < INTERIOR)] = value
            picture = np.where((drawn > 0) & (labels == 0), drawn, picture)
        y, x = box[0] - around[0], box[1] - around[1]
        return picture[y : y + box[2] - box[0], x : x + box[3] - box[1]]

    def _proposed(self, window: Box, level: int) -> NDArray[np.int32] | None:
        """Return the open proposals in a box of a level's pixels as labels; None without any."""
        step = 1 << level
        y0, x0, y1, x1 = (v * step for v in window)
        ids = self._proposals.ids_in((y0, x0, y1, x1))
        if not ids:
            return None
        numbered = ((-p, self._proposals.mask(p), self._proposals.box(p)) for p in ids)
        return labels_of_masks(numbered, window, level)


def labels_of_masks(
    numbered: Iterable[tuple[int, NDArray[np.bool_], Box]], window: Box, level: int
) -> NDArray[np.int32]:
    """Return the labels ``(h, w)`` of masks in a box of a level's pixels, the last one on top.

    Parameters
    ----------
    numbered
        Number, pixels ``(h, w)`` and level-0 box of each.
    window
        The box.
    level
        The level.
    """
    labels = np.zeros((window[2] - window[0], window[3] - window[1]), np.int32)
    for number, mask, place in numbered:
        small, at = sample(mask, place, level), level_box(place, level)
        # The part of it that lies in the window.
        a, b = max(at[0], window[0]), max(at[1], window[1])
        c, d = min(at[2], window[2]), min(at[3], window[3])
        if a < c and b < d:
            part = small[a - at[0] : c - at[0], b - at[1] : d - at[1]]
            rows, columns = slice(a - window[0], c - window[0]), slice(b - window[1], d - window[1])
            labels[rows, columns][part] = number
    return labels
