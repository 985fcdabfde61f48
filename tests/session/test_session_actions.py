"""Actions: names, the overlap policy, refusals, and undo to the last bit."""

import numpy as np
import pytest
from session_helpers import (
    batch,
    block,
    check_consistent,
    clicks,
    logits_of,
    make_document,
    snapshot,
)

from napari_nucleus.errors import EditRefusedError, LabelsError
from napari_nucleus.session import actions
from napari_nucleus.session.actions import Outline
from napari_nucleus.session.document import Document
from napari_nucleus.session.memory_store import MemoryStore
from napari_nucleus.session.table import NucleusState


@pytest.fixture
def document():
    document = make_document()
    actions.import_nuclei(document, batch((10, 10, 20, 20), (10, 24, 20, 34)))
    return document


def with_clicks(outline, *points):
    return Outline(outline.mask, outline.box, clicks(*points))


# ---- add


def test_an_added_nucleus_is_the_users_with_its_prompts(document):
    outline = block(40, 40, 50, 52)
    wish = Outline(outline.mask, outline.box, clicks((44, 44, True)), logits_of((40, 40, 50, 52)))
    result = actions.add(document, wish, class_id=2)
    assert (result.name, result.ids, result.trimmed_px) == ("Add nucleus", (3,), 0)
    row = document.row(3)
    assert (row.state, row.source, row.class_id, row.area) == (NucleusState.USER, "user", 2, 120)
    assert row.touched
    assert row.centroid_yx == (45.0, 46.0)
    check_consistent(document)


def test_new_pixels_take_background_only_and_the_result_says_what_was_left_to_whom(document):
    before = document.labels()
    result = actions.add(document, block(12, 18, 18, 28))
    assert result.trimmed_px == 6 * 2 + 6 * 4
    assert result.trimmed_by == (1, 2)
    assert result.message == "36 px were left to nucleus 1, 2."
    after = document.labels()
    assert np.array_equal(after[before != 0], before[before != 0])
    assert document.row(3).box == (12, 20, 18, 24)


def test_adding_where_others_hold_every_pixel_is_refused(document):
    before = snapshot(document)
    with pytest.raises(EditRefusedError, match="nucleus 1 holds that place"):
        actions.add(document, block(12, 12, 15, 15))
    with pytest.raises(EditRefusedError, match="none was found here"):
        actions.add(document, Outline(np.zeros((3, 3), bool), (40, 40, 43, 43)))
    with pytest.raises(EditRefusedError, match="none was found here"):
        actions.add(document, block(100, 100, 110, 110))
    with pytest.raises(EditRefusedError, match="Class 77 is not in the scheme 'PanNuke'"):
        actions.add(document, block(40, 40, 45, 45), class_id=77)
    assert snapshot(document) == before
    assert document.history.undo_name == "Import nuclei"


def test_an_outline_that_reaches_out_of_the_image_is_cut(document):
    result = actions.add(document, block(58, 58, 80, 90))
    assert document.row(result.ids[0]).box == (58, 58, 64, 64)
    result = actions.add(document, block(-5, -5, 3, 4))
    assert document.row(result.ids[0]).box == (0, 0, 3, 4)
    check_consistent(document)


def test_a_nucleus_of_one_pixel_can_be_added_classified_and_removed(document):
    (nucleus_id,) = actions.add(document, block(0, 63, 1, 64)).ids
    assert document.row(nucleus_id).area == 1
    actions.classify(document, [nucleus_id], 4)
    actions.remove(document, [nucleus_id])
    check_consistent(document)


def test_the_pixel_under_a_click_always_obeys(document):
    result = actions.add(document, with_clicks(block(40, 40, 50, 50), (55, 55, True)))
    assert document.id_at((55.5, 55.5)) == result.ids[0]
    actions.refine(
        document,
        result.ids[0],
        with_clicks(block(40, 40, 50, 50), (45, 45, True), (41, 41, False)),
    )
    assert document.id_at((41.5, 41.5)) is None
    assert document.id_at((45.5, 45.5)) == result.ids[0]
    assert document.id_at((55.5, 55.5)) is None


