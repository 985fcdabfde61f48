"""The app's model: what it is asked by itself, and what it remembers of images."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from napari_nucleus.core.image import ArraySource
from napari_nucleus.hosting.messages import ModelSpec
from napari_nucleus.widgets.model import AppModel


@pytest.fixture
def start(tmp_path):
    models = []

    def make(**options):
        spec = ModelSpec("hosting_fakes:threshold", {"folder": str(tmp_path)})
        model = AppModel(spec=spec, **options)
        models.append(model)
        model.start()
        return model

    yield make
    for model in models:
        model.close()


def test_a_loaded_model_answers_a_click_on_empty_glass_first(start, tmp_path, qtbot):
    log = tmp_path / "log"
    start(warm_up=True)
    qtbot.waitUntil(lambda: log.exists() and "refine" in log.read_text(), timeout=60_000)
    assert log.read_text().split()[::3] == ["embed", "refine"]


def test_that_click_can_be_left_out(start, tmp_path):
    model = start(warm_up=False)
    model.host.describe().result(60)
    assert not (tmp_path / "log").exists()


def test_an_image_is_calibrated_once_for_each_pixel_size_and_a_new_image_anew(start):
    model = start(warm_up=False)
    known = []
    for shade in (120, 240):
        source = ArraySource(np.full((64, 64, 3), shade, np.uint8), 0.5)
        first = model.calibration(source, 0.5)
        assert model.calibration(source, 0.5) is first
        assert model.calibration(source, 0.25) is not first
        known.append(first.result(60))
        # The next source may get this one's place in memory, and with it its number.
        del source
        gc.collect()
    assert known[0] != known[1]
