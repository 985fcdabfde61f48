"""Every format that is written and read: what comes back is what the format says it keeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from scipy import ndimage

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.io import results as results_module
from napari_nucleus.io.annotation_file import AnnotationFile
from napari_nucleus.io.formats import FORMATS, Export, Format, read_annotations
from napari_nucleus.io.results import SegmentationResult, result_of_labels
from napari_nucleus.session.masks import largest_part

BOTH_WAYS = [f for f in FORMATS.values() if f.write is not None and f.is_read]


def names(formats: list[Format]) -> list[str]:
    return [f.name for f in formats]


def written_and_read(one: Format, result: SegmentationResult, folder: Path) -> AnnotationFile:
    assert one.write is not None
    path = folder / f"case{one.ending}"
    one.write(path, result, Export(stem="case"))
    return read_annotations(path, one)


def masks(found: AnnotationFile) -> list[tuple[tuple[int, ...], bytes]]:
    """What can be compared without ids: box and pixels of each nucleus, in any order."""
    boxes = [tuple(box) for box in found.nuclei.boxes.tolist()]
    return sorted(
        (box, mask.tobytes()) for box, mask in zip(boxes, found.nuclei.masks, strict=True)
    )


def expected_masks(result: SegmentationResult, one: Format) -> list[tuple[tuple[int, ...], bytes]]:
    """The same of a result, with holes filled and the largest part alone where a format says so."""
    (block,) = result.blocks()
    every = []
    for mask in block.nuclei.masks:
        kept = mask if one.keeps.parts else largest_part(mask)
        kept = kept if one.keeps.holes else ndimage.binary_fill_holes(kept)
        every.append(np.asarray(kept, bool))
    nuclei = Nuclei.from_masks(every, block.nuclei.boxes[:, :2])
    boxes = [tuple(box) for box in nuclei.boxes.tolist()]
    return sorted((box, mask.tobytes()) for box, mask in zip(boxes, nuclei.masks, strict=True))


@pytest.mark.parametrize("one", BOTH_WAYS, ids=names(BOTH_WAYS))
class TestRoundTrip:
    def test_every_pixel_comes_back(self, one, result, tmp_path):
        if not one.keeps.masks:
            pytest.skip("it does not say that it keeps masks")
        assert masks(written_and_read(one, result, tmp_path)) == expected_masks(result, one)

    def test_half_a_pixel_off_would_be_seen(self, one, result, tmp_path, monkeypatch):
        """The comparison itself: outlines that are moved, as by a wrong origin, do not pass."""
        if not one.keeps.masks:
            pytest.skip("it does not say that it keeps masks")
        trace = results_module.polygons_of_labels

        def moved(labels, offset_yx=(0, 0)):
            ids, polygons = trace(labels, offset_yx)
            return ids, shapely.transform(polygons, lambda xy: xy + 0.51)

        monkeypatch.setattr(results_module, "polygons_of_labels", moved)
        if not _uses_polygons(one, result, tmp_path):
            pytest.skip("it is made of pixels, not of outlines")
        assert masks(written_and_read(one, result, tmp_path)) != expected_masks(result, one)

    def test_ids_classes_and_scores_come_back(self, one, result, tmp_path):
        found = written_and_read(one, result, tmp_path)
        assert len(found) == len(result)
        keeps = one.keeps
        assert found.ids_stated == keeps.ids
        if keeps.ids:
            order = np.argsort(found.ids)
            assert found.ids[order].tolist() == result.ids.tolist()
        else:
            order = _order_of_boxes(result, found)
        if keeps.classes:
            got = [found.scheme.name_of(int(c)) for c in found.class_ids[order]]
            assert got == result.class_names
        if keeps.scores:
            np.testing.assert_allclose(found.scores[order], result.scores, atol=1e-3)
        else:
            assert np.isnan(found.scores).all()

    def test_scheme_size_and_pixel_size_come_back(self, one, result, tmp_path):
        found = written_and_read(one, result, tmp_path)
        keeps = one.keeps
        if keeps.scheme:
            for c in result.scheme.classes:
                if c.id in result.class_ids:
                    other = found.scheme.by_name(c.name)
                    assert other is not None
                    assert other.color == c.color
        assert found.shape == (result.shape if keeps.shape else None)
        assert found.mpp == (pytest.approx(result.mpp) if keeps.mpp else None)
        if keeps.provenance:
            assert dict(result.provenance).items() <= dict(found.provenance).items()

    def test_no_nuclei_are_written_and_read_too(self, one, result, tmp_path):
        found = written_and_read(one, result.select(np.zeros(len(result), bool)), tmp_path)
        assert len(found) == 0

    def test_an_unknown_pixel_size_stays_unknown(self, one, result, tmp_path):
        assert written_and_read(one, replace(result, mpp=None), tmp_path).mpp is None

    def test_what_is_written_names_no_folder(self, one, result, tmp_path):
        folder = tmp_path / "patient-77"
        folder.mkdir()
        written_and_read(one, result, folder)
        for path in folder.rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                assert b"patient-77" not in data
                assert str(tmp_path).encode() not in data


@pytest.mark.parametrize("name", ["labels", "geojson", "coco", "geoparquet"])
def test_more_nuclei_than_16_bits_count_come_back(name, tmp_path):
    """66,049 nuclei of four pixels; the ids of the last ones need 17 bits."""
    side = 257
    labels = np.zeros((3 * side, 3 * side), np.int32)
    numbers = np.arange(1, side * side + 1).reshape(side, side)
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
        labels[dy::3, dx::3] = numbers
    found = written_and_read(FORMATS[name], result_of_labels(labels, PANNUKE), tmp_path)
    assert len(found) == side * side
    np.testing.assert_array_equal(found.nuclei.to_labels(labels.shape, found.ids), labels)


def _order_of_boxes(result: SegmentationResult, found: AnnotationFile) -> list[int]:
    """Return the positions in a file of the nuclei of a result, by where they begin."""
    at = {tuple(box[:2]): i for i, box in enumerate(found.nuclei.boxes.tolist())}
    return [at[tuple(box[:2])] for box in result.table.boxes.tolist()]


def _uses_polygons(one: Format, result: SegmentationResult, folder: Path) -> bool:
    """Return True if writing asks for outlines."""
    asked = []
    kept = results_module.polygons_of_labels

    def counting(*arguments):
        asked.append(True)
        return kept(*arguments)

    results_module.polygons_of_labels = counting
    try:
        assert one.write is not None
        one.write(folder / f"probe{one.ending}", result, Export(stem="probe"))
    finally:
        results_module.polygons_of_labels = kept
    return bool(asked)
