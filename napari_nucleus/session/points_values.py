"""Values about points that wait to become nuclei: searches, questions, how far they have come."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.geometry import Box
from napari_nucleus.core.points import Points
from napari_nucleus.session.provenance import MadeBy
from napari_nucleus.session.regions import Polygons

__all__ = ["AskedPoints", "PointSearch", "Standing"]


@dataclass(frozen=True, eq=False)
class PointSearch:
    """One search of a detector.

    Parameters
    ----------
    made_by
        The detector.
    within
        Level-0 polygons that it was asked about; everywhere if there are none.
    cores
        Where it has looked up to now, level-0 boxes.
    """

    made_by: MadeBy
    within: Polygons = ()
    cores: list[Box] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class AskedPoints:
    """Points to be outlined together.

    Parameters
    ----------
    ids
        ``(k,)`` which they are.
    wanted
        ``(k,)`` False for neighbours, which have their outlines: they are asked about so that the
        others leave them theirs.
    points
        The same points, without classes.
    turn
        Tells what has changed since.
    """

    ids: NDArray[np.int64]
    wanted: NDArray[np.bool_]
    points: Points
    turn: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How many points there are: shown, hidden for their score, outlined, that became nothing."""

    shown: int
    hidden: int
    outlined: int
    empty: int

    @property
    def waiting(self) -> int:
        """Number of points that are shown and not asked about yet."""
        return self.shown - self.outlined - self.empty
