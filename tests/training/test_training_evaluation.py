"""Scores of automatic segmentation, of folders and of changed copies."""

import json

import numpy as np
import pytest
from PIL import Image
from training_helpers import draw_labels, paint_labels, write_image

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.errors import LabelsError, ModelError
from napari_nucleus.models.api import Calibration, ModelInfo
from napari_nucleus.training import robustness
from napari_nucleus.training.evaluation import (
    compare_labels,
    evaluate_segmentation,
    label_pairs,
)
from napari_nucleus.training.robustness import CHANGES, changed_copy, evaluate_model

LABELS = draw_labels((80, 90), 4, 9)
SCORES = ("pq", "dq", "sq", "aji", "aji_plus", "msa", "detection_f1", "dice")


def write_labels(file, labels):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels.astype(np.uint16)).save(file)


def test_a_perfect_answer_scores_one_whatever_its_ids():
    scores = compare_labels(LABELS, np.where(LABELS > 0, 50 - LABELS, 0))
    for name in SCORES:
        assert getattr(scores, name) == pytest.approx(1, abs=1e-5), name
    assert scores.n_true == scores.n_pred == 9


def test_errors_cost_and_missing_everything_scores_zero():
    missing = compare_labels(LABELS, np.where(LABELS == 3, 0, LABELS))
    assert missing.dq == pytest.approx(8 / 8.5)
    assert missing.n_pred == 8
    nothing = compare_labels(LABELS, LABELS * 0)
    assert all(getattr(nothing, n) == 0 for n in ("pq", "aji", "msa", "detection_f1", "dice"))


def test_the_radius_of_detections_follows_the_pixel_size():
    true, pred = np.zeros((60, 60), int), np.zeros((60, 60), int)
    true[10:16, 10:16], pred[10:16, 24:30] = 1, 1  # 14 pixels apart
    assert compare_labels(true, pred, 0.25).detection_f1 == 0  # 3 µm are 12 pixels
    assert compare_labels(true, pred, 0.2).detection_f1 == 1  # 15 pixels


def test_folders_are_paired_by_name_and_inst_is_the_truth(tmp_path):
    pred, true = tmp_path / "pred", tmp_path / "true"
    for name in ("a", "b", "only_here"):
        write_labels(pred / f"{name}.png", LABELS)
    write_image(true, "a", LABELS, ".png")  # the picture itself is no truth
    write_labels(true / "b.tif", LABELS)
    write_labels(true / "only_there.png", LABELS)
    (true / "notes.txt").write_text("no labels")
    pairs = label_pairs(pred, true)
    assert [(n, p.name, t.name) for n, p, t in pairs] == [
        ("a", "a.png", "a_inst.png"),
        ("b", "b.png", "b.tif"),
    ]
    result = evaluate_segmentation(pred, true)
    assert set(result["images"]) == {"a", "b"}
    assert result["mean"]["pq"] == pytest.approx(1, abs=1e-4)


def test_two_files_are_compared_whatever_their_names(tmp_path):
    write_labels(tmp_path / "mine.png", LABELS)
    write_labels(tmp_path / "theirs.png", LABELS)
    result = evaluate_segmentation(tmp_path / "mine.png", tmp_path / "theirs.png")
    assert list(result["images"]) == ["mine"]


def test_results_are_json_without_nan_and_name_the_worst(tmp_path):
    pred, true = tmp_path / "pred", tmp_path / "true"
    write_labels(pred / "good.png", LABELS)
    write_labels(true / "good.png", LABELS)
    write_labels(pred / "bad.png", np.where(LABELS > 5, 0, LABELS))
    write_labels(true / "bad.png", LABELS)
    write_labels(pred / "empty.png", LABELS * 0)
    write_labels(true / "empty.png", LABELS * 0)
    result = evaluate_segmentation(pred, true)
    again = json.loads(json.dumps(result, allow_nan=False))
    assert again["images"]["empty"]["pq"] is None
    assert again["images"]["empty"]["n_true"] == 0
    assert again["worst"]["name"] == "bad"
    # An image without nuclei on either side has no PQ and does not count.
    assert again["mean"]["pq"] == pytest.approx((1 + again["images"]["bad"]["pq"]) / 2, abs=1e-3)


