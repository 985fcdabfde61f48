from __future__ import annotations

import json
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.errors import AnnotationError, LabelsError
from napari_nucleus.io import labels as labels_module
from napari_nucleus.io.formats.base import Export
from napari_nucleus.io.formats.label_tiff import read_label_file, write_label_tiff
from napari_nucleus.io.formats.ome_tiff import write_ome_tiff
from napari_nucleus.io.images import open_image
from napari_nucleus.io.label_planes import LabelPlane
from napari_nucleus.io.labels import open_labels, provenance_in, read_labels, write_labels
from napari_nucleus.io.results import result_of_labels


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


DTYPES = [
    "i1",
    "u1",
    "<i2",
    ">i2",
    "<u2",
    ">u2",
    "<i4",
    ">i4",
    "u4",
    "i8",
    ">u8",
    "f2",
    "f4",
    ">f8",
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("suffix", ["tif", "npy"])
def test_labels_of_any_type_are_read(tmp_path, dtype, suffix):
    labels = (np.arange(12).reshape(3, 4) % 5).astype(dtype)
    path = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, labels)
    else:
        byteorder = ">" if dtype.startswith(">") else "<"
        tifffile.imwrite(path, labels[None], photometric="minisblack", byteorder=byteorder)
    np.testing.assert_array_equal(read_labels(path).labels, labels)
    found = read_label_file(path)
    np.testing.assert_array_equal(found.to_result().labels, labels)
    assert found.ids.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("suffix", ["tif", "npy", "png"])
def test_parts_of_a_mask_of_two_values_are_nuclei_each(tmp_path, suffix):
    mask = np.zeros((9, 9), bool)
    mask[1:3, 1:3] = mask[5:8, 5:8] = True
    path = tmp_path / f"a.{suffix}"
    if suffix == "tif":
        tifffile.imwrite(path, mask)
    elif suffix == "npy":
        np.save(path, mask)
    else:
        Image.fromarray(mask).save(path)
    assert read_label_file(path).nuclei.areas.tolist() == [4, 9]


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


def two_pictures(path):
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(np.zeros((9, 8), np.uint16))
        tiff.write(np.zeros((7, 6), np.uint16))


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
        (save_npy(np.array([[1e30]])), r"id 1e\+30 is above 2147483647"),
        (save_npy(np.array([[2**31]])), "id 2147483648 is above 2147483647"),
        (save_npy(np.array([[2**63]], np.uint64)), "id 9223372036854775808 is above"),
        (save_npy(np.zeros((2, 2), complex)), "complex128 cannot hold"),
        (save_npy(np.zeros((2, 2, 3), int)), r"2 dimensions.*\(2, 2, 3\)"),
        (lambda path: tifffile.imwrite(path, np.zeros((5, 9, 8), np.uint16)), "holds 5 planes"),
        (lambda path: tifffile.imwrite(path, np.zeros((9, 8, 3), np.uint8)), r"\(9, 8, 3\)"),
        (lambda path: two_pictures(path), r"2 pictures \(\(9, 8\), \(7, 6\)"),
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


@pytest.mark.parametrize("write", [write_label_tiff, write_ome_tiff])
def test_large_tiled_files_are_read_in_pieces_and_give_the_same(
    tmp_path, result, write, monkeypatch
):
    path = tmp_path / "a.ome.tif"
    write(path, result, Export())
    whole = read_label_file(path)
    monkeypatch.setattr(labels_module, "HELD_AT_ONCE", 0)
    monkeypatch.setattr("napari_nucleus.core.label_runs.STRIP_PIXELS", 7 * 60)
    monkeypatch.setattr("napari_nucleus.io.annotation_file.MASK_BLOCK", 16)
    with open_labels(path) as opened:
        assert isinstance(opened.array, LabelPlane)
    found = read_label_file(path)
    np.testing.assert_array_equal(found.to_result().labels, result.labels)
    for name in ("ids", "class_ids", "scores"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))
    assert found.shape == result.shape


@pytest.mark.parametrize("bad", [-4, 2**31])
def test_ids_that_cannot_be_are_refused_in_pieces_too(tmp_path, bad, monkeypatch):
    labels = np.zeros((40, 60), np.int64)
    labels[30, 50] = bad
    tifffile.imwrite(tmp_path / "a.tif", labels, tile=(16, 16))
    monkeypatch.setattr(labels_module, "HELD_AT_ONCE", 0)
    with pytest.raises(LabelsError, match=f"a.tif: .*id {bad}"):
        read_label_file(tmp_path / "a.tif")


