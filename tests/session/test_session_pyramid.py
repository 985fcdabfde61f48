from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from session_helpers import STORES, block, make_document

from napari_nucleus.session import actions
from napari_nucleus.session.pyramid import level_box, level_count, level_shape, sample
from napari_nucleus.session.sqlite_tiles import fill_levels

SHAPE = (4100, 40)
"""Just too long to be shown whole."""


@pytest.mark.parametrize(
    ("shape", "count", "coarsest"),
    [((4096, 4096), 1, (4096, 4096)), ((20_000, 20_000), 6, (625, 625)), (SHAPE, 4, (512, 5))],
)
def test_levels_go_down_to_a_thousand_pixels_for_images_that_are_too_large(shape, count, coarsest):
    assert level_count(shape) == count
    assert level_shape(shape, count - 1) == coarsest


@given(st.data())
def test_a_box_brings_up_to_date_what_the_whole_map_would_show(data):
    height, width = data.draw(st.tuples(st.integers(1, 90), st.integers(1, 90)))
    level = data.draw(st.integers(1, 5))
    y0, x0 = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    y1, x1 = data.draw(st.integers(y0 + 1, height)), data.draw(st.integers(x0 + 1, width))
    labels = np.arange(height * width, dtype=np.int32).reshape(height, width)
    whole = sample(labels, (0, 0, height, width), level)
    a, b, c, d = level_box((y0, x0, y1, x1), level)
    part = sample(labels[y0:y1, x0:x1], (y0, x0, y1, x1), level)
    np.testing.assert_array_equal(part, whole[a:c, b:d])
    assert level_shape((height, width), level) == tuple(max(n, 1) for n in whole.shape)


def levels_of(store):
    return [
        store.read_labels((0, 0, *level_shape(SHAPE, level)), level)
        for level in range(store.levels)
    ]


def assert_levels_agree(store):
    whole, *above = levels_of(store)
    for level, labels in enumerate(above, 1):
        expected = sample(whole, (0, 0, *SHAPE), level)
        np.testing.assert_array_equal(labels[: expected.shape[0], : expected.shape[1]], expected)


@STORES
def test_every_level_follows_edits_undo_and_failures(make):
    document = make_document(SHAPE, store=make(SHAPE, 16))
    for y in range(0, 4060, 31):
        actions.add(document, block(y, y % 20, y + 20, y % 20 + 15))
    assert document.store.levels == 4
    assert levels_of(document.store)[3].any()
    assert_levels_agree(document.store)
    actions.remove(document, [3, 4])
    assert_levels_agree(document.store)
    before = levels_of(document.store)

    def write_and_fail():
        with document.store.transaction():
            document.store.write_labels((0, 0, 40, 40), np.full((40, 40), 7, np.int32))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    for labels, kept in zip(levels_of(document.store), before, strict=True):
        np.testing.assert_array_equal(labels, kept)
    while document.undo():
        pass
    assert not any(labels.any() for labels in levels_of(document.store))


def test_levels_can_be_made_of_the_tiles_alone(file_of_tiles):
    store, connection = file_of_tiles
    expected = levels_of(store)
    connection.execute("DELETE FROM tile WHERE level > 0")
    fill_levels(connection, 16, store.levels)
    fresh = type(store)(connection, "again.nucleus")
    for labels, kept in zip(levels_of(fresh), expected, strict=True):
        np.testing.assert_array_equal(labels, kept)


@pytest.fixture
def file_of_tiles():
    from session_helpers import file_store

    store = file_store(SHAPE, 16)
    document = make_document(SHAPE, store=store)
    for y in range(0, 4060, 97):
        actions.add(document, block(y, y % 20, y + 20, y % 20 + 15))
    return store, store._sql


@STORES
def test_class_ids_of_all_and_of_a_box(make):
    document = make_document((64, 64), store=make((64, 64), 16))
    for y, class_id in ((0, 2), (20, 0), (40, 5)):
        actions.add(document, block(y, y, y + 10, y + 10), class_id)
    ids, classes = document.store.class_ids()
    assert dict(zip(ids.tolist(), classes.tolist(), strict=True)) == {1: 2, 2: 0, 3: 5}
    ids, classes = document.store.class_ids((15, 15, 45, 45))
    assert (ids.tolist(), classes.tolist()) == ([2, 3], [0, 5])
    assert len(document.store.class_ids((60, 0, 64, 4))[0]) == 0
