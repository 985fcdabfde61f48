from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment
from skimage.io import imread

from napari_nucleus.core.matching import best_matching
from napari_nucleus.core.metrics import (
    DetectionTable,
    OverlapTable,
    aji,
    aji_plus,
    class_f1,
    detection_f1,
    detection_radius,
    dice,
    dice_2,
    image_quality,
    mean_iou,
    mean_segmentation_accuracy,
    pannuke_scores,
    panoptic_quality,
)
from napari_nucleus.errors import LabelsError

SHARED = Path(os.environ.get("NUCLEUS_SHARED", Path(__file__).parents[3] / "shared"))
GOLDEN = SHARED / "golden" / "metrics"

small_maps = arrays(np.int32, (9, 9), elements=st.integers(0, 4))


def all_scores(table: OverlapTable) -> list[float]:
    pq = panoptic_quality(table)
    msa = mean_segmentation_accuracy(table)
    return [pq.dq, pq.sq, pq.pq, aji(table), aji_plus(table), dice(table), dice_2(table), msa]


def dense_overlap(true: np.ndarray, pred: np.ndarray) -> np.ndarray:
    """Pixels that every id of one map shares with every id of the other, background included."""
    return np.array(
        [[np.sum((true == t) & (pred == p)) for p in np.unique(pred)] for t in np.unique(true)]
    )


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="golden values are not there")
@pytest.mark.parametrize("name", [f"{i:02d}" for i in range(10)])
def test_scores_equal_the_published_programs(name):
    expected = json.loads((GOLDEN / "expected.json").read_text())[name]
    table = OverlapTable.of(
        imread(GOLDEN / f"{name}_true.png"), imread(GOLDEN / f"{name}_pred.png")
    )
    pq = panoptic_quality(table)
    ours = {
        "hover_net_pq_dq_sq_pq": [pq.dq, pq.sq, pq.pq],
        "pannuke_pq_dq_sq_pq": [pq.dq, pq.sq, pq.pq],
        "hover_net_aji": aji(table),
        "hover_net_aji_plus": aji_plus(table),
        "hover_net_dice_1": dice(table),
        "hover_net_dice_2": dice_2(table),
        "elf_mean_segmentation_accuracy": mean_segmentation_accuracy(table),
    }
    answered = {k: v for k, v in expected.items() if k in ours and not isinstance(v, str)}
    assert len(answered) >= 1
    for key, value in answered.items():
        assert ours[key] == pytest.approx(value, abs=1e-9), key


@given(small_maps, small_maps)
def test_overlap_table_counts_every_pixel_once(true, pred):
    table = OverlapTable.of(true, pred)
    assert table.true_ids.tolist() == np.unique(true[true > 0]).tolist()
    assert table.true_area.tolist() == [np.sum(true == i) for i in table.true_ids]
    assert table.pred_area.tolist() == [np.sum(pred == i) for i in table.pred_ids]
    assert table.overlap.sum() == np.sum((true > 0) & (pred > 0))
    for t, p, overlap in zip(table.true_index, table.pred_index, table.overlap, strict=True):
        assert overlap == np.sum((true == table.true_ids[t]) & (pred == table.pred_ids[p]))


@given(small_maps, small_maps)
def test_scores_do_not_depend_on_ids_or_types(true, pred):
    ids = np.array([0, 7, 70_000, 2_000_000_000, 12])
    plain = all_scores(OverlapTable.of(true, pred))
    # Order of ids decides between equal overlaps, so the renaming keeps it.
    renamed = all_scores(OverlapTable.of(np.sort(ids)[true], pred.astype(np.uint8)))
    np.testing.assert_equal(plain, renamed)


@given(small_maps, small_maps)
def test_panoptic_quality_equals_its_definition(true, pred):
    table = OverlapTable.of(true, pred)
    overlap = dense_overlap(true, pred)
    union = overlap.sum(1, keepdims=True) + overlap.sum(0, keepdims=True) - overlap
    iou = (overlap / union)[int(0 in true) :, int(0 in pred) :]
    tp = int((iou > 0.5).sum())
    if not sum(iou.shape):
        assert math.isnan(panoptic_quality(table).pq)
        return
    dq = 2 * tp / sum(iou.shape)
    sq = iou[iou > 0.5].sum() / (tp + 1e-6)
    assert panoptic_quality(table).pq == pytest.approx(dq * sq, abs=1e-12)


@given(small_maps, small_maps)
def test_aji_takes_the_best_prediction_of_each_nucleus(true, pred):
    true_masks = [true == i for i in np.unique(true[true > 0])]
    pred_masks = [pred == i for i in np.unique(pred[pred > 0])]
    common, union, used = 0, 0, set()
    for t in true_masks:
        iou = [(t & p).sum() / ((t | p).sum() + 1e-6) for p in pred_masks]
        best = int(np.argmax(iou)) if iou and max(iou) > 0 else None
        common += 0 if best is None else (t & pred_masks[best]).sum()
        union += t.sum() if best is None else (t | pred_masks[best]).sum()
        used.add(best)
    union += sum(p.sum() for i, p in enumerate(pred_masks) if i not in used)
    expected = common / union if union else math.nan
    assert aji(OverlapTable.of(true, pred)) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(small_maps, small_maps)
