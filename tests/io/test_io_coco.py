"""COCO files against pycocotools, and those of others read."""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from scipy import ndimage

from benchmarks.fields import nuclei_field
from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.geometry import clip_box
from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.formats import read_annotations
from napari_nucleus.io.formats.base import Export
from napari_nucleus.io.formats.coco import read_coco, write_coco, write_coco_polygons
from napari_nucleus.io.results import SegmentationResult, result_of_labels

SQUARE = [2, 1, 5, 1, 5, 3, 2, 3]


def opened(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def one_image(*annotations: dict[str, Any], **members: Any) -> dict[str, Any]:
    image = {"id": 7, "file_name": "a.png", "width": 20, "height": 10}
    every = [{"image_id": 7, "id": i + 1, **a} for i, a in enumerate(annotations)]
    return {"images": [image], "annotations": every, **members}


@pytest.fixture(scope="module")
def field() -> SegmentationResult:
    labels = nuclei_field(512)
    classes = {int(i): int(i) % 6 for i in np.unique(labels) if i}
    return result_of_labels(labels, PANNUKE, classes, mpp=0.25)


def test_pycocotools_finds_every_nucleus_with_its_pixels(field, tmp_path):
    write_coco(tmp_path / "a.json", field)
    coco = opened(tmp_path / "a.json")
    assert sorted(coco.anns) == field.ids.tolist()
    for i, area in zip(field.ids.tolist(), field.table.areas.tolist(), strict=True):
        annotation = coco.anns[i]
        assert annotation["area"] == area == coco_mask.area(annotation["segmentation"])
        np.testing.assert_array_equal(coco.annToMask(annotation) > 0, field.labels == i)
        assert annotation["bbox"] == coco_mask.toBbox(annotation["segmentation"]).tolist()


def test_pycocotools_draws_polygons_to_the_mask_with_its_holes_filled(field, tmp_path):
    write_coco_polygons(tmp_path / "a.json", field)
    coco = opened(tmp_path / "a.json")
    assert sorted(coco.anns) == field.ids.tolist()
    holes = 0
    for i in field.ids.tolist():
        mask = field.labels == i
        parts, n = ndimage.label(mask)
        filled = np.zeros_like(mask)
        for part in range(1, n + 1):
            filled |= ndimage.binary_fill_holes(parts == part)
        holes += (filled != mask).any()
        np.testing.assert_array_equal(coco.annToMask(coco.anns[i]) > 0, filled)
        assert coco.anns[i]["area"] == mask.sum()
    assert holes > 0


def test_pycocotools_sees_categories_and_the_image(result, tmp_path):
    write_coco(tmp_path / "a.json", result, Export(stem="case"))
    coco = opened(tmp_path / "a.json")
    (image,) = coco.imgs.values()
    assert (image["file_name"], image["width"], image["height"]) == ("case", 60, 40)
    names = {i: c["name"] for i, c in coco.cats.items()}
    assert names == {1: "Tumör, fest", 2: "inflammatory", 9: "dead", 10: "unclassified"}
    got = {i: names[a["category_id"]] for i, a in coco.anns.items()}
    assert got == dict(zip(result.ids.tolist(), result.class_names, strict=True))
    assert coco.cats[10]["color"] == [1, 2, 3]
    assert coco.getAnnIds(catIds=[2]) == [3, 9]


def test_a_nucleus_without_a_score_has_no_such_member(result, tmp_path):
    write_coco(tmp_path / "a.json", result)
    scores = {a["id"]: a.get("score") for a in opened(tmp_path / "a.json").dataset["annotations"]}
    assert scores == {1: 0.91, 3: 0.5, 4: None, 9: None, 12: 1.0, 70_000: None}


def test_blocks_give_the_same_annotations_as_one(field, tmp_path, monkeypatch):
    write_coco(tmp_path / "one.json", field)
    blocks = field.blocks
    monkeypatch.setattr(SegmentationResult, "blocks", lambda self, size: blocks(100))
    write_coco(tmp_path / "many.json", field)
    one, many = opened(tmp_path / "one.json"), opened(tmp_path / "many.json")
    assert one.anns == many.anns


def test_a_frame_that_32_bits_cannot_count_is_refused(result, tmp_path):
    large = replace(
        result,
        shape=(70_000, 70_000),
        reading=lambda box: result.reading(clip_box(box, result.shape)),
    )
    with pytest.raises(AnnotationError, match=r"a\.json: .* 32 bits"):
        write_coco(tmp_path / "a.json", large)
    assert not list(tmp_path.iterdir())
    write_coco_polygons(tmp_path / "a.json", large)
    assert len(read_annotations(tmp_path / "a.json")) == len(result)


def test_equal_nuclei_give_equal_files(result, tmp_path):
    for name in ("a.json", "b.json"):
        write_coco(tmp_path / name, result)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_masks_of_every_form_are_read_from_one_file():
    mask = np.zeros((10, 20), np.uint8, order="F")
    mask[1:3, 2:5] = 1
    packed = coco_mask.encode(mask)
    packed["counts"] = packed["counts"].decode()
    loose = {"size": [10, 20], "counts": [21, 2, 8, 2, 8, 2]}
    parts = [SQUARE, [10, 1, 12, 1, 12, 3, 10, 3]]
    found = read_coco(
        one_image(*[{"segmentation": s} for s in (packed, loose, [SQUARE], SQUARE, parts)]), "a"
    )
    assert found.shape == (10, 20)
    for i in range(4):
        assert found.nuclei.boxes[i].tolist() == [1, 2, 3, 5]
        assert found.nuclei.masks[i].all()
    assert found.nuclei.areas.tolist() == [6, 6, 6, 6, 10]
    only = read_coco(one_image({"segmentation": parts}), "a")
    assert only.nuclei.areas.tolist() == [10]


def test_parts_that_overlap_are_joined_as_pycocotools_joins_them():
    parts = [[0, 0, 6, 0, 6, 6, 0, 6], [3, 3, 9, 3, 9, 9, 3, 9]]
    joined = coco_mask.merge(coco_mask.frPyObjects(parts, 10, 20))
    found = read_coco(one_image({"segmentation": parts}), "a")
    assert found.nuclei.areas.tolist() == [coco_mask.area(joined)] == [63]


def test_classes_colours_and_scores_of_others_are_read():
    categories = [
        {"id": "3", "name": "plasma cell", "color": "#ff0010"},
        {"id": 4, "name": "other thing", "color": [1, 2, 3]},
    ]
    square = {"segmentation": [SQUARE]}
    found = read_coco(
        one_image(
            {**square, "category_id": 3, "score": 0.25},
            {**square, "category_id": 4},
            {**square, "category_id": 99, "score": "high"},
            categories=categories,
        ),
        "a",
    )
    names = [found.scheme.name_of(c) for c in found.class_ids.tolist()]
    assert names == ["plasma cell", "other thing", "unclassified"]
    assert [c.color for c in found.scheme.classes] == [(255, 0, 16), (1, 2, 3)]
    np.testing.assert_array_equal(found.scores, np.array([0.25, np.nan, np.nan], np.float32))


def test_annotations_without_a_mask_are_left_out_and_noted():
    found = read_coco(
        one_image({"segmentation": []}, {}, {"segmentation": [SQUARE]}, {"segmentation": [[1, 2]]}),
        "a",
    )
    assert found.ids.tolist() == [3]
    assert any("3 outlines without an area" in note for note in found.notes)


def test_the_image_that_has_annotations_is_taken_of_several():
    value = one_image({"segmentation": [SQUARE]})
    value["images"].insert(0, {"id": 1, "file_name": "b.png", "width": 5, "height": 5})
    assert read_coco(value, "a").shape == (10, 20)


def test_annotations_of_several_images_are_refused_by_name():
    value = one_image({"segmentation": [SQUARE]}, {"segmentation": [SQUARE], "image_id": 1})
    value["images"].append({"id": 1, "file_name": "b.png"})
    with pytest.raises(AnnotationError, match=r"a\.json: .* 2 images \('a.png', 'b.png'\)"):
        read_coco(value, "a.json")


@pytest.mark.parametrize(
    ("segmentation", "what"),
    [
        ({"size": [10, 20], "counts": "~~"}, "RLE of annotation 2 has a letter"),
        ({"size": [10, 20], "counts": [0, 201]}, "RLE of annotation 2 has a run of 201"),
        ({"size": [10, 20], "counts": [0, -1]}, "counts of annotation 2"),
        ({"size": [10, 20], "counts": [1.5]}, "counts of annotation 2"),
        ({"size": [10, 20]}, "counts of annotation 2"),
        ({"size": [10, 21], "counts": "04"}, r"size \[10, 21\], its image \[10, 20\]"),
        ({"size": [10**9, 10**9], "counts": [0, 10**9]}, "annotation 2 has the size"),
        ([[1, 2, 3]], "segmentation of annotation 2"),
        ([["a", "b"]], "segmentation of annotation 2"),
        ([[1, 2, None, 4, 5, 6]], "annotation 2 has a coordinate that is no number"),
        ([[0, 0, 1e30, 0, 1, 1]], "coordinate 1e"),
        ("polygon", "segmentation of annotation 2"),
    ],
)
def test_a_mask_that_cannot_be_is_named(segmentation, what, tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(
        orjson.dumps(one_image({"segmentation": [SQUARE]}, {"segmentation": segmentation}))
    )
    with pytest.raises(AnnotationError, match=what):
        read_annotations(path)


def test_a_polygon_of_a_whole_region_is_left_out_before_it_is_drawn():
    region = [0, 0, 1e7, 0, 1e7, 1e7, 0, 1e7]
    found = read_coco(
        one_image({"segmentation": [region]}, {"segmentation": {"size": [10, 20], "counts": "14"}}),
        "a",
    )
    assert found.ids.tolist() == [2]
    assert any("regions and no nuclei" in note for note in found.notes)


def test_simplified_polygons_have_fewer_corners(field, tmp_path):
    corners = []
    for simplify in (False, True):
        write_coco_polygons(tmp_path / "a.json", field, Export(simplify=simplify))
        annotations = opened(tmp_path / "a.json").dataset["annotations"]
        corners.append(sum(len(ring) // 2 for a in annotations for ring in a["segmentation"]))
        assert len(read_annotations(tmp_path / "a.json")) == len(field)
    assert corners[1] < corners[0] / 2
