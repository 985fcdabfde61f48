"""Contours against OpenCV's own, and the masks that come back from them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.formats.contours import contours_of_labels, masks_of_contours

EIGHT = np.ones((3, 3))

MASKS = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def largest_filled(mask: np.ndarray) -> np.ndarray:
    parts, n = ndimage.label(mask, EIGHT)
    if not n:
        return mask
    return ndimage.binary_fill_holes(parts == 1 + np.bincount(parts.ravel())[1:].argmax())


def placed(mask: np.ndarray | None, offset: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    whole = np.zeros(shape, bool)
    assert mask is not None
    y, x = offset
    whole[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
    return whole


@settings(max_examples=300)
@given(MASKS)
def test_a_contour_is_the_one_that_opencv_finds(mask):
    filled = largest_filled(mask)
    _, contours = contours_of_labels(mask.astype(np.uint8))
    found, _ = cv2.findContours(filled.astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    assert len(contours) == len(found)
    if len(found):
        theirs = found[0].reshape(-1, 2)
        assert contours[0][: len(theirs)].tolist() == theirs.tolist()
        assert (contours[0][len(theirs) :] == theirs[-1]).all()
        assert len(contours[0]) == max(len(theirs), 3)


@settings(max_examples=300)
@given(MASKS)
def test_opencv_fills_a_contour_to_the_largest_part_without_holes(mask):
    canvas = np.zeros(mask.shape, np.uint8)
    for contour in contours_of_labels(mask.astype(np.uint8))[1]:
        cv2.fillPoly(canvas, [contour.astype(np.int32)], 1)
    np.testing.assert_array_equal(canvas > 0, largest_filled(mask))


@settings(max_examples=300)
@given(MASKS)
def test_a_mask_comes_back_from_its_contour(mask):
    _, contours = contours_of_labels(mask.astype(np.uint8), (3, 5))
    masks, offsets = masks_of_contours("case", contours, [])
    back = np.zeros(mask.shape, bool)
    if masks:
        back = placed(masks[0], offsets[0] - (3, 5), mask.shape)
    np.testing.assert_array_equal(back, largest_filled(mask))


@settings(max_examples=300)
@given(arrays(np.int64, st.tuples(st.integers(1, 8), st.just(2)), elements=st.integers(0, 15)))
def test_any_contour_is_filled_nearly_as_opencv_fills_it(points):
    """Slanted lines may take the pixel beside; what is inside may not differ."""
    canvas = np.zeros((16, 16), np.uint8)
    cv2.fillPoly(canvas, [points.astype(np.int32)], 1)
    rim = np.zeros((16, 16), np.uint8)
    cv2.polylines(rim, [points.astype(np.int32)], True, 1)
    near = cv2.dilate(rim, np.ones((3, 3), np.uint8)) > 0
    (mask,), offsets = masks_of_contours("case", [points], [])
    ours = placed(mask, offsets[0], (16, 16))
    np.testing.assert_array_equal(ours[~near], canvas[~near] > 0)


def test_several_nuclei_are_traced_at_once_each_on_its_own(labels):
    ids, contours = contours_of_labels(labels, (100, 200))
    assert ids.tolist() == [1, 3, 4, 9, 12, 70_000]
    masks, offsets = masks_of_contours("case", contours, [])
    for i, mask, offset in zip(ids, masks, offsets - (100, 200), strict=True):
        np.testing.assert_array_equal(
            placed(mask, offset, labels.shape), largest_filled(labels == i)
        )


def test_fractions_are_rounded_to_pixels():
    (mask,), offsets = masks_of_contours("case", [np.array([[0.6, 1.4], [2.4, 1.4]])], [])
    assert offsets[0].tolist() == [1, 1]
    assert mask is not None
    assert mask.tolist() == [[True, True]]


def test_a_contour_of_a_region_is_left_out_and_noted():
    notes: list[str] = []
    region = np.array([[0, 0], [9000, 0], [9000, 9000]])
    masks, _ = masks_of_contours("case", [region, np.array([[1, 1]]), np.zeros((0, 2))], notes)
    assert masks[0] is None
    assert masks[1] is not None
    assert masks[1].all()
    assert masks[2] is not None
    assert masks[2].size == 0
    assert "1 outlines larger" in notes[0]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300, 2.0**25])
def test_a_coordinate_that_is_none_is_named(value):
    with pytest.raises(AnnotationError, match="case: coordinate"):
        masks_of_contours("case", [np.array([[1, 1], [value, 2]])], [])


def test_no_contours_give_no_masks():
    assert contours_of_labels(np.zeros((4, 4), np.uint8)) == (pytest.approx([]), [])
    assert masks_of_contours("case", [], [])[0] == []
