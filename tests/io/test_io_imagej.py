"""Regions of ImageJ, as roifile reads and writes them."""

from __future__ import annotations

import zipfile
from dataclasses import replace

import numpy as np
import pytest
import shapely
from roifile import ROI_OPTIONS, ROI_SUBTYPE, ROI_TYPE, ImagejRoi, roiread, roiwrite

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.label_runs import LabelTable
from napari_nucleus.core.polygons import rasterize
from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.formats import imagej as module
from napari_nucleus.io.formats import read_annotations
from napari_nucleus.io.formats.base import Export
from napari_nucleus.io.formats.imagej import read_imagej, write_imagej
from napari_nucleus.io.results import SegmentationResult, result_of_labels


def outline(roi: ImagejRoi) -> shapely.Geometry:
    """What ImageJ fills: the rings of a path by the even-odd rule."""
    filled = shapely.Polygon()
    for ring in roi.coordinates(multi=True):
        filled = filled ^ shapely.Polygon(ring)
    return filled


def far_away(result: SegmentationResult, dy: int, dx: int) -> SegmentationResult:
    labels, table = result.labels.copy(), result.table
    moved = LabelTable(
        table.ids,
        table.boxes + np.array([dy, dx, dy, dx], np.int32),
        table.areas,
        table.centroids_yx + np.array([dy, dx]),
    )
    shape = (result.shape[0] + dy, result.shape[1] + dx)
    return replace(
        result,
        shape=shape,
        table=moved,
        reading=lambda b: labels[b[0] - dy : b[2] - dy, b[1] - dx : b[3] - dx],
    )


class TestWriting:
    def test_roifile_finds_the_same_nuclei_areas_and_places(self, result, tmp_path):
        write_imagej(tmp_path / "a_RoiSet.zip", result)
        rois = roiread(tmp_path / "a_RoiSet.zip")
        areas = {int(roi.name.split()[0]): outline(roi).area for roi in rois}
        assert areas == dict(zip(result.ids.tolist(), result.table.areas.tolist(), strict=True))
        ids = [int(roi.name.split()[0]) for roi in rois]
        painted = rasterize([outline(roi) for roi in rois], ids, result.shape)
        assert np.array_equal(painted, result.labels)

    def test_one_ring_is_a_polygon_of_whole_corners_and_more_are_a_composite(
        self, result, tmp_path
    ):
        write_imagej(tmp_path / "a_RoiSet.zip", result)
        rois = {int(roi.name.split()[0]): roi for roi in roiread(tmp_path / "a_RoiSet.zip")}
        assert [i for i, roi in rois.items() if roi.composite] == [1, 9]
        single = rois[3]
        assert single.roitype == ROI_TYPE.POLYGON
        assert not single.subpixelresolution
        assert (single.left, single.top, single.right, single.bottom) == (20, 20, 21, 21)

    def test_names_properties_and_colours_say_what_is_known(self, result, tmp_path):
        write_imagej(tmp_path / "a_RoiSet.zip", result)
        first, other = roiread(tmp_path / "a_RoiSet.zip")[:2]
        assert first.name == "1 Tumör, fest"
        assert first.props == "class: Tum\\u00F6r, fest\nid: 1\nscore: 0.9100\n"
        assert first.stroke_color == bytes((255, 230, 85, 13))
        assert other.props == "class: inflammatory\nid: 3\nscore: 0.5000\n"
        # ImageJ gives the colour of its group, not that of the region, to one that has a group.
        assert first.group == 0

    @pytest.mark.parametrize("reach", [(32_750, 100), (40_000, 50_000), (100_000, 90_000)])
    def test_beyond_16_bits_the_corners_are_floats(self, result, tmp_path, reach):
        far = far_away(result, *reach)
        write_imagej(tmp_path / "a_RoiSet.zip", far)
        for roi in roiread(tmp_path / "a_RoiSet.zip"):
            row = far.ids.tolist().index(int(roi.name.split()[0]))
            y0, x0, y1, x1 = far.table.boxes[row].tolist()
            assert outline(roi).bounds == (x0, y0, x1, y1)
            floats = bool(roi.options & ROI_OPTIONS.SUB_PIXEL_RESOLUTION) or roi.composite
            assert floats == (max(y1, x1) > 32_767) or roi.composite
        back = read_imagej(tmp_path / "a_RoiSet.zip")
        order = np.argsort(back.ids)
        assert back.nuclei.boxes[order].tolist() == far.table.boxes.tolist()

    def test_equal_nuclei_give_equal_files(self, result, tmp_path):
        for name in ("a.zip", "b.zip"):
            write_imagej(tmp_path / name, result)
        assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()

    def test_class_names_may_have_any_characters(self, tmp_path, result):
        strange = "a/b\\c: \N{MICROSCOPE} \u2028 µ"
        first = replace(result.scheme.classes[0], name=strange)
        scheme = replace(result.scheme, classes=(first, *result.scheme.classes[1:]))
        write_imagej(tmp_path / "a_RoiSet.zip", replace(result, scheme=scheme))
        found = read_imagej(tmp_path / "a_RoiSet.zip")
        assert found.scheme.name_of(int(found.class_ids[0])) == " ".join(strange.split())
        with zipfile.ZipFile(tmp_path / "a_RoiSet.zip") as archive:
            assert not any("/" in name or "\\" in name for name in archive.namelist())

    def test_simplified_outlines_have_fewer_corners(self, tmp_path):
        y, x = np.mgrid[:80, :80]
        labels = ((y - 40) ** 2 + (x - 40) ** 2 < 900).astype(np.int32)
        round_one = result_of_labels(labels, PANNUKE)
        for simplify in (False, True):
            write_imagej(tmp_path / f"{simplify}.zip", round_one, Export(simplify=simplify))
        (exact,), (fewer,) = roiread(tmp_path / "False.zip"), roiread(tmp_path / "True.zip")
        assert fewer.n_coordinates < exact.n_coordinates
        assert outline(fewer).area == pytest.approx(outline(exact).area, rel=0.05)


