"""Prompts, what they ask for, and steps of prompt-group-aware training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from promptgroup_helpers import make_network
from training_helpers import make_image

from napari_nucleus.models.promptgroup.losses import GroupConfig, LossConfig, SegmentationConfig
from napari_nucleus.models.promptgroup.words import read_text, split_words
from napari_nucleus.training.batches import TrainingImages
from napari_nucleus.training.data import CONSEP_DEVELOPMENT
from napari_nucleus.training.paraphrases import ALL_NUCLEI, BY_CLASS, paraphrases
from napari_nucleus.training.prompt_bank import (
    ALL_CLASSES,
    QUALITIES,
    bank,
    bank_texts,
    compound,
    draw_group,
    vary,
)
from napari_nucleus.training.prompt_batches import (
    GroupPlan,
    draw_batch,
    group_batches,
    load_crops,
    save_crops,
    see_crops,
)
from napari_nucleus.training.prompt_targets import GroupShares, draw_classes, wanted_mask
from napari_nucleus.training.promptgroup import GroupLoss, ramp
from napari_nucleus.training.sampler import SamplerConfig

PLAN = GroupPlan(sizes=((0.5, 32, 2), (1.0, 64, 1)))


@pytest.fixture(scope="module")
def crops():
    images = TrainingImages(
        {"consep": [make_image((96, 96), seed=s, n=14) for s in (1, 2)]}, [], []
    )
    plain = SamplerConfig(exact=1.0, paste=0.0, dirt=0.0)
    return see_crops(make_network(), images, 4, 64, plain, 0, lambda _: None)


# ---- prompts


def test_the_bank_has_both_types_in_three_qualities() -> None:
    for classes in (ALL_CLASSES, *((c,) for c in ALL_CLASSES)):
        assert {p.quality for p in bank(classes)} == set(QUALITIES)
        assert all(p.classes == classes for p in bank(classes))


def test_no_prompt_that_was_kept_out_is_in_the_bank() -> None:
    kept_out = {*ALL_NUCLEI, *(text for texts in BY_CLASS.values() for text in texts)}
    assert not kept_out & set(bank_texts())
    assert len(paraphrases()) == 30
    assert all(len(texts) == 12 for texts in BY_CLASS.values())


def test_every_prompt_is_short_enough_and_made_of_known_words() -> None:
    for text in (*bank_texts(), *ALL_NUCLEI, *(t for texts in BY_CLASS.values() for t in texts)):
        assert len(split_words(text)) <= 30
        assert not read_text(text).unknown, text


def test_a_group_has_no_prompt_twice_and_half_of_them_one_of_each_quality() -> None:
    rng = np.random.default_rng(0)
    groups = [draw_group((2,), rng) for _ in range(60)]
    assert all(len({p.text for p in group}) == 3 for group in groups)
    share = np.mean([{p.quality for p in group} == set(QUALITIES) for group in groups])
    assert share > 0.5
    one_of_each = [draw_group(ALL_CLASSES, rng, by_quality=1.0) for _ in range(20)]
    assert all({p.quality for p in group} == set(QUALITIES) for group in one_of_each)
    assert len({group[0].quality for group in one_of_each}) == 3  # any may be the reference


def test_prompts_for_several_classes_name_them_or_what_is_left_out() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        prompt = compound((2, 3, 4), rng)
        named = {c for word in read_text(prompt.text).naming for c in _classes(word)}
        assert named & {2, 3, 4} or named & {1, 5}
        assert not read_text(prompt.text).unknown


def _classes(word: str) -> tuple[int, ...]:
    from napari_nucleus.models.promptgroup.words import meaning

    return meaning(word)


def test_another_wording_turns_nothing_into_its_opposite() -> None:
    rng = np.random.default_rng(0)
    negating = {"no", "not", "without", "excluding", "except", "ignore", "skip", "non", "but"}
    for _ in range(300):
        words = set(split_words(vary("find tumor nuclei", rng, 1.0)))
        assert not words & negating


def test_unvaried_prompts_are_the_bank_s() -> None:
    assert vary("find, all nuclei", np.random.default_rng(0), 0.0) == "find , all nuclei"


# ---- what is asked for


def class_map(**squares: int) -> np.ndarray:
    out = np.zeros((32, 32), np.uint8)
    for i, value in enumerate(squares.values()):
        out[8 * i : 8 * i + 6, 2:10] = value
    return out


def test_all_nuclei_are_asked_for_whatever_their_class() -> None:
    wanted = wanted_mask(class_map(a=2, b=255, c=15), ALL_CLASSES)
    assert wanted.mask.sum() == 3 * 48
    assert wanted.known.all()
    assert wanted.present == 1


def test_nuclei_of_unknown_class_are_unknown_to_a_prompt_for_one() -> None:
    wanted = wanted_mask(class_map(a=2, b=255), (2,))
    assert wanted.mask.sum() == 48
    assert (~wanted.known).sum() == 48


@pytest.mark.parametrize("classes", [(1,), (5,), (1, 5), (1, 2, 5)])
def test_epithelium_of_either_kind_belongs_to_prompts_for_both(classes: tuple[int, ...]) -> None:
    assert wanted_mask(class_map(a=15), classes).mask.sum() == 48


def test_epithelium_of_either_kind_is_unclear_where_one_kind_is_left_out() -> None:
    wanted = wanted_mask(class_map(a=15, b=2), (2, 3, 4, 5))
    assert wanted.mask.sum() == 48
    assert (~wanted.known).sum() == 48


def test_a_class_that_is_not_there_is_known_to_be_absent() -> None:
    assert wanted_mask(class_map(a=2), (3,)).present == 0
    assert wanted_mask(class_map(a=255), (3,)).present == 0
    assert wanted_mask(class_map(a=255), (4,)).present == -1  # it may be a dead one


def test_the_first_group_asks_for_all_and_others_for_classes_there_and_not() -> None:
    rng = np.random.default_rng(0)
    shares = GroupShares(by_class=2, negative=0.3, several=0.0)
    drawn = [draw_classes(class_map(a=2, b=3), shares, rng) for _ in range(200)]
    assert all(groups[0] == ALL_CLASSES and len(groups) == 3 for groups in drawn)
    others = [group for groups in drawn for group in groups[1:]]
    absent = np.mean([group in ((1,), (4,), (5,)) for group in others])
    assert 0.2 < absent < 0.4


def test_only_all_nuclei_are_asked_for_where_classes_are_not_known() -> None:
    rng = np.random.default_rng(0)
    assert draw_classes(class_map(a=255, b=255), GroupShares(), rng) == [ALL_CLASSES]


# ---- steps


def test_crops_are_kept_as_they_were_seen(crops, tmp_path: Path) -> None:
    save_crops(crops, tmp_path / "crops.pt")
    again = load_crops(tmp_path / "crops.pt")
    assert len(again) == len(crops) == 4
    assert torch.equal(again.seen.fine, crops.seen.fine)
    assert np.array_equal(again.class_map, crops.class_map)


def test_a_piece_of_a_crop_is_the_same_square_at_every_stride(crops) -> None:
    seen, labels = crops.piece(1, 16, 32, 32)
    assert torch.equal(seen.fine, crops.seen.fine[1, :, 8:24, 16:32].float())
    assert torch.equal(seen.coarse, crops.seen.coarse[1, :, 2:6, 4:8].float())
    assert np.array_equal(labels, crops.class_map[1, 16:48, 32:64])


def test_a_batch_holds_groups_of_prompts_with_their_targets(crops) -> None:
    batch = draw_batch(crops, PLAN, 32, 2, np.random.default_rng(0))
    groups = len(batch.piece)
    assert len(batch.texts) == len(batch.prompts) == 3 * groups
    assert batch.mask.shape == batch.known.shape == (groups, 32, 32)
    assert batch.wanted.shape == (groups, 5)
    for i in range(groups):
        asked = {prompt.classes for prompt in batch.prompts[3 * i : 3 * i + 3]}
        assert len(asked) == 1
        (classes,) = asked
        assert batch.wanted[i].tolist() == [float(c in classes) for c in ALL_CLASSES]


def test_batches_of_a_run_have_the_sizes_of_its_plan(crops) -> None:
    sizes = [b.mask.shape[-1] for b in group_batches(crops, PLAN, 4, seed=0)]
    assert sizes == [32, 32, 64, 64]
    assert len(list(group_batches(crops, PLAN, 4, seed=0, start=3))) == 1


@pytest.mark.parametrize("mode", ["reweight", "literal", "off"])
def test_a_step_trains_text_and_detector_and_leaves_the_encoder(crops, mode) -> None:
    network = make_network().train()
    network.vision.requires_grad_(False)
    plan = replace(PLAN, loss=LossConfig(group=GroupConfig(mode=mode)))
    loss = GroupLoss(plan, 10, torch.device("cpu"), autocast=False)
    value, parts = loss(network, draw_batch(crops, PLAN, 32, 2, np.random.default_rng(0)), 9)
    value.backward()
    assert all(p.grad is None for p in network.vision.parameters())
    assert network.text.words.weight.grad is not None
    projection = network.sam3.mask_decoder.semantic_projection
    assert projection.weight.grad is not None
    assert float(projection.weight.grad.abs().sum()) > 0
    assert {"plain", "group", "consistency", "weight_low"} <= set(parts) | {"weight_low"}


def test_group_terms_wait_for_the_warm_up_and_rise_as_long() -> None:
    assert [ramp(s, 100, 0.3) for s in (0, 30, 45, 60, 99)] == pytest.approx([0, 0, 0.5, 1, 1])


def test_with_group_terms_the_loss_differs_after_the_warm_up_alone(crops) -> None:
    network = make_network()
    batch = draw_batch(crops, PLAN, 32, 2, np.random.default_rng(0))
    off = replace(PLAN, loss=LossConfig(group=GroupConfig(mode="off")))

    def total(plan: GroupPlan, step: int) -> float:
        loss = GroupLoss(plan, 10, torch.device("cpu"), autocast=False)
        return float(loss(network, batch, step)[0].detach())

    assert total(PLAN, 0) == pytest.approx(total(off, 0))
    assert total(PLAN, 9) != pytest.approx(total(off, 9), abs=1e-6)


def test_a_few_crops_are_learned_by_heart(crops) -> None:
    torch.manual_seed(0)
    network = make_network().train()
    network.vision.requires_grad_(False)
    plan = replace(
        PLAN,
        varied=0.0,
        shares=GroupShares(by_class=0),
        loss=LossConfig(SegmentationConfig(mask=10.0), GroupConfig(mode="off")),
    )
    loss = GroupLoss(plan, 60, torch.device("cpu"), autocast=False)
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], 1e-2)
    rng = np.random.default_rng(0)
    values = []
    for step in range(40):
        value, _ = loss(network, draw_batch(crops, plan, 64, 1, rng), step)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    assert np.mean(values[-5:]) < 0.7 * np.mean(values[:5])


def test_the_development_split_is_never_looked_at_in_training() -> None:
    from napari_nucleus.training import promptgroup_recipe

    source = Path(promptgroup_recipe.__file__).read_text()
    assert "load_training_images" in source  # which leaves the split out
    assert not any(name in source for name in CONSEP_DEVELOPMENT)
