"""Points become masks: a promptable model outlines the nucleus at each point.

As in PromptNucSeg: one positive point for each nucleus, optionally its nearest neighbours as
negative points; the mask is where logits are above 0; of two nuclei whose boxes overlap much the
one of worse predicted IoU goes; what is left is painted so that the better lies on top, or parted
by the distance to the points. Knows prompts and answers of any `PromptableSegmenter`, and no
network. All coordinates are pixels of one
frame: of a tile, or of level 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from napari_nucleus.core.geometry import pixels_of_points
from napari_nucleus.core.morphology import minimum_area, overlapping_pairs
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.points import Points
from napari_nucleus.core.prompts import MaskPrediction, Prompts
from napari_nucleus.models.api import Embedding, ModelInfo, PromptableSegmenter

__all__ = [
    "PointMasks",
    "PointPrompting",
    "best_answers",
    "n_classes_of",
    "point_prompts",
    "resolve_masks",
    "segment_points",
    "usual_prompting",
]


@dataclass(frozen=True, slots=True)
class PointPrompting:
    """How points are asked for their nuclei.

    Parameters
    ----------
    negatives
        Nearest other points that are given as negative ones; 0 as published for PanNuke.
    both
        With negatives, ask without them as well and keep the answer of better predicted IoU, as
        published.
    overlap
        Of two nuclei whose boxes have a larger IoU the better stays.
    contested
        Whose the pixels are that two masks cover: of the ``"better"``, as published, or of that
        whose point is ``"nearest"``.
    """

    negatives: int = 0
    both: bool = True
    overlap: float = 0.5
    contested: Literal["better", "nearest"] = "better"


_MEASURED: Mapping[str, PointPrompting] = {
    "uninuc-nano": PointPrompting(negatives=4, both=False, contested="nearest"),
}
"""What scored best for a model on the development images, where it is not the published way."""


@dataclass(frozen=True, eq=False)
class PointMasks:
    """The nuclei at some points.

    Parameters
    ----------
    nuclei
        m nuclei that share no pixel, in the order of their points; the score is the point's times
        the predicted IoU.
    nucleus
        ``(n,)`` position in ``nuclei`` of the nucleus at each point; −1 where the model saw none,
        where it is that of a better point, or where the point is not on the tile.
    """

    nuclei: Nuclei
    nucleus: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.nuclei)

    def shifted(self, dy: int, dx: int) -> PointMasks:
        """Return the same, moved by ``(dy, dx)`` pixels."""
        return PointMasks(self.nuclei.shifted(dy, dx), self.nucleus)

    def among(self, count: int, which: NDArray[np.int64]) -> PointMasks:
        """Return the same for ``count`` points, of which these are ``which``."""
        nucleus = np.full(count, -1)
        nucleus[which] = self.nucleus
        return PointMasks(self.nuclei, nucleus)


def usual_prompting(info: ModelInfo) -> PointPrompting:
    """Return how a promptable model is asked best."""
    return _MEASURED.get(info.name, PointPrompting())


def segment_points(
    segmenter: PromptableSegmenter,
    embedding: Embedding,
    points: Points,
    prompting: PointPrompting | None = None,
) -> PointMasks:
    """Return the nuclei at points of an encoded tile, in tile pixels.

    Parameters
    ----------
    segmenter
        Any promptable model.
    embedding
        The tile, as it encoded it.
    points
        In tile pixels; those outside of the tile get no nucleus.
    prompting
        By default `usual_prompting`.
    """
    prompting = prompting or usual_prompting(segmenter.info)
    on_tile = np.flatnonzero(points.inside((0, 0, *embedding.shape)))
    here = points.select(on_tile)
    answers = segmenter.refine_many(embedding, point_prompts(here, prompting))
    found = resolve_masks(
        here,
        best_answers(answers, len(here)),
        prompting,
        segmenter.info,
        embedding.calibration.mpp,
    )
    return found.among(len(points), on_tile)


def point_prompts(
    points: Points, prompting: PointPrompting, which: NDArray[np.int64] | None = None
) -> list[Prompts]:
    """Return what a model is asked for points ``which``, by default all; see `best_answers`.

    The other points are their neighbours. Where both ways are asked for there are twice as many
    prompts as points: first without negative points, then with them.
    """
    chosen = points.yx if which is None else points.yx[which]
    alone = [Prompts(yx[None], np.array([True])) for yx in chosen]
    count = min(prompting.negatives, len(points) - 1)
    if count < 1 or not len(chosen):
        return alone
    _, nearest = cKDTree(points.yx).query(chosen, count + 1)
    signs = np.arange(count + 1) < 1
    number = np.arange(len(points)) if which is None else which
    against = []
    for i, near in zip(number, nearest, strict=True):
        others = near[near != i][:count]
        against.append(Prompts(points.yx[[i, *others]], signs))
    return alone + against if prompting.both else against


def best_answers(answers: Sequence[MaskPrediction], count: int) -> list[MaskPrediction]:
    """Return one answer for each of ``count`` points: of two, the one of better predicted IoU."""
    ways = [answers[i : i + count] for i in range(0, len(answers), count)] if count else []
    return [
        max(of_point, key=lambda a: (a.area > 0, a.iou)) for of_point in zip(*ways, strict=True)
    ]


def n_classes_of(points: Points, info: ModelInfo) -> int:
    """Return how many classes nuclei at points have: those of the points, else the segmenter's."""
    return points.class_prob.shape[1] or len(info.classes or ())


