"""Supervised training of the NuNext nano: the loss of one batch.

The sequence with soft coordinates, and the mask of all nuclei that the frozen segmenter makes of
the latent tokens. Half of the windows are written without the guide, so that the words can do
without it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_nucleus.models.nunext.losses import (
    CovtConfig,
    SoftConfig,
    covt_weight,
    sequence_loss,
    sigma_of,
    union_mask_loss,
)
from napari_nucleus.models.nunext.network import NuNext, Seen
from napari_nucleus.training.nunext_batches import NuNextBatch

__all__ = ["NuNextLoss", "SupervisedConfig", "latent_mask"]


@dataclass(frozen=True, slots=True)
class SupervisedConfig:
    """Weights of the supervised stage.

    Parameters
    ----------
    guided
        Share of the windows whose words are guided by the map.
    """

    soft: SoftConfig = field(default_factory=SoftConfig)
    covt: CovtConfig = field(default_factory=CovtConfig)
    guided: float = 0.5


class NuNextLoss:
    """Loss of a step; a value that the training loop calls."""

    def __init__(
        self, config: SupervisedConfig, device: torch.device, autocast: bool, seed: int
    ) -> None:
        self.config, self.device, self.autocast = config, device, autocast
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(
        self, model: nn.Module, batch: NuNextBatch, step: int
    ) -> tuple[Tensor, dict[str, float]]:
        """Return loss and parts of one batch."""
        assert isinstance(model, NuNext)
        config, device = self.config, self.device
        seen = Seen(*(v.to(device, memory_format=torch.channels_last) for v in batch.seen))
        count, size = len(batch.corner), batch.union.shape[-1]
        sizes = torch.full((count, 2), size, device=device)
        bias = (torch.rand(count, generator=self.generator) < config.guided).float().to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.autocast):
            looked = model.look(seen, sizes, batch.corner.to(device))
            said = model(looked, batch.written.to(device), bias)
        vocabulary, sequence = model.vocabulary, model.config.sequence
        coordinates = torch.tensor(vocabulary.coordinates, device=device)
        sigma = config.soft.sigma
        words = sequence_loss(
            said.logits,
            batch.target.to(device),
            coordinates,
            sigma_of(sequence.bins, sequence.frame) if sigma is None else sigma,
            batch.class_sets.to(device),
            torch.tensor(vocabulary.separators[1:], device=device),
            label_smoothing=config.soft.label_smoothing,
        )
        loss, parts = words, {"words": float(words.detach())}
        weight = covt_weight(step, config.covt.warm, config.covt.alpha)
        if weight > 0:
            with torch.autocast(device.type, torch.bfloat16, enabled=self.autocast):
                logits = latent_mask(model, seen, said.latent)
            union = union_mask_loss(logits.float(), _pooled(batch.union.to(device)))
            loss = loss + weight * union
            parts["union"] = float(union.detach())
        return loss, parts


def latent_mask(model: NuNext, seen: Seen, latent: Tensor) -> Tensor:
    """Return logits ``(B, H / 2, W / 2)`` of the mask that latent prompts ``(B, L, dim)`` give.

    The segmenter is frozen, the prompts are not.
    """
    segmenter = model.segmenter
    size = (seen.f2.shape[-2], seen.f2.shape[-1])
    none = torch.zeros(len(latent), dtype=torch.bool, device=latent.device)
    out = segmenter.mask_decoder(
        (seen.f0, seen.f1, seen.f2),
        segmenter.prompt_encoder.pe_layer.of_grid(size, latent.device),
        latent,
        segmenter.prompt_encoder.dense(None, none, size, len(latent)),
    )
    return out.logits[:, 0]


def _pooled(mask: Tensor) -> Tensor:
    """Return a mask at half its size, where at least half of a cell is inside."""
    return F.avg_pool2d(mask[:, None].float(), 2)[:, 0] >= 0.5
