"""Gestures that are begun by a key and end with a stroke, a box or a second click, or with Escape.

A cut, a merge and a split redraw nuclei without the model; a scribble is the click tool's to
answer, and a choice of nuclei by a box is `group`'s. A state machine like `tool`, without Qt.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nucleus.errors import EditRefusedError
from napari_nucleus.session import actions
from napari_nucleus.session.document import Document
from napari_nucleus.session.outcomes import Done, Nothing, Outcome

__all__ = ["Gesture", "HandTool"]

Gesture = Literal["cut", "merge", "split", "scribble", "choose"]

HINTS: dict[Gesture, str] = {
    "cut": "Drag a stroke across the nuclei to cut, from outside to outside.",
    "merge": "Click the nucleus to merge with, or drag a stroke over all of them.",
    "split": "Click two places in the nucleus; it is split between them.",
    "scribble": "Drag a stroke along a nucleus; the model finds its outline.",
    "choose": "Drag a box; the nuclei in it are chosen together.",
}


class HandTool:
    """One gesture at a time on a document.

    Attributes
    ----------
    gesture
        What was begun, or None.
    """

    def __init__(self, document: Document) -> None:
        self._document = document
        self.gesture: Gesture | None = None
        self._first: int | None = None
        self._point: NDArray[np.float64] | None = None

    def begin(self, gesture: Gesture, nucleus_id: int | None = None) -> Outcome:
        """Begin a gesture; begun twice, it ends.

        A merge begins at a nucleus; without one, the first click names it.
        """
        again = gesture == self.gesture
        self.drop()
        if again:
            return Nothing("Never mind.")
        self.gesture, self._first = gesture, nucleus_id
        if gesture == "merge" and nucleus_id is None:
            return Nothing("Click the first nucleus to merge, or drag a stroke over all of them.")
        return Nothing(HINTS[gesture])

    def drop(self) -> None:
        """End the gesture without doing anything."""
        self.gesture = self._first = self._point = None

    def stroke(self, points_yx: ArrayLike) -> Outcome:
        """Take the stroke of a cut or a merge, ``(m, 2)`` level-0 points.

        A refused one can be drawn again.

        Raises
        ------
        NucleusError
            If it cuts nothing, or the nuclei cannot be merged, or the store cannot keep the edit.
        """
        if self.gesture == "merge":
            ids = _under(self._document, np.asarray(points_yx, float))
            if len(ids) < 2:
                return Nothing("Drag the stroke over two nuclei or more.")
            result = actions.merge(self._document, ids)
        else:
            result = actions.cut(self._document, points_yx)
        self.drop()
        return Done(result)

    def click(self, point_yx: ArrayLike) -> Outcome:
        """Take a click of a merge or a split.

        Raises
        ------
        NucleusError
            If the nuclei cannot be merged or split, or the store cannot keep the edit.
        """
        point = np.asarray(point_yx, float)
        under = self._document.id_at(point)
        if under is None:
            return Nothing("There is no nucleus. Click one, or press Escape.")
        if self.gesture == "merge":
            return self._merge(under)
        return self._split(under, point)

    def _merge(self, under: int) -> Outcome:
        if self._first is None or self._first not in self._document:
            self._first = under
            return Nothing(HINTS["merge"])
        if under == self._first:
            return Nothing("That is the same nucleus. Click the other one.")
        first = self._first
        self.drop()
        return Done(actions.merge(self._document, [first, under]))

    def _split(self, under: int, point: NDArray[np.float64]) -> Outcome:
        if self._point is None or self._first != under or under not in self._document:
            self._first, self._point = under, point
            return Nothing(f"Click another place in nucleus {under}.")
        try:
            result = actions.split(self._document, under, np.stack([self._point, point]))
        except EditRefusedError:
            return Nothing(f"Click another place in nucleus {under}, not the same one.")
        self.drop()
        return Done(result)


def _under(document: Document, points_yx: NDArray[np.float64]) -> list[int]:
    """Return the nuclei under a stroke, in the order in which it meets them."""
    steps = np.diff(points_yx, axis=0)
    n = np.ceil(np.abs(steps).max(axis=1)).astype(int).clip(1) if len(steps) else []
    pieces = [
        start + step * np.linspace(0, 1, k + 1)[:, None]
        for start, step, k in zip(points_yx, steps, n, strict=False)
    ]
    met = (document.id_at(point) for point in np.concatenate([points_yx[:1], *pieces]))
    return list(dict.fromkeys(i for i in met if i is not None))
