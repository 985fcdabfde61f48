"""What the document knows of each nucleus besides its pixels.

`NucleusRow` is a line of the nuclei table, `ClickMemory` what a promptable model was told about
the nucleus and answered. Both are values: a change is a new row, so that edits can hold the old
and the new one and undo brings back the very same objects.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from napari_nucleus.core.geometry import Box
from napari_nucleus.core.prompts import MaskLogits, Prompts

__all__ = ["TOUCHED_STATES", "ClickMemory", "NucleusRow", "NucleusState", "remember"]


class NucleusState(StrEnum):
    """How a nucleus came to be as it is.

    Only ``AUTOMATIC`` ones are replaced by a new automatic run: what was imported is somebody's
    work until its owner removes it, what the user changed or accepted is the user's.
    """

    AUTOMATIC = "automatic"
    IMPORTED = "imported"
    ACCEPTED = "accepted"
    USER = "user"


TOUCHED_STATES = (NucleusState.USER, NucleusState.ACCEPTED)
"""States of nuclei that the user made, changed or accepted."""


@dataclass(frozen=True, slots=True)
class NucleusRow:
    """One nucleus in the table.

    Parameters
    ----------
    id
        Its value in the label map; never given to another nucleus.
    box
        Tight pixel box ``(y0, x0, y1, x1)``.
    area
        Number of pixels.
    centroid_yx
        Centre of mass, corner-origin level-0 pixels.
    class_id
        Class in the document's scheme, 0 for unclassified.
    class_prob
        A model's probabilities in the order of the scheme; empty without a model's opinion, and
        once the user has named the class.
    score
        Confidence of what found it, 0–1; 1 for the user.
    iou
        IoU with the true nucleus as a click model estimates it, or None.
    state
        How it came to be as it is.
    source
        What found it: a model's name, ``"import"`` or the name of the import, ``"user"``.
    agreement
        IoU with the same nucleus as another model found it, half of it where that model gives it
        another class; 0 if it found none where it looked; None if only one model ever looked.
    """

    id: int
    box: Box
    area: int
    centroid_yx: tuple[float, float]
    class_id: int = 0
    class_prob: tuple[float, ...] = ()
    score: float = 1.0
    iou: float | None = None
    state: NucleusState = NucleusState.USER
    source: str = "user"
    agreement: float | None = None

    @property
    def touched(self) -> bool:
        """True if the user made, changed or accepted it."""
        return self.state in TOUCHED_STATES


@dataclass(frozen=True, slots=True, eq=False)
class ClickMemory:
    """What a promptable model needs to go on with a nucleus where the user left it.

    Parameters
    ----------
    prompts
        What the user gave, in level-0 pixels; without logits and mask.
    logits
        The model's last low-resolution logits, or None.
    """

    prompts: Prompts
    logits: MaskLogits | None = None


def remember(prompts: Prompts | None, logits: MaskLogits | None) -> ClickMemory | None:
    """Return the memory of these prompts and logits, or None when there is nothing to remember.

    Arrays are copied: an answer is often a view into a batch that should not stay alive with it.
    """
    if prompts is None and logits is None:
        return None
    prompts = (
        Prompts() if prompts is None else replace(prompts, logits=None, mask=None, mask_box=None)
    )
    if prompts.is_empty and logits is None:
        return None
    copied = replace(prompts, points_yx=prompts.points_yx.copy(), positive=prompts.positive.copy())
    kept = None if logits is None else MaskLogits(logits.grid.copy(), logits.window)
    return ClickMemory(copied, kept)
