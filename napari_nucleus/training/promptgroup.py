"""Training of the text-prompted nano: crops that its frozen encoder has seen, groups of prompts.

The encoder is another model's and is not trained, so each augmented crop is encoded once and kept;
a step costs the text encoder and SAM3's detector alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_nucleus.models.promptgroup.losses import (
    LossConfig,
    grouped_loss,
    segmentation_loss,
)
from napari_nucleus.models.promptgroup.network import PromptGroup, Seen
from napari_nucleus.models.working import normalise
from napari_nucleus.training.batches import TrainingImages, pixels_of
from napari_nucleus.training.prompt_bank import ALL_CLASSES, QUALITIES, Prompt, draw_group, vary
from napari_nucleus.training.prompt_targets import GroupShares, draw_classes, wanted_mask
from napari_nucleus.training.sampler import CropSampler, SamplerConfig

__all__ = ["GroupBatch", "GroupLoss", "GroupPlan", "SeenCrops", "group_batches", "see_crops"]

CELL = 16
"""Pixels of the coarsest cell: pieces of a crop begin and end with one."""


@dataclass(frozen=True, eq=False)
class SeenCrops:
    """Encoded crops: ``seen`` in half precision, ``class_map`` ``(N, S, S)`` uint8 targets."""

    seen: Seen
    class_map: NDArrayU8

    def __len__(self) -> int:
        return len(self.class_map)

    def piece(self, i: int, y: int, x: int, size: int) -> tuple[Seen, NDArrayU8]:
        """Return a square of ``size`` pixels of crop ``i``; all in whole cells."""
        parts = []
        for value in self.seen:
            stride = self.class_map.shape[1] // value.shape[-1]
            a, b, n = y // stride, x // stride, size // stride
            parts.append(value[i, :, a : a + n, b : b + n].float())
        return Seen(*parts), self.class_map[i, y : y + size, x : x + size]


NDArrayU8 = np.ndarray[Any, np.dtype[np.uint8]]


@torch.inference_mode()
def see_crops(
    network: PromptGroup,
    images: TrainingImages,
    count: int,
    size: int,
    sampler: SamplerConfig,
    seed: int,
    say: Callable[[str], None],
) -> SeenCrops:
    """Draw ``count`` augmented crops and let the encoder look at each once."""
    network.eval()
    crops = CropSampler(images.annotated, (), size, sampler, seed)
    seen: list[Seen] = []
    maps = []
    for i in range(count):
        crop = crops.draw()
        pixels = normalise(pixels_of([crop]).float() / 255)
        found = network.see(pixels.contiguous(memory_format=torch.channels_last))
        # Nothing is learned from the maps.
        seen.append(Seen(*(v.half() for v in found[:3]), maps=found.maps[:, :0].half()))
        maps.append(crop.class_target[crop.labels])
        if (i + 1) % 200 == 0:
            say(f"{i + 1} of {count} crops seen")
    return SeenCrops(Seen(*(torch.cat(v) for v in zip(*seen, strict=True))), np.stack(maps))


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """What a step is made of.

    Parameters
    ----------
    sizes
        Side of the pieces and how many of them, until the given share of the steps is done.
    prompts
        K, prompts of a group.
    by_quality
        Share of the groups with one prompt of each quality.
    varied
        How much prompts are worded otherwise than the bank has them.
    warmup
        Share of the steps without group terms; then λ and β rise to their weights over as many.
    """

    sizes: tuple[tuple[float, int, int], ...] = ((0.75, 128, 3), (1.0, 256, 1))
    prompts: int = 3
    by_quality: float = 0.5
    varied: float = 0.4
    warmup: float = 0.3
    shares: GroupShares = field(default_factory=GroupShares)
    loss: LossConfig = field(default_factory=LossConfig)


@dataclass(frozen=True, eq=False)
class GroupBatch:
    """G groups of K prompts, one group after the other.

    ``seen`` of the pieces and ``piece`` ``(G,)``, which of them a group is of; ``texts`` G·K;
    ``mask``, ``known`` ``(G, S, S)``, ``present`` ``(G,)``, ``wanted`` ``(G, C)`` 0 or 1.
    """

    seen: Seen
    piece: Tensor
    prompts: tuple[Prompt, ...]
    texts: tuple[str, ...]
    mask: Tensor
    known: Tensor
    present: Tensor
    wanted: Tensor


def group_batches(
    crops: SeenCrops, plan: GroupPlan, steps: int, seed: int, start: int = 0
) -> Iterator[GroupBatch]:
    """Yield the batches from step ``start`` to the end of the run."""
    step = start
    rng = np.random.default_rng([seed, start])
    for share, size, count in plan.sizes:
        while step < round(share * steps):
            yield draw_batch(crops, plan, min(size, crops.class_map.shape[1]), count, rng)
            step += 1


def draw_batch(
    crops: SeenCrops, plan: GroupPlan, size: int, count: int, rng: np.random.Generator
) -> GroupBatch:
    """Draw pieces, groups for each, and the prompts of each group."""
    pieces: list[Seen] = []
    which: list[int] = []
    prompts: list[Prompt] = []
    targets = []
    wanted: list[list[float]] = []
    for p in range(count):
        room = (crops.class_map.shape[1] - size) // CELL
        y, x = (CELL * int(v) for v in rng.integers(0, room + 1, 2))
        seen, class_map = crops.piece(int(rng.integers(len(crops))), y, x, size)
        seen, class_map = _mirrored(seen, class_map, rng)
        pieces.append(seen)
        for classes in draw_classes(class_map, plan.shares, rng):
            which.append(p)
            targets.append(wanted_mask(class_map, classes))
            prompts += draw_group(classes, rng, plan.prompts, plan.by_quality)
            wanted.append([float(c in classes) for c in ALL_CLASSES])
    return GroupBatch(
        Seen(*(torch.stack(v) for v in zip(*pieces, strict=True))),
        torch.tensor(which),
        tuple(prompts),
        tuple(vary(prompt.text, rng, plan.varied) for prompt in prompts),
        torch.from_numpy(np.stack([t.mask for t in targets])),
        torch.from_numpy(np.stack([t.known for t in targets])),
        torch.tensor([t.present for t in targets]),
        torch.tensor(wanted),
    )


def _mirrored(seen: Seen, class_map: NDArrayU8, rng: np.random.Generator) -> tuple[Seen, NDArrayU8]:
    """Mirror a piece at random; of its offsets nothing is learned, so they are left as they are."""
    axes = tuple(a for a in (1, 2) if rng.random() < 0.5)
    if not axes:
        return seen, class_map
    flipped = np.ascontiguousarray(np.flip(class_map, tuple(a - 1 for a in axes)))
    return Seen(*(value.flip(axes) for value in seen)), flipped


class GroupLoss:
    """Loss of a step; a value that the training loop calls."""

    def __init__(self, plan: GroupPlan, steps: int, device: torch.device, autocast: bool) -> None:
        self.plan, self.steps, self.device, self.autocast = plan, steps, device, autocast

    def __call__(
        self, model: nn.Module, batch: GroupBatch, step: int
    ) -> tuple[Tensor, dict[str, float]]:
        """Return loss and parts of one batch."""
        assert isinstance(model, PromptGroup)
        k = self.plan.prompts
        piece = batch.piece.repeat_interleave(k).to(self.device)
        mask, known = (v.to(self.device) for v in (batch.mask, batch.known))
        present, wanted = (
            v.repeat_interleave(k, 0).to(self.device) for v in (batch.present, batch.wanted)
        )
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            read = model.read_texts(batch.texts)
            seen = Seen(*(v.to(self.device, memory_format=torch.channels_last) for v in batch.seen))
            answers = model(seen.of(piece), read)
        logits = resized(answers.semantic.float(), mask.shape[1])
        losses = segmentation_loss(
            logits,
            answers.presence.float(),
            mask.repeat_interleave(k, 0),
            known.repeat_interleave(k, 0),
            present,
            self.plan.loss.segmentation,
        )
        group = self.plan.loss.group.scaled(ramp(step, self.steps, self.plan.warmup))
        by_group = losses.view(-1, k)
        grouped = grouped_loss(by_group, logits.view(-1, k, *logits.shape[1:]), group)
        reading = F.binary_cross_entropy_with_logits(read.wanted.float(), wanted)
        total = grouped.total + self.plan.loss.wanted * reading
        parts = {
            "plain": float(losses.detach().mean()),
            "group": float(grouped.group.detach()),
            "consistency": float(grouped.consistency.detach()),
            "wanted": float(reading.detach()),
        }
        return total, parts | _by_quality(batch.prompts, grouped.weights.flatten())


def ramp(step: int, steps: int, warmup: float) -> float:
    """Return the share of the group terms at a step: 0 in the warm-up, then rising to 1."""
    return min(max(step / max(warmup * steps, 1) - 1, 0.0), 1.0)


def resized(logits: Tensor, size: int) -> Tensor:
    """Return ``(n, 1, h, w)`` as ``(n, size, size)``."""
    return F.interpolate(logits, size=(size, size), mode="bilinear", align_corners=False)[:, 0]


def _by_quality(prompts: Sequence[Prompt], weights: Tensor) -> dict[str, float]:
    """Return the mean weight of the prompts of each quality that occurs."""
    return {
        f"weight_{quality}": float(weights[torch.tensor(chosen)].mean())
        for quality in QUALITIES
        if (chosen := [i for i, p in enumerate(prompts) if p.quality == quality])
    }


def save_crops(crops: SeenCrops, file: Path) -> None:
    """Keep encoded crops in a file."""
    torch.save({"seen": list(crops.seen), "map": torch.from_numpy(crops.class_map)}, file)


def load_crops(file: Path) -> SeenCrops:
    """Return what `save_crops` kept."""
    state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    return SeenCrops(Seen(*state["seen"]), state["map"].numpy())
