from __future__ import annotations

import numpy as np
import pytest

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.errors import ImageError, LabelsError
from napari_nucleus.io.results import SegmentationResult, result_of_labels, result_of_nuclei


def two_nuclei(**kwargs) -> Nuclei:
    return Nuclei.from_masks(
        [np.ones((4, 4), bool), np.ones((3, 3), bool)], [(0, 0), (10, 10)], [0.9, 0.4], **kwargs
    )


def test_nuclei_become_labels_classes_and_scores():
    nuclei = two_nuclei(class_prob=[[0, 0, 0.9, 0.1, 0], [1, 0, 0, 0, 0]])
    result = result_of_nuclei(nuclei, (20, 20), PANNUKE, 0.25, {"model": "nano"})
    assert result.labels.dtype == np.int32
    assert result.ids.tolist() == [1, 2]
    assert result.class_names == ["connective", "neoplastic"]
    assert result.scores.tolist() == pytest.approx([0.9, 0.4])
    assert (result.mpp, result.shape, len(result)) == (0.25, (20, 20), 2)
    assert result.measurements.area.tolist() == [16, 9]
    assert [p.area for p in result.polygons] == [16, 9]


def test_nuclei_of_which_nothing_is_seen_are_left_out():
    covered = Nuclei.concatenate([two_nuclei(), two_nuclei().shifted(0, 0)])
    hidden = Nuclei(
        covered.boxes, covered.masks, np.array([0.1, 0.2, 0.8, 0.9], np.float32), covered.class_prob
    )
    result = result_of_nuclei(hidden, (20, 20), PANNUKE)
    assert result.ids.tolist() == [3, 4]
    assert result.scores.tolist() == pytest.approx([0.8, 0.9])
    assert result.class_ids.tolist() == [0, 0]


def test_labels_without_classes_are_unclassified_and_without_scores_have_none():
    result = result_of_labels(np.array([[7.0, 0.0, 3.0]]), PANNUKE, {7: 2})
    assert result.ids.tolist() == [3, 7]
    assert result.class_names == ["unclassified", "inflammatory"]
    assert np.isnan(result.scores).all()


def test_no_nuclei_are_a_result_too():
    result = result_of_nuclei(Nuclei.empty(5), (8, 8), PANNUKE)
    assert len(result) == len(result.polygons) == len(result.measurements.area) == 0


def test_what_is_no_label_map_is_refused():
    with pytest.raises(LabelsError, match="negative"):
        result_of_labels(np.array([[-1]]), PANNUKE)


@pytest.mark.parametrize("ids", [[1], [2, 1], [1, 3]])
def test_ids_must_be_those_of_the_labels(ids):
    n = len(ids)
    with pytest.raises(ValueError, match="ids are not those of the labels"):
        SegmentationResult(
            np.array([[1, 2]], np.int32),
            np.array(ids),
            np.zeros(n, np.int32),
            np.zeros(n, np.float32),
            None,
            PANNUKE,
        )


def test_every_nucleus_needs_a_class_and_a_score():
    with pytest.raises(ValueError, match="1 ids, 2 classes, 1 scores"):
        SegmentationResult(
            np.array([[1]], np.int32),
            np.array([1]),
            np.zeros(2, np.int32),
            np.zeros(1, np.float32),
            None,
            PANNUKE,
        )


def test_an_absurd_pixel_size_is_refused():
    with pytest.raises(ImageError, match="99 µm per pixel"):
        result_of_labels(np.array([[1]]), PANNUKE, mpp=99)


@pytest.mark.parametrize(
    "path",
    ["/home/pat/slide.svs", "C:\\slides\\a.svs", "\\\\server\\a.svs", "file:///a", "~/a.svs"],
)
def test_paths_do_not_get_into_the_provenance(path):
    with pytest.raises(ValueError, match="'source' is a path") as caught:
        result_of_labels(np.array([[1]]), PANNUKE, provenance={"source": path})
    assert path not in str(caught.value)


def test_names_of_models_are_no_paths():
    result_of_labels(np.array([[1]]), PANNUKE, provenance={"model": "maker/model-2", "seed": 1})
