"""Recipe of the NuNext nano: nuclei written one after another, on what a frozen encoder sees.

Stage ``supervised`` is the paper's: soft coordinates, and latent tokens that hold the mask of all
nuclei. ``naive`` has neither and ``soft`` not the latter; they are as long, from the same start and
the same windows, and are trained only when asked for, to be compared. ``reinforced`` goes on from
``supervised`` with rewards for the words alone, when asked for; if it was, its weights are packed.
``unfiltered``, ``coarse`` and ``untasked`` are that without the filter of groups, without the
finer advantages of points, and without the reward for masks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from napari_nucleus.io.folders import make_folder
from napari_nucleus.models.devices import resolve_device
from napari_nucleus.models.nunext.build import new_network, restore_network, save_network
from napari_nucleus.models.nunext.config import NuNextConfig
from napari_nucleus.models.nunext.losses import CovtConfig, GrpoConfig, SoftConfig
from napari_nucleus.models.nunext.network import NuNext
from napari_nucleus.models.nunext.presets import NANO
from napari_nucleus.training.data import AnnotatedImage
from napari_nucleus.training.loop import RunConfig, fit, head_run, load_matching, resumed_step
from napari_nucleus.training.nunext import NuNextLoss, SupervisedConfig
from napari_nucleus.training.nunext_batches import (
    NuNextPlan,
    SeenWindows,
    load_windows,
    save_windows,
    see_windows,
    window_batches,
)
from napari_nucleus.training.nunext_checks import score_points
from napari_nucleus.training.nunext_grpo import (
    ReinforcementPlan,
    reinforce_nunext,
    score_rewards,
)
from napari_nucleus.training.recipes import TrainingOrder
from napari_nucleus.training.sampler import SamplerConfig
from napari_nucleus.training.sources import best_of, load_training_images, provenance_of

__all__ = ["NuNextRecipe", "nunext_recipe", "train_nunext"]

STAGES = ("supervised", "pack")
ABLATIONS = ("naive", "soft")
REINFORCED = ("reinforced", "unfiltered", "coarse", "untasked")


@dataclass(frozen=True, slots=True)
class NuNextRecipe:
    """Everything that decides how ``nunext-nano`` comes about; weights and rewards by stage.

    ``crops`` are how many are seen, and their side; ``fields`` how many synthetic fields are drawn,
    and their side.
    """

    config: NuNextConfig
    weights: dict[str, SupervisedConfig]
    plan: NuNextPlan
    run: RunConfig
    grpo: dict[str, GrpoConfig]
    reinforcement: ReinforcementPlan
    sampler: SamplerConfig
    crops: tuple[int, int] = (1_200, 256)
    fields: tuple[int, int] = (300, 320)
    autocast: bool = True


def nunext_recipe(device: torch.device, steps: int | None) -> NuNextRecipe:
    """Return the recipe for a device; ``steps`` replaces the length of a stage."""
    gpu = device.type == "cuda"
    length = steps or (8_000 if gpu else 3_000)
    whole = SupervisedConfig(covt=CovtConfig(warm=200))
    soft = replace(whole, covt=CovtConfig(alpha=0.0))
    naive = replace(soft, soft=SoftConfig(sigma=0.0))
    # The rate is for a network that is a thousandth of the published one.
    rewards = GrpoConfig(learning_rate=1e-4)
    return NuNextRecipe(
        config=NANO,
        weights={"supervised": whole, "soft": soft, "naive": naive},
        plan=NuNextPlan(sizes=((0.7, 128, 64), (1.0, 256, 24)))
        if gpu
        else NuNextPlan(sizes=((0.75, 128, 12), (1.0, 256, 4))),
        run=head_run(length, 2.5e-3, max(length // 4, 1)),
        grpo={
            "reinforced": rewards,
            "unfiltered": replace(rewards, low_variance_filter=False),
            "coarse": replace(rewards, fine_grained=False),
            "untasked": replace(rewards, reward="detection"),
        },
        reinforcement=ReinforcementPlan(
            steps=steps or (1_000 if gpu else 200), every=50, windows=16 if gpu else 2, bias=0.0
        ),
        sampler=SamplerConfig(consep=0.70, dsb2018=0.08, synthetic=0.22, points=0.0),
        crops=(4_000 if gpu else 1_200, 256),
    )


def train_nunext(order: TrainingOrder, say: Callable[[str], None]) -> None:
    """Train the NuNext nano, or one stage of it.

    Raises
    ------
    NucleusError
        As `recipes.train_model`.
    """
    on_request = order.stage in (*ABLATIONS, *REINFORCED)
    wanted = (order.stage,) if on_request else order.wanted(STAGES)
    on = resolve_device(order.device)
    recipe = nunext_recipe(on, order.steps)
    training = [stage for stage in wanted if stage != "pack"]
    if training:
        make_folder(order.out)
        fields = (*recipe.fields, order.seed)
        images = load_training_images(order.data, fields, order.out / "synthetic.npz", say)
        torch.manual_seed(order.seed)
        network = (
            new_network(recipe.config)
            if order.start is None
            else restore_network(order.start, recipe.config)
        )
        file = order.out / "windows.pt"
        if file.exists():
            windows = load_windows(file)
        else:
            say(f"looking at {recipe.crops[0]} crops")
            windows = see_windows(
                network.segmenter, images, *recipe.crops, recipe.sampler, order.seed, say
            )
            save_windows(windows, file)
        for stage in training:
            say(f"--- {stage}")
            if stage in REINFORCED:
                reinforce(stage, recipe, network.to(on), windows, images.development, order, say)
            else:
                score = score_points(images.development)
                write(stage, recipe, network, windows, order, on, score, say)
    if "pack" in wanted:
        pack(recipe, order.out, order.out / "nunext-nano.safetensors", say)


def write(
    stage: str,
    recipe: NuNextRecipe,
    network: NuNext,
    windows: SeenWindows,
    order: TrainingOrder,
    device: torch.device,
    score: Callable,
    say: Callable[[str], None],
) -> None:
    """Train everything but the eyes."""
    out, run = order.out / stage, recipe.run
    network.to(device)
    fit(
        network,
        _groups(network),
        window_batches(
            windows,
            recipe.config,
            network.vocabulary,
            recipe.plan,
            run.steps,
            order.seed,
            resumed_step(out),
        ),
        NuNextLoss(recipe.weights[stage], device, recipe.autocast, order.seed),
        run,
        out,
        score,
        "words",
        say,
    )


def reinforce(
    stage: str,
    recipe: NuNextRecipe,
    network: NuNext,
    windows: SeenWindows,
    development: Sequence[AnnotatedImage],
    order: TrainingOrder,
    say: Callable[[str], None],
) -> None:
    """Go on with what was trained with supervision, by rewards.

    Raises
    ------
    WeightsError
        If nothing was trained with supervision.
    """
    load_matching(network, best_of(order.out, "supervised"))
    plan, config = recipe.reinforcement, recipe.grpo[stage]
    score = score_rewards(development, recipe.grpo["reinforced"], plan)
    say(f"before: {score(network)}")
    reinforce_nunext(
        network,
        windows,
        config,
        plan,
        order.out / stage,
        order.seed,
        score,
        "reward",
        say,
    )


def _groups(network: NuNext) -> list[dict[str, Any]]:
    """Return the parameters; slopes and weights of one number each learn ten times as fast."""
    single = [*network.guide.parameters(), network.pointer.slopes, network.pointer.offset]
    ids = {id(p) for p in single}
    rest = [p for p in network.parameters() if id(p) not in ids]
    return [{"params": rest}, {"params": single, "scale": 10.0, "weight_decay": 0.0}]


def pack(recipe: NuNextRecipe, out: Path, file: Path, say: Callable[[str], None]) -> None:
    """Write the weights file that ships.

    Raises
    ------
    WeightsError
        If nothing was trained.
    """
    network = new_network(recipe.config)
    stage = "reinforced" if (out / "reinforced" / "best.safetensors").exists() else "supervised"
    load_matching(network, best_of(out, stage))
    save_network(network, file, provenance_of("nunext-nano"))
    say(f"written: {file} ({file.stat().st_size / 1e6:.1f} MB)")