def resolve_masks(
    points: Points,
    answers: Sequence[MaskPrediction],
    prompting: PointPrompting,
    info: ModelInfo,
    mpp: float | None,
    given: Nuclei | None = None,
) -> PointMasks:
    """Return nuclei that each come once and share no pixel.

    Parameters
    ----------
    points, answers
        n points, and what a model answered to each.
    prompting, info
        How they were asked, and the model that answered; a nucleus has the class of its point, or
        of the answer where the point has none.
    mpp
        µm per pixel, for the size of debris.
    given
        Nuclei that are there already: they stay, and nothing is painted over them.
    """
    seen = np.array([i for i, a in enumerate(answers) if a.area], np.int64)
    iou = np.clip([answers[i].iou for i in seen], 0, 1).astype(np.float32)
    nuclei = Nuclei.from_masks(
        [answers[i].mask for i in seen],
        [answers[i].box[:2] for i in seen],
        points.score[seen] * iou,
        _classes(
            points.class_prob[seen],
            [answers[i].class_prob for i in seen],
            n_classes_of(points, info),
        ),
        [answers[i].logits for i in seen],
        info.name,
    )
    there = Nuclei.empty() if given is None else given
    kept = _best_of_each(nuclei.boxes, iou, there.boxes, prompting.overlap)
    seen, nuclei, iou = seen[kept], nuclei.select(kept), iou[kept]
    masks = [mask.copy() for mask in nuclei.masks]
    if prompting.contested == "nearest":
        _part_by_distance(masks, nuclei, points.yx[seen])
    else:
        _paint(masks, nuclei, iou)
    for i, j in zip(*overlapping_pairs(there, nuclei, 0.0)[:2], strict=True):
        _take_away(masks[j], nuclei.boxes[j], there.masks[i], there.boxes[i])
    masks = _own_parts(masks, nuclei, pixels_of_points(points.yx[seen]))
    large = np.flatnonzero([m.sum() >= minimum_area(mpp) for m in masks])
    nucleus = np.full(len(points), -1)
    nucleus[seen[large]] = np.arange(len(large))
    found = Nuclei.from_masks(
        [masks[i] for i in large],
        nuclei.boxes[large, :2],
        nuclei.score[large],
        nuclei.class_prob[large],
        [nuclei.logits[i] for i in large],
        info.name,
    )
    return PointMasks(found, nucleus)


def _classes(
    told: NDArray[np.float32], answered: Sequence[tuple[float, ...]], n_classes: int
) -> NDArray[np.float32]:
    """Return class probabilities ``(n, n_classes)``, zeros where neither point nor answer tells."""
    out = np.zeros((len(answered), n_classes), np.float32)
    if told.shape[1] == n_classes:
        out[:] = told
    for row, prob in zip(out, answered, strict=True):
        if not row.any() and len(prob) == n_classes:
            row[:] = prob
    return out


