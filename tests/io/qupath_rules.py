"""What QuPath's importer stops at, or changes silently, as a list of what is wrong with a file.

As read in its source (0.5 to 0.8) and tried on the reader of 0.5.1: a classification without a
colour, a ring that is not closed, a geometry that is null and a measurement that is no number end
the import of the whole file; ids that are no UUIDs are replaced, two equal ones become twins;
coordinates are cut to two decimals; other types of objects become annotations.
"""

from __future__ import annotations

import gzip
import json
import math
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import shapely


def refuse(text: str) -> None:
    raise AssertionError(f"{text} is no number of JSON")


def parsed(path: Path) -> dict[str, Any]:
    """Return the value of a GeoJSON file, compressed or not."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    return json.loads(data.decode("utf-8"), parse_constant=refuse)


def broken_rules(collection: dict[str, Any]) -> list[str]:
    """Return what QuPath would stumble over; empty for a good file."""
    if collection.get("type") != "FeatureCollection":
        return ["no collection"]
    features = collection.get("features")
    if not isinstance(features, list):
        return ["no list of features"]
    found = [problem for f in features for problem in _of_feature(f)]
    ids = [f.get("id") for f in features]
    return found + ["ids come twice"] * (len(set(ids)) < len(ids))


def _of_feature(feature: dict[str, Any]) -> Iterator[str]:
    if feature.get("type") != "Feature":
        yield "no feature"
    try:
        uuid.UUID(feature.get("id"))
    except (TypeError, ValueError, AttributeError):
        yield "id is no UUID"
    properties = feature["properties"]
    if properties.get("objectType") != "detection":
        yield "no detection"
    yield from _of_classification(properties.get("classification"))
    for value in properties.get("measurements", {}).values():
        if type(value) not in (int, float) or not math.isfinite(value):
            yield "measurement is no number"
    for key, value in properties.get("metadata", {}).items():
        if type(key) is not str or type(value) is not str:
            yield "metadata is no text"
    yield from _of_geometry(feature.get("geometry"))


def _of_classification(value: Any) -> Iterator[str]:
    if not isinstance(value, dict):
        yield "no classification"
        return
    name, color = value.get("name"), value.get("color")
    if not isinstance(name, str) or not name.strip() or "\n" in name:
        yield "class without a name"
    if not isinstance(color, list) or len(color) != 3:
        yield "class without a colour"
    elif not all(type(c) is int and 0 <= c <= 255 for c in color):
        yield "colour is none"


def _of_geometry(value: Any) -> Iterator[str]:
    if not isinstance(value, dict) or value.get("type") not in ("Polygon", "MultiPolygon"):
        yield "no polygon"
        return
    parts = value["coordinates"] if value["type"] == "MultiPolygon" else [value["coordinates"]]
    for ring in (ring for rings in parts for ring in rings):
        if len(ring) < 4 or ring[0] != ring[-1]:
            yield "ring is open"
            return
        numbers = [v for point in ring for v in point]
        if not all(type(v) in (int, float) and math.isfinite(v) for v in numbers):
            yield "coordinate is no number"
            return
        if any(round(v, 2) != v for v in numbers):
            yield "more than two decimals"
    polygon = shapely.geometry.shape(value)
    if polygon.is_empty or not polygon.is_valid or polygon.area <= 0:
        yield "invalid outline"
