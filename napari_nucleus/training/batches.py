"""Batches: what a recipe trains on, in what sizes, and how crops become tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from napari_nucleus.models.uninuc.config import UniNucConfig
from napari_nucleus.models.working import normalise
from napari_nucleus.training.data import EPITHELIAL_EITHER, AnnotatedImage, PointImage
from napari_nucleus.training.loop import RunConfig
from napari_nucleus.training.sampler import Crop, CropSampler, SamplerConfig
from napari_nucleus.training.targets import dense_targets

__all__ = ["CropBatches", "StagePlan", "TrainingImages", "class_sets", "dense_batch", "pixels_of"]


@dataclass(frozen=True, eq=False)
class TrainingImages:
    """What a recipe trains on and is selected by.

    ``annotated`` maps source names to images; ``development`` is never trained on.
    """

    annotated: Mapping[str, Sequence[AnnotatedImage]]
    points: Sequence[PointImage]
    development: Sequence[AnnotatedImage]


@dataclass(frozen=True, slots=True)
class StagePlan:
    """How long, how large and from what one stage is trained.

    Parameters
    ----------
    run
        Steps, rates and intervals.
    sizes
        Crop side and batch size until the given share of the steps is done, in order.
    sampler
        Shares of the sources, and augmentation.
    workers
        Background processes that make crops.
    autocast
        bfloat16 where it is faster.
    """

    run: RunConfig
    sizes: tuple[tuple[float, int, int], ...] = ((0.8, 128, 8), (1.0, 256, 4))
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    workers: int = 1
    autocast: bool = True
    seed: int = 0

    def batches(
        self, images: TrainingImages, collate: Any, start: int = 0
    ) -> Iterator[dict[str, Tensor]]:
        """Yield the batches from step ``start`` to the end of the run."""
        step = start
        for share, size, batch in self.sizes:
            last = round(share * self.run.steps)
            if step >= last:
                continue
            sampler = CropSampler(images.annotated, images.points, size, self.sampler)
            loader = endless(CropBatches(sampler, batch, collate, self.seed, step), self.workers)
            for _ in range(last - step):
                yield next(loader)
            step = last


class CropBatches(IterableDataset):
    """Batches of a `CropSampler`, made into tensors by ``collate``, for a DataLoader.

    Each loader process draws from its own seed; ``start`` continues a resumed run with crops that
    it has not seen.
    """

    def __init__(
        self, sampler: CropSampler, batch: int, collate: Any, seed: int, start: int = 0
    ) -> None:
        self.sampler, self.batch, self.collate = sampler, batch, collate
        self.seed, self.start = seed, start

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        worker = torch.utils.data.get_worker_info()
        index = 0 if worker is None else worker.id
        self.sampler.rng = np.random.default_rng([self.seed, self.start, index])
        while True:
            yield self.collate([self.sampler.draw() for _ in range(self.batch)])


def endless(dataset: CropBatches, workers: int) -> Iterator[dict[str, Tensor]]:
    """Return the data set's batches, made in ``workers`` background processes."""
    loader = DataLoader(
        dataset, batch_size=None, num_workers=workers, prefetch_factor=4 if workers else None
    )
    return iter(loader)


def pixels_of(crops: list[Crop]) -> Tensor:
    """Return ``(B, 3, S, S)`` uint8."""
    return torch.from_numpy(np.stack([c.rgb for c in crops])).permute(0, 3, 1, 2)


def network_pixels(pixels: Tensor) -> Tensor:
    """Return pixels ``(B, 3, H, W)`` uint8 as networks take them: normalised, channels last."""
    return normalise(pixels.float() / 255).contiguous(memory_format=torch.channels_last)


def network_pixels_of(rgb: Sequence[NDArray[np.uint8]], device: torch.device) -> Tensor:
    """Return pictures ``(H, W, 3)`` of one size as networks take them, ``(B, 3, H, W)``."""
    return network_pixels(torch.tensor(np.stack(rgb), device=device).permute(0, 3, 1, 2))


def class_sets(classes: np.ndarray, n_classes: int) -> np.ndarray:
    """Return which classes would be right, ``(C, ...)`` uint8, of class targets of any shape.

    None is where there is no nucleus or its class is unknown.
    """
    out = np.stack([classes == c + 1 for c in range(n_classes)]).astype(np.uint8)
    either = classes == EPITHELIAL_EITHER
    out[0][either] = 1
    out[4][either] = 1
    return out


def dense_batch(config: UniNucConfig) -> Any:
    """Return the function that turns crops into a batch for the dense heads."""

    def collate(crops: list[Crop]) -> dict[str, Tensor]:
        targets = [
            dense_targets(c.labels, c.class_target, config.dense.heatmap_sigma) for c in crops
        ]
        stacked = {
            "foreground": np.stack([t.foreground for t in targets]),
            "distance": np.stack([t.distance for t in targets]),
            "hv": np.stack([t.hv for t in targets]),
            "heatmap": np.stack([t.heatmap for t in targets]),
            "known": np.stack([c.known for c in crops]).astype(np.float32),
            "class_set": np.stack([class_sets(t.classes, config.n_classes) for t in targets]),
        }
        batch = {name: torch.from_numpy(array) for name, array in stacked.items()}
        batch["pixels"] = pixels_of(crops)
        return batch

    return collate
