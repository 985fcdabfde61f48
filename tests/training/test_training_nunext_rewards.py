"""What sequences of points are worth, against hand counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_nucleus.models.nunext.losses import GrpoConfig
from napari_nucleus.models.nunext.tokens import Vocabulary, encode_points
from napari_nucleus.training.nunext_rewards import (
    Truth,
    detection_of,
    points_of_tokens,
    quality_of,
    reward_of,
    verdict,
)

SIDE = 64
VOCABULARY = Vocabulary.nano(SIDE, 5, 3)
NUCLEI = np.array([[10.5, 10.5], [10.5, 40.5], [50.5, 20.5]])
CONFIG = GrpoConfig()
LATENT = list(VOCABULARY.latent)


def squares(yx: NDArray[np.float64]) -> NDArray[np.integer]:
    """A segmenter that thinks every nucleus a square of 7 by 7."""
    labels = np.zeros((SIDE, SIDE), np.int32)
    for i, (y, x) in enumerate(np.floor(yx).astype(int), 1):
        labels[max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4] = i
    return labels


TRUTH = Truth(NUCLEI, SIDE, squares(NUCLEI))


def written(yx: NDArray[np.float64] | list[list[float]]) -> list[int]:
    return [*LATENT, *encode_points(yx, None, VOCABULARY, SIDE)]


def test_the_right_points_with_the_right_masks_are_worth_all() -> None:
    reward = reward_of(written(NUCLEI), TRUTH, VOCABULARY, CONFIG, squares)
    assert reward.value == pytest.approx(1.5, abs=1e-5)
    assert reward.detection == 1
    assert reward.hit.all()


def test_a_reward_is_detection_and_gamma_times_the_quality_of_the_masks() -> None:
    # Two of three found, one of them 3 px off: IoU 4·7 / (2·49 - 4·7) = 0.4, which is no pair.
    points = np.array([[10.5, 10.5], [10.5, 43.5]])
    reward = reward_of(written(points), TRUTH, VOCABULARY, replace(CONFIG, gamma=0.25), squares)
    assert reward.detection == pytest.approx(2 * 2 / (2 + 3))
    assert reward.quality == pytest.approx(1 / (1 + 0.5 + 1), abs=1e-5)
    assert reward.value == pytest.approx(0.8 + 0.25 * 0.4, abs=1e-5)


def test_malformed_sequences_are_worth_nothing() -> None:
    good = written(NUCLEI)
    for bad in (good[:-2], [*good[:4], *good[5:]], LATENT, [*good, VOCABULARY.begin]):
        reward = reward_of(bad, TRUTH, VOCABULARY, CONFIG, squares)
        assert (reward.value, reward.well_formed, len(reward.hit)) == (0, False, 0)
        assert (points_of_tokens(bad, VOCABULARY) == -1).all()


def test_latent_tokens_are_stripped_before_the_form_is_looked_at() -> None:
    plain = encode_points(NUCLEI, None, VOCABULARY, SIDE)
    for ids in (plain, [*LATENT, *plain]):
        assert reward_of(ids, TRUTH, VOCABULARY, CONFIG, squares).well_formed


def test_nothing_said_of_nothing_is_right_and_all_else_about_nothing_wrong() -> None:
    empty = Truth(np.zeros((0, 2)), SIDE, np.zeros((SIDE, SIDE), np.int32))
    assert reward_of(written([]), empty, VOCABULARY, CONFIG, squares).value == 1.5
    assert reward_of(written(NUCLEI), empty, VOCABULARY, CONFIG, squares).value == 0
    assert reward_of(written([]), TRUTH, VOCABULARY, CONFIG, squares).value == 0


def test_parts_of_the_reward_can_be_left_out() -> None:
    ids = written(NUCLEI[:2])
    detection = reward_of(ids, TRUTH, VOCABULARY, replace(CONFIG, reward="detection"))
    assert detection.value == pytest.approx(0.8)
    form = reward_of(ids, TRUTH, VOCABULARY, replace(CONFIG, reward="format"))
    assert form.value == 1
    assert reward_of(ids[:-3], TRUTH, VOCABULARY, replace(CONFIG, reward="format")).value == 0


def test_rewarding_masks_without_a_segmenter_is_refused() -> None:
    with pytest.raises(ValueError, match="segmenter"):
        reward_of(written(NUCLEI), TRUTH, VOCABULARY, CONFIG)


def test_a_duplicate_is_a_wrong_point() -> None:
    points = np.array([[10.5, 10.5], [11.5, 11.5], [10.5, 40.5]])
    f1, hit = detection_of(NUCLEI, points, 12)
    assert f1 == pytest.approx(2 * 2 / 6)
    assert hit.tolist() == [True, False, True]


def test_points_are_paired_at_the_least_total_before_the_radius_is_asked() -> None:
    # The nearer pair first would leave one of 11 px; in total the other way round is shorter.
    true, pred = [[0.0, 0.0], [0.0, 10.0]], [[0.0, 9.0], [0.0, 21.0]]
    f1, hit = detection_of(true, pred, 12)
    assert (f1, hit.all()) == (1, True)
    # All points of the smaller set are paired, also far ones, whose pairs then count as none.
    f1, hit = detection_of(true, pred, 10)
    assert hit.tolist() == [True, False]
    assert f1 == 0.5


def test_the_radius_is_in_micrometres() -> None:
    ids = encode_points(NUCLEI + [[0, 8]] * 3, None, VOCABULARY, SIDE)
    config = replace(CONFIG, reward="detection")
    assert reward_of(ids, TRUTH, VOCABULARY, config).value == 1
    assert reward_of(ids, replace(TRUTH, mpp=0.5), VOCABULARY, config).value == 0


points = st.lists(st.tuples(st.integers(0, SIDE - 1), st.integers(0, SIDE - 1)), max_size=6).map(
    lambda p: np.array(p, float).reshape(-1, 2) + 0.5
)


@given(points, points)
def test_a_reward_is_bounded_and_no_more_points_are_right_than_there_are_nuclei(
    true: NDArray[np.float64], pred: NDArray[np.float64]
) -> None:
    truth = Truth(true, SIDE, squares(true))
    reward = reward_of(written(pred), truth, VOCABULARY, CONFIG, squares)
    assert 0 <= reward.value <= 1.5
    assert reward.hit.sum() <= min(len(true), len(pred))
    assert len(reward.hit) == len(pred)


@given(points, points)
def test_f1_does_not_care_which_points_are_true(
    true: NDArray[np.float64], pred: NDArray[np.float64]
) -> None:
    assert detection_of(true, pred, 12)[0] == pytest.approx(detection_of(pred, true, 12)[0])


def test_points_without_masks_are_no_answer_where_nothing_is() -> None:
    nothing = np.zeros((SIDE, SIDE), np.int32)

    def blind(yx: NDArray[np.float64]) -> NDArray[np.integer]:
        return nothing

    none = np.zeros((0, 2))
    assert quality_of(nothing, none, blind) == 1
    assert quality_of(nothing, NUCLEI, blind) == 0
    assert quality_of(squares(NUCLEI), none, squares) == 0
    assert quality_of(squares(NUCLEI), NUCLEI, blind) == 0
    assert quality_of(squares(NUCLEI), NUCLEI, squares) == pytest.approx(1, abs=1e-5)


def test_x_y_and_separator_belong_to_their_point_and_marks_to_none() -> None:
    ids = [*written(NUCLEI[:2]), VOCABULARY.stop]
    none = [-1] * len(LATENT)
    assert points_of_tokens(ids, VOCABULARY).tolist() == [*none, -1, 0, 0, 0, 1, 1, 1, -1, -1, -1]
    assert (points_of_tokens(written([]), VOCABULARY) == -1).all()


def test_a_group_is_judged_row_by_row() -> None:
    stop = VOCABULARY.stop
    rows = [written(NUCLEI), written([]), written([[10.5, 10.5], [30.5, 60.5]])]
    length = max(map(len, rows))
    padded = torch.tensor([row + [stop] * (length - len(row)) for row in rows])
    judged = verdict(padded, TRUTH, VOCABULARY, CONFIG, squares)
    for row, ids in enumerate(rows):
        alone = reward_of(ids, TRUTH, VOCABULARY, CONFIG, squares)
        assert float(judged.reward[row]) == pytest.approx(alone.value)
        assert judged.hit[row, : len(alone.hit)].tolist() == alone.hit.tolist()
        assert judged.point_of[row].max() == len(alone.hit) - 1
    assert judged.hit.shape == (3, 3)
    assert judged.told["points"] == pytest.approx(5 / 3)
    assert judged.told["well_formed"] == 1
