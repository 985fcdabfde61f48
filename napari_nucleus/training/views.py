"""What a user who knows the true outline sees around one nucleus of a document.

Only what both outlines show: which pixels are missing, surplus or taken by others, and whose the
nuclei there are. Masks and points are those of the window.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_nucleus.core.geometry import Box, box_union, clip_box, pad_box
from napari_nucleus.session.document import Document
from napari_nucleus.session.masks import CORE_SHARE

__all__ = ["Taker", "View", "deepest", "holds_another", "outside_core", "takers_of"]

MARGIN = 24
"""Pixels that are seen around a nucleus."""

MINE = 0.5
"""Share of a nucleus within the truth, or of the truth within it, from which it may be this one."""


@dataclass(frozen=True, eq=False)
class View:
    """The neighbourhood of one true nucleus.

    Parameters
    ----------
    number
        Its id in the label map of the truth.
    box
        Level-0 window.
    truth
        ``(h, w)`` bool, the true nucleus.
    labels, true_labels
        ``(h, w)``, nuclei of the document and true ones.
    own
        The document's nucleus that stands for the true one, or None.
    """

    number: int
    box: Box
    truth: NDArray[np.bool_]
    labels: NDArray[np.int32]
    true_labels: NDArray[np.int32]
    own: int | None

    @classmethod
    def of(cls, document: Document, true: NDArray[np.int32], number: int, true_box: Box) -> View:
        """Look at true nucleus ``number``, which fills ``true_box`` of the label map ``true``."""
        box = pad_box(true_box, MARGIN)
        for row in document.rows(document.ids_in(true_box)):
            box = box_union(box, row.box)
        box = clip_box(box, document.shape)
        labels = document.labels(box)
        true_labels = true[box[0] : box[2], box[1] : box[3]]
        truth = true_labels == number
        return cls(number, box, truth, labels, true_labels, _own(truth, labels, true_labels))

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """Pixels of the nucleus that stands for the true one."""
        return self.labels == (-1 if self.own is None else self.own)

    @cached_property
    def iou(self) -> float:
        """IoU of that nucleus with the true one; 0 without one."""
        return float((self.mask & self.truth).sum() / (self.mask | self.truth).sum())

    @cached_property
    def missing(self) -> NDArray[np.bool_]:
        """Pixels of the truth on background."""
        return self.truth & (self.labels == 0)

    @cached_property
    def surplus(self) -> NDArray[np.bool_]:
        """Pixels of the nucleus outside of the truth."""
        return self.mask & ~self.truth

    @cached_property
    def taken(self) -> NDArray[np.bool_]:
        """Pixels of the truth that other nuclei hold."""
        return self.truth & self.others

    @cached_property
    def others(self) -> NDArray[np.bool_]:
        """Pixels of other nuclei."""
        return (self.labels != 0) & ~self.mask

    @cached_property
    def area(self) -> int:
        """Pixels of the truth."""
        return int(self.truth.sum())

    def level0(self, points_yx: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return points of the window on level 0."""
        return points_yx + np.array(self.box[:2], float)


@dataclass(frozen=True, slots=True)
class Taker:
    """Another nucleus that holds pixels of the truth.

    Parameters
    ----------
    id
        Of the nucleus.
    part, area
        Its pixels in the truth, and all of them.
    is_false
        True if most of it lies on background and it holds no half of a true nucleus.
    """

    id: int
    part: int
    area: int
    is_false: bool

    @property
    def is_fragment(self) -> bool:
        """True if half of it or more lies in the truth: it is a piece of this nucleus."""
        return 2 * self.part >= self.area


def takers_of(view: View) -> list[Taker]:
    """Return which other nuclei hold pixels of the truth, who holds most first."""
    ids, parts = np.unique(view.labels[view.taken], return_counts=True)
    found = []
    for k in np.argsort(-parts, kind="stable"):
        under = view.true_labels[view.labels == ids[k]]
        is_false = bool(2 * np.count_nonzero(under) < len(under)) and not _halves(view, under).size
        found.append(Taker(int(ids[k]), int(parts[k]), len(under), is_false))
    return found


def holds_another(view: View) -> bool:
    """Return whether the nucleus holds half of another true one as well."""
    return bool(_halves(view, view.true_labels[view.surplus]).size)


def outside_core(view: View) -> NDArray[np.bool_]:
    """Return the surplus where a Ctrl-click carves and does not remove."""
    if not view.surplus.any():
        return view.surplus
    depth = np.asarray(ndimage.distance_transform_edt(np.pad(view.mask, 1)))[1:-1, 1:-1]
    return view.surplus & (depth < CORE_SHARE * depth.max())


def deepest(mask: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Return the centre of the pixel deepest inside a mask."""
    depth = np.asarray(ndimage.distance_transform_edt(np.pad(mask, 1)))[1:-1, 1:-1]
    return np.array(np.unravel_index(int(np.argmax(depth)), depth.shape)) + 0.5


def _halves(view: View, under: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the true nuclei of which at least half of what is in sight lies ``under`` a mask."""
    held = np.bincount(under[under > 0])
    areas = np.bincount(view.true_labels.ravel(), minlength=len(held))[: len(held)]
    return np.flatnonzero((held > 0) & (held >= 0.5 * areas))


def _own(
    truth: NDArray[np.bool_], labels: NDArray[np.int32], true_labels: NDArray[np.int32]
) -> int | None:
    """Return the nucleus that shares most with the truth, and with it most of all true ones."""
    ids, shared = np.unique(labels[truth & (labels > 0)], return_counts=True)
    for k in np.argsort(-shared, kind="stable"):
        mask, common = labels == ids[k], int(shared[k])
        if common < MINE * min(int(mask.sum()), int(truth.sum())):
            continue
        under = true_labels[mask]
        if common >= np.bincount(under[under > 0]).max():
            return int(ids[k])
    return None