def test_only_empty_images_have_no_mean_and_no_worst(tmp_path):
    for folder in ("pred", "true"):
        write_labels(tmp_path / folder / "empty.png", LABELS * 0)
    result = evaluate_segmentation(tmp_path / "pred", tmp_path / "true")
    assert result["mean"]["pq"] is None
    assert result["worst"] is None
    json.dumps(result, allow_nan=False)


def test_what_does_not_pair_is_said(tmp_path):
    write_labels(tmp_path / "pred" / "a.png", LABELS)
    write_labels(tmp_path / "true" / "b.png", LABELS)
    with pytest.raises(LabelsError, match="same name"):
        label_pairs(tmp_path / "pred", tmp_path / "true")
    with pytest.raises(LabelsError, match="nowhere"):
        label_pairs(tmp_path / "nowhere", tmp_path / "true")
    with pytest.raises(LabelsError, match="two files or two folders"):
        label_pairs(tmp_path / "pred" / "a.png", tmp_path / "true")


# ---- changed copies


def test_resized_copies_keep_their_nuclei_and_their_size_in_micrometres():
    rgb = paint_labels(LABELS)
    for change, factor in (("halved", 2.0), ("doubled", 0.5)):
        picture, labels, per = changed_copy(rgb, LABELS, change)
        assert per == factor
        assert picture.shape == (80 / factor, 90 / factor, 3)
        assert labels.shape == picture.shape[:2]
        assert np.array_equal(np.unique(labels), np.unique(LABELS))
        areas = np.bincount(labels.ravel())[1:] * factor**2
        assert areas == pytest.approx(np.bincount(LABELS.ravel())[1:], rel=0.25)


def test_recoloured_copies_keep_their_labels():
    rgb = paint_labels(LABELS)
    for change in ("restained", "jpeg40"):
        picture, labels, per = changed_copy(rgb, LABELS, change)
        assert labels is LABELS
        assert per == 1
        assert picture.shape == rgb.shape
        assert (picture != rgb).any()
    with pytest.raises(ModelError, match="halved"):
        changed_copy(rgb, LABELS, "tripled")


class DarkIsNucleus:
    """Segments by colour at any magnification; stands in for a model."""

    info = ModelInfo("dark", "", ("automatic",), PANNUKE, 0.25, 256, 16, 256, "", "")

    def calibrate(self, samples, mpp):
        return Calibration((mpp or 0.25) / 0.25, mpp or 0.25)

    def segment(self, tile, calibration=None):
        dark = tile.rgb.astype(int).sum(-1) < 500
        nuclei, _ = Nuclei.from_labels(dark)
        masks = list(nuclei.masks)
        return Nuclei.from_masks(
            masks, nuclei.boxes[:, :2], nuclei.score, np.ones((len(masks), 5)) / 5
        )


def test_a_model_is_scored_on_every_change(tmp_path, monkeypatch):
    monkeypatch.setattr(robustness.zoo, "load_model", lambda *_: DarkIsNucleus())
    labels = np.zeros((80, 96), np.int32)
    for i in range(6):
        y, x = 6 + 26 * (i // 3), 8 + 30 * (i % 3)
        labels[y : y + 14, x : x + 16] = i + 1
    write_image(tmp_path, "field", labels, ".png")
    radii = []

    def compare(true, pred, mpp):
        radii.append(mpp)
        return compare_labels(true, pred, mpp)

    monkeypatch.setattr(robustness, "compare_labels", compare)
    result = evaluate_model(tmp_path, "dark", 0.5, CHANGES, (), "cpu", None)
    assert list(result) == ["original", *CHANGES]
    assert radii == [0.5, 1.0, 0.25, 0.5, 0.5]
    for change, scores in result.items():
        assert scores["images"]["field"]["n_true"] == 6
        if change in ("original", "halved", "doubled"):
            assert scores["mean"]["pq"] > 0.95, change
    json.dumps(result, allow_nan=False)
