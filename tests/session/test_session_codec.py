"""Packed values come back to the last bit, and damaged ones are refused."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from session_helpers import seen, seen_region

from napari_nucleus.core.prompts import MaskLogits, Prompts
from napari_nucleus.session import codec
from napari_nucleus.session.edits import Edit, NucleusChange, Patch, RegionChange
from napari_nucleus.session.regions import Region, RegionKind
from napari_nucleus.session.table import ClickMemory, NucleusRow, NucleusState

finite = st.floats(allow_nan=False, allow_infinity=False, width=64)
boxes = st.tuples(*[st.integers(0, 2**31 - 1)] * 4)


@st.composite
def rows(draw):
    return NucleusRow(
        draw(st.integers(1, 2**31 - 1)),
        draw(boxes),
        draw(st.integers(0, 2**40)),
        (draw(finite), draw(finite)),
        draw(st.integers(0, 250)),
        tuple(draw(st.lists(finite, max_size=6))),
        draw(finite),
        draw(st.none() | finite),
        draw(st.sampled_from(NucleusState)),
        draw(st.text(max_size=9)),
        draw(st.none() | finite),
    )


@st.composite
def regions(draw):
    polygons = draw(
        st.lists(
            hnp.arrays(np.float64, st.tuples(st.integers(3, 6), st.just(2)), elements=finite),
            min_size=1,
            max_size=3,
        )
    )
    words = [draw(st.text(max_size=9)) for _ in range(3)]
    number, kind = draw(st.integers(1, 2**31 - 1)), draw(st.sampled_from(RegionKind))
    return Region(number, kind, tuple(polygons), *words)


@st.composite
def memories(draw):
    n = draw(st.integers(0, 4))
    points = np.array([[draw(finite), draw(finite)] for _ in range(n)]).reshape(-1, 2)
    box = draw(st.none() | st.tuples(finite, finite, finite, finite))
    scribble = draw(st.none() | hnp.arrays(np.float64, st.tuples(st.integers(0, 5), st.just(2))))
    prompts = Prompts(
        points, np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)), bool), box, scribble
    )
    if not draw(st.booleans()):
        return ClickMemory(prompts)
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    grid = draw(hnp.arrays(dtype, hnp.array_shapes(min_dims=2, max_dims=2, max_side=5)))
    return ClickMemory(prompts, MaskLogits(grid, draw(st.tuples(finite, finite, finite, finite))))


def all_of(memory):
    if memory is None:
        return None
    scribble = memory.prompts.scribble_yx
    return seen(memory), None if scribble is None else scribble.tobytes()


@st.composite
def edits(draw):
    patches = []
    for mask in draw(
        st.lists(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2)), max_size=3)
    ):
        y, x = draw(st.integers(0, 10**6)), draw(st.integers(0, 10**6))
        box = (y, x, y + mask.shape[0], x + mask.shape[1])
        patches.append(Patch.of(box, mask, draw(st.integers(0, 2**31 - 1)), 5))
    changes = []
    for _ in range(draw(st.integers(0, 3))):
        before, after = draw(st.none() | rows()), draw(rows())
        old = draw(st.none() | memories())
        new = old if draw(st.booleans()) else draw(st.none() | memories())
        changes.append(NucleusChange(before, after, old, new))
    moved = []
    for _ in range(draw(st.integers(0, 2))):
        pair = draw(st.none() | regions()), draw(regions())
        moved.append(RegionChange(*(pair if draw(st.booleans()) else reversed(pair))))
    return Edit(tuple(patches), tuple(changes), tuple(moved))


@given(edit=edits())
def test_edits_come_back(edit):
    again = codec.decode_edit(codec.encode_edit(edit))
    assert again.patches == edit.patches
    for was, now in zip(edit.changes, again.changes, strict=True):
        assert (now.row_before, now.row_after) == (was.row_before, was.row_after)
        assert all_of(now.memory_before) == all_of(was.memory_before)
        assert all_of(now.memory_after) == all_of(was.memory_after)
        if was.memory_after is was.memory_before:
            assert now.memory_after is now.memory_before
    for was, now in zip(edit.regions, again.regions, strict=True):
        for old, new in ((was.before, now.before), (was.after, now.after)):
            assert (old and seen_region(old)) == (new and seen_region(new))


@given(memory=memories())
def test_memories_come_back(memory):
    assert all_of(codec.decode_memory(codec.encode_memory(memory))) == all_of(memory)


@given(tile=hnp.arrays(np.int32, (8, 8)))
def test_tiles_come_back_and_can_be_written(tile):
    again = codec.decode_tile(codec.encode_tile(tile), 8)
    assert np.array_equal(again, tile)
    again[:] = 0


@given(edit=edits(), cut=st.integers(1, 40), at=st.integers(0, 10**6), byte=st.integers(0, 255))
def test_damaged_values_raise_what_the_store_expects(edit, cut, at, byte):
    packed = codec.encode_edit(edit)
    damaged = bytearray(packed)
    damaged[at % len(damaged)] = byte
    for data in (packed[:-cut], bytes(damaged)):
        with contextlib.suppress(KeyError, TypeError, ValueError):
            codec.decode_edit(data)


def test_a_tile_of_another_size_and_logits_of_another_type_are_refused():
    with pytest.raises(ValueError, match="64 pixels"):
        codec.decode_tile(codec.encode_tile(np.zeros((8, 8), np.int32)), 16)
    memory = ClickMemory(Prompts(), MaskLogits(np.zeros((2, 2), np.int16), (0, 0, 1, 1)))
    with pytest.raises(ValueError, match="logits of type"):
        codec.decode_memory(codec.encode_memory(memory))
