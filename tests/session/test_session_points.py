"""Points that wait to become nuclei: edits, what is asked again, what enters the document."""

from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from session_helpers import batch, block, check_consistent, make_document, snapshot

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.outlines import UNCLASSIFIED_OUTLINE
from napari_nucleus.core.points import Points
from napari_nucleus.core.schemes import CONSEP
from napari_nucleus.session import actions
from napari_nucleus.session.points_book import PointBook
from napari_nucleus.session.points_entry import enter_points_in_steps
from napari_nucleus.session.points_kept import (
    POINTS_FACT,
    keep_points,
    kept_points,
    points_of_text,
    text_of_points,
)
from napari_nucleus.session.points_raster import PointsRaster
from napari_nucleus.session.points_table import Origin
from napari_nucleus.session.project import ImageReference
from napari_nucleus.session.provenance import MadeBy
from napari_nucleus.session.regions import Ground
from napari_nucleus.session.shelf import Shelf
from napari_nucleus.session.steps import finished
from napari_nucleus.session.table import NucleusState

SIDE = 96
WHOLE = (0, 0, SIDE, SIDE)
RADIUS = 6
FINDER, OUTLINER = MadeBy("finder", "f1", "", PANNUKE), MadeBy("outliner", "07", "", PANNUKE)


def found(*rows, classes=True):
    """Points of ``(y, x, score, class id)``."""
    table = np.array(rows, float).reshape(-1, 4)
    prob = PANNUKE.one_hot(table[:, 3].astype(int)) if classes else np.zeros((len(table), 0))
    return Points(table[:, :2], table[:, 2].astype(np.float32), prob.astype(np.float32))


def make_book(*rows, side=SIDE, classes=True, core=WHOLE):
    book = PointBook((side, side), PANNUKE, mpp=1.0)
    book.begin_search(FINDER)
    book.add_found(core, found(*rows, classes=classes), Ground())
    return book


def outline(points, shape=(SIDE, SIDE), class_id=3):
    """Outline points as discs; a pixel goes to the best point that covers it.

    One that keeps less than half of its disc becomes nothing. Hence what becomes of a point depends
    on others within two radii only.
    """
    yy, xx = np.indices(shape) + 0.5
    ahead = sorted(range(len(points)), key=lambda i: (-points.score[i], *points.yx[i]))
    owner = np.full(shape, -1)
    whole = np.zeros(len(points), int)
    for i in reversed(ahead):
        disc = np.hypot(yy - points.yx[i, 0], xx - points.yx[i, 1]) <= RADIUS
        whole[i] = disc.sum()
        owner[disc] = i
    kept = [i for i in range(len(points)) if 2 * (owner == i).sum() >= max(whole[i], 1)]
    prob = np.tile(PANNUKE.one_hot(np.array([class_id])), (len(kept), 1))
    nuclei = Nuclei.from_masks(
        [owner == i for i in kept], np.zeros((len(kept), 2)), points.score[kept], prob
    )
    nucleus = np.full(len(points), -1)
    nucleus[kept] = np.arange(len(kept))
    return nuclei, nucleus


def answer_all(book, box=None):
    """Outline what there is to be outlined; return the ids that were asked for."""
    asked = book.ask(box)
    if asked is None:
        return []
    nuclei, nucleus = outline(asked.points, book.shape)
    book.answer(asked, np.arange(len(asked.ids)), nuclei, nucleus, PANNUKE)
    return asked.ids[asked.wanted].tolist()


def pictured(book):
    """Return the pixels of each point's outline, by its id."""
    out = {}
    for point in book.table.ids[book.shown].tolist():
        outlined = book.outlines.get(point)
        if outlined is not None:
            out[point] = outlined.nucleus.to_labels(book.shape).tobytes()
    return out


def rows_of(table):
    return [getattr(table, field.name).tolist() for field in fields(table)]


# ---- edits


