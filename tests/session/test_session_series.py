"""The images of a folder: their order, where one stopped, and where one was looking."""

from pathlib import Path

import pytest

from napari_nucleus.errors import ImageError
from napari_nucleus.session.series import Positions, Series, natural_key
from napari_nucleus.session.view import View

SUFFIXES = {".png", ".tif"}


@pytest.fixture
def folder(tmp_path):
    """A folder with three images and other things."""
    folder = tmp_path / "slides"
    (folder / "more").mkdir(parents=True)
    (folder / "more" / "a0.tif").write_bytes(b"")
    (folder / "a3.tif").mkdir()
    for name in ("a10.TIF", "a2.tif", "B1.png", "notes.txt", ".a4.tif"):
        (folder / name).write_bytes(b"")
    return folder


def names(series):
    return [file.name for file in series.files]


def test_images_come_in_their_natural_order_and_nothing_else(folder):
    series = Series.of_folder(folder, SUFFIXES)
    assert names(series) == ["a2.tif", "a10.TIF", "B1.png"]
    assert series.title(1) == "2 of 3: a10.TIF"


def test_numbers_and_letters_can_be_compared_wherever_they_stand():
    ordered = ["1.tif", "02.tif", "10.tif", "a.tif", "a1b2.tif", "a1b10.tif", "ab.tif"]
    mixed = ordered[::-1]
    assert sorted(mixed, key=natural_key) == ordered


def test_a_folder_without_images_or_none_at_all_is_refused_by_name(tmp_path):
    with pytest.raises(ImageError, match=r"no image in this folder \(\.png, \.tif\)"):
        Series.of_folder(tmp_path, SUFFIXES)
    with pytest.raises(ImageError, match="gone: the folder cannot be read"):
        Series.of_folder(tmp_path / "gone", SUFFIXES)


def test_one_goes_forth_and_back_and_past_what_cannot_be_read(folder):
    series = Series.of_folder(folder, SUFFIXES)
    assert [series.after(i) for i in range(3)] == [1, 2, None]
    assert [series.after(i, forward=False) for i in range(3)] == [None, 0, 1]
    series.unreadable[1] = "a10.TIF: the file is empty."
    assert series.after(0) == 2
    assert series.after(2, forward=False) == 0
    series.unreadable[2] = "B1.png: the file is empty."
    assert series.after(0) is None


def test_one_goes_on_where_one_stopped_in_each_folder(folder, tmp_path):
    series = Series.of_folder(folder, SUFFIXES)
    positions = Positions(tmp_path / "data" / "series.json")
    assert positions.of(series) == 0
    positions.note(series, 2)
    other = Series(tmp_path, (tmp_path / "x.tif", tmp_path / "y.tif"))
    positions.note(other, 1)
    again = Positions(tmp_path / "data" / "series.json")
    assert again.of(Series.of_folder(folder, SUFFIXES)) == 2
    assert again.of(other) == 1


def test_where_one_stopped_is_found_among_images_that_came_and_went(folder, tmp_path):
    positions = Positions(tmp_path / "series.json")
    positions.note(Series.of_folder(folder, SUFFIXES), 1)
    (folder / "a1.tif").write_bytes(b"")
    series = Series.of_folder(folder, SUFFIXES)
    assert series.files[positions.of(series)].name == "a10.TIF"
    (folder / "a10.TIF").unlink()
    series = Series.of_folder(folder, SUFFIXES)
    assert series.files[positions.of(series)].name == "B1.png"
    (folder / "B1.png").unlink()
    series = Series.of_folder(folder, SUFFIXES)
    assert series.files[positions.of(series)].name == "a2.tif"


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[["a"]]', "[[1, 2]]", "no json"])
def test_a_damaged_list_of_positions_is_as_if_there_were_none(folder, tmp_path, text):
    file = tmp_path / "series.json"
    file.write_text(text)
    series = Series.of_folder(folder, SUFFIXES)
    assert Positions(file).of(series) == 0
    Positions(file).note(series, 1)
    assert Positions(file).of(series) == 1


def test_a_list_that_cannot_be_written_stops_nobody(folder, tmp_path):
    (tmp_path / "data").write_text("a file")
    Positions(tmp_path / "data" / "series.json").note(Series.of_folder(folder, SUFFIXES), 1)
    assert Path(tmp_path / "data").read_text() == "a file"


@pytest.mark.parametrize("selected", [None, 12])
def test_a_view_comes_back_as_it_was(selected):
    view = View((10.5, 2000.25), 0.125, "Correct", selected)
    assert View.of_text(view.to_text()) == view


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "[]",
        "no json",
        "[1, 2, 0, '', null]",
        '[1, 2, -1, "", null]',
        '["a", 2, 1, "", 1]',
    ],
)
def test_a_view_that_cannot_be_is_none(text):
    assert View.of_text(text) is None
