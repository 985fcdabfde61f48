from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_nucleus.errors import LabelShapeError
from napari_nucleus.io import label_planes
from napari_nucleus.io.label_planes import label_plane, sampled, sampled_shape, tile_boxes

SIDES = st.tuples(st.integers(1, 40), st.integers(1, 40))


@given(SIDES, st.integers(1, 17), st.integers(0, 20), st.integers(1, 25), st.data())
def test_samples_are_those_of_a_slice(shape, step, first, side, data):
    labels = np.arange(shape[0] * shape[1], dtype=np.int32).reshape(shape)
    read = []

    def reading(box):
        read.append(box)
        return labels[box[0] : box[2], box[1] : box[3]]

    expected = labels[first::step, first::step]
    assert sampled_shape(shape, step, first) == expected.shape
    y = sorted(data.draw(st.tuples(*[st.integers(0, expected.shape[0])] * 2)))
    x = sorted(data.draw(st.tuples(*[st.integers(0, expected.shape[1])] * 2)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_planes, "READ_SIDE", side)
        np.testing.assert_array_equal(sampled(reading, shape, step, first), expected)
        window = sampled(reading, shape, step, first, (y[0], x[0], y[1], x[1]))
    np.testing.assert_array_equal(window, expected[y[0] : y[1], x[0] : x[1]])
    for y0, x0, y1, x1 in read:
        assert 0 <= y0 < y1 <= shape[0]
        assert 0 <= x0 < x1 <= shape[1]
        assert max(y1 - y0, x1 - x0) <= max(side, 1)


@given(SIDES, st.integers(1, 50), st.integers(1, 50))
def test_tiles_cover_every_pixel_once(shape, height, width):
    count = np.zeros(shape, int)
    for y0, x0, y1, x1 in tile_boxes(shape, height, width):
        count[y0:y1, x0:x1] += 1
    assert (count == 1).all()


@pytest.mark.parametrize(
    ("shape", "axes"), [((3, 5), None), ((1, 3, 5), None), ((3, 1, 5), "yzx"), ((1, 5, 3), "cxy")]
)
def test_a_plane_is_sliced_by_rows_and_columns(shape, axes):
    pixels = np.arange(15).reshape(3, 5)
    array = (pixels.T if axes == "cxy" else pixels).reshape(shape)
    plane = label_plane(array, "a", axes)
    assert plane.shape == (3, 5)
    np.testing.assert_array_equal(plane[:], pixels)
    np.testing.assert_array_equal(plane[1:3], pixels[1:3])
    np.testing.assert_array_equal(plane[1:3, 2:4], pixels[1:3, 2:4])


@pytest.mark.parametrize(
    ("shape", "axes", "message"),
    [
        ((2, 3, 5), None, "first axis holds 2 planes"),
        ((7, 3, 5), "tyx", "axis 't' holds 7 planes"),
        ((3,), None, "2 dimensions"),
        ((3, 5), "yz", "2 dimensions"),
        ((3, 5), "zyx", "2 dimensions"),
    ],
)
def test_what_is_no_single_plane_is_refused(shape, axes, message):
    with pytest.raises(LabelShapeError, match=f"a: .*{message}"):
        label_plane(np.zeros(shape), "a", axes)
