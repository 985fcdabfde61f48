"""What NuNext is taught: windows, answers with faults and what is right after them, and steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from nunext_nano_helpers import TINY_NEXT, make_next
from training_helpers import make_image

from napari_nucleus.models.nunext.losses import IGNORED, CovtConfig
from napari_nucleus.models.nunext.tokens import encode_points
from napari_nucleus.training.batches import TrainingImages
from napari_nucleus.training.nunext import NuNextLoss, SupervisedConfig, latent_mask
from napari_nucleus.training.nunext_batches import (
    NuNextPlan,
    draw_windows,
    load_windows,
    save_windows,
    see_windows,
    window_batches,
)
from napari_nucleus.training.nunext_checks import score_points
from napari_nucleus.training.sampler import SamplerConfig

RIGHT = NuNextPlan(sizes=((0.5, 32, 3), (1.0, 64, 2)), left_out=0, added=0, off=0, sparse=0)


@pytest.fixture(scope="module")
def windows():
    images = TrainingImages(
        {"consep": [make_image((96, 96), seed=s, n=14) for s in (1, 2)]}, [], []
    )
    plain = SamplerConfig(exact=1.0, paste=0.0, dirt=0.0)
    return see_windows(make_next().segmenter, images, 5, 64, plain, 0, lambda _: None, blank=5)


def drawn(windows, plan: NuNextPlan = RIGHT, size: int = 64, count: int = 4, seed: int = 0):
    network = make_next()
    rng = np.random.default_rng(seed)
    return network, draw_windows(
        windows, network.config, network.vocabulary, plan, size, count, rng
    )


# ---- windows


def test_the_last_crop_is_empty_glass(windows) -> None:
    assert len(windows.points[4]) == 0
    assert not windows.labels[4].any()
    assert all(len(windows.points[i]) for i in range(4))


def test_windows_come_back_from_a_file(windows, tmp_path: Path) -> None:
    save_windows(windows, tmp_path / "windows.pt")
    again = load_windows(tmp_path / "windows.pt")
    assert torch.equal(again.seen.f1, windows.seen.f1)
    assert all(np.array_equal(a, b) for a, b in zip(again.points, windows.points, strict=True))


def test_a_window_is_cut_and_mirrored_with_its_truth(windows) -> None:
    _, batch = drawn(windows, size=32, count=12)
    for b in range(12):
        inside = batch.union[b].numpy()
        for y, x in batch.points[b]:
            assert 0 <= y <= 32
            assert 0 <= x <= 32
            assert inside[min(int(y), 31), min(int(x), 31)]
    assert (batch.corner % 8 == 0).all()
    assert (batch.corner + 32 <= 64).all()


def test_batches_go_from_small_windows_to_large_ones(windows) -> None:
    network = make_next()
    batches = window_batches(windows, network.config, network.vocabulary, RIGHT, 4, 0)
    assert [b.union.shape[0] for b in batches] == [3, 3, 2, 2]


# ---- answers


def test_an_answer_without_faults_is_the_encoded_points(windows) -> None:
    network, batch = drawn(windows)
    v = network.vocabulary
    for b, points in enumerate(batch.points):
        expected = encode_points(
            points + batch.corner[b].numpy(), None, v, 64, TINY_NEXT.sequence.line
        )
        target = batch.target[b][: max(3 * len(points), 0) + 1].tolist()
        # Classes aside, what is right next is the answer from its second token on.
        for i, (said, right) in enumerate(zip(target, expected[1:], strict=False)):
            if i % 3 != 2:
                assert said == right
        assert (batch.target[b, 3 * len(points) + 1 :] == IGNORED).all()
        assert batch.written.x[b, : len(points)].tolist() == expected[1 : 3 * len(points) : 3]


def test_the_classes_that_are_right_are_told_and_unknown_ones_are_not_learned(windows) -> None:
    network, batch = drawn(windows, count=8)
    separators = set(network.vocabulary.separators[1:])
    told = batch.target[:, 2::3]
    sets = batch.class_sets[:, 2::3]
    assert {v for v in told.flatten().tolist() if v != IGNORED} <= separators
    assert (sets.any(2) == (told != IGNORED)).all()
    assert (sets.sum(2) == 2).any()  # neoplastic or epithelial


def test_after_a_point_that_is_none_the_next_true_one_is_right(windows) -> None:
    plan = replace(RIGHT, added=0.5, off=1.0)
    network, batch = drawn(windows, plan, count=12, seed=3)
    v = network.vocabulary
    faults = 0
    for b, points in enumerate(batch.points):
        ids = encode_points(points + batch.corner[b].numpy(), None, v, 64, TINY_NEXT.sequence.line)
        right = [*ids[1:-2:3], v.end] if len(points) else [v.none[0], v.end]
        firsts = [t for t in batch.target[b, 0::3].tolist() if t != IGNORED]
        assert without_repeats(firsts) in (without_repeats(right), [v.none[0]])
        faults += len(firsts) - len(right)
    assert faults > 0


def test_a_point_that_was_left_out_is_still_right_before_the_others(windows) -> None:
    network, batch = drawn(windows, replace(RIGHT, left_out=1.0))
    v = network.vocabulary
    for b, points in enumerate(batch.points):
        ids = encode_points(points + batch.corner[b].numpy(), None, v, 64, TINY_NEXT.sequence.line)
        assert batch.target[b].tolist() == [ids[1]]


def without_repeats(ids: list[int]) -> list[int]:
    return [v for i, v in enumerate(ids) if not i or v != ids[i - 1]]


# ---- steps


def test_a_few_steps_lower_the_loss_and_leave_the_eyes_alone(windows) -> None:
    network, batch = drawn(windows)
    before = {k: v.clone() for k, v in network.segmenter.state_dict().items()}
    loss = NuNextLoss(SupervisedConfig(covt=CovtConfig(warm=0)), torch.device("cpu"), False, 0)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    values = []
    for step in range(12):
        value, parts = loss(network, batch, step)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    assert set(parts) == {"words", "union"}
    assert values[-1] < 0.8 * values[0]
    assert all(torch.equal(v, before[k]) for k, v in network.segmenter.state_dict().items())


def test_the_mask_of_the_latent_tokens_teaches_them_through_the_frozen_segmenter(windows) -> None:
    network, batch = drawn(windows, count=2)
    latent = torch.randn(2, 3, 16, requires_grad=True)
    logits = latent_mask(network, batch.seen, latent)
    assert logits.shape == (2, 32, 32)
    logits.sum().backward()
    assert latent.grad is not None
    assert latent.grad.abs().sum() > 0
    assert all(p.grad is None for p in network.segmenter.parameters())


def test_without_the_latent_tokens_nothing_is_learned_of_the_mask(windows) -> None:
    network, batch = drawn(windows, count=2)
    loss = NuNextLoss(SupervisedConfig(covt=CovtConfig(alpha=0)), torch.device("cpu"), False, 0)
    value, parts = loss(network, batch, 100)
    assert "union" not in parts
    value.backward()
    assert network.latent[0].weight.grad is None


def test_scores_are_those_of_peaks_words_and_both() -> None:
    images = [make_image((64, 64), seed=5, n=6)]
    scores = score_points(images, window=64, every=1)(make_next())
    assert set(scores) == {"peaks", "words", "f1"}
    assert all(0 <= v <= 1 for v in scores.values())
