"""Points in files: where they lie, what class they are of, how sure the model was."""

import csv
import json

import numpy as np
import pytest

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.points import Points
from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.points import check_points_file, write_points

POINTS = Points(
    np.array([[10.25, 20.5], [3.0, 4.0]]),
    np.array([0.75, 1.0]),
    np.array([[0, 0.9, 0.1, 0, 0], [0, 0, 0, 0, 0]]),
)


def rows_of(file) -> list[dict[str, str]]:
    with file.open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_a_table_has_pixels_and_micrometres(tmp_path):
    file = tmp_path / "points.csv"
    write_points(file, POINTS, PANNUKE, 0.5)
    first, second = rows_of(file)
    assert first == {
        "x_px": "20.50",
        "y_px": "10.25",
        "x_um": "10.250",
        "y_um": "5.125",
        "class": "inflammatory",
        "class_id": "2",
        "score": "0.7500",
    }
    assert (second["class"], second["class_id"]) == ("unclassified", "0")
    write_points(file, POINTS, PANNUKE, None)
    assert {row["x_um"] for row in rows_of(file)} == {""}


def test_geojson_has_a_detection_for_each_point(tmp_path):
    file = tmp_path / "points.geojson"
    write_points(file, POINTS, PANNUKE, 0.25)
    first, second = json.loads(file.read_text("utf-8"))["features"]
    assert first["geometry"] == {"type": "Point", "coordinates": [20.5, 10.25]}
    assert first["properties"] == {
        "objectType": "detection",
        "classification": {"name": "inflammatory", "color": list(PANNUKE.color_of(2))},
        "measurements": {"Score": 0.75},
    }
    assert second["properties"]["classification"]["name"] == "unclassified"


@pytest.mark.parametrize("ending", ["csv", "geojson"])
def test_no_points_are_an_empty_file_of_the_format(tmp_path, ending):
    file = tmp_path / f"none.{ending}"
    write_points(file, Points.empty(), None, None)
    if ending == "csv":
        assert rows_of(file) == []
    else:
        assert json.loads(file.read_text())["features"] == []


def test_other_endings_are_refused_before_anything_is_done(tmp_path):
    for name in ("points.txt", "points"):
        with pytest.raises(AnnotationError, match=rf"{name}: points are written as \.csv"):
            check_points_file(tmp_path / name)
    with pytest.raises(AnnotationError):
        write_points(tmp_path / "points.json", POINTS, PANNUKE, None)
    assert list(tmp_path.iterdir()) == []
