"""Scores of automatic segmentation: two label maps, or folders of them, compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.image import check_mpp
from napari_nucleus.core.metrics import (
    DetectionTable,
    OverlapTable,
    aji,
    aji_plus,
    detection_f1,
    detection_radius,
    dice,
    mean_segmentation_accuracy,
    panoptic_quality,
)
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.errors import LabelsError
from napari_nucleus.io.labels import read_labels

__all__ = ["SegmentationScores", "compare_labels", "evaluate_segmentation", "label_pairs"]

LABEL_SUFFIXES = (".tif", ".tiff", ".png", ".npy")


@dataclass(frozen=True, slots=True)
class SegmentationScores:
    """Scores of one image; the mean of several is taken score by score."""

    pq: float
    dq: float
    sq: float
    aji: float
    aji_plus: float
    msa: float
    detection_f1: float
    dice: float
    n_true: int
    n_pred: int


def compare_labels(
    true: NDArray[np.integer], pred: NDArray[np.integer], mpp: float = 0.25
) -> SegmentationScores:
    """Score one predicted label map against the truth; ``mpp`` sets the detection radius (3 µm)."""
    table = OverlapTable.of(true, pred)
    quality = panoptic_quality(table)
    centres = [Nuclei.from_labels(labels)[0].centroids_yx for labels in (true, pred)]
    none = [np.zeros(len(yx), int) for yx in centres]
    detection = DetectionTable.of(centres[0], none[0], centres[1], none[1], detection_radius(mpp))
    return SegmentationScores(
        pq=quality.pq,
        dq=quality.dq,
        sq=quality.sq,
        aji=aji(table),
        aji_plus=aji_plus(table),
        msa=mean_segmentation_accuracy(table),
        detection_f1=detection_f1(detection),
        dice=dice(table),
        n_true=len(table.true_ids),
        n_pred=len(table.pred_ids),
    )


def evaluate_segmentation(pred: Path, true: Path, mpp: float = 0.25) -> dict[str, Any]:
    """Score a label file against another, or a folder against a folder.

    Returns
    -------
    ``images`` (scores by name), ``mean`` (of each score over images, without images where it is
    undefined), ``worst`` (name and PQ of the worst image).

    Raises
    ------
    LabelsError
        If files are missing, do not pair up, are no label maps, or differ in size.
    ImageError
        If ``mpp`` is none a microscope can have.
    """
    check_mpp(mpp, "--mpp")
    images = {
        name: _compare_files(pred_file, true_file, mpp)
        for name, pred_file, true_file in label_pairs(pred, true)
    }
    return summarise(images)


def _compare_files(pred_file: Path, true_file: Path, mpp: float) -> SegmentationScores:
    pred, true = _labels_of(pred_file), _labels_of(true_file)
    if pred.shape != true.shape:
        raise LabelsError(
            f"{pred_file} has {pred.shape[1]} x {pred.shape[0]} pixels, but its truth {true_file} "
            f"{true.shape[1]} x {true.shape[0]}; give label maps of the same image."
        )
    return compare_labels(true, pred, mpp)


def _labels_of(file: Path) -> NDArray[np.integer]:
    """Read a label map; predictions and truths share their names, so errors name the folder."""
    try:
        return read_labels(file).labels
    except LabelsError as error:
        raise LabelsError(f"{error} (in {file.parent})") from error


def summarise(images: dict[str, SegmentationScores]) -> dict[str, Any]:
    """Return scores by image, their means, and the worst image."""
    rows = {name: asdict(scores) for name, scores in images.items()}
    means: dict[str, float | None] = {}
    for key in ("pq", "dq", "sq", "aji", "aji_plus", "msa", "detection_f1", "dice"):
        values = [row[key] for row in rows.values() if np.isfinite(row[key])]
        means[key] = round(float(np.mean(values)), 4) if values else None
    defined = {name: row["pq"] for name, row in rows.items() if np.isfinite(row["pq"])}
    worst = min(defined, key=lambda name: defined[name]) if defined else None
    return {
        "images": {name: _json(row) for name, row in rows.items()},
        "mean": means,
        "worst": None if worst is None else {"name": worst, "pq": round(defined[worst], 4)},
    }


def _json(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with undefined scores as None, because JSON has no NaN."""
    return {
        key: None if isinstance(v, float) and not np.isfinite(v) else v for key, v in row.items()
    }


def label_pairs(pred: Path, true: Path) -> Sequence[tuple[str, Path, Path]]:
    """Return (name, predicted file, true file); folders are paired by file stem.

    In a truth folder ``NAME_inst.*`` is the truth of ``NAME``, where there is such a file.
    """
    if pred.is_file() and true.is_file():
        return [(pred.stem, pred, true)]
    if not (pred.is_dir() and true.is_dir()):
        missing = pred if not pred.exists() else true
        if not missing.exists():
            raise LabelsError(f"{missing}: no such file or folder.")
        raise LabelsError(f"{pred} and {true}: give two files or two folders.")
    truths: dict[str, Path] = {}
    for file in sorted(true.iterdir()):
        if file.suffix.lower() not in LABEL_SUFFIXES:
            continue
        stem = file.stem.removesuffix("_inst")
        if stem != file.stem or stem not in truths:
            truths[stem] = file
    pairs = [
        (file.stem, file, truths[file.stem])
        for file in sorted(pred.iterdir())
        if file.suffix.lower() in LABEL_SUFFIXES and file.stem in truths
    ]
    if not pairs:
        raise LabelsError(f"{pred}: no label map here has one of the same name in {true}.")
    return pairs
