"""The training loop that all recipes share: schedule, averaging, checkpoints, resume, a log.

A run is a folder with ``checkpoint.pt`` (to resume), ``best.safetensors`` (averaged weights that
scored best on the development split) and ``log.jsonl`` (one line for each report or score).
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from napari_nucleus.errors import WeightsError

__all__ = [
    "RunConfig",
    "best_score",
    "ema_model",
    "fit",
    "head_run",
    "learning_rate",
    "load_matching",
    "resumed_step",
    "save_weights",
]


@dataclass(frozen=True, slots=True)
class RunConfig:
    """One training run.

    Parameters
    ----------
    steps, warmup
        Optimiser steps in all, and those with a rising rate.
    learning_rate, weight_decay
        AdamW; the rate falls as a cosine to ``final_rate`` of its peak.
    clip
        Largest gradient norm.
    ema
        Decay of the averaged weights.
    report_every, checkpoint_every, score_every
        In steps.
    """

    steps: int
    warmup: int = 200
    learning_rate: float = 1e-3
    final_rate: float = 0.01
    weight_decay: float = 0.02
    clip: float = 2.0
    ema: float = 0.998
    report_every: int = 50
    checkpoint_every: int = 500
    score_every: int = 2000


def head_run(steps: int, rate: float, every: int) -> RunConfig:
    """Return a run of what stands on a frozen encoder, scored ``every`` as many steps."""
    return RunConfig(
        steps=steps,
        warmup=min(100, max(steps // 5, 1)),
        learning_rate=rate,
        ema=0.995,
        score_every=every,
        checkpoint_every=min(200, every),
    )


def learning_rate(step: int, run: RunConfig) -> float:
    """Return the factor on the peak rate at a step: linear warm-up, then a cosine."""
    if step < run.warmup:
        return (step + 1) / run.warmup
    done = min((step - run.warmup) / max(run.steps - run.warmup, 1), 1.0)
    return run.final_rate + (1 - run.final_rate) * 0.5 * (1 + math.cos(math.pi * done))


def ema_model(model: nn.Module, decay: float) -> torch.optim.swa_utils.AveragedModel:
    """Return an averaged copy of a model; the decay ramps up so that early steps count less."""

    def average(mean: Tensor, value: Tensor, seen: Tensor | int) -> Tensor:
        weight = min(decay, (1 + float(seen)) / (10 + float(seen)))
        return mean.lerp(value, 1 - weight) if mean.is_floating_point() else value

    return torch.optim.swa_utils.AveragedModel(model, avg_fn=average, use_buffers=True)


def fit(
    model: nn.Module,
    groups: list[dict[str, Any]],
    batches: Iterator[Any],
    loss: Callable[[nn.Module, Any, int], tuple[Tensor, Mapping[str, float]]],
    run: RunConfig,
    folder: Path,
    score: Callable[[nn.Module], Mapping[str, float]] | None = None,
    best_by: str = "pq",
    say: Callable[[str], None] = print,
) -> nn.Module:
    """Train ``model`` and return the averaged one.

    Parameters
    ----------
    groups
        Parameter groups of AdamW; each may hold ``"scale"``, a factor on the learning rate, and
        ``"frozen_until"``, a step before which its rate is 0.
    batches
        Endless batches.
    loss
        Takes model, batch and step; returns the loss and numbers to log.
    folder
        Run folder; an existing checkpoint in it is resumed.
    score
        Scores the averaged model on the development split.
    best_by
        The score that selects ``best.safetensors``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scales = [g.pop("scale", 1.0) for g in groups]
    frozen = [g.pop("frozen_until", 0) for g in groups]
    optimizer = torch.optim.AdamW(groups, lr=run.learning_rate, weight_decay=run.weight_decay)
    averaged = ema_model(model, run.ema)
    step, best = _resume(folder, model, averaged, optimizer)
    if step:
        say(f"resumed at step {step}")
    sums: dict[str, float] = {}
    started, since, reported = time.monotonic(), step, step
    model.train()
    while step < run.steps:
        factor = learning_rate(step, run)
        for group, scale, until in zip(optimizer.param_groups, scales, frozen, strict=True):
            group["lr"] = run.learning_rate * factor * scale * (step >= until)
        value, parts = loss(model, next(batches), step)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        norm = nn.utils.clip_grad_norm_(
            [p for g in optimizer.param_groups for p in g["params"]], run.clip
        )
        if torch.isfinite(norm):
            optimizer.step()
        averaged.update_parameters(model)
        step += 1
        for name, number in {"loss": float(value.detach()), **parts}.items():
            sums[name] = sums.get(name, 0.0) + number
        if step % run.report_every == 0:
            means = {k: round(v / (step - reported), 4) for k, v in sums.items()}
            pace = (time.monotonic() - started) / (step - since)
            _log(folder, {"step": step, **means, "seconds_per_step": round(pace, 3)}, say)
            sums, reported = {}, step
        if score is not None and (step % run.score_every == 0 or step == run.steps):
            scores = dict(score(averaged.module))
            _log(folder, {"step": step, "scores": scores}, say)
            model.train()
            if scores[best_by] > best:
                best = scores[best_by]
                save_weights(averaged.module, folder / "best.safetensors")
        if step % run.checkpoint_every == 0 or step == run.steps:
            _save(folder, model, averaged, optimizer, step, best)
    return averaged.module


