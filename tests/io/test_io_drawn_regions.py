"""Regions from GeoJSON, as QuPath and others write it."""

from __future__ import annotations

import gzip
import json

import pytest

from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.drawn_regions import read_regions
from napari_nucleus.io.formats.geojson import write_geojson

SQUARE = {"type": "Polygon", "coordinates": [[[0, 0], [10, 0], [10, 20], [0, 20], [0, 0]]]}


def feature(geometry=SQUARE, **properties) -> dict:
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def saved(folder, value, name: str = "r.geojson"):
    file = folder / name
    text = value if isinstance(value, str) else json.dumps(value)
    data = text.encode()
    file.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return file


@pytest.mark.parametrize(
    "value",
    [
        {"type": "FeatureCollection", "features": [feature(name="nest")]},
        [feature(classification={"name": "nest"})],
        feature(name="nest"),
    ],
)
@pytest.mark.parametrize("name", ["r.geojson", "r.geojson.gz"])
def test_a_region_has_its_place_and_its_name(tmp_path, value, name):
    (region,) = read_regions(saved(tmp_path, value, name))
    assert region.name == "nest"
    assert region.geometry.bounds == (0, 0, 10, 20)


def test_names_differ(tmp_path):
    names = ["a", "a", "a", None, "a 2"]
    features = [feature(**({} if n is None else {"name": n})) for n in names]
    regions = read_regions(saved(tmp_path, features))
    assert [r.name for r in regions] == ["a", "a 2", "a 3", "region 4", "a 2 2"]


def test_what_is_no_region_is_left_out(tmp_path, result):
    write_geojson(tmp_path / "nuclei.geojson", result)
    with pytest.raises(AnnotationError, match="no polygon in it"):
        read_regions(tmp_path / "nuclei.geojson")
    others = [feature({"type": "Point", "coordinates": [1, 2]}), feature(name="x")]
    assert [r.name for r in read_regions(saved(tmp_path, others))] == ["x"]


def test_holes_parts_open_and_crossing_rings_are_taken(tmp_path):
    ring = [[0, 0], [100, 0], [100, 100], [0, 100]]
    hole = [[10, 10], [20, 10], [20, 20], [10, 20]]
    bow = [[0, 0], [100, 100], [100, 0], [0, 100]]
    geometries = [
        {"type": "Polygon", "coordinates": [ring, hole]},
        {"type": "MultiPolygon", "coordinates": [[hole], [[[50, 50], [60, 50], [60, 60]]]]},
        {"type": "Polygon", "coordinates": [bow]},
    ]
    regions = read_regions(saved(tmp_path, [feature(g) for g in geometries]))
    assert [r.geometry.area for r in regions] == [9900, 150, 5000]
    assert all(r.geometry.is_valid for r in regions)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{", "no GeoJSON"),
        ('{"type": "Polygon", "coordinates": [[[NaN, 0]]]}', "no GeoJSON"),
        ([], "no polygon"),
        ([1], "no GeoJSON feature"),
        (
            {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[0, 0]]]}},
            "damaged",
        ),
        ({"type": "Feature", "geometry": {"type": "Polygon"}}, "damaged"),
        ({"type": "Feature", "geometry": 3}, "no geometry"),
    ],
)
def test_each_mistake_is_named(tmp_path, value, said):
    with pytest.raises(AnnotationError, match=rf"r\.geojson: .*{said}"):
        read_regions(saved(tmp_path, value))


def test_files_that_are_not_there_or_cut_off_are_refused(tmp_path):
    with pytest.raises(AnnotationError, match="no such file"):
        read_regions(tmp_path / "none.geojson")
    file = saved(tmp_path, [feature()], "r.geojson.gz")
    file.write_bytes(file.read_bytes()[:-12])
    with pytest.raises(AnnotationError, match="cannot be read"):
        read_regions(file)
