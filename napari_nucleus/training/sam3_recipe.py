"""Recipe of SAM3: prompt-group-aware fine-tuning of the user's weights, as the paper does it.

The text encoder stays as it is; the answer of a prompt is its best queries joined; the detector's
own set losses keep the nuclei apart. For a GPU: a step is a crop with its groups.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from napari_nucleus.io.folders import make_folder
from napari_nucleus.models import zoo
from napari_nucleus.models.devices import resolve_device
from napari_nucleus.models.promptgroup.sam3 import Sam3Network, freeze_text
from napari_nucleus.models.promptgroup.sam3_build import restore_network, save_network
from napari_nucleus.models.weights import read_weights
from napari_nucleus.training.loop import RunConfig, fit, resumed_step
from napari_nucleus.training.prompt_batches import GroupPlan, pixel_batches
from napari_nucleus.training.promptgroup import GroupLoss
from napari_nucleus.training.recipes import TrainingOrder
from napari_nucleus.training.sampler import CropSampler, SamplerConfig
from napari_nucleus.training.sources import load_training_images, provenance_of

__all__ = ["Sam3Recipe", "train_sam3"]

STAGES = ("grouped",)

EPOCHS, CROPS_OF_IMAGE = 5, 16
"""The paper's epochs; a crop of 256 px is a sixteenth of an image of CoNSeP."""


@dataclass(frozen=True, slots=True)
class Sam3Recipe:
    """Everything that decides how SAM3 is fine-tuned.

    ``crop`` is the side of a crop in pixels of 0.25 µm, ``fields`` how many synthetic fields are
    drawn, and their side.
    """

    run: RunConfig
    plan: GroupPlan = field(
        default_factory=lambda: GroupPlan(varied=0.0, warmup=0.0, answer="queries", native=1.0)
    )
    sampler: SamplerConfig = field(
        default_factory=lambda: SamplerConfig(points=0.0, dsb2018=0.1, synthetic=0.1)
    )
    crop: int = 256
    crops_a_step: int = 1
    fields: tuple[int, int] = (100, 320)


def train_sam3(order: TrainingOrder, say: Callable[[str], None]) -> None:
    """Fine-tune SAM3; it begins with the adopted weights, or with ``order.start``.

    Raises
    ------
    NucleusError
        As `recipes.train_model`.
    """
    order.wanted(STAGES)
    on = resolve_device(order.device)
    begin = zoo.weights_file("sam3") if order.start is None else order.start
    network, _ = restore_network(begin)
    make_folder(order.out)
    recipe = _recipe(order.steps)
    fields = (*recipe.fields, order.seed)
    images = load_training_images(order.data, fields, order.out / "synthetic.npz", say)
    freeze_text(network)
    crops = CropSampler(images.annotated, (), recipe.crop, recipe.sampler, order.seed)
    out = order.out / STAGES[0]
    averaged = fit(
        network.to(on),
        [{"params": [p for p in network.parameters() if p.requires_grad]}],
        pixel_batches(crops, recipe.plan, recipe.crops_a_step, order.seed, resumed_step(out)),
        GroupLoss(recipe.plan, recipe.run.steps, on, autocast=on.type == "cuda"),
        recipe.run,
        out,
        say=say,
    )
    assert isinstance(averaged, Sam3Network)
    file = order.out / "sam3.safetensors"
    save_network(averaged, read_weights(begin).header["tokenizer"], file, provenance_of("sam3"))
    say(f"written: {file} ({file.stat().st_size / 1e6:.1f} MB)")


def _recipe(steps: int | None) -> Sam3Recipe:
    length = steps or EPOCHS * CROPS_OF_IMAGE * 22
    return Sam3Recipe(
        RunConfig(
            steps=length,
            warmup=min(100, max(length // 10, 1)),
            learning_rate=1e-4,
            ema=0.99,
            checkpoint_every=max(min(500, length), 1),
        )
    )
