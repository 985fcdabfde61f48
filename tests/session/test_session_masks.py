"""Masks: every click obeyed to the pixel, one sensible shape, core and rim."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from napari_nucleus.session.masks import (
    in_core,
    largest_part,
    obey_points,
    place_mask,
    tidy_mask,
    tight_mask,
)

masks = hnp.arrays(np.bool_, (12, 15))
pixels = st.tuples(st.integers(0, 11), st.integers(0, 14))


def disk(radius, size):
    c = size // 2
    y, x = np.ogrid[:size, :size]
    return (y - c) ** 2 + (x - c) ** 2 <= radius**2


@given(mask=masks, points=st.lists(st.tuples(pixels, st.booleans()), max_size=6))
@settings(max_examples=100, deadline=None)
def test_every_click_is_obeyed_and_the_later_of_two_on_a_pixel_counts(mask, points):
    out = obey_points(mask, [p for p, _ in points], [sign for _, sign in points])
    for pixel, sign in dict(points).items():
        assert out[pixel] == sign
    if all(mask[p] == sign for p, sign in dict(points).items()):
        assert np.array_equal(out, mask)


def test_a_disobedient_mask_is_put_right_by_a_small_disk_only():
    mask = np.zeros((20, 20), bool)
    out = obey_points(mask, [(10, 10)], [True])
    assert out[10, 10]
    assert 9 <= out.sum() <= 25
    assert not (out & ~disk(3, 20)).any()
    assert obey_points(~mask, [(10, 10)], [False]).sum() == 400 - out.sum()


@given(mask=masks, free=masks, inside=st.lists(pixels, max_size=3), outside=st.lists(pixels))
@settings(max_examples=150, deadline=None)
def test_a_tidy_mask_stays_free_keeps_its_points_and_has_few_parts(mask, free, inside, outside):
    inside = [p for p in inside if mask[p]]
    outside = [p for p in outside if not mask[p]]
    out = tidy_mask(mask, free, inside, outside)
    assert not (out & ~free).any()
    assert all(out[p] for p in inside if free[p])
    assert not any(out[p] for p in outside)
    _, n = ndimage.label(out)
    assert n <= 1 + len(inside)
    assert np.array_equal(tidy_mask(out, free, inside, outside), out)


def test_holes_are_filled_unless_a_neighbour_or_a_click_is_in_them():
    ring = np.ones((7, 7), bool)
    ring[2:5, 2:5] = False
    free = np.ones((7, 7), bool)
    assert tidy_mask(ring, free).all()
    free[3, 3] = False
    assert np.array_equal(tidy_mask(ring, free), ring)
    free[3, 3] = True
    assert np.array_equal(tidy_mask(ring, free, outside_rc=[(3, 3)]), ring)


def test_parts_that_touch_at_corners_only_are_apart():
    mask = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]], bool)
    assert largest_part(mask).sum() == 4
    assert tidy_mask(mask, np.ones((3, 3), bool)).sum() == 4
    assert tidy_mask(mask, np.ones((3, 3), bool), inside_rc=[(2, 2)]).sum() == 5


@given(mask=masks)
def test_a_tight_mask_is_cropped_and_measured(mask):
    shape = tight_mask(mask, (100, 200, 112, 215))
    if not mask.any():
        assert shape is None
        return
    assert shape is not None
    r, c = np.nonzero(mask)
    assert shape.box == (r.min() + 100, c.min() + 200, r.max() + 101, c.max() + 201)
    assert shape.area == mask.sum()
    assert shape.centroid_yx == pytest.approx((r.mean() + 100.5, c.mean() + 200.5))
    assert np.array_equal(place_mask(shape.mask, shape.box, (100, 200, 112, 215)), mask)


def test_a_mask_seen_through_a_window_is_cut():
    out = place_mask(np.ones((4, 4), bool), (-2, -2, 2, 2), (0, 0, 3, 3))
    assert out.sum() == 4
    assert out[:2, :2].all()
    assert not place_mask(np.ones((4, 4), bool), (10, 10, 14, 14), (0, 0, 3, 3)).any()


def test_the_core_is_where_depth_is_at_least_half_of_the_deepest():
    mask = disk(20, 51)
    assert in_core(mask, (25, 25))
    assert in_core(mask, (25, 25 + 9))
    assert not in_core(mask, (25, 25 + 13))
    assert in_core(np.ones((1, 1), bool), (0, 0))


def test_the_core_of_a_huge_mask_is_the_same_coarsely():
    mask = np.zeros((3001, 3001), bool)
    mask[disk(1400, 3001)] = True
    assert in_core(mask, (1500, 1500))
    assert in_core(mask, (1500, 1500 + 600))
    assert not in_core(mask, (1500, 1500 + 800))
