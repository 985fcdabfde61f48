"""The nuclei of a label map with what class and foreground maps say of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_nucleus.core.filters import bands
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.polygons import polygons_of_labels

__all__ = ["Instances", "describe_instances"]


@dataclass(frozen=True, eq=False, slots=True)
class Instances:
    """The n nuclei of a map.

    Parameters
    ----------
    labels
        ``(H, W)`` int32, ids 1..n, 0 is background.
    boxes
        ``(n, 4)`` int32 tight boxes ``(y0, x0, y1, x1)``.
    classes
        ``(n,)`` uint8: the class map that most of a nucleus's pixels voted for, 1..C; of equal
        votes, the one with the highest summed probability. 0 where all class maps are 0 inside.
    class_prob
        ``(n, C)`` float32: mean probability of each class inside, scaled to a sum of 1.
    score
        ``(n,)`` float32: mean probability of the foreground inside, 0–1.
    """

    labels: NDArray[np.int32]
    boxes: NDArray[np.int32]
    classes: NDArray[np.uint8]
    class_prob: NDArray[np.float32]
    score: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.boxes)

    def nuclei(self, source: str = "") -> Nuclei:
        """Return the nuclei as a batch, made by ``source``.

        A batch knows a class as the most probable one; where the vote went to another class, the
        probabilities of the two change places.
        """
        masks = tuple(
            self.labels[y0:y1, x0:x1] == number
            for number, (y0, x0, y1, x1) in enumerate(self.boxes.tolist(), 1)
        )
        prob = self.class_prob.copy()
        which = np.flatnonzero(self.classes)
        if len(which):
            voted, likeliest = self.classes[which].astype(np.int64) - 1, prob[which].argmax(axis=1)
            prob[which, voted], prob[which, likeliest] = (
                prob[which, likeliest],
                prob[which, voted],
            )
        return Nuclei(self.boxes, masks, self.score, prob, (), source)

    def polygons(self, offset_yx: tuple[int, int] = (0, 0)) -> NDArray[np.object_]:
        """Return the exact outline of each nucleus, ``(n,)`` polygons, moved by ``offset_yx``."""
        return polygons_of_labels(self.labels, offset_yx)[1]


def describe_instances(
    labels: NDArray[np.int32],
    foreground: NDArray[np.floating] | None,
    class_prob: NDArray[np.floating] | None,
) -> Instances:
    """Vote on the class of every nucleus of a label map.

    Parameters
    ----------
    labels
        ``(H, W)``, ids 1..n without gaps; the answer keeps the array.
    foreground
        ``(H, W)`` probability of being in a nucleus; by default 1 less that of the background.
    class_prob
        ``(C + 1, H, W)`` probabilities, background first. A pixel votes for its most probable
        class if that is more probable than the background.
    """
    places = ndimage.find_objects(labels) if labels.size else []
    boxes = np.array([(y.start, x.start, y.stop, x.stop) for y, x in places], np.int32).reshape(
        -1, 4
    )
    n = len(boxes)
    n_classes = 0 if class_prob is None else len(class_prob) - 1
    area, score = np.zeros(n + 1), np.zeros(n + 1)
    sums, votes = np.zeros((n_classes, n + 1)), np.zeros((n_classes + 1, n + 1))
    for rows in bands(labels.shape):
        band = labels[rows].reshape(-1)
        pixels = np.flatnonzero(band)
        if not len(pixels):
            continue
        number = band[pixels]
        first = int(number.min())
        number = number.astype(np.int64) - first
        m = int(number.max()) + 1
        ids = slice(first, first + m)
        area[ids] += np.bincount(number, minlength=m)
        inside = None if foreground is None else foreground[rows].reshape(-1)[pixels]
        if class_prob is not None:
            best = class_prob[0, rows].reshape(-1)[pixels]
            inside = 1 - best if inside is None else inside
            vote = np.zeros(len(pixels), np.int64)
            for c in range(n_classes):
                value = class_prob[c + 1, rows].reshape(-1)[pixels]
                sums[c, ids] += np.bincount(number, value, m)
                vote[value > best] = c + 1
                best = np.maximum(best, value)
            vote *= m
            vote += number
            count = np.bincount(vote, minlength=m * (n_classes + 1))
            votes[:, ids] += count.reshape(n_classes + 1, m)
        score[ids] += np.bincount(number, inside, m)
    classes, prob = _elect(votes[1:, 1:].T, sums[:, 1:].T)
    score = (score[1:] / area[1:]).clip(0, 1).astype(np.float32)
    return Instances(labels, boxes, classes, prob, score)


def _elect(
    votes: NDArray[np.float64], sums: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return class and class probabilities from votes and summed probabilities ``(n, C)``."""
    n, n_classes = sums.shape
    if not n_classes:
        return np.zeros(n, np.uint8), np.zeros((n, 0), np.float32)
    sums = sums.clip(0)
    total = sums.sum(axis=1, keepdims=True)
    prob = np.divide(sums, total, out=np.zeros_like(sums), where=total > 0)
    most = votes == votes.max(axis=1, keepdims=True)
    classes = np.where(most, prob, -1).argmax(axis=1) + 1
    return np.where(total[:, 0] > 0, classes, 0).astype(np.uint8), prob.astype(np.float32)
