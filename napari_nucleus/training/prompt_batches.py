"""Batches of prompt groups: pieces of pictures, what is asked for on them, and in which words.

The nano's encoder is another model's and is not trained, so each augmented crop is encoded once and
kept (`SeenCrops`); SAM3 is fed with pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from napari_nucleus.models.promptgroup.losses import LossConfig
from napari_nucleus.models.promptgroup.network import PromptGroup, Seen
from napari_nucleus.training.batches import (
    TrainingImages,
    network_pixels,
    network_pixels_of,
    pixels_of,
)
from napari_nucleus.training.data import AnnotatedImage
from napari_nucleus.training.prompt_bank import ALL_CLASSES, Prompt, draw_group, vary
from napari_nucleus.training.prompt_targets import GroupShares, Wanted, draw_classes, wanted_mask
from napari_nucleus.training.sampler import Crop, CropSampler, SamplerConfig

__all__ = [
    "GroupBatch",
    "GroupPlan",
    "SeenCrops",
    "draw_batch",
    "group_batches",
    "load_crops",
    "pixel_batches",
    "save_crops",
    "see_crops",
]

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
        seen.append(_kept(network.see(network_pixels(pixels_of([crop])))))
        maps.append(crop.class_target[crop.labels])
        if (i + 1) % 200 == 0:
            say(f"{i + 1} of {count} crops seen")
    return SeenCrops(Seen(*(torch.cat(v) for v in zip(*seen, strict=True))), np.stack(maps))


@torch.inference_mode()
def see_tiles(network: PromptGroup, images: Sequence[AnnotatedImage], size: int) -> SeenCrops:
    """Let the encoder look at images as they are, cut into tiles of ``size`` pixels."""
    network.eval()
    seen: list[Seen] = []
    maps = []
    for image in images:
        class_map = image.class_target[image.labels]
        height, width = class_map.shape
        for y in range(0, height - size + 1, size):
            for x in range(0, width - size + 1, size):
                part = slice(y, y + size), slice(x, x + size)
                pixels = network_pixels_of([image.rgb[part]], torch.device("cpu"))
                seen.append(_kept(network.see(pixels)))
                maps.append(class_map[part])
    return SeenCrops(Seen(*(torch.cat(v) for v in zip(*seen, strict=True))), np.stack(maps))


def _kept(found: Seen) -> Seen:
    """Return what is kept of a window, in half precision: nothing is learned from the maps."""
    return Seen(*(v.half() for v in found[:3]), maps=found.maps[:, :0].half())


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
    answer
        What is compared with the truth: ``"semantic"``, the semantic map, or ``"queries"``, the
        best queries joined, as the paper does.
    more_queries
        How many queries more than there are nuclei are joined.
    native
        Weight of the detector's own set losses; they need the nuclei one by one.
    """

    sizes: tuple[tuple[float, int, int], ...] = ((0.75, 128, 3), (1.0, 256, 1))
    prompts: int = 3
    by_quality: float = 0.5
    varied: float = 0.4
    warmup: float = 0.3
    answer: Literal["semantic", "queries"] = "semantic"
    more_queries: int = 8
    native: float = 0.0
    shares: GroupShares = field(default_factory=GroupShares)
    loss: LossConfig = field(default_factory=LossConfig)


@dataclass(frozen=True, eq=False)
class GroupBatch:
    """G groups of K prompts, one group after the other.

    Parameters
    ----------
    seen
        What the encoder made of the pieces, or their pixels ``(P, 3, S, S)`` uint8.
    piece
        ``(G,)`` which piece a group is of.
    prompts, texts
        G·K prompts of the bank, and how they are worded.
    mask, known
        ``(G, S, S)`` bool.
    present
        ``(G,)`` 1, 0, or −1 where it is not known.
    wanted
        ``(G, C)`` 1 for each class that is asked for.
    nuclei
        For each group the masks ``(n, S, S)`` of the nuclei that are asked for; None where they
        are not known one by one.
    """

    seen: Seen | Tensor
    piece: Tensor
    prompts: tuple[Prompt, ...]
    texts: tuple[str, ...]
    mask: Tensor
    known: Tensor
    present: Tensor
    wanted: Tensor
    nuclei: tuple[Tensor, ...] | None = None


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
    """Draw pieces of seen crops, groups for each, and the prompts of each group."""
    pieces: list[Seen] = []
    groups = _Groups(plan, rng)
    for _ in range(count):
        room = (crops.class_map.shape[1] - size) // CELL
        y, x = (CELL * int(v) for v in rng.integers(0, room + 1, 2))
        seen, class_map = crops.piece(int(rng.integers(len(crops))), y, x, size)
        seen, class_map = _mirrored(seen, class_map, rng)
        pieces.append(seen)
        groups.add(class_map)
    return groups.batch(Seen(*(torch.stack(v) for v in zip(*pieces, strict=True))))