class TestReading:
    def test_a_single_region_is_read(self, tmp_path):
        roi = ImagejRoi.frompoints([[1, 2], [5, 2], [5, 6], [1, 6]], name="7")
        roi.tofile(tmp_path / "a.roi")
        found = read_annotations(tmp_path / "a.roi")
        assert found.ids.tolist() == [7]
        assert found.nuclei.boxes.tolist() == [[2, 1, 6, 5]]
        assert found.nuclei.masks[0].all()

    def test_rectangles_ovals_and_drawn_outlines_are_nuclei(self, tmp_path):
        box = {"left": 10, "top": 20, "right": 30, "bottom": 50}
        drawn = ImagejRoi.frompoints([[1.5, 2.5], [9.5, 2.5], [9.5, 8.5]], name="a")
        rois = [
            ImagejRoi(roitype=ROI_TYPE.RECT, name="b", **box),
            ImagejRoi(roitype=ROI_TYPE.OVAL, name="c", **box),
            drawn,
        ]
        roiwrite(tmp_path / "a.zip", rois)
        found = read_imagej(tmp_path / "a.zip")
        areas = [int(mask.sum()) for mask in found.nuclei.masks]
        assert areas[0] == 600
        assert areas[1] == pytest.approx(np.pi * 150, rel=0.02)
        assert areas[2] == pytest.approx(24, abs=4)
        assert not found.ids_stated

    def test_lines_points_texts_and_other_members_are_left_out_and_noted(self, tmp_path):
        square = ImagejRoi.frompoints([[1, 2], [5, 2], [5, 6], [1, 6]], name="7 dead")
        line = ImagejRoi(roitype=ROI_TYPE.LINE, name="l", x2=5.0)
        text = ImagejRoi(roitype=ROI_TYPE.RECT, subtype=ROI_SUBTYPE.TEXT, name="t", right=9)
        roiwrite(tmp_path / "a.zip", [square, line, text])
        with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
            archive.writestr("../../readme.txt", b"hello")
        found = read_imagej(tmp_path / "a.zip")
        assert found.ids.tolist() == [7]
        assert found.scheme.name_of(int(found.class_ids[0])) == "dead"
        assert "2 regions that are lines, points, texts or pictures" in " ".join(found.notes)
        assert "1 members of the zip that are no regions" in " ".join(found.notes)

    def test_groups_are_classes_where_nothing_else_is(self, tmp_path):
        roi = ImagejRoi.frompoints([[1, 2], [5, 2], [5, 6], [1, 6]], name="0003-0004")
        roi.group = 3
        roi.tofile(tmp_path / "a.roi")
        found = read_imagej(tmp_path / "a.roi")
        assert found.scheme.name_of(int(found.class_ids[0])) == "group 3"
        assert not found.ids_stated

    def test_a_zip_that_unpacks_without_end_is_refused(self, result, tmp_path, monkeypatch):
        write_imagej(tmp_path / "a.zip", result)
        with zipfile.ZipFile(tmp_path / "a.zip", "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("b.roi", b"Iout" + bytes(10**6))
        monkeypatch.setattr(module, "MOST_BYTES", 10**5)
        with pytest.raises(AnnotationError, match=r"a\.zip: unpacked it is larger"):
            read_imagej(tmp_path / "a.zip")

    @pytest.mark.parametrize(
        ("data", "why"),
        [
            (b"Iout" + bytes(20), "damaged"),
            (b"Iout" + b"\x00\xe5\x00\x00" + bytes(8) + b"\xff\xff" + bytes(60), "damaged"),
            (b"Nothing of this kind", "neither a zip nor a region"),
            (b"", "neither a zip nor a region"),
        ],
    )
    def test_what_is_no_region_is_refused_in_a_sentence(self, tmp_path, data, why):
        (tmp_path / "a.roi").write_bytes(data)
        with pytest.raises(AnnotationError, match=why):
            read_annotations(tmp_path / "a.roi")

    def test_coordinates_that_are_no_numbers_are_refused(self, tmp_path):
        roi = ImagejRoi.frompoints(np.array([[1, 2], [5, 2], [5, 6.0]]))
        roi.subpixel_coordinates[1, 0] = np.nan
        roi.tofile(tmp_path / "a.roi")
        with pytest.raises(AnnotationError, match="nan, which is no number"):
            read_imagej(tmp_path / "a.roi")

    def test_a_locked_zip_says_that_it_is_locked(self, result, tmp_path):
        write_imagej(tmp_path / "a.zip", result)
        data = bytearray((tmp_path / "a.zip").read_bytes())
        data[data.index(b"PK\x01\x02") + 8] |= 1
        (tmp_path / "a.zip").write_bytes(data)
        with pytest.raises(AnnotationError, match="password"):
            read_imagej(tmp_path / "a.zip")
