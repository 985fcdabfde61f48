from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.morphology import measure
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.errors import ImageError, LabelsError
from napari_nucleus.io.results import (
    SegmentationResult,
    result_of_labels,
    result_of_nuclei,
    result_of_rows,
)
from napari_nucleus.session.document import Document
from napari_nucleus.session.imports import import_labels
from napari_nucleus.session.memory_store import MemoryStore


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
    assert [p.area for block in result.blocks() for p in block.polygons] == [16, 9]


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
    assert len(result) == len(list(result.blocks())) == len(result.measurements.area) == 0


def test_what_is_no_label_map_is_refused():
    with pytest.raises(LabelsError, match="negative"):
        result_of_labels(np.array([[-1]]), PANNUKE)


@pytest.mark.parametrize("ids", [[2, 1], [1, 1], [0, 1]])
def test_ids_must_be_positive_and_ascend(ids):
    whole = result_of_labels(np.array([[1, 2]]), PANNUKE)
    with pytest.raises(ValueError, match="not in ascending order"):
        replace(whole, table=replace(whole.table, ids=np.array(ids)))


def test_every_nucleus_needs_a_class_and_a_score():
    with pytest.raises(ValueError, match="1 ids, 2 classes, 1 scores"):
        replace(result_of_labels(np.array([[1]]), PANNUKE), class_ids=np.zeros(2, np.int32))


def test_a_chosen_part_has_no_pixel_of_the_others(labels, result):
    part = result.select(result.class_ids == 2)
    assert part.ids.tolist() == [3, 9]
    np.testing.assert_array_equal(part.labels, np.where(np.isin(labels, (3, 9)), labels, 0))
    np.testing.assert_array_equal(part.read((18, 18, 33, 33)), part.labels[18:33, 18:33])
    assert part.measurements.area.tolist() == [1, 21]
    assert result.select([3, 1]).ids.tolist() == [3, 9]
    assert not result.select(np.zeros(6, bool)).labels.any()


@pytest.mark.parametrize("size", [5, 16, 2048])
def test_blocks_hold_every_nucleus_once_and_whole(labels, result, size):
    blocks = list(result.blocks(size))
    assert sorted(i for block in blocks for i in block.ids) == result.ids.tolist()
    painted = np.zeros_like(labels)
    for block in blocks:
        y0, x0, y1, x1 = block.box
        there = painted[y0:y1, x0:x1]
        assert not there[block.labels > 0].any()
        there[block.labels > 0] = block.labels[block.labels > 0]
        assert set(np.unique(block.labels)) - {0} == set(block.ids)
    np.testing.assert_array_equal(painted, labels)


def test_measurements_are_those_of_the_whole_whatever_the_blocks(result, monkeypatch):
    whole = measure(Nuclei.from_labels(result.labels)[0])
    monkeypatch.setattr(SegmentationResult.blocks, "__defaults__", (7,))
    for name in ("area", "centroid_yx", "perimeter", "solidity"):
        np.testing.assert_allclose(getattr(result.measurements, name), getattr(whole, name))


def test_rows_of_a_document_make_the_same_result_as_its_labels(labels, result):
    document = Document(MemoryStore(labels.shape), PANNUKE, 0.25)
    import_labels(document, labels, class_of_id={1: 2})
    rows = document.rows()
    made = result_of_rows(rows[::-1], document.shape, document.labels, PANNUKE, 0.25)
    assert made.ids.tolist() == result.ids.tolist()
    assert made.class_ids.tolist() == [2, 0, 0, 0, 0, 0]
    np.testing.assert_array_equal(made.table.boxes, result.table.boxes)
    np.testing.assert_allclose(made.table.centroids_yx, result.table.centroids_yx)
    np.testing.assert_array_equal(made.labels, document.labels())


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
