"""HoVer-Net's JSON against what HoVer-Net's own steps give with OpenCV, and CellViT's read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import orjson
import pytest
from scipy import ndimage

from benchmarks.fields import nuclei_field
from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.formats import read_annotations
from napari_nucleus.io.formats.hovernet import is_hovernet, read_hovernet, write_hovernet
from napari_nucleus.io.results import SegmentationResult, result_of_labels

EIGHT = np.ones((3, 3))


def written(result: SegmentationResult, folder: Path) -> dict[str, Any]:
    write_hovernet(folder / "a.json", result)
    return json.loads((folder / "a.json").read_text("utf-8"))


def largest_filled(mask: np.ndarray) -> np.ndarray:
    parts, _ = ndimage.label(mask, EIGHT)
    return ndimage.binary_fill_holes(parts == 1 + np.bincount(parts.ravel())[1:].argmax())


def as_hovernet_does(labels: np.ndarray, i: int) -> dict[str, Any]:
    """Box, centroid and contour from OpenCV, in the coordinates that HoVer-Net writes."""
    rows, columns = np.nonzero(labels == i)
    y0, x0, y1, x1 = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
    crop = (labels[y0:y1, x0:x1] == i).astype(np.uint8)
    moments = cv2.moments(crop)
    filled = largest_filled(crop).astype(np.uint8)
    outline = cv2.findContours(filled, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0][0]
    return {
        "bbox": [[y0, x0], [y1, x1]],
        "centroid": [
            moments["m10"] / moments["m00"] + x0,
            moments["m01"] / moments["m00"] + y0,
        ],
        "contour": np.add(outline.reshape(-1, 2), (x0, y0)).tolist(),
    }


@pytest.fixture(scope="module")
def field() -> SegmentationResult:
    labels = nuclei_field(512)
    classes = {int(i): int(i) % 6 for i in np.unique(labels) if i}
    return result_of_labels(labels, PANNUKE, classes, {1: 0.5}, mpp=0.25)


def test_each_nucleus_is_what_hovernet_would_write(field, tmp_path):
    nuc = written(field, tmp_path)["nuc"]
    assert list(nuc) == [str(i) for i in field.ids]
    for i in field.ids.tolist():
        theirs = as_hovernet_does(field.labels, i)
        assert nuc[str(i)]["bbox"] == theirs["bbox"]
        assert nuc[str(i)]["contour"] == theirs["contour"]
        assert nuc[str(i)]["centroid"] == pytest.approx(theirs["centroid"], abs=1e-3)
        assert nuc[str(i)]["type"] == i % 6
    assert nuc["1"]["type_prob"] == 0.5
    assert nuc["2"]["type_prob"] is None


def test_opencv_fills_the_contours_to_the_label_map_without_its_holes(field, tmp_path):
    for i, nucleus in written(field, tmp_path)["nuc"].items():
        canvas = np.zeros(field.shape, np.uint8)
        cv2.fillPoly(canvas, [np.array(nucleus["contour"], np.int32)], 1)
        np.testing.assert_array_equal(canvas > 0, largest_filled(field.labels == int(i)))


def test_the_file_has_what_hovernet_has_at_the_top_and_our_members(result, tmp_path):
    value = written(result, tmp_path)
    assert value["mag"] is None
    assert value["type_info"]["1"] == ["Tumör, fest", [230, 85, 13]]
    assert value["type_info"]["0"] == ["unclassified", [1, 2, 3]]
    assert value["mpp"] == 0.25
    assert value["shape"] == [40, 60]
    assert value["provenance"] == {"model": "nano", "version": "1.2"}


def test_a_nucleus_of_one_pixel_is_three_equal_points_that_opencv_draws(result, tmp_path):
    contour = written(result, tmp_path)["nuc"]["3"]["contour"]
    assert contour == [[20, 20]] * 3
    canvas = np.zeros((40, 60), np.uint8)
    cv2.fillPoly(canvas, [np.array(contour, np.int32)], 1)
    assert np.argwhere(canvas).tolist() == [[20, 20]]


def test_blocks_give_the_same_nuclei_as_one(field, tmp_path, monkeypatch):
    one = written(field, tmp_path)["nuc"]
    blocks = field.blocks
    monkeypatch.setattr(SegmentationResult, "blocks", lambda self, size: blocks(100))
    assert written(field, tmp_path)["nuc"] == one


def nucleus(x: int, y: int, **members: Any) -> dict[str, Any]:
    square = [[x, y], [x, y + 3], [x + 3, y + 3], [x + 3, y]]
    return {
        "bbox": [[y, x], [y + 4, x + 4]],
        "centroid": [x + 1.5, y + 1.5],
        "contour": square,
        "type_prob": None,
        "type": None,
        **members,
    }


def test_a_file_of_hovernet_is_read_with_its_rim_pixels():
    value = {"mag": None, "nuc": {"4": nucleus(1, 2, type=1, type_prob=0.75), "9": nucleus(9, 9)}}
    found = read_hovernet(value, "a.json")
    assert found.ids.tolist() == [4, 9]
    assert found.ids_stated
    assert found.nuclei.boxes.tolist() == [[2, 1, 6, 5], [9, 9, 13, 13]]
    assert found.nuclei.areas.tolist() == [16, 16]
    assert [found.scheme.name_of(c) for c in found.class_ids] == ["neoplastic", "unclassified"]
    np.testing.assert_array_equal(found.scores, np.array([0.75, np.nan], np.float32))
    assert found.shape is None
    assert any("taken for PanNuke's" in note for note in found.notes)


def test_types_that_pannuke_does_not_have_are_called_by_their_numbers():
    found = read_hovernet({"nuc": {"1": nucleus(1, 1, type=7), "2": nucleus(9, 9, type=1)}}, "a")
    assert found.scheme.names == ("type 7", "type 1")
    assert any("called by their numbers" in note for note in found.notes)


def test_the_magnification_of_a_slide_is_told():
    found = read_hovernet({"mag": 20.0, "nuc": {"1": nucleus(1, 1)}}, "a.json")
    assert any("made at 20x" in note for note in found.notes)


@pytest.mark.parametrize(
    "type_map",
    [{"0": "Background", "1": "Neoplastic", "5": "Epithelial"}, {"Neoplastic": 1, "Epithelial": 5}],
)
def test_cells_of_cellvit_are_read_with_the_names_of_their_types(type_map):
    value = {
        "wsi_metadata": {"base_mpp": 0.25, "base_magnification": 40},
        "type_map": type_map,
        "cells": [
            {**nucleus(100, 200, type=5, type_prob=0.5), "offset_global": [0, 0]},
            {**nucleus(5, 6, type=1), "cell_status": 0, "edge_position": False},
        ],
    }
    found = read_hovernet(value, "cells.json")
    assert found.scheme == PANNUKE
    assert found.class_ids.tolist() == [5, 1]
    assert found.nuclei.boxes[0].tolist() == [200, 100, 204, 104]
    assert found.mpp == 0.25
    assert not found.ids_stated
    assert found.ids.tolist() == [1, 2]


def test_centroids_alone_are_refused_with_what_to_take(tmp_path):
    path = tmp_path / "cell_detection.json"
    path.write_bytes(orjson.dumps({"cells": [{"centroid": [1, 2], "type": 1}]}))
    with pytest.raises(AnnotationError, match=r"only centroids.*cells\.json"):
        read_annotations(path)


@pytest.mark.parametrize(
    ("member", "what"),
    [
        ({"contour": [[1, 2], [3]]}, "contour of nucleus 5"),
        ({"contour": [["a", "b"]]}, "contour of nucleus 5"),
        ({"contour": 7}, "contour of nucleus 5"),
        ({"contour": [[1, 2], [1e30, 2]]}, "coordinate 1e"),
        ({"contour": [[1, 2], [None, 2]]}, "coordinate nan"),
    ],
)
def test_a_contour_that_cannot_be_is_named(member, what):
    with pytest.raises(AnnotationError, match=what):
        read_hovernet({"nuc": {"5": nucleus(1, 1, **member)}}, "a.json")


def test_a_nucleus_that_is_none_is_named():
    with pytest.raises(AnnotationError, match="nucleus 5 is no JSON object"):
        read_hovernet({"nuc": {"5": [1, 2]}}, "a.json")


def test_contours_of_fewer_than_three_points_are_pixels_too():
    value = {"nuc": {"1": nucleus(0, 0, contour=[[4, 5]]), "2": nucleus(0, 0, contour=[])}}
    found = read_hovernet(value, "a.json")
    assert found.ids.tolist() == [1]
    assert found.nuclei.boxes.tolist() == [[5, 4, 6, 5]]
    assert any("without a single pixel" in note for note in found.notes)


@pytest.mark.parametrize("value", [[], {}, {"nuc": []}, {"cells": [1]}, {"cells": {}}, None, 7])
def test_other_json_is_not_taken_for_it(value):
    assert not is_hovernet(value)
