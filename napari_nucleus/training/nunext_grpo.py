"""Reinforcement of the NuNext nano on windows that the frozen encoder has seen (MODELS.md C.3).

The nano is the policy: it draws answers through its grammar and tells how likely they are. Masks
for the reward are those that the frozen segmenter makes of single points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from napari_nucleus.core.morphology import suppress_overlaps
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.prompts import MaskPrediction, Prompts
from napari_nucleus.models.nunext.generation import Sampling, generate
from napari_nucleus.models.nunext.grammar import Grammar
from napari_nucleus.models.nunext.losses import GrpoConfig
from napari_nucleus.models.nunext.network import CELL, Looked, NuNext, Seen, Written
from napari_nucleus.models.uninuc.decoding import decode_all, obey_clicks, prediction_of
from napari_nucleus.models.uninuc.network import Segmenter
from napari_nucleus.models.uninuc.prompting import prompt_batch
from napari_nucleus.training.batches import network_pixels_of
from napari_nucleus.training.data import AnnotatedImage
from napari_nucleus.training.grpo import Rollouts, Verdict, frozen_copy, reinforce, run_config
from napari_nucleus.training.loop import resumed_step
from napari_nucleus.training.nunext_batches import SeenWindows
from napari_nucleus.training.nunext_rewards import Truth, verdict

__all__ = [
    "NuNextPolicy",
    "ReinforcementPlan",
    "Scene",
    "WindowMasks",
    "draw_scenes",
    "judge_scenes",
    "mean_reward",
    "reinforce_nunext",
    "scene_of",
    "score_rewards",
]


@dataclass(frozen=True, slots=True)
class ReinforcementPlan:
    """How long the stage is and what a step is made of.

    Parameters
    ----------
    steps, every
        Updates in all, and after how many it is reported, kept and scored.
    size, windows
        Side of the windows in pixels, and how many groups a step has.
    bias
        Factor on the guide of what is sampled.
    most_points
        After so many an answer is made to end: one that rambles costs memory and time.
    """

    steps: int = 500
    every: int = 50
    size: int = 128
    windows: int = 2
    bias: float = 1.0
    most_points: int = 120


class WindowMasks:
    """Label maps that a frozen segmenter makes of points of one window.

    Points of one cell are decoded once, at its middle: the rollouts of a group share most of their
    masks. Of masks that cover each other the one of better predicted IoU stays, and lies on top.

    Parameters
    ----------
    segmenter, seen
        UniNuc's, and what it saw of the one window.
    corner
        ``(2,)`` y and x of the window in its frame, in pixels.
    size
        Side of the window in pixels.
    cell
        Side of a cell in pixels.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        seen: Seen,
        corner: NDArray[np.int64],
        size: int,
        cell: int = 2,
    ) -> None:
        self.segmenter, self.corner, self.size, self.cell = segmenter, corner, size, cell
        self._projected = (seen.f0.float(), seen.f1.float(), seen.f2.float())
        self._kept: dict[tuple[int, ...], MaskPrediction] = {}

    def __call__(self, yx: NDArray[np.float64]) -> NDArray[np.int32]:
        """Return the label map ``(size, size)`` of points ``(n, 2)`` in pixels of the frame.

        Points outside of the window make no mask.
        """
        local = yx - self.corner
        inside = ((local >= 0) & (local < self.size)).all(axis=1)
        cells = (local[inside] // self.cell).astype(int)
        wanted = list(dict.fromkeys(map(tuple, cells.tolist())))
        missing = [p for p in wanted if p not in self._kept]
        if missing:
            self._kept.update(zip(missing, self._decoded(missing), strict=True))
        found = [self._kept[p] for p in wanted if self._kept[p].area]
        nuclei = Nuclei.from_masks(
            [f.mask for f in found],
            np.array([f.box[:2] for f in found], np.int64).reshape(-1, 2),
            np.array([f.iou for f in found], np.float32),
        )
        return suppress_overlaps(nuclei).to_labels((self.size, self.size))

    def _decoded(self, cells: Sequence[tuple[int, ...]]) -> list[MaskPrediction]:
        config, shape = self.segmenter.config.decoder, (self.size, self.size)
        middles = (np.array(cells) + 0.5) * self.cell
        prompts = [Prompts(m[None], np.ones(1, bool)) for m in middles]
        batch = prompt_batch(prompts, (1.0, 1.0), config)
        answers = decode_all(self.segmenter, self._projected, batch)
        answers = replace(answers, logits=obey_clicks(answers.logits, batch))
        windows = batch.windows.numpy().astype(np.float64)
        return [prediction_of(answers, windows, i, shape, p) for i, p in enumerate(prompts)]


@dataclass(frozen=True, eq=False, slots=True)
class Scene:
    """A window and its nuclei.

    Parameters
    ----------
    seen
        Of one window.
    corner
        ``(1, 2)`` y and x of it in the frame.
    truth
        Its nuclei: points in the frame, labels of the window, without the nuclei whose centres lie
        outside.
    masks
        Makes label maps of points in the frame.
    """

    seen: Seen
    corner: Tensor
    truth: Truth
    masks: WindowMasks


def scene_of(
    network: NuNext,
    seen: Seen,
    labels: NDArray[np.integer],
    corner: NDArray[np.int64],
    begin: tuple[int, int] = (0, 0),
    mpp: float = 0.25,
) -> Scene:
    """Return a window of an annotated picture.

    Parameters
    ----------
    seen
        Of the one square window.
    labels
        ``(H, W)`` of the picture.
    corner
        ``(2,)`` where the window lies in the frame, whole cells.
    begin
        y and x at which the window begins in the picture.
    mpp
        µm per pixel.
    """
    size = seen.f2.shape[-1] * CELL
    nuclei, ids = Nuclei.from_labels(labels)
    points = nuclei.centroids_yx - begin
    inside = ((points >= 0) & (points < size)).all(axis=1)
    window = labels[begin[0] : begin[0] + size, begin[1] : begin[1] + size].astype(np.int32)
    truth = Truth(
        points[inside] + corner,
        network.config.sequence.frame,
        np.where(np.isin(window, ids[inside]), window, 0),
        mpp,
    )
    masks = WindowMasks(network.segmenter, seen, corner, size)
    return Scene(seen, torch.from_numpy(corner)[None], truth, masks)


def draw_scenes(
    windows: SeenWindows, network: NuNext, plan: ReinforcementPlan, seed: int, start: int = 0
) -> Iterator[list[Scene]]:
    """Yield windows of crops without end from step ``start`` on, each anywhere in the frame."""
    rng = np.random.default_rng([seed, start, 7])
    size = min(plan.size, windows.size)
    most, room = (windows.size - size) // CELL, (network.config.sequence.frame - size) // CELL
    device = network.roles.device
    while True:
        scenes = []
        for _ in range(plan.windows):
            i = int(rng.integers(len(windows)))
            y, x = (CELL * int(v) for v in rng.integers(0, most + 1, 2))
            parts = []
            for value in windows.seen:
                stride = windows.size // value.shape[-1]
                a, b, n = y // stride, x // stride, size // stride
                parts.append(value[i : i + 1, :, a : a + n, b : b + n].float().to(device))
            corner = CELL * rng.integers(0, room + 1, 2)
            scenes.append(scene_of(network, Seen(*parts), windows.labels[i], corner, (y, x)))
        yield scenes


class NuNextPolicy:
    """The nano as a policy over `Scene`.

    Nothing of it is dropped out, so that what it tells of an answer is what it was drawn with.
    """

    def __init__(
        self,
        network: NuNext,
        config: GrpoConfig,
        plan: ReinforcementPlan,
        seed: int = 0,
    ) -> None:
        self.network, self.bias = network, plan.bias
        self.sampling = Sampling(config.temperature, config.top_p)
        most = min(plan.most_points, network.config.sequence.max_points)
        sequence = replace(network.config.sequence, max_points=most)
        # The same weights, which stop writing earlier.
        self._writer = copy(network)
        self._writer.config = replace(network.config, sequence=sequence)
        device = network.roles.device
        self.generator = torch.Generator(device).manual_seed(seed)
        margin = sequence.line * sequence.bins // sequence.frame
        self.grammar = Grammar(network.vocabulary, sequence.max_points, margin, device=device)

    @torch.no_grad()
    def rollout(self, seen: Scene, n: int) -> Rollouts:
        """Draw ``n`` answers; `Rollouts` with begin first, filled up with stop."""
        looked = self._look(seen, n)
        answer = generate(
            self._writer, looked, self.bias, sampling=self.sampling, generator=self.generator
        )
        begin = torch.full((n, 1), self.network.vocabulary.begin, device=answer.tokens.device)
        tokens = torch.cat([begin, answer.tokens], 1)
        log_probs, counted = self._told(looked, tokens)
        return Rollouts(tokens, counted, log_probs)

    def log_probs(self, seen: Scene, rollouts: Rollouts) -> Tensor:
        """Return the log-probabilities ``(G, L)``; 0 where a token could not have been other."""
        return self._told(self._look(seen, len(rollouts.tokens)), rollouts.tokens)[0]

    def _look(self, scene: Scene, n: int) -> Looked:
        """Return what ``n`` answers about one scene are written from."""
        self.network.eval()
        device = self.network.roles.device
        seen = Seen(*(value.expand(n, -1, -1, -1) for value in scene.seen))
        sizes = torch.full((n, 2), scene.masks.size, device=device)
        return self.network.look(seen, sizes, scene.corner.to(device).expand(n, -1))

    def _told(self, looked: Looked, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log-probability of each token, and whether it could have been another."""
        body = tokens[:, 1:]
        counts = (body == self.network.vocabulary.end).int().argmax(1) // 3
        length = 3 * int(counts.max()) + 1
        body = body[:, :length]
        allowed = self._allowed(body)
        said = self.network(looked, self._written(body, counts), self.bias)
        logits = said.logits[:, :length].masked_fill(~allowed, -torch.inf)
        log_p = torch.log_softmax(logits / self.sampling.temperature, 2)
        told = log_p.gather(2, body[..., None])[..., 0]
        rest = (1, tokens.shape[1] - 1 - length)
        return F.pad(told, rest), F.pad(allowed.sum(2) > 1, rest)

    def _written(self, body: Tensor, counts: Tensor) -> Written:
        """Return the ``counts`` ``(G,)`` points of answers after begin, filled up, one at least."""
        most = max(int(counts.max()), 1)
        points = F.pad(body, (0, max(3 * most - body.shape[1], 0)))[:, : 3 * most]
        real = torch.arange(most, device=body.device) < counts[:, None]
        x, y, separator = points.unflatten(1, (most, 3)).unbind(2)
        x, y = torch.where(real, x, 0), torch.where(real, y, 0)
        return Written(x, y, torch.where(real, separator, self.network.vocabulary.separators[0]))

    def _allowed(self, body: Tensor) -> Tensor:
        """Return ``(G, L, V)``: the tokens that could have been at each place."""
        state, masks = self.grammar.start(len(body)), []
        for token in body.unbind(1):
            masks.append(self.grammar.allowed(state))
            state = self.grammar.advance(state, token)
        return torch.stack(masks, 1)


def judge_scenes(network: NuNext, config: GrpoConfig) -> Callable[[Scene, Tensor], Verdict]:
    """Return the judge of answers about scenes."""

    def judge(scene: Scene, tokens: Tensor) -> Verdict:
        return verdict(tokens, scene.truth, network.vocabulary, config, scene.masks)

    return judge


@torch.no_grad()
def mean_reward(
    network: NuNext, scenes: Sequence[Scene], config: GrpoConfig, bias: float = 1.0
) -> dict[str, float]:
    """Return the mean reward, F1, PQ and number of points of the likeliest answers about scenes."""
    network.eval()
    told: list[Mapping[str, float]] = []
    judge = judge_scenes(network, config)
    for scene in scenes:
        sizes = torch.full((1, 2), scene.masks.size, device=network.roles.device)
        looked = network.look(scene.seen, sizes, scene.corner.to(network.roles.device))
        tokens = generate(network, looked, bias).tokens
        begin = torch.full((1, 1), network.vocabulary.begin, device=tokens.device)
        found = judge(scene, torch.cat([begin, tokens], 1))
        told.append({"reward": float(found.reward[0]), **found.told})
    return {name: round(float(np.mean([t[name] for t in told])), 4) for name in told[0]}


def score_rewards(
    images: Sequence[AnnotatedImage], config: GrpoConfig, plan: ReinforcementPlan, most: int = 3
) -> Callable[[nn.Module], dict[str, float]]:
    """Return a function that scores the likeliest answers about windows of annotated images.

    Windows of the plan's size on the diagonal of each image, at most so many an image; means as
    `mean_reward`.
    """
    scenes: list[Scene] = []

    def look(network: NuNext) -> None:
        device = network.roles.device
        for image in images:
            height, width = image.labels.shape
            count = max(min(most, height // plan.size, width // plan.size), 1)
            for i in range(count):
                y, x = (int((i + 0.5) * n / count - plan.size / 2) for n in (height, width))
                rgb = image.rgb[y : y + plan.size, x : x + plan.size]
                seen = network.see(network_pixels_of([rgb], device))
                corner = np.zeros(2, np.int64)
                scenes.append(scene_of(network, seen, image.labels, corner, (y, x)))

    def score(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, NuNext)
        if not scenes:  # the encoder is frozen: it looks once
            look(model)
        return mean_reward(model, scenes, config, plan.bias)

    return score


def reinforce_nunext(
    network: NuNext,
    windows: SeenWindows,
    config: GrpoConfig,
    plan: ReinforcementPlan,
    folder: Path,
    seed: int,
    score: Callable[[nn.Module], Mapping[str, float]] | None = None,
    best_by: str = "reward",
    say: Callable[[str], None] = print,
) -> nn.Module:
    """Reinforce a network that was trained with supervision, and return the averaged one.

    The network as it is given is the reference. ``folder``, ``score``, ``best_by`` and ``say`` are
    as for `loop.fit`.
    """
    reference = frozen_copy(network)
    assert isinstance(reference, NuNext)
    start = resumed_step(folder)
    return reinforce(
        NuNextPolicy(network, config, plan, seed + start),
        NuNextPolicy(reference, config, plan),
        draw_scenes(windows, network, plan, seed, start),
        judge_scenes(network, config),
        config,
        run_config(config, plan.steps, plan.every),
        folder,
        score,
        best_by,
        say,
    )
