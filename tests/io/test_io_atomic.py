from __future__ import annotations

import os

import pytest

from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.atomic import replacing


def test_the_file_appears_complete(tmp_path):
    path = tmp_path / "a.csv"
    with replacing(path) as file:
        file.write(b"one")
        assert not path.exists()
    assert path.read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["a.csv"]


def write_half_and_stop(path):
    with replacing(path) as file:
        file.write(b"half")
        raise ZeroDivisionError


def test_an_error_on_the_way_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"before")
    with pytest.raises(ZeroDivisionError):
        write_half_and_stop(path)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["a.csv"]


def test_a_fault_of_the_disk_is_one_clear_sentence(tmp_path, unwritable):
    path = tmp_path / "a.csv"
    with pytest.raises(AnnotationError) as caught, replacing(path) as file:
        file.write(b"x")
    assert "a.csv" in str(caught.value)
    assert unwritable in str(caught.value)
    assert "no file was left behind" in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there_is_named_as_the_reason(tmp_path):
    with pytest.raises(AnnotationError, match="No such file"), replacing(tmp_path / "no" / "a"):
        pass


def test_files_can_be_read_by_others_as_usual(tmp_path):
    with replacing(tmp_path / "ours") as file:
        file.write(b"x")
    (tmp_path / "theirs").write_bytes(b"x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "theirs").stat().st_mode
