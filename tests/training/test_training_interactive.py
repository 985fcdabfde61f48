"""Simulated corrections: what perfect and stubborn models score, and what is counted."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from training_helpers import draw_labels, paint_labels, write_image

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.image import ArraySource
from napari_nucleus.core.metrics import OverlapTable, mean_segmentation_accuracy
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.prompts import MaskLogits, MaskPrediction
from napari_nucleus.models.api import Calibration, Embedding, ModelInfo
from napari_nucleus.training import interactive
from napari_nucleus.training.cases import TARGETS, ClickCounts
from napari_nucleus.training.interactive import (
    evaluate_automatic_start,
    evaluate_interactive,
    evaluate_prompt_start,
)

SHAPE = (150, 170)
TRUE = draw_labels(SHAPE, 5, 14)
SOURCE = ArraySource(paint_labels(TRUE), 0.25, "field")


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def logits_of(box) -> MaskLogits:
    return MaskLogits(np.zeros((2, 2), np.float16), tuple(map(float, box)))


class Oracle:
    """Knows the truth: answers with the nucleus under the box or the first point."""

    def __init__(self, drafts: np.ndarray | None = None) -> None:
        # Several tiles an image, so that coordinates have to be moved between them.
        self.info = ModelInfo(
            "oracle", "", ("automatic", "promptable"), PANNUKE, 0.25, 64, 16, 48, "", ""
        )
        self.drafts = TRUE if drafts is None else drafts
        self.asked: list = []

    def calibrate(self, samples, mpp):
        return Calibration(1.0, mpp or 0.25)

    def embed(self, tile, calibration=None):
        return Embedding({}, tile.shape, tile.frame, calibration or self.calibrate([], 0.25), "o")

    def refine(self, embedding, prompts):
        return self.refine_many(embedding, [prompts])[0]

    def refine_many(self, embedding, prompts):
        self.asked += prompts
        return [self.answer(embedding, p) for p in prompts]

    def nucleus(self, embedding, prompts) -> int:
        """The true nucleus that is meant, found at level-0 positions."""
        y, x = (int(v) for v in embedding.frame.origin_yx)
        if prompts.mask is not None:
            y0, x0, y1, x1 = np.array(prompts.mask_box) + np.array([y, x, y, x])
            shared = np.bincount(TRUE[y0:y1, x0:x1][prompts.mask], minlength=2)
            return int(shared[1:].argmax()) + 1
        if prompts.box is not None:
            y0, x0, y1, x1 = prompts.box
            point = np.array([(y0 + y1) / 2, (x0 + x1) / 2])
        else:
            point = prompts.points_yx[0]
        r, c = np.floor(point + np.array([y, x])).astype(int)
        return int(TRUE[r, c])

    def answer(self, embedding, prompts) -> MaskPrediction:
        mask = nucleus_mask = self.nucleus(embedding, prompts) == TRUE
        rows, cols = np.nonzero(nucleus_mask)
        y, x = (int(v) for v in embedding.frame.origin_yx)
        box = (rows.min(), cols.min(), rows.max() + 1, cols.max() + 1)
        local = tuple(int(v) for v in np.array(box) - [y, x, y, x])
        return MaskPrediction(mask[box[0] : box[2], box[1] : box[3]], local, logits_of(local), 0.9)

    def segment(self, tile, calibration=None):
        y, x = (int(v) for v in tile.frame.origin_yx)
        h, w = tile.shape
        nuclei, _ = Nuclei.from_labels(self.drafts[y : y + h, x : x + w])
        return replace(nuclei, class_prob=np.ones((len(nuclei), 5), np.float32) / 5)


class Stubborn(Oracle):
    """Answers with a few pixels that are never what was asked for."""

    def answer(self, embedding, prompts):
        return MaskPrediction(np.ones((2, 2), bool), (0, 0, 2, 2), logits_of((0, 0, 2, 2)), 0.5)


class Blind(Oracle):
    """Sees nothing at all."""

    def answer(self, embedding, prompts):
        return MaskPrediction(np.zeros((0, 0), bool), (0, 0, 0, 0), logits_of((0, 0, 1, 1)), 0.0)


@pytest.mark.parametrize("start", ["point", "box"])
def test_a_model_that_knows_the_truth_needs_one_prompt(start):
    counts = ClickCounts()
    model = Oracle()
    scores = evaluate_prompt_start(model, SOURCE, TRUE, start, 4, counts, rng())
    assert scores == pytest.approx([1.0] * 4)
    summary = counts.summary()
    for target in TARGETS:
        assert summary[f"clicks_to_{target:.2f}"] == {
            "median": 1.0,
            "mean_of_reached": 1.0,
            "never": 0.0,
        }
    assert counts.clicks == 0
    assert summary["neighbour_pixels_changed"] == 0
    assert len(counts.clicks_to[0.8]) == TRUE.max()
    assert all((p.box is not None) == (start == "box") for p in model.asked)
    # Answers are fed back from the second round on.
    n = int(TRUE.max())
    assert all(p.logits is None for p in model.asked[:n])
    assert all(p.logits is not None for p in model.asked[n:])


@pytest.mark.parametrize("model", [Stubborn(), Blind()], ids=["stubborn", "blind"])
def test_a_model_that_does_not_listen_never_gets_there(model):
    counts = ClickCounts()
    scores = evaluate_prompt_start(model, SOURCE, TRUE, "point", 3, counts, rng())
    assert scores == [0.0] * 3
    for target in TARGETS:
        assert counts.summary()[f"clicks_to_{target:.2f}"] == {
            "median": None,
            "mean_of_reached": None,
            "never": 1.0,
        }
    assert counts.clicks == 2 * TRUE.max()
    assert counts.summary()["positive_inside"] == 0.0
    json.dumps(counts.summary(), allow_nan=False)


class Slow(Oracle):
    """Gives half of the nucleus until it has been clicked three times."""

    def answer(self, embedding, prompts):
        whole = super().answer(embedding, prompts)
        if len(prompts.points_yx) >= 3:
            return whole
        mask = whole.mask.copy()
        mask[mask.shape[0] // 2 :] = False
        return replace(whole, mask=mask)


def test_clicks_are_counted_until_the_target_is_reached():
    counts = ClickCounts()
    model = Slow()
    scores = evaluate_prompt_start(model, SOURCE, TRUE, "point", 4, counts, rng())
    # Only positive clicks can be made: what is there is right. One more each round.
    assert scores[:2] == pytest.approx([scores[0]] * 2)
    assert scores[0] < 0.5
    assert scores[2:] == pytest.approx([1.0, 1.0])
    assert counts.summary()["clicks_to_0.90"]["median"] == 3.0
    assert counts.negative == 0
    # The second click of three was not obeyed.
    assert counts.positive_inside / counts.positive == 0.5
    assert all(p.positive.all() for p in model.asked)


def test_every_simulated_click_lies_in_an_error():
    class Shifted(Oracle):
        def answer(self, embedding, prompts):
            whole = super().answer(embedding, prompts)
            y0, x0, y1, x1 = whole.box
            return replace(whole, box=(y0, x0 + 3, y1, x1 + 3))

    model = Shifted()
    evaluate_prompt_start(model, SOURCE, TRUE, "box", 2, ClickCounts(), rng())
    asked = model.asked[TRUE.max() :]
    # Points are local to their tile; signs come as positive, then negative.
    assert all(p.positive.tolist() == [True, False] for p in asked)
    assert all(((p.points_yx % 1) == 0.5).all() for p in asked)


# ---- from the automatic result


class Recorded(interactive.Document):
    last = None

    def __init__(self, *args, **more) -> None:
        super().__init__(*args, **more)
        Recorded.last = self


def drafts() -> np.ndarray:
    """The truth with one nucleus missing, one cut in half, and one too large."""
    out = TRUE.copy()
    out[TRUE == 2] = 0
    rows = np.nonzero((TRUE == 4).any(1))[0]
    out[rows[len(rows) // 2] :][TRUE[rows[len(rows) // 2] :] == 4] = 0
    grown = ndimage.binary_dilation(TRUE == 6, iterations=3) & (TRUE == 0)
    out[grown] = 6
    return out


@pytest.fixture
def document(monkeypatch):
    monkeypatch.setattr(interactive, "Document", Recorded)
    return lambda: Recorded.last


def test_a_perfect_result_needs_no_click(document):
    counts = ClickCounts()
    model = Oracle()
    scores = evaluate_automatic_start(model, SOURCE, TRUE, 3, counts, rng())
    assert scores == pytest.approx([1.0] * 3)
    assert model.asked == []
    assert counts.summary()["clicks_to_0.90"]["median"] == 0.0


def test_each_mistake_costs_one_click_of_a_perfect_model(document):
    counts = ClickCounts()
    model = Oracle(drafts())
    scores = evaluate_automatic_start(model, SOURCE, TRUE, 3, counts, rng())
    assert scores[0] < 0.95
    assert scores[1:] == pytest.approx([1.0, 1.0])
    assert sorted(counts.clicks_to[0.9]) == [0] * (TRUE.max() - 3) + [1] * 3
    assert counts.clicks == 3
    assert counts.lowered == 0
    assert counts.neighbours_changed == 0
    signs = [p.positive[-1] for p in model.asked]
    assert sorted(map(bool, signs)) == [False, True, True]


@pytest.mark.parametrize("kind", [Oracle, Stubborn, Blind])
def test_the_document_is_as_before_when_all_is_done(document, kind):
    evaluate_automatic_start(kind(drafts()), SOURCE, TRUE, 4, ClickCounts(), rng())
    labels = document().labels()
    assert np.array_equal(labels > 0, drafts() > 0)
    same = mean_segmentation_accuracy(OverlapTable.of(drafts(), labels))
    assert same == pytest.approx(1.0)
    # The segmentation itself is what is left to undo.
    assert document().undo() == "Segment image"
    assert document().labels().max() == 0


def test_a_stubborn_model_never_corrects_what_is_wrong(document):
    counts = ClickCounts()
    evaluate_automatic_start(Blind(drafts()), SOURCE, TRUE, 3, counts, rng())
    assert counts.clicks_to[0.9].count(None) == 3
    assert counts.summary()["clicks_to_0.90"]["never"] == pytest.approx(3 / TRUE.max(), abs=1e-3)


# ---- a folder


@pytest.mark.parametrize("start", ["point", "box", "automatic"])
def test_a_folder_is_evaluated_by_name(tmp_path, monkeypatch, start):
    monkeypatch.setattr(interactive.zoo, "load_model", lambda *_: Oracle())
    for name in ("one", "two", "three"):
        write_image(tmp_path, name, TRUE, ".png")
    result = evaluate_interactive(
        tmp_path, tmp_path, "oracle", start, 3, 0.25, 0, ["one", "two"], "cpu", None
    )
    assert result["msa"] == [1.0] * 3
    assert set(result["images"]) == {"one", "two"}
    assert result["n_nuclei"] == 2 * TRUE.max()
    json.dumps(result, allow_nan=False)
