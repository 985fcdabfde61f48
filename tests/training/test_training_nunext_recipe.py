"""The recipe of the NuNext nano, in small: from crops to packed weights, and what is on request."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from nunext_nano_helpers import TINY_NEXT, make_next
from safetensors.torch import load_file
from training_helpers import make_image

from napari_nucleus.errors import ModelError, WeightsError
from napari_nucleus.models.nunext import build
from napari_nucleus.models.nunext.config import NuNextConfig
from napari_nucleus.models.nunext.network import NuNext
from napari_nucleus.models.weights import read_weights
from napari_nucleus.training import nunext_recipe
from napari_nucleus.training.batches import TrainingImages
from napari_nucleus.training.loop import RunConfig
from napari_nucleus.training.nunext_batches import NuNextPlan
from napari_nucleus.training.nunext_grpo import ReinforcementPlan
from napari_nucleus.training.recipes import TrainingOrder, train_model
from napari_nucleus.training.sampler import SamplerConfig

PARTS = ("low_variance_filter", "fine_grained", "reward")


@pytest.fixture
def order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainingOrder:
    image = make_image((96, 96), seed=1, n=14)
    images = TrainingImages({"consep": [image]}, [], [make_image((256, 256), seed=2, n=60)])
    real = nunext_recipe.nunext_recipe

    def small(device: torch.device, steps: int | None) -> nunext_recipe.NuNextRecipe:
        recipe = real(device, steps)
        return replace(
            recipe,
            config=TINY_NEXT,
            plan=NuNextPlan(sizes=((1.0, 32, 2),)),
            run=RunConfig(steps=2, warmup=1, score_every=2, checkpoint_every=1, report_every=1),
            grpo={
                stage: replace(rewards, group=3, delta=0.0)
                for stage, rewards in recipe.grpo.items()
            },
            reinforcement=ReinforcementPlan(
                steps=2, every=1, size=32, windows=1, bias=0.0, most_points=5
            ),
            sampler=SamplerConfig(exact=1.0, paste=0.0, dirt=0.0),
            crops=(2, 64),
            autocast=False,
        )

    def tiny(config: NuNextConfig) -> NuNext:
        return make_next(config)

    monkeypatch.setattr(nunext_recipe, "load_training_images", lambda *_: images)
    monkeypatch.setattr(nunext_recipe, "nunext_recipe", small)
    monkeypatch.setattr(nunext_recipe, "new_network", tiny)
    monkeypatch.setattr(build, "new_network", tiny)
    return TrainingOrder(tmp_path, tmp_path / "run", device="cpu")


def packed(order: TrainingOrder) -> dict[str, torch.Tensor]:
    return dict(read_weights(order.out / "nunext-nano.safetensors").tensors)


def test_the_recipe_goes_from_crops_to_packed_weights_and_resumes(order: TrainingOrder) -> None:
    said: list[str] = []
    train_model("nunext-nano", order, said.append)
    weights = read_weights(order.out / "nunext-nano.safetensors")
    assert weights.header["system"] == "nunext"
    assert not [name for name in weights.tensors if name.startswith("segmenter")]
    train_model("nunext-nano", replace(order, stage="supervised"), said.append)
    assert "resumed at step 2" in said
    for stage in ("naive", "soft"):
        train_model("nunext-nano", replace(order, stage=stage), said.append)
        assert (order.out / stage / "best.safetensors").exists()


def test_what_was_reinforced_is_packed(order: TrainingOrder) -> None:
    said: list[str] = []
    train_model("nunext-nano", order, said.append)
    supervised = packed(order)
    train_model("nunext-nano", replace(order, stage="reinforced"), said.append)
    assert any(line.startswith("before: ") and "'reward'" in line for line in said)
    best = load_file(order.out / "reinforced" / "best.safetensors")
    assert set(best) == set(load_file(order.out / "supervised" / "best.safetensors"))
    train_model("nunext-nano", replace(order, stage="pack"), said.append)
    reinforced = packed(order)
    assert any(not torch.equal(reinforced[name], supervised[name]) for name in supervised)


def test_each_part_of_the_rewards_can_be_left_out(order: TrainingOrder) -> None:
    train_model("nunext-nano", replace(order, stage="supervised"), lambda _: None)
    for stage in ("unfiltered", "coarse", "untasked"):
        train_model("nunext-nano", replace(order, stage=stage), lambda _: None)
        assert (order.out / stage / "best.safetensors").exists()
    grpo = nunext_recipe.nunext_recipe(torch.device("cpu"), None).grpo
    assert [len({getattr(g, f) for g in grpo.values()}) for f in PARTS] == [2, 2, 2]


def test_a_stage_needs_the_one_before(order: TrainingOrder) -> None:
    for stage in ("reinforced", "pack"):
        with pytest.raises(WeightsError, match="train the supervised stage first"):
            train_model("nunext-nano", replace(order, stage=stage), print)
    with pytest.raises(ModelError, match="No stage"):
        train_model("nunext-nano", replace(order, stage="third"), print)
