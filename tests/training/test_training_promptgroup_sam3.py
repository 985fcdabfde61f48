"""SAM3 is trained by the same groups of prompts, through its queries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from promptgroup_helpers import write_sam3
from training_helpers import make_image

from napari_nucleus.models.promptgroup.sam3 import Sam3Network, freeze_text
from napari_nucleus.models.promptgroup.sam3_build import adopt_checkpoint, restore_network
from napari_nucleus.models.promptgroup.set_loss import boxes_of_masks, native_loss
from napari_nucleus.training.batches import TrainingImages
from napari_nucleus.training.prompt_batches import GroupPlan, pixel_batches
from napari_nucleus.training.promptgroup import GroupLoss
from napari_nucleus.training.recipes import TrainingOrder, train_model
from napari_nucleus.training.sam3_recipe import Sam3Recipe
from napari_nucleus.training.sampler import CropSampler, SamplerConfig

PLAN = GroupPlan(varied=0.0, warmup=0.0, answer="queries", native=1.0)


@pytest.fixture(scope="module")
def adopted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sam3")
    adopt_checkpoint(write_sam3(folder / "theirs"), folder / "sam3.safetensors")
    return folder / "sam3.safetensors"


@pytest.fixture
def batch():
    images = {"consep": [make_image((96, 96), seed=1, n=14)]}
    crops = CropSampler(images, (), 32, SamplerConfig(exact=1.0, paste=0.0, dirt=0.0))
    return next(pixel_batches(crops, PLAN, 1, seed=0))


def test_batches_of_pixels_tell_the_nuclei_one_by_one(batch) -> None:
    assert batch.seen.shape == (1, 3, 32, 32)
    assert len(batch.nuclei) == len(batch.piece)
    for masks, union in zip(batch.nuclei, batch.mask, strict=True):
        assert torch.equal(masks.any(0), union)


def test_a_step_trains_queries_and_leaves_the_text_encoder(adopted: Path, batch) -> None:
    network: Sam3Network = restore_network(adopted)[0].train()
    freeze_text(network)
    loss = GroupLoss(PLAN, 10, torch.device("cpu"), autocast=False)
    value, parts = loss(network, batch, 5)
    value.backward()
    assert {"native", "group", "consistency"} <= set(parts)
    assert "wanted" not in parts
    assert all(p.grad is None for p in network.sam3.text_encoder.parameters())
    embed = network.sam3.mask_decoder.mask_embedder.layers[0].weight.grad
    assert embed is not None
    assert float(embed.abs().sum()) > 0


def test_the_semantic_answer_can_be_trained_in_place_of_the_queries(adopted: Path, batch) -> None:
    network = restore_network(adopted)[0].train()
    plan = replace(PLAN, answer="semantic", native=0.0)
    value, _ = GroupLoss(plan, 10, torch.device("cpu"), autocast=False)(network, batch, 5)
    value.backward()
    assert network.sam3.mask_decoder.semantic_projection.weight.grad is not None


def test_boxes_are_tight_and_in_shares_of_the_tile() -> None:
    masks = torch.zeros(1, 10, 20, dtype=torch.bool)
    masks[0, 2:5, 4:12] = True
    torch.testing.assert_close(boxes_of_masks(masks), torch.tensor([[0.4, 0.35, 0.4, 0.3]]))


def test_the_set_loss_is_least_where_queries_are_the_nuclei() -> None:
    masks = torch.zeros(2, 16, 16, dtype=torch.bool)
    masks[0, 2:6, 2:6], masks[1, 9:14, 8:13] = True, True
    right = 20 * (2 * masks.float() - 1)
    boxes = torch.tensor([[2, 2, 6, 6], [8, 9, 13, 14]]) / 16
    sure = torch.tensor([8.0, 8.0])
    best = native_loss(right, sure, boxes, masks)
    assert float(best) < 0.1
    assert float(native_loss(right.flip(0), sure, boxes.flip(0), masks)) < 0.1  # whatever the order
    assert float(native_loss(right, -sure, boxes, masks)) > 10
    assert float(native_loss(right, sure, boxes + 0.2, masks)) > float(best) + 1
    assert float(native_loss(-right, sure, boxes, masks)) > float(best) + 10


def test_queries_of_an_absent_class_are_to_be_unsure() -> None:
    none = torch.zeros(0, 8, 8, dtype=torch.bool)
    masks, boxes = torch.zeros(2, 8, 8), torch.tensor([[0.1, 0.1, 0.2, 0.2]] * 2)
    unsure, sure = (native_loss(masks, torch.full((2,), s), boxes, none) for s in (-9.0, 9.0))
    assert float(unsure) < 1e-3 < float(sure)


def test_fine_tuned_weights_can_be_used_as_adopted_ones(
    adopted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_nucleus.training import sam3_recipe

    images = TrainingImages({"consep": [make_image((96, 96), seed=1, n=14)]}, [], [])
    monkeypatch.setattr(sam3_recipe, "load_training_images", lambda *_: images)
    real = sam3_recipe._recipe
    monkeypatch.setattr(sam3_recipe, "_recipe", lambda steps: _small(real(steps)))
    said: list[str] = []
    order = TrainingOrder(tmp_path, tmp_path / "run", steps=2, device="cpu", start=adopted)
    train_model("sam3", order, said.append)
    before, after = (
        restore_network(file)[0].state_dict()
        for file in (adopted, tmp_path / "run" / "sam3.safetensors")
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any("mask_decoder" in name for name in changed)
    assert not any("text_encoder" in name for name in changed)
    assert np.isfinite([float(v.abs().sum()) for v in after.values()]).all()


def _small(recipe: Sam3Recipe) -> Sam3Recipe:
    return replace(recipe, crop=32)
