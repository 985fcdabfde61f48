"""PanNuke's arrays as programs that train on them load them, and those of others read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest

from benchmarks.fields import nuclei_field
from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.image import ArraySource
from napari_nucleus.core.progress import Cancel
from napari_nucleus.errors import AnnotationError, CancelledError, LabelsError
from napari_nucleus.io.formats import read_annotations
from napari_nucleus.io.formats.base import Export
from napari_nucleus.io.formats.pannuke import read_pannuke, write_pannuke
from napari_nucleus.io.results import SegmentationResult, result_of_labels

SIZE = 600


@pytest.fixture(scope="module")
def field() -> SegmentationResult:
    labels = nuclei_field(SIZE)
    classes = {int(i): int(i) % 5 + 1 for i in np.unique(labels) if i}
    return result_of_labels(labels, PANNUKE, classes, {1: 0.5}, mpp=0.25)


@pytest.fixture(scope="module")
def picture() -> ArraySource:
    rng = np.random.default_rng(0)
    return ArraySource(rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8))


@pytest.fixture
def folder(field, picture, tmp_path) -> Path:
    write_pannuke(tmp_path / "a_pannuke", field, Export(source=picture))
    return tmp_path / "a_pannuke"


def test_arrays_have_the_shapes_of_pannuke(folder):
    assert np.load(folder / "masks.npy").shape == (9, 256, 256, 6)
    assert np.load(folder / "images.npy").shape == (9, 256, 256, 3)
    assert np.load(folder / "types.npy").shape == (9,)
    assert sorted(p.name for p in folder.iterdir()) == [
        "images.npy",
        "index.json",
        "masks.npy",
        "types.npy",
    ]


def test_tiles_hold_the_ids_in_the_plane_of_their_class_and_the_image_with_glass_around(
    folder, field, picture
):
    masks, images = np.load(folder / "masks.npy"), np.load(folder / "images.npy")
    corners = orjson.loads((folder / "index.json").read_bytes())["tiles"]
    whole = np.pad(field.labels, ((0, 168), (0, 168)))
    shown = np.pad(picture.array, ((0, 168), (0, 168), (0, 0)), constant_values=255)
    for (y, x), tile, image in zip(corners, masks, images, strict=True):
        labels = whole[y : y + 256, x : x + 256]
        np.testing.assert_array_equal(tile[..., :5].sum(axis=2), labels)
        np.testing.assert_array_equal(tile[..., 5], labels == 0)
        np.testing.assert_array_equal(image, shown[y : y + 256, x : x + 256])
        for plane in range(5):
            ids = np.unique(tile[..., plane])
            assert set(ids[ids > 0] % 5) <= {plane}


def test_nuclei_that_tiles_cut_come_back_whole(folder, field):
    found = read_pannuke(folder)
    assert found.ids_stated
    order = np.argsort(found.ids)
    assert found.ids[order].tolist() == field.ids.tolist()
    assert found.class_ids[order].tolist() == field.class_ids.tolist()
    np.testing.assert_array_equal(found.to_result().labels, field.labels)
    assert found.scheme == replace(PANNUKE, name="a_pannuke")


def test_without_an_image_there_is_no_array_of_images(field, tmp_path):
    write_pannuke(tmp_path / "a_pannuke", field)
    assert not (tmp_path / "a_pannuke" / "images.npy").exists()


def test_an_image_of_another_size_is_refused(field, tmp_path):
    source = ArraySource(np.zeros((5, 5, 3), np.uint8))
    with pytest.raises(LabelsError, match="600 x 600 pixels, the image 5 x 5"):
        write_pannuke(tmp_path / "a_pannuke", field, Export(source=source))
    assert not list(tmp_path.iterdir())


def test_only_tiles_that_nuclei_reach_are_written(tmp_path):
    labels = np.zeros((300, 2000), np.int32)
    labels[100:110, 250:260] = 4
    labels[290:, 1990:] = 7
    write_pannuke(tmp_path / "a_pannuke", result_of_labels(labels, PANNUKE))
    index = orjson.loads((tmp_path / "a_pannuke" / "index.json").read_bytes())
    assert index["tiles"] == [[0, 0], [0, 256], [256, 1792]]
    np.testing.assert_array_equal(read_pannuke(tmp_path / "a_pannuke").to_result().labels, labels)


def test_nuclei_of_no_class_of_pannuke_are_in_no_plane_and_not_lost(result, labels, tmp_path):
    write_pannuke(tmp_path / "a_pannuke", result)
    masks = np.load(tmp_path / "a_pannuke" / "masks.npy")[0, :40, :60]
    assert np.unique(masks[..., :5]).tolist() == [0, 3, 4, 9]
    np.testing.assert_array_equal(masks[..., 5], labels == 0)
    others = np.load(tmp_path / "a_pannuke" / "others.npy")[0, :40, :60]
    assert np.unique(others).tolist() == [0, 1, 12, 70_000]


def test_who_moves_a_nucleus_to_another_plane_gives_it_another_class(result, tmp_path):
    write_pannuke(tmp_path / "a_pannuke", result)
    masks = np.load(tmp_path / "a_pannuke" / "masks.npy")
    dead, epithelial = masks[..., 3].copy(), masks[..., 4]
    assert set(np.unique(dead)) == {0, 4}
    epithelial[:], masks[..., 3] = dead, 0
    np.save(tmp_path / "a_pannuke" / "masks.npy", masks)
    found = read_pannuke(tmp_path / "a_pannuke")
    names = {i: found.scheme.name_of(c) for i, c in zip(found.ids, found.class_ids, strict=True)}
    assert names[4] == "epithelial"
    assert names[1] == "Tumör, fest"


def test_a_cancelled_export_leaves_nothing(field, tmp_path):
    cancel = Cancel()
    cancel.set()
    with pytest.raises(CancelledError):
        write_pannuke(tmp_path / "a_pannuke", field, Export(cancel=cancel))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(1, 256, 256, 6), (256, 256, 6), (1, 64, 80, 5)])
def test_masks_of_one_tile_of_pannuke_itself_are_read(shape, tmp_path):
    masks = np.zeros(shape)
    tile = masks.reshape(shape[-3:])
    tile[1:4, 2:4, 1], tile[10:12, 10:20, 4] = 3, 8
    np.save(tmp_path / "masks.npy", masks)
    found = read_annotations(tmp_path / "masks.npy")
    assert found.ids.tolist() == [3, 8]
    assert found.scheme == PANNUKE
    assert found.class_ids.tolist() == [2, 5]
    assert found.nuclei.areas.tolist() == [6, 20]
    assert found.shape == shape[-3:-1]


def test_one_id_in_two_planes_is_two_nuclei(tmp_path):
    masks = np.zeros((1, 256, 256, 6))
    masks[0, :3, :3, 0] = masks[0, 9:12, :3, 1] = 1
    np.save(tmp_path / "masks.npy", masks)
    found = read_annotations(tmp_path / "masks.npy")
    assert found.class_ids.tolist() == [1, 2]
    assert not found.ids_stated
    assert any("numbered anew" in note for note in found.notes)


def test_tiles_of_separate_images_are_refused_with_what_to_do(tmp_path):
    np.save(tmp_path / "masks.npy", np.zeros((3, 256, 256, 6), np.int32))
    with pytest.raises(AnnotationError, match=r"3 tiles of separate images.*masks\[0\]"):
        read_annotations(tmp_path / "masks.npy")


def test_a_label_map_that_is_called_masks_is_read_as_one(labels, tmp_path):
    np.save(tmp_path / "some_masks.npy", labels)
    assert len(read_annotations(tmp_path / "some_masks.npy")) == 6


@pytest.mark.parametrize(
    "masks",
    [
        np.zeros((1, 256, 256, 3)),
        np.zeros((2, 1, 256, 256, 6)),
        np.zeros((1, 4, 4, 6), complex),
        np.full((1, 4, 4, 6), np.nan),
        np.full((1, 4, 4, 6), -1),
    ],
)
def test_arrays_that_are_no_masks_are_refused(masks, tmp_path):
    np.save(tmp_path / "masks.npy", masks)
    with pytest.raises((AnnotationError, LabelsError), match=r"masks\.npy"):
        read_annotations(tmp_path / "masks.npy")


@pytest.mark.parametrize(
    "tiles", [[], [[0, 0]], [[0, -1]] * 9, [[0, "x"]] * 9, [[0, 600]] * 9, [7] * 9]
)
def test_an_index_that_does_not_say_where_tiles_lie_is_refused(folder, tiles):
    index = orjson.loads((folder / "index.json").read_bytes())
    (folder / "index.json").write_bytes(orjson.dumps({**index, "tiles": tiles}))
    with pytest.raises(AnnotationError, match=r"index\.json does not say where"):
        read_pannuke(folder)


def test_a_damaged_index_is_refused_with_the_name_of_its_folder(folder):
    (folder / "index.json").write_bytes(b"{")
    with pytest.raises(AnnotationError, match=r"a_pannuke: index\.json: is no JSON"):
        read_pannuke(folder)


def test_a_folder_without_masks_is_refused(folder):
    (folder / "masks.npy").unlink()
    with pytest.raises(AnnotationError, match=r"has no file 'masks\.npy'"):
        read_annotations(folder)
