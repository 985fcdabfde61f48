"""Scores of points: pairs within 3 µm, pooled over images, by threshold, with and without a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from point_helpers import INFO, NOTHING, Outliner, Pointer, answer, points_at, positive

from napari_nucleus.core.image import Tile
from napari_nucleus.core.points import Points
from napari_nucleus.errors import ModelError
from napari_nucleus.models import point_segmenter, zoo
from napari_nucleus.models.api import Calibration, GuidedDetector
from napari_nucleus.training import point_scores
from napari_nucleus.training.point_scores import DetectionScores, evaluate_points

TRUE = np.array([[20.0, 20.0], [20.0, 60.0], [60.0, 20.0]])
BOXES = {(20.0, 20.0): (15, 15, 25, 25), (60.0, 20.0): (55, 15, 65, 25)}


def scored(*yx: tuple[float, float, float]) -> Points:
    rows = np.array(yx)
    return Points(rows[:, :2], rows[:, 2], np.zeros((len(rows), 0)))


def test_points_within_three_micrometres_are_found():
    scores = DetectionScores()
    scores.add("a", points_at((20, 31.9), (20, 72.1), (60, 20)), TRUE, 0.25)
    pooled = scores.summary()["pooled"]
    assert pooled == {
        "precision": 0.6667,
        "recall": 0.6667,
        "f1": 0.6667,
        "true": 3,
        "found": 3,
    }
    scores = DetectionScores()
    scores.add("a", points_at((20, 31.9), (20, 72.1), (60, 20)), TRUE, 0.5)
    assert scores.summary()["pooled"]["f1"] == 0.3333


def test_images_are_pooled_by_their_nuclei_and_averaged_by_image():
    scores = DetectionScores()
    scores.add("full", points_at(*TRUE), TRUE, 0.25)
    scores.add("none", Points.empty(), TRUE[:1], 0.25)
    scores.add("glass", Points.empty(), TRUE[:0], 0.25)
    summary = scores.summary()
    assert summary["pooled"]["f1"] == round(6 / 7, 4)
    assert summary["mean_f1"] == 0.5
    assert summary["images"]["glass"] == {
        "precision": None,
        "recall": None,
        "f1": None,
        "true": 0,
        "found": 0,
    }


def test_higher_thresholds_leave_out_what_is_less_sure():
    scores = DetectionScores()
    scores.add("a", scored((20, 20, 0.9), (20, 60, 0.5), (99, 99, 0.3)), TRUE, 0.25)
    by_threshold = scores.summary()["thresholds"]
    assert [by_threshold[t]["found"] for t in ("0.1", "0.4", "0.5", "0.6")] == [3, 2, 2, 1]
    assert by_threshold["0.6"]["precision"] == 1.0


class Guided(Pointer):
    """A detector with a map: it alone finds the second nucleus, without it only the first."""

    def with_bias(self, scale: float) -> Pointer:
        return Pointer(points_at(*TRUE[: 1 if scale == 0 else 2]), self.info)

    def peaks(self, tile: Tile, calibration: Calibration | None = None) -> Points:
        return points_at(TRUE[1])


class Nothing:
    """A baseline that finds nothing."""

    info = replace(INFO, name="nothing", capabilities=("automatic",))

    def calibrate(self, samples: Sequence[Tile], mpp: float | None) -> Calibration:
        return Calibration(1.0, mpp or 0.25)

    def segment(self, tile: Tile, calibration: Calibration | None = None):
        from napari_nucleus.core.nuclei import Nuclei

        return Nuclei.empty(5)


@pytest.fixture
def annotated(tmp_path):
    """A folder with one annotated picture of three nuclei, of which two can be outlined."""
    labels = np.zeros((80, 80), np.uint16)
    for i, (y, x) in enumerate(TRUE.astype(int), start=1):
        labels[y - 5 : y + 5, x - 5 : x + 5] = i
    Image.fromarray(np.full((80, 80, 3), 200, np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(labels).save(tmp_path / "a_inst.png")
    return tmp_path


@pytest.fixture
def models(monkeypatch):
    """What the zoo loads, by name."""

    def say(prompts):
        place = tuple(np.round(positive(prompts)).tolist())
        return answer(BOXES[place], 0.8) if place in BOXES else NOTHING

    info = replace(INFO, tile=80, click_tile=80)
    outliner = Outliner(say, info)
    kinds = {"plain": Pointer, "guided": Guided}
    loaded = {
        name: point_segmenter.PointSegmenter(kind(points_at(*TRUE[:2])), outliner)
        for name, kind in kinds.items()
    }
    for model in loaded.values():
        model.info = replace(model.info, tile=80)
        model.detector.info = model.info
    loaded["nothing"] = Nothing()
    monkeypatch.setattr(zoo, "load_model", lambda name, *_: loaded[name])
    return loaded


def run(folder, model):
    return evaluate_points(folder, model, 0.25, (), "cpu", None, None, ("nothing",))


def test_detection_and_masks_are_scored(models, annotated):
    scores = run(annotated, "plain")
    assert list(scores["detection"]) == ["as it is"]
    assert scores["detection"]["as it is"]["pooled"]["recall"] == 0.6667
    masks = scores["masks"]
    assert list(masks) == ["points", "true centroids", "nothing"]
    # One of two points is outlined, exactly; of the true centroids two are.
    assert masks["points"]["mean"]["pq"] == 0.5
    assert masks["true centroids"]["mean"]["pq"] == 0.8
    assert masks["nothing"]["pq"] == {"a": 0.0}


def test_a_guided_detector_is_scored_without_its_map_and_the_map_alone(models, annotated):
    assert isinstance(models["guided"].detector, GuidedDetector)
    detection = run(annotated, "guided")["detection"]
    assert {way: row["pooled"]["found"] for way, row in detection.items()} == {
        "as it is": 2,
        "without bias": 1,
        "peaks alone": 1,
    }


def test_models_without_points_are_refused(models, annotated):
    with pytest.raises(ModelError, match="nothing finds no points"):
        run(annotated, "nothing")


def test_the_baselines_are_models_of_the_zoo():
    assert set(point_scores.BASELINES) <= set(zoo.names())
