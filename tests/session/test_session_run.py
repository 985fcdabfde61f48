"""Runs: one undo step of many pieces, what they may replace, and undo while they go on."""

import numpy as np
import pytest
from session_helpers import (
    FailingStore,
    batch,
    block,
    check_consistent,
    logits_of,
    make_document,
    snapshot,
)

from napari_nucleus.errors import CancelledError, LabelsError
from napari_nucleus.session import actions
from napari_nucleus.session.table import NucleusState

LEFT, RIGHT = (0, 0, 64, 32), (0, 32, 64, 64)


def run_tiles(document, *tiles, name="Segment view"):
    with document.run(name) as run:
        for core, nuclei in tiles:
            run.add_tile(core, nuclei)
    return run


def test_all_tiles_of_a_run_are_one_step():
    document = make_document()
    logits = (logits_of((5, 5, 15, 15)),)
    prob = np.array([[0, 0, 0.7, 0.3, 0]])
    run = run_tiles(
        document,
        (LEFT, batch((5, 5, 15, 15), score=[0.75], class_prob=prob, logits=logits, source="nano")),
        (RIGHT, batch((5, 40, 15, 50))),
    )
    row = document.row(1)
    assert (row.state, row.source, row.score, row.class_id) == (
        NucleusState.AUTOMATIC,
        "nano",
        0.75,
        3,
    )
    assert not row.touched
    assert document.logits(1) is not None
    assert (run.added, run.left_out, run.trimmed_px) == (2, 0, 0)
    end = snapshot(document)
    assert document.undo() == "Segment view"
    assert document.count == 0
    assert document.history.undo_name is None
    document.redo()
    assert snapshot(document) == end


def test_a_new_run_replaces_untouched_automatic_nuclei_of_its_core_only():
    document = make_document()
    run_tiles(document, (LEFT, batch((5, 5, 15, 15), (30, 5, 40, 15))))
    run_tiles(document, (RIGHT, batch((5, 40, 15, 50))))
    before = snapshot(document)
    run_tiles(document, (LEFT, batch((6, 6, 16, 17), source="other")), name="Second run")
    assert [row.box for row in document.rows()] == [(5, 40, 15, 50), (6, 6, 16, 17)]
    check_consistent(document)
    document.undo()
    assert snapshot(document) == before


def test_a_tile_without_nuclei_removes_old_ones_of_its_core():
    document = make_document()
    run_tiles(document, (LEFT, batch((5, 5, 15, 15))))
    run_tiles(document, (LEFT, batch()))
    assert document.count == 0


@pytest.mark.parametrize("touch", ["refine", "classify", "accept", "add", "import"])
def test_a_run_never_overwrites_or_removes_what_is_the_users(touch):
    document = make_document()
    box = (5, 5, 15, 15)
    if touch == "add":
        actions.add(document, block(*box))
    elif touch == "import":
        actions.import_nuclei(document, batch(box))
    else:
        run_tiles(document, (LEFT, batch(box)))
        {
            "refine": lambda: actions.refine(document, 1, block(*box)),
            "classify": lambda: actions.classify(document, [1], 1),
            "accept": lambda: actions.accept(document, [1]),
        }[touch]()
    row, before = document.row(1), document.labels()
    run = run_tiles(document, (LEFT, batch((5, 5, 15, 16), (14, 5, 30, 15))))
    after = document.labels()
    assert (after[before == 1] == 1).all()
    assert document.row(1) == row
    assert (run.added, run.left_out, run.trimmed_px) == (1, 1, 10)
    check_consistent(document)


def test_a_nucleus_on_the_seam_is_replaced_by_the_tile_that_sees_it():
    document = make_document()
    run_tiles(document, (LEFT, batch()), (RIGHT, batch((5, 28, 15, 38))))
    assert document.row(1).centroid_yx[1] > 32
    # The second run puts the centroid a little to the left, so that the left tile owns it.
    run_tiles(document, (LEFT, batch((5, 25, 15, 37))), (RIGHT, batch()))
    assert [row.box for row in document.rows()] == [(5, 25, 15, 37)]
    check_consistent(document)


def test_an_old_nucleus_goes_only_if_its_successor_enters():
    document = make_document()
    run_tiles(document, (RIGHT, batch((5, 33, 9, 38))))
    actions.add(document, block(5, 10, 15, 31))
    # It covers the old one, but most of it lies on the user's nucleus.
    run = run_tiles(document, (LEFT, batch((5, 12, 15, 38))))
    assert run.left_out == 1
    assert 1 in document
    check_consistent(document)


def test_nuclei_of_the_same_run_do_not_replace_each_other():
    document = make_document()
    run = run_tiles(
        document, (LEFT, batch((5, 27, 15, 36))), (RIGHT, batch((5, 28, 15, 37), (6, 34, 9, 50)))
    )
    assert [row.box for row in document.rows()] == [(5, 27, 15, 36), (6, 36, 9, 50)]
    assert run.left_out == 1


