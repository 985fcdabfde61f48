"""A document changes its class scheme and nuclei go with it; models have schemes of their own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from session_helpers import STORES, answer_of, batch, block, clicks, make_document, snapshot

from napari_nucleus.core.classes import PANNUKE, ClassScheme, NucleusClass
from napari_nucleus.core.prompts import Prompts
from napari_nucleus.core.schemes import CONSEP, MONUSAC
from napari_nucleus.errors import EditRefusedError, LabelsError
from napari_nucleus.session import actions, rescheme
from napari_nucleus.session.codec import decode_edit, encode_edit
from napari_nucleus.session.columns import Column, RowFilter, RowOrder
from napari_nucleus.session.edits import Edit
from napari_nucleus.session.project import ImageReference, Project
from napari_nucleus.session.provenance import MadeBy
from napari_nucleus.session.recoding import SCHEME_FACT
from napari_nucleus.session.rescheme import change_scheme, effect_of, scheme_change_steps
from napari_nucleus.session.tool import ClickTool

MODEL = MadeBy("net", "ab" * 32, "program 1", PANNUKE)
BOXES = [(2, 2, 8, 8), (2, 20, 8, 26), (20, 2, 26, 8), (20, 20, 26, 26)]
PROB = np.array(
    [
        [0.5, 0.2, 0.0, 0.0, 0.3],
        [0.0, 0.9, 0.0, 0.1, 0.0],
        [0.1, 0.0, 0.7, 0.2, 0.0],
        [0.0, 0.0, 0.1, 0.9, 0.0],
    ],
    np.float32,
)


def found(document, made_by=MODEL, prob=PROB):
    """The nuclei of a run, of the classes 1 to 4."""
    with document.run("Segment image", made_by=made_by) as run:
        run.add_tile((0, 0, 64, 64), batch(*BOXES, class_prob=prob, source="net"))
    return document.ids.tolist()


def filled(make):
    """A document with the nuclei of a run, one the user named and one that nobody did."""
    document = make_document(store=make((64, 64), 16))
    ids = found(document)
    actions.classify(document, ids[3:], 5)
    actions.add(document, block(40, 40, 48, 48))
    return document


def classes(document):
    return [document.scheme.name_of(row.class_id) for row in document.rows()]


@STORES
def test_nuclei_move_to_the_classes_of_another_scheme_in_one_step(make):
    document = filled(make)
    result = change_scheme(document, CONSEP)
    assert document.scheme == CONSEP
    assert classes(document) == [
        "epithelial",
        "inflammatory",
        "spindle-shaped",
        "epithelial",
        "unclassified",
    ]
    assert document.counts_by_class() == {0: 1, 2: 1, 3: 2, 4: 1}
    first, _, _, named, fresh = document.rows()
    assert np.allclose(first.class_prob, [0, 0.2, 0.8, 0])
    assert named.class_prob == () == fresh.class_prob
    assert document.nuclei().class_prob.shape == (5, 4)
    assert document.history.undo_name == result.name == "Change classes to CoNSeP"


@STORES
def test_undo_and_redo_bring_back_scheme_and_classes_to_the_last_bit(make):
    document = filled(make)
    before = snapshot(document)
    change_scheme(document, MONUSAC)
    after = snapshot(document)
    assert before != after
    for _ in range(2):
        document.undo()
        assert (document.scheme, snapshot(document)) == (PANNUKE, before)
        document.redo()
        assert (document.scheme, snapshot(document)) == (MONUSAC, after)


@STORES
def test_what_is_lost_is_counted_before_it_is_done(make):
    document = filled(make)
    effect = effect_of(document, MONUSAC)
    assert effect.unclassified == 2, "inflammatory and connective; one never had a class"
    assert effect.counts == {0: 1, 1: 1, 2: 1, 3: 1, 5: 1}
    assert "2 became unclassified" in change_scheme(document, MONUSAC).message
    assert document.counts_by_class() == {0: 3, 1: 2}


@STORES
def test_what_the_user_decides_holds_for_nuclei_that_are_there_and_for_those_to_come(make):
    document = make_document(store=make((64, 64), 16))
    (_, there, _, _) = found(document)
    change_scheme(document, replace(MONUSAC, taken_in=(("inflammatory", 2),)))
    assert document.scheme.name_of(document.row(there).class_id) == "lymphocyte"
    with document.run("Segment image", made_by=MODEL) as run:
        (new,) = run.add_tile(
            (40, 0, 64, 64), batch((40, 2, 46, 8), class_prob=PROB[1:2], source="net")
        ).ids
    row = document.row(new)
    assert document.scheme.name_of(row.class_id) == "lymphocyte"
    assert np.allclose(row.class_prob, [0, 0.9, 0, 0])


@STORES
def test_a_run_speaks_in_the_classes_of_its_model(make):
    document = make_document(store=make((64, 64), 16))
    change_scheme(document, CONSEP)
    found(document)
    assert classes(document) == ["epithelial", "inflammatory", "spindle-shaped", "other"]
    with pytest.raises(LabelsError, match=r"4 class columns.*'PanNuke' of its model has 5"):
        found(document, prob=PROB[:, :4])
    with pytest.raises(LabelsError, match="'CoNSeP' of this document has 4"):
        found(document, made_by=None)


@STORES
def test_the_same_number_of_classes_is_not_the_same_classes(make):
    document = make_document(store=make((64, 64), 16))
    change_scheme(document, MONUSAC)
    found(document, replace(MODEL, classes=CONSEP), np.eye(4, dtype=np.float32))
    assert classes(document) == ["unclassified", "unclassified", "epithelial", "unclassified"]


@STORES
def test_a_click_speaks_in_the_classes_of_its_model(make):
    document = make_document(store=make((64, 64), 16))
    change_scheme(document, CONSEP)
    tool = ClickTool(document)
    request = tool.click((5.5, 5.5), False).request
    answer = replace(answer_of(2, 2, 9, 9), class_prob=(0.4, 0.4, 0.0, 0.0, 0.2))
    (new,) = tool.answer(request, [answer], MODEL).ids
    row = document.row(new)
    assert document.scheme.name_of(row.class_id) == "epithelial"
    assert np.allclose(row.class_prob, [0, 0.4, 0.6, 0])


@STORES
def test_a_change_of_names_and_colours_touches_no_nucleus(make):
    document = filled(make)
    rows = document.rows()
    said = []
    document.scheme_changed.connect(lambda: said.append(document.scheme.name))
    document.changed.connect(lambda *_: said.append("changed"))
    red = [replace(c, color=(255, 0, 0)) if c.id == 1 else c for c in PANNUKE.classes]
    change_scheme(document, replace(PANNUKE, name="mine", classes=tuple(red)))
    assert said == ["mine"]
    assert document.rows() == rows
    document.undo()
    assert said == ["mine", "PanNuke"]
    assert document.scheme.color_of(1) == PANNUKE.color_of(1)


@STORES
def test_classes_in_another_order_take_their_probabilities_along(make):
    document = filled(make)
    first = document.rows()[0]
    change_scheme(document, replace(PANNUKE, classes=PANNUKE.classes[::-1]))
    again = document.rows()[0]
    assert again.class_id == first.class_id
    assert again.class_prob == first.class_prob[::-1]


@STORES
def test_the_scheme_is_known_when_its_change_is_told(make):
    document = filled(make)
    told = []
    document.scheme_changed.connect(lambda: told.append(document.scheme.name))
    document.changed.connect(lambda box, kinds: told.append((document.scheme.name, kinds)))
    change_scheme(document, CONSEP)
    assert told[0] == "CoNSeP"
    assert all(t == ("CoNSeP", frozenset({"classes", "table"})) for t in told[1:])
    assert len(told) > 1


@STORES
def test_a_table_that_is_sorted_by_class_follows(make):
    document = filled(make)
    document.ordered_ids()
    change_scheme(document, CONSEP)
    ids = document.ordered_ids(RowOrder(Column.CLASS))
    names = [document.scheme.name_of(document.row(int(i)).class_id) for i in ids]
    assert names == sorted(names)
    assert len(document.ordered_ids(wanted=RowFilter(class_ids=[3]))) == 2
    document.undo()
    assert len(document.ordered_ids(wanted=RowFilter(class_ids=[3]))) == 1


@STORES
def test_the_same_scheme_again_is_no_step(make):
    document = filled(make)
    name = document.history.undo_name
    assert change_scheme(document, PANNUKE).action_id is None
    assert document.history.undo_name == name


@STORES
def test_while_nuclei_come_in_the_classes_stay(make):
    document = make_document(store=make((64, 64), 16))
    with document.run("Segment image", made_by=MODEL) as run:
        with pytest.raises(EditRefusedError, match="still coming in"):
            change_scheme(document, CONSEP)
        run.stop()
        change_scheme(document, CONSEP)
    assert document.scheme == CONSEP


@STORES
def test_in_batches_it_is_one_step_and_nothing_if_it_is_given_up(make, monkeypatch):
    monkeypatch.setattr(rescheme, "BATCH", 2)
    document = filled(make)
    before = snapshot(document)
    steps = scheme_change_steps(document, CONSEP)
    assert next(steps) == 2
    assert next(steps) == 4
    steps.close()
    assert (document.scheme, snapshot(document)) == (PANNUKE, before)
    change_scheme(document, CONSEP)
    assert document.counts_by_class() == {0: 1, 2: 1, 3: 2, 4: 1}
    document.undo()
    assert snapshot(document) == before


@STORES
def test_a_document_without_nuclei_changes_its_scheme_too(make):
    document = make_document(store=make((64, 64), 16))
    change_scheme(document, MONUSAC)
    assert document.scheme == MONUSAC
    document.undo()
    assert document.scheme == PANNUKE


FILE_IMAGE = ImageReference("field", "f" * 32)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "case.nucleus"


def test_scheme_classes_and_undo_are_there_after_reopening(file):
    project = Project.create(file, FILE_IMAGE, (64, 64))
    found(project.document)
    before = snapshot(project.document)
    own = replace(MONUSAC, name="mine", taken_in=(("inflammatory", 3),))
    change_scheme(project.document, own)
    after = snapshot(project.document)
    project.close()
    again = Project.open(file)
    assert (again.document.scheme, snapshot(again.document)) == (own, after)
    again.document.undo()
    assert (again.document.scheme, snapshot(again.document)) == (PANNUKE, before)
    again.close()
    last = Project.open(file)
    assert (last.document.scheme, snapshot(last.document)) == (PANNUKE, before)
    last.document.redo()
    assert (last.document.scheme, snapshot(last.document)) == (own, after)
    last.close()


def test_a_damaged_scheme_in_a_step_says_so(file):
    project = Project.create(file, FILE_IMAGE, (64, 64))
    change_scheme(project.document, CONSEP)
    (edit,) = project.document.store.edits_of(project.document.history.last_action_id)
    data = encode_edit(edit)
    assert decode_edit(data).recoding.after.scheme == CONSEP
    with pytest.raises(ValueError):
        decode_edit(data[:-9])
    project.close()


def test_the_codec_keeps_recodings_and_makers_and_reads_edits_without():
    document = make_document()
    found(document)
    change_scheme(document, CONSEP)
    (edit,) = document.store.edits_of(document.history.last_action_id)
    again = decode_edit(encode_edit(edit)).recoding
    assert again.ids.tolist() == edit.recoding.ids.tolist()
    assert again.box == edit.recoding.box == (2, 2, 26, 26)
    for one, two in ((again.before, edit.recoding.before), (again.after, edit.recoding.after)):
        assert one.scheme == two.scheme
        assert one.class_ids.tolist() == two.class_ids.tolist()
        assert one.class_prob.tobytes() == two.class_prob.tobytes()
    assert decode_edit(encode_edit(Edit(made_by=MODEL))).made_by == MODEL
    assert decode_edit(encode_edit(Edit())) == Edit()


@STORES
def test_the_journal_names_the_model_of_each_edit_and_rows_name_it_too(make):
    document = make_document(store=make((64, 64), 16))
    ids = found(document)
    run_id = document.history.last_action_id
    assert [e.made_by for e in document.store.edits_of(run_id)] == [MODEL]
    assert {document.row(i).source for i in ids} == {"net"}
    other = MadeBy("clicker", "cd" * 32, "program 1")
    tool = ClickTool(document)
    request = tool.click((45.5, 45.5), False).request
    (new,) = tool.answer(request, [answer_of(42, 42, 50, 50)], other).ids
    click_id = document.history.last_action_id
    assert [e.made_by for e in document.store.edits_of(click_id)] == [other]
    assert document.row(new).source == "clicker"
    actions.remove(document, [new])
    assert document.store.edits_of(document.history.last_action_id)[0].made_by is None
    assert document.models == (MODEL, other)
    document.undo()
    document.undo()
    assert document.models == (MODEL, other), "what was undone may be done again"


@STORES
def test_a_model_that_refines_a_nucleus_is_named_and_a_hand_that_does_is_not(make):
    document = make_document(store=make((64, 64), 16))
    (nucleus,) = actions.add(document, block(2, 2, 8, 8)).ids
    assert document.row(nucleus).source == "user"
    outline = actions.Outline.of(answer_of(2, 2, 10, 10), Prompts(), MODEL)
    actions.refine(document, nucleus, outline)
    assert document.row(nucleus).source == "net"
    actions.refine(document, nucleus, block(2, 2, 12, 12))
    assert document.row(nucleus).source == "net"
    assert document.store.edits_of(document.history.last_action_id)[0].made_by is None


@STORES
def test_tab_keeps_the_maker(make):
    document = make_document(store=make((64, 64), 16))
    actions.add(document, block(10, 10, 20, 20))
    tool = ClickTool(document)
    request = tool.click((15.5, 21.5), False).request
    answers = [answer_of(10, 20, 20, 26, 0.9), answer_of(10, 10, 20, 24, 0.8)]
    tool.answer(request, answers, MODEL)
    assert tool.can_swap
    tool.swap()
    (edit,) = document.store.edits_of(document.history.last_action_id)
    assert edit.made_by == MODEL


def test_models_and_annotators_are_there_after_reopening(file):
    project = Project.create(file, FILE_IMAGE, (64, 64))
    project.annotator = "first"
    found(project.document)
    project.annotator = "second"
    actions.remove(project.document, project.document.ids[:1])
    project.close()
    again = Project.open(file)
    assert again.document.models == (MODEL,)
    rows = again._connection.execute("SELECT name, annotator FROM action ORDER BY id").fetchall()
    assert rows == [("Segment image", "first"), ("Remove nucleus", "second")]
    again.close()


def test_clicks_are_still_clicks_in_an_own_scheme(file):
    kinds = NucleusClass(7, "a", (0, 0, 0), "1"), NucleusClass(9, "b", (9, 9, 9))
    own = ClassScheme("two", kinds)
    project = Project.create(file, FILE_IMAGE, (64, 64), own)
    assert project.document.store.fact(SCHEME_FACT).startswith("{")
    outline = replace(block(2, 2, 8, 8), prompts=clicks((4, 4, True)))
    (nucleus,) = actions.add(project.document, outline, 9).ids
    change_scheme(project.document, PANNUKE)
    assert project.document.row(nucleus).class_id == 0
    assert project.document.prompts(nucleus).positive.tolist() == [True]
    project.close()
