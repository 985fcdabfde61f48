"""The book of cells equals what the rows say, whatever was put in and dropped before."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_nucleus.core.cells import canonical_classes
from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.schemes import CONSEP
from napari_nucleus.session.cell_book import CellBook
from napari_nucleus.session.table import NucleusRow

PROB = (1.0, 0.0, 0.0, 0.0, 0.0)


def row(i, y=5.0, class_id=1, prob=PROB, source="nano", area=30):
    return NucleusRow(i, (0, 0, 10, 10), area, (y, float(i)), class_id, prob, source=source)


def check(book, rows, scheme=PANNUKE):
    cells, together = book.cells(scheme, 0.5)
    rows = sorted(rows, key=lambda r: r.id)
    classes, wanted_together = canonical_classes(np.array([r.class_id for r in rows], int), scheme)
    assert cells.ids.tolist() == [r.id for r in rows]
    assert cells.centroids_yx.tolist() == [list(r.centroid_yx) for r in rows]
    assert cells.areas.tolist() == [r.area for r in rows]
    assert cells.class_ids.tolist() == classes.tolist()
    assert together == wanted_together
    assert cells.mpp == 0.5


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sets(st.integers(1, 30), max_size=6), st.booleans(), st.integers(1, 5)),
        max_size=12,
    )
)
def test_it_holds_what_was_put_last_and_not_dropped(steps):
    book, there = CellBook(), {}
    for number, (ids, drops, class_id) in enumerate(steps):
        if drops:
            book.drop(sorted(ids))
            there = {i: r for i, r in there.items() if i not in ids}
        else:
            fresh = {i: row(i, float(number // 2), class_id, area=30) for i in ids}
            wanted = {i for i, r in fresh.items() if there.get(i) != r}
            assert book.put(fresh.values()) == wanted
            there |= fresh
        assert len(book) == len(there)
    check(book, there.values())


def test_classes_go_through_the_scheme_of_the_document():
    book, rows = CellBook(), [row(1, class_id=3), row(2, class_id=1), row(3, class_id=0)]
    book.put(rows)
    check(book, rows, CONSEP)
    cells, together = book.cells(CONSEP, 0.5, [1])
    assert cells.ids.tolist() == [1]
    assert cells.class_ids.tolist() == [5]
    assert together == (1, 5)


def test_what_is_gone_from_a_box_goes_by_the_centroid():
    book = CellBook()
    book.put([row(1, 5.0), row(2, 5.0), row(3, 50.0)])
    assert book.gone_from((0, 0, 10, 10), {2}) == [1]
    assert book.gone_from((0, 0, 10, 10), {1, 2}) == []


@pytest.mark.parametrize(
    ("changed", "left"),
    [
        ({}, 2),
        ({"prob": ()}, 1),
        ({"class_id": 2}, 1),
        ({"class_id": 0}, 1),
        ({"source": "other"}, 1),
    ],
)
def test_who_named_a_class_is_known_until_the_user_has(changed, left):
    book = CellBook()
    book.put([row(1), row(2, class_id=5)])
    assert len(book.guessed_yx(PANNUKE, {"nano"})) == 2
    book.put([row(1, **changed)])
    assert len(book.guessed_yx(PANNUKE, {"nano"})) == left
    assert not len(book.guessed_yx(PANNUKE, ()))


def test_the_models_that_named_classes_are_those_of_nuclei_that_are_there():
    book = CellBook()
    assert book.models == set()
    book.put([row(1), row(2, source="other"), row(3, prob=())])
    assert book.models == {"nano", "other"}
    book.drop([2])
    assert book.models == {"nano"}


def test_classes_become_canonical():
    book = CellBook()
    book.put([row(1, class_id=3), row(2, class_id=4), row(3, class_id=1)])
    cells, together = book.cells(CONSEP, 0.25)
    assert cells.class_ids.tolist() == [5, 3, 0]
    assert together == (1, 5)


def test_models_are_named_for_classes_that_are_still_theirs():
    book = CellBook()
    book.put(
        [
            row(1, source="uninuc-nano"),
            row(2, class_id=2, prob=(), source="other"),  # the user has named it since
            row(3, class_id=0, source="third"),
            row(4, class_id=5, prob=(), source="user"),
        ]
    )
    assert book.models == {"uninuc-nano"}
