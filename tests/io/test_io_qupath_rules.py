"""Every kind of GeoJSON that we write keeps the rules of QuPath's importer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from qupath_rules import broken_rules, parsed

from napari_nucleus.core.classes import PANNUKE, ClassScheme, NucleusClass
from napari_nucleus.core.polygons import rasterize
from napari_nucleus.io.formats import geojson
from napari_nucleus.io.formats.base import Export
from napari_nucleus.io.formats.geojson import geojson_files, write_geojson
from napari_nucleus.io.results import SegmentationResult, result_of_labels

BROKEN_LINE = ClassScheme("x", (NucleusClass(1, " in two\nlines ", (1, 2, 3)),))

VARIANTS: dict[str, Callable[[SegmentationResult], SegmentationResult]] = {
    "usual": lambda r: r,
    "no classes": lambda r: replace(r, class_ids=np.zeros_like(r.class_ids)),
    "class with a line break": lambda r: replace(
        r, scheme=BROKEN_LINE, class_ids=np.ones_like(r.class_ids)
    ),
    "no scores": lambda r: replace(r, scores=np.full_like(r.scores, np.nan)),
    "endless scores": lambda r: replace(r, scores=np.full_like(r.scores, np.inf)),
    "no pixel size": lambda r: replace(r, mpp=None),
    "no provenance": lambda r: replace(r, provenance={}),
    "one nucleus": lambda r: r.select([1]),
    "empty": lambda r: r.select(np.zeros(len(r), bool)),
}


@pytest.mark.parametrize("name", ["a.geojson", "a.geojson.gz"])
@pytest.mark.parametrize("simplify", [False, True], ids=["exact", "simplified"])
@pytest.mark.parametrize("per_file", [2, 1000], ids=["split", "whole"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_whatever_is_written_keeps_the_rules(
    result, tmp_path, monkeypatch, variant, per_file, simplify, name
):
    monkeypatch.setattr(geojson, "PER_FILE", per_file)
    wanted = VARIANTS[variant](result)
    write_geojson(tmp_path / name, wanted, Export(simplify=simplify))
    files = geojson_files(tmp_path / name, len(wanted))
    assert sorted(tmp_path.iterdir()) == sorted(files)
    whole = [parsed(path) for path in files]
    for one in whole:
        assert broken_rules(one) == []
    features = [f for one in whole for f in one["features"]]
    assert broken_rules({"type": "FeatureCollection", "features": features}) == []
    ids = [int(f["properties"]["metadata"]["id"]) for f in features]
    assert sorted(ids) == wanted.ids.tolist()
    if not simplify:
        polygons = [shapely.geometry.shape(f["geometry"]) for f in features]
        np.testing.assert_array_equal(rasterize(polygons, ids, wanted.shape), wanted.labels)


def set_in(feature: dict[str, Any], path: str, value: Any) -> None:
    *way, last = path.split("/")
    for key in way:
        feature = feature[key]
    feature[last] = value


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("properties/classification", None, "no classification"),
        ("properties/classification", {"name": "a"}, "class without a colour"),
        ("properties/classification/color", [1, 2, 300], "colour is none"),
        ("properties/classification/name", "", "class without a name"),
        ("properties/measurements/Score", "many", "measurement is no number"),
        ("properties/measurements/Score", float("nan"), "measurement is no number"),
        ("properties/objectType", "annotation", "no detection"),
        ("properties/metadata/id", 7, "metadata is no text"),
        ("id", 7, "id is no UUID"),
        ("geometry", None, "no polygon"),
        ("geometry/coordinates", [[[0, 0], [4, 0], [4, 4], [0, 4]]], "ring is open"),
        ("geometry/coordinates", [[[0, 0], [4, 0], [4, None], [0, 0]]], "coordinate is no number"),
        ("geometry/coordinates", [[[0, 0], [4, 0], [4, 4.125], [0, 0]]], "more than two decimals"),
        ("geometry/coordinates", [[[0, 0], [4, 4], [4, 0], [0, 4], [0, 0]]], "invalid outline"),
        ("geometry/coordinates", [[[0, 0], [4, 4], [2, 2], [0, 0]]], "invalid outline"),
    ],
)
def test_a_file_that_breaks_a_rule_is_told_from_one_that_does_not(
    result, tmp_path: Path, path, value, problem
):
    write_geojson(tmp_path / "a.geojson", result)
    good = parsed(tmp_path / "a.geojson")
    assert broken_rules(good) == []
    bad = copy.deepcopy(good)
    set_in(bad["features"][1], path, value)
    assert problem in broken_rules(bad)


def test_equal_ids_are_told(result, tmp_path):
    write_geojson(tmp_path / "a.geojson", result)
    bad = parsed(tmp_path / "a.geojson")
    bad["features"][1]["id"] = bad["features"][0]["id"]
    assert broken_rules(bad) == ["ids come twice"]


def test_nuclei_that_touch_across_blocks_keep_their_border_when_simplified(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    points = np.stack(np.mgrid[8:120:15, 8:120:15], axis=-1).reshape(-1, 2)
    points = points + rng.uniform(-4, 4, points.shape)
    grid = np.stack(np.mgrid[:120, :120], axis=-1) + 0.5
    distances = np.linalg.norm(grid[:, :, None] - points, axis=-1)
    labels = np.where(distances.min(axis=2) < 10, distances.argmin(axis=2) + 1, 0)
    result = result_of_labels(labels, PANNUKE)
    outlines = {}
    for size in (16, 40, 2048):
        monkeypatch.setattr(Export.blocks, "__defaults__", (size,))
        write_geojson(tmp_path / "a.geojson", result, Export(simplify=True))
        collection = parsed(tmp_path / "a.geojson")
        assert broken_rules(collection) == []
        outlines[size] = {
            int(f["properties"]["metadata"]["id"]): f["geometry"] for f in collection["features"]
        }
        areas = {f["properties"]["measurements"]["Area px^2"] for f in collection["features"]}
        assert areas == set(result.table.areas.tolist())
    assert outlines[16] == outlines[40] == outlines[2048]
    polygons = [shapely.geometry.shape(g) for g in outlines[16].values()]
    assert shapely.coverage_is_valid(polygons)
