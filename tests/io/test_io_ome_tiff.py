from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.progress import Cancel
from napari_nucleus.errors import AnnotationError, CancelledError
from napari_nucleus.io.formats.base import Export
from napari_nucleus.io.formats.label_tiff import read_label_file, write_label_tiff
from napari_nucleus.io.formats.ome_tiff import pyramid_shapes, write_ome_tiff
from napari_nucleus.io.images import open_image
from napari_nucleus.io.labels import provenance_in
from napari_nucleus.io.results import SegmentationResult, result_of_labels


@pytest.fixture
def large() -> SegmentationResult:
    """Ids at every tenth pixel or so, over several tiles and levels, of no round size."""
    labels = np.zeros((1301, 2603), np.int32)
    labels[3::10, 4::10] = np.arange(130 * 260).reshape(130, 260) + 1
    labels[500:530, 500:530] = 50_000
    return result_of_labels(labels, PANNUKE, {1: 2, 50_000: 1}, {1: 0.25}, 0.25)


def test_every_level_is_every_second_pixel_of_the_one_before(tmp_path, large):
    path = tmp_path / "a.ome.tif"
    write_ome_tiff(path, large, Export(stem="case"))
    with tifffile.TiffFile(path) as tiff:
        (series,) = tiff.series
        assert [level.shape for level in series.levels] == pyramid_shapes(large.shape)
        assert len(series.levels) == 3
        for k, level in enumerate(series.levels):
            np.testing.assert_array_equal(level.asarray(), large.labels[:: 2**k, :: 2**k])


@pytest.mark.parametrize("held", [0, 2_000_000, 2**24])
def test_levels_are_the_same_however_many_of_them_are_held(tmp_path, large, held, monkeypatch):
    monkeypatch.setattr("napari_nucleus.io.formats.ome_tiff.HELD_LEVEL", held)
    write_ome_tiff(tmp_path / "a.ome.tif", large)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
        for k, level in enumerate(tiff.series[0].levels):
            np.testing.assert_array_equal(level.asarray(), large.labels[:: 2**k, :: 2**k])


def test_the_file_is_what_other_programs_expect(tmp_path, result):
    path = tmp_path / "a.ome.tif"
    write_ome_tiff(path, result, Export(stem="case"))
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_ome
        page = tiff.pages.first
        assert page.dtype == np.uint32
        assert page.tile == (512, 512)
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        xml = tiff.ome_metadata
    assert xml is not None
    root = ElementTree.fromstring(xml)
    (pixels,) = (e for e in root.iter() if e.tag.endswith("}Pixels"))
    assert float(pixels.attrib["PhysicalSizeX"]) == result.mpp
    assert float(pixels.attrib["PhysicalSizeY"]) == result.mpp
    assert pixels.attrib["PhysicalSizeXUnit"] == "µm"
    told = {e.get("K"): e.text for e in root.iter() if e.tag.endswith("}M")}
    assert told == {
        "model": "nano",
        "version": "1.2",
        "class 1": "Tumör, fest",
        "class 2": "inflammatory",
        "class 9": "dead",
    }
    assert open_image(path).mpp == pytest.approx(0.25)
    assert provenance_in(path) == {"model": "nano", "version": "1.2"}


@pytest.mark.parametrize("write", [write_ome_tiff, write_label_tiff])
@pytest.mark.parametrize(("largest", "dtype"), [(65_535, np.uint16), (65_536, np.uint32)])
def test_pixels_have_16_bit_as_long_as_ids_fit(tmp_path, write, largest, dtype):
    labels = np.zeros((8, 9), np.int32)
    labels[3, 3] = largest
    write(tmp_path / "a.tif", result_of_labels(labels, PANNUKE))
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.series[0].dtype == dtype
        np.testing.assert_array_equal(tiff.series[0].asarray(), labels)


def test_names_that_xml_must_escape_come_back(tmp_path, result):
    odd = replace(result, provenance={"by": 'A & B <"x">\x07 ]]>', "ünï": "köd"})
    write_ome_tiff(tmp_path / "a.ome.tif", odd, Export(stem="a<&>b"))
    assert read_label_file(tmp_path / "a.ome.tif").provenance == odd.provenance


@pytest.mark.parametrize("write", [write_ome_tiff, write_label_tiff])
def test_labels_are_never_read_whole(tmp_path, large, write):
    boxes = []

    def reading(box):
        boxes.append((box[2] - box[0]) * (box[3] - box[1]))
        return large.reading(box)

    write(tmp_path / "a.tif", replace(large, reading=reading))
    assert max(boxes) <= 2048**2 // 2
    assert sum(boxes) >= large.shape[0] * large.shape[1]


@pytest.mark.parametrize("write", [write_ome_tiff, write_label_tiff])
def test_it_tells_how_far_it_is_and_can_be_cancelled(tmp_path, large, write):
    told = []
    write(tmp_path / "a.tif", large, Export(progress=told.append))
    assert told[-1].fraction == 1
    assert len(told) == told[-1].total > 10
    before = (tmp_path / "a.tif").read_bytes()
    cancel = Cancel()
    with pytest.raises(CancelledError):
        write(tmp_path / "a.tif", large, Export(progress=lambda _: cancel.set(), cancel=cancel))
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [before]


def test_a_fault_of_the_disk_leaves_the_file_as_it_was(
    tmp_path, result, unwritable, assert_untouched
):
    with pytest.raises(AnnotationError, match=f"a.tif could not be written .{unwritable}"):
        write_ome_tiff(tmp_path / "out" / "a.tif", result)
    assert_untouched()
