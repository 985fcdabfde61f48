from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_nucleus.core.nuclei import Nuclei, check_labels, paint
from napari_nucleus.core.prompts import MaskLogits
from napari_nucleus.errors import LabelsError

label_maps = arrays(
    np.int32, st.tuples(st.integers(1, 10), st.integers(1, 10)), elements=st.integers(0, 5)
)


def two_nuclei() -> Nuclei:
    return Nuclei.from_masks(
        [np.ones((2, 3), bool), np.ones((3, 2), bool)],
        [(1, 1), (2, 2)],
        [0.2, 0.9],
        [[0.1, 0.9], [0.8, 0.2]],
        [MaskLogits(np.zeros((4, 4)), (1, 1, 3, 4)), None],
        "model",
    )


@given(label_maps, st.sampled_from([np.uint8, np.uint16, np.int64, np.float64]))
def test_labels_come_back(labels, dtype):
    nuclei, ids = Nuclei.from_labels(labels.astype(dtype))
    assert ids.tolist() == np.unique(labels[labels > 0]).tolist()
    np.testing.assert_array_equal(nuclei.to_labels(labels.shape, ids), labels)
    assert nuclei.areas.tolist() == [np.sum(labels == i) for i in ids]


@given(label_maps)
def test_boxes_are_tight(labels):
    nuclei, ids = Nuclei.from_labels(labels)
    for i, (y0, x0, y1, x1) in zip(ids, nuclei.boxes, strict=True):
        rows, columns = np.nonzero(labels == i)
        assert (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1) == (y0, x0, y1, x1)


def test_a_map_without_background_keeps_its_lowest_id():
    nuclei, ids = Nuclei.from_labels(np.array([[4, 4], [9, 9]]))
    assert ids.tolist() == [4, 9]
    assert len(nuclei) == 2


def test_class_probabilities_follow_the_ids():
    nuclei, ids = Nuclei.from_labels(np.array([[7, 0, 3]]), np.array([[1, 0], [0, 1]]))
    assert ids.tolist() == [3, 7]
    assert nuclei.class_prob.tolist() == [[1, 0], [0, 1]]


def test_masks_are_cropped_and_empty_ones_dropped():
    loose = np.zeros((9, 9), bool)
    loose[4:6, 5] = True
    nuclei = Nuclei.from_masks([np.zeros((3, 3), bool), loose], [(0, 0), (10, 20)], [0.1, 0.7])
    assert nuclei.boxes.tolist() == [[14, 25, 16, 26]]
    assert nuclei.score.tolist() == pytest.approx([0.7])


def test_the_better_score_lies_on_top():
    labels = two_nuclei().to_labels((5, 5))
    assert labels[2, 2] == 2
    assert labels[1, 1] == 1


def test_what_lies_outside_is_cut_off():
    nuclei = two_nuclei().shifted(-2, 2)
    labels = nuclei.to_labels((3, 5), [5, 6])
    np.testing.assert_array_equal(labels, [[0, 0, 0, 5, 6], [0, 0, 0, 0, 6], [0, 0, 0, 0, 6]])


def test_a_mask_outside_paints_nothing():
    labels = np.zeros((3, 3), np.int32)
    paint(labels, (5, 5, 6, 6), np.ones((1, 1), bool), 1)
    assert not labels.any()


@given(st.integers(-50, 50), st.integers(-50, 50))
def test_shifting_there_and_back_changes_nothing(dy, dx):
    nuclei = two_nuclei()
    back = nuclei.shifted(dy, dx).shifted(-dy, -dx)
    np.testing.assert_array_equal(back.boxes, nuclei.boxes)
    assert back.logits[0] is not None
    assert back.logits[0].window == (1, 1, 3, 4)
    assert nuclei.shifted(dy, dx).boxes[0].tolist() == [1 + dy, 1 + dx, 3 + dy, 4 + dx]


def test_selection_takes_indices_or_flags():
    nuclei = two_nuclei()
    for which in ([1], [False, True], np.array([1])):
        chosen = nuclei.select(which)
        assert chosen.score.tolist() == pytest.approx([0.9])
        assert chosen.logits == (None,)
        assert chosen.source == "model"
    assert len(nuclei.select([])) == 0


def test_joined_batches_keep_their_order():
    both = Nuclei.concatenate([two_nuclei(), two_nuclei().shifted(10, 0)])
    assert len(both) == 4
    assert both.boxes[:, 0].tolist() == [1, 2, 11, 12]
    assert len(Nuclei.concatenate([])) == 0


def test_centroids_lie_in_the_middle_of_pixels():
    nuclei = Nuclei.from_masks([np.ones((1, 1), bool)], [(4, 7)])
    assert nuclei.centroids_yx.tolist() == [[4.5, 7.5]]


@pytest.mark.parametrize(
    "change",
    [
        {"boxes": np.zeros((1, 4), np.int32)},
        {"score": np.zeros(3, np.float32)},
        {"class_prob": np.zeros((1, 2), np.float32)},
        {"logits": (None,)},
        {"masks": (np.ones((2, 3), bool), np.ones((9, 9), bool))},
    ],
)
def test_arrays_that_do_not_fit_are_refused(change):
    whole = two_nuclei()
    fields = {name: getattr(whole, name) for name in ("boxes", "masks", "score", "class_prob")}
    with pytest.raises(ValueError):
        Nuclei(**{**fields, **change})


class TestCheckLabels:
    def test_bool_becomes_components(self):
        labels = check_labels(np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0]], bool))
        assert labels.max() == 1
        assert check_labels(np.array([[1, 0, 1]], bool)).tolist() == [[1, 0, 2]]

    def test_whole_floats_become_integers(self):
        assert check_labels(np.array([[0.0, 3.0]])).dtype.kind == "i"

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            (np.zeros((2, 2, 3), int), r"2 dimensions.*\(2, 2, 3\)"),
            (np.array([[0.5, 1]]), "0.5 is not a whole number"),
            (np.array([[np.nan]]), "NaN"),
            (np.array([[np.inf]]), "infinite"),
            (np.array([[-4, 2]]), "negative id -4"),
            (np.array([[2**31]]), "2147483648 is above"),
            (np.array([["a"]]), "cannot hold"),
        ],
    )
    def test_other_maps_are_refused_by_name(self, labels, message):
        with pytest.raises(LabelsError, match=f"mask.tif: .*{message}"):
            check_labels(labels, "mask.tif")

    def test_an_empty_map_passes(self):
        assert check_labels(np.zeros((0, 0), np.uint8)).size == 0
