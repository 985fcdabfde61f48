"""Nuclei as points, before they have masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from napari_nucleus.core.geometry import Box

__all__ = ["Points", "suppress_points"]


@dataclass(frozen=True, eq=False)
class Points:
    """Centres of nuclei, in corner-origin pixels of a tile or of level 0.

    Parameters
    ----------
    yx
        ``(n, 2)`` float.
    score
        ``(n,)`` 0–1, how sure the detector is of each.
    class_prob
        ``(n, C)``; rows of zeros where no class was told, ``(n, 0)`` without classes.
    """

    yx: NDArray[np.float64]
    score: NDArray[np.float32]
    class_prob: NDArray[np.float32]

    def __post_init__(self) -> None:
        yx = np.asarray(self.yx, np.float64).reshape(-1, 2)
        score = np.asarray(self.score, np.float32)
        classes = np.asarray(self.class_prob, np.float32)
        if score.shape != (len(yx),) or classes.ndim != 2 or len(classes) != len(yx):
            raise ValueError(
                f"{len(yx)} points need as many scores and rows of classes, "
                f"got {score.shape} and {classes.shape}"
            )
        if not np.isfinite(yx).all():
            raise ValueError("a point is not finite")
        for name, value in (("yx", yx), ("score", score), ("class_prob", classes)):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.yx)

    @classmethod
    def empty(cls, n_classes: int = 0) -> Points:
        """Return no points."""
        return cls(np.zeros((0, 2)), np.zeros(0, np.float32), np.zeros((0, n_classes), np.float32))

    @classmethod
    def joined(cls, parts: Sequence[Points]) -> Points:
        """Return the points of several parts, all with the same classes; empty parts may differ."""
        if not parts:
            return cls.empty()
        some = [p for p in parts if len(p)] or parts[:1]
        return cls(
            np.concatenate([p.yx for p in some]),
            np.concatenate([p.score for p in some]),
            np.concatenate([p.class_prob for p in some]),
        )

    def select(self, index: NDArray) -> Points:
        """Return the points at ``index``, a bool mask or positions."""
        return Points(self.yx[index], self.score[index], self.class_prob[index])

    def shifted(self, dy: float, dx: float) -> Points:
        """Return the same points moved by ``(dy, dx)`` pixels."""
        return Points(self.yx + np.array([dy, dx]), self.score, self.class_prob)

    def scaled(self, by: float | tuple[float, float]) -> Points:
        """Return the same points with their coordinates times ``by``, one factor or ``(y, x)``."""
        return Points(self.yx * np.asarray(by, float), self.score, self.class_prob)

    def inside(self, box: Box) -> NDArray[np.bool_]:
        """Return which points ``(n,)`` are inside a box; its far sides are outside."""
        low, high = np.array(box[:2]), np.array(box[2:])
        return np.all((self.yx >= low) & (self.yx < high), axis=1)

    def within(self, box: Box) -> Points:
        """Return the points inside a box ``(y0, x0, y1, x1)``, as `inside`."""
        return self.select(self.inside(box))


def suppress_points(points: Points, radius: float) -> Points:
    """Return the points of which none with a better score lies within ``radius`` pixels.

    They keep their order. Of two with one score the earlier stays.
    """
    if len(points) < 2 or radius <= 0:
        return points
    neighbours = cKDTree(points.yx).query_ball_point(points.yx, radius)
    kept = np.ones(len(points), bool)
    for i in np.argsort(-points.score, kind="stable"):
        if kept[i]:
            kept[[j for j in neighbours[i] if j != i]] = False
    return points.select(kept)
