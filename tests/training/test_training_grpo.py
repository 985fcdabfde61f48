"""Each term of the reinforcement stage against a hand computation, and that it teaches."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from napari_nucleus.models.nunext.grammar import Grammar, State
from napari_nucleus.models.nunext.losses import GrpoConfig
from napari_nucleus.models.nunext.tokens import Vocabulary
from napari_nucleus.training.grpo import (
    Experience,
    Rollouts,
    Verdict,
    clipped_surrogate,
    divergence,
    experiences,
    frozen_copy,
    group_advantages,
    group_loss,
    keep_group,
    policy_loss,
    reinforce,
    run_config,
    token_advantages,
)
from napari_nucleus.training.nunext_rewards import Truth, verdict

rewards = st.lists(st.floats(0, 1.5), min_size=2, max_size=8).map(torch.tensor)


# ---- advantages


def test_an_advantage_is_how_many_deviations_a_reward_is_above_its_group() -> None:
    got = group_advantages(torch.tensor([1.0, 0.0, 0.5, 0.5]))
    torch.testing.assert_close(got, torch.tensor([2**0.5, -(2**0.5), 0, 0]), atol=1e-4, rtol=0)


@given(rewards)
def test_advantages_of_a_group_have_mean_zero_and_keep_its_order(reward: Tensor) -> None:
    advantage = group_advantages(reward)
    assert float(advantage.mean()) == pytest.approx(0, abs=1e-2)
    order = reward.argsort(stable=True)
    assert (advantage[order].diff() >= 0).all()


@given(st.floats(0, 1.5), st.integers(2, 8))
def test_a_group_of_equal_rewards_is_dropped(reward: float, n: int) -> None:
    assert not keep_group(torch.full((n,), reward), 0.02)


def test_a_group_is_kept_from_a_deviation_of_delta_on() -> None:
    assert keep_group(torch.tensor([0.5, 0.55]), 0.02)
    assert not keep_group(torch.tensor([0.5, 0.53]), 0.02)


# ---- fine-grained shaping

HIT = torch.tensor([[True, False], [True, False]])
POINT_OF = torch.tensor([[-1, 0, 0, 1, 1, -1], [-1, 0, 0, 1, 1, -1]])


def test_wrong_points_of_a_good_rollout_and_right_ones_of_a_bad_one_count_for_beta() -> None:
    got = token_advantages(torch.tensor([2.0, -1.0]), HIT, POINT_OF, 0.5)
    assert got.tolist() == [[2, 2, 2, 1, 1, 2], [-1, -0.5, -0.5, -1, -1, -1]]


def test_without_shaping_every_token_has_its_rollout_s_advantage() -> None:
    got = token_advantages(torch.tensor([2.0, -1.0]), HIT, POINT_OF, 1.0)
    assert got.tolist() == [[2.0] * 6, [-1.0] * 6]
    nothing = token_advantages(torch.tensor([2.0]), torch.zeros(1, 0), POINT_OF[:1] * 0 - 1, 0.5)
    assert nothing.tolist() == [[2.0] * 6]


@given(
    st.lists(st.floats(-3, 3), min_size=1, max_size=4),
    st.floats(0.01, 1),
    st.integers(0, 1000),
)
def test_shaping_never_turns_an_advantage_round_nor_makes_it_larger(
    advantage: list[float], beta: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = len(advantage)
    hit = torch.rand(rows, 3, generator=generator) > 0.5
    point_of = torch.randint(-1, 3, (rows, 9), generator=generator)
    whole = torch.tensor(advantage)[:, None]
    got = token_advantages(whole[:, 0], hit, point_of, beta)
    assert (got * whole >= 0).all()
    assert (got.abs() <= whole.abs() + 1e-6).all()
    assert torch.equal(got[point_of < 0], whole.expand(rows, 9)[point_of < 0])


# ---- the clipped surrogate and the divergence


def test_at_a_ratio_of_one_the_surrogate_is_the_advantage() -> None:
    advantage = torch.tensor([-2.0, 0.0, 3.0])
    assert torch.equal(clipped_surrogate(torch.ones(3), advantage, 0.2), advantage)


@pytest.mark.parametrize(
    ("ratio", "advantage", "value"),
    [
        (1.1, 2.0, 2.2),
        (1.5, 2.0, 2.4),
        (0.5, 2.0, 1.0),
        (1.5, -2.0, -3.0),
        (0.5, -2.0, -1.6),
        (0.9, -2.0, -1.8),
    ],
)
def test_the_surrogate_stops_counting_gains_beyond_epsilon(
    ratio: float, advantage: float, value: float
) -> None:
    got = clipped_surrogate(torch.tensor(ratio), torch.tensor(advantage), 0.2)
    assert float(got) == pytest.approx(value)


def test_the_divergence_is_k3() -> None:
    got = divergence(torch.tensor([0.0, math.log(0.5)]), torch.tensor([0.0, 0.0]))
    assert got.tolist() == pytest.approx([0, 2 - math.log(2) - 1])


@given(st.floats(-6, 0), st.floats(-6, 0))
def test_the_divergence_is_never_negative(log_p: float, reference: float) -> None:
    assert float(divergence(torch.tensor(log_p), torch.tensor(reference))) >= -1e-5


def test_the_divergence_is_the_kullback_leibler_divergence_on_average() -> None:
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.2, 0.6])
    expected = float((p * (p / q).log()).sum())
    assert float((p * divergence(p.log(), q.log())).sum()) == pytest.approx(expected, abs=1e-6)


# ---- the loss of a group


def test_the_loss_is_a_mean_over_the_tokens_of_a_rollout_then_over_rollouts() -> None:
    counted = torch.tensor([[True, False, False, False], [True, True, True, True]])
    zeros = torch.zeros(2, 4)
    advantages = torch.tensor([[1.0, 9, 9, 9], [-2.0, -2, -2, -2]])
    loss, _ = policy_loss(
        zeros, Rollouts(zeros.long(), counted, zeros), advantages, zeros, GrpoConfig(kl=0)
    )
    # Not DAPO's mean over all tokens, which would be -(1 - 8) / 5.
    assert float(loss) == pytest.approx(-(1 - 2) / 2)


def test_the_loss_of_one_token_is_surrogate_less_weighted_divergence() -> None:
    now, old, reference = math.log(0.6), math.log(0.4), math.log(0.3)
    rollouts = Rollouts(
        torch.zeros(1, 1).long(), torch.ones(1, 1, dtype=torch.bool), torch.tensor([[old]])
    )
    loss, told = policy_loss(
        torch.tensor([[now]]),
        rollouts,
        torch.tensor([[2.0]]),
        torch.tensor([[reference]]),
        GrpoConfig(kl=0.1, epsilon=0.2),
    )
    k3 = 0.5 - math.log(0.5) - 1
    assert float(loss) == pytest.approx(-(1.2 * 2 - 0.1 * k3), abs=1e-6)
    assert told == {"kl": pytest.approx(k3, abs=1e-6), "clipped": 1.0}


def test_tokens_that_do_not_count_may_hold_anything() -> None:
    counted = torch.tensor([[True, False]])
    log_probs = torch.tensor([[-1.0, -torch.inf]], requires_grad=True)
    rollouts = Rollouts(torch.zeros(1, 2).long(), counted, torch.tensor([[-1.0, torch.nan]]))
    loss, _ = policy_loss(
        log_probs, rollouts, torch.ones(1, 2), torch.tensor([[-1.0, -torch.inf]]), GrpoConfig()
    )
    loss.backward()
    assert float(loss.detach()) == -1
    assert log_probs.grad is not None
    assert log_probs.grad.tolist() == [[-1.0, 0.0]]


# ---- a toy: a table of logits for each place of a sequence

VOCABULARY = Vocabulary.nano(8, 0, 0)
GRAMMAR = Grammar(VOCABULARY, max_points=3)
CONFIG = GrpoConfig(reward="detection", radius_um=1.0, learning_rate=0.1, kl=0.001)
TRUTH = Truth(np.array([[1.5, 2.5], [5.5, 6.5]]), 8, mpp=1.0)
PLACES = 3 * GRAMMAR.max_points + 2


class Table(nn.Module):
    """Logits of each token at each place, whatever was said before."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.zeros(PLACES, VOCABULARY.size))


