"""How far two models agree on a nucleus: by its outline, and by its class."""

from __future__ import annotations

from collections.abc import Collection

from napari_nucleus.core.classes import UNKNOWN_CLASS

__all__ = ["SAME_IOU", "agreement", "differ"]

SAME_IOU = 0.5
"""IoU from which two models mean the same nucleus: then no other can reach it as well."""

OTHER_CLASS = 0.5
"""What is left of the agreement where two models give a nucleus different classes."""


def differ(first: int, second: int, alike: Collection[int] = ()) -> bool:
    """Return True if two class ids contradict each other.

    No class contradicts none, and classes that are both ``alike`` (such as those that a model was
    not taught to tell apart) do not contradict each other.
    """
    unnamed = {0, UNKNOWN_CLASS}
    if first == second or first in unnamed or second in unnamed:
        return False
    return not (first in alike and second in alike)


def agreement(iou: float, classes_differ: bool) -> float:
    """Return the agreement on a nucleus, 0–1: the IoU, half of it where the classes differ."""
    return iou * OTHER_CLASS if classes_differ else iou
