"""The store: labels like a plain array, rows by place, transactions all or nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from session_helpers import STORES

from napari_nucleus.session.edits import Edit
from napari_nucleus.session.table import NucleusRow

SHAPE = (50, 70)


def row(nucleus_id, box, class_id=0):
    return NucleusRow(nucleus_id, box, 1, (box[0] + 0.5, box[1] + 0.5), class_id)


@st.composite
def boxes(draw, shape=SHAPE):
    y = sorted(draw(st.lists(st.integers(0, shape[0]), min_size=2, max_size=2, unique=True)))
    x = sorted(draw(st.lists(st.integers(0, shape[1]), min_size=2, max_size=2, unique=True)))
    return y[0], x[0], y[1], x[1]


writes = st.lists(st.tuples(boxes(), st.integers(0, 3), st.booleans()), max_size=12)


@STORES
@given(writes=writes, look=boxes())
@settings(max_examples=80, deadline=None)
def test_tiled_labels_equal_a_plain_array_also_after_rollbacks(make, writes, look):
    store, plain = make(SHAPE, tile_size=16), np.zeros(SHAPE, np.int32)
    for (y0, x0, y1, x1), value, fails in writes:
        values = np.full((y1 - y0, x1 - x0), value, np.int32)
        values[::2, ::3] = 0
        try:
            with store.transaction():
                store.write_labels((y0, x0, y1, x1), values)
                if fails:
                    raise OSError("disk full")
            plain[y0:y1, x0:x1] = values
        except OSError:
            pass
    y0, x0, y1, x1 = look
    assert np.array_equal(store.read_labels(look), plain[y0:y1, x0:x1])
    assert np.array_equal(store.read_labels((0, 0, *SHAPE)), plain)
    covered = np.zeros(SHAPE, bool)
    for a, b, c, d in store.tile_boxes():
        covered[a:c, b:d] = True
    assert covered[plain != 0].all()


@STORES
def test_a_huge_empty_document_holds_no_tiles_and_loses_those_that_become_empty(make):
    store = make((100_000, 100_000))
    box = (99_990, 99_990, 100_000, 100_000)
    with store.transaction():
        store.write_labels(box, np.full((10, 10), 7, np.int32))
    assert len(store.tile_boxes()) == 1
    assert store.tile_boxes()[0][2:] == (100_000, 100_000)
    with store.transaction():
        store.write_labels(box, np.zeros((10, 10), np.int32))
    assert store.tile_boxes() == []


@STORES
def test_labels_read_are_a_copy(make):
    store = make(SHAPE)
    store.read_labels((0, 0, 5, 5))[:] = 9
    assert not store.read_labels((0, 0, 5, 5)).any()


@STORES
@given(placed=st.lists(boxes(), max_size=20), look=boxes())
@settings(max_examples=60, deadline=None)
def test_nuclei_are_found_by_place_as_by_looking_at_all(make, placed, look):
    store = make(SHAPE, tile_size=16)
    with store.transaction():
        store.put_rows([row(i + 1, box) for i, box in enumerate(placed)])
    with store.transaction():
        store.drop_rows([i + 1 for i in range(0, len(placed), 3)])
    expected = [
        i + 1
        for i, (y0, x0, y1, x1) in enumerate(placed)
        if i % 3 and y0 < look[2] and y1 > look[0] and x0 < look[3] and x1 > look[1]
    ]
    assert store.ids_in(look) == expected


@STORES
def test_rows_replace_each_other_and_classes_are_counted(make):
    store = make(SHAPE)
    with store.transaction():
        store.put_rows([row(1, (0, 0, 5, 5), 2), row(2, (5, 5, 9, 9), 2), row(7, (0, 0, 1, 1))])
        store.put_rows([row(2, (40, 60, 50, 70), 1)])
        store.drop_rows([7])
    assert store.class_counts() == {1: 1, 2: 1}
    assert store.count() == 2
    assert store.ids().tolist() == [1, 2]
    assert store.ids_in((4, 4, 10, 10)) == [1]
    assert store.row(7) is None


@STORES
def test_ids_are_never_given_twice(make):
    store = make(SHAPE)
    with store.transaction():
        store.put_rows([row(41, (0, 0, 5, 5))])
    with store.transaction():
        store.drop_rows([41])
    assert store.next_id == 42
    with store.transaction():
        store.reserve_ids(10)
    assert store.next_id == 42


@STORES
def test_a_failed_transaction_takes_back_rows_ids_and_journal(make):
    store = make(SHAPE)
    with store.transaction():
        first = store.add_action("first")
        store.put_rows([row(1, (0, 0, 5, 5), 2)])
        undone = store.add_action("second")
        store.mark_undone(undone)

    def write_and_fail():
        with store.transaction():
            store.drop_rows([1])
            store.put_rows([row(9, (0, 0, 5, 5), 3)])
            store.add_edit(first, Edit())
            store.rewrite_action(first, "other", [Edit(), Edit()])
            store.mark_undone(first)
            store.mark_done(first)
            store.add_action("third")
            store.drop_action(first)
            raise OSError("disk full")

    with pytest.raises(OSError):
        write_and_fail()
    assert store.row(1) == row(1, (0, 0, 5, 5), 2)
    assert store.row(9) is None
    assert store.class_counts() == {2: 1}
    assert store.next_id == 2
    assert store.ids_in((0, 0, 5, 5)) == [1]
    last, next_one = store.last_done(), store.first_undone()
    assert last is not None
    assert next_one is not None
    assert (last.name, next_one.name) == ("first", "second")
    assert list(store.edits_of(first)) == []


@STORES
def test_writing_outside_a_transaction_or_nesting_them_is_a_fault(make):
    store = make(SHAPE)
    with pytest.raises(RuntimeError, match="inside a transaction"):
        store.put_rows([row(1, (0, 0, 1, 1))])
    with store.transaction(), pytest.raises(RuntimeError, match="nest"), store.transaction():
        pass


@STORES
def test_a_document_without_pixels_is_refused(make):
    with pytest.raises(ValueError, match="at least 1"):
        make((0, 5))


@STORES
def test_journal_keeps_the_order_of_time_and_forgets_the_undone_with_a_new_action(make):
    store = make(SHAPE)
    with store.transaction():
        a, b, c = (store.add_action(name) for name in "abc")
        store.mark_undone(c)
        store.mark_undone(b)
    assert [e.name for e in store.actions_after(a)] == ["b", "c"]
    with store.transaction():
        d = store.add_action("d")
    assert [e.name for e in store.actions_after(a)] == ["d"]
    assert store.first_undone() is None
    assert d > c
    with pytest.raises(KeyError):
        store.edits_of(b)
    with store.transaction(), pytest.raises(ValueError, match="not next"):
        store.mark_undone(a)
    with store.transaction():
        store.mark_undone(d)
        store.rewrite_action(a, "A", [Edit()])
    assert store.first_undone() is None
    assert list(store.edits_of(a)) == [Edit()]