def test_labels_too_large_for_nuclei_are_left_out_and_told(tmp_path):
    labels = np.zeros((10, 5000), np.uint8)
    labels[2, :] = 1
    labels[5:8, 40:43] = 2
    np.save(tmp_path / "a.npy", labels)
    found = read_label_file(tmp_path / "a.npy")
    assert found.ids.tolist() == [2]
    assert len(found.notes) == 1
    assert "larger than 4,096 pixels" in found.notes[0]


def with_tag(path, code, value):
    """Change a number in the header of a TIFF that is there."""
    with tifffile.TiffFile(path) as tiff:
        tag = tiff.pages.first.tags[code]
        place, kind = tag.valueoffset, {3: "<H", 4: "<I"}[int(tag.dtype)]
    with open(path, "r+b") as file:
        file.seek(place)
        file.write(struct.pack(kind, value))


@pytest.mark.parametrize(
    ("height", "tile", "message"),
    [
        (2**30, 16, "cannot be true"),
        (65_000, 16, "cannot be true"),
        (65_000, 512, "4,375 pieces of pixels where its header states 16,129"),
        (64, 2**14, "cannot be true"),
    ],
)
def test_a_header_that_claims_too_much_is_refused_before_it_is_read(
    tmp_path, height, tile, message
):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((70_000, 16), np.uint16), tile=(16, 16))
    for code, value in ((257, height), (256, 65_000), (322, tile), (323, tile)):
        with_tag(path, code, value)
    with pytest.raises(LabelsError, match=f"a.tif: .*{message}"):
        read_labels(path)


def test_more_than_can_be_held_is_refused_where_all_is_wanted_at_once(
    tmp_path, labels, monkeypatch
):
    write_labels(tmp_path / "a.tif", labels)
    np.save(tmp_path / "a.npy", labels)
    monkeypatch.setattr(labels_module, "MOST_HELD", labels.nbytes - 1)
    for name in ("a.tif", "a.npy"):
        with pytest.raises(LabelsError, match=f"{name}: .*too many to be read at once"):
            read_labels(tmp_path / name)


def test_classes_and_scores_stand_beside_the_pixels_as_plain_json(tmp_path, result):
    write_label_tiff(tmp_path / "a.tif", result)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        table = json.loads(tiff.pages.first.description)["nuclei"]
    assert table["ids"] == result.ids.tolist()
    assert table["classes"] == result.class_ids.tolist()
    assert table["scores"] == pytest.approx([0.91, 0.5, None, None, 1.0, None])
    assert [c["name"] for c in table["scheme"]["classes"]] == list(result.scheme.names)
    assert provenance_in(tmp_path / "a.tif") == result.provenance


@pytest.mark.parametrize(
    "table",
    [
        {"ids": [1, 2], "classes": [1], "scores": [None, None]},
        {"ids": [1], "classes": [[]], "scores": [None]},
        {"ids": ["x"], "classes": [1], "scores": [None]},
        {"ids": 3, "classes": 3, "scores": 3},
        {"ids": [1], "classes": [1], "scores": [None], "scheme": {"classes": [{}]}},
    ],
)
def test_a_damaged_table_costs_the_classes_but_not_the_nuclei(tmp_path, table):
    path = tmp_path / "a.tif"
    write_label_tiff(path, result_of_labels(np.eye(3, dtype=int), PANNUKE, {1: 1}))
    with tifffile.TiffFile(path) as tiff:
        scheme = json.loads(tiff.pages.first.description)["nuclei"]["scheme"]
    text = json.dumps({"nuclei": {"scheme": scheme, **table}})
    tifffile.imwrite(path, np.eye(3, dtype=np.uint16), description=text, metadata=None)
    found = read_label_file(path)
    assert found.ids.tolist() == [1]
    assert not found.class_ids.any()
    assert len(found.notes) == 1
    assert "a.tif: its classes cannot be read" in found.notes[0]


def test_scores_outside_of_0_to_1_and_ids_that_are_not_there_do_no_harm(tmp_path):
    path = tmp_path / "a.tif"
    write_label_tiff(path, result_of_labels(np.eye(3, dtype=int), PANNUKE, {1: 1}))
    with tifffile.TiffFile(path) as tiff:
        value = json.loads(tiff.pages.first.description)
    value["nuclei"] |= {"ids": [1, 99], "classes": [1, 1], "scores": [7.0, 0.5]}
    description = json.dumps(value)
    tifffile.imwrite(path, np.eye(3, dtype=np.uint16), description=description, metadata=None)
    found = read_label_file(path)
    assert found.ids.tolist() == [1]
    assert found.scores.tolist() == [1.0]
    assert isinstance(found.nuclei, Nuclei)
