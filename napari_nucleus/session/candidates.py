"""From a click to what the model is asked, and from its answer to a plan.

Makes the candidates of a request and turns predictions for them into plans. Keeps no state: when
to ask, and what to do with late answers, is `tool`'s business.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from napari_nucleus.core.prompts import MaskPrediction, Prompts
from napari_nucleus.errors import EditRefusedError
from napari_nucleus.session.document import Document
from napari_nucleus.session.masks import place_mask
from napari_nucleus.session.outcomes import Candidate, Kind
from napari_nucleus.session.outlines import (
    Outline,
    Plan,
    plan_add,
    plan_refine,
    plan_take_away,
)
from napari_nucleus.session.provenance import MadeBy

__all__ = [
    "CARVE_SHARE",
    "EXTEND_SHARE",
    "boxed_nucleus",
    "is_current",
    "new_nucleus",
    "plan_candidate",
    "refined_nucleus",
]

CARVE_SHARE = 0.3
"""Share of a nucleus that a click near its rim must leave; an answer that takes more has given the
nucleus up, and only what was clicked is taken."""

EXTEND_SHARE = 0.5
"""Share of a nucleus that an answer must keep to be an extension of it."""


def boxed_nucleus(document: Document, target: int, given: Prompts) -> Candidate:
    """Return the candidate that gives a nucleus the outline in a box drawn around it.

    The model is not shown the old outline: who draws a box says that it is wrong.
    """
    return Candidate(
        target, replace(given, logits=None, mask=None, mask_box=None), given, document.mask(target)
    )


def new_nucleus(given: Prompts) -> Candidate:
    """Return the candidate for a new nucleus."""
    return Candidate(None, given, given)


def refined_nucleus(document: Document, target: int, given: Prompts) -> Candidate:
    """Return the candidate that gives a nucleus another outline.

    Parameters
    ----------
    target
        The nucleus.
    given
        All that the user gave for it, the newest click included.

    Notes
    -----
    The model gets the logits it answered last, or the plain mask where there are none. A nucleus
    that the user never clicked on says itself where it is, by its box; a box is grown to hold
    every positive click and scribble, for the user says that the nucleus goes on there.
    """
    mask, box = document.mask(target)
    logits = document.logits(target)
    prompts = given
    if given.box is None and not document.prompts(target).positive.any():
        prompts = replace(given, box=tuple(float(v) for v in box))
    if prompts.box is not None:
        prompts = replace(prompts, box=_grown_to_points(prompts.box, given))
    if logits is not None:
        prompts = prompts.with_logits(logits)
    else:
        prompts = replace(prompts, logits=None, mask=mask, mask_box=box)
    return Candidate(target, prompts, given, (mask, box))


def is_current(document: Document, candidate: Candidate) -> bool:
    """Return True if the candidate's nucleus still has the pixels it had; for a new one, True."""
    if candidate.target is None or candidate.old is None:
        return True
    if candidate.target not in document:
        return False
    mask, box = document.mask(candidate.target)
    return box == candidate.old[1] and np.array_equal(mask, candidate.old[0])


def plan_candidate(
    document: Document,
    kind: Kind,
    candidate: Candidate,
    prediction: MaskPrediction,
    made_by: MadeBy | None = None,
) -> Plan:
    """Return the plan that a prediction (level-0 pixels) of a model asks for.

    Raises
    ------
    EditRefusedError
        If the model sees no nucleus, neighbours leave no room, or the target is gone.
    """
    outline = Outline.of(prediction, candidate.given, made_by)
    if kind != "carve" and not prediction.area:
        raise EditRefusedError(
            "The model sees no nucleus here; nothing was changed. Draw a box around the nucleus "
            "with Shift-drag."
        )
    if candidate.target is None or candidate.old is None:
        return plan_add(document, outline)
    mask, box = candidate.old
    left = np.count_nonzero(mask & place_mask(prediction.mask, prediction.box, box))
    share = left / np.count_nonzero(mask)
    if kind == "carve":
        if share < CARVE_SHARE:
            outline = Outline(mask, box, candidate.given)
        return plan_take_away(document, candidate.target, outline)
    if kind == "box":
        return plan_refine(document, candidate.target, outline, "Refine nucleus")
    if share < EXTEND_SHARE:
        raise EditRefusedError(
            f"With this click the model loses most of nucleus {candidate.target}; it was kept as "
            "it is. Draw a box around the whole nucleus with Shift-drag."
        )
    return plan_refine(document, candidate.target, outline, "Extend nucleus")


def _grown_to_points(
    box: tuple[float, float, float, float], given: Prompts
) -> tuple[float, float, float, float]:
    points = given.points_yx[given.positive]
    if given.scribble_yx is not None:
        points = np.concatenate([points, given.scribble_yx])
    if not len(points):
        return box
    low, high = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return (
        min(box[0], low[0]),
        min(box[1], low[1]),
        max(box[2], high[0]),
        max(box[3], high[1]),
    )
