"""Nuclei of a label map: the same as by looking at each id, whatever the ids and strips."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_nucleus.core import label_runs
from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.session.label_map import nuclei_of_label_map


@given(
    labels=hnp.arrays(
        st.sampled_from([np.uint8, np.int32, np.int64, np.float32]),
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=20),
        elements=st.sampled_from([0, 0, 0, 1, 2, 5, 100]),
    ),
    strip=st.integers(1, 7),
)
@settings(max_examples=80, deadline=None)
def test_runs_give_the_same_nuclei_as_masks(labels, strip):
    expected, expected_ids = Nuclei.from_labels(labels)
    label_runs.STRIP_ROWS, kept = strip, label_runs.STRIP_ROWS
    try:
        nuclei, ids = nuclei_of_label_map(labels)
    finally:
        label_runs.STRIP_ROWS = kept
    assert ids.tolist() == expected_ids.tolist()
    assert nuclei.boxes.tolist() == expected.boxes.tolist()
    for mask, other in zip(nuclei.masks, expected.masks, strict=True):
        assert np.array_equal(mask, other)


def test_a_map_without_nuclei_gives_an_empty_batch_with_the_schemes_columns():
    nuclei, ids = nuclei_of_label_map(np.zeros((5, 6), int), {1: 1}, PANNUKE)
    assert len(nuclei) == len(ids) == 0
    assert nuclei.class_prob.shape == (0, 5)
    assert len(nuclei_of_label_map(np.zeros((0, 6), int))[0]) == 0


def test_classes_become_one_hot_columns_and_unknown_ones_none():
    labels = np.array([[3, 0, 7], [0, 0, 9]])
    nuclei, ids = nuclei_of_label_map(labels, {3: 5, 7: 42}, PANNUKE)
    assert ids.tolist() == [3, 7, 9]
    assert PANNUKE.ids_of_probabilities(nuclei.class_prob).tolist() == [5, 0, 0]
