from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_nucleus.core.geometry import (
    Frame,
    box_area,
    box_intersection,
    box_union,
    clip_box,
    pad_box,
    pixels_of_points,
    points_from_centre_origin,
    points_to_centre_origin,
)

coordinates = st.floats(-1e5, 1e5)
points = st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=5)
factors = st.floats(0.01, 100)
frames = st.builds(
    Frame,
    st.tuples(coordinates, coordinates),
    st.tuples(factors, factors),
    st.none() | st.floats(0.05, 5),
)
boxes = st.tuples(*[st.integers(-20, 60)] * 4)


@given(frames, points)
def test_points_come_back_from_level_0(frame, points_yx):
    there = frame.to_level0(points_yx)
    np.testing.assert_allclose(frame.from_level0(there), points_yx, rtol=1e-6, atol=1e-6)


@given(frames, points)
def test_boxes_map_like_their_corners(frame, corners):
    boxes_yxyx = np.column_stack([corners, np.add(corners, 3)])
    mapped = frame.boxes_to_level0(boxes_yxyx)
    np.testing.assert_allclose(mapped[:, :2], frame.to_level0(corners))
    np.testing.assert_allclose(frame.boxes_from_level0(mapped), boxes_yxyx, rtol=1e-6, atol=1e-6)


@given(frames, st.tuples(st.integers(1, 99), st.integers(1, 99)), st.integers(1, 50))
def test_resizing_keeps_the_outer_corners(frame, shape, new_side):
    new_shape = (new_side, new_side + 3)
    resized = frame.resampled(shape, new_shape)
    np.testing.assert_allclose(resized.to_level0((0, 0)), frame.to_level0((0, 0)))
    np.testing.assert_allclose(resized.to_level0(new_shape), frame.to_level0(shape), rtol=1e-9)


def test_resizing_moves_pixel_centres_by_the_half_pixel_rule():
    resized = Frame().resampled((10, 10), (25, 25))
    scale = 2.5
    centre = 3
    where = resized.from_level0((centre + 0.5, centre + 0.5))[0] - 0.5
    assert where == pytest.approx((centre + 0.5) * scale - 0.5)


@given(frames, st.integers(-50, 50), st.integers(-50, 50), points)
def test_a_crop_counts_from_its_own_corner(frame, y0, x0, points_yx):
    cropped = frame.cropped(y0, x0)
    whole = frame.to_level0(np.add(points_yx, (y0, x0)))
    np.testing.assert_allclose(cropped.to_level0(points_yx), whole, rtol=1e-9, atol=1e-6)


def test_raster_pixels_grow_with_the_downsampling():
    assert Frame(downsample_yx=(2, 8), mpp=0.25).raster_mpp == pytest.approx(1.0)
    assert Frame(downsample_yx=(2, 2)).raster_mpp is None


@pytest.mark.parametrize("downsample", [(0, 1), (1, -2), (1, np.nan), (np.inf, 1)])
def test_a_frame_without_a_size_is_refused(downsample):
    with pytest.raises(ValueError, match="downsample"):
        Frame(downsample_yx=downsample)


@pytest.mark.parametrize("mpp", [0, -0.25, np.nan, np.inf])
def test_a_pixel_size_that_is_none_is_refused(mpp):
    with pytest.raises(ValueError, match="mpp"):
        Frame(mpp=mpp)


@given(st.integers(-1000, 1000), st.integers(-1000, 1000))
def test_the_centre_of_a_pixel_lies_in_that_pixel(row, column):
    centre = (row + 0.5, column + 0.5)
    assert pixels_of_points(centre).tolist() == [row, column]
    assert pixels_of_points((row, column)).tolist() == [row, column]
    np.testing.assert_array_equal(points_to_centre_origin(centre), (row, column))


@given(points)
def test_origins_convert_back(points_yx):
    there = points_to_centre_origin(points_yx)
    np.testing.assert_allclose(points_from_centre_origin(there), points_yx, atol=1e-9)
    # A view that puts 0 at the centre of the first pixel rounds where we floor.
    pixels = pixels_of_points(points_yx)
    assert (np.abs(there - pixels) <= 0.5 + 1e-9).all()


@given(boxes, st.tuples(st.integers(0, 40), st.integers(0, 40)))
def test_a_clipped_box_lies_in_the_array_and_is_never_inverted(box, shape):
    y0, x0, y1, x1 = clip_box(box, shape)
    assert 0 <= y0 <= y1 <= shape[0]
    assert 0 <= x0 <= x1 <= shape[1]
    whole = np.zeros(shape)
    expected = box_intersection(box, (0, 0, *shape))
    assert whole[y0:y1, x0:x1].size == (box_area(expected) if expected else 0)


def set_of(box) -> set:
    return {(y, x) for y in range(box[0], box[2]) for x in range(box[1], box[3])}


small_boxes = st.tuples(*[st.integers(-4, 8)] * 4)


@given(small_boxes, small_boxes)
def test_intersections_are_those_of_the_pixels(a, b):
    common = box_intersection(a, b)
    assert set_of(a) & set_of(b) == (set_of(common) if common else set())
    assert box_area(a) == len(set_of(a))


@given(small_boxes, small_boxes)
def test_a_union_holds_both(a, b):
    assert set_of(a) | set_of(b) <= set_of(box_union(a, b))


def test_padding_grows_all_sides():
    assert pad_box((2, 3, 4, 5), 2) == (0, 1, 6, 7)
    assert pad_box((2, 3, 6, 7), -1) == (3, 4, 5, 6)