def test_points_that_were_added_moved_classified_and_deleted_are_the_users():
    book = make_book((20, 20, 0.9, 1), (60, 60, 0.4, 2))
    (third,) = book.add([(40.5, 40.5)], class_id=5)
    book.move([1], [(22.0, 25.0)])
    book.classify([2], 3)
    assert book.table.origin.tolist() == [Origin.CHANGED, Origin.CHANGED, Origin.ADDED]
    assert book.table.yx.tolist() == [[22, 25], [60, 60], [40.5, 40.5]]
    assert book.table.class_ids.tolist() == [1, 3, 5]
    assert not book.table.class_prob[1:].any()
    book.remove([2])
    assert book.table.ids.tolist() == [1, third]


def test_several_points_are_moved_whatever_their_order():
    book = make_book((20, 20, 0.9, 1), (60, 60, 0.4, 2))
    book.move([2, 1], [(61.0, 61.0), (21.0, 21.0)])
    assert book.table.yx.tolist() == [[21, 21], [61, 61]]


place = st.tuples(st.integers(0, SIDE - 1), st.integers(0, SIDE - 1))
change = st.one_of(
    st.tuples(st.just("add"), place, st.integers(0, 5)),
    st.tuples(st.just("move"), st.integers(0, 30), place),
    st.tuples(st.just("remove"), st.integers(0, 30)),
    st.tuples(st.just("classify"), st.integers(0, 30), st.integers(0, 5)),
    st.tuples(st.just("undo")),
    st.tuples(st.just("redo")),
    st.tuples(st.just("threshold"), st.sampled_from([0.0, 0.3, 0.6, 0.9])),
    st.tuples(st.just("answer"), st.sampled_from([None, (0, 0, 48, 96), (30, 30, 70, 70)])),
    st.tuples(st.just("find"), place),
)
starts = st.lists(st.tuples(*[st.integers(0, SIDE - 1)] * 2, st.integers(1, 100)), max_size=12)


def do(book, order):
    ids = book.table.ids
    match order:
        case ("add", yx, class_id):
            book.add([yx], class_id)
        case ("move", at, yx) if len(ids):
            book.move([ids[at % len(ids)]], [yx])
        case ("remove", at) if len(ids):
            book.remove([ids[at % len(ids)]])
        case ("classify", at, class_id) if len(ids):
            book.classify([ids[at % len(ids)]], class_id)
        case ("undo",):
            book.undo()
        case ("redo",):
            book.redo()
        case ("threshold", score):
            book.threshold = score
        case ("answer", box):
            answer_all(book, box)
        case ("find", (y, x)):
            book.begin_search(FINDER)
            book.add_found((0, 0, 48, SIDE), found((y / 2, x, 0.5, 1)), Ground())


@settings(max_examples=60, deadline=None)
@given(starts, st.lists(change, max_size=14))
def test_asking_again_what_is_near_gives_what_asking_about_all_gives(start, orders):
    book = make_book(*((y, x, s / 100, 1) for y, x, s in start))
    for order in orders:
        do(book, order)
    answer_all(book)
    assert book.ask() is None
    fresh = PointBook.of(book.shape, PANNUKE, 1.0, book.table, [])
    fresh.threshold = book.threshold
    answer_all(fresh)
    assert pictured(book) == pictured(fresh)
    assert book.standing == fresh.standing
    assert book.standing.waiting == 0
    assert book.class_ids[book.shown].tolist() == fresh.class_ids[fresh.shown].tolist()


@settings(max_examples=60, deadline=None)
@given(starts, st.lists(change, max_size=14))
def test_undo_takes_back_every_change_of_the_user_and_redo_brings_it_again(start, orders):
    book = make_book(*((y, x, s / 100, 1) for y, x, s in start))
    before = [rows_of(book.table)]
    for order in orders:
        if order[0] in ("add", "move", "remove", "classify"):
            known = book.undo_name, len(book._done)
            do(book, order)
            if (book.undo_name, len(book._done)) != known:
                before.append(rows_of(book.table))
    for earlier in before[-2::-1]:
        assert book.undo() is not None
        assert rows_of(book.table) == earlier
    assert book.undo() is None
    for later in before[1:]:
        assert book.redo() is not None
        assert rows_of(book.table) == later
    assert book.redo() is None


