"""Nuclei that are chosen together, to be removed, classified or accepted in one step."""

from __future__ import annotations

from collections.abc import Sequence

from napari_nucleus.core.geometry import clip_box
from napari_nucleus.core.nuclei import counted
from napari_nucleus.session.document import Document
from napari_nucleus.session.outcomes import Nothing, Outcome

__all__ = ["Group"]


class Group:
    """A choice of nuclei of a document; those that are removed meanwhile are not in it."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._ids: tuple[int, ...] = ()

    @property
    def ids(self) -> list[int]:
        """The nuclei, in the order of their ids."""
        return [row.id for row in self._document.store.rows(self._ids)]

    def __bool__(self) -> bool:
        return bool(self._ids) and bool(self.ids)

    def choose(self, ids: Sequence[int]) -> Outcome:
        """Choose these and no others."""
        self._ids = tuple(sorted(int(i) for i in ids))
        if not self._ids:
            return Nothing("No nucleus is chosen.")
        return Nothing(
            f"{counted(len(self._ids))} chosen: a digit gives all a class, Delete removes them, "
            "Enter accepts them, Escape lets go."
        )

    def choose_box(self, box_yxyx: Sequence[float]) -> Outcome:
        """Choose the nuclei whose centroids lie in a box, corners in any order, level-0 pixels."""
        ya, xa, yb, xb = (float(v) for v in box_yxyx)
        y0, x0, y1, x1 = min(ya, yb), min(xa, xb), max(ya, yb), max(xa, xb)
        around = clip_box((int(y0), int(x0), int(y1) + 1, int(x1) + 1), self._document.shape)
        rows = self._document.store.rows(self._document.ids_in(around))
        inside = [
            row.id
            for row in rows
            if y0 <= row.centroid_yx[0] < y1 and x0 <= row.centroid_yx[1] < x1
        ]
        return self.choose(inside)

    def clear(self) -> None:
        """Let go of all."""
        self._ids = ()
