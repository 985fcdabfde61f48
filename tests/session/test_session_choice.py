"""Which of two answers is shown, and what a prediction becomes."""

import numpy as np
import pytest
from session_helpers import EMPTY_ANSWER, answer_of, batch, clicks, logits_of, make_document

from napari_nucleus.core.prompts import Prompts
from napari_nucleus.errors import EditRefusedError
from napari_nucleus.session import actions
from napari_nucleus.session.candidates import (
    is_current,
    new_nucleus,
    plan_candidate,
    refined_nucleus,
)
from napari_nucleus.session.choice import Option, best_option, is_plausible

POINT = np.array([30.5, 44.5])
GIVEN = clicks((30, 44, True))


@pytest.fixture
def document():
    """One nucleus of 20 x 20, with room around it; 1 px is 0.25 µm."""
    document = make_document((100, 100))
    actions.import_nuclei(document, batch((20, 20, 40, 40)))
    return document


def new(document, prediction):
    candidate = new_nucleus(GIVEN)
    return Option(candidate, prediction, plan_candidate(document, "add", candidate, prediction))


def extended(document, prediction):
    candidate = refined_nucleus(document, 1, GIVEN)
    return Option(candidate, prediction, plan_candidate(document, "add", candidate, prediction))


def test_the_better_score_wins_and_the_new_nucleus_a_tie(document):
    for new_iou, extended_iou, best in ((0.9, 0.8, 0), (0.8, 0.9, 1), (0.9, 0.9, 0)):
        options = [
            new(document, answer_of(25, 41, 37, 52, new_iou)),
            extended(document, answer_of(20, 20, 40, 48, extended_iou)),
        ]
        assert best_option(options, POINT, 0.25, None) == best


def test_the_favourite_wins_unless_it_is_implausible(document):
    fresh = new(document, answer_of(25, 41, 37, 52, 0.95))
    good = extended(document, answer_of(20, 20, 40, 48, 0.5))
    assert best_option([fresh, good], POINT, 0.25, favourite=1) == 1
    assert best_option([fresh, good], POINT, 0.25, favourite=7) == 0
    swallows = extended(document, answer_of(0, 0, 90, 90, 0.99))
    assert best_option([fresh, swallows], POINT, 0.25, favourite=1) == 0


def test_an_extension_that_leaves_out_what_was_clicked_loses_whatever_its_score(document):
    fresh = new(document, answer_of(25, 41, 37, 52, 0.3))
    touched = extended(document, answer_of(20, 20, 40, 46, 0.9))
    assert is_plausible(touched, POINT, 0.25)
    assert best_option([fresh, touched], POINT, 0.25, None) == 0
    assert best_option([fresh, touched], POINT, 0.25, favourite=1) == 1
    speck = new(document, answer_of(29, 43, 33, 47, 0.3))
    assert best_option([speck, touched], POINT, 0.25, None) == 1


@pytest.mark.parametrize(
    ("prediction", "why"),
    [
        (answer_of(25, 22, 37, 46, 0.99), "most of it lies on the neighbour"),
        (answer_of(25, 35, 37, 47, 0.99), "two fifths of it lie on the neighbour"),
        (answer_of(29, 43, 33, 47, 0.99), "a speck"),
        (answer_of(60, 60, 75, 75, 0.99), "it does not hold the click"),
    ],
)
def test_implausible_new_nuclei_lose(document, prediction, why):
    fresh = new(document, prediction)
    assert not is_plausible(fresh, POINT, 0.25), why
    other = extended(document, answer_of(20, 20, 40, 48, 0.3))
    assert best_option([fresh, other], POINT, 0.25, None) == 1


def test_an_extension_may_grow_to_a_large_nucleus_but_not_swallow_a_field(document):
    assert is_plausible(extended(document, answer_of(20, 20, 60, 60)), POINT, 0.25)
    assert not is_plausible(extended(document, answer_of(0, 0, 60, 60)), POINT, 0.25)
    assert not is_plausible(extended(document, answer_of(20, 20, 40, 41)), POINT, 0.25)


