"""``napari-nucleus evaluate points``: which nuclei are found as points, and what becomes of them.

Points are paired with the centroids of true nuclei within 3 µm (see `core.metrics`). Where a map of
centres guides a detector, its peaks alone and the detector without it are scored as well. Masks of
the points are scored beside the masks that true centroids lead to, which is the most that better
points could give, and beside models that segment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.image import ImageSource, Tile, check_mpp
from napari_nucleus.core.metrics import DetectionTable, detection_f1, detection_radius
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.points import Points
from napari_nucleus.errors import ModelError
from napari_nucleus.hosting.local import (
    calibrate_source,
    detect_source,
    masks_of_source,
    segment_source,
    segment_with_points,
)
from napari_nucleus.models import zoo
from napari_nucleus.models.api import Calibration, GuidedDetector, PointDetector
from napari_nucleus.models.point_segmenter import PointSegmenter
from napari_nucleus.training.data import evaluation_pairs, opened_pairs
from napari_nucleus.training.evaluation import SegmentationScores, compare_labels, summarise

__all__ = ["BASELINES", "DetectionScores", "evaluate_points"]

BASELINES = ("uninuc-nano", "uperhover-nano")
"""Models that segment, and are scored beside the points' masks."""

THRESHOLDS = tuple(round(t / 10, 1) for t in range(1, 10))
"""Least scores of points for which detection is scored."""

MASK_SCORES = ("pq", "dq", "sq", "aji")
"""What is told of masks."""


@dataclass
class DetectionScores:
    """Points found and true ones of some images, added one by one."""

    _images: dict[str, tuple[Points, NDArray[np.float64], float]] = field(default_factory=dict)

    def add(self, name: str, found: Points, true_yx: NDArray[np.float64], mpp: float) -> None:
        """Take an image: points found, true centroids ``(t, 2)``, and µm per pixel."""
        self._images[name] = found, true_yx, detection_radius(mpp)

    def summary(self) -> dict[str, Any]:
        """Return scores of all images as one, their mean F1, by threshold and by image."""
        tables = self._tables(0.0)
        scores = {name: _scores(table) for name, table in tables.items()}
        f1 = [row["f1"] for row in scores.values() if row["f1"] is not None]
        return {
            "pooled": _scores(DetectionTable.concatenate(list(tables.values()))),
            "mean_f1": round(float(np.mean(f1)), 4) if f1 else None,
            "thresholds": {
                str(t): _scores(DetectionTable.concatenate(list(self._tables(t).values())))
                for t in THRESHOLDS
            },
            "images": scores,
        }

    def _tables(self, least: float) -> dict[str, DetectionTable]:
        """Return the table of each image, of points with at least this score."""
        tables = {}
        for name, (points, true_yx, radius) in self._images.items():
            found = points.yx[points.score >= least]
            classes = [np.zeros(len(yx), int) for yx in (true_yx, found)]
            tables[name] = DetectionTable.of(true_yx, classes[0], found, classes[1], radius)
        return tables


def _scores(table: DetectionTable) -> dict[str, float | int | None]:
    """Return what is told of a table; None where nothing is there to be found, or was found."""
    hit = len(table.paired_true)
    values = {
        "precision": table.precision,
        "recall": table.recall,
        "f1": detection_f1(table),
    }
    rounded = {k: round(v, 4) if np.isfinite(v) else None for k, v in values.items()}
    return {**rounded, "true": hit + len(table.missed), "found": hit + len(table.extra)}


class _Peaks:
    """The peaks of a detector's map as a detector."""

    def __init__(self, detector: GuidedDetector) -> None:
        self.detector, self.info = detector, detector.info

    def calibrate(self, samples: Sequence[Tile], mpp: float | None) -> Calibration:
        return self.detector.calibrate(samples, mpp)

    def detect(self, tile: Tile, calibration: Calibration | None = None) -> Points:
        return self.detector.peaks(tile, calibration)

    def detect_many(
        self, tiles: Sequence[Tile], calibration: Calibration | None = None
    ) -> list[Points]:
        return [self.detect(tile, calibration) for tile in tiles]


def evaluate_points(
    images: Path,
    model: str,
    mpp: float | None,
    names: Sequence[str],
    device: str,
    weights: Path | None,
    segmenter: str | None = None,
    baselines: Sequence[str] = BASELINES,
) -> dict[str, Any]:
    """Find points on annotated images, make masks of them, and score both.

    Parameters
    ----------
    segmenter
        What makes masks of points; by default as `zoo.load_model`.
    baselines
        Models that segment, to be scored beside.

    Returns
    -------
    ``detection``: for each way of detecting (``as it is``; for guided detectors also ``without
    bias`` and ``peaks alone``) what `DetectionScores.summary` gives; ``masks``: for ``points``,
    ``true centroids`` and each baseline the mean of some scores over images, and PQ by image.

    Raises
    ------
    NucleusError
        If the model, the pixel size or a file is not what it should be.
    """
    check_mpp(mpp, "--mpp")
    loaded = zoo.load_model(model, device, weights, segmenter)
    if not isinstance(loaded, PointSegmenter):
        raise ModelError(f"{model} finds no points; name a model that does, see `models`.")
    others = _other_ways(loaded.detector)
    beside = {name: zoo.load_model(name, device) for name in baselines}
    found = {way: DetectionScores() for way in ("as it is", *others)}
    masks: dict[str, dict[str, SegmentationScores]] = {}
    for name, source, labels in opened_pairs(evaluation_pairs(images, names), mpp):
        calibration = calibrate_source(loaded, source)
        true = Nuclei.from_labels(labels)[0].centroids_yx
        nuclei, points = segment_with_points(loaded, source, calibration)
        found["as it is"].add(name, points, true, calibration.mpp)
        for way, detector in others.items():
            seen = detect_source(detector, source, calibration)
            found[way].add(name, seen, true, calibration.mpp)
        made = {
            "points": nuclei,
            "true centroids": _outlined(loaded, source, calibration, true),
            **{
                n: segment_source(m, source, calibrate_source(m, source)) for n, m in beside.items()
            },
        }
        for what, result in made.items():
            scores = compare_labels(labels, result.to_labels(source.shape), calibration.mpp)
            masks.setdefault(what, {})[name] = scores
    return {
        "detection": {way: scores.summary() for way, scores in found.items()},
        "masks": {what: _of_masks(by_image) for what, by_image in masks.items()},
    }


def _other_ways(detector: PointDetector) -> Mapping[str, PointDetector]:
    """Return the ways in which a detector may be tried beside its own."""
    if not isinstance(detector, GuidedDetector):
        return {}
    return {"without bias": detector.with_bias(0.0), "peaks alone": _Peaks(detector)}


def _outlined(
    model: PointSegmenter,
    source: ImageSource,
    calibration: Calibration,
    true_yx: NDArray[np.float64],
) -> Nuclei:
    """Return the masks that a segmenter makes of true centroids."""
    n = len(true_yx)
    points = Points(true_yx, np.ones(n, np.float32), np.zeros((n, 0), np.float32))
    seen = model.for_segmenter(calibration)
    return masks_of_source(model.segmenter, source, seen, points, model.prompting).nuclei


def _of_masks(by_image: dict[str, SegmentationScores]) -> dict[str, Any]:
    """Return what is told of masks: means over images, and PQ of each."""
    summary = summarise(by_image)
    return {
        "mean": {score: summary["mean"][score] for score in MASK_SCORES},
        "pq": {name: row["pq"] and round(row["pq"], 4) for name, row in summary["images"].items()},
    }
