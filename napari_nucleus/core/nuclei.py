"""A batch of nuclei as arrays: the one thing that every segmenter returns.

Boxes and masks are in pixels of the tile they were found in; `Nuclei.shifted` moves them onto
level 0. Masks of one batch do not overlap after `Nuclei.to_labels`, where the better score wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from napari_nucleus.core.geometry import Box, box_intersection
from napari_nucleus.core.prompts import MaskLogits
from napari_nucleus.errors import LabelsError, LabelShapeError

__all__ = ["Nuclei", "check_labels", "counted"]


@dataclass(frozen=True, eq=False)
class Nuclei:
    """A batch of n nuclei.

    Parameters
    ----------
    boxes
        ``(n, 4)`` int32 tight boxes ``(y0, x0, y1, x1)``.
    masks
        n bool arrays, each of the size of its box.
    score
        ``(n,)`` float32 confidence in 0–1.
    class_prob
        ``(n, C)`` float32 in the order of the class scheme; ``(n, 0)`` without classes.
    logits
        n `MaskLogits` to refine from, or None where a model gave none.
    source
        What made them: a model's name, ``"import"``, ``"user"``.
    """

    boxes: NDArray[np.int32]
    masks: tuple[NDArray[np.bool_], ...]
    score: NDArray[np.float32]
    class_prob: NDArray[np.float32]
    logits: tuple[MaskLogits | None, ...] = ()
    source: str = ""

    def __post_init__(self) -> None:
        n = len(self.masks)
        if not self.logits:
            object.__setattr__(self, "logits", (None,) * n)
        shapes = (
            self.boxes.shape == (n, 4)
            and self.score.shape == (n,)
            and self.class_prob.ndim == 2
            and len(self.class_prob) == n
            and len(self.logits) == n
        )
        if not shapes:
            raise ValueError(
                f"{n} masks with boxes {self.boxes.shape}, scores {self.score.shape}, "
                f"class probabilities {self.class_prob.shape} and {len(self.logits)} logits"
            )
        for box, mask in zip(self.boxes, self.masks, strict=True):
            if mask.shape != (box[2] - box[0], box[3] - box[1]):
                raise ValueError(f"a mask of shape {mask.shape} does not fit its box {box}")

    def __len__(self) -> int:
        return len(self.masks)

    @classmethod
    def empty(cls, n_classes: int = 0, source: str = "") -> Nuclei:
        """Return a batch without nuclei."""
        return cls(
            np.zeros((0, 4), np.int32),
            (),
            np.zeros(0, np.float32),
            np.zeros((0, n_classes), np.float32),
            (),
            source,
        )

    @classmethod
    def from_masks(
        cls,
        masks: Sequence[NDArray[np.bool_]],
        offsets_yx: ArrayLike,
        score: ArrayLike | None = None,
        class_prob: ArrayLike | None = None,
        logits: Sequence[MaskLogits | None] = (),
        source: str = "",
    ) -> Nuclei:
        """Make a batch of masks placed at ``offsets_yx`` ``(n, 2)``; crops them, drops empty ones.

        Parameters
        ----------
        masks
            n bool arrays of any sizes.
        offsets_yx
            Pixel of the tile at which each array begins.
        score, class_prob, logits
            As in the class; by default 1, no classes, none.
        """
        n = len(masks)
        offsets = np.asarray(offsets_yx, np.int64).reshape(n, 2)
        score = np.ones(n, np.float32) if score is None else np.asarray(score, np.float32)
        prob = np.zeros((n, 0)) if class_prob is None else np.asarray(class_prob)
        prob = prob.astype(np.float32).reshape(n, -1 if n else prob.shape[-1])
        boxes, crops, kept = [], [], []
        for i, mask in enumerate(masks):
            rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            if not len(rows):
                continue
            y0, y1, x0, x1 = rows[0], rows[-1] + 1, cols[0], cols[-1] + 1
            oy, ox = offsets[i]
            boxes.append((oy + y0, ox + x0, oy + y1, ox + x1))
            crops.append(np.ascontiguousarray(mask[y0:y1, x0:x1], dtype=bool))
            kept.append(i)
        return cls(
            np.asarray(boxes, np.int32).reshape(-1, 4),
            tuple(crops),
            score[kept],
            prob[kept],
            tuple(logits[i] for i in kept) if len(logits) else (),
            source,
        )

    @classmethod
    def from_labels(
        cls, labels: NDArray[np.integer], class_of_id: NDArray | None = None, source: str = ""
    ) -> tuple[Nuclei, NDArray[np.int64]]:
        """Return the nuclei of an instance label map, and the label id of each.

        Parameters
        ----------
        labels
            ``(H, W)`` integers, 0 is background.
        class_of_id
            Optional ``(n, C)`` class probabilities in the order of ascending ids.
        """
        labels = check_labels(labels)
        ids = np.unique(labels)
        ids = ids[ids > 0].astype(np.int64)
        compact = _numbered(labels, ids)
        slices = ndimage.find_objects(compact, max_label=len(ids))
        boxes = np.array(
            [(s[0].start, s[1].start, s[0].stop, s[1].stop) for s in slices], np.int32
        ).reshape(-1, 4)
        masks = tuple(compact[s] == i + 1 for i, s in enumerate(slices))
        prob = np.zeros((len(ids), 0), np.float32) if class_of_id is None else class_of_id
        nuclei = cls(
            boxes, masks, np.ones(len(ids), np.float32), prob.astype(np.float32), (), source
        )
        return nuclei, ids

    def to_labels(self, shape: tuple[int, int], ids: ArrayLike | None = None) -> NDArray[np.int32]:
        """Paint the nuclei into a ``shape`` map, the best score on top.

        ``ids`` ``(n,)`` are the labels to paint, 1..n by default. What lies outside ``shape`` is
        cut off.
        """
        labels = np.zeros(shape, np.int32)
        numbers = np.arange(1, len(self) + 1) if ids is None else np.asarray(ids)
        for i in np.argsort(self.score, kind="stable"):
            paint(labels, self.boxes[i], self.masks[i], int(numbers[i]))
        return labels

    def select(self, which: ArrayLike) -> Nuclei:
        """Return the nuclei at these indices, or where this ``(n,)`` bool array is True."""
        index = np.asarray(which)
        index = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64)
        return Nuclei(
            self.boxes[index],
            tuple(self.masks[i] for i in index),
            self.score[index],
            self.class_prob[index],
            tuple(self.logits[i] for i in index),
            self.source,
        )

    def shifted(self, dy: int, dx: int) -> Nuclei:
        """Return the nuclei moved by ``(dy, dx)`` pixels."""
        return Nuclei(
            self.boxes + np.array([dy, dx, dy, dx], np.int32),
            self.masks,
            self.score,
            self.class_prob,
            tuple(None if z is None else z.shifted(dy, dx) for z in self.logits),
            self.source,
        )

    @staticmethod
    def concatenate(batches: Sequence[Nuclei]) -> Nuclei:
        """Join batches; class columns must agree."""
        if not batches:
            return Nuclei.empty()
        return Nuclei(
            np.concatenate([b.boxes for b in batches]),
            tuple(m for b in batches for m in b.masks),
            np.concatenate([b.score for b in batches]),
            np.concatenate([b.class_prob for b in batches]),
            tuple(z for b in batches for z in b.logits),
            batches[0].source,
        )

    @property
    def areas(self) -> NDArray[np.int64]:
        """Pixels of each nucleus, ``(n,)``."""
        return np.array([int(m.sum()) for m in self.masks], np.int64)

    @property
    def centroids_yx(self) -> NDArray[np.float64]:
        """Centre of mass of each nucleus, ``(n, 2)``, corner-origin."""
        out = np.zeros((len(self), 2))
        for i, mask in enumerate(self.masks):
            rows, cols = np.nonzero(mask)
            out[i] = rows.mean() + 0.5 + self.boxes[i, 0], cols.mean() + 0.5 + self.boxes[i, 1]
        return out


def paint(labels: NDArray[np.int32], box: ArrayLike, mask: NDArray[np.bool_], value: int) -> None:
    """Write ``value`` where ``mask`` at ``box`` is True; what lies outside ``labels`` is cut."""
    y0, x0, y1, x1 = (int(v) for v in np.asarray(box))
    inside: Box | None = box_intersection((y0, x0, y1, x1), (0, 0, *labels.shape))
    if inside is None:
        return
    a, b, c, d = inside
    labels[a:c, b:d][mask[a - y0 : c - y0, b - x0 : d - x0]] = value


def _numbered(labels: NDArray[np.integer], ids: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return the map with ids replaced by 1..n in their order."""
    top = int(ids[-1]) if len(ids) else 0
    if top <= 4 * labels.size:
        number = np.zeros(top + 1, np.int32)
        number[ids] = np.arange(1, len(ids) + 1)
        return number[labels]
    return np.where(labels > 0, np.searchsorted(ids, labels) + 1, 0).astype(np.int32)


