"""Points become nuclei: one each, the better of two, no pixel twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from point_helpers import (
    CALIBRATION,
    INFO,
    NOTHING,
    Outliner,
    Pointer,
    answer,
    embedding_of,
    points_at,
    positive,
)

from napari_nucleus.core.geometry import Frame
from napari_nucleus.core.image import Tile
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.points import Points
from napari_nucleus.models.api import AutomaticSegmenter, PointDetector
from napari_nucleus.models.point_prompting import (
    PointPrompting,
    best_answers,
    point_prompts,
    resolve_masks,
    segment_points,
    usual_prompting,
)
from napari_nucleus.models.point_segmenter import PointSegmenter

ALONE = PointPrompting()
BOXES = {
    (10.0, 10.0): (5, 5, 15, 15),
    (10.0, 30.0): (5, 25, 15, 35),
    (40.0, 40.0): (30, 30, 50, 50),
}


def by_place(prompts):
    return answer(BOXES[positive(prompts)])


def resolve(points, answers, prompting=ALONE, info=INFO, given=None):
    return resolve_masks(points, answers, prompting, info, 0.25, given)


def test_each_point_becomes_its_nucleus_with_the_product_of_the_scores():
    outliner = Outliner(by_place)
    points = points_at(*BOXES, score=0.5)
    found = segment_points(outliner, embedding_of(), points)
    assert found.nucleus.tolist() == [0, 1, 2]
    assert found.nuclei.boxes.tolist() == [list(box) for box in BOXES.values()]
    assert found.nuclei.score.tolist() == pytest.approx([0.45] * 3)
    assert [len(p.points_yx) for p in outliner.asked] == [1, 1, 1]
    assert found.nuclei.source == "outliner"


def test_points_beside_the_tile_and_those_without_an_answer_get_none():
    outliner = Outliner(lambda p: NOTHING if positive(p) == (10.0, 10.0) else by_place(p))
    points = points_at((-1, 5), (10, 10), (10, 30), (5, 64))
    found = segment_points(outliner, embedding_of(), points)
    assert found.nucleus.tolist() == [-1, -1, 0, -1]
    assert len(outliner.asked) == 2


def test_no_points_are_no_nuclei():
    found = segment_points(Outliner(by_place), embedding_of(), points_at())
    assert len(found) == 0
    assert found.nuclei.class_prob.shape == (0, 5)


def test_neighbours_are_negative_the_nearest_first():
    points = points_at((0, 0), (0, 10), (0, 4), (0, 30))
    prompts = point_prompts(points, PointPrompting(negatives=2, both=False))
    assert [p.positive.tolist() for p in prompts] == [[True, False, False]] * 4
    assert prompts[0].points_yx.tolist() == [[0, 0], [0, 4], [0, 10]]
    assert prompts[3].points_yx.tolist() == [[0, 30], [0, 10], [0, 4]]


def test_some_points_are_asked_against_all_of_them():
    points = points_at((0, 0), (0, 10), (0, 4))
    prompts = point_prompts(points, PointPrompting(negatives=1, both=False), np.array([1]))
    assert [p.points_yx.tolist() for p in prompts] == [[[0, 10], [0, 4]]]


def test_two_points_at_one_place_are_negative_to_each_other_not_to_themselves():
    points = points_at((5, 5), (5, 5), (9, 9))
    for p in point_prompts(points, PointPrompting(negatives=1, both=False))[:2]:
        assert p.points_yx.tolist() == [[5, 5], [5, 5]]


def test_fewer_neighbours_than_asked_for_are_all_there_are():
    prompts = point_prompts(points_at((0, 0), (0, 9)), PointPrompting(negatives=4, both=False))
    assert [len(p.points_yx) for p in prompts] == [2, 2]
    assert [len(p.points_yx) for p in point_prompts(points_at((0, 0)), PointPrompting(4))] == [1]


def test_of_both_ways_the_better_predicted_iou_is_kept():
    def say(prompts):
        alone = len(prompts.points_yx) == 1
        first = positive(prompts) == (10.0, 10.0)
        return answer((5, 5, 15, 15) if first else (30, 30, 50, 50), 0.8 if alone == first else 0.6)

    points = points_at((10, 10), (40, 40))
    outliner = Outliner(say)
    found = segment_points(outliner, embedding_of(), points, PointPrompting(negatives=1))
    assert len(outliner.asked) == 4
    assert found.nuclei.score.tolist() == pytest.approx([0.8, 0.8])


def test_an_answer_is_better_than_none_however_sure_the_model_is_of_none():
    assert best_answers([replace(NOTHING, iou=0.9), answer((0, 0, 5, 5), 0.1)], 1)[0].area == 25


def test_of_two_on_one_nucleus_the_surer_stays_and_the_other_point_has_none():
    points = points_at((10, 10), (11, 11))
    found = resolve(points, [answer((5, 5, 15, 15), 0.6), answer((5, 5, 15, 16), 0.7)])
    assert found.nucleus.tolist() == [-1, 0]
    assert found.nuclei.boxes.tolist() == [[5, 5, 15, 16]]


def test_where_nuclei_overlap_the_surer_has_the_pixels():
    points = points_at((10, 8), (10, 20))
    found = resolve(points, [answer((5, 0, 15, 15), 0.9), answer((5, 11, 15, 26), 0.8)])
    assert found.nuclei.boxes.tolist() == [[5, 0, 15, 15], [5, 15, 15, 26]]


def test_contested_pixels_may_go_to_the_nearest_point():
    points = points_at((10, 8), (10, 20))
    answers = [answer((5, 0, 15, 18), 0.9), answer((5, 8, 15, 26), 0.8)]
    found = resolve(points, answers, PointPrompting(contested="nearest"))
    assert found.nuclei.boxes.tolist() == [[5, 0, 15, 14], [5, 14, 15, 26]]


def test_a_nucleus_that_is_cut_in_two_keeps_the_part_with_its_point():
    points = points_at((3, 30), (5, 10))
    wide, tall = answer((0, 0, 6, 40), 0.5), answer((0, 8, 20, 28), 0.9)
    found = resolve(points, [wide, tall])
    assert found.nuclei.boxes[found.nucleus[0]].tolist() == [0, 28, 6, 40]
    found = resolve(points_at((3, 10), (15, 10)), [wide, tall])
    assert found.nuclei.boxes[found.nucleus[0]].tolist() == [0, 28, 6, 40]  # its point is lost


def test_what_is_left_of_a_nucleus_must_be_more_than_debris():
    points = points_at((5, 5), (5, 18))
    found = resolve(points, [answer((0, 0, 10, 18), 0.9), answer((1, 9, 10, 19), 0.5)])
    assert found.nucleus.tolist() == [0, -1]


def test_nuclei_that_are_there_already_stay_as_they_are():
    there = Nuclei.from_masks([np.ones((10, 10), bool)], [(0, 0)], class_prob=[[1, 0, 0, 0, 0]])
    points = points_at((5, 5), (5, 14))
    answers = [answer((0, 0, 10, 11), 1.0), answer((0, 6, 10, 20), 1.0)]
    found = resolve(points, answers, given=there)
    assert found.nucleus.tolist() == [-1, 0]
    assert found.nuclei.boxes.tolist() == [[0, 10, 10, 20]]


def test_classes_are_the_points_where_they_are_told_else_the_answers():
    prob = np.array([[0, 1, 0, 0, 0], [0, 0, 0, 0, 0]])
    points = Points(np.array([[10, 10], [40, 40]]), np.ones(2), prob)
    said = (0.2, 0.2, 0.6, 0.0, 0.0)
    answers = [answer((5, 5, 15, 15), classes=said), answer((30, 30, 50, 50), classes=said)]
    found = resolve(points, answers)
    assert found.nuclei.class_prob[0].tolist() == [0, 1, 0, 0, 0]
    assert found.nuclei.class_prob[1].tolist() == pytest.approx(said)
    unclassed = resolve(points_at((10, 10)), answers[:1], info=replace(INFO, classes=None))
    assert unclassed.nuclei.class_prob.shape == (1, 0)


def test_a_segmenter_of_other_classes_does_not_name_those_of_points():
    points = points_at((10, 10), classes=5)
    found = resolve(points, [answer((5, 5, 15, 15), classes=(0.5, 0.5))])
    assert found.nuclei.class_prob.tolist() == [[0] * 5]


@given(st.integers(0, 2**32 - 1), st.sampled_from(["better", "nearest"]))
def test_no_two_nuclei_share_a_pixel_and_every_nucleus_is_that_of_one_point(seed, contested):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 25))
    points = points_at(*rng.uniform(0, 64, (n, 2)))
    answers = []
    for y, x in points.yx:
        half = rng.integers(2, 9, 2)
        y0, x0 = (int(v) for v in np.maximum(np.floor([y, x]) - half, 0))
        mask = rng.random(2 * half) < 0.9
        mask[0, 0] = mask[-1, -1] = True
        box = (y0, x0, y0 + mask.shape[0], x0 + mask.shape[1])
        answers.append(answer(box, float(rng.random()), mask))
    found = resolve(points, answers, PointPrompting(contested=contested))
    painted = np.zeros((90, 90), int)
    for box, mask in zip(found.nuclei.boxes, found.nuclei.masks, strict=True):
        painted[box[0] : box[2], box[1] : box[3]] += mask
    assert painted.max(initial=0) <= 1
    assert sorted(found.nucleus[found.nucleus >= 0]) == list(range(len(found)))
    best = int(np.argmax([a.iou for a in answers]))
    if answers[best].area >= 10 and contested == "better":
        assert found.nuclei.areas[found.nucleus[best]] == answers[best].area


def test_a_model_that_was_measured_is_asked_as_it_was_best():
    assert usual_prompting(INFO) == PointPrompting()
    assert usual_prompting(replace(INFO, name="uninuc-nano")) != PointPrompting()


# ---- a detector with a segmenter


def test_a_detector_with_a_segmenter_finds_every_nucleus():
    model = PointSegmenter(Pointer(points_at(*BOXES)), Outliner(by_place))
    assert isinstance(model, AutomaticSegmenter)
    assert isinstance(model, PointDetector)
    tile = Tile(np.zeros((64, 64, 3), np.uint8), Frame(mpp=0.25))
    nuclei = model.segment(tile)
    assert nuclei.boxes.tolist() == [list(box) for box in BOXES.values()]
    assert nuclei.source == model.info.name == "pointer"
    points, masks = model.find(tile, CALIBRATION)
    assert points.yx.tolist() == [list(yx) for yx in BOXES]
    assert masks.nucleus.tolist() == [0, 1, 2]
    assert model.digest == Pointer.digest


def test_the_segmenter_sees_the_image_at_its_own_scale():
    outliner = Outliner(by_place, replace(INFO, working_mpp=0.5))
    model = PointSegmenter(Pointer(points_at((10, 10))), outliner)
    tile = Tile(np.zeros((64, 64, 3), np.uint8), Frame(mpp=0.25))
    model.segment(tile, replace(CALIBRATION, lab_mean=(60.0, 10.0, -5.0)))
    ((_, seen),) = outliner.embedded
    assert seen.scale == 0.5
    assert seen.lab_mean == (60.0, 10.0, -5.0)


def test_a_tile_without_points_is_not_encoded():
    outliner = Outliner(by_place)
    model = PointSegmenter(Pointer(points_at(classes=5)), outliner)
    nuclei = model.segment(Tile(np.zeros((8, 8, 3), np.uint8)), CALIBRATION)
    assert nuclei.class_prob.shape == (0, 5)
    assert outliner.embedded == []
