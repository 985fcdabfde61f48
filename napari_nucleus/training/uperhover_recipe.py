"""Recipe of ``uperhover-nano``: a supervised stage, two on labels of its own, packed weights.

The second and third stage learn from annotated images and from unlabelled ones, which the stage
before labels (see `pseudo`); without a folder of unlabelled images they are left out. Every stage
starts from new decoders and from what the encoder takes of the bundled UniNuc. The best stage of
all is packed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from napari_nucleus.errors import ModelError, WeightsError
from napari_nucleus.io.folders import make_folder
from napari_nucleus.models import zoo
from napari_nucleus.models.devices import resolve_device
from napari_nucleus.models.uperhover.build import restore_network, save_network
from napari_nucleus.models.uperhover.config import UperHoverConfig
from napari_nucleus.models.uperhover.losses import LossConfig
from napari_nucleus.models.uperhover.network import UperHover
from napari_nucleus.models.uperhover.predictor import UperHoverPredictor
from napari_nucleus.models.uperhover.presets import NANO
from napari_nucleus.training.batches import StagePlan, TrainingImages
from napari_nucleus.training.data import load_consep
from napari_nucleus.training.loop import RunConfig, best_score, load_matching, save_weights
from napari_nucleus.training.pseudo import FilterConfig, label_folder
from napari_nucleus.training.recipes import TrainingOrder
from napari_nucleus.training.sampler import SamplerConfig
from napari_nucleus.training.sources import (
    best_of,
    load_training_images,
    provenance_of,
    training_stain,
)
from napari_nucleus.training.uninuc import CLASS_WEIGHTS
from napari_nucleus.training.uperhover import TargetConfig, begin_encoder, train_maps

__all__ = ["UperHoverRecipe", "train_uperhover", "uperhover_recipe"]

NAME = "uperhover-nano"

STAGES = ("supervised", "second", "third", "pack")

BEFORE = {"second": "supervised", "third": "second"}
"""The stage whose weights label the tiles of another."""


@dataclass(frozen=True, slots=True)
class UperHoverRecipe:
    """Everything that decides how ``uperhover-nano`` comes about.

    ``stages`` holds the plan of each; ``fields`` are how many synthetic fields are drawn, and
    their side in pixels.
    """

    config: UperHoverConfig
    stages: dict[str, StagePlan]
    targets: TargetConfig
    filter: FilterConfig
    fields: tuple[int, int]


def uperhover_recipe(
    device: torch.device, steps: int | None, workers: int, seed: int
) -> UperHoverRecipe:
    """Return the recipe for a device; ``steps`` replaces the length of every stage."""
    gpu = device.type == "cuda"

    def plan(default: int) -> StagePlan:
        length = steps or default
        every = max(length // 8, 1)
        return StagePlan(
            RunConfig(
                steps=length,
                warmup=min(200, max(length // 5, 1)),
                learning_rate=2e-3 if gpu else 1e-3,
                ema=0.999 if gpu else 0.998,
                score_every=every,
                checkpoint_every=min(500, every),
            ),
            sizes=((1.0, 256, 48),) if gpu else ((0.6, 128, 8), (1.0, 256, 3)),
            sampler=SamplerConfig(),
            workers=workers,
            seed=seed,
        )

    longest = 10_000 if gpu else 8_000
    # The published stages last 250, 250 and 100 epochs.
    lengths = {"supervised": longest, "second": longest, "third": longest * 2 // 5}
    return UperHoverRecipe(
        config=NANO,
        stages={name: plan(length) for name, length in lengths.items()},
        targets=TargetConfig(loss=LossConfig(hv=2.0, dice=1.0, class_weights=CLASS_WEIGHTS)),
        filter=FilterConfig(),
        fields=(2_000 if gpu else 300, 320),
    )


def train_uperhover(order: TrainingOrder, say: Callable[[str], None]) -> None:
    """Train ``uperhover-nano``, or one stage of it.

    With a weights file to start from, every stage goes on from it in place of new weights.

    Raises
    ------
    NucleusError
        As `recipes.train_model`.
    """
    wanted = order.wanted(STAGES)
    on = resolve_device(order.device)
    recipe = uperhover_recipe(on, order.steps, order.workers, order.seed)
    if order.unlabelled is None:
        if order.stage in BEFORE:
            raise ModelError(
                f"The {order.stage} stage labels images itself; name their folder: --unlabelled."
            )
        wanted = tuple(stage for stage in wanted if stage not in BEFORE)
    out = make_folder(order.out)
    begin = out / "start.safetensors"
    if order.start is not None:
        save_weights(restore_network(order.start, recipe.config), begin)
    else:
        begin_encoder(zoo.weights_file("uninuc-nano"), begin)
    training = [stage for stage in wanted if stage in recipe.stages]
    if training:
        fields = (*recipe.fields, order.seed)
        images = load_training_images(order.data, fields, out / "synthetic.npz", say)
        for stage in training:
            _train_stage(stage, recipe, images, order, begin, on, say)
    if "pack" in wanted:
        file = out / f"{NAME}.safetensors"
        pack(recipe.config, out, order.data, file, say)


def _train_stage(
    stage: str,
    recipe: UperHoverRecipe,
    images: TrainingImages,
    order: TrainingOrder,
    begin: Path,
    device: torch.device,
    say: Callable[[str], None],
) -> None:
    say(f"--- {stage}")
    if stage in BEFORE:
        assert order.unlabelled is not None
        teacher = UperHover(recipe.config)
        load_matching(teacher, best_of(order.out, BEFORE[stage]))
        predictor = UperHoverPredictor(teacher.to(device), zoo.describe(NAME), stage, None)
        labels = order.out / f"{stage}_labels"
        tiles = label_folder(predictor, order.unlabelled, labels, recipe.filter, order.seed, say)
        images = replace(images, annotated={**images.annotated, "pseudo": tiles})
    train_maps(
        images,
        recipe.config,
        order.out / stage,
        recipe.stages[stage],
        device,
        recipe.targets,
        [begin],
        say,
    )


def pack(
    config: UperHoverConfig, out: Path, data: Path, file: Path, say: Callable[[str], None]
) -> None:
    """Write the weights file that ships, from the stage that scored best on the development split.

    Raises
    ------
    WeightsError
        If no stage was trained.
    """
    scores = {s: best for s in STAGES if (best := best_score(out / s)) is not None}
    if not scores:
        raise WeightsError(f"{out}: no stage was trained here; train the supervised stage first.")
    stage = max(scores, key=scores.__getitem__)
    network = UperHover(config)
    missing = load_matching(network, best_of(out, stage))
    if missing:
        raise WeightsError(f"{out / stage}: lacks {missing[0]} and {len(missing) - 1} more.")
    stain = training_stain(load_consep(data))
    save_network(network, file, stain, provenance_of(NAME) | {"stage": stage})
    say(f"written: {file} ({file.stat().st_size / 1e6:.1f} MB), the {stage} stage")
