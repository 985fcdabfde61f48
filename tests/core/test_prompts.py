from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_nucleus.core.prompts import MaskLogits, MaskPrediction, Prompts


def full() -> Prompts:
    return Prompts(
        np.array([(1.0, 2.0), (3.0, 4.0)]),
        np.array([True, False]),
        (0.0, 1.0, 5.0, 6.0),
        np.array([(1.0, 1.0), (2.0, 2.0)]),
        MaskLogits(np.zeros((4, 4)), (0, 0, 8, 8)),
        np.ones((2, 3), bool),
        (1, 1, 3, 4),
    )


def test_nothing_given_is_empty():
    assert Prompts().is_empty
    assert Prompts().points_yx.shape == (0, 2)
    assert Prompts(logits=full().logits).is_empty


@pytest.mark.parametrize(
    "prompts",
    [
        Prompts().with_point((1, 2), True),
        Prompts(box=(0, 0, 1, 1)),
        Prompts(scribble_yx=np.ones((2, 2))),
    ],
)
def test_anything_that_says_where_is_not_empty(prompts):
    assert not prompts.is_empty


def test_points_keep_the_order_they_were_given_in():
    prompts = Prompts().with_point((1, 2), True).with_point((3, 4), False)
    assert prompts.points_yx.tolist() == [[1, 2], [3, 4]]
    assert prompts.positive.tolist() == [True, False]


def test_logits_replace_a_plain_mask():
    logits = MaskLogits(np.ones((2, 2)), (0, 0, 4, 4))
    changed = full().with_logits(logits)
    assert changed.logits is logits
    assert changed.mask is None
    assert changed.mask_box is None


@given(st.integers(-99, 99), st.integers(-99, 99))
def test_everything_moves_together_and_back(dy, dx):
    moved = full().shifted(dy, dx)
    assert moved.points_yx.tolist() == [[1 + dy, 2 + dx], [3 + dy, 4 + dx]]
    assert moved.box == (dy, 1 + dx, 5 + dy, 6 + dx)
    assert moved.mask_box == (1 + dy, 1 + dx, 3 + dy, 4 + dx)
    assert moved.logits is not None
    assert moved.logits.window == (dy, dx, 8 + dy, 8 + dx)
    assert moved.scribble_yx is not None
    assert moved.scribble_yx[0].tolist() == [1 + dy, 1 + dx]
    assert moved.shifted(-dy, -dx).box == full().box


def test_shifting_what_is_not_there_is_harmless():
    moved = Prompts().shifted(1, 2)
    assert moved.is_empty
    assert moved.mask_box is None


@pytest.mark.parametrize(
    ("points", "signs"), [([(1, 2, 3)], [True]), ([(1, 2)], [True, False]), ([1, 2], [True, False])]
)
def test_points_and_signs_must_fit(points, signs):
    with pytest.raises(ValueError, match="points must be"):
        Prompts(np.array(points, float), np.array(signs))


def test_points_must_be_finite():
    with pytest.raises(ValueError, match="finite"):
        Prompts().with_point((np.nan, 0), True)


def test_a_mask_needs_its_box():
    with pytest.raises(ValueError, match="needs its box"):
        Prompts(mask=np.ones((2, 2), bool))
    with pytest.raises(ValueError, match="needs its box"):
        Prompts(mask_box=(0, 0, 2, 2))


def test_an_answer_moves_with_its_logits():
    answer = MaskPrediction(
        np.ones((2, 3), bool), (1, 2, 3, 5), MaskLogits(np.zeros((4, 4)), (0, 0, 8, 8)), 0.9
    )
    moved = answer.shifted(10, 20)
    assert answer.area == moved.area == 6
    assert moved.box == (11, 22, 13, 25)
    assert moved.logits.window == (10, 20, 18, 28)