def test_only_a_point_and_its_neighbours_are_asked_about_after_an_edit():
    book = make_book(*((y, x, 0.5, 1) for y in range(8, 96, 10) for x in range(8, 96, 10)))
    assert len(answer_all(book)) == 81
    (new,) = book.add([(52, 52)])
    again = answer_all(book)
    assert new in again
    assert 1 < len(again) < 14
    apart = np.hypot(*(book.table.rows(again).yx - (52, 52)).T)
    assert apart.max() <= 15


def test_an_answer_to_a_point_that_moved_meanwhile_is_not_taken():
    book = make_book((20, 20, 0.9, 1), (70, 70, 0.9, 1))
    asked = book.ask()
    book.move([1], [(40.0, 40.0)])
    nuclei, nucleus = outline(asked.points)
    book.answer(asked, np.arange(2), nuclei, nucleus, PANNUKE)
    assert book.outlines.get(1) is None
    assert book.outlines.get(2) is not None
    assert answer_all(book) == [1]
    assert book.outlines.get(1).box == (34, 34, 46, 46)


def test_two_points_in_one_nucleus_become_one_outline_and_the_rest_is_counted():
    book = make_book((20, 20, 0.9, 1), (70, 70, 0.9, 1))
    book.add([(22.5, 22.5)])
    assert book.standing.waiting == 3
    answer_all(book)
    assert (book.standing.shown, book.standing.outlined, book.standing.empty) == (3, 2, 1)


def test_hiding_a_point_gives_its_nucleus_to_its_neighbour():
    book = make_book((20, 20, 0.5, 1), (23, 23, 0.4, 1), (70, 70, 0.9, 1))
    answer_all(book)
    book.add([(25.0, 25.0)])
    answer_all(book)
    assert book.standing.empty > 0
    book.threshold = 0.6
    answer_all(book)
    assert book.standing == replace(book.standing, shown=2, hidden=2, outlined=2, empty=0)
    assert book.shown.tolist() == [False, False, True, True], "what the user added stays"


def test_a_new_search_replaces_what_was_found_there_and_spares_what_the_user_did():
    book = make_book((20, 20, 0.9, 1), (30, 70, 0.9, 1), (70, 70, 0.9, 1))
    book.move([2], [(31.0, 71.0)])
    book.begin_search(FINDER)
    book.add_found((0, 0, 48, SIDE), found((21, 20, 0.7, 2), (31.4, 71, 0.9, 1)), Ground())
    assert book.table.yx.tolist() == [[31, 71], [70, 70], [21, 20]]
    assert book.undo_name is None


def test_points_are_taken_on_the_ground_and_on_the_image_only():
    book = PointBook((SIDE, SIDE), PANNUKE, 1.0)
    square = np.array([[10, 10], [10, 50], [50, 50], [50, 10]], float)
    book.begin_search(FINDER, (square,))
    book.add_found(WHOLE, found((20, 20, 0.9, 1), (60, 60, 0.9, 1)), Ground((square,)))
    book.add_found((0, 0, 200, 200), found((150, 20, 0.9, 1)), Ground())
    assert book.table.yx.tolist() == [[20, 20]]
    assert (
        book.contains([(0, 0), (95.9, 95.9), (96, 4), (-0.1, 4)]).tolist()
        == [True] * 2 + [False] * 2
    )


def test_the_class_is_the_users_else_the_detectors_else_that_of_the_outline():
    book = make_book((20, 20, 0.9, 1), (20, 60, 0.9, 0), (60, 20, 0.9, 2))
    book.classify([3], 5)
    assert book.class_ids.tolist() == [1, 0, 5]
    answer_all(book)
    assert book.class_ids.tolist() == [1, 3, 5]


def test_points_go_over_to_another_scheme():
    book = make_book((20, 20, 0.9, 3), (60, 60, 0.9, 0))
    book.add([(20, 60)], class_id=2)
    answer_all(book)
    book.rescheme(CONSEP)
    spindle, inflammatory = 4, 2
    assert book.class_ids.tolist() == [spindle, spindle, inflammatory]
    assert book.undo_name is None
    assert book.table.class_prob.shape == (3, len(CONSEP))


