"""What a user gives to a promptable model, and what comes back.

All coordinates are corner-origin pixels ``(y, x)`` of the tile that was embedded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nucleus.core.geometry import Box

__all__ = ["MaskLogits", "MaskPrediction", "Prompts"]


@dataclass(frozen=True, slots=True)
class MaskLogits:
    """Low-resolution logits of one mask over a window of the tile.

    Parameters
    ----------
    grid
        ``(h, w)`` float16 or float32; the mask is where it is above 0.
    window
        The box ``(y0, x0, y1, x1)`` of the tile, in float pixels, that the grid covers.
    """

    grid: NDArray[np.floating]
    window: tuple[float, float, float, float]

    def shifted(self, dy: float, dx: float) -> MaskLogits:
        """Return the same logits moved by ``(dy, dx)`` pixels."""
        y0, x0, y1, x1 = self.window
        return MaskLogits(self.grid, (y0 + dy, x0 + dx, y1 + dy, x1 + dx))


@dataclass(frozen=True, eq=False)
class Prompts:
    """Prompts for one nucleus.

    Parameters
    ----------
    points_yx
        ``(k, 2)`` float points in the order they were given.
    positive
        ``(k,)`` bool; True adds, False takes away.
    box
        Optional ``(y0, x0, y1, x1)`` float box around the nucleus.
    scribble_yx
        Optional ``(m, 2)`` float polyline drawn over the nucleus; adds.
    logits
        Optional logits of the previous answer, fed back to the model.
    mask, mask_box
        Optional previous mask without logits (imported, painted): ``(h, w)`` bool at its pixel
        box. A model makes pseudo-logits of it.
    """

    points_yx: NDArray[np.float64] = None  # type: ignore[assignment]
    positive: NDArray[np.bool_] = None  # type: ignore[assignment]
    box: tuple[float, float, float, float] | None = None
    scribble_yx: NDArray[np.float64] | None = None
    logits: MaskLogits | None = None
    mask: NDArray[np.bool_] | None = None
    mask_box: Box | None = None

    def __post_init__(self) -> None:
        points = np.zeros((0, 2)) if self.points_yx is None else np.asarray(self.points_yx, float)
        signs = np.zeros(0, bool) if self.positive is None else np.asarray(self.positive, bool)
        if points.ndim != 2 or points.shape[1] != 2 or signs.shape != (len(points),):
            raise ValueError(
                f"points must be (k, 2) with k signs, got {points.shape} and {signs.shape}"
            )
        if not np.isfinite(points).all():
            raise ValueError("a point is not finite")
        if (self.mask is None) != (self.mask_box is None):
            raise ValueError("a mask needs its box and a box of a mask its mask")
        object.__setattr__(self, "points_yx", points)
        object.__setattr__(self, "positive", signs)

    @property
    def is_empty(self) -> bool:
        """True if nothing says where the nucleus is."""
        return not len(self.points_yx) and self.box is None and self.scribble_yx is None

    def with_point(self, point_yx: ArrayLike, positive: bool) -> Prompts:
        """Return these prompts with one more point."""
        return replace(
            self,
            points_yx=np.vstack([self.points_yx, np.asarray(point_yx, float)[None]]),
            positive=np.append(self.positive, positive),
        )

    def with_logits(self, logits: MaskLogits | None) -> Prompts:
        """Return these prompts with other logits fed back, and no plain mask."""
        return replace(self, logits=logits, mask=None, mask_box=None)

    def shifted(self, dy: float, dx: float) -> Prompts:
        """Return the same prompts moved by ``(dy, dx)`` whole pixels."""
        shift4 = np.array([dy, dx, dy, dx])
        box = None if self.box is None else tuple(np.asarray(self.box, float) + shift4)
        scribble = None if self.scribble_yx is None else self.scribble_yx + shift4[:2]
        mask_box = None
        if self.mask_box is not None:
            mask_box = tuple(int(v) for v in np.asarray(self.mask_box) + shift4.astype(int))
        return replace(
            self,
            points_yx=self.points_yx + shift4[:2],
            box=box,
            scribble_yx=scribble,
            logits=None if self.logits is None else self.logits.shifted(dy, dx),
            mask_box=mask_box,
        )


@dataclass(frozen=True, slots=True, eq=False)
class MaskPrediction:
    """A model's answer to prompts for one nucleus.

    Parameters
    ----------
    mask
        ``(h, w)`` bool at ``box``; may be empty ``(0, 0)`` when the model sees no nucleus.
    box
        Pixel box of ``mask`` in the tile.
    logits
        To be fed back with the next click.
    iou
        The model's own estimate of its IoU with the true nucleus, 0–1.
    class_prob
        Probability of each class, in the order of the model's scheme; empty without classes.
    """

    mask: NDArray[np.bool_]
    box: Box
    logits: MaskLogits
    iou: float
    class_prob: tuple[float, ...] = ()

    @property
    def area(self) -> int:
        """Number of pixels in the mask."""
        return int(self.mask.sum())

    def shifted(self, dy: int, dx: int) -> MaskPrediction:
        """Return the same answer moved by ``(dy, dx)`` pixels."""
        y0, x0, y1, x1 = self.box
        box = (y0 + dy, x0 + dx, y1 + dy, x1 + dx)
        return replace(self, box=box, logits=self.logits.shifted(dy, dx))
