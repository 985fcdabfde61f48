"""Recipe of ``uninuc-nano``: encoder with dense heads, click head, detector, packed weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from napari_nucleus.errors import ModelError, WeightsError
from napari_nucleus.io.folders import make_folder
from napari_nucleus.models.devices import resolve_device
from napari_nucleus.models.uninuc.build import restore_network, save_network
from napari_nucleus.models.uninuc.config import UniNucConfig
from napari_nucleus.models.uninuc.network import UniNuc
from napari_nucleus.models.uninuc.presets import NANO
from napari_nucleus.training.batches import StagePlan
from napari_nucleus.training.click_targets import ObjectConfig
from napari_nucleus.training.clicks import ClickConfig
from napari_nucleus.training.data import load_consep
from napari_nucleus.training.detection import TeachingConfig
from napari_nucleus.training.loop import RunConfig, load_matching, save_weights
from napari_nucleus.training.recipes import TrainingOrder
from napari_nucleus.training.sampler import SamplerConfig
from napari_nucleus.training.sources import (
    best_of,
    load_training_images,
    provenance_of,
    training_stain,
)
from napari_nucleus.training.uninuc import train_clicks, train_dense, train_detector

__all__ = ["NanoRecipe", "nano_recipe", "pack", "train_uninuc"]

STAGES = ("dense", "clicks", "detector", "pack")


@dataclass(frozen=True, slots=True)
class NanoRecipe:
    """Everything that decides how ``uninuc-nano`` comes about.

    Steps and batches are those of two CPU cores; a GPU takes the same code with larger batches.
    """

    config: UniNucConfig
    dense: StagePlan
    clicks: StagePlan
    detector: StagePlan
    click_training: ClickConfig
    objects: ObjectConfig
    teaching: TeachingConfig
    synthetic_fields: int
    synthetic_size: int


def nano_recipe(device: torch.device, steps: int | None, workers: int, seed: int) -> NanoRecipe:
    """Return the recipe for a device; ``steps`` replaces the length of every stage."""
    gpu = device.type == "cuda"

    def run(default: int, rate: float, **more: float) -> RunConfig:
        length = steps or default
        every = max(length // 10, 1)
        return RunConfig(
            steps=length,
            learning_rate=rate,
            score_every=every,
            checkpoint_every=min(500, every),
            **more,  # type: ignore[arg-type]
        )

    all_sources = SamplerConfig()
    outlined = replace(all_sources, consep=0.65, dsb2018=0.20, synthetic=0.15, points=0.0)
    return NanoRecipe(
        config=NANO,
        dense=StagePlan(
            run(10_000 if gpu else 7_000, 2e-3 if gpu else 1e-3, ema=0.999),
            sizes=((1.0, 256, 64),) if gpu else ((0.8, 128, 8), (1.0, 256, 4)),
            sampler=all_sources,
            workers=workers,
            seed=seed,
        ),
        clicks=StagePlan(
            run(8_000 if gpu else 11_500, 8e-4),
            sizes=((1.0, 256, 16),) if gpu else ((1.0, 192, 3),),
            sampler=outlined,
            workers=workers,
            seed=seed,
        ),
        detector=StagePlan(
            run(8_000 if gpu else 7_500, 6e-4, clip=1.0),
            sizes=((1.0, 256, 16),) if gpu else ((1.0, 256, 3),),
            sampler=outlined,
            workers=workers,
            seed=seed,
        ),
        click_training=ClickConfig()
        if gpu
        else ClickConfig(encoder_from=5_500, encoder_rate=0.4, dense_weight=0.5),
        objects=ObjectConfig(),
        teaching=TeachingConfig(),
        synthetic_fields=2_000 if gpu else 300,
        synthetic_size=320,
    )


def train_uninuc(order: TrainingOrder, say: Callable[[str], None]) -> None:
    """Train ``uninuc-nano``, or one stage of it.

    With a weights file to start from, every stage goes on from it in place of new weights.

    Raises
    ------
    NucleusError
        As `recipes.train_model`.
    """
    wanted = order.wanted(STAGES)
    if order.unlabelled is not None:
        raise ModelError("uninuc-nano learns from annotated images alone; leave --unlabelled out.")
    out, start = order.out, order.start
    on = resolve_device(order.device)
    recipe = nano_recipe(on, order.steps, order.workers, order.seed)
    begin = []
    if start is not None:
        network = restore_network(start, recipe.config)
        begin = [make_folder(out) / "start.safetensors"]
        save_weights(network, begin[0])
        # There are no new heads whose first gradients could harm the encoder.
        learning = replace(recipe.click_training, encoder_from=0)
        recipe = replace(recipe, click_training=learning)
    make_folder(out)
    if wanted != ("pack",):
        images = load_training_images(
            order.data,
            (recipe.synthetic_fields, recipe.synthetic_size, order.seed),
            out / "synthetic.npz",
            say,
        )
    if "dense" in wanted:
        train_dense(images, recipe.config, out / "dense", recipe.dense, on, begin, say)
    if "clicks" in wanted:
        train_clicks(
            images,
            recipe.config,
            out / "clicks",
            recipe.clicks,
            on,
            begin + _before(out, "dense", begin),
            recipe.click_training,
            recipe.objects,
            say,
        )
    if "detector" in wanted:
        train_detector(
            images,
            recipe.config,
            out / "detector",
            recipe.detector,
            on,
            begin + _before(out, "clicks", begin),
            recipe.teaching,
            say,
        )
    if "pack" in wanted:
        file = out / "uninuc-nano.safetensors"
        pack(recipe.config, best_of(out, "detector"), order.data, file)
        say(f"written: {file} ({file.stat().st_size / 1e6:.1f} MB)")


def pack(config: UniNucConfig, trained: Path, data: Path, file: Path) -> None:
    """Write the weights file that ships, from the last stage's best weights."""
    network = UniNuc(config)
    missing = load_matching(network, trained)
    if missing:
        raise WeightsError(f"{trained}: lacks {missing[0]} and {len(missing) - 1} more tensors.")
    stain = training_stain(load_consep(data))
    save_network(network, file, stain, provenance_of("uninuc-nano"))


def _before(out: Path, stage: str, begin: list[Path]) -> list[Path]:
    """Return the weights of the stage before; none is needed where training starts from a file."""
    if begin and not (out / stage / "best.safetensors").exists():
        return []
    return [best_of(out, stage)]
