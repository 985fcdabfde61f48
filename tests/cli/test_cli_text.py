"""``segment --text``: only the nuclei that are asked for, or a clear "not understood"."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from cli_helpers import DARK, DarkIsNucleus, disc_labels, save_picture

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.models.api import Embedding, TextAnswer

READER = replace(DARK, name="reader", capabilities=("text",), classes=PANNUKE)


class Reader(DarkIsNucleus):
    """Answers every text with all dark discs, which it takes for lymphocytes."""

    info = READER

    def embed(self, tile, calibration=None):
        return Embedding({"rgb": tile.rgb}, tile.shape, tile.frame, calibration, self.digest)

    def answer_many(self, embedding, texts):
        nuclei = self.segment(_Picture(embedding.arrays["rgb"]), embedding.calibration)
        prob = np.tile(PANNUKE.one_hot(np.array([2])), (len(nuclei), 1))
        found = replace(nuclei, class_prob=prob)
        return [TextAnswer(text, found, 1.0, 1.0) for text in texts]

    def answer(self, embedding, text):
        return self.answer_many(embedding, [text])[0]

    def query(self, tile, text, calibration=None):
        return self.answer(self.embed(tile, calibration), text)


class _Picture:
    def __init__(self, rgb) -> None:
        self.rgb = rgb
        self.shape = rgb.shape[:2]


@pytest.fixture
def reader(monkeypatch) -> str:
    from napari_nucleus.models import zoo

    entry = zoo._Entry(READER, "promptgroup", lambda info, weights, device: Reader())
    monkeypatch.setattr(zoo, "_ZOO", {**zoo._ZOO, READER.name: entry})
    return READER.name


def test_the_nuclei_asked_for_are_written_and_it_is_said_how_that_was_understood(
    command, reader, tmp_path
):
    picture = save_picture(tmp_path / "one.png")
    out = tmp_path / "out"
    outcome = command(
        "segment", picture, "--out", out, "--text", "lymphocytes", "--model", reader, "--mpp", 0.5
    )
    assert outcome.code == 0
    assert "inflammatory nuclei" in outcome.out
    assert "Other wordings agree 100 %" in outcome.out
    np.testing.assert_array_equal(tifffile.imread(out / "one.tif") > 0, disc_labels() > 0)
    with (out / "one.csv").open(newline="") as file:
        assert {row["class"] for row in csv.DictReader(file)} == {"inflammatory"}
    made = json.loads((out / "one.geojson").read_text("utf-8"))["provenance"]
    assert (made["text"], made["model"], made["agreement"]) == ("lymphocytes", reader, 1.0)


def test_conditions_hold_on_what_the_model_finds(command, reader, tmp_path):
    picture, out = save_picture(tmp_path / "one.png"), tmp_path / "out"
    arguments = ("segment", picture, "--out", out, "--model", reader, "--mpp", 0.5)
    assert command(*arguments, "--text", "lymphocytes with area > 500 µm²").code == 0
    assert not tifffile.imread(out / "one.tif").any()
    assert command(*arguments, "--text", "lymphocytes with area > 2 µm²").code == 0
    assert tifffile.imread(out / "one.tif").any()


@pytest.mark.parametrize(
    "text", ["nuclei of the moon", "", "   ", "🧬", "liver", "x" * 10_000, "所有细胞核"]
)
def test_what_is_not_understood_ends_in_one_line_and_no_file(command, reader, tmp_path, text):
    picture, out = save_picture(tmp_path / "one.png"), tmp_path / "out"
    outcome = command("segment", picture, "--out", out, "--text", text, "--model", reader)
    assert outcome.code == 2
    assert "Not understood" in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert not out.exists()


def test_models_that_do_not_read_are_refused_by_name(command, dark, tmp_path):
    picture = save_picture(tmp_path / "one.png")
    outcome = command(
        "segment", picture, "--out", tmp_path / "o", "--text", "nuclei", "--model", dark
    )
    assert outcome.code == 2
    assert "dark does not understand words" in outcome.err
