"""Which of two answers to show first: a new nucleus or an extended neighbour.

The better predicted IoU wins among the plausible ones. The bounds say when an answer is not what
a user can have meant; they were set from sizes of nuclei in H&E (a small lymphocyte measures about
20 µm², a large tumour nucleus 120 µm² and more). An extension that loses most of the old nucleus
is no option at all (`candidates`). A model that is shown the old nucleus is sure of it, whatever
was clicked beside it: an extension that leaves out most of what the model sees there as a nucleus
of its own is beaten by that one, whatever their scores. Knows masks and areas; not the document.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.geometry import box_intersection
from napari_nucleus.core.prompts import MaskPrediction
from napari_nucleus.session.masks import place_mask
from napari_nucleus.session.outcomes import Candidate
from napari_nucleus.session.outlines import Plan

__all__ = ["Option", "best_option", "is_plausible"]

TINY_UM2 = 3.0
"""A new nucleus below this is a speck."""

KEPT_SHARE = 0.7
"""A new nucleus must keep this share of its prediction beside its neighbours."""

REACHED_SHARE = 0.5
"""An extension must hold this share of a plausible new nucleus to be scored against it."""

GROWTH = 3.0
LARGE_UM2 = 120.0
"""An extension may reach this multiple of the old area, or the size of a large nucleus."""


@dataclass(frozen=True, slots=True, eq=False)
class Option:
    """A candidate with its prediction and the plan that follows from them."""

    candidate: Candidate
    prediction: MaskPrediction
    plan: Plan


def best_option(
    options: Sequence[Option], point_yx: NDArray[np.float64], mpp: float, favourite: int | None
) -> int:
    """Return the index of the option to show.

    Parameters
    ----------
    options
        At least one; a new nucleus comes before an extension and wins a tie.
    point_yx
        The click, level-0 pixels.
    mpp
        µm per pixel.
    favourite
        The nucleus the user touched a moment ago: its extension wins if it is plausible.
    """

    plausible = [is_plausible(option, point_yx, mpp) for option in options]
    new = [o for o, p in zip(options, plausible, strict=True) if p and o.candidate.old is None]

    def rank(index: int) -> tuple[bool, bool, bool, float, int]:
        option = options[index]
        favoured = favourite is not None and option.candidate.target == favourite
        reaches = all(_share_of(other, option) >= REACHED_SHARE for other in new)
        return plausible[index], favoured, reaches, option.prediction.iou, -index

    return max(range(len(options)), key=rank)


def is_plausible(option: Option, point_yx: NDArray[np.float64], mpp: float) -> bool:
    """Return True if an option can be what the user meant with a click at ``point_yx``."""
    candidate, prediction, plan = option.candidate, option.prediction, option.plan
    if plan.shape is None or not _holds(prediction, point_yx):
        return False
    area = plan.shape.area
    if candidate.old is None:
        return area * mpp**2 >= TINY_UM2 and area >= KEPT_SHARE * prediction.area
    old = int(np.count_nonzero(candidate.old[0]))
    return area <= max(GROWTH * old, LARGE_UM2 / mpp**2)


def _share_of(option: Option, other: Option) -> float:
    """Return the share of an option's nucleus that another option's nucleus holds."""
    shape, held = option.plan.shape, other.plan.shape
    if shape is None or held is None:
        return 0.0
    common = shape.mask & place_mask(held.mask, held.box, shape.box)
    return np.count_nonzero(common) / shape.area


def _holds(prediction: MaskPrediction, point_yx: NDArray[np.float64]) -> bool:
    r, c = (int(v) for v in np.floor(point_yx))
    if box_intersection(prediction.box, (r, c, r + 1, c + 1)) is None:
        return False
    return bool(prediction.mask[r - prediction.box[0], c - prediction.box[1]])
