import numpy as np
import pytest
from hosting_fakes import DIGEST, INFO

from napari_nucleus.core.image import Tile
from napari_nucleus.core.prompts import Prompts
from napari_nucleus.hosting.messages import (
    Calibrate,
    Describe,
    Description,
    Embed,
    Embedded,
    Failure,
    Load,
    MissingTile,
    ModelSpec,
    Refine,
    Refined,
    SegmentTile,
    TileKey,
)
from napari_nucleus.hosting.worker import Worker, usable_threads
from napari_nucleus.models.api import Calibration

CALIBRATION = Calibration(1.0, 0.5)
CLICK = Prompts(np.array([[6.5, 6.5]]), np.array([True]))


def tile() -> Tile:
    rgb = np.full((20, 20, 3), 240, np.uint8)
    rgb[5:9, 5:9] = 60
    return Tile(rgb)


def key(n: int = 0) -> TileKey:
    return TileKey("image", (n, 0, n + 20, 20), CALIBRATION, "fake")


def loaded(factory: str = "threshold", cache_bytes: int = 10_000, **kwargs) -> Worker:
    worker = Worker(cache_bytes)
    worker.answer(Load(ModelSpec(f"hosting_fakes:{factory}", kwargs)))
    return worker


def test_loading_describes_the_model():
    told = Worker(0).answer(Load(ModelSpec("hosting_fakes:threshold")))
    assert told == Description(INFO, "cpu", weights=DIGEST)


def test_a_click_without_pixels_asks_for_them_and_then_needs_them_no_more():
    worker = loaded()
    assert worker.answer(Refine(key(), (CLICK,), None)) == MissingTile(key())
    first = worker.answer(Refine(key(), (CLICK,), tile()))
    again = worker.answer(Refine(key(), (CLICK, CLICK), None))
    assert isinstance(first, Refined)
    assert isinstance(again, Refined)
    assert [p.box for p in again.predictions] == [(5, 5, 9, 9)] * 2


def test_a_prefetched_tile_needs_no_pixels_for_a_click():
    worker = loaded()
    assert worker.answer(Embed(key(), None)) == MissingTile(key())
    assert worker.answer(Embed(key(), tile())) == Embedded()
    assert isinstance(worker.answer(Refine(key(), (CLICK,), None)), Refined)


def test_what_had_to_go_is_told_and_is_missing_afterwards():
    worker = loaded(cache_bytes=2000)  # a label map of 20 x 20 takes 1600
    worker.answer(Embed(key(0), tile()))
    assert worker.answer(Embed(key(1), tile())) == Embedded((key(0),))
    assert worker.answer(Refine(key(0), (CLICK,), None)) == MissingTile(key(0))
    assert worker.answer(Describe()) == Description(INFO, "cpu", 1, 1600, DIGEST)


@pytest.mark.parametrize(
    ("factory", "kind", "words"),
    [
        ("bad_weights", "WeightsError", "3 keys do not fit"),
        ("broken_factory", "HostError", "ImportError: no module named torch"),
        ("no_such_factory", "HostError", "no_such_factory"),
    ],
)
def test_a_model_that_cannot_be_loaded_says_why(factory, kind, words):
    failure = Worker(0).answer(Load(ModelSpec(f"hosting_fakes:{factory}")))
    assert isinstance(failure, Failure)
    assert failure.kind == kind
    assert words in failure.message


@pytest.mark.parametrize(
    ("order", "kind"),
    [
        ("model error", "ModelError"),
        ("fault", "ZeroDivisionError"),
        ("out of memory", "HostError"),
    ],
)
def test_what_goes_wrong_in_a_model_becomes_a_failure(tmp_path, order, kind):
    worker = loaded(folder=str(tmp_path))
    (tmp_path / "segment").write_text(order)
    failure = worker.answer(SegmentTile(tile(), CALIBRATION))
    assert isinstance(failure, Failure)
    assert failure.kind == kind


def test_a_want_of_memory_says_what_to_do(tmp_path):
    worker = loaded(folder=str(tmp_path))
    (tmp_path / "segment").write_text("out of memory")
    failure = worker.answer(SegmentTile(tile(), CALIBRATION))
    assert isinstance(failure, Failure)
    assert "out of memory on cpu" in failure.message


def test_a_model_is_asked_only_for_what_it_can_do():
    failure = loaded("only_clicks").answer(SegmentTile(tile(), CALIBRATION))
    assert isinstance(failure, Failure)
    assert failure.kind == "ModelError"
    assert isinstance(loaded("only_clicks").answer(Refine(key(), (CLICK,), tile())), Refined)


def test_nothing_is_answered_before_a_model_is_loaded():
    failure = Worker(0).answer(Calibrate((tile(),), 0.5))
    assert isinstance(failure, Failure)
    assert failure.kind == "HostError"


def test_the_user_decides_on_the_number_of_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert usable_threads() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert usable_threads() >= 1
