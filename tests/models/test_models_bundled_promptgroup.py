"""The bundled text model: nuclei of what is asked, nothing for what it does not know."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from napari_nucleus.core.geometry import Frame
from napari_nucleus.core.image import Tile
from napari_nucleus.models import zoo
from napari_nucleus.models.api import Calibration, TextAnswer, TextSegmenter
from napari_nucleus.models.promptgroup.vocabulary import CLASS_WORDS
from napari_nucleus.models.weights import read_weights
from napari_nucleus.sample_data.fields import load_field

NAME = "promptgroup-nano"
PHRASINGS = (
    "{}",
    "{} nuclei",
    "all {} nuclei",
    "show me all {} nuclei",
    "show all {} cells",
    "can you outline all {} cells",
    "please segment every {} nucleus",
    "find the nuclei of {} cells",
)
LARGEST_FILE = 12_000_000
SIDE = 256


@pytest.fixture(scope="module")
def model():
    return zoo.load_model(NAME, "cpu")


@pytest.fixture(scope="module")
def field():
    return load_field("lymphoid")


@pytest.fixture(scope="module")
def embedding(model, field):
    return model.embed(_tile(field.rgb[:SIDE, :SIDE]), Calibration(1.0, 0.25))


def _tile(rgb: np.ndarray, mpp: float = 0.25) -> Tile:
    return Tile(np.ascontiguousarray(rgb), Frame(mpp=mpp))


def covered(answer: TextAnswer, side: int = SIDE) -> np.ndarray:
    return answer.nuclei.to_labels((side, side)) > 0


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_the_file_of_the_text_model_is_small():
    file = zoo.weights_file(NAME)
    assert file.stat().st_size <= LARGEST_FILE
    assert read_weights(file).header["system"] == "promptgroup"


def test_it_is_said_to_answer_texts(model):
    assert isinstance(model, TextSegmenter)
    assert zoo.describe(NAME).capabilities == ("text",)
    assert zoo.card(NAME).startswith("# promptgroup-nano")


def test_all_nuclei_are_found_however_they_are_asked_for(model, field, embedding):
    true = field.labels[:SIDE, :SIDE] > 0
    for text in ("all nuclei", "segmnt every nucleus please", "cells"):
        assert dice(covered(model.answer(embedding, text)), true) > 0.7, text


def test_a_class_is_told_from_the_others(model, field, embedding):
    classes = field.class_of_id[field.labels[:SIDE, :SIDE]]
    lymphocytes = model.answer(embedding, "lymphocytes")
    assert lymphocytes.classes == (2,)
    assert lymphocytes.words == (("lymphocytes", "inflammatory"),)
    other = covered(model.answer(embedding, "fibroblasts"))
    asked = covered(lymphocytes)
    assert dice(asked, classes == 2) > dice(other, classes == 2)
    assert (asked & (classes == 2)).sum() > 2 * (asked & (classes == 3)).sum()


@pytest.mark.parametrize("text", ["mitotic figures", "giraffes", "hepatocytes and nuclei", "", "?"])
def test_what_it_was_never_taught_is_told_and_not_drawn(model, embedding, text):
    answer = model.answer(embedding, text)
    assert answer.low_confidence
    assert len(answer.nuclei) == 0


@pytest.mark.parametrize("axes", [(0,), (1,)])
def test_a_mirrored_field_has_the_mirrored_nuclei(model, field, embedding, axes):
    mirrored = model.query(
        _tile(np.flip(field.rgb[:SIDE, :SIDE], axes)), "all nuclei", Calibration(1.0, 0.25)
    )
    plain = covered(model.answer(embedding, "all nuclei"))
    assert dice(np.flip(covered(mirrored), axes), plain) > 0.9


def test_a_field_at_half_the_magnification_has_as_many_nuclei(model, field, embedding):
    smaller = np.asarray(Image.fromarray(field.rgb[:SIDE, :SIDE]).resize((SIDE // 2,) * 2))
    found = model.query(_tile(smaller, 0.5), "all nuclei", Calibration(2.0, 0.5)).nuclei
    whole = model.answer(embedding, "all nuclei").nuclei
    assert len(found) == pytest.approx(len(whole), rel=0.2)


@pytest.mark.parametrize("shape", [(1, 1), (3, 400), (300, 40)])
@pytest.mark.parametrize("text", ["all nuclei", "lymphocytes"])
def test_glass_of_any_size_has_none(model, shape, text):
    tile = _tile(np.full((*shape, 3), 243, np.uint8))
    assert len(model.query(tile, text, Calibration(1.0, 0.25)).nuclei) == 0


def test_plain_requests_for_a_class_are_read_as_that_class(model):
    """Of every word of a class in every phrasing at most three in a hundred are misread."""
    asked = [
        (phrasing.format(word), class_id)
        for class_id, words in CLASS_WORDS.items()
        for word in words
        for phrasing in PHRASINGS
    ]
    wanted = model.network.read_texts([text for text, _ in asked]).wanted
    ids = np.array([class_id for _, class_id in asked])
    right = ((wanted > 0).numpy() == (np.arange(1, wanted.shape[1] + 1) == ids[:, None])).all(1)
    assert right.mean() >= 0.97, [asked[i][0] for i in np.flatnonzero(~right)]


def test_reading_a_text_loads_no_torch():
    script = (
        "import sys\n"
        "from napari_nucleus.models.promptgroup.words import read_text\n"
        "assert read_text('mitotic nuclei').unknown == ('mitotic',)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
