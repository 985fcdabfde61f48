from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_nucleus.errors import AnnotationError, LabelsError
from napari_nucleus.io.images import open_image
from napari_nucleus.io.labels import provenance_in, read_labels, write_labels


@pytest.mark.parametrize("mpp", [0.25, 0.2498, 0.499, 1 / 3, 2.0])
def test_labels_and_pixel_size_come_back(tmp_path, labels, mpp):
    path = tmp_path / "a.tif"
    write_labels(path, labels, mpp)
    found = read_labels(path, labels.shape)
    np.testing.assert_array_equal(found.labels, labels)
    assert found.mpp == pytest.approx(mpp, rel=1e-6)
    assert open_image(path).mpp == pytest.approx(mpp, rel=1e-6)


def test_the_file_is_what_other_programs_expect(tmp_path, labels):
    path = tmp_path / "a.tif"
    write_labels(path, labels, 0.5, {"model": "nano", "by": "Zoë"})
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        assert page.dtype == np.uint32
        assert page.is_tiled
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert page.resolution == pytest.approx((20_000, 20_000))
        assert page.resolutionunit == 3
        assert json.loads(page.description) == {"model": "nano", "by": "Zoë"}
        assert str(tmp_path) not in str(page.tags)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), labels)


def test_an_unknown_pixel_size_stays_unknown(tmp_path, labels):
    write_labels(tmp_path / "a.tif", labels)
    assert read_labels(tmp_path / "a.tif").mpp is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint32, np.float32])
def test_tiff_labels_of_any_type_are_read(tmp_path, dtype):
    labels = (np.arange(12).reshape(3, 4) % 5).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", labels[None], photometric="minisblack")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.tif").labels, labels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_labels_are_read(tmp_path, dtype):
    labels = (np.arange(12).reshape(3, 4) * (9 if dtype == np.uint8 else 900)).astype(dtype)
    Image.fromarray(labels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png").labels, labels)


def test_indices_of_a_palette_png_are_the_ids(tmp_path):
    labels = np.array([[0, 1], [2, 3]], np.uint8)
    picture = Image.fromarray(labels, mode="L").convert("P")
    picture.putdata(labels.ravel().tolist())
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png").labels, labels)


def test_npy_labels_are_read(tmp_path, labels):
    np.save(tmp_path / "a.npy", labels.astype(np.int64))
    np.testing.assert_array_equal(read_labels(tmp_path / "a.npy").labels, labels)


def test_the_content_decides_not_the_suffix(tmp_path, labels):
    write_labels(tmp_path / "a.png", labels)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png").labels, labels)


def save_npy(array):
    return lambda path: np.save(path, array, allow_pickle=True)


def half_of(array):
    def write(path):
        tifffile.imwrite(path, array, compression="deflate")
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return write


NOISE = np.random.default_rng(0).integers(0, 99, (64, 64)).astype(np.uint16)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.write_bytes(b"hello, world"), "no label map that can be read"),
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "directory"),
        (save_npy(np.full((2, 2), -1)), "negative id -1"),
        (save_npy(np.array([[0.5]])), "0.5 is not a whole number"),
        (save_npy(np.array([[np.nan]])), "NaN"),
        (save_npy(np.zeros((2, 2, 3), int)), r"2 dimensions.*\(2, 2, 3\)"),
        (save_npy(np.zeros((0, 4), int)), "no pixels"),
        (save_npy(np.array([[object()]])), "damaged or cannot be read"),
        (lambda path: Image.new("RGB", (4, 4)).save(path, "PNG"), r"\(4, 4, 3\)"),
        (half_of(NOISE), "damaged or cannot be read"),
        (lambda path: path.write_bytes(b"\x93NUMPY\x01\x00v"), "damaged or cannot be read"),
        (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 9), "damaged"),
        (lambda path: path.write_bytes(b"II*\0" + b"\0" * 9), "damaged"),
    ],
)
def test_what_is_no_label_map_is_refused_by_name(tmp_path, write, message):
    path = tmp_path / "mask.npy"
    write(path)
    with pytest.raises(LabelsError, match=f"^mask.npy: .*{message}"):
        read_labels(path)


def test_labels_of_another_size_than_the_image_are_refused(tmp_path, labels):
    write_labels(tmp_path / "a.tif", labels)
    with pytest.raises(LabelsError, match="60 x 40 pixels, the image 120 x 80"):
        read_labels(tmp_path / "a.tif", (80, 120))


def test_writing_what_is_no_label_map_is_refused(tmp_path):
    with pytest.raises(LabelsError, match=r"a\.tif: negative id -1"):
        write_labels(tmp_path / "a.tif", np.full((4, 4), -1))
    assert not list(tmp_path.iterdir())


def test_a_fault_of_the_disk_leaves_the_file_as_it_was(
    tmp_path, labels, unwritable, assert_untouched
):
    with pytest.raises(AnnotationError, match=f"a.tif could not be written .{unwritable}"):
        write_labels(tmp_path / "out" / "a.tif", labels, 0.25)
    assert_untouched()


def test_what_made_a_label_map_is_read_back_from_it(tmp_path):
    file = tmp_path / "a.tif"
    write_labels(file, np.ones((4, 5), np.int32), 0.25, {"model": "nano", "mpp": 0.25})
    assert provenance_in(file) == {"model": "nano", "mpp": 0.25}
    write_labels(file, np.ones((4, 5), np.int32))
    assert provenance_in(file) == {}
    np.save(tmp_path / "a.npy", np.ones((4, 5), np.int32))
    assert provenance_in(tmp_path / "a.npy") == {}
    with pytest.raises(LabelsError, match=r"none\.tif"):
        provenance_in(tmp_path / "none.tif")
