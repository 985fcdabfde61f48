"""Cut, split, merge, paint, erase, fill, smooth: what becomes of labels, ids, classes and undo."""

import numpy as np
import pytest
from session_helpers import block, check_consistent, clicks, logits_of, make_document, snapshot

from napari_nucleus.errors import EditRefusedError
from napari_nucleus.session import actions
from napari_nucleus.session.actions import Outline
from napari_nucleus.session.table import NucleusState


@pytest.fixture
def document():
    return make_document((80, 90))


def disc(y, x, r):
    yy, xx = np.ogrid[-r : r + 1, -r : r + 1]
    return Outline(yy**2 + xx**2 <= r * r, (y - r, x - r, y + r + 1, x + r + 1))


def union(*outlines):
    mask, box = np.zeros((80, 90), bool), (0, 0, 80, 90)
    for o in outlines:
        mask[o.box[0] : o.box[2], o.box[1] : o.box[3]] |= o.mask
    return Outline(mask, box)


def undone_and_redone(document, before):
    """Undo and redo the last step, and check that both lead where they should."""
    after = snapshot(document)
    check_consistent(document)
    document.undo()
    assert snapshot(document) == before
    document.redo()
    assert snapshot(document) == after


def test_a_stroke_cuts_what_it_crosses_and_nothing_else(document):
    peanut = actions.add(document, union(disc(30, 20, 8), disc(30, 33, 7)), 3).ids[0]
    other = actions.add(document, block(50, 20, 60, 40), 2).ids[0]
    pixels = document.row(peanut).area
    before = snapshot(document)
    result = actions.cut(document, [(15, 27.5), (45, 27.5)])
    assert result.name == "Split nucleus"
    assert result.ids[0] == peanut
    assert len(result.ids) == 2
    first, second = (document.row(i) for i in result.ids)
    assert first.area + second.area == pixels, "no pixel is lost under the stroke"
    assert first.area > second.area
    assert first.class_id == second.class_id == 3
    assert second.centroid_yx[1] > 30 > first.centroid_yx[1]
    assert document.row(other).state is NucleusState.USER
    undone_and_redone(document, before)


def test_one_stroke_can_cut_several_and_leaves_neighbours_alone(document):
    ids = [actions.add(document, block(y, 10, y + 10, 40)).ids[0] for y in (10, 30, 50)]
    result = actions.cut(document, [(5, 25), (45, 26)])
    assert result.name == "Split 2 nuclei"
    assert document.count == 5
    assert document.row(ids[2]).area == 300
    check_consistent(document)


@pytest.mark.parametrize(
    "stroke",
    [
        [(35, 10), (35, 25)],  # ends inside
        [(5, 5), (5, 80)],  # meets nothing
        [(29, 19), (40, 21)],  # cuts a corner off that is too small to be meant
        [(-50, -50), (-10, -20)],  # outside the image
        [(35, 30)],
    ],
)
def test_a_stroke_that_cuts_nothing_is_refused(document, stroke):
    actions.add(document, block(30, 20, 40, 40))
    before = snapshot(document)
    with pytest.raises(EditRefusedError):
        actions.cut(document, stroke)
    assert snapshot(document) == before


def test_a_stroke_may_begin_outside_the_image(document):
    actions.add(document, block(0, 20, 10, 40))
    assert len(actions.cut(document, [(-20, 30), (20, 30)]).ids) == 2
    check_consistent(document)


def test_a_nucleus_is_split_at_its_waist_between_two_clicks(document):
    peanut = actions.add(document, union(disc(30, 20, 8), disc(30, 34, 8)), 3).ids[0]
    before = snapshot(document)
    result = actions.split(document, peanut, [(30, 20), (30, 34)])
    labels = document.labels()
    border = [int(np.flatnonzero(np.diff(labels[r, 15:40]))[0]) + 15 for r in (28, 30, 32)]
    assert all(abs(b - 27) <= 2 for b in border)
    assert sorted(document.row(i).class_id for i in result.ids) == [3, 3]
    undone_and_redone(document, before)


@pytest.mark.parametrize("points", [[(30, 20)], [(30, 20), (30, 20)], [(30, 20), (5, 5)], []])
def test_a_split_needs_two_places_in_the_nucleus(document, points):
    nucleus = actions.add(document, disc(30, 20, 8)).ids[0]
    with pytest.raises(EditRefusedError, match="two places"):
        actions.split(document, nucleus, np.array(points).reshape(-1, 2))


@pytest.mark.parametrize("gap", [0, 3, 9])
def test_two_become_one_across_a_gap(document, gap):
    small = actions.add(document, block(20, 10, 34, 20), 1).ids[0]
    large = actions.add(document, block(20, 20 + gap, 34, 50), 2).ids[0]
    pixels = document.row(small).area + document.row(large).area
    before = snapshot(document)
    result = actions.merge(document, [small, large])
    assert (result.ids, result.removed) == ((large,), (small,))
    row = document.row(large)
    assert row.class_id == 2
    assert row.area >= pixels
    assert row.area <= pixels + 14 * gap
    undone_and_redone(document, before)


