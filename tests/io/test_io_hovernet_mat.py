"""HoVer-Net's MATLAB files as scipy loads them, and those of others read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from napari_nucleus.errors import AnnotationError, NucleusError
from napari_nucleus.io.formats import read_annotations
from napari_nucleus.io.formats.hovernet_mat import read_hovernet_mat, write_hovernet_mat


@pytest.fixture
def inst_map() -> np.ndarray:
    inst_map = np.zeros((8, 9), np.int32)
    inst_map[1:3, 1:4] = 2
    inst_map[5:7, 5:8] = 5
    return inst_map


def saved(folder: Path, **members: object) -> Path:
    savemat(folder / "a.mat", members)
    return folder / "a.mat"


def test_scipy_loads_what_hovernet_saves(result, labels, tmp_path):
    write_hovernet_mat(tmp_path / "a.mat", result)
    value = loadmat(tmp_path / "a.mat")
    np.testing.assert_array_equal(value["inst_map"], labels)
    assert value["inst_map"].dtype == np.int32
    assert value["inst_uid"].tolist() == [[1], [3], [4], [9], [12], [70_000]]
    assert value["inst_type"].tolist() == [[1], [2], [9], [2], [0], [0]]
    centroids = [np.argwhere(labels == i).mean(axis=0)[::-1] for i in result.ids]
    np.testing.assert_allclose(value["inst_centroid"], centroids)
    np.testing.assert_array_equal(value["type_map"] == 2, np.isin(labels, (3, 9)))
    assert set(np.unique(value["type_map"])) == {0, 1, 2, 9}
    assert value["class_names"][1, 0].item() == "Tumör, fest"
    assert value["class_colors"][1].tolist() == [230, 85, 13]


def test_an_image_that_matlab_cannot_hold_is_refused(result, tmp_path):
    with pytest.raises(AnnotationError, match=r"a\.mat: 40,000 x 40,000 .* HoVer-Net JSON"):
        write_hovernet_mat(tmp_path / "a.mat", replace(result, shape=(40_000, 40_000)))
    assert not list(tmp_path.iterdir())


def test_a_file_without_types_is_read(inst_map, tmp_path):
    found = read_annotations(saved(tmp_path, inst_map=inst_map))
    assert found.ids.tolist() == [2, 5]
    assert found.class_ids.tolist() == [0, 0]
    assert found.nuclei.areas.tolist() == [6, 6]
    assert found.shape == (8, 9)
    assert found.mpp is None


def test_types_of_hovernet_go_by_uid(inst_map, tmp_path):
    path = saved(tmp_path, inst_map=inst_map, inst_uid=[[5], [2]], inst_type=[[1], [4]])
    found = read_hovernet_mat(path)
    assert found.class_ids.tolist() == [4, 1]
    assert any("taken for PanNuke's" in note for note in found.notes)


def test_types_without_uids_go_by_the_order_of_the_ids(inst_map, tmp_path):
    path = saved(tmp_path, inst_map=inst_map.astype(float), inst_type=[[1.0], [4.0]])
    assert read_hovernet_mat(path).class_ids.tolist() == [1, 4]


def test_types_beside_their_ids_are_read(inst_map, tmp_path):
    path = saved(tmp_path, inst_map=inst_map, inst_type=[[5, 1], [2, 4]])
    assert read_hovernet_mat(path).class_ids.tolist() == [4, 1]


def test_types_of_a_type_map_are_those_of_most_pixels(inst_map, tmp_path):
    type_map = np.where(inst_map == 2, 3, 0)
    type_map[5:7, 5:8] = [[1, 1, 2], [1, 1, 2]]
    path = saved(tmp_path, inst_map=inst_map, type_map=type_map)
    assert read_hovernet_mat(path).class_ids.tolist() == [3, 1]


def test_types_that_do_not_fit_are_left_out_and_noted(inst_map, tmp_path):
    found = read_hovernet_mat(saved(tmp_path, inst_map=inst_map, inst_type=[[1], [2], [3]]))
    assert found.class_ids.tolist() == [0, 0]
    assert "'inst_type' has 3 values for 2 instances" in found.notes[0]


def test_a_file_without_instances_names_what_it_has(tmp_path):
    with pytest.raises(AnnotationError, match=r"a\.mat: has no instance map .* labels"):
        read_annotations(saved(tmp_path, labels=np.zeros((3, 3))))


def test_matlabs_newer_format_is_refused_with_what_to_do(tmp_path):
    head = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    (tmp_path / "a.mat").write_bytes(head + b"\x89HDF\r\n\x1a\n" + bytes(600))
    with pytest.raises(AnnotationError, match="save it with '-v7'"):
        read_annotations(tmp_path / "a.mat")


@pytest.mark.parametrize("inst_map", [np.zeros((2, 2, 2)), np.array([[0.5]]), np.array([["a"]])])
def test_an_instance_map_that_is_none_is_refused(inst_map, tmp_path):
    with pytest.raises(NucleusError, match=r"a\.mat"):
        read_annotations(saved(tmp_path, inst_map=inst_map))


def test_a_truncated_file_is_refused(result, tmp_path):
    path = tmp_path / "a.mat"
    write_hovernet_mat(path, result)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(NucleusError, match=r"a\.mat"):
        read_annotations(path)
