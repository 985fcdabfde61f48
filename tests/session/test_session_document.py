"""The document: queries by place, announcements, undo names."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from session_helpers import (
    FailingStore,
    batch,
    block,
    check_consistent,
    clicks,
    logits_of,
    make_document,
    snapshot,
)

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.session import actions
from napari_nucleus.session.actions import Outline
from napari_nucleus.session.document import Document
from napari_nucleus.session.memory_store import MemoryStore


@pytest.fixture
def document():
    document = make_document()
    actions.add(document, block(10, 10, 20, 20), class_id=1)
    actions.add(document, block(10, 24, 20, 30), class_id=2)
    actions.add(document, block(60, 60, 64, 64), class_id=2)
    return document


def test_queries_answer_by_place(document):
    assert document.id_at((10.0, 10.0)) == 1
    assert document.id_at((19.99, 19.99)) == 1
    assert document.id_at((20.0, 20.0)) is None
    assert document.id_at((63.9, 63.9)) == 3
    assert document.ids_in((0, 0, 30, 24)) == [1]
    assert document.ids_in((-50, -50, 500, 500)) == [1, 2, 3]
    assert document.counts_by_class() == {1: 1, 2: 2}
    assert document.count == 3
    assert document.ids.tolist() == [1, 2, 3]
    assert 3 in document
    assert 4 not in document
    mask, box = document.mask(2)
    assert mask.all()
    assert box == (10, 24, 20, 30)


@pytest.mark.parametrize("point", [(-0.1, 5), (64, 5), (5, 64.0), (np.nan, 5), (np.inf, 5)])
def test_nothing_lies_outside_the_image(document, point):
    assert document.id_at(point) is None
    assert not document.contains_point(point)


def test_an_unknown_nucleus_is_a_key_error(document):
    for query in (document.row, document.mask):
        with pytest.raises(KeyError, match="no nucleus 99"):
            query(99)


def test_labels_are_a_copy_cut_to_the_image(document):
    labels = document.labels((60, 60, 100, 100))
    assert labels.shape == (4, 4)
    assert labels.dtype == np.int32
    labels[:] = 0
    assert document.id_at((61, 61)) == 3


def test_nearest_measures_to_pixels_and_leaves_out_the_one_below(document):
    assert document.nearest((15.0, 22.0), 5.0) == 1
    assert document.nearest((15.0, 22.5), 5.0) == 2
    assert document.nearest((15.0, 15.0), 5.0) is None
    assert document.nearest((15.0, 19.0), 5.0) == 2
    assert document.nearest((40.0, 15.0), 19.9) is None
    assert document.nearest((40.0, 15.0), 20.0) == 1
    assert document.nearest((np.nan, 15.0), 20.0) is None


@given(y=st.floats(-5, 69), x=st.floats(-5, 69), radius=st.floats(0, 40), seed=st.integers(0, 50))
@settings(max_examples=60, deadline=None)
def test_near_equals_looking_at_every_pixel(y, x, radius, seed):
    rng = np.random.default_rng(seed)
    document = make_document()
    places = rng.integers(0, 60, (6, 2)).tolist()
    actions.import_nuclei(document, batch(*[(r, c, r + 3, c + 4) for r, c in places]))
    labels, under = document.labels(), document.id_at((y, x))
    expected = {}
    for r, c in zip(*np.nonzero(labels), strict=True):
        gap = np.hypot(max(r - y, 0, y - r - 1), max(c - x, 0, x - c - 1))
        i = int(labels[r, c])
        if gap <= radius and i != under:
            expected[i] = min(gap, expected.get(i, gap))
    found = document.near((y, x), radius)
    assert dict(found) == pytest.approx(expected)
    assert [d for _, d in found] == sorted(d for _, d in found)


def test_nuclei_of_several_tiles_at_full_tile_size_are_whole():
    document = Document(MemoryStore((2000, 2000)))
    actions.add(document, block(400, 300, 1100, 1300))
    mask, box = document.mask(1)
    assert mask.all()
    assert box == (400, 300, 1100, 1300)
    assert len(list(document.tiles())) == 9
    assert sum(int((labels == 1).sum()) for _, labels in document.tiles()) == 700 * 1000
    assert document.ids_in((1099, 1299, 1200, 1400)) == [1]
    check_consistent(document)
    document.undo()
    assert list(document.tiles()) == []


def test_all_nuclei_come_out_as_one_batch(document):
    actions.classify(document, [1], 3)
    nuclei = document.nuclei()
    assert nuclei.boxes.tolist() == [list(row.box) for row in document.rows()]
    assert nuclei.class_prob.shape == (3, len(PANNUKE))
    assert PANNUKE.ids_of_probabilities(nuclei.class_prob).tolist() == [3, 2, 2]
    painted = nuclei.to_labels(document.shape, document.ids)
    assert np.array_equal(painted, document.labels())
    assert document.nuclei([3]).boxes.tolist() == [[60, 60, 64, 64]]
    assert len(make_document().nuclei()) == 0


def test_changes_are_announced_after_the_store_has_them(document):
    heard = []

    def listen(box, kinds):
        heard.append((box, kinds, document.count))

    document.changed.connect(listen)
    actions.remove(document, [2])
    actions.classify(document, [1], 5)
    document.undo()
    document.undo()
    assert heard == [
        ((10, 24, 20, 30), {"labels", "classes", "table"}, 2),
        ((10, 10, 20, 20), {"classes", "table"}, 2),
        ((10, 10, 20, 20), {"classes", "table"}, 2),
        ((10, 24, 20, 30), {"labels", "classes", "table"}, 3),
    ]


def test_undo_and_redo_say_what_they_would_do(document):
    calls = []
    document.history_changed.connect(lambda: calls.append(document.history.undo_name))
    assert document.history.undo_name == "Add nucleus"
    assert document.history.redo_name is None
    actions.remove(document, [1, 2])
    assert document.history.undo_name == "Remove 2 nuclei"
    assert document.undo() == "Remove 2 nuclei"
    assert document.history.redo_name == "Remove 2 nuclei"
    assert document.redo() == "Remove 2 nuclei"
    assert len(calls) == 3
    for _ in range(4):
        document.undo()
    assert document.undo() is None
    assert document.history.undo_name is None
    assert document.count == 0


def test_a_new_action_forgets_what_was_undone(document):
    document.undo()
    actions.remove(document, [1])
    assert document.redo() is None
    assert document.history.redo_name is None


def test_prompts_and_logits_come_back_with_undo():
    document = make_document()
    given, z = clicks((5, 5, True)), logits_of((0, 0, 10, 10), 0.5)
    outline = block(2, 2, 9, 9)
    wish = Outline(outline.mask, outline.box, given, z, 0.8)
    actions.add(document, wish)
    before = snapshot(document)
    more = given.with_point((8.5, 8.5), False)
    wish = Outline(outline.mask, outline.box, more, logits_of((0, 0, 9, 9), 0.7), 0.9)
    actions.refine(document, 1, wish)
    assert len(document.prompts(1).points_yx) == 2
    document.undo()
    assert snapshot(document) == before
    assert document.prompts(1).points_yx.tolist() == [[5.5, 5.5]]
    assert document.logits(1).grid[0, 0] == 0.5
    z.grid[:] = 9
    given.points_yx[:] = 0
    assert snapshot(document) == before
    document.undo()
    assert document.prompts(1).is_empty
    assert document.logits(1) is None


def test_ids_of_undone_nuclei_are_not_given_again(document):
    document.undo()
    result = actions.add(document, block(40, 40, 45, 45))
    assert result.ids == (4,)


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_an_action_that_the_store_cannot_keep_leaves_everything_as_it_was(writes):
    store = FailingStore((64, 64), 16)
    document = make_document(store=store)
    actions.import_nuclei(document, batch((2, 2, 9, 9), (30, 30, 39, 39), (50, 2, 60, 20)))
    actions.classify(document, [1], 3)
    document.undo()
    before, heard = snapshot(document), []
    document.changed.connect(lambda box, kinds: heard.append(box))
    outline = block(28, 28, 45, 45)
    wish = Outline(outline.mask, outline.box, clicks((40, 40, True)), logits_of((0, 0, 9, 9)))
    work = [
        lambda: actions.refine(document, 2, wish),
        lambda: actions.remove(document, [1, 2, 3]),
        document.undo,
        document.redo,
    ]
    for act in work:
        store.writes_left = writes
        with pytest.raises(OSError, match="disk full"):
            act()
        assert snapshot(document) == before
        assert document.history.undo_name == "Import nuclei"
        assert document.history.redo_name == "Classify nucleus as connective"
        check_consistent(document)
    assert heard == []
    store.writes_left = 10**9
    document.redo()
    assert document.row(1).class_id == 3


def test_ids_from_elsewhere_are_kept_only_if_none_was_ever_used():
    document = make_document()
    assert document.reserve_ids(3, [7, 5, 900]).tolist() == [7, 5, 900]
    assert document.reserve_ids(2, [900, 1000]).tolist() == [901, 902]
    assert document.reserve_ids(2, [1000, 1000]).tolist() == [903, 904]
    assert document.reserve_ids(1, [2**31 - 1]).tolist() == [905]
    assert document.reserve_ids(0).tolist() == []