def test_dice_2_counts_every_pair_that_overlaps(true, pred):
    common = total = 0
    for t in np.unique(true[true > 0]):
        for p in np.unique(pred[(true == t) & (pred > 0)]):
            common += ((true == t) & (pred == p)).sum()
            total += (true == t).sum() + (pred == p).sum()
    if total:
        assert dice_2(OverlapTable.of(true, pred)) == pytest.approx(2 * common / total)


@given(small_maps, small_maps)
def test_aji_plus_pairs_at_the_highest_total_iou(true, pred):
    table = OverlapTable.of(true, pred)
    if not len(table.true_ids) or not len(table.pred_ids):
        return
    iou = np.zeros((len(table.true_ids), len(table.pred_ids)))
    iou[table.true_index, table.pred_index] = table.iou
    ours = best_matching(table.true_index, table.pred_index, table.iou)
    assert table.iou[ours].sum() == pytest.approx(iou[linear_sum_assignment(-iou)].sum())
    assert len(np.unique(table.true_index[ours])) == len(np.unique(table.pred_index[ours]))


@given(small_maps, small_maps)
def test_msa_counts_as_many_pairs_as_an_optimal_assignment(true, pred):
    table = OverlapTable.of(true, pred)
    n, m = len(table.true_ids), len(table.pred_ids)
    iou = np.zeros((n, m))
    iou[table.true_index, table.pred_index] = table.iou
    expected = []
    for threshold in np.arange(0.5, 1.0, 0.05):
        cost = -1.0 * (iou >= threshold) - iou / (2 * max(min(n, m), 1))
        tp = int((iou[linear_sum_assignment(cost)] >= threshold).sum())
        expected.append(tp / (n + m - tp) if tp else 0.0)
    assert mean_segmentation_accuracy(table) == pytest.approx(np.mean(expected), abs=1e-12)


def test_an_iou_of_one_half_counts_for_msa_but_not_for_pq():
    true = np.array([[1, 1, 0, 0]])
    pred = np.array([[1, 0, 0, 0]])
    table = OverlapTable.of(true, pred)
    assert panoptic_quality(table).tp == 0
    assert mean_segmentation_accuracy(table) == pytest.approx(0.1)


def test_two_halves_of_a_nucleus_count_once_for_msa():
    table = OverlapTable.of(np.array([[1, 1]]), np.array([[1, 2]]))
    assert mean_segmentation_accuracy(table, [0.5]) == pytest.approx(1 / 2)


def test_aji_lets_two_nuclei_take_one_prediction_and_aji_plus_does_not():
    true = np.array([[1, 1, 2, 2]])
    pred = np.array([[5, 5, 5, 5]])
    table = OverlapTable.of(true, pred)
    assert aji(table) == pytest.approx(4 / 8)
    assert aji_plus(table) == pytest.approx(2 / 6)


def test_identical_maps_score_one():
    labels = np.array([[3, 3, 0], [0, 9, 9]])
    scores = all_scores(OverlapTable.of(labels, labels))
    np.testing.assert_allclose(scores, 1, atol=1e-5)


@pytest.mark.parametrize("empty_is_true", [True, False])
def test_nothing_against_nuclei_scores_zero(empty_is_true):
    maps = [np.zeros((4, 4), int), np.eye(4, dtype=int)]
    table = OverlapTable.of(*(maps if empty_is_true else maps[::-1]))
    assert all_scores(table) == [0.0] * 8


def test_two_empty_maps_have_no_score():
    table = OverlapTable.of(np.zeros((4, 4), int), np.zeros((4, 4), int))
    pq = panoptic_quality(table)
    assert np.isnan([pq.dq, pq.pq, aji(table), aji_plus(table), dice(table), dice_2(table)]).all()
    assert mean_segmentation_accuracy(table) == 0.0


@pytest.mark.parametrize("shape", [(0, 0), (0, 5)])
def test_maps_without_pixels_have_no_score(shape):
    assert math.isnan(aji(OverlapTable.of(np.zeros(shape, int), np.zeros(shape, int))))


def test_maps_of_different_size_are_refused():
    with pytest.raises(LabelsError, match=r"\(4, 4\).*\(4, 5\)"):
        OverlapTable.of(np.zeros((4, 4), int), np.zeros((4, 5), int))


def test_negative_ids_are_refused():
    with pytest.raises(LabelsError, match="negative id -1"):
        OverlapTable.of(np.zeros((2, 2), int), np.full((2, 2), -1))


