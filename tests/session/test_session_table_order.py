"""The ids of the nuclei in the order of a column of the table, filtered."""

import numpy as np
import pytest
from session_helpers import STORES, block

from napari_nucleus.session import actions
from napari_nucleus.session.columns import Column, RowFilter, RowOrder
from napari_nucleus.session.document import Document
from napari_nucleus.session.table import NucleusRow, NucleusState

S = NucleusState
ROWS = [
    # id, class, score, area, state; the names of classes 1, 2, 3 do not rise with their ids
    (2, 1, 0.5, 30, S.USER),
    (3, 3, 0.9, 10, S.AUTOMATIC),
    (5, 0, 0.5, 20, S.IMPORTED),
    (8, 2, 0.1, 10, S.ACCEPTED),
    (9, 3, 0.9, 40, S.AUTOMATIC),
]


def row_of(nucleus_id, class_id, score, area, state):
    box = (nucleus_id, nucleus_id, nucleus_id + 5, nucleus_id + 5)
    return NucleusRow(nucleus_id, box, area, (0.0, 0.0), class_id, (), score, None, state, "import")


@pytest.fixture(params=STORES.args[1])
def document(request):
    store = request.param((64, 64), 16)
    with store.transaction():
        store.put_rows([row_of(*values) for values in ROWS])
    return Document(store)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(
    ("column", "ids"),
    [
        (Column.ID, [2, 3, 5, 8, 9]),
        (Column.CLASS, [3, 9, 8, 2, 5]),  # connective, inflammatory, neoplastic, unclassified
        (Column.SCORE, [8, 2, 5, 3, 9]),
        (Column.AREA, [3, 8, 5, 2, 9]),
        (Column.STATE, [8, 3, 9, 5, 2]),  # accepted, automatic, imported, user
    ],
)
def test_each_column_orders_with_ties_by_id(document, column, ids, descending):
    ordered = document.ordered_ids(RowOrder(column, descending)).tolist()
    if not descending:
        assert ordered == ids
        return
    keys = {
        Column.ID: lambda r: r.id,
        Column.CLASS: lambda r: document.scheme.name_of(r.class_id),
        Column.SCORE: lambda r: r.score,
        Column.AREA: lambda r: r.area,
        Column.STATE: lambda r: r.state.value,
    }
    by_falling_key = sorted(document.rows(), key=keys[column], reverse=True)
    assert ordered == [row.id for row in by_falling_key]


def test_an_order_without_nuclei_is_empty(document):
    assert document.ordered_ids(wanted=RowFilter(class_ids=())).tolist() == []
    with document.store.transaction():
        document.store.drop_rows(document.ids.tolist())
    assert document.ordered_ids(RowOrder(Column.CLASS)).tolist() == []


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        (RowFilter(class_ids=(0, 3)), [3, 5, 9]),
        (RowFilter(states=(S.AUTOMATIC,)), [3, 9]),
        (RowFilter(area=(20, 30)), [2, 5]),
        (RowFilter(area=(None, 10.0)), [3, 8]),
        (RowFilter(score=(0.5, None)), [2, 3, 5, 9]),
        (RowFilter(class_ids=(3,), area=(11, None)), [9]),
        (RowFilter(states=(S.USER,), score=(0.6, None)), []),
    ],
)
def test_filters_leave_what_is_wanted_in_order(document, wanted, ids):
    assert document.ordered_ids(wanted=wanted).tolist() == ids
    falling = document.ordered_ids(RowOrder(Column.ID, True), wanted)
    assert falling.tolist() == ids[::-1]


def same_as_read_anew(document):
    """The columns that were kept up are those that the store would read now."""
    kept = [document.ordered_ids(RowOrder(column)).tolist() for column in Column]
    document.store.columns.forget()
    assert kept == [document.ordered_ids(RowOrder(column)).tolist() for column in Column]
    assert kept[0] == document.ids.tolist()


def test_the_order_follows_every_action_and_undo(document):
    assert len(document.ordered_ids()) == 5
    added = actions.add(document, block(30, 30, 40, 40), 2).ids[0]
    actions.classify(document, [3, added], 5)
    actions.accept(document, [5])
    by_class = RowFilter(class_ids=(5,))
    assert document.ordered_ids(wanted=by_class).tolist() == [3, added]
    same_as_read_anew(document)
    actions.remove(document, [added])
    assert document.ordered_ids(wanted=by_class).tolist() == [3]
    document.undo()
    assert document.ordered_ids(wanted=by_class).tolist() == [3, added]
    same_as_read_anew(document)
    while document.undo():
        pass
    assert document.ordered_ids(RowOrder(Column.CLASS)).tolist() == [3, 9, 8, 2, 5]
    same_as_read_anew(document)


def test_a_nucleus_between_others_comes_back_to_its_place(document):
    assert len(document.ordered_ids()) == 5
    with document.store.transaction():
        document.store.drop_rows([3, 5, 777])
        assert document.ordered_ids().tolist() == [2, 8, 9], "reads inside see what was written"
    with document.store.transaction():
        document.store.put_rows([row_of(*ROWS[2]), row_of(12, 1, 0.2, 7, S.USER), row_of(*ROWS[1])])
    assert document.ordered_ids().tolist() == [2, 3, 5, 8, 9, 12]
    same_as_read_anew(document)


def test_what_is_taken_back_is_not_in_the_order(document):
    before = document.ordered_ids(RowOrder(Column.AREA)).tolist()

    def fail_at_last():
        with document.store.transaction():
            document.store.put_rows([row_of(3, 1, 1.0, 999, S.USER), row_of(20, 1, 1.0, 1, S.USER)])
            document.store.drop_rows([9])
            raise OSError("disk full")

    with pytest.raises(OSError, match="full"):
        fail_at_last()
    assert document.ordered_ids(RowOrder(Column.AREA)).tolist() == before


@STORES
def test_columns_read_in_slices_take_in_what_changes_between(make):
    store = make((64, 64), 16)
    with store.transaction():
        store.put_rows([row_of(i, i % 4, i / 100, 100 - i, S.AUTOMATIC) for i in range(1, 31)])
    columns = store.columns
    assert not columns.load(10)
    with store.transaction():
        store.drop_rows([5, 25])
        store.put_rows([row_of(7, 1, 0.0, 3, S.USER), row_of(27, 1, 0.0, 2, S.USER)])
    assert not columns.load(10)
    assert len(columns) == 19
    with store.transaction():
        store.put_rows([row_of(5, 1, 0.5, 50, S.USER), row_of(40, 1, 0.5, 1, S.USER)])
    while not columns.load(10):
        pass
    assert columns.complete
    document = Document(store)
    assert document.ordered_ids(RowOrder(Column.AREA)).tolist()[:3] == [40, 27, 7]
    same_as_read_anew(document)


@STORES
def test_a_store_that_nobody_asked_holds_no_columns(make):
    store = make((64, 64), 16)
    with store.transaction():
        store.put_rows([row_of(1, 1, 1.0, 5, S.USER)])
    assert len(store.columns) == 0
    assert not store.columns.complete
    assert Document(store).ordered_ids().dtype == np.int64
    assert len(store.columns) == 1
