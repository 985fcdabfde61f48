"""Training of UperHoVer: targets and loss of one batch, and one stage from start to best weights.

The supervised stage learns from annotated images; the stages of the curriculum learn from the
labels that the stage before has given to unlabelled tiles (see `pseudo`). Every stage starts from
new decoders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from napari_nucleus.models.uperhover.config import UperHoverConfig
from napari_nucleus.models.uperhover.losses import LossConfig, uperhover_loss
from napari_nucleus.models.uperhover.network import UperHover
from napari_nucleus.training.batches import (
    StagePlan,
    TrainingImages,
    class_sets,
    network_pixels,
    pixels_of,
)
from napari_nucleus.training.loop import fit, load_matching, resumed_step
from napari_nucleus.training.offsets import HvSource, offset_targets, reach_of
from napari_nucleus.training.sampler import Crop
from napari_nucleus.training.scores import score_maps

__all__ = ["TargetConfig", "begin_encoder", "map_batch", "train_maps"]


@dataclass(frozen=True, slots=True)
class TargetConfig:
    """What the network is asked for: ``hv_source`` as in `offset_targets`."""

    hv_source: HvSource = "instances"
    loss: LossConfig = field(default_factory=LossConfig)


def map_batch(config: UperHoverConfig, targets: TargetConfig) -> Any:
    """Return the function that turns crops into a batch."""
    reach = reach_of(config.inference.mpp)

    def collate(crops: list[Crop]) -> dict[str, Tensor]:
        sets, offsets, masks = [], [], []
        for crop in crops:
            sets.append(_class_set(crop, config.n_classes))
            offsets.append(offset_targets(crop.labels, reach, targets.hv_source))
            # Of a nucleus with a point alone the centre is known, its outline is not.
            masks.append((crop.labels > 0) & crop.known.all())
        return {
            "pixels": pixels_of(crops),
            "class_set": torch.from_numpy(np.stack(sets)),
            "hv": torch.from_numpy(np.stack(offsets)),
            "hv_mask": torch.from_numpy(np.stack(masks).astype(np.float32)),
        }

    return collate


def _class_set(crop: Crop, n_classes: int) -> np.ndarray:
    """Return ``(1 + C, H, W)`` uint8: which classes would be right, background first."""
    right = class_sets(crop.class_target[crop.labels], n_classes)
    nucleus = crop.labels > 0
    right[:, nucleus & (right.max(0) == 0)] = 1
    background = ~nucleus & crop.known
    return np.concatenate([background[None].astype(np.uint8), right])


class MapLoss:
    """Loss of a stage; a value that the training loop calls."""

    def __init__(self, config: LossConfig, device: torch.device, autocast: bool) -> None:
        self.config, self.device, self.autocast = config, device, autocast

    def __call__(
        self, model: nn.Module, batch: Mapping[str, Tensor], step: int
    ) -> tuple[Tensor, dict[str, float]]:
        """Return loss and parts of one batch."""
        on_device = {k: v.to(self.device, non_blocking=True) for k, v in batch.items()}
        pixels = network_pixels(on_device.pop("pixels"))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            maps = model(pixels)
        return uperhover_loss(maps, on_device, self.config)


def train_maps(
    images: TrainingImages,
    config: UperHoverConfig,
    out: Path,
    plan: StagePlan,
    device: torch.device,
    targets: TargetConfig,
    starts: Sequence[Path] = (),
    say: Callable[[str], None] = print,
) -> nn.Module:
    """Train a stage and return the averaged network.

    Parameters
    ----------
    starts
        Weights files from which the network takes what they hold of it.
    """
    torch.manual_seed(plan.seed)
    model = UperHover(config)
    for file in starts:
        load_matching(model, file)
    model.to(device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    groups = [{"params": [p for p in model.parameters() if p.requires_grad]}]
    loss = MapLoss(targets.loss, device, plan.autocast)
    batches = plan.batches(images, map_batch(config, targets), resumed_step(out))
    score = score_maps(images.development, device)
    return fit(model, groups, batches, loss, plan.run, out, score, say=say)


def begin_encoder(uninuc: Path, file: Path) -> None:
    """Write to ``file`` what the encoder takes of the weights of UniNuc's nano: its stem."""
    within = "segmenter.encoder.stem."
    tensors = {
        "encoder.stem.first." + name.removeprefix(within): value.float()
        for name, value in load_file(uninuc).items()
        if name.startswith(within)
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, file)
