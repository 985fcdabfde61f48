"""Scores of a segmentation against a reference, all from one table of overlaps.

The published programs compare every nucleus with the whole image; here the two label maps are read
once, as runs of equal pixels, into an `OverlapTable`, and every score is a sum over its few
thousand rows. Scores equal those of the programs they are named after:

- DQ, SQ, PQ, AJI, AJI+, Dice, Dice 2, detection and class F1: HoVer-Net (Graham et al. 2019) and
  its evaluation code;
- bPQ and mPQ: the PanNuke protocol (Gamper et al. 2020);
- mSA: the segmentation accuracy of the Data Science Bowl 2018 as evaluated in micro-sam and
  PathoSAM (elf).

On empty maps, where those programs stop or answer nan: two empty maps have no score (nan), an
empty map against nuclei scores 0. mSA answers 0 in both cases, as its program does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from napari_nucleus.core.matching import best_matching, match_points
from napari_nucleus.core.nuclei import check_labels
from napari_nucleus.errors import LabelsError

__all__ = [
    "DetectionTable",
    "ImageQuality",
    "OverlapTable",
    "PanNukeScores",
    "PanopticQuality",
    "aji",
    "aji_plus",
    "class_f1",
    "detection_f1",
    "detection_radius",
    "dice",
    "dice_2",
    "image_quality",
    "mean_iou",
    "mean_segmentation_accuracy",
    "pannuke_scores",
    "panoptic_quality",
]

MSA_THRESHOLDS = np.arange(0.5, 1.0, 0.05)
"""0.50, 0.55 … 0.95, with the rounding of the reference program."""

DETECTION_RADIUS_UM = 3.0
"""12 pixels at 0.25 µm per pixel."""


@dataclass(frozen=True, eq=False)
class OverlapTable:
    """How much each true and each predicted nucleus overlap.

    Parameters
    ----------
    true_ids, pred_ids
        ``(t,)`` and ``(p,)`` label ids, ascending, without background.
    true_area, pred_area
        Their areas in pixels.
    true_index, pred_index
        ``(k,)`` positions in ``true_ids`` and ``pred_ids`` of the pairs that overlap, ordered by
        the first, then the second.
    overlap
        ``(k,)`` pixels that the two of a pair have in common.
    """

    true_ids: NDArray[np.int64]
    pred_ids: NDArray[np.int64]
    true_area: NDArray[np.int64]
    pred_area: NDArray[np.int64]
    true_index: NDArray[np.int64]
    pred_index: NDArray[np.int64]
    overlap: NDArray[np.int64]

    @classmethod
    def of(cls, true: NDArray, pred: NDArray) -> OverlapTable:
        """Read two label maps of one shape; ids may have gaps, the types may differ.

        Raises
        ------
        LabelsError
            If a map is not a label map, or the shapes differ.
        """
        true, pred = check_labels(true, "true labels"), check_labels(pred, "predicted labels")
        if true.shape != pred.shape:
            raise LabelsError(
                f"label maps of different size: true {true.shape}, predicted {pred.shape}."
            )
        run_true, run_pred, length = _runs(true.ravel(), pred.ravel())
        true_ids, true_of_run, true_area = _areas(run_true, length)
        pred_ids, pred_of_run, pred_area = _areas(run_pred, length)
        both = (run_true > 0) & (run_pred > 0)
        code = true_of_run[both] * max(len(pred_ids), 1) + pred_of_run[both]
        pairs, of_run = np.unique(code, return_inverse=True)
        overlap = np.bincount(of_run, length[both], len(pairs)).astype(np.int64)
        true_index, pred_index = np.divmod(pairs, max(len(pred_ids), 1))
        return cls(true_ids, pred_ids, true_area, pred_area, true_index, pred_index, overlap)

    @property
    def union(self) -> NDArray[np.int64]:
        """Pixels that at least one of a pair covers, ``(k,)``."""
        return self.true_area[self.true_index] + self.pred_area[self.pred_index] - self.overlap

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each pair, ``(k,)``."""
        return self.overlap / self.union

    def select(self, true_kept: ArrayLike, pred_kept: ArrayLike) -> OverlapTable:
        """Return the table of some nuclei only, by bool arrays ``(t,)`` and ``(p,)``."""
        true_kept, pred_kept = np.asarray(true_kept, bool), np.asarray(pred_kept, bool)
        pairs = true_kept[self.true_index] & pred_kept[self.pred_index]
        return OverlapTable(
            self.true_ids[true_kept],
            self.pred_ids[pred_kept],
            self.true_area[true_kept],
            self.pred_area[pred_kept],
            (np.cumsum(true_kept) - 1)[self.true_index[pairs]],
            (np.cumsum(pred_kept) - 1)[self.pred_index[pairs]],
            self.overlap[pairs],
        )


