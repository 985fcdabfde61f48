"""One nucleus under correction, and what is counted while it is corrected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_nucleus.core.geometry import Box, box_union, clip_box
from napari_nucleus.core.metrics import OverlapTable, mean_segmentation_accuracy
from napari_nucleus.core.prompts import MaskPrediction, Prompts

__all__ = ["TARGETS", "Case", "ClickCounts", "Painted", "msa_of_labels", "msa_of_masks"]

TARGETS = (0.80, 0.85, 0.90)
"""IoUs to which clicks are counted."""

Painted = tuple[NDArray[np.bool_], Box]
"""A mask and the box that it fills."""


@dataclass
class Case:
    """One nucleus under correction; coordinates are level-0 pixels.

    Attributes
    ----------
    truth, box
        Its true mask and the box that it fills.
    tile
        The tile that its clicks are answered on.
    prompts
        What was given so far, with the last answer's logits.
    mask, mask_box
        What it has become.
    spent
        Clicks so far.
    ious, spent_at
        The IoU after each round, and the clicks spent until then.
    """

    truth: NDArray[np.bool_]
    box: Box
    tile: Box
    prompts: Prompts
    mask: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0), bool))
    mask_box: Box = (0, 0, 0, 0)
    spent: int = 0
    ious: list[float] = field(default_factory=list)
    spent_at: list[int] = field(default_factory=list)

    def take(self, answer: MaskPrediction) -> None:
        """Take an answer as the mask, and its logits for the next prompt."""
        self.mask, self.mask_box = answer.mask, answer.box
        self.prompts = self.prompts.with_logits(answer.logits)

    def window(self) -> tuple[Box, NDArray[np.bool_], NDArray[np.bool_]]:
        """Return a common box with truth and mask in it."""
        box = box_union(self.box, self.mask_box) if self.mask.any() else self.box
        return box, _placed(self.truth, self.box, box), _placed(self.mask, self.mask_box, box)

    def holds(self, point: NDArray[np.float64]) -> bool:
        """Return whether the mask has the pixel at a point ``(y, x)``."""
        r, c = np.floor(point).astype(int) - np.array(self.mask_box[:2])
        h, w = self.mask.shape
        return bool(0 <= r < h and 0 <= c < w and self.mask[r, c])

    def note(self) -> None:
        """Note the IoU that was reached and the clicks that it took."""
        _, truth, mask = self.window()
        self.ious.append(float((truth & mask).sum() / max((truth | mask).sum(), 1)))
        self.spent_at.append(self.spent)


@dataclass
class ClickCounts:
    """Tallies over all nuclei and clicks.

    Attributes
    ----------
    clicks_to
        For each IoU target, the clicks each nucleus took; None where it was never reached.
    positive, positive_inside, negative, negative_outside
        Clicks of each sign, and those whose pixel ended on its side.
    clicks, lowered
        Rounds in which clicks were given, and those after which the IoU was lower by more than a
        thousandth.
    neighbours_changed
        Pixels of other nuclei that any correction changed.
    """

    clicks_to: dict[float, list[int | None]] = field(
        default_factory=lambda: {t: [] for t in TARGETS}
    )
    positive: int = 0
    positive_inside: int = 0
    negative: int = 0
    negative_outside: int = 0
    clicks: int = 0
    lowered: int = 0
    neighbours_changed: int = 0

    def tally(self, case: Case) -> None:
        """Note a case's IoU, and whether its last clicks were obeyed and helped."""
        case.note()
        if len(case.ious) < 2 or case.spent_at[-1] == case.spent_at[-2]:
            return
        self.clicks += 1
        self.lowered += case.ious[-1] < case.ious[-2] - 1e-3
        for k in range(case.spent_at[-2] - case.spent_at[-1], 0):
            inside = case.holds(case.prompts.points_yx[k])
            if case.prompts.positive[k]:
                self.positive += 1
                self.positive_inside += inside
            else:
                self.negative += 1
                self.negative_outside += not inside

    def finish(self, case: Case) -> None:
        """Count the clicks that a case took to each target."""
        for target, reached in self.clicks_to.items():
            first = next((i for i, iou in enumerate(case.ious) if iou >= target), None)
            reached.append(None if first is None else case.spent_at[first])

    def summary(self) -> dict[str, Any]:
        """Return rates and medians; nuclei that never reach a target count as the worst."""
        out: dict[str, Any] = {}
        for target, counts in self.clicks_to.items():
            reached = [c for c in counts if c is not None]
            padded = sorted(reached) + [np.inf] * (len(counts) - len(reached))
            median = float(np.median(padded)) if padded else None
            out[f"clicks_to_{target:.2f}"] = {
                "median": None if median is None or not np.isfinite(median) else median,
                "mean_of_reached": round(float(np.mean(reached)), 3) if reached else None,
                "never": round(1 - len(reached) / max(len(counts), 1), 4),
            }
        out["positive_inside"] = round(self.positive_inside / max(self.positive, 1), 4)
        out["negative_outside"] = round(self.negative_outside / max(self.negative, 1), 4)
        out["lowered"] = round(self.lowered / max(self.clicks, 1), 4)
        out["neighbour_pixels_changed"] = self.neighbours_changed
        return out


def _placed(mask: NDArray[np.bool_], box: Box, into: Box) -> NDArray[np.bool_]:
    out = np.zeros((into[2] - into[0], into[3] - into[1]), bool)
    if mask.size:
        y, x = box[0] - into[0], box[1] - into[1]
        out[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
    return out


def msa_of_masks(true: NDArray[np.integer], masks: Sequence[Painted]) -> float:
    """Return the mSA of masks painted from large to small, each on free pixels only."""
    labels = np.zeros(true.shape, np.int32)
    areas = [int(mask.sum()) for mask, _ in masks]
    for number, i in enumerate(np.argsort(areas)[::-1], start=1):
        mask, box = masks[i]
        if not mask.size:
            continue
        y0, x0, y1, x1 = clip_box(box, true.shape)  # type: ignore[arg-type]
        part = mask[y0 - box[0] : y1 - box[0], x0 - box[1] : x1 - box[1]]
        place = labels[y0:y1, x0:x1]
        place[part & (place == 0)] = number
    return msa_of_labels(true, labels)


def msa_of_labels(true: NDArray[np.integer], labels: NDArray[np.int32]) -> float:
    """Return the mSA of a label map of which every connected part counts as a nucleus."""
    return float(mean_segmentation_accuracy(OverlapTable.of(true, _parts(labels))))


def _parts(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Give every connected part of every nucleus an id of its own."""
    out = np.zeros_like(labels)
    n = 0
    for number, where in enumerate(ndimage.find_objects(labels), start=1):
        if where is None:
            continue
        parts, count = ndimage.label(labels[where] == number)
        out[where] = np.where(parts > 0, parts + n, out[where])
        n += count
    return out
