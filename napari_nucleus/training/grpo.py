"""Group-relative policy optimisation of a model that writes points (MODELS.md C.3).

Several sequences are sampled of one image and judged; each is praised or blamed against the mean of
its group. Two things are NuNext's own: groups whose rewards hardly differ are dropped, and within a
sequence the tokens of points that do not deserve the praise or the blame count for less. Knows no
tokens, no images and no rewards: a `Policy` samples, a `Judge` judges.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from napari_nucleus.models.nunext.losses import GrpoConfig
from napari_nucleus.training.loop import RunConfig, fit

__all__ = [
    "Experience",
    "Group",
    "Judge",
    "Policy",
    "Rollouts",
    "Verdict",
    "clipped_surrogate",
    "divergence",
    "experiences",
    "frozen_copy",
    "group_advantages",
    "group_loss",
    "keep_group",
    "policy_loss",
    "reinforce",
    "run_config",
    "token_advantages",
]


class Rollouts(NamedTuple):
    """Sequences sampled of one image, padded to one length; all ``(G, L)``.

    ``tokens``: ids. ``counted``: bool, False for padding and for tokens that could not have been
    others. ``log_probs``: of each token when it was sampled, at the temperature of the sampling
    and before its top-p; anything where not counted.
    """

    tokens: Tensor
    counted: Tensor
    log_probs: Tensor


class Verdict(NamedTuple):
    """What is thought of the rollouts of one image.

    ``reward`` ``(G,)``. ``hit`` ``(G, P)`` bool: the points that are nuclei, duplicates not among
    them. ``point_of`` ``(G, L)``: which of them a token belongs to, −1 for none. ``told``: numbers
    to log.
    """

    reward: Tensor
    hit: Tensor
    point_of: Tensor
    told: Mapping[str, float]


class Policy(Protocol):
    """A model that writes sequences about what it sees."""

    @property
    def network(self) -> nn.Module:
        """What is trained."""
        ...

    def rollout(self, seen: Any, n: int) -> Rollouts:
        """Sample ``n`` sequences about one image, without gradients."""
        ...

    def log_probs(self, seen: Any, rollouts: Rollouts) -> Tensor:
        """Return the log-probability of each token ``(G, L)`` now, as `Rollouts` has it."""
        ...


Judge = Callable[[Any, Tensor], Verdict]
"""Judges the tokens ``(G, L)`` of the rollouts of one image, given what was seen of it."""


class Group(NamedTuple):
    """Rollouts of one image to learn from: ``advantages`` and ``reference`` ``(G, L)``."""

    seen: Any
    rollouts: Rollouts
    advantages: Tensor
    reference: Tensor


@dataclass(frozen=True, eq=False, slots=True)
class Experience:
    """The groups of one batch of images that were kept, and numbers to log."""

    groups: tuple[Group, ...]
    told: Mapping[str, float]


def group_advantages(reward: Tensor) -> Tensor:
    """Return (r − mean) / (std + 1e-6) of the rewards ``(G,)`` of a group."""
    exact = reward.double()
    return ((exact - exact.mean()) / (exact.std(correction=0) + 1e-6)).float()


def keep_group(reward: Tensor, delta: float) -> bool:
    """Tell whether the rewards ``(G,)`` differ enough to learn from: a std of δ at least."""
    return float(reward.std(correction=0)) >= delta


def token_advantages(advantage: Tensor, hit: Tensor, point_of: Tensor, beta: float) -> Tensor:
    """Return the advantage of each token ``(G, L)``.

    Tokens of a wrong point in a rollout of positive advantage, and of a right point in one of
    negative advantage, have β of their rollout's; all others the whole.

    Parameters
    ----------
    advantage
        ``(G,)``.
    hit
        ``(G, P)`` bool, True for points that are nuclei.
    point_of
        ``(G, L)`` position among the points, −1 for tokens of none.
    beta
        Factor, 1 to leave all alike.
    """
    whole = advantage[:, None].expand(point_of.shape)
    if not hit.shape[1]:
        return whole.clone()
    right = hit.gather(1, point_of.clamp(min=0))
    undeserved = torch.where(whole > 0, ~right, right) & (point_of >= 0)
    return torch.where(undeserved, beta * whole, whole)


def clipped_surrogate(ratio: Tensor, advantage: Tensor, epsilon: float) -> Tensor:
    """Return min(ρ A, clip(ρ, 1 − ε, 1 + ε) A), of any shape."""
    return torch.minimum(ratio * advantage, ratio.clamp(1 - epsilon, 1 + epsilon) * advantage)


def divergence(log_probs: Tensor, reference: Tensor) -> Tensor:
    """Return the k3 estimate of the divergence from the reference, of any shape, 0 or more.

    exp(d) − d − 1 with d the reference's log-probability less the policy's.
    """
    d = reference - log_probs
    return d.exp() - d - 1


def policy_loss(
    log_probs: Tensor, rollouts: Rollouts, advantages: Tensor, reference: Tensor, config: GrpoConfig
) -> tuple[Tensor, dict[str, float]]:
    """Return what is to be descended for one group, and numbers to log.

    The negative of surrogate less weighted divergence: a mean over the counted tokens of each
    rollout, then over rollouts. All tensors are ``(G, L)``.
    """
    counted = rollouts.counted
    now = torch.where(counted, log_probs, 0)
    ratio = (now - torch.where(counted, rollouts.log_probs, 0)).exp()
    apart = divergence(now, torch.where(counted, reference, 0))
    gain = clipped_surrogate(ratio, advantages, config.epsilon) - config.kl * apart
    length = counted.sum(1).clamp(min=1)
    loss = -((gain * counted).sum(1) / length).mean()
    outside = ((ratio - 1).abs() > config.epsilon) & counted
    tokens = max(int(counted.sum()), 1)
    return loss, {
        "kl": float((apart * counted).sum().detach()) / tokens,
        "clipped": int(outside.sum()) / tokens,
    }


def experiences(
    policy: Policy,
    reference: Policy,
    batches: Iterable[Iterable[Any]],
    judge: Judge,
    config: GrpoConfig,
) -> Iterator[Experience]:
    """Yield what the policy of the moment makes of each batch of images, ``updates`` times.

    Each image gives a group of rollouts. Groups that teach nothing are left out, so that an
    experience may have none; ``told`` has the share of them, the mean reward before anything was
    left out, and the means of what the judge tells.
    """
    for batch in batches:
        groups: list[Group] = []
        told: list[dict[str, float]] = []
        for seen in batch:
            rollouts = policy.rollout(seen, config.group)
            verdict = judge(seen, rollouts.tokens)
            kept = not config.low_variance_filter or keep_group(verdict.reward, config.delta)
            told.append(
                {
                    "reward": float(verdict.reward.mean()),
                    "spread": float(verdict.reward.std(correction=0)),
                    "dropped": float(not kept),
                    **verdict.told,
                }
            )
            if kept:
                groups.append(_group(reference, seen, rollouts, verdict, config))
        means = {name: sum(t[name] for t in told) / len(told) for name in told[0]} if told else {}
        experience = Experience(tuple(groups), means)
        for _ in range(config.updates):
            yield experience


def _group(
    reference: Policy, seen: Any, rollouts: Rollouts, verdict: Verdict, config: GrpoConfig
) -> Group:
    beta = config.beta if config.fine_grained else 1.0
    advantage = group_advantages(verdict.reward)
    with torch.no_grad():
        before = reference.log_probs(seen, rollouts)
    tokens = token_advantages(advantage, verdict.hit, verdict.point_of, beta)
    return Group(seen, rollouts, tokens, before)


def group_loss(
    policy: Policy, experience: Experience, config: GrpoConfig
) -> tuple[Tensor, dict[str, float]]:
    """Return the mean loss of the groups of an experience, and numbers to log.

    Where no group was kept the loss is a constant: it gives no weight a gradient.
    """
    if not experience.groups:
        return torch.zeros((), requires_grad=True), {**experience.told, "kl": 0.0, "clipped": 0.0}
    losses, told = [], []
    for group in experience.groups:
        log_probs = policy.log_probs(group.seen, group.rollouts)
        loss, numbers = policy_loss(
            log_probs, group.rollouts, group.advantages, group.reference, config
        )
        losses.append(loss)
        told.append(numbers)
    means = {name: sum(t[name] for t in told) / len(told) for name in told[0]}
    return torch.stack(losses).mean(), {**experience.told, **means}


def frozen_copy(network: nn.Module) -> nn.Module:
    """Return a copy of a network that nothing trains, for the reference."""
    copied = copy.deepcopy(network).eval()
    return copied.requires_grad_(False)


def run_config(config: GrpoConfig, steps: int, every: int) -> RunConfig:
    """Return a run of ``steps`` updates at the rate of the objective.

    ``every`` as many updates it is reported, kept and scored.
    """
    return RunConfig(
        steps=steps,
        warmup=max(steps // 20, 1),
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        clip=config.clip,
        ema=0.95,
        report_every=every,
        checkpoint_every=every,
        score_every=every,
    )


def reinforce(
    policy: Policy,
    reference: Policy,
    batches: Iterable[Iterable[Any]],
    judge: Judge,
    config: GrpoConfig,
    run: RunConfig,
    folder: Path,
    score: Callable[[nn.Module], Mapping[str, float]] | None = None,
    best_by: str = "reward",
    say: Callable[[str], None] = print,
) -> nn.Module:
    """Train the policy's network by reinforcement and return the averaged one.

    Parameters
    ----------
    policy, reference
        The model, and how it was before (see `frozen_copy`).
    batches
        Endless batches of images, as the policy and the judge see them.
    run, folder, score, best_by, say
        As for `loop.fit`; a step of ``run`` is one update.
    """
    trained = [p for p in policy.network.parameters() if p.requires_grad]
    return fit(
        policy.network,
        [{"params": trained}],
        experiences(policy, reference, batches, judge, config),
        lambda _network, experience, _step: group_loss(policy, experience, config),
        run,
        folder,
        score,
        best_by,
        say,
    )
