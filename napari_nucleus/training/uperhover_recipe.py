"""Recipe of UperHoVer: a supervised stage, two on labels of its own, packed weights.

The second and third stage learn from annotated images and from unlabelled ones, which the stage
before labels (see `pseudo`); without a folder of unlabelled images they are left out. Every stage
starts from new decoders; the nano's encoder begins with what it takes of the bundled UniNuc, the
published size with UNI2-h. The best stage of all is packed.
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
from napari_nucleus.models.uperhover.convert import load_encoder
from napari_nucleus.models.uperhover.losses import LossConfig
from napari_nucleus.models.uperhover.network import UperHover
from napari_nucleus.models.uperhover.predictor import UperHoverPredictor
from napari_nucleus.models.uperhover.presets import NANO, UNI2H
from napari_nucleus.models.weights import has_header
from napari_nucleus.training.batches import StagePlan, TrainingImages
from napari_nucleus.training.data import load_consep
from napari_nucleus.training.loop import (
    RunConfig,
    best_score,
    load_matching,
    resumed_step,
    save_weights,
)
from napari_nucleus.training.pseudo import FilterConfig, label_folder, unlabelled_images
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

IMAGE_MPP = 0.25
"""µm per pixel of the annotated images."""

STAGES = ("supervised", "second", "third", "pack")

BEFORE = {"second": "supervised", "third": "second"}
"""The stage whose weights label the tiles of another."""


@dataclass(frozen=True, slots=True)
class UperHoverRecipe:
    """Everything that decides how ``uperhover-nano`` comes about.

    ``stages`` holds the plan of each; ``fields`` are how many synthetic fields are drawn, and
    their side in pixels.
    """

    name: str
    config: UperHoverConfig
    stages: dict[str, StagePlan]
    targets: TargetConfig
    filter: FilterConfig
    fields: tuple[int, int]


def uperhover_recipe(
    name: str, device: torch.device, steps: int | None, workers: int, seed: int
) -> UperHoverRecipe:
    """Return the recipe of a model for a device; ``steps`` replaces the length of every stage."""
    gpu = device.type == "cuda"
    nano = name == "uperhover-nano"
    longest = 8_000 if nano and not gpu else 10_000
    if nano:
        sizes = ((1.0, 256, 48),) if gpu else ((0.6, 128, 8), (1.0, 256, 3))
        rate, decay, sampler = 2e-3 if gpu else 1e-3, 0.02, SamplerConfig()
        loss = LossConfig(hv=2.0, dice=1.0, class_weights=CLASS_WEIGHTS)
    else:
        sizes, rate, decay, loss = ((1.0, 224, 8),), 5e-5, 0.01, LossConfig()
        sampler = _at(UNI2H.inference.mpp)

    def plan(default: int) -> StagePlan:
        length = steps or default
        every = max(length // 8, min(length, 200))
        run = RunConfig(
            steps=length,
            warmup=min(200, max(length // 5, 1)),
            learning_rate=rate,
            weight_decay=decay,
            ema=0.999 if gpu else 0.998,
            score_every=every,
            checkpoint_every=min(500, every),
        )
        return StagePlan(run, sizes, sampler, workers, seed=seed)

    # The published stages last 250, 250 and 100 epochs.
    lengths = {"supervised": longest, "second": longest, "third": longest * 2 // 5}
    return UperHoverRecipe(
        name=name,
        config=NANO if nano else UNI2H,
        stages={stage: plan(length) for stage, length in lengths.items()},
        targets=TargetConfig(loss=loss),
        filter=FilterConfig(),
        fields=(2_000 if gpu else 300, 320),
    )


def _at(mpp: float) -> SamplerConfig:
    """Return the sampler whose crops have about ``mpp`` µm per pixel."""
    plain, factor = SamplerConfig(), IMAGE_MPP / mpp
    return replace(
        plain,
        exact=0.0,
        pseudo_scale=factor,
        scale=(plain.scale[0] * factor, plain.scale[1] * factor),
        dsb_diameter=(plain.dsb_diameter[0] * factor, plain.dsb_diameter[1] * factor),
    )


def train_uperhover(name: str, order: TrainingOrder, say: Callable[[str], None]) -> None:
    """Train a UperHoVer, or one stage of it.

    From a weights file of ours every stage goes on, in place of new weights. The published size
    needs a file to start from: of ours, or UNI2-h's for its encoder.

    Raises
    ------
    NucleusError
        As `recipes.train_model`.
    """
    wanted = order.wanted(STAGES)
    on = resolve_device(order.device)
    recipe = uperhover_recipe(name, on, order.steps, order.workers, order.seed)
    if order.unlabelled is None:
        if order.stage in BEFORE:
            raise ModelError(
                f"The {order.stage} stage labels images itself; name their folder: --unlabelled."
            )
        wanted = tuple(stage for stage in wanted if stage not in BEFORE)
    elif any(stage in BEFORE for stage in wanted):
        unlabelled_images(order.unlabelled)  # hours before they are needed
    training = [stage for stage in wanted if stage in recipe.stages]
    if training:
        if order.start is None and recipe.config == UNI2H:
            raise ModelError(f"{name} begins with weights of UNI2-h; name their file: --start.")
        begin = make_folder(order.out) / "start.safetensors"
        _write_start(recipe.config, order.start, begin)
        fields = (*recipe.fields, order.seed)
        images = load_training_images(order.data, fields, order.out / "synthetic.npz", say)
        for stage in training:
            _train_stage(stage, recipe, images, order, begin, on, say)
    if "pack" in wanted:
        pack(recipe, order.out, order.data, order.out / f"{name}.safetensors", say)


def _write_start(config: UperHoverConfig, start: Path | None, begin: Path) -> None:
    """Write what every stage begins with: a whole network, or what there is of its encoder."""
    if start is None:
        begin_encoder(zoo.weights_file("uninuc-nano"), begin)
    elif has_header(start):
        save_weights(restore_network(start, config), begin)
    else:
        network = UperHover(config)
        load_encoder(network, start)
        save_weights(network.encoder.trunk, begin, "encoder.trunk.")


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
    finished = resumed_step(order.out / stage) >= recipe.stages[stage].run.steps
    if stage in BEFORE and not finished:
        assert order.unlabelled is not None
        teacher = UperHover(recipe.config)
        load_matching(teacher, best_of(order.out, BEFORE[stage]))
        predictor = UperHoverPredictor(teacher.to(device), zoo.describe(recipe.name), stage, None)
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
    recipe: UperHoverRecipe, out: Path, data: Path, file: Path, say: Callable[[str], None]
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
    network = UperHover(recipe.config)
    missing = load_matching(network, best_of(out, stage))
    if missing:
        raise WeightsError(f"{out / stage}: lacks {missing[0]} and {len(missing) - 1} more.")
    stain = training_stain(load_consep(data))
    save_network(network, file, stain, provenance_of(recipe.name) | {"stage": stage})
    say(f"written: {file} ({file.stat().st_size / 1e6:.1f} MB), the {stage} stage")
