"""OME-Zarr out: what its readers see. What is read from files of others is in
`test_io_ome_zarr_in`."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

# The models have to come first: imported by ngio, those of 0.4 check against arrays of zarr 3.
import ome_zarr_models  # isort: skip
import ngio
import numpy as np
import pandas as pd
import pytest
import zarr
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.image import ArraySource
from napari_nucleus.core.label_runs import label_table
from napari_nucleus.core.progress import Cancel
from napari_nucleus.errors import AnnotationError, CancelledError, LabelsError
from napari_nucleus.io.formats import ome_zarr
from napari_nucleus.io.formats.base import Export
from napari_nucleus.io.formats.ome_tiff import pyramid_shapes
from napari_nucleus.io.formats.ome_zarr import OME_ZARR, OME_ZARR_04, write_ome_zarr
from napari_nucleus.io.results import SegmentationResult, result_of_labels

pytestmark = pytest.mark.filterwarnings("ignore")
FORMATS = pytest.mark.parametrize("one", [OME_ZARR, OME_ZARR_04], ids=["0.5", "0.4"])
SHAPE = (1101, 2203)


@pytest.fixture
def large() -> SegmentationResult:
    """Nuclei over several chunks and levels, in an image of no round size."""
    labels = np.zeros(SHAPE, np.int32)
    labels[3::50, 4::50] = np.arange(22 * 44).reshape(22, 44) + 1
    labels[500:530, 1000:1050] = 70_000
    return result_of_labels(labels, PANNUKE, {1: 2, 70_000: 1}, {1: 0.25}, 0.25)


@pytest.fixture
def picture() -> ArraySource:
    rng = np.random.default_rng(0)
    return ArraySource(rng.integers(0, 256, (*SHAPE, 3)).astype(np.uint8))


def same_nuclei(pixels: np.ndarray, result: SegmentationResult) -> None:
    """Say that an array has the ids of a result, each with the same area at the same place."""
    found = label_table(np.asarray(pixels))
    assert found.ids.tolist() == result.ids.tolist()
    assert found.areas.tolist() == result.table.areas.tolist()
    np.testing.assert_array_equal(pixels, result.labels)


@FORMATS
class TestWithImage:
    @pytest.fixture
    def folder(self, one, large, picture, tmp_path) -> Path:
        path = tmp_path / "case.zarr"
        one.write(path, large, Export(stem="case", source=picture))
        return path

    def test_ome_zarr_py_sees_image_and_labels(self, one, folder, large, picture):
        image, _, labels = Reader(parse_url(str(folder)))()
        assert [level.shape[1:] for level in image.data] == pyramid_shapes(SHAPE)
        np.testing.assert_array_equal(image.data[0], np.moveaxis(picture.array, -1, 0))
        assert image.metadata["channel_names"] == ["red", "green", "blue"]
        same_nuclei(labels.data[0].compute(), large)
        for k, level in enumerate(labels.data):
            np.testing.assert_array_equal(level, large.labels[:: 2**k, :: 2**k])
        assert labels.metadata["coordinateTransformations"][1][0]["scale"] == [0.5, 0.5]
        colours = labels.metadata["color"]
        assert len(colours) == len(large)
        assert [round(255 * c) for c in colours[70_000]] == [*PANNUKE.color_of(1), 255]

    def test_the_models_of_the_specification_accept_it(self, one, folder, large):
        found: Any = ome_zarr_models.open_ome_zarr(zarr.open_group(folder, mode="r"))
        assert found.ome_zarr_version == ("0.4" if one is OME_ZARR_04 else "0.5")
        assert type(found).__name__ == "Image"
        said = found.labels.attributes
        assert getattr(said, "ome", said).labels == ["nuclei"]
        label = ome_zarr_models.open_ome_zarr(zarr.open_group(folder / "labels/nuclei", mode="r"))
        assert type(label).__name__ == "ImageLabel"

    def test_ngio_lists_labels_and_table_and_leaves_them_there(self, one, folder, large):
        for mode in ("r", "r+", "r"):
            opened = ngio.open_ome_zarr_container(folder, mode=mode)
            assert opened.list_labels() == ["nuclei"]
            label = opened.get_label("nuclei")
            assert label.pixel_size.x == label.pixel_size.y == 0.25
            same_nuclei(label.get_as_numpy(), large)
        table: Any = opened.get_table("nuclei")
        assert table.table_type() == "feature_table"
        assert table.reference_label == "nuclei"
        assert table.dataframe.index.tolist() == large.ids.tolist()
        assert table.dataframe["class"].tolist() == large.class_names
        np.testing.assert_array_equal(table.dataframe["score"], large.scores)
        assert len(one.read(folder)) == len(large)

    def test_levels_of_the_image_are_means(self, one, folder, picture):
        small = np.asarray(zarr.open_array(folder / "1", mode="r")[:])
        squares = picture.array[:1100, :2202].astype(float).reshape(550, 2, 1101, 2, 3)
        means = np.moveaxis(squares.mean(axis=(1, 3)), -1, 0)
        assert np.abs(small[:, :550, :1101] - means).max() <= 0.5
        last = picture.array[1100, :2202].astype(float).reshape(1101, 2, 3).mean(axis=1)
        assert np.abs(small[:, 550, :1101] - last.T).max() <= 0.5


@FORMATS
def test_without_an_image_the_labels_stand_alone(one, large, tmp_path):
    path = tmp_path / "case.zarr"
    one.write(path, large, Export(stem="case"))
    (labels,) = Reader(parse_url(str(path)))()
    same_nuclei(labels.data[0].compute(), large)
    assert type(ome_zarr_models.open_ome_zarr(zarr.open_group(path))).__name__ == "ImageLabel"
    same_nuclei(ngio.open_label(path).get_as_numpy(), large)
    table = pd.read_parquet(path / "tables" / "nuclei" / "table.parquet")
    assert table["class"].tolist() == large.class_names


@FORMATS
def test_an_image_that_is_too_large_is_not_copied(one, large, picture, tmp_path, monkeypatch):
    monkeypatch.setattr(ome_zarr, "MOST_COPIED", SHAPE[0] * SHAPE[1] - 1)
    one.write(tmp_path / "a.zarr", large, Export(source=picture))
    assert zarr.open_array(tmp_path / "a.zarr" / "0", mode="r").shape == SHAPE


def test_many_nuclei_have_no_colours_of_their_own(large, tmp_path, monkeypatch):
    monkeypatch.setattr(ome_zarr, "MOST_COLOURED", len(large) - 1)
    write_ome_zarr(tmp_path / "a.zarr", large)
    said: Any = zarr.open_group(tmp_path / "a.zarr", mode="r").attrs["ome"]
    assert "colors" not in said["image-label"]


@FORMATS
def test_labels_are_never_read_whole_and_written_chunk_by_chunk(one, large, tmp_path):
    boxes = []

    class Counted(SegmentationResult):
        def read(self, box):
            boxes.append(box)
            return super().read(box)

    counted = Counted(**{k: getattr(large, k) for k in large.__dataclass_fields__})
    one.write(tmp_path / "a.zarr", counted, Export())
    assert all(y % 1024 == x % 1024 == 0 for y, x, _, _ in boxes)
    assert all(c - a <= 1024 and d - b <= 1024 for a, b, c, d in boxes)
    assert len(boxes) == 6


@FORMATS
def test_it_tells_how_far_it_is_and_can_be_cancelled(one, large, picture, tmp_path):
    path, told = tmp_path / "a.zarr", []
    one.write(path, large, Export(source=picture, progress=told.append))
    assert told[-1].fraction == 1
    assert len(told) == told[-1].total > 10
    before = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*"))
    cancel = Cancel()
    with pytest.raises(CancelledError):
        one.write(path, large, Export(progress=lambda _: cancel.set(), cancel=cancel))
    assert sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*")) == before


def test_an_image_of_another_size_is_refused(large, tmp_path):
    source = ArraySource(np.zeros((30, 50, 3), np.uint8))
    with pytest.raises(LabelsError, match="2203 x 1101 pixels, the image 50 x 30"):
        write_ome_zarr(tmp_path / "a.zarr", large, Export(source=source))
    assert not list(tmp_path.iterdir())


@FORMATS
@pytest.mark.parametrize("moment", ["while it is written", "when it takes its place"])
def test_a_fault_of_the_disk_leaves_the_folder_as_it_was(
    one, large, result, tmp_path, monkeypatch, moment
):
    path = tmp_path / "a.zarr"
    one.write(path, large, Export())

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if moment == "while it is written":
        monkeypatch.setattr(zarr.Array, "__setitem__", full)
    else:
        monkeypatch.setattr("napari_nucleus.io.atomic.replace_whole", full)
    with pytest.raises(AnnotationError, match=r"a\.zarr could not be written .No space left"):
        one.write(path, result, Export())
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]
    assert len(one.read(path)) == len(large)
