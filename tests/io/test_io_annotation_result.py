"""Annotation files as results, for writing them in another format."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.annotation_file import AnnotationFile, Stated, of_labels, of_masks
from napari_nucleus.io.annotation_result import result_of_annotations


def squares(*places, side: int = 6, **stated) -> AnnotationFile:
    masks = [np.ones((side, side), bool)] * len(places)
    return of_masks("cells.json", masks, places, Stated(**stated))


@settings(max_examples=50)
@given(arrays(np.int32, (14, 15), elements=st.integers(0, 5)))
def test_a_label_map_comes_back(labels):
    result, notes = result_of_annotations(of_labels("a.tif", labels, Stated(mpp=0.5)))
    assert np.array_equal(result.labels, labels)
    assert (result.shape, result.mpp, notes) == ((14, 15), 0.5, [])
    blocks = [result.read((y, x, y + 7, x + 5)) for y in (0, 7) for x in (0, 5, 10)]
    pieces = [labels[y : y + 7, x : x + 5] for y in (0, 7) for x in (0, 5, 10)]
    assert all(map(np.array_equal, blocks, pieces))
    for i, area, box in zip(result.ids, result.table.areas, result.table.boxes, strict=True):
        rows, columns = np.nonzero(labels == i)
        assert area == len(rows)
        assert box.tolist() == [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]


def test_ids_classes_and_scores_go_along_in_the_order_of_the_ids():
    file = squares(
        (0, 0),
        (0, 10),
        (0, 20),
        ids=[9, 2, 70_000],
        scores=[0.5, np.nan, 1],
        classes=["b", "", "a"],
    )
    result, _ = result_of_annotations(file)
    assert result.ids.tolist() == [2, 9, 70_000]
    assert result.class_names == ["unclassified", "b", "a"]
    np.testing.assert_array_equal(result.scores, np.array([np.nan, 0.5, 1], np.float32))
    assert result.labels[0, 10] == 2


def test_the_better_score_has_the_pixels_of_two():
    file = squares((0, 0), (0, 4), (1, 1), scores=[0.5, 0.9, 0.4])
    result, notes = result_of_annotations(file)
    assert result.table.areas.tolist() == [24, 36]
    assert notes == ["cells.json: 1 of its nuclei lie on others; left out."]


def test_what_lies_outside_of_the_image_is_cut_or_left_out():
    file = squares((-3, 2), (30, 30), (8, 8))
    result, notes = result_of_annotations(file, (12, 11), 0.25)
    assert (result.shape, result.mpp) == ((12, 11), 0.25)
    assert result.table.areas.tolist() == [18, 12]
    assert notes == ["cells.json: 1 of its nuclei lie outside of 11 x 12 pixels; left out."]


def test_an_image_of_any_size_is_not_held():
    result, _ = result_of_annotations(squares((150_000, 3), (2, 200_000)))
    assert result.shape == (150_006, 200_006)
    assert result.read((150_000, 0, 150_003, 5)).tolist() == [[0, 0, 0, 1, 1]] * 3
    assert [len(block) for block in result.blocks()] == [1, 1]


def test_a_size_that_no_slide_has_is_refused():
    with pytest.raises(AnnotationError, match=r"cells\.json: .*8,000,006 x 9,000,006 pixels"):
        result_of_annotations(squares((9_000_000, 8_000_000)))


def test_no_nuclei_are_a_result_too():
    result, notes = result_of_annotations(squares(), (5, 6))
    assert (len(result), result.shape, notes) == (0, (5, 6), [])
