from __future__ import annotations

import gzip
import json
import math
import uuid

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.polygons import rasterize
from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.formats.base import Export
from napari_nucleus.io.formats.geojson import detection_ids, write_geojson
from napari_nucleus.io.results import SegmentationResult, result_of_labels


def refuse_nan(text: str):
    raise AssertionError(f"{text} is no JSON number")


def parsed(path) -> dict:
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    return json.loads(data.decode("utf-8"), parse_constant=refuse_nan)


def check_as_qupath_does(collection: dict) -> None:
    """What the importer stops at, or changes silently."""
    assert collection["type"] == "FeatureCollection"
    ids = [uuid.UUID(f["id"]) for f in collection["features"]]
    assert len(set(ids)) == len(ids)
    for feature in collection["features"]:
        assert feature["type"] == "Feature"
        properties = feature["properties"]
        assert properties["objectType"] == "detection"
        classification = properties["classification"]
        assert set(classification) == {"name", "color"}
        assert classification["name"]
        assert len(classification["color"]) == 3
        assert all(type(c) is int and 0 <= c <= 255 for c in classification["color"])
        assert all(math.isfinite(v) for v in properties["measurements"].values())
        geometry = feature["geometry"]
        assert geometry["type"] in {"Polygon", "MultiPolygon"}
        parts = geometry["coordinates"]
        for rings in [parts] if geometry["type"] == "Polygon" else parts:
            for ring in rings:
                assert len(ring) >= 4
                assert ring[0] == ring[-1]
                assert all(type(v) is int for point in ring for v in point)
        assert shapely.geometry.shape(geometry).is_valid


def rasterised(collection: dict, ids, shape) -> np.ndarray:
    polygons = [shapely.geometry.shape(f["geometry"]) for f in collection["features"]]
    return rasterize(polygons, ids, shape)


@pytest.mark.parametrize("name", ["a.geojson", "a.geojson.gz"])
def test_the_file_is_one_that_qupath_reads_and_holds_the_labels(tmp_path, result, name):
    write_geojson(tmp_path / name, result)
    collection = parsed(tmp_path / name)
    check_as_qupath_does(collection)
    assert len(collection["features"]) == len(result)
    np.testing.assert_array_equal(rasterised(collection, result.ids, result.shape), result.labels)


@settings(max_examples=50)
@given(arrays(np.int32, (12, 13), elements=st.integers(0, 4)))
def test_any_label_map_comes_back(tmp_path_factory, labels):
    path = tmp_path_factory.mktemp("any") / "a.geojson"
    result = result_of_labels(labels, PANNUKE)
    write_geojson(path, result)
    collection = parsed(path)
    check_as_qupath_does(collection)
    np.testing.assert_array_equal(rasterised(collection, result.ids, labels.shape), labels)


def test_classes_carry_name_and_colour(tmp_path, result):
    write_geojson(tmp_path / "a.geojson", result)
    features = parsed(tmp_path / "a.geojson")["features"]
    classes = [f["properties"]["classification"] for f in features]
    assert classes[0] == {"name": "Tumör, fest", "color": [230, 85, 13]}
    # Class 77 is not in the scheme, and the last nucleus has none.
    assert classes[4] == classes[5] == {"name": "unclassified", "color": [1, 2, 3]}


def test_measurements_are_in_micrometres_if_the_pixel_size_is_known(tmp_path, result, labels):
    write_geojson(tmp_path / "a.geojson", result)
    first = parsed(tmp_path / "a.geojson")["features"][0]["properties"]["measurements"]
    assert first["Area µm^2"] == pytest.approx(48 / 16)
    assert first["Score"] == pytest.approx(0.91, abs=1e-6)
    write_geojson(tmp_path / "b.geojson", result_of_labels(labels, PANNUKE))
    first = parsed(tmp_path / "b.geojson")["features"][0]["properties"]["measurements"]
    assert first["Area px^2"] == 48
    assert not any("µm" in name for name in first)


def test_measurements_that_are_not_numbers_are_left_out(tmp_path, result):
    write_geojson(tmp_path / "a.geojson", result)
    third = parsed(tmp_path / "a.geojson")["features"][2]["properties"]["measurements"]
    assert "Score" not in third
    assert "Area µm^2" in third


def test_a_pixel_covers_the_square_right_and_below_its_corner(tmp_path, result):
    write_geojson(tmp_path / "a.geojson", result)
    pixel = parsed(tmp_path / "a.geojson")["features"][1]["geometry"]["coordinates"]
    assert pixel == [[[20, 20], [21, 20], [21, 21], [20, 21], [20, 20]]]


def test_ids_are_the_same_in_every_export_and_differ_between_images(tmp_path, result):
    for name in ("a.geojson", "b.geojson"):
        write_geojson(tmp_path / name, result)
    assert (tmp_path / "a.geojson").read_bytes() == (tmp_path / "b.geojson").read_bytes()
    ids = np.arange(1, 4)
    here, there = detection_ids(ids), detection_ids(ids, uuid.uuid4())
    assert not set(here) & set(there)
    assert detection_ids(ids[1:]) == here[1:]
    assert all(i.version == 5 for i in here)


def test_equal_nuclei_give_equal_compressed_files(tmp_path, result, monkeypatch):
    write_geojson(tmp_path / "a.geojson.gz", result)
    monkeypatch.setattr("time.time", lambda: 0.0)
    write_geojson(tmp_path / "b.geojson.gz", result)
    first = (tmp_path / "a.geojson.gz").read_bytes()
    assert first == (tmp_path / "b.geojson.gz").read_bytes()
    assert b"a.geojson" not in first


def test_provenance_stands_beside_the_features(tmp_path, result):
    write_geojson(tmp_path / "a.geojson", result)
    assert parsed(tmp_path / "a.geojson")["provenance"] == {"model": "nano", "version": "1.2"}


def test_blocks_of_an_image_give_the_same_nuclei(tmp_path, monkeypatch, result):
    monkeypatch.setattr(SegmentationResult.blocks, "__defaults__", (16,))
    monkeypatch.setattr(Export.blocks, "__defaults__", (16,))
    write_geojson(tmp_path / "a.geojson", result)
    collection = parsed(tmp_path / "a.geojson")
    check_as_qupath_does(collection)
    ids = np.concatenate([block.ids for block in result.blocks()])
    assert len(list(result.blocks())) > 3
    np.testing.assert_array_equal(rasterised(collection, ids, result.shape), result.labels)


def test_no_nuclei_give_an_empty_collection(tmp_path):
    write_geojson(tmp_path / "a.geojson", result_of_labels(np.zeros((4, 4), int), PANNUKE))
    collection = parsed(tmp_path / "a.geojson")
    check_as_qupath_does(collection)
    assert collection["features"] == []


@pytest.mark.parametrize("name", ["a.geojson", "a.geojson.gz"])
def test_a_fault_of_the_disk_leaves_the_file_as_it_was(
    tmp_path, result, unwritable, assert_untouched, name
):
    with pytest.raises(AnnotationError, match=f"{name} could not be written .{unwritable}"):
        write_geojson(tmp_path / "out" / name, result)
    assert_untouched()
