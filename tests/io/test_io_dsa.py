"""Annotations of the Digital Slide Archive, held against the rules of its server."""

from __future__ import annotations

import json

import jsonschema
import numpy as np
import pytest
import shapely
from dsa_schema import ANNOTATION

from napari_nucleus.core.polygons import rasterize
from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.formats import read_annotations
from napari_nucleus.io.formats.base import Export
from napari_nucleus.io.formats.dsa import is_dsa, read_dsa, write_dsa


def written(result, path, **options) -> dict:
    write_dsa(path, result, Export(stem="slide 7", **options))
    return json.loads(path.read_bytes())


def polygon(element: dict) -> shapely.Polygon:
    assert element["closed"]
    holes = [[p[:2] for p in hole] for hole in element.get("holes", [])]
    return shapely.Polygon([p[:2] for p in element["points"]], holes)


def element(**members) -> dict:
    points = [[2, 3, 0], [8, 3, 0], [8, 9, 0], [2, 9, 0]]
    return {"type": "polyline", "closed": True, "points": points} | members


class TestWriting:
    def test_the_server_takes_it(self, result, tmp_path):
        value = written(result, tmp_path / "a.dsa.json")
        jsonschema.Draft6Validator(ANNOTATION).validate(value)
        assert value["name"] == "slide 7"

    @pytest.mark.parametrize(
        "bad", [{"points": [[1, 2]]}, {"lineColor": "red"}, {"score": 1}, {"holes": [[[1, 2, 0]]]}]
    )
    def test_the_rules_would_find_faults(self, bad):
        value = {"name": "a", "elements": [element(**bad)]}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft6Validator(ANNOTATION).validate(value)

    def test_elements_paint_the_same_nuclei(self, result, tmp_path):
        elements = written(result, tmp_path / "a.dsa.json")["elements"]
        ids = [e["user"]["id"] for e in elements]
        polygons = [polygon(e) for e in elements]
        assert np.array_equal(rasterize(polygons, ids, result.shape), result.labels)
        areas = {i: sum(p.area for p, j in zip(polygons, ids, strict=True) if j == i) for i in ids}
        assert list(areas.values()) == result.table.areas.tolist()

    def test_heights_are_zero_and_coordinates_whole(self, result, tmp_path):
        for one in written(result, tmp_path / "a.dsa.json")["elements"]:
            for point in one["points"]:
                assert point[2] == 0
                assert all(type(v) is int for v in point)

    def test_class_colour_and_score_stand_where_histomicsui_shows_them(self, result, tmp_path):
        first, second = written(result, tmp_path / "a.dsa.json")["elements"][:2]
        assert first["label"] == {"value": "Tumör, fest"}
        assert first["group"] == "Tumör, fest"
        assert first["lineColor"] == "rgb(230, 85, 13)"
        assert first["user"] == {"id": 1, "score": 0.91}
        assert second["user"] == {"id": 3, "score": 0.5}

    def test_parts_of_a_nucleus_are_elements_that_say_so(self, result, tmp_path):
        elements = written(result, tmp_path / "a.dsa.json")["elements"]
        parts = [e["user"] for e in elements if e["user"]["id"] == 9]
        assert parts == [{"id": 9, "part": 1, "parts": 2}, {"id": 9, "part": 2, "parts": 2}]


class TestReading:
    @pytest.mark.parametrize(
        "wrap",
        [lambda a: a, lambda a: {"_id": "x", "annotation": a}, lambda a: [{"annotation": a}]],
    )
    def test_an_annotation_is_known_however_the_server_wraps_it(self, wrap, tmp_path):
        value = wrap({"name": "a", "elements": [element(label={"value": "dead"})]})
        (tmp_path / "a.json").write_text(json.dumps(value))
        found = read_annotations(tmp_path / "a.json")
        assert found.nuclei.boxes.tolist() == [[3, 2, 9, 8]]
        assert found.scheme.name_of(int(found.class_ids[0])) == "dead"

    def test_colours_of_every_form_are_read(self):
        for text, color in (
            ("#010203", (1, 2, 3)),
            ("#123", (17, 34, 51)),
            ("#010203ff", (1, 2, 3)),
            ("rgb(1, 2, 3)", (1, 2, 3)),
            ("rgba(1,2,3,0.5)", (1, 2, 3)),
        ):
            value = {"elements": [element(group="mine", lineColor=text)]}
            kind = read_dsa(value, "a").scheme.by_name("mine")
            assert kind is not None
            assert kind.color == color

    def test_rectangles_ellipses_and_circles_are_nuclei(self):
        sides = {"center": [20, 30, 0], "width": 10, "height": 20}
        value = {
            "elements": [
                {"type": "rectangle", **sides},
                {"type": "rectangle", **sides, "rotation": np.pi / 2},
                {"type": "ellipse", **sides},
                {"type": "circle", "center": [20, 30, 0], "radius": 10},
            ]
        }
        masks = read_dsa(value, "a").nuclei.masks
        assert [m.shape for m in masks[:2]] == [(20, 10), (10, 20)]
        assert masks[2].sum() == pytest.approx(np.pi * 50, rel=0.05)
        assert masks[3].sum() == pytest.approx(np.pi * 100, rel=0.05)

    def test_points_and_open_lines_are_left_out_and_noted(self):
        value = {"elements": [element(), element(closed=False), {"type": "point"}]}
        found = read_dsa(value, "a")
        assert len(found) == 1
        assert found.notes == ("a: 2 elements are no closed outlines; left out.",)

    @pytest.mark.parametrize(
        ("bad", "why"),
        [
            ({"points": [[1, 2], "x", None]}, "element 1 has corners that are no positions"),
            ({"points": [1, 2, 3]}, "no positions"),
            ({"points": {"x": 1}}, "no positions"),
            ({"points": [[1, 2, 0], [1e400, 2, 0], [3, 4, 0]]}, "inf, which is no number"),
            ({"holes": 5}, "5 as its holes"),
            ({"type": "banana"}, "'banana'"),
            ({"type": "rectangle", "center": None}, "no positions"),
        ],
    )
    def test_what_cannot_be_meant_is_named(self, bad, why):
        with pytest.raises(AnnotationError, match=why):
            read_dsa({"elements": [element(**bad)]}, "a")

    def test_other_json_is_not_taken_for_it(self):
        for value in (None, [], {}, {"elements": 5}, {"elements": [[1]]}, [[1]], {"nuc": {}}):
            assert not is_dsa(value)
