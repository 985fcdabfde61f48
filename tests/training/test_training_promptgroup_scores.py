"""What ``evaluate text`` measures, and the recipe from start to packed weights, in small."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from promptgroup_helpers import INFO, TINY, make_network
from training_helpers import draw_labels, make_image, write_image
from uperhover_helpers import make_network as make_eyes

from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.errors import ImageError, ModelError
from napari_nucleus.models import zoo
from napari_nucleus.models.api import Calibration, Embedding, TextAnswer
from napari_nucleus.models.promptgroup.build import load_predictor
from napari_nucleus.models.uperhover.build import save_network as save_eyes
from napari_nucleus.training import promptgroup_recipe
from napari_nucleus.training.batches import TrainingImages
from napari_nucleus.training.loop import RunConfig
from napari_nucleus.training.prompt_batches import GroupPlan
from napari_nucleus.training.prompt_targets import Wanted, wanted_mask
from napari_nucleus.training.recipes import TrainingOrder, train_model
from napari_nucleus.training.sampler import SamplerConfig
from napari_nucleus.training.text_checks import score_texts
from napari_nucleus.training.text_scores import (
    Presence,
    bank_sample,
    dice,
    evaluate_texts,
    tile_truth,
)

NUCLEI = draw_labels((96, 112), 3, 14)
CLASSES = np.where(NUCLEI > 0, np.where(NUCLEI % 2, 2, 4), 0)


class Oracle:
    """Knows the truth of one picture and answers texts with it, or with a part of it."""

    info = replace(INFO, tile=256)
    digest = "oracle"

    def __init__(self, misses: str = "") -> None:
        self.misses = misses
        self.asked: list[str] = []

    def calibrate(self, samples, mpp):
        return Calibration(1.0, 0.25)

    def embed(self, tile, calibration=None):
        return Embedding({}, tile.shape, tile.frame, calibration, self.digest)

    def answer(self, embedding, text):
        self.asked.append(text)
        return TextAnswer(text, self._found(text, embedding.shape), 1.0, 1.0)

    def answer_many(self, embedding, texts):
        return [self.answer(embedding, text) for text in texts]

    def query(self, tile, text, calibration=None):
        return self.answer(self.embed(tile), text)

    def segment(self, tile, calibration=None):
        prob = np.zeros((int(NUCLEI.max()), 5), np.float32)
        prob[np.arange(len(prob)), [1 if i % 2 else 2 for i in range(1, len(prob) + 1)]] = 1
        return Nuclei.from_labels(NUCLEI, prob)[0]

    def _found(self, text, shape):
        if self.misses and self.misses in text:
            return Nuclei.empty()
        odd = any(w in text for w in ("ymph", "mmun", "nflam", "euk", "oid", "plasma"))
        stroma = any(w in text for w in ("trom", "ibro", "onnect", "pindle", "thin", "mesench"))
        stroma |= any(w in text for w in ("elongated", "flat", "slender"))
        some = NUCLEI % 2 == 1 if odd else NUCLEI % 2 == 0 if stroma else NUCLEI > 0
        return Nuclei.from_labels(np.where(some, NUCLEI, 0)[: shape[0], : shape[1]])[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_image(tmp_path, "field", NUCLEI, ".png", CLASSES)
    return tmp_path


def evaluate(folder: Path, monkeypatch: pytest.MonkeyPatch, model: object) -> dict:
    monkeypatch.setattr(zoo, "load_model", lambda *_: model)
    monkeypatch.setattr(zoo, "describe", lambda *_: Oracle.info)
    return evaluate_texts(folder, "any", 0.25, (), "cpu", None)


def test_a_model_that_is_right_scores_one_however_it_is_asked(folder, monkeypatch) -> None:
    scores = evaluate(folder, monkeypatch, Oracle())
    row = scores["texts"]["inflammatory"]
    assert row["dice"] == row["ratio"] == row["baseline"] == 1
    assert row["sd"] == 0
    assert row["texts"] == 12
    assert scores["texts"]["all"]["texts"] == 30
    assert "epithelial" not in scores["texts"]  # there is none in the picture
    assert scores["presence"]["inflammatory"]["found_where_present"] == 1
    assert json.loads(json.dumps(scores)) == scores


def test_texts_that_are_not_understood_cost_score_and_steadiness(folder, monkeypatch) -> None:
    row = evaluate(folder, monkeypatch, Oracle("infiltrat"))["texts"]["inflammatory"]
    assert row["dice"] == pytest.approx(10 / 12, abs=1e-3)
    assert row["sd"] > 0.3
    assert row["worst"]["dice"] == 0
    assert "infiltrat" in row["worst"]["text"]


def test_the_prompts_of_the_bank_are_scored_by_quality(folder, monkeypatch) -> None:
    oracle = Oracle()
    quality = evaluate(folder, monkeypatch, oracle)["quality"]
    assert {"low", "medium", "high", "mean", "sd", "sd_between"} == set(quality["all"])
    assert set(bank_sample((2,), "high")) <= set(oracle.asked)


def test_models_that_answer_no_texts_are_refused(folder, monkeypatch) -> None:
    with pytest.raises(ModelError, match="no texts"):
        evaluate(folder, monkeypatch, object())


def test_folders_without_classes_are_refused(tmp_path, monkeypatch) -> None:
    with pytest.raises(ImageError, match=r"NAME_cls\.png"):
        evaluate(tmp_path, monkeypatch, Oracle())


def test_pixels_of_unknown_class_are_left_out_of_dice() -> None:
    wanted = Wanted(np.eye(4, dtype=bool), np.arange(16).reshape(4, 4) < 12, 1)
    answer = np.eye(4, dtype=bool)
    answer[3] = True
    assert dice(answer, wanted) == 1
    assert dice(~answer, wanted) < 1
    nothing = Wanted(np.zeros((4, 4), bool), np.ones((4, 4), bool), 0)
    assert dice(np.zeros((4, 4), bool), nothing) == 1


def test_a_tile_with_less_than_half_a_nucleus_is_not_counted() -> None:
    labels = np.zeros((8, 8), np.int32)
    labels[2:6, 2:6] = 1
    for width, truth in ((2, 0), (3, -1), (4, 1), (8, 1)):
        part = (slice(0, 8), slice(0, width))
        wanted = wanted_mask((labels[part] > 0).astype(np.uint8) * 2, (2,))
        assert tile_truth(labels, part, wanted) == truth


def test_presence_counts_answers_where_there_is_something_and_where_not() -> None:
    counts = Presence()
    mask = np.eye(3, dtype=bool)
    there = Wanted(mask, np.ones((3, 3), bool), 1)
    nothing = Wanted(np.zeros((3, 3), bool), np.ones((3, 3), bool), 0)
    counts.add(1, mask, there)
    counts.add(1, ~mask, there)
    counts.add(0, np.zeros((3, 3), bool), nothing)
    counts.add(-1, mask, there)
    assert counts.shares() == {
        "absent": 1,
        "empty_where_absent": 1.0,
        "present": 2,
        "found_where_present": 0.5,
    }


def test_checks_in_training_tell_each_concept_and_presence() -> None:
    scores = score_texts([make_image((64, 64), seed=1)], window=64, every=1)(make_network())
    assert {"dice_all", "dice_inflammatory", "dice_epithelial", "told", "score"} <= set(scores)
    assert all(0 <= value <= 1 for value in scores.values())


def test_the_recipe_goes_from_crops_to_packed_weights_and_resumes(tmp_path, monkeypatch) -> None:
    image = make_image((96, 96), seed=1, n=14)
    images = TrainingImages({"consep": [image]}, [], [image])
    save_eyes(make_eyes(TINY.vision), tmp_path / "eyes.safetensors", None, {})
    monkeypatch.setattr(promptgroup_recipe, "load_training_images", lambda *_: images)
    monkeypatch.setattr(promptgroup_recipe, "load_consep", lambda *_: [image])
    monkeypatch.setattr(zoo, "weights_file", lambda _: tmp_path / "eyes.safetensors")
    real = promptgroup_recipe.promptgroup_recipe

    def small(device: torch.device, steps: int | None) -> promptgroup_recipe.PromptGroupRecipe:
        recipe = real(device, steps)
        run = RunConfig(steps=2, warmup=1, score_every=2, checkpoint_every=1, report_every=1)
        return replace(
            recipe,
            config=TINY,
            plans=dict.fromkeys(recipe.plans, GroupPlan(sizes=((1.0, 32, 1),))),
            run=run,
            sampler=SamplerConfig(exact=1.0, paste=0.0, dirt=0.0),
            crops=(2, 64),
            reading=2,
            autocast=False,
        )

    monkeypatch.setattr(promptgroup_recipe, "promptgroup_recipe", small)
    said: list[str] = []
    order = TrainingOrder(tmp_path, tmp_path / "run", device="cpu")
    train_model("promptgroup-nano", order, said.append)
    predictor = load_predictor(INFO, tmp_path / "run" / "promptgroup-nano.safetensors", "cpu")
    assert predictor.settings == TINY
    eyes = make_eyes(TINY.vision).half().float().state_dict()
    for name, value in predictor.network.vision.state_dict().items():
        torch.testing.assert_close(value, eyes[name], msg=name)
    train_model("promptgroup-nano", replace(order, stage="ungrouped"), said.append)
    assert (tmp_path / "run" / "ungrouped" / "best.safetensors").exists()
    train_model("promptgroup-nano", replace(order, stage="grouped"), said.append)
    assert "resumed at step 2" in said


def test_a_stage_that_the_recipe_lacks_is_refused(tmp_path) -> None:
    order = TrainingOrder(tmp_path, tmp_path / "run", stage="third", device="cpu")
    with pytest.raises(ModelError, match="No stage"):
        train_model("promptgroup-nano", order, print)
