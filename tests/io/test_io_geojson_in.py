from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.annotation_file import LARGEST_NUCLEUS, AnnotationFile
from napari_nucleus.io.formats import FORMATS, read_annotations
from napari_nucleus.io.formats.geojson_in import is_geojson, read_geojson


def square(x: float, y: float, side: float = 4) -> list[list[list[float]]]:
    return [[[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]]


def feature(coordinates: Any = None, kind: str | None = "detection", **properties: Any) -> dict:
    """A QuPath object with a polygon."""
    if kind is not None:
        properties = {"objectType": kind, **properties}
    coordinates = square(0, 0) if coordinates is None else coordinates
    geometry = {"type": "Polygon", "coordinates": coordinates}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def read(value: Any) -> AnnotationFile:
    assert is_geojson(value)
    return read_geojson(orjson.loads(orjson.dumps(value)), "f.geojson")


def boxes(found: AnnotationFile) -> list[list[int]]:
    return found.nuclei.boxes.tolist()


class TestShapesOfFiles:
    @pytest.mark.parametrize(
        "value",
        [
            {"type": "FeatureCollection", "features": [feature(square(2, 3))]},
            {"features": [feature(square(2, 3))]},
            [feature(square(2, 3))],
            feature(square(2, 3)),
            {"type": "Polygon", "coordinates": square(2, 3)},
            [{"type": "Polygon", "coordinates": square(2, 3)}],
            [{"type": "FeatureCollection", "features": [feature(square(2, 3))]}],
        ],
    )
    def test_collections_arrays_features_and_geometries_are_read(self, value):
        assert boxes(read(value)) == [[3, 2, 7, 6]]

    @pytest.mark.parametrize(
        "value",
        [
            {},
            [1],
            7,
            "Feature",
            {"nuc": {}},
            {"type": "Polygon"},
            {"images": [], "type": "x"},
            [[]],
        ],
    )
    def test_other_json_is_not_taken_for_it(self, value):
        assert not is_geojson(value)

    @pytest.mark.parametrize("value", [[], {"type": "FeatureCollection", "features": []}])
    def test_nothing_is_no_nuclei(self, value):
        assert len(read(value)) == 0

    @pytest.mark.parametrize("name", ["a.geojson", "a.json", "b.geojson.gz", "b.json.gz"])
    def test_files_are_known_by_what_is_in_them(self, tmp_path: Path, name):
        (tmp_path / name).write_bytes(orjson.dumps([feature(square(2, 3))]))
        assert len(read_annotations(tmp_path / name)) == 1

    def test_numbers_that_are_none_are_read_as_python_writes_them(self, tmp_path):
        value = feature(measurements={"Score": float("nan"), "Area": float("inf")})
        (tmp_path / "a.geojson").write_text(json.dumps([value]))
        found = read_annotations(tmp_path / "a.geojson")
        assert len(found) == 1
        assert np.isnan(found.scores).all()


class TestKindsOfObjects:
    def test_of_a_cell_the_nucleus_is_read(self):
        cell = feature(square(0, 0, 20), "cell")
        cell["nucleusGeometry"] = {"type": "Polygon", "coordinates": square(5, 6)}
        assert boxes(read([cell])) == [[6, 5, 10, 9]]
        assert boxes(read([feature(square(0, 0, 20), "cell")])) == [[0, 0, 20, 20]]

    @pytest.mark.parametrize("kind", ["detection", "annotation", None, "something"])
    def test_any_other_outline_is_a_nucleus(self, kind):
        assert len(read([feature(kind=kind)])) == 1

    def test_instanseg_says_what_it_is_in_its_own_word(self):
        (one,) = [feature(kind=None, object_type="annotation")]
        one["properties"]["measurements"] = [{"name": "Label", "value": 0}]
        found = read({"type": "FeatureCollection", "features": [one]})
        assert len(found) == 1
        assert not found.ids_stated

    @pytest.mark.parametrize("kind", ["tile", "tmaCore", "root"])
    def test_tiles_and_cores_are_left_out(self, kind):
        found = read([feature(kind=kind), feature()])
        assert len(found) == 1
        assert "1 outlines of tiles, cores or whole images; left out" in found.notes[0]

    def test_the_type_stood_in_the_id_once(self):
        old = feature(kind=None)
        old["id"] = "PathTileObject"
        assert len(read([old])) == 0

    def test_parts_of_an_annotation_are_nuclei_of_their_own(self):
        """As CellViT writes them, one annotation a class."""
        parts = [square(0, 0), square(10, 0), square(20, 0)]
        value = [
            {
                "type": "Feature",
                "id": "x",
                "geometry": {"type": "MultiPolygon", "coordinates": some},
                "properties": {
                    "objectType": "annotation",
                    "classification": {"name": name, "color": [255, 0, 0]},
                },
            }
            for name, some in (("Neoplastic", parts[:2]), ("Dead", parts[2:]), ("Empty", [[]]))
        ]
        found = read(value)
        assert [b[1] for b in boxes(found)] == [0, 10, 20]
        names = [found.scheme.name_of(c) for c in found.class_ids.tolist()]
        assert [n.casefold() for n in names] == ["neoplastic", "neoplastic", "dead"]
        assert any("each is taken for a nucleus" in note for note in found.notes)

    @pytest.mark.parametrize("kind", ["detection", None])
    def test_parts_of_a_detection_are_one_nucleus(self, kind):
        one = feature(kind=kind)
        one["geometry"] = {"type": "MultiPolygon", "coordinates": [square(0, 0), square(10, 0)]}
        found = read([one])
        assert boxes(found) == [[0, 0, 4, 14]]
        assert found.nuclei.masks[0].sum() == 32

    def test_polygons_of_a_collection_of_geometries_are_its_parts(self):
        one = feature()
        inner = [
            {"type": "Polygon", "coordinates": square(0, 0)},
            {"type": "LineString", "coordinates": [[0, 0], [1, 1]]},
            {"type": "Polygon", "coordinates": square(6, 0)},
        ]
        one["geometry"] = {"type": "GeometryCollection", "geometries": inner}
        assert boxes(read([one])) == [[0, 0, 4, 10]]

    def test_children_are_read_and_their_parent_is_a_region(self):
        children = [feature(square(2, 2)), feature(square(20, 2), childObjects=[])]
        children[1]["properties"]["childObjects"] = [feature(square(40, 2))]
        found = read([feature(square(0, 0, 60), "annotation", childObjects=children)])
        assert [b[1] for b in boxes(found)] == [2, 20, 40]
        assert any("regions and no nuclei" in note for note in found.notes)

    def test_an_annotation_around_other_outlines_is_a_region(self):
        nuclei = [feature(square(10 * i, 5), kind="annotation") for i in range(4)]
        region = feature(square(-1, 0, 50), "annotation")
        corrected = feature(square(0, 30, 5), "annotation")
        found = read([region, *nuclei, corrected])
        assert len(found) == 5
        assert any("1 outlines drawn around other outlines" in note for note in found.notes)

    def test_an_outline_larger_than_a_nucleus_is_left_out(self):
        found = read([feature(square(0, 0, LARGEST_NUCLEUS + 1), "annotation"), feature()])
        assert len(found) == 1
        assert any("regions" in note for note in found.notes)

    @pytest.mark.parametrize("kind", ["Point", "MultiPoint", "LineString", "MultiLineString"])
    def test_points_and_lines_are_left_out(self, kind):
        one = feature()
        one["geometry"] = {"type": kind, "coordinates": [1, 2]}
        found = read([one, feature()])
        assert len(found) == 1
        assert "1 outlines that are points or lines; left out" in found.notes[0]

    def test_features_without_a_geometry_are_left_out(self):
        one = feature()
        one["geometry"] = None
        found = read([one, feature()])
        assert len(found) == 1
        assert "without a geometry" in found.notes[0]

    def test_a_plane_and_a_height_do_not_matter(self):
        one = feature([[[0, 0, 7], [4, 0, 7], [4, 4], [0, 4, 7]]])
        one["geometry"]["plane"] = {"c": -1, "z": 2, "t": 0}
        assert boxes(read([one])) == [[0, 0, 4, 4]]


class TestClasses:
    @pytest.mark.parametrize(
        ("value", "name", "color"),
        [
            ({"name": "Plasma", "color": [1, 2, 3]}, "Plasma", (1, 2, 3)),
            ({"name": "Plasma", "colorRGB": -3670016}, "Plasma", (200, 0, 0)),
            ({"name": "Plasma", "color": -3670016}, "Plasma", (200, 0, 0)),
            ({"name": " Plasma ", "color": []}, "Plasma", None),
            ({"names": ["Plasma", "Positive"], "color": [1, 2, 3]}, "Plasma: Positive", (1, 2, 3)),
            ("Plasma", "Plasma", None),
            (["Plasma", "Positive"], "Plasma: Positive", None),
            (None, "unclassified", None),
            ({"name": None}, "unclassified", None),
            ("unclassified", "unclassified", None),
        ],
    )
    def test_names_and_colours_are_read_in_all_their_forms(self, value, name, color):
        found = read([feature(classification=value)])
        (class_id,) = found.class_ids.tolist()
        assert found.scheme.name_of(class_id) == name
        if color is not None:
            assert found.scheme.color_of(class_id) == color

    def test_without_classes_the_scheme_is_the_usual_one(self):
        found = read([feature()])
        assert found.scheme == PANNUKE
        assert found.class_ids.tolist() == [0]

    @pytest.mark.parametrize("value", [7, {"name": 7}, ["a", 7], {"names": {}}])
    def test_what_is_no_class_is_named(self, value):
        with pytest.raises(AnnotationError, match=r"f\.geojson: feature 2 has .* class"):
            read([feature(), feature(classification=value)])


class TestScores:
    @pytest.mark.parametrize(
        "properties",
        [
            {"measurements": {"Area µm^2": 8, "Score": 0.75}},
            {"measurements": [{"name": "Detection probability", "value": 0.75}]},
            {"measurements": {"probability": 0.75}},
            {"type_prob": 0.75},
        ],
    )
    def test_scores_are_found(self, properties):
        assert read([feature(**properties)]).scores.tolist() == [0.75]

    @pytest.mark.parametrize(
        "properties",
        [
            {},
            {"measurements": {"Area": 3}},
            {"measurements": {"Score": None}},
            {"measurements": {"Score": "NaN"}},
            {"measurements": 7},
            {"measurements": [7, {"name": 7}]},
        ],
    )
    def test_without_one_there_is_none(self, properties):
        assert np.isnan(read([feature(**properties)]).scores).all()


class TestIds:
    def test_those_of_the_metadata_come_first(self):
        found = read([feature(metadata={"id": "12"}, name="3"), feature(metadata={"id": 7})])
        assert found.ids.tolist() == [12, 7]
        assert found.ids_stated
        assert not found.notes

    def test_what_was_drawn_or_split_elsewhere_gets_new_ones(self):
        found = read([feature(metadata={"id": i}) for i in ("12", "12", "x", "5")])
        assert found.ids.tolist() == [12, 13, 14, 5]
        assert "2 nuclei had no id of their own" in found.notes[0]

    def test_names_that_are_numbers_are_ids(self):
        found = read([feature(name="12"), feature(name="5")])
        assert found.ids.tolist() == [12, 5]
        assert found.ids_stated

    @pytest.mark.parametrize("names", [("12", "12"), ("12", "tumour"), ("0", "1"), ("²", "³")])
    def test_other_names_are_not(self, names):
        found = read([feature(name=name) for name in names])
        assert found.ids.tolist() == [1, 2]
        assert not found.ids_stated
        assert not found.notes

    def test_numbers_of_features_are_ids(self):
        one, two = feature(), feature()
        one["id"], two["id"] = 4, "9"
        assert read([one, two]).ids.tolist() == [4, 9]


class TestDamage:
    def test_an_open_ring_is_closed(self):
        found = read([feature([square(2, 3)[0][:-1]])])
        assert boxes(found) == [[3, 2, 7, 6]]
        assert found.nuclei.masks[0].all()

    @pytest.mark.parametrize("ring", [[], [[0, 0]], [[0, 0], [4, 4]], [[0, 0], [4, 4], [0, 0]]])
    def test_a_ring_without_an_area_is_left_out(self, ring):
        found = read([feature([ring]), feature()])
        assert len(found) == 1
        assert any("without a" in note and "left out" in note for note in found.notes)

    def test_a_hole_without_an_area_is_none(self):
        found = read([feature([*square(0, 0), [[1, 1], [2, 2]]])])
        assert found.nuclei.masks[0].all()

    def test_an_outline_that_crosses_itself_is_taken_as_it_fills(self):
        found = read([feature([[[0, 0], [8, 8], [8, 0], [0, 8]]])])
        assert found.nuclei.masks[0].sum() == 32
        assert any("cross themselves" in note for note in found.notes)

    def test_an_outline_of_thousands_of_crossings_takes_no_time(self):
        rng = np.random.default_rng(0)
        found = read([feature([rng.uniform(0, 100, (2000, 2)).tolist()])])
        assert len(found) == 1
        found = read([feature([rng.uniform(0, 4000, (50_000, 2)).tolist()])])
        assert len(found) == 0
        assert any("too crooked to be nuclei" in note for note in found.notes)

    def test_parts_that_overlap_are_one(self):
        one = feature()
        one["geometry"] = {"type": "MultiPolygon", "coordinates": [square(0, 0), square(2, 2)]}
        assert read([one]).nuclei.masks[0].sum() == 28

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (7, "is 7, no object"),
            ({"properties": 7}, "has 7 as its properties, no object"),
            ({"geometry": 7}, "has 7 as its geometry, no object"),
            ({"geometry": {}}, "has a geometry of the type None"),
            ({"geometry": {"type": "Circle"}}, "has a geometry of the type 'Circle'"),
            ({"geometry": {"type": ["Polygon"]}}, "has a geometry of the type"),
            ({"geometry": {"type": "Polygon"}}, "has None as its coordinates, no list"),
            (
                {"geometry": {"type": "GeometryCollection", "geometries": [7]}},
                "has a geometry of the type 7",
            ),
            (
                {"geometry": {"type": "MultiPolygon", "coordinates": [7]}},
                "has 7 as a polygon, no list",
            ),
            ({"type": "FeatureCollection", "features": 7}, "is a collection without a list"),
        ],
    )
    def test_a_wrong_type_is_named(self, change, message):
        wrong = {**feature(), **change} if isinstance(change, dict) else change
        with pytest.raises(AnnotationError, match=rf"f\.geojson: feature 2 {message}"):
            read([feature(), wrong])

    @pytest.mark.parametrize(
        ("ring", "message"),
        [
            (7, "has 7 as a ring"),
            ([7, 8, 9], "has 7 as a position"),
            ([[0, 0], [4], [4, 4]], r"has \[4\] as a position"),
            ([[0, 0], [4, None], [4, 4]], "has the coordinate None, which is no number"),
            ([[0, 0], [4, "1"], [4, 4]], "has the coordinate '1', which is no number"),
            ([[0, 0], [4, True], [4, "x"]], "has the coordinate True, which is no number"),
            ([[0, 0], [4, {}], [4, 4]], r"has the coordinate \{\}, which is no number"),
            ([[0, 0], [4, float("nan")], [4, 4]], "has the coordinate nan, which is no number"),
            ([[0, 0], [4, float("inf")], [4, 4]], "has the coordinate inf, which is no number"),
            ([[0, 0], [4, 10**400], [4, 4]], "has a coordinate of more than 300 digits"),
        ],
    )
    def test_a_wrong_coordinate_is_named(self, ring, message):
        with pytest.raises(AnnotationError, match=rf"f\.geojson: feature 2 {message}"):
            read_geojson([feature(), feature([ring])], "f.geojson")

    @pytest.mark.parametrize("value", [1e9, -1e300, 2**63, 2**70])
    def test_a_coordinate_off_every_slide_is_named(self, value):
        with pytest.raises(AnnotationError, match="is no pixel of an image"):
            read_geojson([feature([[[0, 0], [value, 0], [4, 4]]])], "f.geojson")

    def test_members_of_other_programs_beside_the_features_do_no_harm(self):
        for value in (7, [], {}, {"width": -1, "height": "x", "mpp": True}, {"classes": [7]}):
            found = read(
                {
                    "type": "FeatureCollection",
                    "features": [feature()],
                    "image": value,
                    "classes": value,
                    "provenance": value,
                    "parts": value,
                }
            )
            assert len(found) == 1
            assert found.shape is None
            assert found.mpp is None

    def test_a_path_beside_the_features_is_not_passed_on(self):
        value = {
            "type": "FeatureCollection",
            "features": [],
            "provenance": {"a": "/home/x", "b": 1},
        }
        assert dict(read(value).provenance) == {"b": 1}

    def test_deep_nesting_ends_in_an_error(self, tmp_path):
        (tmp_path / "a.geojson").write_text('{"type":"Feature","geometry":' + "[" * 100_000)
        with pytest.raises(AnnotationError, match=r"a\.geojson: is no JSON"):
            read_annotations(tmp_path / "a.geojson")


def test_the_formats_say_that_they_are_read():
    assert FORMATS["geojson"].is_read
    assert FORMATS["geojson-gz"].is_read