def test_of_two_implausible_ones_the_better_score_is_shown(document):
    options = [
        new(document, answer_of(29, 43, 33, 47, 0.2)),
        extended(document, answer_of(0, 0, 90, 90, 0.4)),
    ]
    assert best_option(options, POINT, 0.25, None) == 1


def test_an_answer_that_loses_the_nucleus_is_no_extension(document):
    with pytest.raises(EditRefusedError, match="loses most of nucleus 1; it was kept"):
        extended(document, answer_of(28, 36, 40, 50))


@pytest.mark.parametrize("kind", ["add", "box"])
def test_an_empty_answer_is_refused(document, kind):
    for candidate in (new_nucleus(GIVEN), refined_nucleus(document, 1, GIVEN)):
        with pytest.raises(EditRefusedError, match="sees no nucleus here"):
            plan_candidate(document, kind, candidate, EMPTY_ANSWER)


def test_a_carving_answer_that_gives_the_nucleus_up_takes_what_was_clicked_only(document):
    given = clicks((22, 22, False))
    candidate = refined_nucleus(document, 1, given)
    for prediction in (EMPTY_ANSWER, answer_of(20, 20, 24, 24)):
        plan = plan_candidate(document, "carve", candidate, prediction)
        assert plan.shape is not None
        assert 370 <= plan.shape.area < 400
    plan = plan_candidate(document, "carve", candidate, answer_of(25, 20, 40, 60))
    assert plan.shape is not None
    assert plan.shape.box == (25, 20, 40, 40)


def test_an_unclicked_nucleus_says_where_it_is_by_its_box_and_mask(document):
    candidate = refined_nucleus(document, 1, GIVEN)
    assert candidate.prompts.box == (20.0, 20.0, 40.0, 44.5)
    assert candidate.prompts.mask is not None
    assert candidate.prompts.mask.all()
    assert candidate.prompts.mask_box == (20, 20, 40, 40)
    assert candidate.prompts.logits is None
    assert candidate.given is GIVEN
    carving = refined_nucleus(document, 1, clicks((21, 21, False)))
    assert carving.prompts.box == (20.0, 20.0, 40.0, 40.0)


def test_logits_go_back_instead_of_the_mask_and_clicks_instead_of_the_box():
    document = make_document((100, 100))
    outline = actions.Outline(
        np.ones((9, 9), bool), (1, 1, 10, 10), clicks((5, 5, True)), logits_of((0, 0, 12, 12))
    )
    actions.add(document, outline)
    given = document.prompts(1).with_point((11.5, 5.5), True)
    candidate = refined_nucleus(document, 1, given)
    assert candidate.prompts.box is None
    assert candidate.prompts.mask is None
    assert candidate.prompts.logits is document.logits(1)
    assert candidate.prompts.points_yx.tolist() == [[5.5, 5.5], [11.5, 5.5]]


def test_a_drawn_box_is_kept_and_grows_to_later_clicks():
    document = make_document((100, 100))
    drawn = Prompts(box=(1.0, 1.0, 10.0, 10.0))
    actions.add(document, actions.Outline(np.ones((9, 9), bool), (1, 1, 10, 10), drawn))
    given = document.prompts(1).with_point((14.5, 5.5), True)
    candidate = refined_nucleus(document, 1, given)
    assert candidate.prompts.box == (1.0, 1.0, 14.5, 10.0)
    assert candidate.given.box == (1.0, 1.0, 10.0, 10.0)


def test_a_candidate_is_current_while_its_pixels_are_the_same(document):
    candidate = refined_nucleus(document, 1, GIVEN)
    actions.classify(document, [1], 2)
    assert is_current(document, candidate)
    actions.remove(document, [1])
    assert not is_current(document, candidate)
    document.undo()
    assert is_current(document, candidate)
    actions.refine(document, 1, actions.Outline(np.ones((9, 9), bool), (20, 20, 29, 29)))
    assert not is_current(document, candidate)
    assert is_current(document, new_nucleus(GIVEN))
