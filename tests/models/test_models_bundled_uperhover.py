"""The bundled UperHoVer: nuclei at any size, alike in mirrored and smaller pictures."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from napari_nucleus.core.image import ArraySource, Tile
from napari_nucleus.core.metrics import OverlapTable, panoptic_quality
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.hosting.local import calibrate_source, segment_source
from napari_nucleus.models import zoo
from napari_nucleus.models.api import Calibration
from napari_nucleus.models.weights import read_weights
from napari_nucleus.sample_data.fields import load_field

NAME = "uperhover-nano"
LARGEST_FILE = 12_000_000
SIDE = 256


@pytest.fixture(scope="module")
def model():
    return zoo.load_model(NAME, "cpu")


@pytest.fixture(scope="module")
def field():
    return load_field("tumour")


def found_in(model, rgb: np.ndarray, mpp: float = 0.25) -> Nuclei:
    source = ArraySource(np.ascontiguousarray(rgb), mpp)
    return segment_source(model, source, calibrate_source(model, source))


def quality(true: np.ndarray, nuclei: Nuclei) -> float:
    return panoptic_quality(OverlapTable.of(true, nuclei.to_labels(true.shape))).pq


@pytest.fixture(scope="module")
def found(model, field):
    return found_in(model, field.rgb[:SIDE, :SIDE])


def test_the_file_of_uperhover_is_small():
    file = zoo.weights_file(NAME)
    assert file.stat().st_size <= LARGEST_FILE
    assert read_weights(file).header["system"] == "uperhover"


def test_it_finds_the_nuclei_of_a_field_and_names_them(field, found):
    assert quality(field.labels[:SIDE, :SIDE], found) > 0.5
    assert found.source == NAME
    assert np.allclose(found.class_prob.sum(1), 1, atol=1e-3)
    assert len(np.unique(found.class_prob.argmax(1))) > 1


@pytest.mark.parametrize("axes", [(0,), (1,)])
def test_a_mirrored_field_has_the_mirrored_nuclei(model, field, found, axes):
    true = field.labels[:SIDE, :SIDE]
    mirrored = found_in(model, np.flip(field.rgb[:SIDE, :SIDE], axes))
    assert quality(np.flip(true, axes), mirrored) == pytest.approx(quality(true, found), abs=0.03)


def test_a_field_at_half_the_magnification_has_as_many_nuclei(model, field, found):
    smaller = Image.fromarray(field.rgb[:SIDE, :SIDE]).resize((SIDE // 2,) * 2)
    assert len(found_in(model, np.asarray(smaller), 0.5)) == pytest.approx(len(found), rel=0.2)


@pytest.mark.parametrize("shape", [(1, 1), (3, 400), (300, 40)])
def test_glass_of_any_size_has_none(model, shape):
    tile = Tile(np.full((*shape, 3), 243, np.uint8))
    assert len(model.segment(tile, Calibration(1.0, 0.25))) == 0
