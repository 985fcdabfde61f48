from __future__ import annotations

import uuid

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from qupath_rules import broken_rules, parsed

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.polygons import rasterize
from napari_nucleus.core.progress import Cancel
from napari_nucleus.errors import AnnotationError, CancelledError
from napari_nucleus.io.export import write_all
from napari_nucleus.io.formats import FORMATS, format_of_path, geojson, read_annotations
from napari_nucleus.io.formats.base import Export
from napari_nucleus.io.formats.geojson import detection_ids, write_geojson
from napari_nucleus.io.results import SegmentationResult, result_of_labels


def rasterised(collection: dict, ids, shape) -> np.ndarray:
    polygons = [shapely.geometry.shape(f["geometry"]) for f in collection["features"]]
    return rasterize(polygons, ids, shape)


@pytest.mark.parametrize("name", ["a.geojson", "a.geojson.gz"])
def test_the_file_is_one_that_qupath_reads_and_holds_the_labels(tmp_path, result, name):
    write_geojson(tmp_path / name, result)
    collection = parsed(tmp_path / name)
    assert broken_rules(collection) == []
    assert len(collection["features"]) == len(result)
    np.testing.assert_array_equal(rasterised(collection, result.ids, result.shape), result.labels)


@settings(max_examples=50)
@given(arrays(np.int32, (12, 13), elements=st.integers(0, 4)))
def test_any_label_map_comes_back(tmp_path_factory, labels):
    path = tmp_path_factory.mktemp("any") / "a.geojson"
    result = result_of_labels(labels, PANNUKE)
    write_geojson(path, result)
    collection = parsed(path)
    assert broken_rules(collection) == []
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


def test_what_features_have_no_place_for_stands_beside_them(tmp_path, result):
    write_geojson(tmp_path / "a.geojson", result)
    collection = parsed(tmp_path / "a.geojson")
    assert collection["provenance"] == {"model": "nano", "version": "1.2"}
    assert collection["image"] == {"width": 60, "height": 40, "mpp": 0.25}
    assert [c["name"] for c in collection["classes"]["classes"]] == list(result.scheme.names)
    assert "parts" not in collection


def test_other_readers_pass_over_what_stands_beside_the_features(tmp_path, result):
    geopandas = pytest.importorskip("geopandas")
    write_geojson(tmp_path / "a.geojson", result)
    frame = geopandas.read_file(tmp_path / "a.geojson")
    assert len(frame) == len(result)
    assert sorted(frame.geometry.area) == sorted(result.table.areas.tolist())


def test_label_ids_stand_in_the_metadata(tmp_path, result):
    write_geojson(tmp_path / "a.geojson", result)
    features = parsed(tmp_path / "a.geojson")["features"]
    ids = [f["properties"]["metadata"] for f in features]
    assert ids == [{"id": str(i)} for i in result.ids]


def test_areas_are_those_of_the_masks_when_outlines_are_simplified(tmp_path, result):
    write_geojson(tmp_path / "a.geojson", result, Export(simplify=True))
    features = parsed(tmp_path / "a.geojson")["features"]
    areas = [f["properties"]["measurements"]["Area µm^2"] for f in features]
    assert areas == (result.table.areas / 16).tolist()


def test_simplified_outlines_have_fewer_corners(tmp_path):
    y, x = np.mgrid[:64, :64]
    labels = (np.hypot(y - 32, x - 32) < 25).astype(np.int32)
    counts = []
    for simplify in (False, True):
        write_geojson(
            tmp_path / "a.geojson", result_of_labels(labels, PANNUKE), Export(simplify=simplify)
        )
        (feature,) = parsed(tmp_path / "a.geojson")["features"]
        counts.append(len(feature["geometry"]["coordinates"][0]))
    assert counts[1] < 0.6 * counts[0]


def test_the_two_formats_are_chosen_by_their_endings(tmp_path):
    assert format_of_path(tmp_path / "a.geojson") is FORMATS["geojson"]
    assert format_of_path(tmp_path / "a.geojson.gz") is FORMATS["geojson-gz"]