# ---- refine


def test_a_refined_nucleus_keeps_id_class_and_source_and_leaves_neighbours_alone(document):
    actions.classify(document, [1], 3)
    before = document.labels()
    result = actions.refine(document, 1, block(8, 8, 22, 30), name="Extend nucleus")
    row = document.row(1)
    assert (row.class_id, row.source, row.state) == (3, "model", NucleusState.USER)
    assert result.trimmed_by == (2,)
    assert result.trimmed_px == 10 * 6
    assert (document.labels()[before == 2] == 2).all()
    assert row.area == 14 * 22 - 60
    check_consistent(document)


def test_refining_may_move_a_nucleus_entirely(document):
    actions.refine(document, 1, block(40, 40, 50, 50))
    assert document.row(1).box == (40, 40, 50, 50)
    assert document.ids_in((10, 10, 20, 20)) == []
    check_consistent(document)


def test_only_the_largest_part_and_parts_with_a_click_remain_and_holes_are_filled(document):
    mask = np.zeros((20, 20), bool)
    mask[0:9, 0:9] = True
    mask[4, 4] = False
    mask[15:18, 15:18] = True
    mask[18, 0] = True
    box = (40, 40, 60, 60)
    (one,) = actions.add(document, Outline(mask, box)).ids
    assert document.row(one).area == 81
    document.undo()
    (two,) = actions.add(document, Outline(mask, box, clicks((56, 56, True)))).ids
    assert document.row(two).area == 81 + 9


def test_an_outline_that_leaves_nothing_is_refused(document):
    before = snapshot(document)
    with pytest.raises(EditRefusedError, match="leaves nothing of nucleus 1"):
        actions.refine(document, 1, block(12, 26, 15, 30))
    with pytest.raises(EditRefusedError, match="Nucleus 99 is not in the document"):
        actions.refine(document, 99, block(40, 40, 50, 50))
    assert snapshot(document) == before


# ---- take away


def test_taking_away_never_lets_a_nucleus_grow(document):
    result = actions.take_away(document, 1, block(5, 5, 15, 40))
    assert result.name == "Take away"
    assert document.row(1).box == (10, 10, 15, 20)
    check_consistent(document)


def test_taking_away_everything_removes_the_nucleus_and_says_so(document):
    result = actions.take_away(document, 1, block(40, 40, 45, 45))
    assert result.removed == (1,)
    assert result.ids == ()
    assert "Nothing was left of nucleus 1" in result.message
    assert 1 not in document
    document.undo()
    assert document.row(1).area == 100


def test_taking_away_obeys_the_click_where_the_model_does_not(document):
    result = actions.take_away(document, 1, with_clicks(block(10, 10, 20, 20), (11, 11, False)))
    assert document.id_at((11.5, 11.5)) is None
    assert document.row(1).area >= 75
    assert result.ids == (1,)


# ---- nuclei as they are


def test_removing_is_one_step_for_any_number_or_refused_as_a_whole(document):
    before = snapshot(document)
    with pytest.raises(EditRefusedError, match="Nucleus 7 "):
        actions.remove(document, [1, 7])
    assert snapshot(document) == before
    result = actions.remove(document, [2, 1, 2])
    assert (result.name, result.removed) == ("Remove 2 nuclei", (2, 1))
    assert document.count == 0
    document.undo()
    assert snapshot(document) == before
    assert actions.remove(document, [1]).name == "Remove nucleus"


def test_classifying_makes_nuclei_the_users_and_is_not_repeated(document):
    result = actions.classify(document, [1, 2], 1)
    assert result.name == "Classify 2 nuclei as neoplastic"
    assert document.counts_by_class() == {1: 2}
    assert all(row.state is NucleusState.USER for row in document.rows())
    again = actions.classify(document, [1, 2], 1)
    assert (again.action_id, again.ids, again.message) == (None, (), "Already neoplastic.")
    assert document.history.undo_name == result.name
    assert actions.classify(document, [1], 0).name == "Classify nucleus as unclassified"
    with pytest.raises(EditRefusedError, match="Class 9 is not in the scheme"):
        actions.classify(document, [1], 9)