class TestPanNuke:
    true = np.array([[1, 1, 0, 2, 2, 0, 3, 3]])

    def test_class_pq_equals_pq_of_the_map_of_that_class(self):
        pred = np.array([[9, 9, 0, 4, 0, 0, 6, 6]])
        true_class, pred_class = [1, 1, 2], np.array([1, 2, 1])  # of predictions 4, 6, 9
        table = OverlapTable.of(self.true, pred)
        quality = image_quality(table, true_class, pred_class)
        of_class_1 = OverlapTable.of(np.where(self.true < 3, self.true, 0), pred * (pred != 6))
        assert quality.class_pq[0] == pytest.approx(panoptic_quality(of_class_1).pq)
        assert quality.class_pq[1] == pytest.approx(1, abs=1e-5)
        assert quality.bpq == pytest.approx(panoptic_quality(table).pq)

    def test_false_positives_of_an_absent_class_go_unpunished(self):
        table = OverlapTable.of(self.true, np.array([[1, 1, 0, 2, 2, 0, 3, 3]]))
        quality = image_quality(table, [1, 1, 1], [1, 1, 4])
        assert np.isnan(quality.class_pq[1:]).all()
        assert quality.mpq == pytest.approx(quality.class_pq[0])

    def test_an_image_without_nuclei_has_no_score_even_with_predictions(self):
        quality = image_quality(OverlapTable.of(self.true * 0, self.true), [], [1, 1, 1])
        assert math.isnan(quality.bpq)
        assert math.isnan(quality.mpq)

    def test_tissues_weigh_the_same_whatever_their_number_of_images(self):
        def quality(bpq: float, first: float):
            table = OverlapTable.of(self.true, self.true)
            made = image_quality(table, [1, 1, 2], [1, 1, 2])
            return type(made)(bpq, np.array([first, *made.class_pq[1:]]))

        images = [quality(0.2, 0.0), quality(0.4, 0.0), quality(0.9, 1.0), quality(np.nan, np.nan)]
        scores = pannuke_scores(images, ["Colon", "Colon", "Skin", "Skin"])
        assert scores.tissue_bpq == pytest.approx({"Colon": 0.3, "Skin": 0.9})
        assert scores.bpq == pytest.approx(0.6)
        assert scores.class_pq[0] == pytest.approx(1 / 3)
        assert scores.mpq == pytest.approx((0.5 + 1.0) / 2, abs=1e-5)

    def test_no_images_have_no_score(self):
        assert math.isnan(pannuke_scores([], []).mpq)

    def test_a_tissue_for_each_image_is_needed(self):
        with pytest.raises(ValueError, match="0 images with 1 tissues"):
            pannuke_scores([], ["Colon"])


class TestDetection:
    def test_radius_is_twelve_pixels_at_a_quarter_micrometre(self):
        assert detection_radius(0.25) == 12
        assert detection_radius(0.5) == 6

    def test_a_pair_at_the_radius_counts_and_one_beyond_does_not(self):
        table = DetectionTable.of([(0, 0), (50, 0)], [1, 2], [(12, 0), (62.1, 0)], [1, 2], 12)
        assert (len(table.paired_true), len(table.missed), len(table.extra)) == (1, 1, 1)
        assert detection_f1(table) == pytest.approx(0.5)
        assert table.precision == table.recall == pytest.approx(0.5)

    def test_a_wrong_class_weighs_twice_a_missed_nucleus(self):
        table = DetectionTable(
            np.array([1, 1, 1, 2]), np.array([1, 1, 2, 2]), np.array([1]), np.array([1, 2])
        )
        assert class_f1(table, 1) == pytest.approx(4 / (4 + 2 + 2))
        assert class_f1(table, 2) == pytest.approx(2 / (2 + 2 + 1))

    def test_images_are_scored_as_one(self):
        first = DetectionTable.of([(0, 0)], [1], [(0, 0)], [1], 3)
        second = DetectionTable.of([(0, 0)], [1], np.zeros((0, 2)), [], 3)
        assert detection_f1(DetectionTable.concatenate([first, second])) == pytest.approx(2 / 3)

    def test_no_nuclei_have_no_score(self):
        assert math.isnan(detection_f1(DetectionTable.concatenate([])))
        assert math.isnan(class_f1(DetectionTable.concatenate([]), 1))


class TestMeanIoU:
    def test_mean_over_the_classes_that_occur(self):
        assert mean_iou(np.array([0, 0, 7, 7]), np.array([0, 7, 7, 7])) == pytest.approx(
            (1 / 2 + 2 / 3) / 2
        )

    def test_ignored_pixels_do_not_count(self):
        assert mean_iou(np.array([1, 255, 1], np.uint8), np.array([1, 3, 1], np.uint8)) == 1.0

    def test_nothing_to_count_has_no_score(self):
        assert math.isnan(mean_iou(np.array([255]), np.array([1])))

    def test_maps_of_different_size_are_refused(self):
        with pytest.raises(LabelsError, match="different size"):
            mean_iou(np.zeros(3, int), np.zeros(4, int))
