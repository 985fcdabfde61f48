"""Cellpose's files as numpy loads them, those of Cellpose read, and hostile ones refused unrun."""

from __future__ import annotations

import contextlib
import io
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.segmentation import find_boundaries

from benchmarks.fields import nuclei_field
from napari_nucleus.errors import AnnotationError, NucleusError
from napari_nucleus.io.formats import read_annotations
from napari_nucleus.io.formats.base import Export
from napari_nucleus.io.formats.cellpose import write_cellpose
from napari_nucleus.io.formats.numpy_pickles import load_dict
from napari_nucleus.io.results import result_of_labels


class Marker:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


class Calling:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


def saved(folder: Path, value: Any) -> Path:
    np.save(folder / "a_seg.npy", value, allow_pickle=True)
    return folder / "a_seg.npy"


def with_pickle(folder: Path, data: bytes) -> Path:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|O", "fortran_order": False, "shape": ()}
    )
    (folder / "a_seg.npy").write_bytes(header.getvalue() + data)
    return folder / "a_seg.npy"


@pytest.fixture
def masks() -> np.ndarray:
    masks = np.zeros((8, 9), np.uint16)
    masks[1:3, 1:4], masks[5:7, 5:8] = 1, 2
    return masks


@pytest.fixture
def of_cellpose(masks) -> dict[str, Any]:
    """What Cellpose itself writes."""
    flows = [np.zeros((1, 8, 9, 3), np.uint8), np.zeros((1, 8, 9), np.uint8), [], []]
    return {
        "outlines": masks * find_boundaries(masks, mode="inner"),
        "masks": masks,
        "chan_choose": [0, 0],
        "ismanual": np.zeros(2, bool),
        "filename": "/home/someone/a.png",
        "flows": flows,
        "diameter": np.nan,
        "est_diam": np.float64(3.5),
        "normalize_params": {"lowhigh": None, "percentile": [1.0, 99.0]},
        "manual_changes": [["added", [1, np.array([1, 2])]]],
    }


def test_numpy_loads_what_cellpose_saves(result, labels, tmp_path):
    write_cellpose(tmp_path / "a_seg.npy", result, Export(stem="a"))
    value = np.load(tmp_path / "a_seg.npy", allow_pickle=True).item()
    masks = value["masks"]
    assert masks.dtype == np.uint16
    for number, i in enumerate([1, 3, 4, 9, 12, 70_000], 1):
        np.testing.assert_array_equal(masks == number, labels == i)
    assert len(value["ismanual"]) == masks.max() == len(value["colors"])
    np.testing.assert_array_equal(value["outlines"], masks * find_boundaries(masks, mode="inner"))
    assert value["outlines"].dtype == masks.dtype
    assert value["filename"] == "a"
    assert value["flows"] == []
    assert value["chan_choose"] == [0, 0]
    assert value["colors"][:2].tolist() == [[230, 85, 13], [0, 200, 83]]


def test_more_nuclei_than_16_bits_count_are_saved_with_32(result, tmp_path):
    labels = np.arange(1, 70_001, dtype=np.int32).reshape(200, 350)
    write_cellpose(tmp_path / "a_seg.npy", result_of_labels(labels, result.scheme))
    assert load_dict(tmp_path / "a_seg.npy")["masks"].dtype == np.uint32
    found = read_annotations(tmp_path / "a_seg.npy")
    assert found.ids[-1] == 70_000


def test_outlines_of_large_maps_are_those_of_skimage(result, tmp_path):
    labels = nuclei_field(1100)
    write_cellpose(tmp_path / "a_seg.npy", result_of_labels(labels, result.scheme))
    value = load_dict(tmp_path / "a_seg.npy")
    inner = find_boundaries(labels, mode="inner")
    np.testing.assert_array_equal(value["outlines"], value["masks"] * inner)


def test_an_image_that_is_too_large_for_a_file_is_refused(result, tmp_path):
    with pytest.raises(AnnotationError, match=r"a_seg\.npy: 40,000 x 40,000 pixels"):
        write_cellpose(tmp_path / "a_seg.npy", replace(result, shape=(40_000, 40_000)))
    assert not list(tmp_path.iterdir())


def test_a_file_of_cellpose_is_read(of_cellpose, tmp_path):
    found = read_annotations(saved(tmp_path, of_cellpose))
    assert found.ids.tolist() == [1, 2]
    assert found.nuclei.areas.tolist() == [6, 6]
    assert found.shape == (8, 9)
    assert np.isnan(found.scores).all()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", [">u2", "<i4", "f8", "u1"])