def _runs(true: NDArray, pred: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Return value, value and length of the runs in which both flat maps are constant."""
    if not true.size:
        return true, pred, np.zeros(0, np.int64)
    changes = true[1:] != true[:-1]
    changes |= pred[1:] != pred[:-1]
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
    return true[starts], pred[starts], np.diff(starts, append=true.size)


def _areas(values: NDArray, length: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Return ids above 0, the position of each run's id among them (−1: background), and areas."""
    ids, of_run = np.unique(values, return_inverse=True)
    area = np.bincount(of_run, length, len(ids)).astype(np.int64)
    background = int(len(ids) > 0 and ids[0] == 0)
    return ids[background:].astype(np.int64), of_run - background, area[background:]


@dataclass(frozen=True, slots=True)
class PanopticQuality:
    """Detection quality, segmentation quality, their product, and the counts behind them."""

    dq: float
    sq: float
    pq: float
    tp: int
    fp: int
    fn: int


def panoptic_quality(table: OverlapTable) -> PanopticQuality:
    """Return DQ, SQ and PQ; nuclei are pairs above an IoU of 0.5 (HoVer-Net, PanNuke)."""
    iou = table.iou
    matched = iou[iou > 0.5]
    tp = len(matched)
    fp, fn = len(table.pred_ids) - tp, len(table.true_ids) - tp
    dq = _ratio(tp, tp + 0.5 * fp + 0.5 * fn)
    sq = float(matched.sum() / (tp + 1e-6))
    return PanopticQuality(dq, sq, dq * sq, tp, fp, fn)


def aji(table: OverlapTable) -> float:
    """Return the aggregated Jaccard index of Kumar et al. 2017.

    Each true nucleus takes the prediction of highest IoU, which several may take.
    """
    iou = table.overlap / (table.union + 1e-6)
    best_first = np.lexsort((table.pred_index, -iou, table.true_index))
    _, first = np.unique(table.true_index[best_first], return_index=True)
    return _aggregated_jaccard(table, best_first[first])


def aji_plus(table: OverlapTable) -> float:
    """Return AJI with pairs one to one, of the highest total IoU (HoVer-Net's AJI+)."""
    iou = table.overlap / (table.union + 1e-6)
    return _aggregated_jaccard(table, best_matching(table.true_index, table.pred_index, iou))


def _aggregated_jaccard(table: OverlapTable, pairs: NDArray) -> float:
    true_left = np.ones(len(table.true_ids), bool)
    pred_left = np.ones(len(table.pred_ids), bool)
    true_left[table.true_index[pairs]] = False
    pred_left[table.pred_index[pairs]] = False
    union = table.union[pairs].sum()
    union += table.true_area[true_left].sum() + table.pred_area[pred_left].sum()
    return _ratio(table.overlap[pairs].sum(), union)


def mean_segmentation_accuracy(
    table: OverlapTable, thresholds: ArrayLike = MSA_THRESHOLDS
) -> float:
    """Return TP / (TP + FP + FN), averaged over IoU thresholds of 0.5 and above.

    A pair counts at ``IoU >= threshold``, nuclei are paired one to one, as many as can be.
    """
    n_true, n_pred, iou = len(table.true_ids), len(table.pred_ids), table.iou
    accuracies = []
    for threshold in np.asarray(thresholds, float):
        pairs = np.flatnonzero(iou >= threshold)
        # A nucleus can have two partners only at exactly one half each.
        graph = coo_array(
            (np.ones(len(pairs), bool), (table.true_index[pairs], table.pred_index[pairs])),
            shape=(n_true, n_pred),
        ).tocsr()
        tp = int((maximum_bipartite_matching(graph) >= 0).sum()) if len(pairs) else 0
        accuracies.append(tp / (n_true + n_pred - tp) if tp else 0.0)
    return float(np.mean(accuracies))


def dice(table: OverlapTable) -> float:
    """Return the Dice coefficient of the foregrounds."""
    return _ratio(2 * table.overlap.sum(), table.true_area.sum() + table.pred_area.sum())


def dice_2(table: OverlapTable) -> float:
    """Return the ensemble Dice: over all pairs that overlap, once per pair (HoVer-Net)."""
    if not len(table.true_ids) and not len(table.pred_ids):
        return float("nan")
    total = table.true_area[table.true_index] + table.pred_area[table.pred_index]
    return float(2 * table.overlap.sum() / total.sum()) if len(total) else 0.0


def mean_iou(true_class: NDArray, pred_class: NDArray, ignore: int = 255) -> float:
    """Return the mean IoU over the classes that occur in either class map.

    Pixels whose true class is ``ignore`` are left out. Background is a class like the others.
    """
    if true_class.shape != pred_class.shape:
        raise LabelsError(
            f"class maps of different size: true {true_class.shape}, predicted {pred_class.shape}."
        )
    counted = true_class != ignore
    true, pred = true_class[counted].astype(np.int64), pred_class[counted].astype(np.int64)
    n = int(max(true.max(initial=0), pred.max(initial=0))) + 1
    confusion = np.bincount(true * n + pred, minlength=n * n).reshape(n, n)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - np.diag(confusion)
    present = union > 0
    return float((np.diag(confusion)[present] / union[present]).mean()) if present.any() else np.nan


@dataclass(frozen=True, eq=False, slots=True)
class ImageQuality:
    """Panoptic quality of one image by PanNuke's protocol.

    Parameters
    ----------
    bpq
        PQ over all nuclei, whatever their class; nan if the reference has none.
    class_pq
        ``(C,)`` PQ within each class; nan where the reference has no nucleus of the class, even
        if some were predicted.
    """

    bpq: float
    class_pq: NDArray[np.float64]

    @property
    def mpq(self) -> float:
        """Mean over the classes that the reference has."""
        return _nanmean(self.class_pq)


def image_quality(
    table: OverlapTable,
    true_class: ArrayLike,
    pred_class: ArrayLike,
    class_ids: Sequence[int] = (1, 2, 3, 4, 5),
) -> ImageQuality:
    """Score one image by PanNuke's protocol.

    Parameters
    ----------
    table
        Overlaps of the two instance maps.
    true_class, pred_class
        Class of each nucleus, in the order of ``table.true_ids`` and ``table.pred_ids``.
    class_ids
        Classes to score.
    """
    true_class, pred_class = np.asarray(true_class), np.asarray(pred_class)
    per_class = [table.select(true_class == c, pred_class == c) for c in class_ids]
    pq = [panoptic_quality(t).pq if len(t.true_ids) else np.nan for t in (table, *per_class)]
    return ImageQuality(pq[0], np.array(pq[1:]))


@dataclass(frozen=True, eq=False, slots=True)
class PanNukeScores:
    """Scores of a set of images: means over tissues, per tissue, and ``(C,)`` per class."""

    bpq: float
    mpq: float
    tissue_bpq: dict[str, float]
    tissue_mpq: dict[str, float]
    class_pq: NDArray[np.float64]


def pannuke_scores(images: Sequence[ImageQuality], tissues: Sequence[str]) -> PanNukeScores:
    """Average images within each tissue, then over tissues; per class over images.

    ``tissues`` names the tissue of each image. Images and tissues without a score are left out.
    """
    if len(images) != len(tissues):
        raise ValueError(f"{len(images)} images with {len(tissues)} tissues")
    names = sorted(set(tissues))
    members = {t: [q for q, name in zip(images, tissues, strict=True) if name == t] for t in names}
    bpq = {t: _nanmean([q.bpq for q in of_tissue]) for t, of_tissue in members.items()}
    mpq = {t: _nanmean([q.mpq for q in of_tissue]) for t, of_tissue in members.items()}
    columns = np.array([q.class_pq for q in images]).T if images else np.zeros((0, 0))
    return PanNukeScores(
        _nanmean(list(bpq.values())),
        _nanmean(list(mpq.values())),
        bpq,
        mpq,
        np.array([_nanmean(column) for column in columns]),
    )


@dataclass(frozen=True, eq=False, slots=True)
class DetectionTable:
    """Classes of the nuclei that were found, and of those that were not.

    Parameters
    ----------
    paired_true, paired_pred
        ``(k,)`` true and predicted class of each nucleus that was found.
    missed
        ``(m,)`` classes of true nuclei that were not found.
    extra
        ``(e,)`` classes of predictions that are no nucleus.
    """

    paired_true: NDArray[np.int64]
    paired_pred: NDArray[np.int64]
    missed: NDArray[np.int64]
    extra: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        true_yx: ArrayLike,
        true_class: ArrayLike,
        pred_yx: ArrayLike,
        pred_class: ArrayLike,
        radius: float,
    ) -> DetectionTable:
        """Pair the centroids of one image, ``radius`` in pixels; see `match_points`."""
        true_class, pred_class = np.asarray(true_class, int), np.asarray(pred_class, int)
        true_index, pred_index = match_points(true_yx, pred_yx, radius)
        return cls(
            true_class[true_index],
            pred_class[pred_index],
            np.delete(true_class, true_index),
            np.delete(pred_class, pred_index),
        )

    @classmethod
    def concatenate(cls, tables: Sequence[DetectionTable]) -> DetectionTable:
        """Join the tables of several images, which are scored as one (HoVer-Net)."""
        none = np.zeros(0, np.int64)
        return cls(
            np.concatenate([none, *(t.paired_true for t in tables)]),
            np.concatenate([none, *(t.paired_pred for t in tables)]),
            np.concatenate([none, *(t.missed for t in tables)]),
            np.concatenate([none, *(t.extra for t in tables)]),
        )

    @property
    def precision(self) -> float:
        """Share of the predictions that are nuclei."""
        return _ratio(len(self.paired_true), len(self.paired_true) + len(self.extra))

    @property
    def recall(self) -> float:
        """Share of the nuclei that were found."""
        return _ratio(len(self.paired_true), len(self.paired_true) + len(self.missed))


def detection_radius(mpp: float) -> float:
    """Return the 3 µm within which a prediction counts as found, in pixels."""
    return DETECTION_RADIUS_UM / mpp


def detection_f1(table: DetectionTable) -> float:
    """Return the F1 of finding nuclei, whatever their class."""
    tp = len(table.paired_true)
    return _ratio(2 * tp, 2 * tp + len(table.missed) + len(table.extra))


def class_f1(table: DetectionTable, class_id: int) -> float:
    """Return the F1 of one class, in which a wrong class weighs twice a missed nucleus.

    ``2 (TP + TN) / (2 (TP + TN) + 2 FP + 2 FN + FP_d + FN_d)``, where the first four are counted
    over the pairs that have the class on either side (so that TN is 0, as in HoVer-Net's
    evaluation code) and the last two over nuclei that were not paired.
    """
    true, pred = table.paired_true == class_id, table.paired_pred == class_id
    right, wrong = 2 * int((true & pred).sum()), 2 * int((true ^ pred).sum())
    unpaired = int((table.extra == class_id).sum() + (table.missed == class_id).sum())
    return _ratio(right, right + wrong + unpaired)


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if denominator else float("nan")


def _nanmean(values: ArrayLike) -> float:
    values = np.asarray(values, float)
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