def _best_of_each(
    boxes: NDArray[np.int32], merit: NDArray[np.float32], given: NDArray[np.int32], overlap: float
) -> NDArray[np.int64]:
    """Return which boxes stay when those that overlap a better or a given one go, in order."""
    kept = np.ones(len(boxes), bool)
    i, j = _overlapping(boxes, given, overlap)
    kept[i] = False
    i, j = _overlapping(boxes, boxes, overlap)
    rank = _ranks(merit)
    worse = rank[i] < rank[j]
    i, j = i[worse], j[worse]
    for pair in np.argsort(rank[i], kind="stable"):
        if kept[i[pair]]:
            kept[j[pair]] = False
    return np.flatnonzero(kept)


def _ranks(merit: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the place of each, the best first; of two alike the earlier."""
    rank = np.empty(len(merit), np.int64)
    rank[np.argsort(-merit, kind="stable")] = np.arange(len(merit))
    return rank


def _overlapping(
    a: NDArray[np.int32], b: NDArray[np.int32], iou: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs of boxes ``y0, x0, y1, x1`` that overlap above ``iou``."""
    tree = shapely.STRtree(shapely.box(b[:, 1], b[:, 0], b[:, 3], b[:, 2]))
    i, j = tree.query(shapely.box(a[:, 1], a[:, 0], a[:, 3], a[:, 2]))
    low, high = np.maximum(a[i, :2], b[j, :2]), np.minimum(a[i, 2:], b[j, 2:])
    common = (high - low).clip(0).prod(axis=1)
    area = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a, b)]
    above = common > iou * (area[0][i] + area[1][j] - common)
    return i[above], j[above]


def _paint(masks: Sequence[NDArray[np.bool_]], nuclei: Nuclei, merit: NDArray[np.float32]) -> None:
    """Clear the masks where a better nucleus lies."""
    rank = _ranks(merit)
    over, under, _ = overlapping_pairs(nuclei, nuclei, 0.0)
    better = rank[over] < rank[under]
    for i, j in zip(over[better], under[better], strict=True):
        _take_away(masks[j], nuclei.boxes[j], nuclei.masks[i], nuclei.boxes[i])


def _part_by_distance(
    masks: Sequence[NDArray[np.bool_]], nuclei: Nuclei, yx: NDArray[np.float64]
) -> None:
    """Clear the masks where another nucleus lies whose point is nearer, or as near and earlier."""
    over, under, _ = overlapping_pairs(nuclei, nuclei, 0.0)
    for i, j in zip(over, under, strict=True):
        if i == j:
            continue
        y0, x0, y1, x1 = nuclei.boxes[i]
        rows, columns = np.ogrid[y0:y1, x0:x1]
        i_away, j_away = (
            (rows + 0.5 - y) ** 2 + (columns + 0.5 - x) ** 2 for y, x in (yx[i], yx[j])
        )
        nearer = i_away <= j_away if i < j else i_away < j_away
        _take_away(masks[j], nuclei.boxes[j], nuclei.masks[i] & nearer, nuclei.boxes[i])


def _take_away(
    mask: NDArray[np.bool_], box: NDArray, other: NDArray[np.bool_], other_box: NDArray
) -> None:
    """Clear a mask where another one lies."""
    top, bottom = np.maximum(box[:2], other_box[:2]), np.minimum(box[2:], other_box[2:])
    here = tuple(slice(*ends) for ends in zip(top - box[:2], bottom - box[:2], strict=True))
    there = tuple(
        slice(*ends) for ends in zip(top - other_box[:2], bottom - other_box[:2], strict=True)
    )
    mask[here] &= ~other[there]


def _own_parts(
    masks: Sequence[NDArray[np.bool_]], nuclei: Nuclei, pixels: NDArray[np.int64]
) -> list[NDArray[np.bool_]]:
    """Return masks that lost pixels as one part: the one with its own point, else the largest."""
    out = []
    for mask, whole, box, pixel in zip(masks, nuclei.masks, nuclei.boxes, pixels, strict=True):
        if mask.sum() in (0, whole.sum()):
            out.append(mask)
            continue
        parts = np.zeros(mask.shape, np.int32)
        ndimage.label(mask, output=parts)
        at = pixel - box[:2]
        inside = np.all((at >= 0) & (at < mask.shape))
        own = int(parts[tuple(at)]) if inside else 0
        out.append(parts == (own or int(np.bincount(parts.ravel())[1:].argmax()) + 1))
    return out
