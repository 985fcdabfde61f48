"""Edits: exact inverses that cost what changed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_nucleus.session.edits import (
    Edit,
    NucleusChange,
    Patch,
    Touched,
    apply_edit,
    patches_between,
)
from napari_nucleus.session.memory_store import MemoryStore
from napari_nucleus.session.table import NucleusRow

maps = hnp.arrays(np.int32, (9, 13), elements=st.integers(0, 4))


def row(nucleus_id, box, class_id=0):
    return NucleusRow(nucleus_id, box, 1, (0.5, 0.5), class_id)


def store_with(labels, at=(0, 0), shape=(40, 40)):
    store = MemoryStore(shape, tile_size=8)
    box = (*at, at[0] + labels.shape[0], at[1] + labels.shape[1])
    with store.transaction():
        store.write_labels(box, labels)
    return store, box


@given(before=maps, after=maps)
@settings(max_examples=80, deadline=None)
def test_patches_between_two_maps_lead_there_and_back(before, after):
    store, box = store_with(before, at=(5, 6))
    edit = Edit(patches_between(box, before, after))
    with store.transaction():
        apply_edit(store, edit)
    assert np.array_equal(store.read_labels(box), after)
    with store.transaction():
        apply_edit(store, edit.inverse())
    assert np.array_equal(store.read_labels(box), before)


@given(mask=hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=20)))
def test_a_packed_mask_comes_back(mask):
    patch = Patch.of((3, 4, 3 + mask.shape[0], 4 + mask.shape[1]), mask, 0, 1)
    assert np.array_equal(patch.mask, mask)
    assert len(patch.bits) == -(-mask.size // 8)
    assert patch.inverse().inverse() == patch


def test_an_edit_of_another_state_is_a_fault_and_changes_nothing():
    store, box = store_with(np.full((4, 4), 3, np.int32))
    edit = Edit((Patch.of(box, np.ones((4, 4), bool), 0, 1),))
    with pytest.raises(ValueError, match="the document differs"), store.transaction():
        apply_edit(store, edit)
    assert (store.read_labels(box) == 3).all()


def test_a_small_change_in_a_large_window_makes_a_small_patch():
    before = np.zeros((600, 600), np.int32)
    after = before.copy()
    after[300:303, 400:404] = 5
    (patch,) = patches_between((1000, 2000, 1600, 2600), before, after)
    assert patch.box == (1300, 2400, 1303, 2404)
    assert len(patch.bits) == 2


def test_a_change_without_any_row_is_a_fault():
    with pytest.raises(ValueError, match="row before or after"):
        NucleusChange(None, None)


def test_kinds_say_what_changed():
    box = (0, 0, 2, 2)
    patch = Patch.of(box, np.ones((2, 2), bool), 0, 1)
    assert Touched.of([Edit((patch,))]).kinds == {"labels"}
    added = NucleusChange(None, row(1, box))
    assert Touched.of([Edit((patch,), (added,))]).kinds == {"labels", "classes", "table"}
    same_class = NucleusChange(row(1, box, 2), row(1, (0, 0, 3, 3), 2))
    assert Touched.of([Edit((patch,), (same_class,))]).kinds == {"labels", "table"}
    other_class = NucleusChange(row(1, box, 2), row(1, box, 3))
    assert Touched.of([Edit((), (other_class,))]).kinds == {"classes", "table"}
    assert Touched.of([]).kinds == set()


def test_changes_far_apart_are_announced_apart_and_near_ones_together():
    def removal(y, x):
        box = (y, x, y + 20, x + 20)
        return Edit((Patch.of(box, np.ones((20, 20), bool), 1, 0),))

    assert Touched.of([removal(0, 0), removal(0, 18)]).areas() == [(0, 0, 20, 38)]
    far = Touched.of([removal(0, 0), removal(90_000, 90_000)]).areas()
    assert sorted(far) == [(0, 0, 20, 20), (90_000, 90_000, 90_020, 90_020)]
    assert Touched.of([Edit()]).areas() == []
    assert removal(0, 0).box == (0, 0, 20, 20)
    assert Edit().box is None
    assert not Edit()