def test_a_class_named_by_the_user_replaces_the_models_probabilities():
    document = make_document()
    prob = np.array([[0.1, 0.6, 0.1, 0.1, 0.1]])
    actions.import_nuclei(document, batch((1, 1, 5, 5), class_prob=prob))
    assert document.row(1).class_id == 2
    assert document.row(1).class_prob == pytest.approx((0.1, 0.6, 0.1, 0.1, 0.1))
    actions.classify(document, [1], 2)
    assert document.row(1).class_prob == ()
    assert document.row(1).touched
    document.undo()
    assert document.row(1).class_prob == pytest.approx((0.1, 0.6, 0.1, 0.1, 0.1))


def test_accepting_marks_untouched_nuclei_only(document):
    actions.classify(document, [2], 1)
    result = actions.accept(document, [1, 2])
    assert (result.name, result.ids) == ("Accept nucleus", (1,))
    assert document.row(1).state is NucleusState.ACCEPTED
    assert document.row(2).state is NucleusState.USER
    again = actions.accept(document, [1])
    assert (again.action_id, again.message) == (None, "Already accepted.")
    document.undo()
    assert not document.row(1).touched


# ---- imports


def test_a_label_map_keeps_its_ids_with_gaps():
    document = make_document((40, 50))
    labels = np.zeros((40, 50), np.uint16)
    labels[0:5, 0:5] = 9
    labels[10:20, 10:30] = 4
    labels[39, 49] = 65_000
    result = actions.import_labels(document, labels, class_of_id={4: 2, 9: 99}, source="cellpose")
    assert result.ids == (4, 9, 65_000)
    assert np.array_equal(document.labels(), labels)
    assert document.row(4).class_id == 2
    assert document.row(9).class_id == 0
    assert document.row(4).source == "cellpose"
    assert document.row(4).state is NucleusState.IMPORTED
    assert not document.row(4).touched
    assert result.message == "3 nuclei imported."
    check_consistent(document)
    assert actions.add(document, block(30, 30, 33, 33)).ids == (65_001,)


def test_an_import_takes_background_only_and_leaves_out_what_is_there_already(document):
    before = document.labels()
    incoming = batch((11, 11, 21, 21), (18, 20, 26, 24), (40, 40, 50, 50), (70, 70, 80, 80))
    result = actions.import_nuclei(document, incoming, name="Import GeoJSON")
    assert len(result.ids) == 2
    assert result.trimmed_px == 0
    assert result.message == (
        "2 nuclei imported; 1 left out because others hold their place; "
        "1 left out because they lie outside the image."
    )
    after = document.labels()
    assert np.array_equal(after[before != 0], before[before != 0])
    trimmed = actions.import_nuclei(document, batch((6, 10, 12, 20)))
    assert (trimmed.trimmed_px, trimmed.trimmed_by) == (20, (1,))
    check_consistent(document)


def test_ids_used_before_are_not_given_to_an_import(document):
    labels = np.zeros((64, 64), int)
    labels[40:45, 40:45] = 2
    labels[50:55, 50:55] = 77
    result = actions.import_labels(document, labels)
    assert not set(result.ids) & {1, 2, 77}
    assert document.count == 4


def test_overlapping_nuclei_of_one_import_are_settled_by_score():
    document = make_document()
    nuclei = batch((0, 0, 10, 10), (0, 6, 10, 16), (1, 1, 9, 9), score=[0.5, 0.9, 0.4])
    result = actions.import_nuclei(document, nuclei)
    assert document.row(result.ids[0]).area == 60
    assert document.row(result.ids[1]).area == 100
    assert len(result.ids) == 2