# ---- the picture


def test_the_picture_shows_outlines_in_the_classes_of_their_points():
    book = make_book((20.5, 20.5, 0.9, 1), (60.5, 60.5, 0.9, 0), (60.5, 20.5, 0.2, 2))
    document = make_document((SIDE, SIDE))
    raster = PointsRaster(document, book)
    answer_all(book)
    boxes = list(raster.changed())
    assert boxes
    assert not list(raster.changed())
    picture = raster.draw(WHOLE)
    assert (picture[14, 20], picture[20, 20]) == (1, 0)
    assert picture[54, 60] == 3, "the class of the outline"
    assert picture[54, 20] == 2
    np.testing.assert_array_equal(raster.draw((10, 5, 70, 40)), picture[10:70, 5:40])
    book.threshold = 0.5
    assert raster.draw(WHOLE)[54, 20] == 0
    assert any(b[0] <= 60 < b[2] and b[1] <= 20 < b[3] for b in raster.changed())


def test_an_outline_without_a_class_is_shown_as_unclassified():
    book = make_book((20.5, 20.5, 0.9, 0))
    asked = book.ask()
    nuclei, nucleus = outline(asked.points)
    book.answer(asked, np.arange(1), replace(nuclei, class_prob=np.zeros((1, 0))), nucleus, None)
    raster = PointsRaster(make_document((SIDE, SIDE)), book)
    assert raster.draw(WHOLE)[14, 20] == UNCLASSIFIED_OUTLINE


# ---- the document


def accepted(document, book):
    return finished(enter_points_in_steps(document, book, OUTLINER))


def test_accepted_points_are_one_step_with_what_made_them():
    document = make_document((SIDE, SIDE))
    book = make_book((20, 20, 0.9, 1), (60, 60, 0.4, 2))
    book.add([(20, 60)])
    book.add([(60, 20)], class_id=5)
    answer_all(book)
    result = accepted(document, book)
    assert result.message == "4 nuclei made of points."
    rows = {tuple(map(round, row.centroid_yx)): row for row in document.rows()}
    automatic, mine, named = rows[20, 20], rows[20, 60], rows[60, 20]
    assert (automatic.state, automatic.source) == (NucleusState.AUTOMATIC, "finder")
    assert automatic.class_id == 1
    assert len(automatic.class_prob) == 5
    assert (mine.state, mine.source, mine.class_id) == (NucleusState.USER, "outliner", 3)
    assert (named.class_id, named.class_prob) == (5, ())
    assert {m.model for m in document.models} == {"finder", "outliner"}
    check_consistent(document)
    end = snapshot(document)
    assert document.undo() == "Accept 4 points"
    assert document.count == 0
    assert document.history.undo_name is None
    document.redo()
    assert snapshot(document) == end


def test_accepting_follows_the_policy_of_a_run():
    document = make_document((SIDE, SIDE))
    with document.run("Segment") as run:
        run.add_tile(WHOLE, batch((14, 14, 26, 26), (80, 80, 90, 90)))
    actions.add(document, block(54, 54, 66, 66))
    book = make_book((20, 20, 0.9, 1), (60, 60, 0.9, 1))
    answer_all(book)
    result = accepted(document, book)
    assert "1 gave way" in result.message
    assert document.id_at((85, 85)) is None, "untouched, and the detector has looked there"
    assert document.row(document.id_at((60, 60))).state is NucleusState.USER
    assert document.row(document.id_at((20, 20))).source == "finder"


def test_nothing_enters_excluded_or_signed_off_regions_but_what_the_user_put_there():
    document = make_document((SIDE, SIDE))
    book = make_book((20, 20, 0.9, 1), (60, 60, 0.9, 1))
    book.add([(20, 60)])
    answer_all(book)
    actions.exclude(document, [np.array([[0, 0], [0, 96], [40, 96], [40, 0]])], False)
    result = accepted(document, book)
    assert "1 lie in excluded" in result.message
    assert document.id_at((20, 20)) is None
    assert document.id_at((20, 60)) is not None
    assert document.id_at((60, 60)) is not None


