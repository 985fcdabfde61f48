"""What the click tool says back: a request for the model, something done, or nothing.

Values only. All coordinates are level-0 pixels, corner-origin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.geometry import Box
from napari_nucleus.core.prompts import Prompts
from napari_nucleus.session.outlines import ActionResult

__all__ = [
    "Candidate",
    "Decode",
    "Done",
    "HoverIntent",
    "Kind",
    "Nothing",
    "Outcome",
    "Request",
    "Selected",
]


Kind = Literal["add", "carve", "box"]
"""What was done with the pointer: a click that adds, one that takes away, a box."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One reading of what the user meant, to be decoded by a promptable model.

    Parameters
    ----------
    target
        The nucleus to give another outline, or None for a new one.
    prompts
        What to give to the model, previous logits or mask included.
    given
        The user's own part of it, to be remembered with the nucleus.
    old
        The target's mask and box when the candidate was made; None for a new nucleus. An answer
        is taken only while they are still the same.
    """

    target: int | None
    prompts: Prompts
    given: Prompts
    old: tuple[NDArray[np.bool_], Box] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One or two candidates to decode on the same tile.

    Parameters
    ----------
    number
        Rises with every request of a tool.
    kind
        What was done with the pointer last.
    candidates
        The new nucleus first, if it is one of them.
    box
        The pixels that the answer will most likely need: where to place the tile.
    supersedes
        Numbers of earlier requests whose answers are no longer wanted.
    """

    number: int
    kind: Kind
    candidates: tuple[Candidate, ...]
    box: Box
    supersedes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Decode:
    """Ask the model, and give its predictions to `ClickTool.answer`."""

    request: Request


@dataclass(frozen=True, slots=True)
class Done:
    """The document has changed already."""

    result: ActionResult


@dataclass(frozen=True, slots=True)
class Selected:
    """A nucleus was selected."""

    id: int


@dataclass(frozen=True, slots=True)
class Nothing:
    """Nothing happened, and why, for the status line."""

    reason: str


Outcome = Decode | Done | Selected | Nothing


@dataclass(frozen=True, slots=True)
class HoverIntent:
    """What a click here would do, and the nucleus it would do it to.

    ``"extend"`` means that it adds a nucleus or extends ``id``, whichever the model scores
    better; ``"nothing"`` that there is nothing to take away or the pointer is off the image.
    """

    kind: Literal["add", "extend", "select", "remove", "carve", "nothing"]
    id: int | None = None