class TestParts:
    """A result of six nuclei, two a file."""

    @pytest.fixture(autouse=True)
    def two_a_file(self, monkeypatch):
        monkeypatch.setattr(geojson, "PER_FILE", 2)

    @pytest.mark.parametrize("ending", [".geojson", ".geojson.gz"])
    def test_files_are_numbered_and_of_equal_size(self, result, tmp_path, ending):
        write_geojson(tmp_path / f"a.b{ending}", result)
        names = [f"a.b_{k}of3{ending}" for k in (1, 2, 3)]
        assert sorted(p.name for p in tmp_path.iterdir()) == names
        counts = [len(parsed(tmp_path / name)["features"]) for name in names]
        assert counts == [2, 2, 2]

    def test_a_format_says_which_files_it_writes(self, result, tmp_path):
        one = FORMATS["geojson"]
        assert one.targets(tmp_path / "a.geojson", 2) == [tmp_path / "a.geojson"]
        write_geojson(tmp_path / "a.geojson", result)
        assert sorted(tmp_path.iterdir()) == one.targets(tmp_path / "a.geojson", len(result))

    def test_all_files_are_named_by_an_export(self, result, tmp_path):
        paths = write_all(result, None, tmp_path, "a", ["geojson", "csv"])
        names = [f"a_{k}of3.geojson" for k in (1, 2, 3)] + ["a.csv"]
        assert [p.name for p in paths] == names
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names)

    @pytest.mark.parametrize("k", [1, 2, 3])
    @pytest.mark.parametrize("ending", [".geojson", ".geojson.gz"])
    def test_any_part_reads_the_whole(self, result, tmp_path, ending, k):
        write_geojson(tmp_path / f"a{ending}", result)
        found = read_annotations(tmp_path / f"a_{k}of3{ending}")
        assert sorted(found.ids.tolist()) == result.ids.tolist()
        np.testing.assert_array_equal(found.to_result().labels, result.labels)
        assert any("together with the other parts, 3 files" in note for note in found.notes)

    def test_a_part_alone_says_that_it_is_one(self, result, tmp_path):
        write_geojson(tmp_path / "a.geojson", result)
        (tmp_path / "a_1of3.geojson").unlink()
        found = read_annotations(tmp_path / "a_2of3.geojson")
        assert len(found) == 4
        assert any("is part 2, 3 of 3" in note for note in found.notes)
        (tmp_path / "a_3of3.geojson").rename(tmp_path / "other.geojson")
        found = read_annotations(tmp_path / "other.geojson")
        assert len(found) == 2
        assert any("is part 3 of 3" in note for note in found.notes)

    def test_a_part_of_another_result_is_not_taken_for_one_of_this(self, result, tmp_path):
        write_geojson(tmp_path / "a.geojson", result)
        other = result_of_labels(result.labels, PANNUKE)
        write_geojson(tmp_path / "b.geojson", other)
        (tmp_path / "b_3of3.geojson").replace(tmp_path / "a_3of3.geojson")
        assert len(read_annotations(tmp_path / "a_1of3.geojson")) == 4

    def test_a_damaged_part_is_named(self, result, tmp_path):
        write_geojson(tmp_path / "a.geojson", result)
        (tmp_path / "a_3of3.geojson").write_text("{")
        with pytest.raises(AnnotationError, match=r"a_3of3\.geojson: is no JSON"):
            read_annotations(tmp_path / "a_1of3.geojson")

    def test_a_name_like_a_part_is_read_alone(self, result, tmp_path, monkeypatch):
        monkeypatch.setattr(geojson, "PER_FILE", 1000)
        for k in (1, 2):
            write_geojson(tmp_path / f"field_{k}of2.geojson", result)
        found = read_annotations(tmp_path / "field_1of2.geojson")
        assert len(found) == len(result)
        assert not found.notes

    def test_a_cancelled_export_leaves_no_part(self, result, tmp_path, monkeypatch):
        monkeypatch.setattr(Export.blocks, "__defaults__", (16,))
        cancel = Cancel()
        export = Export(progress=lambda p: cancel.set() if p.done >= 3 else None, cancel=cancel)
        with pytest.raises(CancelledError):
            write_geojson(tmp_path / "a.geojson", result, export)
        assert list(tmp_path.iterdir()) == []

    def test_progress_comes_to_its_end(self, result, tmp_path):
        seen = []
        write_geojson(tmp_path / "a.geojson", result, Export(progress=seen.append))
        assert seen[-1].done == seen[-1].total == len(result)


def test_blocks_of_an_image_give_the_same_nuclei(tmp_path, monkeypatch, result):
    monkeypatch.setattr(SegmentationResult.blocks, "__defaults__", (16,))
    monkeypatch.setattr(Export.blocks, "__defaults__", (16,))
    write_geojson(tmp_path / "a.geojson", result)
    collection = parsed(tmp_path / "a.geojson")
    assert broken_rules(collection) == []
    ids = np.concatenate([block.ids for block in result.blocks()])
    assert len(list(result.blocks())) > 3
    np.testing.assert_array_equal(rasterised(collection, ids, result.shape), result.labels)


def test_no_nuclei_give_an_empty_collection(tmp_path):
    write_geojson(tmp_path / "a.geojson", result_of_labels(np.zeros((4, 4), int), PANNUKE))
    collection = parsed(tmp_path / "a.geojson")
    assert broken_rules(collection) == []
    assert collection["features"] == []


@pytest.mark.parametrize("name", ["a.geojson", "a.geojson.gz"])
def test_a_fault_of_the_disk_leaves_the_file_as_it_was(
    tmp_path, result, unwritable, assert_untouched, name
):
    with pytest.raises(AnnotationError, match=f"{name} could not be written .{unwritable}"):
        write_geojson(tmp_path / "out" / name, result)
    assert_untouched()