def check_labels(labels: NDArray, name: str = "labels") -> NDArray[np.integer]:
    """Return a label map as integers, or raise `LabelsError` naming what is wrong.

    Bool maps become one label per connected component (8-connected). Float maps are taken when
    every value is a whole number. Ids need not be contiguous.
    """
    if labels.ndim != 2:
        raise LabelShapeError(
            f"{name}: a label map has 2 dimensions, this has shape {labels.shape}."
        )
    if labels.dtype == bool:
        components = np.zeros(labels.shape, np.int32)
        ndimage.label(labels, structure=np.ones((3, 3)), output=components)
        return components
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all():
            raise LabelsError(f"{name}: contains NaN or infinite values.")
        if (labels != np.rint(labels)).any():
            bad = labels[labels != np.rint(labels)].flat[0]
            raise LabelsError(f"{name}: value {bad:g} is not a whole number, so not a label id.")
        # Larger floats would wrap around when they become integers.
        largest = float(np.abs(labels).max(initial=0))
        if largest > np.iinfo(np.int32).max:
            raise LabelsError(f"{name}: id {largest:g} is above {np.iinfo(np.int32).max}.")
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "ui":
        raise LabelsError(f"{name}: type {labels.dtype} cannot hold label ids.")
    if labels.dtype.kind == "i" and labels.size and labels.min() < 0:
        raise LabelsError(f"{name}: negative id {labels.min()}; ids are 0 (background) and up.")
    if labels.size and int(labels.max()) > np.iinfo(np.int32).max:
        raise LabelsError(f"{name}: id {labels.max()} is above {np.iinfo(np.int32).max}.")
    return labels


def counted(n: int) -> str:
    """Return a number of nuclei in words: ``1 nucleus``, ``2,536 nuclei``."""
    return "1 nucleus" if n == 1 else f"{n:,} nuclei"
