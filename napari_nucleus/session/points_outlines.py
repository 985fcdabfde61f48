"""What points became when a model was asked about them: a nucleus each, or nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.core.geometry import Box
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.schemes import mapped_probabilities
from napari_nucleus.session.grid import GridIndex

__all__ = ["OutlinedPoint", "PointOutlines"]


@dataclass(frozen=True, eq=False)
class OutlinedPoint:
    """The nucleus that a point became.

    Parameters
    ----------
    nucleus
        It alone, in level-0 pixels, with probabilities in the order of the document's scheme or
        none.
    class_id
        Its class by the model that outlined it; 0 where that names none.
    """

    nucleus: Nuclei
    class_id: int

    @classmethod
    def of(cls, nucleus: Nuclei, classes: ClassScheme | None, scheme: ClassScheme) -> OutlinedPoint:
        """Bring a nucleus with the classes of one scheme to those of another.

        Parameters
        ----------
        nucleus
            One nucleus.
        classes
            The scheme of its probabilities; ``scheme`` by default.
        scheme
            The document's.
        """
        if not nucleus.class_prob.shape[1]:
            return cls(nucleus, 0)
        ids, prob = mapped_probabilities(nucleus.class_prob, classes or scheme, scheme)
        return cls(replace(nucleus, class_prob=prob.astype(np.float32)), int(ids[0]))

    @property
    def box(self) -> Box:
        """Its level-0 box."""
        y0, x0, y1, x1 = self.nucleus.boxes[0].tolist()
        return y0, x0, y1, x1

    @property
    def score(self) -> float:
        """How good it is thought to be, 0–1."""
        return float(self.nucleus.score[0])


class PointOutlines:
    """Outlines by the id of their point, and the points that became nothing."""

    def __init__(self) -> None:
        self._known: dict[int, OutlinedPoint] = {}
        self._empty: set[int] = set()
        self._grid = GridIndex()
        self._changed: list[Box] = []

    def __contains__(self, point: int) -> bool:
        return point in self._known

    def get(self, point: int) -> OutlinedPoint | None:
        """Return what a point became; None for nothing, or while that is not known."""
        return self._known.get(point)

    def is_empty(self, point: int) -> bool:
        """Return True if it is known that a point became nothing."""
        return point in self._empty

    @property
    def known(self) -> NDArray[np.int64]:
        """The points that became a nucleus, ``(k,)``."""
        return np.fromiter(self._known, np.int64, len(self._known))

    @property
    def empty(self) -> NDArray[np.int64]:
        """The points that became nothing, ``(k,)``."""
        return np.fromiter(self._empty, np.int64, len(self._empty))

    def near(self, box: Box) -> list[int]:
        """Return the points whose outlines lie about a level-0 box, the best score last."""
        points = self._grid.near(box)
        return sorted(points, key=lambda point: (self._known[point].score, -point))

    def put(self, point: int, outlined: OutlinedPoint | None) -> None:
        """Note what a point became, None for nothing."""
        self.drop([point])
        if outlined is None:
            self._empty.add(point)
            return
        self._known[point] = outlined
        self._grid.add(point, outlined.box)
        self._changed.append(outlined.box)

    def drop(self, points: Iterable[int]) -> None:
        """Forget what points became."""
        for point in points:
            self._empty.discard(point)
            outlined = self._known.pop(point, None)
            if outlined is not None:
                self._grid.discard(point, outlined.box)
                self._changed.append(outlined.box)

    def touch(self, points: Iterable[int]) -> None:
        """Note that the outlines of points look otherwise: another colour, hidden or shown."""
        self._changed += [self._known[point].box for point in points if point in self._known]

    def take_changed(self) -> NDArray[np.int64]:
        """Return where something looks otherwise since this was asked last, boxes ``(k, 4)``."""
        changed, self._changed = self._changed, []
        return np.array(changed, np.int64).reshape(-1, 4)

    def rescheme(self, before: ClassScheme, after: ClassScheme) -> None:
        """Go over to another class scheme."""
        for point, outlined in self._known.items():
            self._known[point] = OutlinedPoint.of(outlined.nucleus, before, after)
        self.touch(self._known)
