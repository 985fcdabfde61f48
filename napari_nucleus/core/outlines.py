"""The class raster: what one sees of the nuclei, one small picture of class ids.

A pixel on the inner boundary of a nucleus carries the nucleus's class id, one inside it that id and
`INTERIOR`, all others 0. Viewers show it with a small colour table; nothing in it depends on how
many nuclei there are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.classes import LARGEST_ID, UNKNOWN_CLASS

__all__ = [
    "INTERIOR",
    "NO_OUTLINE",
    "UNCLASSIFIED_OUTLINE",
    "ClassOfId",
    "class_outline",
    "class_raster",
]

NO_OUTLINE = 0
"""Value where there is no outline."""

UNCLASSIFIED_OUTLINE = LARGEST_ID + 1
"""Value of the outline of a nucleus without a class."""

INTERIOR = UNCLASSIFIED_OUTLINE + 1
"""Added to the value of a nucleus's outline, it is the value of what lies inside."""

ClassOfId: TypeAlias = NDArray[np.integer] | Callable[[NDArray[np.integer]], NDArray[np.integer]]
"""Class ids by label id, as an array to look up or a function of an array of label ids."""


def class_outline(
    labels: NDArray[np.integer],
    class_of_id: ClassOfId,
    width: int = 1,
    image_edges: tuple[bool, bool, bool, bool] = (False, False, False, False),
) -> NDArray[np.uint8]:
    """Return the outlines of all nuclei of a label map, as class ids.

    A pixel belongs to the outline if one of its four neighbours carries another label; with a
    larger ``width``, also if it would after the outline was peeled off. What lies beyond the
    array is not known and makes no outline: to redraw part of a picture, pass ``width`` pixels
    more on each side and trim the answer.

    Parameters
    ----------
    labels
        ``(H, W)`` integers, 0 is background.
    class_of_id
        Class ids by label id. Ids that an array does not reach, class 0 and `UNKNOWN_CLASS`
        become `UNCLASSIFIED_OUTLINE`.
    width
        Thickness in pixels.
    image_edges
        Which sides of the array (top, left, bottom, right) are edges of the whole image: there
        the outline of a nucleus that is cut off is closed.
    """
    outline = _inner_boundary(labels, image_edges)
    for _ in range(width - 1):
        rest = np.where(outline, 0, labels)
        outline |= _inner_boundary(rest, image_edges)
    place = np.flatnonzero(outline)
    result = np.zeros(labels.shape, np.uint8)
    result.reshape(-1)[place] = _classes(labels.reshape(-1)[place], class_of_id)
    return result


def class_raster(
    labels: NDArray[np.integer],
    class_of_id: ClassOfId,
    image_edges: tuple[bool, bool, bool, bool] = (False, False, False, False),
) -> NDArray[np.uint8]:
    """Return outlines as `class_outline` does, one pixel wide, and what they enclose as well."""
    place = np.flatnonzero(labels)
    inside = ~_inner_boundary(labels, image_edges).reshape(-1)[place]
    result = np.zeros(labels.shape, np.uint8)
    classes = _classes(labels.reshape(-1)[place], class_of_id)
    result.reshape(-1)[place] = classes + inside * np.uint8(INTERIOR)
    return result


def _inner_boundary(
    labels: NDArray[np.integer], image_edges: tuple[bool, bool, bool, bool]
) -> NDArray[np.bool_]:
    boundary = np.zeros(labels.shape, bool)
    for side, is_edge in zip(
        (np.s_[:1], np.s_[:, :1], np.s_[-1:], np.s_[:, -1:]), image_edges, strict=True
    ):
        boundary[side] |= is_edge
    differs = labels[1:] != labels[:-1]
    boundary[1:] |= differs
    boundary[:-1] |= differs
    differs = labels[:, 1:] != labels[:, :-1]
    boundary[:, 1:] |= differs
    boundary[:, :-1] |= differs
    boundary &= labels > 0
    return boundary


def _classes(ids: NDArray[np.integer], class_of_id: ClassOfId) -> NDArray[np.uint8]:
    if callable(class_of_id):
        classes = np.asarray(class_of_id(ids))
    elif len(class_of_id):
        known = ids < len(class_of_id)
        classes = np.where(known, class_of_id[np.where(known, ids, 0)], 0)
    else:
        classes = np.zeros(len(ids), np.uint8)
    unclassified = (classes == 0) | (classes == UNKNOWN_CLASS)
    return np.where(unclassified, UNCLASSIFIED_OUTLINE, classes).astype(np.uint8)