def pixel_batches(
    crops: CropSampler, plan: GroupPlan, count: int, seed: int, start: int = 0
) -> Iterator[GroupBatch]:
    """Yield batches of ``count`` crops as pixels, without end."""
    crops.rng = rng = np.random.default_rng([seed, start])
    while True:
        drawn = [crops.draw() for _ in range(count)]
        groups = _Groups(plan, rng)
        for crop in drawn:
            groups.add(crop.class_target[crop.labels], crop)
        yield groups.batch(pixels_of(drawn))


class _Groups:
    """Groups of the pieces of a batch, drawn piece by piece."""

    def __init__(self, plan: GroupPlan, rng: np.random.Generator) -> None:
        self.plan, self.rng = plan, rng
        self.pieces = 0
        self.which: list[int] = []
        self.prompts: list[Prompt] = []
        self.targets: list[Wanted] = []
        self.classes: list[tuple[int, ...]] = []
        self.nuclei: list[Tensor] = []

    def add(self, class_map: NDArrayU8, crop: Crop | None = None) -> None:
        """Draw the groups of the next piece; of a whole crop its nuclei are told one by one."""
        plan = self.plan
        for classes in draw_classes(class_map, plan.shares, self.rng):
            target = wanted_mask(class_map, classes)
            self.which.append(self.pieces)
            self.targets.append(target)
            self.classes.append(classes)
            self.prompts += draw_group(classes, self.rng, plan.prompts, plan.by_quality)
            if crop is not None:
                ids = np.unique(crop.labels[target.mask])
                self.nuclei.append(torch.from_numpy(crop.labels == ids[ids > 0][:, None, None]))
        self.pieces += 1

    def batch(self, seen: Seen | Tensor) -> GroupBatch:
        """Return the batch of all pieces."""
        wanted = [[float(c in classes) for c in ALL_CLASSES] for classes in self.classes]
        return GroupBatch(
            seen,
            torch.tensor(self.which),
            tuple(self.prompts),
            tuple(vary(p.text, self.rng, self.plan.varied) for p in self.prompts),
            torch.from_numpy(np.stack([t.mask for t in self.targets])),
            torch.from_numpy(np.stack([t.known for t in self.targets])),
            torch.tensor([t.present for t in self.targets]),
            torch.tensor(wanted),
            tuple(self.nuclei) if self.nuclei else None,
        )


def _mirrored(seen: Seen, class_map: NDArrayU8, rng: np.random.Generator) -> tuple[Seen, NDArrayU8]:
    """Mirror a piece at random; of its offsets nothing is learned, so they are left as they are."""
    axes = tuple(a for a in (1, 2) if rng.random() < 0.5)
    if not axes:
        return seen, class_map
    flipped = np.ascontiguousarray(np.flip(class_map, tuple(a - 1 for a in axes)))
    return Seen(*(value.flip(axes) for value in seen)), flipped


def save_crops(crops: SeenCrops, file: Path) -> None:
    """Keep encoded crops in a file."""
    torch.save({"seen": list(crops.seen), "map": torch.from_numpy(crops.class_map)}, file)


def load_crops(file: Path) -> SeenCrops:
    """Return what `save_crops` kept."""
    state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    return SeenCrops(Seen(*state["seen"]), state["map"].numpy())
