from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_nucleus.core import filters
from napari_nucleus.core.filters import (
    bands,
    binomial_blur,
    blocks,
    distance_to_background,
    gradient,
    opened,
    window,
)


def test_bands_and_blocks_cover_a_map_once():
    covered = np.zeros((700, 500), int)
    for rows in bands(covered.shape):
        covered[rows] += 1
    for y0, x0, y1, x1 in blocks(np.ones(covered.shape, bool)):
        covered[y0:y1, x0:x1] += 1
    assert (covered == 2).all()


def test_only_blocks_that_hold_something_are_visited():
    mask = np.zeros((1000, 1000), bool)
    mask[300, 900] = True
    (y0, x0, y1, x1), *others = blocks(mask)
    assert mask[y0:y1, x0:x1].any()
    assert not others


@pytest.mark.parametrize("size", [3, 5, 7, 11, 21, 61])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_gradient_is_sobels_in_opencv(size, axis):
    values = np.random.default_rng(size).normal(size=(70, 90))
    ours = gradient(window(values, (0, 0, 70, 90), size // 2), size, axis)
    if size <= 31:
        sobel = cv2.Sobel(values, cv2.CV_64F, axis, 1 - axis, ksize=size)
        np.testing.assert_allclose(ours, sobel * 0.5 ** (2 * size - 3), atol=1e-12)
    slope = gradient(window(np.indices((70, 90))[axis] * 3.0, (30, 40, 31, 42), 30), size, axis)
    inner = slope[30 - size // 2 : 31 - size // 2, 30 - size // 2 : 32 - size // 2]
    np.testing.assert_allclose(inner, 3.0, rtol=1e-6)


@pytest.mark.parametrize("shape", [(40, 30), (3, 50), (1, 1)])
def test_a_binomial_blur_is_opencvs(shape):
    values = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    ours = binomial_blur(window(values, (0, 0, *shape), 1), 1)
    expected = cv2.GaussianBlur(values.astype(np.float64), (3, 3), 0)
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_filters_do_not_depend_on_the_block():
    values = np.random.default_rng(2).normal(size=(300, 300)).astype(np.float32)
    whole = gradient(window(values, (0, 0, 300, 300), 10), 21, 1)
    part = gradient(window(values, (37, 101, 150, 222), 10), 21, 1)
    assert np.array_equal(part, whole[37:150, 101:222])


@pytest.mark.parametrize("size", [1, 3, 5, 7, 11])
@pytest.mark.parametrize("shape", [(60, 80), (4, 3), (1, 1)])
def test_opening_is_opencvs(size, shape):
    mask = np.random.default_rng(size).random(shape) < 0.95
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    expected = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, kernel)
    assert np.array_equal(opened(mask, size), expected > 0)


def numbered(mask):
    return np.asarray(ndimage.label(mask)[0], np.int32)


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(1, 40), (40, 1), (30, 50), (520, 300)]),
    st.sampled_from([0.3, 0.9, 0.99, 0.9995]),
)
@settings(max_examples=30, deadline=None)
def test_distances_are_scipys(seed, shape, share):
    mask = np.random.default_rng(seed).random(shape) < share
    mask[seed % shape[0], seed % shape[1]] = False
    expected = ndimage.distance_transform_edt(mask).astype(np.float32)
    assert np.array_equal(distance_to_background(numbered(mask)), expected)


def test_distances_in_a_component_are_those_without_its_neighbours():
    mask = np.random.default_rng(3).random((120, 120)) < 0.6
    components = numbered(mask)
    distance = distance_to_background(components)
    for number in np.unique(components)[1:]:
        own = components == number
        alone = ndimage.distance_transform_edt(own)
        np.testing.assert_array_equal(distance[own], alone[own].astype(np.float32))


def test_distances_in_a_map_without_background_are_to_what_lies_around_it():
    distance = distance_to_background(np.ones((5, 301), np.int32))
    assert distance[2].max() == 3
    large = distance_to_background(np.ones((450, 450), np.int32))
    assert large.max() == 225 > filters.LARGEST_DISTANCE
