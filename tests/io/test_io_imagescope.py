"""ImageScope's XML, parsed by the standard library, and MoNuSeg's."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest
import shapely

from napari_nucleus.core.polygons import rasterize
from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.formats import read_annotations
from napari_nucleus.io.formats.imagescope import read_imagescope, write_imagescope


def vertices(*corners) -> str:
    inner = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in corners)
    return f"<Vertices>{inner}</Vertices>"


SQUARE = vertices((2, 3), (8, 3), (8, 9), (2, 9))


def xml(*regions: str, head: str = "", layer: str = 'Id="1" Name="dead"') -> str:
    return (
        f'{head}<Annotations MicronsPerPixel="0.252"><Annotation {layer}><Regions>'
        f"{''.join(regions)}</Regions></Annotation></Annotations>"
    )


def read_text(tmp_path, text: str):
    (tmp_path / "a.xml").write_text(text, "utf-8")
    return read_annotations(tmp_path / "a.xml")


class TestWriting:
    def test_regions_paint_the_same_nuclei_holes_last(self, result, tmp_path):
        write_imagescope(tmp_path / "a.xml", result)
        painted = np.zeros(result.shape, np.int32)
        for region in ElementTree.parse(tmp_path / "a.xml").iter("Region"):
            corners = [(float(v.get("X")), float(v.get("Y"))) for v in region.iter("Vertex")]
            number = 0 if region.get("NegativeROA") == "1" else int(region.get("Text"))
            mask = rasterize([shapely.Polygon(corners)], [1], result.shape) > 0
            painted[mask] = number
        assert np.array_equal(painted, result.labels)

    def test_a_layer_is_a_class_with_its_colour(self, result, tmp_path):
        write_imagescope(tmp_path / "a.xml", result)
        root = ElementTree.parse(tmp_path / "a.xml").getroot()
        assert root.tag == "Annotations"
        assert float(root.get("MicronsPerPixel")) == 0.25
        layers = {layer.get("Name"): int(layer.get("LineColor")) for layer in root}
        assert layers == {
            "unclassified": 1 + 256 * 2 + 65536 * 3,
            "Tumör, fest": 230 + 256 * 85 + 65536 * 13,
            "inflammatory": 256 * 200 + 65536 * 83,
            "dead": 20 + 256 * 20 + 65536 * 20,
        }

    def test_numbers_of_regions_differ_within_a_layer(self, result, tmp_path):
        write_imagescope(tmp_path / "a.xml", result)
        for layer in ElementTree.parse(tmp_path / "a.xml").getroot():
            ids = [region.get("Id") for region in layer.iter("Region")]
            assert len(set(ids)) == len(ids) > 0

    def test_class_names_may_have_any_characters(self, result, tmp_path):
        strange = '<a> & "b" \x07 \N{MICROSCOPE}'
        first = replace(result.scheme.classes[0], name=strange)
        scheme = replace(result.scheme, classes=(first, *result.scheme.classes[1:]))
        write_imagescope(tmp_path / "a.xml", replace(result, scheme=scheme))
        found = read_imagescope(tmp_path / "a.xml")
        row = found.ids.tolist().index(1)
        expected = strange.replace("\x07", "?")
        assert found.scheme.name_of(int(found.class_ids[row])) == expected


class TestReading:
    def test_ground_truth_of_monuseg_is_read(self, tmp_path):
        text = xml(
            f'<Region Id="1" Type="0" Text="" NegativeROA="0"><Attributes/>{SQUARE}</Region>',
            f'<Region Id="2" NegativeROA="0">{vertices((20.5, 3.5), (28, 3), (28, 9))}</Region>',
            head='<?xml version="1.0" encoding="UTF-8"?>',
            layer='Id="1" Name="" LineColor="65280"',
        )
        found = read_text(tmp_path, text)
        assert found.ids.tolist() == [1, 2]
        assert found.nuclei.boxes[0].tolist() == [3, 2, 9, 8]
        assert found.class_ids.tolist() == [0, 0]
        assert found.mpp == pytest.approx(0.252)

    def test_a_negative_region_is_a_hole_in_what_it_lies_in(self, tmp_path):
        hole = vertices((4, 5), (6, 5), (6, 7), (4, 7))
        around = vertices((0, 0), (30, 0), (30, 30), (0, 30))
        text = xml(
            f'<Region Id="1" NegativeROA="1">{hole}</Region>',
            f'<Region Id="2">{SQUARE}</Region>',
            f'<Region Id="3">{around}</Region>',
            f'<Region Id="4" NegativeROA="1">{vertices((90, 90), (95, 90), (95, 95))}</Region>',
        )
        found = read_text(tmp_path, text)
        assert [int(m.sum()) for m in found.nuclei.masks] == [36 - 4, 900]
        assert "1 negative regions lie in no other" in found.notes[0]

    def test_layers_are_classes_with_colours(self, tmp_path):
        layer = '<Annotation Name="{}" LineColor="{}"><Regions><Region Id="1">{}</Region></Regions>'
        text = "".join(
            layer.format(name, color, SQUARE) + "</Annotation>"
            for name, color in (("Kind A", 255), ("Kind B", 65536 * 255))
        )
        found = read_text(tmp_path, f"<Annotations>{text}</Annotations>")
        assert [found.scheme.name_of(int(c)) for c in found.class_ids] == ["Kind A", "Kind B"]
        assert [c.color for c in found.scheme.classes] == [(255, 0, 0), (0, 0, 255)]
        assert not found.ids_stated
        assert found.mpp is None

    def test_boxes_and_ellipses_are_outlines_and_arrows_are_not(self, tmp_path):
        two = vertices((10, 10), (30, 20))
        found = read_text(
            tmp_path, xml(*(f'<Region Id="{k}" Type="{k}">{two}</Region>' for k in (1, 2, 3, 4)))
        )
        areas = [int(m.sum()) for m in found.nuclei.masks]
        assert areas == [200, pytest.approx(np.pi * 50, rel=0.03)]
        assert found.notes == ("a.xml: 2 regions are no outlines; left out.",)

    @pytest.mark.parametrize(
        "inside",
        [
            '<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">',
            '<!ENTITY a SYSTEM "file:///etc/hostname">',
        ],
    )
    def test_document_types_are_refused_unread(self, tmp_path, inside):
        text = xml(head=f"<!DOCTYPE x [{inside}]>", layer='Name="&a;"')
        with pytest.raises(AnnotationError, match=r"a\.xml: has a document type"):
            read_text(tmp_path, text)

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("", "is damaged, or no XML"),
            (xml(f'<Region Id="1">{SQUARE}</Region>')[:-20], "is damaged, or no XML"),
            ("<ASAP_Annotations/>", "begins with <ASAP_Annotations>"),
            (xml(f'<Region Id="5">{vertices((1, 2), ("x", 3), (4, 5))}</Region>'),
             "region 5 of layer 1 has corners that are no positions"),
            (xml(f'<Region Id="5">{vertices((1, 2), ("nan", 3), (4, 5))}</Region>'),
             "nan, which is no number"),
            (xml(f'<Region Id="5">{vertices((1, 2), (9e9, 3), (4, 5))}</Region>'),
             "9e\\+09 of outline 1"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_meant_is_named(self, tmp_path, text, why):
        with pytest.raises(AnnotationError, match=why):
            read_text(tmp_path, text)
