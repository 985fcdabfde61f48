from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from napari_nucleus.core.classes import UNKNOWN_CLASS
from napari_nucleus.core.outlines import INTERIOR, UNCLASSIFIED_OUTLINE, class_outline, class_raster

label_maps = arrays(
    np.int32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 3)
)
CLASSES = np.array([0, 1, 2, 5])


@given(label_maps, st.integers(1, 3))
def test_outline_is_what_erosion_takes_from_each_nucleus(labels, width):
    expected = np.zeros(labels.shape, np.uint8)
    for i in range(1, 4):
        inner = ndimage.binary_erosion(labels == i, iterations=width, border_value=1)
        expected[(labels == i) & ~inner] = CLASSES[i]
    np.testing.assert_array_equal(class_outline(labels, CLASSES, width), expected)


@given(label_maps)
def test_image_edges_close_nuclei_that_are_cut_off(labels):
    expected = class_outline(np.pad(labels, 1), CLASSES)[1:-1, 1:-1]
    closed = class_outline(labels, CLASSES, image_edges=(True,) * 4)
    np.testing.assert_array_equal(closed, expected)


@pytest.mark.parametrize("side", range(4))
def test_only_the_named_edge_is_closed(side):
    edges = [False] * 4
    edges[side] = True
    raster = class_outline(np.ones((3, 3), int), CLASSES, image_edges=tuple(edges))  # type: ignore
    lines = [raster[0], raster[:, 0], raster[-1], raster[:, -1]]
    assert lines[side].all()
    assert raster.sum() == 3


@given(label_maps, st.integers(1, 2), st.data())
def test_a_padded_box_gives_the_same_pixels_as_the_whole(labels, width, data):
    height, w = labels.shape
    y0, x0 = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, w - 1))
    y1, x1 = data.draw(st.integers(y0 + 1, height)), data.draw(st.integers(x0 + 1, w))
    a, b = max(y0 - width, 0), max(x0 - width, 0)
    part = class_outline(labels[a : y1 + width, b : x1 + width], CLASSES, width)
    whole = class_outline(labels, CLASSES, width)
    np.testing.assert_array_equal(
        part[y0 - a :, x0 - b :][: y1 - y0, : x1 - x0], whole[y0:y1, x0:x1]
    )


def test_nuclei_without_a_known_class_have_their_own_value():
    labels = np.array([[1, 0, 2, 0, 900]])
    raster = class_outline(labels, np.array([0, 0, UNKNOWN_CLASS]))
    assert raster.tolist() == [
        [UNCLASSIFIED_OUTLINE, 0, UNCLASSIFIED_OUTLINE, 0, UNCLASSIFIED_OUTLINE]
    ]


def test_classes_can_be_a_function_of_ids():
    labels = np.array([[1, 0, 2_000_000_000]])
    raster = class_outline(labels, lambda ids: np.where(ids > 5, 4, 0))
    assert raster.tolist() == [[UNCLASSIFIED_OUTLINE, 0, 4]]


def test_no_classes_at_all():
    labels = np.array([[1, 0]], np.uint16)
    assert class_outline(labels, np.zeros(0, int)).tolist() == [[UNCLASSIFIED_OUTLINE, 0]]
    assert class_outline(np.zeros((0, 4), int), CLASSES).shape == (0, 4)


def test_the_raster_is_the_outline_and_what_it_encloses():
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 4, (6, 7)), np.ones((5, 4), int))
    edges = (True, False, False, True)
    raster = class_raster(labels, CLASSES, edges)
    outline = class_outline(labels, CLASSES, image_edges=edges)
    np.testing.assert_array_equal(np.where(raster < INTERIOR, raster, 0), outline)
    whole = np.where(raster >= INTERIOR, raster - INTERIOR, raster)
    kinds = CLASSES[labels]
    expected = np.where((kinds == 0) | (kinds == UNKNOWN_CLASS), UNCLASSIFIED_OUTLINE, kinds)
    np.testing.assert_array_equal(whole, np.where(labels > 0, expected, 0))