class TablePolicy:
    """Samples from a `Table` what the grammar allows; it sees nothing."""

    def __init__(self, network: Table, seed: int = 0) -> None:
        self.network: Any = network
        self.generator = torch.Generator().manual_seed(seed)

    @torch.no_grad()
    def rollout(self, seen: Any, n: int) -> Rollouts:
        state, tokens, log_probs, counted = GRAMMAR.start(n), [], [], []
        for place in range(PLACES):
            counted.append(GRAMMAR.allowed(state).sum(1) > 1)
            log_p = self.log_p(place, state)
            token = torch.multinomial(log_p.exp(), 1, generator=self.generator)
            state = GRAMMAR.advance(state, token[:, 0])
            tokens.append(token[:, 0])
            log_probs.append(log_p.gather(1, token)[:, 0])
        begin = torch.full((n, 1), VOCABULARY.begin)
        first = torch.zeros(n, 1)
        return Rollouts(
            torch.cat([begin, torch.stack(tokens, 1)], 1),
            torch.cat([first.bool(), torch.stack(counted, 1)], 1),
            torch.cat([first, torch.stack(log_probs, 1)], 1),
        )

    def log_probs(self, seen: Any, rollouts: Rollouts) -> Tensor:
        state = GRAMMAR.start(len(rollouts.tokens))
        told = [torch.zeros(len(rollouts.tokens))]
        for place in range(PLACES):
            token = rollouts.tokens[:, place + 1]
            told.append(self.log_p(place, state).gather(1, token[:, None])[:, 0])
            state = GRAMMAR.advance(state, token)
        return torch.stack(told, 1)

    def log_p(self, place: int, state: State) -> Tensor:
        logits = self.network.rows[place].expand(len(state.phase), -1)
        return torch.log_softmax(GRAMMAR.constrain(logits, state), 1)