def test_hidden_points_and_points_without_a_nucleus_are_left_out():
    document = make_document((SIDE, SIDE))
    book = make_book((20, 20, 0.9, 1), (60, 60, 0.2, 1))
    book.threshold = 0.5
    book.add([(21, 21)])
    answer_all(book)
    result = accepted(document, book)
    assert document.count == 1
    assert "1 points became no nucleus" in result.message


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(0, 255)] * 2, st.integers(1, 99)), max_size=120),
    st.integers(2, 5),
)
def test_cores_in_any_number_give_the_nuclei_that_were_outlined(places, pieces):
    side, book = 256, PointBook((256, 256), PANNUKE, 1.0)
    book.begin_search(FINDER)
    edges = np.linspace(0, side, pieces + 1).astype(int).tolist()
    points = found(*((y, x, s / 100, 1) for y, x, s in places))
    for x0, x1 in pairwise(edges):
        core = (0, x0, side, x1)
        book.add_found(core, points.within(core), Ground())
    answer_all(book)
    document = make_document((side, side), tile_size=64)
    accepted(document, book)
    check_consistent(document)
    drawn = {row.area for row in document.rows()}
    outlined = [book.outlines.get(int(i)) for i in book.table.ids]
    assert document.count == sum(o is not None for o in outlined)
    assert drawn <= {int(o.nucleus.areas[0]) for o in outlined if o is not None}


# ---- kept with the project


def test_points_are_there_again_in_the_classes_of_the_document():
    document = make_document((SIDE, SIDE))
    book = make_book((20, 20, 0.9, 3), (60, 60, 0.4, 0))
    book.add([(20, 60)], class_id=2)
    book.threshold = 0.3
    keep_points(document, book)
    again = kept_points(document)
    assert rows_of(again.table) == rows_of(book.table)
    assert (again.threshold, again.searches[0].cores) == (0.3, [WHOLE])
    assert again.standing.waiting == 3
    assert again.add([(5, 5)]).tolist() == [4]
    document.scheme = CONSEP
    assert kept_points(document).table.class_ids.tolist() == [4, 0, 2]
    keep_points(document, None)
    assert kept_points(document) is None


def test_points_keep_a_project_that_has_no_nuclei(tmp_path):
    shelf = Shelf(tmp_path)
    image = ImageReference("a", "f1" * 32)
    project, _ = shelf.open_for(image, (SIDE, SIDE))
    keep_points(project.document, make_book((20, 20, 0.9, 3)))
    assert not project.is_empty
    shelf.put_away(project)
    project, _ = shelf.open_for(image, (SIDE, SIDE))
    assert len(kept_points(project.document).table) == 1
    keep_points(project.document, None)
    shelf.put_away(project)
    assert not list(tmp_path.glob("*.nucleus"))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda t: "",
        lambda t: "[]",
        lambda t: t[:-30],
        lambda t: t.replace('"ids":[1,2]', '"ids":[2,1]'),
        lambda t: t.replace("20.0", "2000.0"),
        lambda t: t.replace("20.0", "null"),
        lambda t: t.replace('"search":[0,0]', '"search":[0,7]'),
        lambda t: t.replace('"mpp":1.0', '"mpp":0.0'),
        lambda t: t.replace('"score":[', '"score":[0.5,'),
    ],
)
def test_text_that_is_no_points_is_refused(spoil):
    text = text_of_points(make_book((20, 20, 0.9, 3), (60, 60, 0.4, 0)))
    assert points_of_text(text, (SIDE, SIDE)).table.ids.tolist() == [1, 2]
    assert spoil(text) != text
    with pytest.raises(ValueError):
        points_of_text(spoil(text), (SIDE, SIDE))
    document = make_document((SIDE, SIDE))
    with document.store.transaction():
        document.store.put_fact(POINTS_FACT, spoil(text))
    assert kept_points(document) is None
