"""Imports of nuclei by policy: laws that hold for any document and any file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from session_helpers import (
    STORES,
    FailingStore,
    batch,
    block,
    check_consistent,
    clicks,
    file_store,
    make_document,
    snapshot,
)

from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.errors import ProjectError
from napari_nucleus.session import actions
from napari_nucleus.session.document import HIGHEST_KEPT_ID
from napari_nucleus.session.import_batch import Incoming, incoming_of
from napari_nucleus.session.import_policy import (
    ImportPolicy,
    import_incoming,
    import_incoming_in_steps,
)
from napari_nucleus.session.table import NucleusState

SIDE = 40
ADD, REPLACE, MERGE = ImportPolicy


def incoming(nuclei, class_ids=None, scores=None, ids=None, shape=(64, 64), notes=()) -> Incoming:
    classes = np.zeros(len(nuclei), int) if class_ids is None else np.array(class_ids)
    marks = None if scores is None else np.array(scores, float)
    return incoming_of(nuclei, shape, classes, marks, ids, notes)


@st.composite
def files(draw, parted=False):
    """Nuclei of any shapes, overlapping and out of the image unless they are of one map."""
    if parted:
        labels = draw(hnp.arrays(np.int32, (SIDE, SIDE), elements=st.integers(0, 0)))
        for number in range(1, draw(st.integers(1, 6))):
            y, x = draw(st.integers(0, SIDE - 1)), draw(st.integers(0, SIDE - 1))
            labels[y : y + draw(st.integers(1, 12)), x : x + draw(st.integers(1, 12))] = number
        nuclei, ids = Nuclei.from_labels(labels)
    else:
        places = st.tuples(st.integers(-4, SIDE), st.integers(-4, SIDE))
        shapes = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=13))
        masks, offsets = [], []
        for place in draw(st.lists(places, max_size=6)):
            mask = draw(shapes)
            masks.append(np.ones_like(mask) if draw(st.booleans()) else mask)
            offsets.append(place)
        nuclei = Nuclei.from_masks(masks, np.array(offsets).reshape(-1, 2))
        ids = np.arange(len(nuclei)) + draw(st.integers(1, 9))
    n = len(nuclei)
    some = st.sampled_from([0.25, 0.5, 0.75, 1.0])
    scores = np.array([draw(some | st.just(np.nan)) for _ in range(n)], np.float32)
    nuclei = replace(nuclei, score=np.nan_to_num(scores, nan=1.0))
    classes = [draw(st.integers(0, 3)) for _ in range(n)]
    return incoming(nuclei, classes, scores, draw(st.none() | st.just(ids)), (SIDE, SIDE))


@st.composite
def documents(draw, make):
    """A document with nuclei of models, of files and of the user."""
    document = make_document((SIDE, SIDE), store=make((SIDE, SIDE), 16))
    for number in range(draw(st.integers(0, 2))):
        boxes = []
        for _ in range(draw(st.integers(1, 4))):
            y, x = draw(st.integers(0, SIDE - 2)), draw(st.integers(0, SIDE - 2))
            boxes.append((y, x, y + draw(st.integers(1, 12)), x + draw(st.integers(1, 12))))
        if number:
            actions.import_nuclei(document, batch(*boxes))
        else:
            with document.run("Segment") as run:
                run.add_tile((0, 0, SIDE, SIDE), batch(*boxes))
    for nucleus_id in document.ids.tolist():
        if draw(st.integers(0, 3)) == 0:
            actions.accept(document, [nucleus_id])
    return document


@STORES
@given(data=st.data(), policy=st.sampled_from(ImportPolicy))
@settings(max_examples=60, deadline=None)
def test_undo_brings_back_every_byte_and_redo_too(make, data, policy):
    document = data.draw(documents(make))
    before = snapshot(document)
    within = data.draw(st.none() | st.just(shapely.box(5, 8, 30, 30)))
    result = import_incoming(document, data.draw(files()), policy, within=within)
    check_consistent(document)
    after = snapshot(document)
    if result.action_id is None:
        assert after == before
        return
    document.undo()
    assert snapshot(document) == before
    document.redo()
    assert snapshot(document) == after


@STORES
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_adding_changes_no_nucleus_that_is_there(make, data):
    document = data.draw(documents(make))
    before, rows = document.to_arrays()
    import_incoming(document, data.draw(files()), ADD)
    after = document.labels()
    assert np.array_equal(after[before != 0], before[before != 0])
    assert document.rows([row.id for row in rows]) == rows


@STORES
@given(data=st.data(), same_iou=st.sampled_from([0.5, 0.7, 1.0]))
@settings(max_examples=150, deadline=None)
def test_merging_the_same_file_again_changes_nothing(make, data, same_iou):
    document, file = data.draw(documents(make)), data.draw(files())
    import_incoming(document, file, MERGE, same_iou=same_iou)
    check_consistent(document)
    once = snapshot(document)
    again = import_incoming(document, file, MERGE, same_iou=same_iou)
    assert again.action_id is None
    assert snapshot(document) == once


@STORES
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_merging_keeps_every_nucleus_and_leaves_the_users_as_they_are(make, data):
    document = data.draw(documents(make))
    before, rows = document.to_arrays()
    import_incoming(document, data.draw(files()), MERGE)
    assert all(row.id in document for row in rows)
    after = document.labels()
    for row in rows:
        if row.touched:
            assert document.row(row.id) == row
            assert np.array_equal(after == row.id, before == row.id)


@STORES
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_replacing_leaves_what_the_file_holds(make, data):
    document, file = data.draw(documents(make)), data.draw(files(parted=True))
    import_incoming(document, file, REPLACE)
    assert document.count == len(file)
    labels = document.labels()
    for i, (mask, (y0, x0, y1, x1)) in enumerate(
        zip(file.nuclei.masks, file.nuclei.boxes.tolist(), strict=True)
    ):
        (nucleus_id,) = np.unique(labels[y0:y1, x0:x1][mask])
        assert np.array_equal(labels[y0:y1, x0:x1] == nucleus_id, mask)
        assert document.row(nucleus_id).class_id == file.class_ids[i]
        assert document.row(nucleus_id).state is NucleusState.IMPORTED


@STORES
def test_a_new_document_takes_the_ids_of_the_file(make):
    document = make_document(store=make((64, 64), 16))
    file = incoming(batch((0, 0, 5, 5), (10, 10, 15, 15)), ids=[70_000, 3])
    for policy in ImportPolicy:
        assert import_incoming(document, file, policy).ids == (3, 70_000)
        document.undo()
        document = make_document(store=make((64, 64), 16))


@STORES
def test_replacing_gives_ids_again_to_the_nuclei_that_had_them(make):
    """Nuclei that were exported, edited elsewhere and come back keep their ids."""
    document = make_document(store=make((64, 64), 16))
    places = [(0, 0, 5, 5), (10, 10, 15, 15), (20, 20, 25, 25), (30, 30, 35, 35)]
    actions.import_nuclei(document, batch(*places))
    actions.remove(document, [4])
    edited = batch((0, 0, 5, 6), (10, 10, 15, 15), (40, 40, 45, 45), (30, 30, 35, 35))
    result = import_incoming(document, incoming(edited, ids=[1, 2, 9, 4]), REPLACE)
    # Nucleus 4 was removed before, so its id has a history of its own.
    assert result.ids == (1, 2, 5, 9)
    assert result.removed == (3,)
    assert document.row(5).box == (30, 30, 35, 35)
    assert document.row(1).area == 30
    assert result.message == "4 nuclei imported in the place of 3."
    document.undo()
    assert document.ids.tolist() == [1, 2, 3]


def test_ids_that_cannot_be_kept_are_new_ones():
    document = make_document()
    actions.import_nuclei(document, batch((0, 0, 5, 5), (10, 10, 15, 15)))
    boxes = [(20, 20, 25, 25), (30, 30, 35, 35), (40, 40, 45, 45)]
    twice = import_incoming(document, incoming(batch(*boxes), ids=[1, 1, 2]), REPLACE)
    assert twice.ids == (3, 4, 5)
    high = import_incoming(
        document, incoming(batch(*boxes), ids=[HIGHEST_KEPT_ID + 1, 3, 7]), REPLACE
    )
    assert high.ids == (3, 6, 7)
    assert document.row(6).box == boxes[0]


def test_an_import_that_is_not_made_uses_up_no_ids():
    document = make_document()
    file = incoming(batch((0, 0, 5, 5)), ids=[7])
    steps = import_incoming_in_steps(document, file)
    next(steps)
    steps.close()
    assert document.count == 0
    assert import_incoming(document, file).ids == (7,)


@STORES
def test_replacing_in_a_region_leaves_the_rest(make):
    document = make_document(store=make((64, 64), 16))
    actions.import_nuclei(document, batch((0, 0, 10, 10), (20, 20, 30, 30), (40, 40, 50, 50)))
    file = incoming(batch((18, 18, 28, 28), (50, 10, 60, 20)), ids=[1, 2])
    result = import_incoming(document, file, REPLACE, within=shapely.box(15, 15, 35, 35))
    # Its id is that of a nucleus that stays.
    assert (result.ids, result.removed) == ((4,), (2,))
    assert sorted(row.box for row in document.rows()) == [
        (0, 0, 10, 10),
        (18, 18, 28, 28),
        (40, 40, 50, 50),
    ]
    assert "1 left out because they lie outside the region" in result.message
    nowhere = import_incoming(document, file, REPLACE, within=shapely.Polygon())
    assert nowhere.action_id is None


@STORES
def test_a_merge_takes_outline_class_and_score_and_keeps_the_id(make):
    document = make_document(store=make((64, 64), 16))
    actions.import_nuclei(
        document, batch((0, 0, 10, 10), (20, 20, 30, 30), (40, 40, 50, 50), (0, 40, 9, 49))
    )
    actions.classify(document, [2], 3)
    edited = batch((0, 0, 10, 13), (20, 20, 30, 33), (40, 40, 50, 50), (55, 0, 60, 5))
    file = incoming(edited, [4, 5, 0, 1], [0.5, 0.5, 1.0, np.nan], [8, 9, 10, 11])
    result = import_incoming(document, file, MERGE)
    row = document.row(1)
    assert (row.area, row.class_id, row.score, row.source) == (130, 4, 0.5, "model")
    assert row.state is NucleusState.IMPORTED
    assert document.row(2).area == 100
    assert document.row(2).class_id == 3
    assert document.row(4).area == 81
    assert result.ids == (1, 11)
    assert document.row(11).score == 1.0
    assert result.message == (
        "1 nucleus imported; 1 brought up to date; 1 the same as before; "
        "1 kept as you made or accepted them."
    )
    check_consistent(document)


def test_what_has_no_class_and_no_score_in_the_file_keeps_its_own():
    document = make_document()
    prob = np.eye(5)[[1]]
    actions.import_nuclei(document, batch((0, 0, 10, 10), score=[0.3], class_prob=prob))
    file = incoming(batch((0, 0, 10, 12)), [0], [np.nan])
    import_incoming(document, file, MERGE)
    row = document.row(1)
    assert (row.area, row.class_id, row.class_prob) == (120, 2, (0, 1, 0, 0, 0))
    assert row.score == pytest.approx(0.3)


def test_scores_that_were_rounded_on_the_way_change_nothing():
    document = make_document()
    with document.run("Segment") as run:
        run.add_tile((0, 0, 64, 64), batch((0, 0, 10, 10), score=[0.123456]))
    file = incoming(batch((0, 0, 10, 10)), [0], [0.1235])
    assert import_incoming(document, file, MERGE).action_id is None
    assert document.row(1).state is NucleusState.AUTOMATIC


def test_two_neighbours_whose_border_moved_are_both_brought_up_to_date():
    document = make_document()
    actions.import_nuclei(document, batch((0, 0, 10, 20), (0, 20, 10, 40)))
    import_incoming(document, incoming(batch((0, 0, 10, 26), (0, 26, 10, 40))), MERGE)
    assert [row.area for row in document.rows()] == [260, 140]
    import_incoming(document, incoming(batch((0, 0, 10, 15), (0, 15, 10, 40))), MERGE)
    assert [row.box for row in document.rows()] == [(0, 0, 10, 15), (0, 15, 10, 40)]


def test_an_outline_takes_no_pixel_of_a_nucleus_that_stays():
    document = make_document()
    actions.import_nuclei(document, batch((0, 0, 10, 12)))
    actions.add(document, block(0, 12, 10, 22))
    import_incoming(document, incoming(batch((0, 1, 10, 22))), MERGE)
    assert [row.box for row in document.rows()] == [(0, 1, 10, 12), (0, 12, 10, 22)]


def test_an_outline_that_others_cut_into_small_parts_is_not_taken():
    document = make_document()
    labels = np.zeros((64, 64), int)
    labels[0:5, 0:10] = labels[8:13, 0:10] = 1
    actions.import_labels(document, labels)
    actions.add(document, block(5, 0, 8, 10))
    before = snapshot(document)
    result = import_incoming(document, incoming(batch((0, 0, 13, 10)), [3]), MERGE)
    assert result.action_id is None
    assert "1 kept because others hold their place" in result.message
    assert snapshot(document) == before


def test_prompts_of_a_nucleus_go_with_its_outline():
    document = make_document()
    outline = replace(block(0, 0, 10, 10), prompts=clicks((5, 5, True)))
    actions.add(document, outline)
    import_incoming(document, incoming(batch((0, 0, 10, 12))), REPLACE)
    (row,) = document.rows()
    assert document.memory(row.id) is None
    document.undo()
    assert len(document.prompts(1).points_yx) == 1


def test_the_message_counts_what_did_not_enter():
    document = make_document()
    file = incoming(
        batch((60, 60, 70, 70), (70, 70, 80, 80), (0, 0, 8, 8), (1, 1, 9, 9)), notes=["a note"]
    )
    assert import_incoming(document, file).message == (
        "2 nuclei imported; 1 left out because others hold their place; "
        "1 left out because they lie outside the image; a note."
    )
    assert document.row(1).box == (60, 60, 64, 64)


@pytest.mark.parametrize("policy", ImportPolicy)
def test_a_document_that_refuses_is_as_it_was(policy):
    store = file_store((64, 64))
    document = make_document(store=store)
    actions.import_nuclei(document, batch((0, 0, 10, 10)))
    before = snapshot(document)
    store.read_only = True
    file = incoming(batch((0, 0, 10, 12), (30, 30, 40, 40)), ids=[1, 2])
    with pytest.raises(ProjectError, match="read only; nothing was changed"):
        import_incoming(document, file, policy)
    assert snapshot(document) == before


@pytest.mark.parametrize("policy", ImportPolicy)
@pytest.mark.parametrize("writes", [0, 1, 3])
def test_a_fault_in_the_middle_leaves_the_document_as_it_was(policy, writes):
    store = FailingStore((64, 64), 16)
    document = make_document(store=store)
    actions.import_nuclei(document, batch((0, 0, 10, 10), (20, 20, 30, 30)))
    before = snapshot(document)
    store.writes_left = writes
    file = incoming(batch((0, 0, 10, 12), (20, 20, 31, 31), (50, 50, 60, 60)), ids=[1, 2, 3])
    with pytest.raises(OSError, match="disk full"):
        import_incoming(document, file, policy)
    assert snapshot(document) == before


@pytest.mark.parametrize("policy", ImportPolicy)
def test_a_large_import_pauses_between_squares_and_is_one_step(policy):
    document = make_document((2000, 2000), tile_size=512)
    places = [(r, c, r + 9, c + 9) for r in range(0, 1900, 90) for c in range(1, 1900, 90)]
    actions.import_nuclei(document, batch(*places))
    moved = [(r, c + 1, r + 9, c + 10) for r, c, _, _ in places]
    file = incoming(batch(*moved), shape=(2000, 2000))
    steps = import_incoming_in_steps(document, file, policy)
    pauses = sum(1 for _ in steps)
    # Squares in which nothing changes are pauses as well.
    assert pauses >= 16
    if policy is not ADD:
        assert sorted(row.box for row in document.rows()) == sorted(moved)
        document.undo()
    assert sorted(row.box for row in document.rows()) == sorted(places)


def test_an_iou_by_which_two_nuclei_would_be_one_is_refused():
    with pytest.raises(ValueError, match=r"0\.5–1, got 0\.4"):
        import_incoming(make_document(), incoming(batch()), MERGE, same_iou=0.4)
