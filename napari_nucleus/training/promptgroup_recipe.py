"""Recipe of the text-prompted nano: prompt-group-aware training on what a frozen encoder sees.

Stage ``grouped`` learns texts and masks; ``present`` goes on with texts alone, so that they are
read rightly however they are worded, fits on the answers what decides whether anything is drawn at
all, and is packed. ``ungrouped`` is as long as ``grouped``, from the same
start and the same crops, without the terms that tie prompts together; it is what the first stage is
compared with, and trained only when asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from napari_nucleus.io.folders import make_folder
from napari_nucleus.models import zoo
from napari_nucleus.models.devices import resolve_device
from napari_nucleus.models.promptgroup.build import new_network, restore_network, save_network
from napari_nucleus.models.promptgroup.config import PromptGroupConfig
from napari_nucleus.models.promptgroup.losses import GroupConfig, LossConfig, SegmentationConfig
from napari_nucleus.models.promptgroup.network import PromptGroup
from napari_nucleus.models.promptgroup.presets import NANO
from napari_nucleus.training.data import load_consep
from napari_nucleus.training.loop import (
    RunConfig,
    fit,
    head_run,
    load_matching,
    resumed_step,
    save_weights,
)
from napari_nucleus.training.presence import fit_evidence
from napari_nucleus.training.prompt_batches import (
    GroupPlan,
    SeenCrops,
    group_batches,
    load_crops,
    save_crops,
    see_crops,
    see_tiles,
)
from napari_nucleus.training.promptgroup import GroupLoss
from napari_nucleus.training.recipes import TrainingOrder
from napari_nucleus.training.sampler import SamplerConfig
from napari_nucleus.training.sources import (
    best_of,
    load_training_images,
    provenance_of,
    training_stain,
)
from napari_nucleus.training.text_checks import score_texts
from napari_nucleus.training.text_reading import learn_to_read

__all__ = ["PromptGroupRecipe", "promptgroup_recipe", "train_promptgroup"]

STAGES = ("grouped", "present", "pack")
ABLATION = "ungrouped"


@dataclass(frozen=True, slots=True)
class PromptGroupRecipe:
    """Everything that decides how ``promptgroup-nano`` comes about; a plan each way of training.

    ``crops`` are how many are seen, and their side; ``fields`` how many synthetic fields are drawn,
    and their side; ``reading`` how many steps of texts alone.
    """

    config: PromptGroupConfig
    plans: dict[str, GroupPlan]
    run: RunConfig
    sampler: SamplerConfig
    crops: tuple[int, int] = (1_200, 256)
    fields: tuple[int, int] = (300, 320)
    autocast: bool = True
    reading: int = 8_000


def promptgroup_recipe(device: torch.device, steps: int | None) -> PromptGroupRecipe:
    """Return the recipe for a device; ``steps`` replaces the length of a stage."""
    gpu = device.type == "cuda"
    length = steps or (8_000 if gpu else 1_600)
    loss = LossConfig(SegmentationConfig(mask=10.0, presence=0.5, alpha=0.5), GroupConfig())
    grouped = GroupPlan(
        sizes=((0.75, 128, 16), (1.0, 256, 6)) if gpu else ((0.75, 128, 3), (1.0, 256, 1)),
        loss=loss,
    )
    ungrouped = replace(grouped, loss=replace(loss, group=GroupConfig(mode="off")))
    return PromptGroupRecipe(
        config=NANO,
        plans={"grouped": grouped, ABLATION: ungrouped},
        run=head_run(length, 1e-3, max(length // 8, min(length, 200))),
        sampler=SamplerConfig(consep=0.70, dsb2018=0.08, synthetic=0.22, points=0.0),
        crops=(4_000 if gpu else 1_200, 256),
        reading=min(8_000, 2 * (steps or 8_000)),
    )


def train_promptgroup(order: TrainingOrder, say: Callable[[str], None]) -> None:
    """Train the text-prompted nano, or one stage of it.

    Raises
    ------
    NucleusError
        As `recipes.train_model`.
    """
    wanted = (ABLATION,) if order.stage == ABLATION else order.wanted(STAGES)
    on = resolve_device(order.device)
    recipe = promptgroup_recipe(on, order.steps)
    training = [stage for stage in wanted if stage != "pack"]
    if training:
        make_folder(order.out)
        fields = (*recipe.fields, order.seed)
        images = load_training_images(order.data, fields, order.out / "synthetic.npz", say)
        torch.manual_seed(order.seed)
        network = (
            new_network(recipe.config, zoo.weights_file("uperhover-nano"))
            if order.start is None
            else restore_network(order.start, recipe.config)
        )
        file = order.out / "crops.pt"
        if file.exists():
            crops = load_crops(file)
        else:
            say(f"looking at {recipe.crops[0]} crops")
            crops = see_crops(network, images, *recipe.crops, recipe.sampler, order.seed, say)
            save_crops(crops, file)
        score = score_texts(images.development, recipe.config.vision.inference.window)
        for stage in training:
            say(f"--- {stage}")
            train_groups(stage, recipe, network, crops, order, on, score, say)
    if "pack" in wanted:
        pack(recipe, order.out, order.data, order.out / "promptgroup-nano.safetensors", say)


def train_groups(
    stage: str,
    recipe: PromptGroupRecipe,
    network: PromptGroup,
    crops: SeenCrops,
    order: TrainingOrder,
    device: torch.device,
    score: Callable,
    say: Callable[[str], None],
) -> None:
    """Train all but the encoder, or fit what tells presence.

    Raises
    ------
    WeightsError
        If the stage before was not trained.
    """
    out = order.out / stage
    if stage == "present":
        load_matching(network, best_of(order.out, "grouped"))
        learn_to_read(network.to(device), recipe.reading, order.seed, say)
        # Crops are stained and scaled otherwise and have synthetic classes; where images as they
        # are tell enough of a class, they have the last word.
        fit_evidence(network, crops, order.seed, say)
        tiles = see_tiles(network, load_consep(order.data), crops.class_map.shape[1])
        fit_evidence(network, tiles, order.seed, say, found=0.95)
        save_weights(network, make_folder(out) / "best.safetensors")
        return
    plan, run = recipe.plans[stage], recipe.run
    network.to(device).vision.requires_grad_(False)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fit(
        network,
        [{"params": [p for p in network.parameters() if p.requires_grad]}],
        group_batches(crops, plan, run.steps, order.seed, resumed_step(out)),
        GroupLoss(plan, run.steps, device, recipe.autocast),
        run,
        out,
        score,
        "score",
        say,
    )


def pack(
    recipe: PromptGroupRecipe, out: Path, data: Path, file: Path, say: Callable[[str], None]
) -> None:
    """Write the weights file that ships.

    Raises
    ------
    WeightsError
        If nothing was trained.
    """
    network = PromptGroup(recipe.config)
    load_matching(network, best_of(out, "present"))
    save_network(
        network, file, training_stain(load_consep(data)), provenance_of("promptgroup-nano")
    )
    say(f"written: {file} ({file.stat().st_size / 1e6:.1f} MB)")
