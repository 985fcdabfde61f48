"""Recipe of ``uninuc-nano``: the shared encoder with dense heads, the click head, the detector.

Each stage starts from the last: the dense heads teach the encoder what a nucleus is, the mask
decoder learns prompts and corrections in crops of its features, the detector learns boxes.
Data: CoNSeP without its development split, Data Science Bowl 2018, points of NuCLS, and synthetic
fields. The numbers of each run are kept in ``docs/log.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn

from napari_nucleus.models.uninuc.config import UniNucConfig
from napari_nucleus.models.uninuc.dense import DenseHeads, DenseMaps
from napari_nucleus.models.uninuc.encoder import ImageEncoder
from napari_nucleus.models.uninuc.losses import dense_loss
from napari_nucleus.models.uninuc.network import Segmenter, UniNuc
from napari_nucleus.training.batches import StagePlan, TrainingImages, dense_batch, network_pixels
from napari_nucleus.training.click_targets import ObjectConfig, draw_objects
from napari_nucleus.training.clicks import ClickConfig, ClickLoss
from napari_nucleus.training.detection import DetectorLoss, TeachingConfig, box_batch
from napari_nucleus.training.loop import fit, load_matching, resumed_step
from napari_nucleus.training.sampler import Crop
from napari_nucleus.training.scores import score_boxes, score_clicks, score_dense

__all__ = ["DenseNetwork", "train_clicks", "train_dense", "train_detector"]

Module = TypeVar("Module", bound=nn.Module)

CLASS_WEIGHTS = (0.7, 1.0, 1.0, 2.0, 0.7)
"""Frequency to the power −0.5, capped, of the canonical classes in the training data."""


SEGMENTER = "segmenter."
"""What the names of encoder, dense heads and mask decoder begin with in a file of a `UniNuc`."""


class DenseNetwork(nn.Module):
    """Encoder and dense heads: the first stage, and the shared encoder of other models."""

    def __init__(self, config: UniNucConfig) -> None:
        super().__init__()
        self.encoder = ImageEncoder(config.encoder)
        self.dense = DenseHeads(config.encoder.neck_dims[0], config.dense.dim, config.n_classes)

    def forward(self, pixels: Tensor) -> DenseMaps:
        """Return the maps at the size of ``pixels`` ``(B, 3, H, W)`` (normalised)."""
        maps = self.dense(self.encoder(pixels)[0])
        return maps.resized((pixels.shape[-2], pixels.shape[-1]))


class DenseLoss:
    """Loss of the first stage; a value that the training loop calls."""

    def __init__(self, device: torch.device, autocast: bool) -> None:
        self.device, self.autocast = device, autocast
        self.weights = torch.tensor(CLASS_WEIGHTS, device=device)

    def __call__(
        self, model: nn.Module, batch: dict[str, Tensor], step: int
    ) -> tuple[Tensor, dict[str, float]]:
        """Return loss and parts of one batch."""
        batch = {k: v.to(self.device, non_blocking=True) for k, v in batch.items()}
        pixels = network_pixels(batch.pop("pixels"))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            maps = model(pixels)
        return dense_loss(maps, batch, self.weights)


def train_dense(
    images: TrainingImages,
    config: UniNucConfig,
    out: Path,
    plan: StagePlan,
    device: torch.device,
    starts: Sequence[Path] = (),
    say: Callable[[str], None] = print,
) -> nn.Module:
    """Train encoder and dense heads; the last part of the steps uses larger crops."""
    torch.manual_seed(plan.seed)
    model = DenseNetwork(config)
    _start(model, starts)
    model = _placed(model, device)
    groups = [{"params": list(model.parameters())}]
    loss = DenseLoss(device, plan.autocast)
    score = score_dense(images.development, device)
    batches = plan.batches(images, dense_batch(config), resumed_step(out))
    return fit(model, groups, batches, loss, plan.run, out, score, say=say)


def click_batch(config: UniNucConfig, objects: ObjectConfig, seed: int) -> Any:
    """Return the function that turns crops into a batch for the click head."""
    dense = dense_batch(config)
    rng = np.random.default_rng(seed)

    def collate(crops: list[Crop]) -> dict[str, Any]:
        return dense(crops) | {"objects": draw_objects(crops, config.decoder, objects, rng)}

    return collate


def train_clicks(
    images: TrainingImages,
    config: UniNucConfig,
    out: Path,
    plan: StagePlan,
    device: torch.device,
    starts: Sequence[Path],
    clicks: ClickConfig,
    objects: ObjectConfig,
    say: Callable[[str], None] = print,
) -> nn.Module:
    """Train prompt encoder and mask decoder on the encoder of ``starts`` (weights files)."""
    torch.manual_seed(plan.seed)
    model = Segmenter(config)
    _start(model, starts)
    model = _placed(model, device)
    shared = [*model.encoder.parameters(), *(model.dense.parameters() if model.dense else ())]
    heads = [*model.prompt_encoder.parameters(), *model.mask_decoder.parameters()]
    groups: list[dict[str, Any]] = [{"params": heads}]
    if clicks.encoder_from is not None:
        frozen = {"scale": clicks.encoder_rate, "frozen_until": clicks.encoder_from}
        groups.append({"params": shared, **frozen})
    loss = ClickLoss(clicks, plan.run.steps, device, plan.autocast, plan.seed, CLASS_WEIGHTS)
    begin = resumed_step(out)
    batches = plan.batches(images, click_batch(config, objects, plan.seed + begin), begin)
    score = score_clicks(images.development, config, device)
    return fit(model, groups, batches, loss, plan.run, out, score, "score", say)


def train_detector(
    images: TrainingImages,
    config: UniNucConfig,
    out: Path,
    plan: StagePlan,
    device: torch.device,
    starts: Sequence[Path],
    teaching: TeachingConfig,
    say: Callable[[str], None] = print,
) -> nn.Module:
    """Train the detector on the encoder of ``starts`` (weights files)."""
    torch.manual_seed(plan.seed)
    model = UniNuc(config)
    for file in starts:
        _start(model if _is_whole(file) else model.segmenter, [file])
    model = _placed(model, device)
    groups = [{"params": list(model.detector.parameters())}]
    loss = DetectorLoss(teaching, plan.run.steps, device, plan.autocast, plan.seed)
    batches = plan.batches(images, box_batch(config), resumed_step(out))
    score = score_boxes(images.development, device)
    return fit(model, groups, batches, loss, plan.run, out, score, "f1", say)


def _start(model: nn.Module, starts: Sequence[Path]) -> None:
    """Load what each file has of the model, later files over earlier ones."""
    for file in starts:
        load_matching(model, file, "" if isinstance(model, UniNuc) else SEGMENTER)


def _is_whole(file: Path) -> bool:
    """Return whether a file holds a whole `UniNuc` and not a stage's part of it."""
    with safe_open(file, "pt") as tensors:
        return any(name.startswith(SEGMENTER) for name in tensors.keys())  # noqa: SIM118


def _placed(model: Module, device: torch.device) -> Module:
    model.to(device)
    # The format is missing among the overloads that torch declares.
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
