"""Texts that a host is asked: on a tile, and on all of an image."""

import numpy as np
import pytest
from hosting_fakes import DARK, INFO
from scipy import ndimage

from napari_nucleus.core.image import ArraySource
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.errors import ModelError
from napari_nucleus.hosting.host import Host
from napari_nucleus.hosting.planning import click_tile
from napari_nucleus.hosting.tiles import TileOrder
from napari_nucleus.models.api import Calibration

T = 60.0
CALIBRATION = Calibration(1.0, 0.5)
BOX = click_tile((48.5, 64.5), (300, 280), INFO, CALIBRATION)


@pytest.fixture
def source(blobs):
    return ArraySource(blobs, 0.5)


@pytest.fixture
def reader(start) -> Host:
    return start("reader")


def whole_truth(source) -> list[tuple]:
    labels, _ = ndimage.label(source.array.max(axis=-1) < DARK)
    nuclei, _ = Nuclei.from_labels(labels)
    return sorted(tuple(box) for box in nuclei.boxes.tolist())


def steps_of(folder) -> list[str]:
    return [line.split()[0] for line in (folder / "log").read_text().splitlines()]


def test_texts_are_answered_in_their_order_and_in_level0_pixels(reader, source):
    dark, large = reader.ask(source, BOX, CALIBRATION, ["dark", "large dark"]).result(T)
    assert (dark.text, large.text) == ("dark", "large dark")
    assert [44, 60, 53, 69] in dark.nuclei.boxes.tolist()
    assert len(large.nuclei) < len(dark.nuclei)
    assert (large.nuclei.areas > 60).all()


def test_a_tile_is_encoded_once_for_any_number_of_texts(reader, source, tmp_path):
    told = []
    for text in ("dark", "large", "dark nuclei"):
        reader.ask(source, BOX, CALIBRATION, [text], on_encoding=told.append).result(T)
    assert told == [BOX]
    assert steps_of(tmp_path).count("embed") == 1
    assert steps_of(tmp_path).count("answer") == 3


def test_words_that_are_not_known_are_named_and_nothing_is_found(reader, source):
    (answer,) = reader.ask(source, BOX, CALIBRATION, ["dark moons"]).result(T)
    assert answer.unknown == ("moons",)
    assert len(answer.nuclei) == 0


def test_a_newer_text_takes_the_place_of_one_that_waits(reader, source, tmp_path, until):
    (tmp_path / "answer").write_text("wait")
    running = reader.ask(source, BOX, CALIBRATION, ["dark"], key="preview")
    until((tmp_path / "waiting").exists)
    older = reader.ask(source, BOX, CALIBRATION, ["large"], key="preview")
    newest = reader.ask(source, BOX, CALIBRATION, ["large dark"], key="preview")
    (tmp_path / "answer").unlink()
    assert newest.result(T)[0].text == "large dark"
    assert running.result(T)[0].text == "dark"
    assert older.cancelled()


def test_all_of_an_image_is_answered_tile_by_tile_as_if_it_were_one(reader, source):
    tiles, answers = [], []
    job = reader.ask_all(
        TileOrder(source, CALIBRATION, on_tile=lambda spec, nuclei: tiles.append(nuclei)),
        ["dark", "large"],
        lambda spec, got: answers.append((spec, got)),
    )
    assert job.future.result(T) == len(Nuclei.concatenate(tiles))
    found = Nuclei.concatenate(tiles)
    assert sorted(tuple(box) for box in found.boxes.tolist()) == whole_truth(source)
    assert [got[0].text for _, got in answers] == ["dark"] * len(tiles)
    for spec, got in answers:
        for answer in got:
            inside = answer.nuclei.boxes
            assert (inside[:, :2] >= np.array(spec.outer[:2])).all()
            assert (inside[:, 2:] <= np.array(spec.outer[2:])).all()


def test_tiles_of_a_run_are_there_for_the_next_text(reader, source, tmp_path):
    reader.ask_all(TileOrder(source, CALIBRATION), ["dark"]).future.result(T)
    encoded = steps_of(tmp_path).count("embed")
    reader.ask_all(TileOrder(source, CALIBRATION), ["large"]).future.result(T)
    assert steps_of(tmp_path).count("embed") == encoded


def test_a_run_of_texts_is_cancelled_within_a_tile(reader, source, tmp_path, until):
    (tmp_path / "answer").write_text("wait")
    job = reader.ask_all(TileOrder(source, CALIBRATION), ["dark"])
    until((tmp_path / "waiting").exists)
    job.cancel()
    (tmp_path / "answer").unlink()
    with pytest.raises(Exception, match="Cancelled"):
        job.future.result(T)


def test_a_worker_that_dies_is_started_again_and_asked_once_more(reader, source, tmp_path):
    (tmp_path / "answer").write_text("die once")
    (answer,) = reader.ask(source, BOX, CALIBRATION, ["dark"]).result(T)
    assert len(answer.nuclei)


def test_models_that_do_not_read_say_so(start, source):
    with pytest.raises(ModelError, match="fake does not understand words"):
        start().ask(source, BOX, CALIBRATION, ["dark"]).result(T)