def test_nuclei_that_lie_apart_or_behind_another_are_not_merged(document):
    a = actions.add(document, block(20, 10, 34, 20)).ids[0]
    b = actions.add(document, block(20, 60, 34, 70)).ids[0]
    c = actions.add(document, block(50, 10, 60, 20)).ids[0]
    actions.add(document, block(40, 0, 42, 90))
    before = snapshot(document)
    for ids in ([a, b], [a, c], [a], [a, a]):
        with pytest.raises(EditRefusedError):
            actions.merge(document, ids)
    assert snapshot(document) == before


def test_paint_takes_background_only_and_says_what_it_left(document):
    a = actions.add(document, block(20, 10, 30, 20), 4).ids[0]
    b = actions.add(document, block(20, 24, 30, 30)).ids[0]
    before = snapshot(document)
    result = actions.paint(document, np.ones((4, 12), bool), (22, 15, 26, 27), a)
    assert document.row(a).area == 100 + 4 * 4
    assert document.row(b).area == 60
    assert result.message == "12 px were left to neighbours."
    undone_and_redone(document, before)
    new = actions.paint(document, np.ones((5, 5), bool), (-2, -2, 3, 3), None, 2).ids[0]
    assert (document.row(new).area, document.row(new).class_id) == (9, 2)
    check_consistent(document)
    with pytest.raises(EditRefusedError, match="hold all"):
        actions.paint(document, np.ones((2, 2), bool), (21, 11, 23, 13), b)
    with pytest.raises(EditRefusedError, match="outside"):
        actions.paint(document, np.ones((2, 2), bool), (-9, 11, -7, 13), None)


def test_an_eraser_takes_from_all_and_makes_two_of_what_it_cuts(document):
    a = actions.add(document, block(20, 10, 30, 40), 4).ids[0]
    b = actions.add(document, block(31, 10, 40, 20)).ids[0]
    gone = actions.add(document, block(50, 22, 52, 24)).ids[0]
    before = snapshot(document)
    result = actions.erase(document, np.ones((60, 4), bool), (0, 21, 60, 25))
    assert gone in result.removed
    assert document.row(b).area == 90
    assert document.row(a).area == 150
    (new,) = set(result.ids) - {a}
    assert (document.row(new).area, document.row(new).class_id) == (110, 4)
    undone_and_redone(document, before)
    with pytest.raises(EditRefusedError, match="no nucleus"):
        actions.erase(document, np.ones((2, 2), bool), (70, 70, 72, 72))


def test_an_eraser_can_spare_all_but_one(document):
    a = actions.add(document, block(20, 10, 30, 40)).ids[0]
    b = actions.add(document, block(30, 10, 40, 40)).ids[0]
    result = actions.erase(document, np.ones((4, 40), bool), (28, 5, 32, 45), b)
    assert (result.ids, document.row(a).area, document.row(b).area) == ((b,), 300, 240)
    with pytest.raises(EditRefusedError, match="no nucleus"):
        actions.erase(document, np.ones((2, 2), bool), (21, 11, 23, 13), b)


def test_holes_are_filled_unless_another_nucleus_lies_there(document):
    ring = np.ones((20, 20), bool)
    ring[5:15, 5:15] = False
    actions.import_labels(document, np.pad(ring.astype(np.int32), ((10, 50), (10, 60))))
    (nucleus,) = document.ids.tolist()
    inner = actions.add(document, block(17, 17, 20, 20)).ids[0]
    before = snapshot(document)
    actions.fill_holes(document, [nucleus])
    assert document.row(nucleus).area == 400 - 9
    assert document.row(inner).area == 9
    undone_and_redone(document, before)
    assert actions.fill_holes(document, [nucleus]).action_id is None, "nothing is left to fill"


def test_smoothing_rounds_corners_and_takes_no_neighbour(document):
    jagged = np.ones((20, 20), bool)
    jagged[0, ::2] = False
    actions.import_labels(document, np.pad(jagged.astype(np.int32), ((10, 50), (10, 60))))
    (nucleus,) = document.ids.tolist()
    other = actions.add(document, block(10, 30, 30, 34)).ids[0]
    before = snapshot(document)
    actions.smooth(document, [nucleus])
    assert document.id_at((29.5, 10.5)) is None, "a corner is gone"
    assert document.row(other).area == 80
    undone_and_redone(document, before)
    tiny = actions.add(document, block(60, 60, 61, 61)).ids[0]
    actions.smooth(document, [tiny])
    assert tiny in document


def test_clicks_of_another_shape_are_forgotten_and_come_back_with_undo(document):
    box = (20, 10, 34, 20)
    outline = Outline(np.ones((14, 10), bool), box, clicks((25, 15, True)), logits_of(box), iou=0.8)
    a = actions.add(document, outline).ids[0]
    b = actions.add(document, block(20, 20, 34, 40)).ids[0]
    before = snapshot(document)
    actions.merge(document, [a, b])
    assert document.memory(b) is None
    assert document.row(b).iou is None
    undone_and_redone(document, before)
    document.undo()
    assert document.logits(a) is not None


def test_nuclei_that_are_gone_are_refused_by_name(document):
    for act in (
        lambda: actions.merge(document, [1, 2]),
        lambda: actions.split(document, 3, [(1, 1), (2, 2)]),
        lambda: actions.paint(document, np.ones((2, 2), bool), (0, 0, 2, 2), 4),
        lambda: actions.smooth(document, [5]),
    ):
        with pytest.raises(EditRefusedError, match="not in the document"):
            act()