def test_cancelling_or_failing_keeps_what_was_added():
    document = make_document()
    runs = []

    def fail():
        with document.run("Segment view") as run:
            runs.append(run)
            run.add_tile(LEFT, batch((5, 5, 15, 15)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert document.count == 1
    assert runs[0].stopped
    assert document.undo() == "Segment view"
    assert document.count == 0


def test_a_run_that_adds_nothing_leaves_no_step():
    document = make_document()
    actions.add(document, block(5, 5, 9, 9))
    run_tiles(document)
    assert document.history.undo_name == "Add nucleus"
    with document.run("Segment view") as run:
        assert document.history.undo_name == "Segment view"
        assert document.undo() == "Segment view"
        with pytest.raises(CancelledError):
            run.add_tile(LEFT, batch((20, 20, 30, 30)))
    assert document.history.redo_name is None
    assert document.history.undo_name == "Add nucleus"


def test_undoing_a_run_while_it_goes_on_stops_it():
    document = make_document()
    with document.run("Segment view") as run:
        run.add_tile(LEFT, batch((5, 5, 15, 15)))
        assert document.undo() == "Segment view"
        assert document.count == 0
        assert run.stopped
        with pytest.raises(CancelledError, match="'Segment view' was undone"):
            run.add_tile(RIGHT, batch((5, 40, 15, 50)))
    assert document.redo() == "Segment view"
    assert document.count == 1
    with pytest.raises(CancelledError):
        run.add_tile(RIGHT, batch((5, 40, 15, 50)))


def test_a_stopped_run_can_end_after_its_step_is_forgotten():
    document = make_document()
    with document.run("Segment view") as run:
        run.add_tile(LEFT, batch((5, 5, 15, 15)))
        document.undo()
        actions.add(document, block(40, 40, 44, 44))
    assert document.history.undo_name == "Add nucleus"
    assert document.redo() is None


def test_the_users_steps_during_a_run_are_undone_first_and_the_run_goes_on():
    document = make_document()
    with document.run("Segment view") as run:
        run.add_tile(LEFT, batch((5, 5, 15, 15)))
        actions.add(document, block(40, 40, 50, 50))
        run.add_tile(RIGHT, batch((5, 40, 15, 50)))
        assert document.undo() == "Add nucleus"
        assert document.count == 2
        assert not run.stopped
        run.add_tile((32, 32, 64, 64), batch((38, 38, 48, 48), (55, 40, 60, 50)))
        assert document.redo() == "Add nucleus"
        check_consistent(document)
    assert [row.box for row in document.rows() if row.touched] == [(40, 40, 50, 50)]
    end = snapshot(document)
    assert [document.undo(), document.undo(), document.undo()] == [
        "Add nucleus",
        "Segment view",
        None,
    ]
    assert document.count == 0
    document.redo()
    document.redo()
    assert snapshot(document) == end


def test_a_nucleus_removed_during_a_run_does_not_come_back_with_a_later_tile():
    document = make_document()
    run_tiles(document, (LEFT, batch((5, 5, 15, 15))))
    with document.run("Second run") as run:
        actions.remove(document, [1])
        placed = run.add_tile(LEFT, batch((5, 5, 15, 15), (30, 5, 40, 15)))
        assert placed.left_out == 1
        assert [row.box for row in document.rows()] == [(30, 5, 40, 15)]
    document.undo()
    assert 1 in document
    check_consistent(document)


def test_a_nucleus_whose_removal_was_undone_during_a_run_stays_so_that_redo_works():
    document = make_document()
    run_tiles(document, (LEFT, batch((5, 5, 15, 15))))
    with document.run("Second run") as run:
        actions.classify(document, [1], 1)
        actions.remove(document, [1])
        document.undo()
        document.undo()
        run.add_tile(LEFT, batch((6, 6, 16, 16)))
        assert 1 in document
    assert document.redo() == "Classify nucleus as neoplastic"
    assert document.redo() == "Remove nucleus"
    check_consistent(document)


def test_a_piece_that_the_store_cannot_keep_is_left_out_whole_and_the_rest_stays():
    store = FailingStore((64, 64), 16)
    document = make_document(store=store)
    with document.run("Segment view") as run:
        run.add_tile(LEFT, batch((5, 5, 15, 15)))
        before = snapshot(document)
        store.writes_left = 3
        with pytest.raises(OSError, match="disk full"):
            run.add_tile(RIGHT, batch((5, 40, 15, 50), (30, 40, 40, 50)))
        assert snapshot(document) == before
        assert run.added == 1
        store.writes_left = 10**9
        run.add_tile(RIGHT, batch((5, 40, 15, 50)))
    assert document.count == 2


def test_a_large_import_can_stream_and_keep_its_ids():
    document = make_document()
    nuclei = batch((5, 5, 15, 15), (5, 40, 15, 50), (40, 5, 50, 15))
    ids = document.reserve_ids(3, [30, 10, 20])
    with document.run("Import labels") as run:
        for index in actions.batches_of(nuclei, size=32):
            run.add(nuclei.select(index), ids[index].tolist())
            actions.add(document, block(60, 60, 63, 63)) if run.added == 1 else None
    assert document.row(20).box == (40, 5, 50, 15)
    assert document.row(20).state is NucleusState.IMPORTED
    assert document.ids.tolist() == [10, 20, 30, 31]
    document.undo()
    document.undo()
    assert document.count == 0


def test_an_id_in_use_is_not_given_to_another_nucleus():
    document = make_document()
    actions.add(document, block(5, 5, 9, 9))
    with document.run("Import labels") as run, pytest.raises(ValueError, match="id 1 belongs"):
        run.add(batch((40, 40, 50, 50)), [1])
    check_consistent(document)


def test_classes_of_another_scheme_are_refused_before_anything_changes():
    document = make_document()
    with document.run("Segment view") as run, pytest.raises(LabelsError, match="2 class columns"):
        run.add_tile(LEFT, batch((5, 5, 15, 15), class_prob=np.ones((1, 2))))
    assert document.count == 0
    assert document.history.undo_name is None
