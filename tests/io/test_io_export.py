from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from napari_nucleus.core.image import ArraySource
from napari_nucleus.errors import AnnotationError, LabelsError
from napari_nucleus.io.export import write_all
from napari_nucleus.io.labels import read_labels

NAMES = ["a.csv", "a.geojson", "a.tif", "a_overlay.png"]


@pytest.fixture
def source(result) -> ArraySource:
    return ArraySource(np.full((*result.shape, 3), 230, np.uint8), result.mpp)


def test_all_four_files_hold_the_same_nuclei(tmp_path, result, source):
    paths = write_all(result, source, tmp_path / "new" / "folder", "a")
    assert sorted(p.name for p in paths) == NAMES
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == NAMES
    tif, geojson, table, overlay = paths
    found = read_labels(tif, result.shape)
    np.testing.assert_array_equal(found.labels, result.labels)
    assert found.mpp == pytest.approx(0.25)
    features = json.loads(geojson.read_text("utf-8"))["features"]
    with open(table, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(r["id"]) for r in rows] == result.ids.tolist()
    names = [f["properties"]["classification"]["name"] for f in features]
    assert names == [r["class"] for r in rows]
    with Image.open(overlay) as picture:
        assert picture.size == (60, 40)


def test_exports_are_the_same_again_and_name_no_folder(tmp_path, result, source):
    first = [p.read_bytes() for p in write_all(result, source, tmp_path / "patient-77", "a")]
    second = [p.read_bytes() for p in write_all(result, source, tmp_path / "patient-77", "a")]
    assert first == second
    for data in first:
        assert b"patient-77" not in data
        assert str(tmp_path).encode() not in data


def test_detections_of_two_images_have_ids_of_their_own(tmp_path, result, source):
    ids = [
        {
            f["id"]
            for f in json.loads(write_all(result, source, tmp_path, s)[1].read_text())["features"]
        }
        for s in ("a", "b")
    ]
    assert not ids[0] & ids[1]


def test_a_fault_of_the_disk_leaves_all_files_as_they_were(
    tmp_path, result, source, unwritable, assert_untouched
):
    with pytest.raises(AnnotationError, match=unwritable):
        write_all(result, source, tmp_path / "out", "a")
    assert_untouched()


def test_a_disk_that_fills_at_the_last_file_changes_none(
    tmp_path, result, source, assert_untouched, monkeypatch
):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(AnnotationError, match=r"a_overlay\.png could not be written .No space"):
        write_all(result, source, tmp_path / "out", "a")
    assert_untouched()


def test_a_folder_that_cannot_be_made_is_named(tmp_path, result, source):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(AnnotationError, match="a: nothing could be written into the folder 'sub'"):
        write_all(result, source, tmp_path / "file" / "sub", "a")


def test_labels_of_another_size_leave_nothing_behind(tmp_path, result):
    with pytest.raises(LabelsError, match="60 x 40"):
        write_all(result, ArraySource(np.zeros((9, 9, 3), np.uint8)), tmp_path, "a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stem", ["", "../a", "b/a"])
def test_a_stem_is_no_path(tmp_path, result, source, stem):
    with pytest.raises(AnnotationError, match="cannot begin a file name"):
        write_all(result, source, tmp_path, stem)


def test_a_folder_that_cannot_be_tidied_does_no_harm(tmp_path, result, source, monkeypatch):
    def busy(*args, **kwargs):
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(shutil, "rmtree", busy)
    assert all(p.exists() for p in write_all(result, source, tmp_path, "a"))
