"""The click tool: the click rule, requests and late answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from session_helpers import (
    EMPTY_ANSWER,
    FailingStore,
    FakeClock,
    answer_of,
    batch,
    block,
    check_consistent,
    make_document,
    snapshot,
)

from napari_nucleus.errors import EditRefusedError
from napari_nucleus.session import actions
from napari_nucleus.session.outcomes import Decode, Done, Nothing, Selected
from napari_nucleus.session.table import NucleusState
from napari_nucleus.session.tool import ClickTool


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def document():
    """Two nuclei of 20 x 20, 4 px apart: reach is 12 px."""
    document = make_document((120, 120))
    actions.import_nuclei(document, batch((20, 20, 40, 40), (20, 44, 40, 64)))
    return document


@pytest.fixture
def tool(document, clock):
    return ClickTool(document, clock)


def ask(tool, *args, **kwargs):
    outcome = tool.click(*args, **kwargs)
    assert isinstance(outcome, Decode), outcome
    return outcome.request


def targets(request):
    return [c.target for c in request.candidates]


# ---- what a click means


def test_a_click_far_from_all_asks_for_a_new_nucleus(tool, document):
    request = ask(tool, (90.5, 90.5))
    assert targets(request) == [None]
    prompts = request.candidates[0].prompts
    assert prompts.points_yx.tolist() == [[90.5, 90.5]]
    assert prompts.positive.tolist() == [True]
    assert request.box == (78, 78, 103, 103)
    result = tool.answer(request, [answer_of(85, 85, 97, 97)])
    assert result.name == "Add nucleus"
    row = document.row(result.ids[0])
    assert (row.state, row.iou, row.area) == (NucleusState.USER, 0.9, 144)
    assert document.prompts(row.id).points_yx.tolist() == [[90.5, 90.5]]
    assert document.logits(row.id) is not None
    assert tool.answer(request, [answer_of(85, 85, 97, 97)]) is None


def test_within_three_micrometres_a_click_may_also_extend_the_nearest(tool):
    assert targets(ask(tool, (51.9, 30.5))) == [None, 1]
    assert targets(ask(tool, (30.5, 76.1))) == [None]
    assert targets(ask(tool, (30.5, 75.9))) == [None, 2]


def test_the_reach_follows_the_pixel_size(document, clock):
    document.mpp = 0.5
    tool = ClickTool(document, clock)
    assert targets(ask(tool, (46.5, 30.5))) == [None]
    assert targets(ask(tool, (45.5, 50.5))) == [None, 2]
    document.mpp = None
    assert targets(ask(tool, (51.5, 25.5))) == [None, 1]


def test_a_click_inside_selects_and_touches(tool, document):
    assert tool.click((30.5, 30.5)) == Selected(1)
    assert tool.selected == 1
    assert document.history.undo_name == "Import nuclei"
    actions.remove(document, [1])
    assert tool.selected is None
    document.undo()
    assert tool.selected == 1


def test_a_click_inside_a_doubtful_nucleus_accepts_it(document, clock):
    tool = ClickTool(document, clock, is_doubtful={2}.__contains__)
    assert tool.click((30.5, 30.5)) == Selected(1)
    outcome = tool.click((30.5, 50.5))
    assert isinstance(outcome, Done)
    assert outcome.result.name == "Accept nucleus"
    assert document.row(2).state is NucleusState.ACCEPTED
    assert tool.selected == 2
    assert tool.click((30.5, 50.5)) == Selected(2)


@pytest.mark.parametrize("point", [(-1, 5), (5, 120.0), (np.nan, 4), (1e9, 1e9)])
def test_a_click_outside_the_image_is_nothing(tool, point):
    for negative in (False, True):
        outcome = tool.click(point, negative)
        assert isinstance(outcome, Nothing)
        assert "outside the image" in outcome.reason
    assert tool.hover(point).kind == "nothing"


# ---- new or extended


def answers(new_iou, extended_iou):
    return [answer_of(42, 24, 54, 36, new_iou), answer_of(20, 20, 50, 40, extended_iou)]


def test_the_better_scored_answer_is_shown_and_tab_swaps_within_one_step(tool, document):
    before = snapshot(document)
    result = tool.answer(ask(tool, (45.5, 30.5)), answers(0.9, 0.8))
    assert (result.name, result.ids) == ("Add nucleus", (3,))
    shown_new = document.labels()
    outcome = tool.swap()
    assert isinstance(outcome, Done)
    assert (outcome.result.name, outcome.result.ids) == ("Extend nucleus", (1,))
    assert outcome.result.action_id == result.action_id
    assert document.history.undo_name == "Extend nucleus"
    assert document.row(1).box == (20, 20, 50, 40)
    assert document.row(1).iou == 0.8
    assert document.count == 2
    check_consistent(document)
    document.undo()
    assert snapshot(document) == before
    document.redo()
    assert tool.can_swap
    tool.swap()
    assert np.array_equal(document.labels() > 0, shown_new > 0)
    assert document.row(1).box == (20, 20, 40, 40)
    document.undo()
    assert snapshot(document) == before


def test_an_extension_is_shown_when_it_scores_better(tool, document):
    result = tool.answer(ask(tool, (45.5, 30.5)), answers(0.8, 0.9))
    assert (result.name, result.ids) == ("Extend nucleus", (1,))
    assert document.prompts(1).points_yx.tolist() == [[45.5, 30.5]]
    outcome = tool.swap()
    assert isinstance(outcome, Done)
    assert outcome.result.name == "Add nucleus"
    assert document.row(1).box == (20, 20, 40, 40)
    assert document.prompts(1).is_empty


def test_after_another_action_there_is_nothing_to_swap(tool, document):
    tool.answer(ask(tool, (45.5, 30.5)), answers(0.9, 0.8))
    actions.classify(document, [2], 1)
    assert not tool.can_swap
    assert isinstance(tool.swap(), Nothing)
    document.undo()
    assert isinstance(tool.swap(), Done)


def test_a_swap_forgets_undone_steps_that_may_rest_on_the_first_answer(tool, document):
    result = tool.answer(ask(tool, (45.5, 30.5)), answers(0.9, 0.8))
    actions.classify(document, result.ids, 1)
    document.undo()
    assert isinstance(tool.swap(), Done)
    assert document.redo() is None
    check_consistent(document)


def test_a_swap_whose_nucleus_a_run_has_replaced_changes_nothing(tool, document):
    core = (50, 60, 120, 120)
    with document.run("First run") as run:
        run.add_tile(core, batch((60, 90, 80, 110)))
    with document.run("Second run") as run:
        request = ask(tool, (85.5, 100.5))
        assert targets(request) == [None, 3]
        tool.answer(request, [answer_of(81, 90, 95, 110, 0.9), answer_of(60, 90, 90, 110, 0.8)])
        run.add_tile(core, batch((61, 90, 80, 110)))
        assert 3 not in document
        before = snapshot(document)
        outcome = tool.swap()
        assert isinstance(outcome, Nothing)
        assert "Nucleus 3 is not in the document" in outcome.reason
        assert snapshot(document) == before


def test_a_swap_takes_an_id_of_its_own_when_a_run_took_the_planned_one(tool, document):
    with document.run("Segment view") as run:
        result = tool.answer(ask(tool, (45.5, 30.5)), answers(0.8, 0.9))
        assert result.name == "Extend nucleus"
        run.add_tile((0, 70, 120, 120), batch((60, 90, 80, 110)))
        assert document.row(3).box == (60, 90, 80, 110)
        outcome = tool.swap()
    assert isinstance(outcome, Done)
    assert outcome.result.ids == (4,)
    check_consistent(document)
    document.undo()
    document.undo()
    check_consistent(document)
    assert document.ids.tolist() == [1, 2]


def test_a_swap_that_the_store_cannot_keep_leaves_the_first_answer(clock):
    store = FailingStore((120, 120), 16)
    document = make_document(store=store)
    actions.import_nuclei(document, batch((20, 20, 40, 40)))
    tool = ClickTool(document, clock)
    tool.answer(ask(tool, (45.5, 30.5)), answers(0.9, 0.8))
    before = snapshot(document)
    store.writes_left = 4
    with pytest.raises(OSError, match="disk full"):
        tool.swap()
    assert snapshot(document) == before
    store.writes_left = 10**9
    assert isinstance(tool.swap(), Done)


def test_the_nucleus_touched_last_wins_for_two_seconds(tool, clock):
    tool.click((30.5, 50.5), at=clock.now)
    clock.now += 1.9
    request = ask(tool, (42.5, 41.5))
    assert targets(request) == [None, 2]
    clock.now += 5  # The model may be slow; what counts is when the click was made.
    new, extended = answer_of(41, 34, 53, 46, 0.99), answer_of(20, 40, 45, 64, 0.5)
    assert tool.answer(request, [new, extended]).ids == (2,)


def test_after_two_seconds_the_nearest_is_the_one_to_extend(tool, clock):
    tool.click((30.5, 50.5), at=clock.now)
    clock.now += 2.1
    request = ask(tool, (42.5, 39.5))
    assert targets(request) == [None, 1]
    new, extended = answer_of(41, 34, 53, 46, 0.99), answer_of(20, 20, 46, 40, 0.5)
    assert tool.answer(request, [new, extended]).name == "Add nucleus"


def test_a_nucleus_added_a_moment_ago_is_extended_by_the_next_click_beside_it(tool):
    added = tool.answer(ask(tool, (90.5, 90.5)), [answer_of(85, 85, 97, 97)])
    request = ask(tool, (100.5, 90.5))
    assert targets(request) == [None, added.ids[0]]
    prompts = request.candidates[1].prompts
    assert prompts.points_yx.tolist() == [[90.5, 90.5], [100.5, 90.5]]
    assert prompts.logits is not None
    new, extended = answer_of(98, 85, 110, 97, 0.99), answer_of(85, 85, 103, 97, 0.6)
    assert tool.answer(request, [new, extended]).ids == added.ids


def test_a_model_that_sees_nothing_changes_nothing_and_says_so(tool, document):
    before = snapshot(document)
    request = ask(tool, (90.5, 90.5))
    with pytest.raises(EditRefusedError, match=r"sees no nucleus here.*Shift-drag"):
        tool.answer(request, [EMPTY_ANSWER])
    assert snapshot(document) == before
    assert tool.pending == ()
    # With a second reading that works, that one is shown.
    result = tool.answer(ask(tool, (45.5, 30.5)), [EMPTY_ANSWER, answer_of(20, 20, 50, 40)])
    assert result.ids == (1,)
    assert not tool.can_swap


def test_the_pixel_under_the_click_obeys_even_if_the_model_does_not(tool, document):
    result = tool.answer(ask(tool, (90.5, 90.5)), [answer_of(92, 92, 104, 104)])
    assert document.id_at((90.5, 90.5)) == result.ids[0]
    check_consistent(document)


# ---- taking away


def test_a_click_in_the_core_removes_and_nearer_the_rim_carves(tool, document):
    request = ask(tool, (22.5, 30.5), negative=True)
    assert targets(request) == [1]
    assert request.candidates[0].prompts.positive.tolist() == [False]
    result = tool.answer(request, [answer_of(24, 20, 40, 40)])
    assert (result.name, result.ids) == ("Take away", (1,))
    assert document.row(1).box == (24, 20, 40, 40)
    outcome = tool.click((31.5, 30.5), negative=True)
    assert isinstance(outcome, Done)
    assert (outcome.result.name, outcome.result.removed) == ("Remove nucleus", (1,))
    assert document.undo() == "Remove nucleus"
    assert document.undo() == "Take away"


def test_carving_never_adds_a_pixel_and_always_takes_the_one_under_the_click(tool, document):
    before = document.labels()
    result = tool.answer(ask(tool, (21.5, 30.5), negative=True), [answer_of(10, 10, 60, 60)])
    assert result.ids == (1,)
    after = document.labels()
    assert document.id_at((21.5, 30.5)) is None
    assert not ((after == 1) & (before != 1)).any()
    assert (after[before == 2] == 2).all()


def test_taking_away_on_background_is_nothing_also_beside_the_last_touched(tool):
    tool.click((30.5, 30.5))
    outcome = tool.click((42.5, 30.5), negative=True)
    assert isinstance(outcome, Nothing)
    assert "no nucleus here" in outcome.reason


def test_a_nucleus_of_one_pixel_is_all_core(tool, document):
    actions.add(document, block(100, 100, 101, 101))
    assert tool.hover((100.5, 100.5), taking=True).kind == "remove"
    assert isinstance(tool.click((100.5, 100.5), negative=True), Done)


def test_a_nucleus_on_the_image_border_has_its_core_where_it_is_deepest(tool, document):
    (target,) = actions.add(document, block(100, 110, 120, 120)).ids
    assert tool.hover((110.5, 115.5), taking=True).kind == "remove"
    assert tool.hover((110.5, 119.5), taking=True).kind == "carve"
    request = ask(tool, (110.5, 119.5), negative=True)
    tool.answer(request, [answer_of(100, 110, 120, 118)])
    assert document.row(target).box == (100, 110, 120, 118)


def test_t_exchanges_adding_and_taking_away(tool):
    assert tool.toggle_sign() is True
    assert tool.hover((30.5, 30.5)).kind == "remove"
    assert tool.hover((30.5, 30.5), taking=True).kind == "select"
    assert isinstance(tool.click((30.5, 30.5)), Done)
    assert tool.click((30.5, 50.5), negative=True) == Selected(2)
    assert tool.toggle_sign() is False
    assert not tool.flipped


# ---- boxes


def test_a_box_makes_a_new_nucleus(tool, document):
    outcome = tool.box((100.0, 95.0, 80.0, 75.0))
    assert isinstance(outcome, Decode)
    assert targets(outcome.request) == [None]
    assert outcome.request.candidates[0].prompts.box == (80.0, 75.0, 100.0, 95.0)
    result = tool.answer(outcome.request, [answer_of(81, 76, 99, 94)])
    assert result.name == "Add nucleus"
    assert document.prompts(result.ids[0]).box == (80.0, 75.0, 100.0, 95.0)


def test_a_box_around_a_nucleus_refines_that_one(tool, document):
    outcome = tool.box((18, 18, 44, 43))
    assert isinstance(outcome, Decode)
    assert targets(outcome.request) == [1]
    prompts = outcome.request.candidates[0].prompts
    assert prompts.box == (18.0, 18.0, 44.0, 43.0)
    assert prompts.mask is None, "an outline that somebody draws a box around is wrong"
    result = tool.answer(outcome.request, [answer_of(19, 19, 43, 46)])
    assert (result.name, result.ids, result.trimmed_by) == ("Refine nucleus", (1,), (2,))
    check_consistent(document)


def test_a_box_in_a_nucleus_or_over_many_is_not_that_nucleus(tool):
    for box in ((22, 22, 30, 30), (15, 15, 45, 70)):
        outcome = tool.box(box)
        assert isinstance(outcome, Decode)
        assert targets(outcome.request) == [None]


def test_a_box_that_one_nucleus_fills_is_around_it_though_it_sticks_out(tool, document):
    outcome = tool.box((20, 20, 32, 32))
    assert isinstance(outcome, Decode)
    assert targets(outcome.request) == [None], "most of the nucleus lies outside"
    outcome = tool.box((20, 20, 40, 29.5))
    assert isinstance(outcome, Decode)
    assert targets(outcome.request) == [1]
    result = tool.answer(outcome.request, [answer_of(20, 20, 40, 30)])
    assert result.name == "Refine nucleus"
    assert document.row(1).box == (20, 20, 40, 30)


@pytest.mark.parametrize(
    "box", [(5, 5, 6, 50), (5, 5, 5, 5), (-50, -50, -10, -10), (200, 0, 300, 50), (np.nan, 1, 9, 9)]
)
def test_a_slip_of_the_hand_is_no_box(tool, box):
    assert isinstance(tool.box(box), Nothing)


def test_a_scribble_on_background_asks_for_a_new_nucleus(tool, document):
    outcome = tool.scribble([(80.5, 75.5), (90.5, 85.5), (200.0, 300.0)])
    assert isinstance(outcome, Decode)
    assert targets(outcome.request) == [None]
    drawn = outcome.request.candidates[0].prompts.scribble_yx
    assert drawn.tolist() == [[80.5, 75.5], [90.5, 85.5]]
    result = tool.answer(outcome.request, [answer_of(79, 74, 92, 87)])
    assert result.name == "Add nucleus"
    assert document.prompts(result.ids[0]).scribble_yx.tolist() == drawn.tolist()


def test_a_scribble_begun_in_a_nucleus_says_more_about_it(tool, document):
    outcome = tool.scribble([(25.5, 25.5), (30.5, 60.5)])
    assert isinstance(outcome, Decode)
    assert targets(outcome.request) == [1]
    prompts = outcome.request.candidates[0].prompts
    assert prompts.mask is not None
    assert prompts.box[3] == 60.5, "the box that stands for the nucleus is grown to the scribble"
    assert document.prompts(1).is_empty


@pytest.mark.parametrize("line", [[(5.5, 5.5)], [(-9, -9), (-1, -5)], np.zeros((0, 2))])
def test_a_point_or_nothing_is_no_scribble(tool, line):
    assert isinstance(tool.scribble(line), Nothing)


def test_a_box_is_cut_to_the_image(tool):
    outcome = tool.box((100, 100, 500, 500))
    assert isinstance(outcome, Decode)
    assert outcome.request.candidates[0].prompts.box == (100.0, 100.0, 120.0, 120.0)
    assert outcome.request.box == (100, 100, 120, 120)


# ---- several requests


def test_two_places_are_two_requests_answered_in_any_order(tool, document):
    first, second = ask(tool, (90.5, 30.5)), ask(tool, (90.5, 90.5))
    assert [r.number for r in tool.pending] == [first.number, second.number]
    assert tool.answer(second, [answer_of(85, 85, 97, 97)]) is not None
    assert tool.answer(first, [answer_of(85, 25, 97, 37)]) is not None
    assert document.count == 4
    document.undo()
    assert document.count == 3


def test_a_second_click_on_the_same_new_nucleus_supersedes_the_first(tool, document):
    first = ask(tool, (90.5, 90.5))
    second = ask(tool, (95.5, 90.5))
    assert second.supersedes == (first.number,)
    assert second.candidates[0].prompts.points_yx.tolist() == [[90.5, 90.5], [95.5, 90.5]]
    assert tool.answer(first, [answer_of(85, 85, 97, 97)]) is None
    result = tool.answer(second, [answer_of(85, 85, 99, 97)])
    assert document.prompts(result.ids[0]).points_yx.shape == (2, 2)
    document.undo()
    assert document.count == 2


def test_the_same_pixel_clicked_twice_is_one_request(tool):
    ask(tool, (90.5, 90.5))
    assert isinstance(tool.click((90.7, 90.1)), Nothing)
    ask(tool, (21.5, 30.5), negative=True)
    assert isinstance(tool.click((21.5, 30.5), negative=True), Nothing)
    assert len(tool.pending) == 2


def test_two_carving_clicks_on_one_nucleus_are_one_step(tool, document):
    first = ask(tool, (21.5, 30.5), negative=True)
    second = ask(tool, (38.5, 30.5), negative=True)
    assert second.supersedes == (first.number,)
    assert second.candidates[0].prompts.positive.tolist() == [False, False]
    assert tool.answer(first, [answer_of(23, 20, 40, 40)]) is None
    tool.answer(second, [answer_of(23, 20, 37, 40)])
    assert document.row(1).box == (23, 20, 37, 40)
    document.undo()
    assert document.row(1).area == 400


def test_adding_beside_a_nucleus_that_is_being_carved_keeps_both_clicks(tool, document):
    carve = ask(tool, (21.5, 30.5), negative=True)
    both = ask(tool, (43.5, 30.5))
    assert both.supersedes == (carve.number,)
    assert targets(both) == [1]
    assert both.candidates[0].prompts.positive.tolist() == [False, True]
    third = ask(tool, (22.5, 22.5), negative=True)
    assert third.supersedes == (both.number,)
    tool.answer(third, [answer_of(24, 20, 46, 40)])
    assert document.row(1).box == (24, 20, 46, 40)
    assert document.id_at((43.5, 30.5)) == 1
    assert document.id_at((22.5, 22.5)) is None


def test_a_newer_request_for_a_nucleus_beats_an_older_reading_as_its_extension(tool, document):
    older = ask(tool, (45.5, 30.5))
    newer = ask(tool, (21.5, 30.5), negative=True)
    result = tool.answer(older, answers(0.5, 0.9))
    assert result.name == "Add nucleus"
    assert tool.answer(newer, [answer_of(24, 20, 40, 40)]) is not None
    assert document.row(1).box == (24, 20, 40, 40)


def test_a_click_that_lies_in_a_nucleus_by_now_is_dropped(tool, document):
    first, second = ask(tool, (80.5, 80.5)), ask(tool, (80.5, 93.5))
    assert tool.answer(first, [answer_of(70, 70, 92, 100)]) is not None
    assert tool.answer(second, [answer_of(72, 85, 90, 100)]) is None
    assert document.count == 3


def test_a_nucleus_removed_or_changed_meanwhile_is_left_alone(tool, document):
    carve = ask(tool, (21.5, 30.5), negative=True)
    both = ask(tool, (45.5, 50.5))
    actions.remove(document, [1])
    actions.refine(document, 2, block(20, 44, 40, 60))
    before = snapshot(document)
    assert tool.answer(carve, [answer_of(24, 20, 40, 40)]) is None
    assert snapshot(document) == before
    result = tool.answer(both, [answer_of(42, 44, 54, 56, 0.1), answer_of(20, 44, 50, 64, 0.9)])
    assert result.name == "Add nucleus"
    assert document.row(2).box == (20, 44, 40, 60)


def test_a_class_given_meanwhile_does_not_spoil_an_answer(tool, document):
    carve = ask(tool, (21.5, 30.5), negative=True)
    actions.classify(document, [1], 4)
    assert tool.answer(carve, [answer_of(24, 20, 40, 40)]) is not None
    assert document.row(1).class_id == 4


def test_an_undo_meanwhile_leaves_a_pending_extension_without_its_nucleus(tool, document):
    added = tool.answer(ask(tool, (90.5, 90.5)), [answer_of(85, 85, 97, 97)])
    request = ask(tool, (100.5, 90.5))
    document.undo()
    result = tool.answer(request, [answer_of(98, 85, 110, 97, 0.5), answer_of(85, 85, 103, 97)])
    assert result.name == "Add nucleus"
    assert added.ids[0] not in document
    check_consistent(document)


def test_escape_drops_what_is_pending_then_the_selection(tool, document):
    tool.click((30.5, 30.5))
    request = ask(tool, (90.5, 90.5))
    tool.escape()
    assert tool.selected == 1
    assert tool.answer(request, [answer_of(85, 85, 97, 97)]) is None
    assert document.count == 2
    tool.escape()
    assert tool.selected is None


def test_a_failed_request_is_forgotten_and_can_be_asked_again(tool):
    request = ask(tool, (90.5, 90.5))
    tool.failed(request)
    assert tool.pending == ()
    assert tool.answer(request, [answer_of(85, 85, 97, 97)]) is None
    assert ask(tool, (90.5, 90.5)).number > request.number


def test_an_answer_needs_a_prediction_for_each_candidate(tool):
    with pytest.raises(ValueError, match="zip"):
        tool.answer(ask(tool, (45.5, 30.5)), [answer_of(42, 24, 54, 36)])


# ---- delete and hover


def test_delete_takes_the_selected_nucleus_else_the_one_under_the_pointer(tool, document):
    assert isinstance(tool.delete(), Nothing)
    tool.hover((30.5, 50.5))
    tool.click((30.5, 30.5))
    outcome = tool.delete()
    assert isinstance(outcome, Done)
    assert outcome.result.removed == (1,)
    assert tool.delete().result.removed == (2,)
    assert isinstance(tool.delete(), Nothing)
    document.undo()
    document.undo()
    assert document.count == 2


def test_hover_says_what_a_click_would_do(tool, clock):
    assert tool.hover((30.5, 30.5)).kind == "select"
    assert tool.hover((100.5, 100.5)).kind == "add"
    beside = tool.hover((42.5, 41.5))
    assert (beside.kind, beside.id) == ("extend", 1)
    tool.click((30.5, 50.5))
    assert tool.hover((42.5, 41.5)).id == 2
    clock.now += 3
    assert tool.hover((42.5, 41.5)).id == 1
    inside = tool.hover((30.5, 30.5), taking=True)
    assert (inside.kind, inside.id) == ("remove", 1)
    assert tool.hover((21.5, 30.5), taking=True).kind == "carve"
    assert tool.hover((100.5, 100.5), taking=True).kind == "nothing"


# ---- any order


moves = st.lists(
    st.tuples(
        st.sampled_from(
            ["click", "away", "box", "answer", "undo", "redo", "swap", "delete", "class"]
        ),
        st.integers(0, 119),
        st.integers(0, 119),
        st.integers(1, 30),
        st.integers(0, 3),
    ),
    max_size=30,
)


@given(moves=moves)
@settings(max_examples=80, deadline=None)
def test_no_order_of_clicks_and_late_answers_harms_the_document(moves):
    document = make_document((120, 120), tile_size=32)
    actions.import_nuclei(document, batch((20, 20, 40, 40), (20, 44, 40, 64)))
    clock = FakeClock()
    tool, asked = ClickTool(document, clock), []
    start = snapshot(document)
    for move, y, x, size, pick in moves:
        clock.now += pick
        before = document.labels()
        outcome, result = None, None
        if move in ("click", "away"):
            outcome = tool.click((y + 0.5, x + 0.5), negative=move == "away")
        elif move == "box":
            outcome = tool.box((y, x, y + size, x + size))
        elif move == "answer" and asked:
            request = asked[pick % len(asked)]
            shape = max(y - size, 0), max(x - size, 0), y + 1, x + 1
            predictions = [answer_of(*shape, iou=0.5 + 0.1 * i) for i in range(2)]
            try:
                result = tool.answer(request, predictions[: len(request.candidates)])
            except EditRefusedError:
                assert np.array_equal(document.labels(), before)
        elif move == "delete":
            outcome = tool.delete()
        elif move == "swap":
            outcome = tool.swap()
        elif move == "class" and document.count:
            actions.classify(document, [document.ids[-1]], pick)
        elif move == "undo" and document.history.undo_name != "Import nuclei":
            document.undo()
        elif move == "redo":
            document.redo()
        if isinstance(outcome, Decode):
            asked.append(outcome.request)
        if isinstance(outcome, (Selected, Nothing)):
            assert np.array_equal(document.labels(), before)
        if result is not None:
            others = (before != 0) & ~np.isin(before, [*result.ids, *result.removed])
            assert np.array_equal(document.labels()[others], before[others])
        check_consistent(document)
    while document.history.undo_name != "Import nuclei":
        document.undo()
    assert snapshot(document) == start