def judge(seen: Truth, tokens: Tensor) -> Verdict:
    return verdict(tokens, seen, VOCABULARY, CONFIG)


def pair() -> tuple[TablePolicy, TablePolicy]:
    network = Table()
    reference: Any = frozen_copy(network)
    return TablePolicy(network), TablePolicy(reference)


def first_experience(config: GrpoConfig) -> tuple[TablePolicy, Experience]:
    policy, reference = pair()
    return policy, next(experiences(policy, reference, [[TRUTH, TRUTH]], judge, config))


def test_the_reference_is_a_copy_that_nothing_trains() -> None:
    network = Table()
    copied = frozen_copy(network)
    network.rows.data += 1
    assert not any(p.requires_grad for p in copied.parameters())
    assert not next(copied.parameters()).any()


def test_in_the_first_update_all_ratios_are_one_and_nothing_is_apart() -> None:
    policy, experience = first_experience(CONFIG)
    loss, told = group_loss(policy, experience, CONFIG)
    assert told["kl"] == pytest.approx(0, abs=1e-6)
    assert told["clipped"] == 0
    means = [
        (g.advantages * g.rollouts.counted).sum(1) / g.rollouts.counted.sum(1)
        for g in experience.groups
    ]
    assert float(loss.detach()) == pytest.approx(-float(torch.stack(means).mean()), abs=1e-6)


def test_a_step_down_the_loss_makes_the_better_rollouts_likelier_and_the_worse_less() -> None:
    config = replace(CONFIG, fine_grained=False)
    policy, experience = first_experience(config)
    loss, _ = group_loss(policy, experience, config)
    loss.backward()
    rows = policy.network.rows
    with torch.no_grad():
        rows -= 0.1 * rows.grad
        gained = 0.0
        for group in experience.groups:
            after = policy.log_probs(group.seen, group.rollouts)
            change = ((after - group.rollouts.log_probs) * group.rollouts.counted).sum(1)
            length = group.rollouts.counted.sum(1)
            gained += float((group.advantages[:, 0] * change / length).sum())
            assert change[group.advantages[:, 0].argmax()] > 0
    assert gained > 0


def test_groups_that_teach_nothing_are_dropped_and_told() -> None:
    def equal(seen: Truth, tokens: Tensor) -> Verdict:
        return judge(seen, tokens)._replace(reward=torch.full((len(tokens),), 0.4))

    policy, reference = pair()
    experience = next(experiences(policy, reference, [[TRUTH, TRUTH]], equal, CONFIG))
    assert experience.groups == ()
    assert experience.told["dropped"] == 1
    assert experience.told["reward"] == pytest.approx(0.4)
    loss, _ = group_loss(policy, experience, CONFIG)
    loss.backward()
    assert policy.network.rows.grad is None
    unfiltered = replace(CONFIG, low_variance_filter=False)
    kept = next(experiences(policy, reference, [[TRUTH, TRUTH]], equal, unfiltered))
    assert len(kept.groups) == 2
    assert kept.told["dropped"] == 0


