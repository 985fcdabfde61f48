"""The queue of nuclei to look at, the most doubtful first, and how far the review has come.

A nucleus is doubtful when the model that found it was unsure, when the click model thinks little of
its outline, when another model had found another outline there or none, or when its size is unlike
that of the others. Nuclei that the user has made, changed or accepted are never in the queue, nor
those in regions that are signed off or excluded. What only another model found (`Proposals`) stands
among them, by how sure that model is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.session.document import Document
from napari_nucleus.session.proposals import Proposals
from napari_nucleus.session.regions import Ground, Region, RegionKind, signed_off_share
from napari_nucleus.session.store import Opinions

__all__ = ["ReviewProgress", "ReviewQueue", "doubts"]

ODD_SIZE = 3.0
"""Robust standard deviations of log area from which a size counts as odd in full."""


def doubts(opinions: Opinions) -> NDArray[np.float64]:
    """Return how doubtful each nucleus is, ``(n,)``, 0 for none to 1.

    The largest of: 1 - score, 1 - predicted IoU, 1 - agreement with another model, and half of how
    odd its size is.
    """
    score = 1 - np.clip(opinions.score, 0, 1)
    iou, agreement = (
        np.where(np.isnan(known), 0, 1 - np.clip(known, 0, 1))
        for known in (opinions.iou, opinions.agreement)
    )
    size = np.log(np.maximum(opinions.area, 1))
    middle = np.median(size) if len(size) else 0.0
    spread = 1.4826 * np.median(np.abs(size - middle)) if len(size) else 0.0
    odd = np.clip(np.abs(size - middle) / max(spread, 0.1) / ODD_SIZE, 0, 1)
    return np.max([score, iou, agreement, 0.5 * odd], axis=0)


@dataclass(frozen=True, slots=True)
class ReviewProgress:
    """How far the review of a document has come.

    Parameters
    ----------
    looked_at, nuclei
        Number of nuclei that the user has made, changed or accepted, and of all.
    signed_off
        Share of the image's area that is signed off, 0–1; excluded regions do not count.
    """

    looked_at: int
    nuclei: int
    signed_off: float

    @classmethod
    def of(cls, document: Document) -> ReviewProgress:
        """Return the progress of a document; costs nothing that grows with its nuclei."""
        nuclei = document.count
        return cls(
            nuclei - document.store.count_untouched(),
            nuclei,
            signed_off_share(document.regions, document.shape),
        )


class ReviewQueue:
    """The doubtful nuclei of a document, in order; and proposals, which have negative numbers.

    The order is made when it is first asked for and kept while the user works through it, so that
    nuclei do not change places under his hands; `renew` makes it anew.
    """

    def __init__(self, document: Document) -> None:
        self._document = document
        self._order: _Order | None = None
        self._excluded: tuple[tuple[Region, ...], int, int] = ((), 0, 0)
        self._regions = len(document.regions)
        self._proposals: Proposals | None = None
        self._besides: Mapping[int, float] = {}
        document.regions_changed.connect(self._on_regions)

    def _on_regions(self) -> None:
        """Begin anew after a region is gone: its nuclei may be there to look at again."""
        before, self._regions = self._regions, len(self._document.regions)
        if self._regions < before:
            self.renew()

    def renew(self) -> None:
        """Order anew when asked next: a run or an import has brought nuclei."""
        self._order = None

    def propose(self, proposals: Proposals | None) -> None:
        """Let these proposals, and no others, stand in the queue."""
        self._proposals = proposals
        self.renew()

    def doubt(self, doubts: Mapping[int, float]) -> None:
        """Let nuclei be doubtful for another reason, 0–1 by id, in the place of the last ones."""
        self._besides = dict(doubts)
        self.renew()

    @property
    def remaining(self) -> int:
        """Number of nuclei that nobody has looked at, without those in excluded regions.

        Open proposals count.
        """
        store, regions = self._document.store, self._document.regions
        untouched = store.count_untouched()
        known, of_how_many, excluded = self._excluded
        if known is not regions or of_how_many != untouched:
            excluded = self._count_excluded(regions) if untouched else 0
            self._excluded = regions, untouched, excluded
        return untouched - excluded + (0 if self._proposals is None else len(self._proposals))

    def _count_excluded(self, regions: tuple[Region, ...]) -> int:
        inside: set[int] = set()
        for region in regions:
            if region.kind is RegionKind.EXCLUDED:
                found = self._document.store.opinions(region.box)
                inside.update(found.ids[region.contains(found.centroid_yx)].tolist())
        return len(inside)

    def step(self, current: int | None, forward: bool = True) -> int | None:
        """Return the next doubtful nucleus after ``current``, or before it; None at the end.

        Without a current nucleus, or from one that is not in the queue, it begins at the most
        doubtful.
        """
        if not self._document.store.count_untouched() and not self._proposals:
            return None
        order = self._ordered()
        at = None if current is None else order.place.get(current)
        wanted = order.wanted(self._document.regions)
        if at is None:
            places = wanted
        else:
            places = wanted[wanted > at] if forward else wanted[wanted < at][::-1]
        for place in places.tolist():
            if self._is_wanted(int(order.ids[place])):
                return int(order.ids[place])
        return None

    def _is_wanted(self, number: int) -> bool:
        if number < 0:
            return self._proposals is not None and self._proposals.is_open(number)
        row = self._document.store.row(number)
        return row is not None and not row.touched

    def _ordered(self) -> _Order:
        if self._order is None:
            opinions = self._document.store.opinions()
            ids, doubt, centroid_yx = opinions.ids, doubts(opinions), opinions.centroid_yx
            besides = [self._besides.get(i, 0.0) for i in ids.tolist()] if self._besides else 0.0
            doubt = np.maximum(doubt, besides)
            if self._proposals is not None:
                ids = np.concatenate([ids, self._proposals.ids])
                doubt = np.concatenate([doubt, self._proposals.scores])
                centroid_yx = np.concatenate([centroid_yx, self._proposals.centroids_yx])
            worst_first = np.argsort(-doubt, kind="stable")
            self._order = _Order(ids[worst_first], centroid_yx[worst_first])
        return self._order


class _Order:
    """Nuclei in an order, with their places in it and in the image."""

    def __init__(self, ids: NDArray[np.int64], centroid_yx: NDArray[np.float64]) -> None:
        self.ids = ids
        self.place = {nucleus: i for i, nucleus in enumerate(ids.tolist())}
        self._centroid_yx = centroid_yx
        self._wanted = np.arange(len(ids))
        self._regions: tuple[Region, ...] = ()

    def wanted(self, regions: tuple[Region, ...]) -> NDArray[np.int64]:
        """Return the places of nuclei that lie in none of these regions, ascending."""
        if self._regions is not regions:
            self._regions = regions
            self._wanted = np.flatnonzero(Ground((), regions).holds(self._centroid_yx))
        return self._wanted
