"""The nano as a policy: what it draws, what it tells of it, and that it learns from its reward."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from uninuc_helpers import TINY

from napari_nucleus.core.prompts import MaskPrediction
from napari_nucleus.models.nunext.config import LanguageConfig, NuNextConfig, SequenceConfig
from napari_nucleus.models.nunext.losses import GrpoConfig
from napari_nucleus.models.nunext.network import NuNext, Seen
from napari_nucleus.models.nunext.tokens import decode_points
from napari_nucleus.models.uninuc.network import UniNuc
from napari_nucleus.training.grpo import Rollouts
from napari_nucleus.training.nunext_batches import SeenWindows
from napari_nucleus.training.nunext_grpo import (
    NuNextPolicy,
    ReinforcementPlan,
    Scene,
    WindowMasks,
    draw_scenes,
    judge_scenes,
    mean_reward,
    reinforce_nunext,
    scene_of,
)

SMALL = NuNextConfig(
    language=LanguageConfig(dim=32, heads=2, layers=2, ffn_dim=32, waves=8),
    sequence=SequenceConfig(bins=32, frame=64, line=16, latent=2, max_points=4),
)
CONFIG = GrpoConfig(reward="detection", radius_um=2.0, learning_rate=3e-3, top_p=1.0)
LABELS = np.zeros((64, 64), np.int32)
LABELS[10:18, 10:18] = 3
LABELS[22:30, 22:34] = 7
LABELS[40:50, 38:48] = 9


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(1)
    return UniNuc(TINY).segmenter


@pytest.fixture
def network(segmenter) -> NuNext:
    torch.manual_seed(0)
    return NuNext(SMALL, segmenter)


@pytest.fixture(scope="module")
def seen(segmenter) -> Seen:
    generator = torch.Generator().manual_seed(2)
    network = NuNext(SMALL, segmenter)
    return network.see(torch.randn(1, 3, 64, 64, generator=generator))


@pytest.fixture
def windows(seen: Seen) -> SeenWindows:
    points = np.array([[13.5, 13.5], [25.5, 27.5], [44.5, 42.5]])
    return SeenWindows(
        Seen(*(v.half() for v in seen)),
        LABELS[None].astype(np.int16),
        (points,),
        (np.array([1, 2, 3], np.uint8),),
    )


def part(seen: Seen, size: int) -> Seen:
    """The first ``size`` pixels of a window of 64."""
    return Seen(*(v[..., : v.shape[-1] * size // 64, : v.shape[-1] * size // 64] for v in seen))


@pytest.fixture
def scene(network: NuNext, seen: Seen) -> Scene:
    return scene_of(network, seen, LABELS, np.array([0, 0]))


# ---- scenes


def test_a_scene_has_the_nuclei_whose_centres_it_shows_where_the_frame_puts_them(
    network: NuNext, seen: Seen
) -> None:
    scene = scene_of(network, part(seen, 32), LABELS, np.array([8, 24]), (0, 0))
    centres = np.array([[14.0, 14.0], [26.0, 28.0]])
    np.testing.assert_allclose(scene.truth.yx, centres + np.array([8, 24]))
    assert scene.truth.labels is not None
    assert scene.truth.labels.shape == (32, 32)
    assert set(np.unique(scene.truth.labels)) == {0, 3, 7}


def test_a_nucleus_whose_centre_is_outside_is_not_in_the_labels(
    network: NuNext, seen: Seen
) -> None:
    scene = scene_of(network, part(seen, 32), LABELS, np.array([0, 0]), (16, 16))
    np.testing.assert_allclose(scene.truth.yx, [[10, 12], [29, 27]])
    assert scene.truth.labels is not None
    assert set(np.unique(scene.truth.labels)) == {0, 7, 9}
    assert (LABELS[16:48, 16:48] == 3).any()


def test_drawn_scenes_are_cut_from_what_was_seen(network: NuNext, windows: SeenWindows) -> None:
    plan = ReinforcementPlan(size=32, windows=3)
    drawn = next(draw_scenes(windows, network, plan, seed=4))
    again = next(draw_scenes(windows, network, plan, seed=4))
    assert len(drawn) == 3
    for scene, same in zip(drawn, again, strict=True):
        assert torch.equal(scene.seen.f0, same.seen.f0)
        assert scene.seen.f0.shape[-2:] == (16, 16)
        assert scene.seen.f2.shape[-2:] == (4, 4)
        # Where the nuclei lie in the window tells where the window was cut.
        labels = scene.truth.labels
        assert labels is not None
        whole = windows.seen.f0.float()
        places = [
            (y, x)
            for y in range(0, 17, 4)
            for x in range(0, 17, 4)
            if torch.equal(whole[..., y : y + 16, x : x + 16], scene.seen.f0)
        ]
        assert len(places) == 1
        y, x = 2 * places[0][0], 2 * places[0][1]
        shown = LABELS[y : y + 32, x : x + 32]
        assert (shown[labels > 0] == labels[labels > 0]).all()
        assert ((scene.truth.yx >= scene.corner.numpy()).all(axis=1)).all()


# ---- masks of points


class CountedMasks(WindowMasks):
    decoded = 0

    def _decoded(self, cells: Sequence[tuple[int, ...]]) -> list[MaskPrediction]:
        self.decoded += len(cells)
        return super()._decoded(cells)


@pytest.fixture
def masks(segmenter, seen: Seen) -> CountedMasks:
    return CountedMasks(segmenter, part(seen, 32), np.array([8, 16]), 32)


def test_a_point_makes_a_mask_under_it(masks: CountedMasks) -> None:
    labels = masks(np.array([[20.5, 30.5]]))
    assert labels.shape == (32, 32)
    assert labels[12, 14] == 1


def test_each_cell_is_decoded_once(masks: CountedMasks) -> None:
    points = np.array([[20.5, 30.5], [30.2, 40.9]])
    first = masks(points)
    again = masks(points + np.array([0.0, 0.9]))
    assert masks.decoded == 2
    assert (first == again).all()
    masks(points[:1] + np.array([0.0, 2.0]))
    assert masks.decoded == 3


def test_a_point_twice_makes_one_nucleus_and_one_outside_none(masks: CountedMasks) -> None:
    once = masks(np.array([[20.5, 30.5]]))
    twice = masks(np.array([[20.5, 30.5], [20.6, 30.4], [3.0, 30.0], [20.0, 60.0]]))
    assert (once == twice).all()
    assert not masks(np.zeros((0, 2))).any()


# ---- the policy


def policy_of(
    network: NuNext, bias: float = 0.0, config: GrpoConfig = CONFIG, most: int = 100, seed: int = 0
) -> NuNextPolicy:
    return NuNextPolicy(network, config, ReinforcementPlan(bias=bias, most_points=most), seed)


def drawn(network: NuNext, scene: Scene, n: int = 16, bias: float = 0.0) -> Rollouts:
    return policy_of(network, bias).rollout(scene, n)


def test_what_is_told_again_of_an_answer_is_what_it_was_drawn_with(
    network: NuNext, scene: Scene
) -> None:
    network.train()
    policy = policy_of(network)
    rollouts = policy.rollout(scene, 16)
    again = policy.log_probs(scene, rollouts)
    torch.testing.assert_close(again.detach(), rollouts.log_probs)
    assert again.requires_grad
    assert torch.isfinite(again).all()


@pytest.mark.parametrize("bias", [0.0, 1.0])
def test_answers_are_drawn_as_often_as_they_are_told_to_be_likely(
    segmenter, seen: Seen, bias: float
) -> None:
    torch.manual_seed(0)
    few = replace(SMALL.sequence, bins=4, max_points=1, line=64)
    network = NuNext(replace(SMALL, sequence=few), segmenter)
    network.guide.config = replace(SMALL.guide, least=1e-4, floor=0.02)
    scene = scene_of(network, seen, LABELS, np.array([0, 0]))
    rollouts = drawn(network, scene, 600, bias)
    # x and y of the one point, or none and the end after it.
    answers, which, often = torch.unique(
        rollouts.tokens[:, 1:3], dim=0, return_inverse=True, return_counts=True
    )
    likely = rollouts.log_probs[:, 1:3].sum(1).exp()
    told = torch.zeros(len(answers)).scatter(0, which, likely)
    assert len(answers) > 8
    assert float((often / 600 - told).abs().max()) < 0.05
    assert float(told.sum()) == pytest.approx(1, abs=0.05)


def test_temperature_is_the_one_that_was_drawn_with(network: NuNext, scene: Scene) -> None:
    rollouts = drawn(network, scene)
    hot = policy_of(network, config=replace(CONFIG, temperature=5.0)).log_probs(scene, rollouts)
    first = rollouts.counted[:, 1]
    assert float(hot[first, 1].std()) < float(rollouts.log_probs[first, 1].std())


def test_tokens_that_could_not_have_been_others_are_not_counted(
    network: NuNext, scene: Scene
) -> None:
    rollouts = drawn(network, scene, 40)
    v = network.vocabulary
    tokens, counted = rollouts.tokens, rollouts.counted
    assert (tokens[:, 0] == v.begin).all()
    assert not counted[:, 0].any()
    assert not counted[tokens == v.stop].any()
    full = (tokens == v.end).int().argmax(1) == 1 + 3 * SMALL.sequence.max_points
    assert full.any()
    assert not full.all()
    ends = (tokens == v.end) & counted
    assert not ends[full].any()
    assert not rollouts.log_probs[~counted].any()
    separators = torch.isin(tokens, torch.tensor(v.separators))
    assert counted[separators].all()


def test_an_answer_ends_after_as_many_points_as_the_plan_allows(
    network: NuNext, scene: Scene
) -> None:
    policy = policy_of(network, most=2)
    rollouts = policy.rollout(scene, 40)
    v = network.vocabulary
    points = (rollouts.tokens == v.end).int().argmax(1) // 3
    assert int(points.max()) == 2
    ends = (rollouts.tokens == v.end) & rollouts.counted
    assert not ends[points == 2].any()
    torch.testing.assert_close(policy.log_probs(scene, rollouts).detach(), rollouts.log_probs)
    assert network.config.sequence.max_points == SMALL.sequence.max_points


def test_rollouts_of_no_points_are_told_too(network: NuNext, scene: Scene) -> None:
    # Nothing is on the map of centres: with the guide nearly every answer is none.
    policy = policy_of(network, 1.0)
    rollouts = policy.rollout(scene, 4)
    assert (rollouts.tokens[:, 1] == network.vocabulary.none[0]).all()
    policy.log_probs(scene, rollouts).sum().backward()
    assert network.others.grad is not None


def test_the_likeliest_answer_is_scored_without_drawing(network: NuNext, scene: Scene) -> None:
    one = mean_reward(network, [scene, scene], CONFIG, 0.0)
    assert one == mean_reward(network, [scene], CONFIG, 0.0)
    assert set(one) == {"reward", "well_formed", "f1", "pq", "points"}
    assert one["reward"] == one["f1"]


# ---- the stage


def test_reinforcement_teaches_the_words_and_leaves_eyes_and_reference_alone(
    network: NuNext, windows: SeenWindows, tmp_path: Path
) -> None:
    eyes = copy.deepcopy(network.segmenter.state_dict())
    plan = ReinforcementPlan(steps=30, every=15, size=64, windows=1, bias=0.0)
    config = replace(CONFIG, group=16)
    scenes = next(draw_scenes(windows, network, plan, 0))

    def sampled() -> float:
        judge = judge_scenes(network, config)
        tokens = policy_of(network, config=config, seed=9).rollout(scenes[0], 200).tokens
        return float(judge(scenes[0], tokens).reward.mean())

    before = sampled()
    told: list[str] = []
    reinforce_nunext(network, windows, config, plan, tmp_path, 0, say=told.append)
    assert sampled() > before + 0.15
    assert all(torch.equal(v, eyes[k]) for k, v in network.segmenter.state_dict().items())
    assert (tmp_path / "checkpoint.pt").exists()
    assert "dropped" in told[0]


def test_masks_are_rewarded_if_asked_for(network: NuNext, scene: Scene) -> None:
    rollouts = drawn(network, scene)
    told = decode_points(rollouts.tokens[0].tolist(), network.vocabulary, SMALL.sequence.frame)
    assert len(told[0])
    # What the segmenter makes of the first answer is the truth.
    scene = replace(scene, truth=replace(scene.truth, labels=scene.masks(told[0])))
    found = judge_scenes(network, replace(CONFIG, reward="task", gamma=0.5))(scene, rollouts.tokens)
    plain = judge_scenes(network, CONFIG)(scene, rollouts.tokens)
    assert float(found.reward[0] - plain.reward[0]) == pytest.approx(0.5, abs=1e-5)
    expected = plain.told["f1"] + 0.5 * found.told["pq"]
    assert float(found.reward.mean()) == pytest.approx(expected, abs=1e-5)
