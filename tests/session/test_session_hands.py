"""Gestures by hand: what begins, ends and drops them."""

import pytest
from session_helpers import block, make_document, snapshot

from napari_nucleus.errors import EditRefusedError
from napari_nucleus.session import actions
from napari_nucleus.session.hands import HandTool
from napari_nucleus.session.outcomes import Done, Nothing


@pytest.fixture
def document():
    document = make_document((60, 90))
    for x in (5, 27, 72):
        actions.add(document, block(20, x, 36, x + 18))
    return document


@pytest.fixture
def hands(document):
    return HandTool(document)


def test_a_cut_ends_with_a_stroke_that_cuts(document, hands):
    assert "stroke" in hands.begin("cut").reason
    with pytest.raises(EditRefusedError):
        hands.stroke([(0, 2), (59, 2)])
    assert hands.gesture == "cut", "it can be drawn again"
    assert isinstance(hands.stroke([(0, 15), (59, 15)]), Done)
    assert hands.gesture is None
    assert document.count == 4


def test_a_merge_begins_at_a_nucleus_or_with_a_click(document, hands):
    hands.begin("merge", 1)
    assert isinstance(hands.click((5, 5)), Nothing)
    assert isinstance(hands.click((25, 8)), Nothing), "the same nucleus"
    assert isinstance(hands.click((25, 30)), Done)
    assert document.count == 2
    document.undo()
    hands.begin("merge")
    assert isinstance(hands.click((25, 8)), Nothing)
    assert isinstance(hands.click((25, 30)), Done)
    assert hands.gesture is None


def test_a_merge_whose_first_nucleus_is_gone_begins_anew(document, hands):
    hands.begin("merge", 1)
    actions.remove(document, [1])
    assert isinstance(hands.click((25, 30)), Nothing)
    with pytest.raises(EditRefusedError, match="apart"):
        hands.click((25, 80))
    assert hands.gesture is None


def test_a_split_takes_two_places_in_one_nucleus(document, hands):
    hands.begin("split")
    assert isinstance(hands.click((25, 8)), Nothing)
    assert isinstance(hands.click((25, 30)), Nothing), "another nucleus: it begins there"
    assert isinstance(hands.click((25.3, 30.2)), Nothing), "the same pixel"
    before = document.count
    assert isinstance(hands.click((25, 42)), Done)
    assert document.count == before + 1


def test_what_was_begun_can_be_dropped(document, hands):
    before = snapshot(document)
    for gesture in ("cut", "merge", "split"):
        hands.begin(gesture)
        hands.begin(gesture)
        assert hands.gesture is None
        hands.begin(gesture, 1)
        hands.drop()
        assert hands.gesture is None
    hands.begin("cut")
    hands.begin("split")
    assert hands.gesture == "split"
    assert snapshot(document) == before


def test_a_stroke_merges_all_that_it_meets(document, hands):
    hands.begin("merge")
    assert isinstance(hands.stroke([(22, 8), (30, 12)]), Nothing), "one nucleus only"
    assert hands.gesture == "merge", "it can be drawn again"
    outcome = hands.stroke([(22, 6), (22, 40), (22, 2)])
    assert isinstance(outcome, Done)
    assert (outcome.result.ids, document.count) == ((1,), 2)
    assert document.row(1).box == (20, 5, 36, 45)
    assert hands.gesture is None