def test_only_what_teaches_something_of_a_batch_is_kept() -> None:
    def equal_at_first(seen: Truth, tokens: Tensor) -> Verdict:
        answer = judge(seen, tokens)
        return answer._replace(reward=answer.reward * (seen is TRUTH))

    policy, reference = pair()
    other = replace(TRUTH)
    experience = next(experiences(policy, reference, [[other, TRUTH]], equal_at_first, CONFIG))
    assert [g.seen is TRUTH for g in experience.groups] == [True]
    assert experience.told["dropped"] == 0.5


def test_shaping_is_a_switch() -> None:
    _, shaped = first_experience(CONFIG)
    _, plain = first_experience(replace(CONFIG, fine_grained=False))
    assert torch.equal(shaped.groups[0].rollouts.tokens, plain.groups[0].rollouts.tokens)
    assert not torch.equal(shaped.groups[0].advantages, plain.groups[0].advantages)
    one = plain.groups[0].advantages
    assert torch.equal(one, one[:, :1].expand_as(one))


def test_rollouts_are_used_for_as_many_updates_as_asked_for() -> None:
    config = replace(CONFIG, updates=3)
    policy, reference = pair()
    batches = iter([[TRUTH]] * 2)
    six = list(experiences(policy, reference, batches, judge, config))
    assert len(six) == 6
    assert six[0] is six[2]
    assert six[2] is not six[3]


def test_a_sequence_that_could_not_have_been_other_is_not_counted() -> None:
    policy, _ = pair()
    rollouts = policy.rollout(TRUTH, 20)
    after_end = rollouts.tokens == VOCABULARY.stop
    assert not rollouts.counted[after_end].any()
    assert not rollouts.counted[:, 0].any()
    # A separator has one spelling here; an end may be forced or chosen.
    assert not rollouts.counted[rollouts.tokens == VOCABULARY.separators[0]].any()


# ---- learning


def endless() -> Any:
    while True:
        yield [TRUTH]


@torch.no_grad()
def mean_reward(network: Table) -> float:
    tested = TablePolicy(network, seed=5)
    return float(judge(TRUTH, tested.rollout(TRUTH, 200).tokens).reward.mean())


@pytest.mark.parametrize(
    "change",
    [{}, {"fine_grained": False, "low_variance_filter": False}, {"updates": 2}],
    ids=["all", "plain", "two updates"],
)
def test_a_toy_learns_where_its_points_are(tmp_path: Path, change: dict[str, Any]) -> None:
    config = replace(CONFIG, group=16, **change)
    policy, reference = pair()
    before = mean_reward(policy.network)
    told: list[str] = []
    averaged = reinforce(
        policy,
        reference,
        endless(),
        judge,
        config,
        run_config(config, 120, 60),
        tmp_path,
        score=lambda network: {"reward": mean_reward(network)},  # type: ignore[arg-type]
        say=told.append,
    )
    after = mean_reward(averaged)  # type: ignore[arg-type]
    assert before < 0.2
    assert after > 0.6
    assert (tmp_path / "best.safetensors").exists()
    assert any("dropped" in line and "kl" in line for line in told)


def test_a_heavy_divergence_keeps_the_policy_near_its_reference(tmp_path: Path) -> None:
    def moved(kl: float) -> float:
        config = replace(CONFIG, kl=kl)
        policy, reference = pair()
        run = run_config(config, 40, 40)
        reinforce(policy, reference, endless(), judge, config, run, tmp_path / str(kl), say=str)
        return float(policy.network.rows.detach().abs().mean())

    assert moved(10.0) < 0.5 * moved(0.0)


def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    policy, reference = pair()
    run = replace(run_config(CONFIG, 6, 2), report_every=100)
    reinforce(policy, reference, endless(), judge, CONFIG, replace(run, steps=4), tmp_path, say=str)
    kept = copy.deepcopy(policy.network.rows.detach())
    again, reference = pair()
    told: list[str] = []
    reinforce(again, reference, endless(), judge, CONFIG, run, tmp_path, say=told.append)
    assert told[0] == "resumed at step 4"
    assert 0 < float((again.network.rows.detach() - kept).abs().max()) < 0.5
