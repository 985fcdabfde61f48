"""The queue of nuclei to look at, the most doubtful first, and how far the review has come.

A nucleus is doubtful when the model that found it was unsure, when the click model thinks little of
its outline, when another model had found another outline there or none, or when its size is unlike
that of the others. Nuclei that the user has made, changed or accepted are never in the queue, nor
those in regions that are signed off or excluded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.session.document import Document
from napari_nucleus.session.regions import Ground, signed_off_share
from napari_nucleus.session.store import Opinions

__all__ = ["ReviewProgress", "ReviewQueue", "doubts"]

ODD_SIZE = 3.0
"""Robust standard deviations of log area from which a size counts as odd in full."""


def doubts(opinions: Opinions) -> NDArray[np.float64]:
    """Return how doubtful each nucleus is, ``(n,)``, 0 for none to 1.

    The largest of: 1 - score, 1 - predicted IoU, 1 - IoU with what another model had found, and
    half of how odd its size is.
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
    """The doubtful nuclei of a document, in order.

    The order is made when it is first asked for and kept while the user works through it, so that
    nuclei do not change places under his hands; `renew` makes it anew.
    """

    def __init__(self, document: Document) -> None:
        self._document = document
        self._order: list[int] | None = None
        self._place: dict[int, int] = {}
        self._set_aside: list[int] = []
        document.regions_changed.connect(self.renew)

    def renew(self) -> None:
        """Order anew when asked next: a run or an import has brought nuclei, or regions changed."""
        self._order = None

    @property
    def remaining(self) -> int:
        """Number of nuclei that nobody has looked at and that are in no region."""
        self._ordered()
        aside = self._document.store.rows(self._set_aside)
        return self._document.store.count_untouched() - sum(not row.touched for row in aside)

    def step(self, current: int | None, forward: bool = True) -> int | None:
        """Return the next doubtful nucleus after ``current``, or before it; None at the end.

        Without a current nucleus, or from one that is not in the queue, it begins at the most
        doubtful.
        """
        order = self._ordered()
        at = self._place.get(-1 if current is None else current)
        if at is None:
            at, forward = -1, True
        places = range(at + 1, len(order)) if forward else range(at - 1, -1, -1)
        for place in places:
            row = self._document.store.row(order[place])
            if row is not None and not row.touched:
                return row.id
        return None

    def _ordered(self) -> list[int]:
        if self._order is not None:
            return self._order
        opinions = self._document.store.opinions()
        wanted = Ground((), self._document.regions).holds(opinions.centroid_yx)
        self._set_aside = opinions.ids[~wanted].tolist()
        worst_first = np.argsort(-doubts(opinions), kind="stable")
        order = opinions.ids[worst_first][wanted[worst_first]].tolist()
        self._order, self._place = order, {nucleus: i for i, nucleus in enumerate(order)}
        return order
