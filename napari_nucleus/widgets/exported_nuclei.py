"""Which nuclei are exported: from what part of the image, of which classes.

A nucleus belongs to a part if its centroid lies there. Knows no Qt widgets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.core.geometry import Box
from napari_nucleus.errors import AnnotationError, EditRefusedError
from napari_nucleus.io.results import SegmentationResult
from napari_nucleus.session.document import Document
from napari_nucleus.session.regions import Ground, Polygons, tidy_polygons
from napari_nucleus.widgets.extents import view_extent
from napari_nucleus.widgets.named_regions import named_regions

if TYPE_CHECKING:
    from napari.layers import Shapes

    from napari_nucleus.widgets.annotation import Annotation

__all__ = ["EVERYTHING", "ClassCounts", "ExportedNuclei", "areas_of"]

WHOLE, VIEW, DRAWN, SIGNED_OFF = "Whole image", "View", "Drawn regions", "Signed-off regions"

AT_ONCE = 250
"""Rows that are read between two turns of the event loop: some milliseconds."""


@dataclass(frozen=True, eq=False)
class ExportedNuclei:
    """Which nuclei are exported; all by default.

    Parameters
    ----------
    within
        Level-0 polygons ``(n, 2)`` of ``(y, x)``; none for the whole image.
    without
        Class ids that are left out; 0 for nuclei without a class of the scheme.
    ids
        No others than these; any if there are none.
    """

    within: Polygons = ()
    without: frozenset[int] = field(default=frozenset())
    ids: frozenset[int] = field(default=frozenset())

    def holds(
        self,
        class_ids: NDArray[np.integer],
        centroids_yx: NDArray[np.floating],
        scheme: ClassScheme,
    ) -> NDArray[np.bool_]:
        """Return which of n nuclei they are, ``(n,)``."""
        kept = ~np.isin(known_classes(class_ids, scheme), list(self.without))
        if self.within:
            kept &= Ground(self.within).holds(centroids_yx)
        return kept

    def of(self, result: SegmentationResult) -> SegmentationResult:
        """Return what of a result is exported.

        Raises
        ------
        AnnotationError
            If it is nothing.
        """
        if not self.within and not self.without and not self.ids:
            return result
        kept = self.holds(result.class_ids, result.table.centroids_yx, result.scheme)
        if self.ids:
            kept &= np.isin(result.ids, sorted(self.ids))
        if not kept.any():
            raise AnnotationError(
                "No nucleus of the chosen classes lies there (any more); no file was written."
            )
        return result.select(kept)


EVERYTHING = ExportedNuclei()
"""All nuclei."""


def known_classes(class_ids: NDArray[np.integer], scheme: ClassScheme) -> NDArray[np.integer]:
    """Return class ids with those that the scheme does not have as 0."""
    return np.where(np.isin(class_ids, scheme.ids), class_ids, 0)


def areas_of(annotation: Annotation, drawing: Shapes | None) -> dict[str, Polygons]:
    """Return the parts of an image that can be exported, by their names; the whole one first."""
    y0, x0, y1, x1 = view_extent(annotation).box
    areas: dict[str, Polygons] = {WHOLE: ()}
    if y1 > y0 and x1 > x0:
        areas[VIEW] = (np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]], float),)
    regions = named_regions(annotation, drawing)
    for name, drawn in ((DRAWN, True), (SIGNED_OFF, False)):
        group = {r.name: r.polygons for r in regions if (r.shape is not None) == drawn}
        if drawn:
            group = {n: _on_image(polygons, annotation) for n, polygons in group.items()}
        group = {n: polygons for n, polygons in group.items() if polygons}
        if group:
            areas[name] = tuple(polygon for polygons in group.values() for polygon in polygons)
        if len(group) > 1:
            areas |= group
    return areas


def _on_image(polygons: Polygons, annotation: Annotation) -> Polygons:
    """Return what of drawn polygons lies on the image, which may be nothing."""
    try:
        return tidy_polygons(polygons, annotation.source.shape)
    except EditRefusedError:
        return ()


class ClassCounts:
    """Counts the nuclei of a part of the image by class, some at a time.

    Parameters
    ----------
    document
        Whose nuclei.
    ids
        No others than these; all if there are none.

    Attributes
    ----------
    counted
        Emitted with the number of nuclei by class id when they are counted.
    """

    counted = Signal(dict)

    def __init__(self, document: Document, ids: Collection[int] = ()) -> None:
        self._document, self._ids = document, frozenset(ids)
        self._turn = 0

    def count(self, within: Polygons) -> None:
        """Count; nobody is told of what was to be counted before."""
        self._turn += 1
        if within or self._ids:
            self._go_on(self._turn, self._counting(within))
        else:
            self.counted.emit(self._known(self._document.counts_by_class()))

    def stop(self) -> None:
        """Count no more."""
        self._turn += 1

    def _go_on(self, turn: int, counting: Iterator[Mapping[int, int] | None]) -> None:
        if turn != self._turn:
            return
        found = next(counting)
        if found is None:
            QTimer.singleShot(0, lambda: self._go_on(turn, counting))
        else:
            self.counted.emit(self._known(found))

    def _counting(self, within: Polygons) -> Iterator[Mapping[int, int] | None]:
        ids = self._document.ids_in(_box_around(within)) if within else sorted(self._ids)
        if self._ids:
            ids = [i for i in ids if i in self._ids]
        ground, counts = Ground(within), Counter[int]()
        for first in range(0, len(ids), AT_ONCE):
            # Nuclei that went meanwhile are no fault.
            rows = self._document.store.rows(ids[first : first + AT_ONCE])
            held = ground.holds(np.array([r.centroid_yx for r in rows], float).reshape(-1, 2))
            counts.update(r.class_id for r, inside in zip(rows, held, strict=True) if inside)
            yield None
        yield counts

    def _known(self, counts: Mapping[int, int]) -> dict[int, int]:
        scheme, known = self._document.scheme, Counter[int]()
        for class_id, n in counts.items():
            known[class_id if scheme.by_id(class_id) else 0] += n
        return dict(known)


def _box_around(polygons: Polygons) -> Box:
    points = np.concatenate(polygons)
    low, high = np.floor(points.min(axis=0)), np.ceil(points.max(axis=0))
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])