def save_weights(model: nn.Module, file: Path, within: str = "") -> None:
    """Write a model's state as safetensors, whole or not at all; names begin with ``within``."""
    state = {within + k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    temporary = file.with_suffix(".part")
    save_file(state, temporary)
    os.replace(temporary, file)


def load_matching(model: nn.Module, file: Path, within: str = "") -> list[str]:
    """Load the tensors of a weights file that the model has; return the names it kept as made.

    Names that begin with ``within`` in the file are read without it, so that a part of a network
    starts from a file of the whole.

    Raises
    ------
    WeightsError
        If a tensor of the file has another shape than the model's, or none fits.
    """
    own = model.state_dict()
    state = {k.removeprefix(within): v for k, v in load_file(file).items()}
    shared = {k: v for k, v in state.items() if k in own}
    for name, value in shared.items():
        if value.shape != own[name].shape:
            raise WeightsError(
                f"{file.name}: {name} is {tuple(value.shape)}, the model has "
                f"{tuple(own[name].shape)}; these weights are of another configuration."
            )
    if not shared:
        raise WeightsError(f"{file.name}: no tensor of this file belongs to the model.")
    model.load_state_dict(shared, strict=False)
    return sorted(set(own) - set(shared))


def _save(
    folder: Path,
    model: nn.Module,
    averaged: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    best: float,
) -> None:
    state = {
        "model": model.state_dict(),
        "averaged": averaged.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "best": best,
    }
    temporary = folder / "checkpoint.part"
    torch.save(state, temporary)
    os.replace(temporary, folder / "checkpoint.pt")


def resumed_step(folder: Path) -> int:
    """Return the step at which a run in ``folder`` would be resumed; 0 for a new one."""
    file = folder / "checkpoint.pt"
    if not file.exists():
        return 0
    return int(torch.load(file, map_location="cpu", weights_only=True, mmap=True)["step"])


def best_score(folder: Path) -> float | None:
    """Return the best score of the run in ``folder``; None if none was taken."""
    file = folder / "checkpoint.pt"
    if not file.exists():
        return None
    best = float(torch.load(file, map_location="cpu", weights_only=True, mmap=True)["best"])
    return best if math.isfinite(best) else None


def _resume(
    folder: Path, model: nn.Module, averaged: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[int, float]:
    file = folder / "checkpoint.pt"
    if not file.exists():
        return 0, -math.inf
    state = torch.load(file, map_location="cpu", weights_only=True)
    model.load_state_dict(state["model"])
    averaged.load_state_dict(state["averaged"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"]), float(state["best"])


def _log(folder: Path, entry: dict[str, Any], say: Callable[[str], None]) -> None:
    with (folder / "log.jsonl").open("a") as handle:
        handle.write(json.dumps(entry) + "\n")
    say(" ".join(f"{k} {v}" for k, v in entry.items()))
