"""What one sees of points that are no nuclei yet: the outlines that they became.

A uint8 picture as `core.outlines.class_outline` makes it, in the classes of the points.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.geometry import Box, clip_box, grouped_by_cell, pad_box
from napari_nucleus.core.outlines import class_outline
from napari_nucleus.session.document import Document
from napari_nucleus.session.marked_raster import labels_of_masks
from napari_nucleus.session.masks import place_mask
from napari_nucleus.session.points_book import PointBook
from napari_nucleus.session.pyramid import level_shape

__all__ = ["PointsRaster"]

AT_ONCE_PX = 256
"""Outlines that begin in a square of so many pixels a side are drawn together."""


class PointsRaster:
    """Draws the outlines of points that are not hidden; the better of two lies on top.

    Parameters
    ----------
    document
        What the points are for.
    book
        The points.
    """

    def __init__(self, document: Document, book: PointBook) -> None:
        self._document, self._book = document, book

    @property
    def levels(self) -> int:
        """Number of levels, level 0 included."""
        return self._document.store.levels

    def shape(self, level: int) -> tuple[int, int]:
        """Return height and width of a level."""
        return level_shape(self._document.shape, level)

    def read_in_steps(self) -> Iterator[Box]:
        """Yield level-0 boxes where there is something."""
        self._book.outlines.touch(self._book.table.ids.tolist())
        yield from self.changed()

    def changed(self) -> Iterator[Box]:
        """Yield level-0 boxes where the picture is another since this was asked last."""
        boxes = self._book.outlines.take_changed()
        for group in grouped_by_cell(boxes, AT_ONCE_PX):
            low, high = boxes[group, :2].min(axis=0), boxes[group, 2:].max(axis=0)
            yield clip_box((*low.tolist(), *high.tolist()), self._document.shape)

    def draw(self, box: Box, level: int = 0) -> NDArray[np.uint8]:
        """Return the picture ``(h, w)`` in a box of a level's pixels."""
        shape = self.shape(level)
        around = clip_box(pad_box(box, 1), shape)
        edges = (around[0] == 0, around[1] == 0, around[2] == shape[0], around[3] == shape[1])
        step = 1 << level
        y0, x0, y1, x1 = (v * step for v in around)
        book = self._book
        rows = book.table.rows(book.outlines.near((y0, x0, y1, x1)))
        rows = rows.select(book.is_shown(rows))
        class_of = dict(zip(rows.ids.tolist(), book.classes_of(rows).tolist(), strict=True))
        drawn = [p for p in book.outlines.near((y0, x0, y1, x1)) if p in class_of]
        labels = labels_of_masks(
            ((i + 1, *self._mask(point)) for i, point in enumerate(drawn)), around, level
        )
        classes = np.array([0, *(class_of[point] for point in drawn)], np.uint8)
        picture = class_outline(labels, classes, image_edges=edges)
        y, x = box[0] - around[0], box[1] - around[1]
        return picture[y : y + box[2] - box[0], x : x + box[3] - box[1]]

    def _mask(self, point: int) -> tuple[NDArray[np.bool_], Box]:
        """Return a point's outline ``(h, w)`` and its box, cut to the image."""
        outlined = self._book.outlines.get(point)
        assert outlined is not None
        box = clip_box(outlined.box, self._document.shape)
        return place_mask(outlined.nucleus.masks[0], outlined.box, box), box
