"""The weights that ship: they load, say where they come from, and find nuclei at any size."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from napari_nucleus.core.image import ArraySource, Tile
from napari_nucleus.core.metrics import OverlapTable, panoptic_quality
from napari_nucleus.core.prompts import Prompts
from napari_nucleus.hosting.local import calibrate_source, segment_source
from napari_nucleus.models import zoo
from napari_nucleus.models.weights import read_weights
from napari_nucleus.sample_data.fields import FIELD_NAMES, load_field

LARGEST_FILE = 12_000_000
SIDE = 384


@pytest.fixture(scope="module")
def model():
    return zoo.load_model("uninuc-nano", "cpu")


@pytest.fixture(scope="module")
def fields():
    return {name: load_field(name) for name in FIELD_NAMES}


def resized(rgb: np.ndarray, factor: float) -> np.ndarray:
    size = [round(n * factor) for n in rgb.shape[1::-1]]
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS))


def found_in(model, rgb: np.ndarray, mpp: float | None = 0.25):
    source = ArraySource(rgb, mpp)
    return segment_source(model, source, calibrate_source(model, source))


def test_the_file_is_small_and_names_its_origin():
    file = zoo.weights_file("uninuc-nano")
    assert file.stat().st_size <= LARGEST_FILE
    about = read_weights(file).header["provenance"]
    with safe_open(file, "pt") as weights:
        kinds = {weights.get_slice(key).get_dtype() for key in weights.keys()}  # noqa: SIM118
    assert {"version", "commit", "recipe"} <= set(about)
    assert kinds == {"F16"}


def test_the_card_says_what_one_must_know():
    card = zoo.card("uninuc-nano")
    for word in ("licence", "Recipe", "Bad at", "PQ", "mSA", "commit", "diagnos"):
        assert word in card, word


@pytest.mark.parametrize("name", FIELD_NAMES)
def test_it_finds_the_nuclei_of_the_bundled_fields(model, fields, name):
    field = fields[name]
    rgb, labels = field.rgb[:SIDE, :SIDE], field.labels[:SIDE, :SIDE]
    nuclei = found_in(model, rgb)
    quality = panoptic_quality(OverlapTable.of(labels, nuclei.to_labels(labels.shape)))
    assert quality.dq > 0.6


def test_glass_has_no_nuclei(model):
    assert len(found_in(model, np.full((SIDE, SIDE, 3), 243, np.uint8))) == 0


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_an_unknown_pixel_size_is_estimated_from_the_nuclei(model, fields, factor):
    rgb = resized(fields["tumour"].rgb, factor)
    calibration = calibrate_source(model, ArraySource(rgb, None))
    assert calibration.mpp_estimated
    assert calibration.mpp == pytest.approx(0.25 / factor, rel=0.35)


def test_a_click_outlines_the_nucleus_under_it(model, fields):
    field = fields["lymphoid"]
    rgb, labels = field.rgb[:256, :256], field.labels[:256, :256]
    source = ArraySource(rgb, 0.25)
    embedding = model.embed(Tile(rgb), calibrate_source(model, source))
    inner = [i for i in np.unique(labels[40:216, 40:216]) if i][:12]
    centres = [np.argwhere(labels == i).mean(axis=0) + 0.5 for i in inner]
    answers = model.refine_many(embedding, [Prompts([c], [True]) for c in centres])
    overlaps = []
    for i, answer in zip(inner, answers, strict=True):
        mask = np.zeros(labels.shape, bool)
        y0, x0, y1, x1 = answer.box
        mask[y0:y1, x0:x1] = answer.mask
        overlaps.append((mask & (labels == i)).sum() / (mask | (labels == i)).sum())
    assert np.median(overlaps) > 0.5