def test_arrays_are_read_as_any_pickle_has_them(of_cellpose, tmp_path, protocol, dtype):
    value = {**of_cellpose, "masks": np.asfortranarray(of_cellpose["masks"].astype(dtype))}
    data = pickle.dumps(np.array(value, object), protocol=protocol)
    if protocol == 2:
        # Bytes of that time are made by a function of the codecs, which numpy's files never need.
        with pytest.raises(AnnotationError, match="could run a program"):
            load_dict(with_pickle(tmp_path, data))
        return
    path = with_pickle(tmp_path, data)
    np.testing.assert_array_equal(load_dict(path)["masks"], of_cellpose["masks"])
    assert len(read_annotations(path)) == 2


def test_a_path_in_the_place_of_a_name_is_text(of_cellpose, tmp_path):
    path = saved(tmp_path, {**of_cellpose, "filename": Path("b") / "a.png"})
    assert load_dict(path)["filename"] == "b/a.png"


def test_ids_of_masks_that_were_changed_since_are_left_out_and_noted(result, tmp_path):
    write_cellpose(tmp_path / "a_seg.npy", result)
    value = np.load(tmp_path / "a_seg.npy", allow_pickle=True).item()
    value["masks"][0, 0] = 7
    found = read_annotations(saved(tmp_path, value))
    assert found.ids.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert any("do not fit its masks" in note for note in found.notes)


def test_masks_that_begin_with_minus_one_are_of_old(of_cellpose, masks, tmp_path):
    value = {**of_cellpose, "masks": masks.astype(np.int32) - 1}
    assert read_annotations(saved(tmp_path, value)).ids.tolist() == [1, 2]


def test_a_plain_label_map_of_that_name_is_read_as_one(masks, tmp_path):
    assert len(read_annotations(saved(tmp_path, masks))) == 2


def test_masks_of_several_planes_are_refused(of_cellpose, masks, tmp_path):
    value = {**of_cellpose, "masks": np.stack([masks, masks])}
    with pytest.raises(AnnotationError, match="only single planes"):
        read_annotations(saved(tmp_path, value))


@pytest.mark.parametrize("value", [{}, {"masks": [[1]]}, [1, 2], "text", {"masks": None}])
def test_what_is_no_segmentation_is_refused(value, tmp_path):
    with pytest.raises(AnnotationError, match=r"a_seg\.npy: (has no 'masks'|holds no dict)"):
        read_annotations(with_pickle(tmp_path, pickle.dumps(value)))


def test_a_file_that_would_run_something_is_refused_and_does_not(of_cellpose, tmp_path):
    ran = tmp_path / "ran"
    path = saved(tmp_path, {**of_cellpose, "extra": Marker(ran)})
    with pytest.raises(AnnotationError, match=r"a_seg\.npy: asks for .* could run a program"):
        read_annotations(path)
    assert not ran.exists()


@pytest.mark.parametrize(
    "function", [eval, exec, getattr, __import__, bytearray, open, np.load, np.zeros]
)
def test_functions_are_refused_by_name(function, tmp_path):
    data = pickle.dumps(Calling(function, "1"))
    with pytest.raises(AnnotationError, match="could run a program"):
        load_dict(with_pickle(tmp_path, data))


@pytest.mark.parametrize(
    "data",
    [
        b"r\xff\xff\xff\xffN.",  # remembers number 4294967295
        b"p4294967295\nN.",
        b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b"x.",  # a bytearray of a terabyte
        b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"x.",  # bytes of a terabyte
        b"\x82\x01.",  # an extension
        b"P1\n.",  # a persistent id
        b"(cos\nsystem\n.",
        b"(S'x'\nios\nsystem\n.",
        b"" + b"(" * 100_000,
        b"]" * 3,
        b"",
    ],
)
def test_pickles_made_to_harm_are_refused(data, tmp_path):
    with pytest.raises(AnnotationError, match=r"a_seg\.npy"):
        load_dict(with_pickle(tmp_path, data))


def test_an_array_with_fewer_bytes_than_its_shape_is_refused(of_cellpose, tmp_path):
    data = pickle.dumps(np.array({"masks": np.zeros((8, 9), np.uint16)}, object), protocol=4)
    harmed = data.replace(b"K\x08K\t\x86", b"K\xffK\t\x86")
    assert harmed != data
    with pytest.raises(AnnotationError, match="144 bytes for an array of shape"):
        load_dict(with_pickle(tmp_path, harmed))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_file_is_read_or_refused(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    masks = np.zeros((8, 9), np.uint16)
    masks[1:3, 1:4] = 1
    path = saved(folder, {"masks": masks, "ids": np.array([5]), "outlines": masks})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(128, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with contextlib.suppress(NucleusError):  # anything else would be a fault of the program
        read_annotations(path)