def test_a_whole_import_is_one_undo_step_also_over_many_batches():
    document = make_document((3000, 3000), tile_size=512)
    places = [(r, c, r + 9, c + 9) for r in range(0, 2900, 300) for c in range(1, 2900, 170)]
    result = actions.import_nuclei(document, batch(*places))
    assert len(result.ids) == len(places)
    assert sorted(row.box for row in document.rows()) == sorted(places)
    end = snapshot(document)
    document.undo()
    assert document.count == 0
    assert not document.labels().any()
    document.redo()
    assert snapshot(document) == end


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((64, 65), int), "64 x 65 pixels, the image 64 x 64"),
        (np.full((64, 64), -3), "negative id -3"),
        (np.full((64, 64), 0.5), "value 0.5 is not a whole number"),
        (np.full((64, 64), np.nan), "NaN"),
        (np.zeros((64, 64, 3), int), "has 2 dimensions"),
        (np.full((64, 64), "a"), "cannot hold label ids"),
    ],
)
def test_a_bad_label_map_is_refused_by_name_and_nothing_changes(document, labels, message):
    before = snapshot(document)
    with pytest.raises(LabelsError, match=message) as caught:
        actions.import_labels(document, labels, source="cells.tif")
    assert "cells.tif" in str(caught.value)
    assert snapshot(document) == before


def test_classes_of_another_scheme_are_refused(document):
    before = snapshot(document)
    with pytest.raises(LabelsError, match=r"3 class columns.*'PanNuke'.* has 5"):
        actions.import_nuclei(document, batch((40, 40, 44, 44), class_prob=np.ones((1, 3))))
    assert snapshot(document) == before


def test_an_empty_import_is_no_step(document):
    result = actions.import_labels(document, np.zeros((64, 64), np.uint8))
    assert (result.action_id, result.message) == (None, "0 nuclei imported.")
    assert document.history.undo_name == "Import nuclei"


def test_bool_and_float_maps_are_taken():
    document = make_document((20, 20))
    mask = np.zeros((20, 20), bool)
    mask[0:3, 0:3] = mask[10:13, 10:14] = True
    assert len(actions.import_labels(document, mask).ids) == 2
    document.undo()
    assert len(actions.import_labels(document, mask.astype(np.float32) * 8).ids) == 1


def test_a_nucleus_in_several_parts_is_imported_as_it_is():
    document = make_document((20, 20))
    labels = np.zeros((20, 20), int)
    labels[0:3, 0:3] = labels[10:13, 10:14] = 6
    actions.import_labels(document, labels)
    assert np.array_equal(document.labels(), labels)


def test_a_new_nucleus_takes_the_class_that_the_model_gives_it() -> None:
    document = Document(MemoryStore((64, 64)))
    outline = Outline(np.ones((5, 5), bool), (10, 10, 15, 15), class_prob=(0.1, 0.6, 0.1, 0.1, 0.1))
    row = document.row(actions.add(document, outline).ids[0])
    assert (row.class_id, row.class_prob) == (2, (0.1, 0.6, 0.1, 0.1, 0.1))
    other = Outline(np.ones((5, 5), bool), (30, 30, 35, 35), class_prob=(0.5, 0.5))
    assert document.row(actions.add(document, other).ids[0]).class_id == 0
    stated = Outline(np.ones((5, 5), bool), (50, 50, 55, 55), class_prob=(1.0, 0, 0, 0, 0))
    assert document.row(actions.add(document, stated, class_id=3).ids[0]).class_id == 3


def test_to_name_the_class_that_a_model_gave_an_accepted_nucleus_makes_it_the_users():
    document = make_document()
    with document.run("Segment image") as run:
        run.add_tile((0, 0, 64, 64), batch((10, 10, 20, 20), class_prob=np.eye(5)[[0]]))
    nucleus = int(document.ids[0])
    actions.accept(document, [nucleus])
    assert document.row(nucleus).class_prob
    assert actions.classify(document, [nucleus], 1).action_id is not None
    assert document.row(nucleus).class_prob == ()
    assert actions.classify(document, [nucleus], 1).action_id is None
