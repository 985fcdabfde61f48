"""Training of the detector: boxes of crops, denoising queries, and the loss of both stages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from napari_nucleus.models.uninuc.config import UniNucConfig
from napari_nucleus.models.uninuc.detector import Detections
from napari_nucleus.models.uninuc.network import UniNuc
from napari_nucleus.models.uninuc.set_loss import (
    BoxTargets,
    SetLossConfig,
    decoder_loss,
    denoising_loss,
    proposal_loss,
)
from napari_nucleus.training.batches import class_sets, network_pixels, pixels_of
from napari_nucleus.training.sampler import Crop

__all__ = ["DetectorLoss", "TeachingConfig", "box_batch", "boxes_of_crop"]


@dataclass(frozen=True, slots=True)
class TeachingConfig:
    """How the detector is taught.

    Parameters
    ----------
    proposals_only
        Share of the steps in which only the first stage learns, one nucleus to many cells.
    denoising
        Relative error of the boxes that denoising queries are given.
    loss
        Weights of the set loss.
    """

    proposals_only: float = 0.25
    denoising: float = 0.15
    loss: SetLossConfig = field(default_factory=SetLossConfig)


def boxes_of_crop(crop: Crop, n_classes: int) -> BoxTargets:
    """Return the boxes ``cx, cy, w, h`` and class sets of a crop's nuclei."""
    slices = [s for s in ndimage.find_objects(crop.labels) if s is not None]
    boxes = np.array(
        [
            (
                (s[1].start + s[1].stop) / 2,
                (s[0].start + s[0].stop) / 2,
                s[1].stop - s[1].start,
                s[0].stop - s[0].start,
            )
            for s in slices
        ],
        np.float32,
    ).reshape(-1, 4)
    sets = class_sets(crop.class_target[1:], n_classes).T.astype(np.float32)
    return BoxTargets(torch.from_numpy(boxes), torch.from_numpy(np.ascontiguousarray(sets)))


def box_batch(config: UniNucConfig) -> Any:
    """Return the function that turns crops into a batch for the detector."""

    def collate(crops: list[Crop]) -> dict[str, Any]:
        return {
            "pixels": pixels_of(crops),
            "boxes": [boxes_of_crop(c, config.n_classes) for c in crops],
        }

    return collate


class DetectorLoss:
    """Loss of one batch; a value that the training loop calls. The encoder is not taught here."""

    def __init__(
        self,
        config: TeachingConfig,
        steps: int,
        device: torch.device,
        autocast: bool,
        seed: int,
    ) -> None:
        self.config, self.steps = config, steps
        self.device, self.autocast = device, autocast
        self.generator = torch.Generator(device).manual_seed(seed)

    def __call__(
        self, model: nn.Module, batch: dict[str, Any], step: int
    ) -> tuple[Tensor, dict[str, float]]:
        """Return loss and parts."""
        assert isinstance(model, UniNuc)
        detector = model.detector
        targets = [
            BoxTargets(t.boxes.to(self.device), t.class_set.to(self.device)) for t in batch["boxes"]
        ]
        pixels = network_pixels(batch["pixels"].to(self.device))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            with torch.no_grad():
                features = model.segmenter.encoder(pixels)
            own_backbone = detector.backbone is not None
            memory = detector.memory(pixels if own_backbone else None, features)
            anchors = detector.anchors(memory)
            reference = detector.config.reference_px
            with_decoder = step >= self.config.proposals_only * self.steps
            n_groups = detector.config.groups if with_decoder else 1
            proposals = [detector.propose(memory, g) for g in range(n_groups)]
            first = torch.stack(
                [proposal_loss(p, anchors, targets, self.config.loss, reference) for p in proposals]
            ).mean()
            parts = {"proposals": float(first.detach())}
            if not with_decoder:
                return first, parts
            second, third = self._decoder(model, memory, proposals, targets)
        parts |= {"decoder": float(second.detach()), "denoising": float(third.detach())}
        return first + second + third, parts

    def _decoder(
        self, model: UniNuc, memory: list[Tensor], proposals: list, targets: list[BoxTargets]
    ) -> tuple[Tensor, Tensor]:
        detector = model.detector
        area = memory[0].shape[-2] * memory[0].shape[-1] * detector.strides[0] ** 2
        k = max(round(detector.config.queries * area / detector.config.query_area), 1)
        queries, boxes, groups = [], [], []
        for g, proposal in enumerate(proposals):
            query, reference = detector.queries(proposal, detector.select(proposal, k), g)
            queries.append(query)
            boxes.append(reference)
            groups.append(query.shape[1])
        noisy, index = self._noisy_boxes(targets)
        queries.append(detector.denoising_queries(noisy))
        boxes.append(noisy)
        out = detector.decode(
            memory, torch.cat(queries, 1), torch.cat(boxes, 1), [*groups, noisy.shape[1]]
        )
        n = sum(groups)
        matched = Detections(out.logits[:, :, :n], out.boxes[:, :, :n])
        given = Detections(out.logits[:, :, n:], out.boxes[:, :, n:])
        reference_px = detector.config.reference_px
        return (
            decoder_loss(matched, targets, groups, self.config.loss, reference_px),
            denoising_loss(given, targets, index, self.config.loss, reference_px),
        )

    def _noisy_boxes(self, targets: list[BoxTargets]) -> tuple[Tensor, Tensor]:
        """Return noisy true boxes ``(B, M, 4)`` and whose they are, −1 for padding."""
        most = max(max(len(t.boxes) for t in targets), 1)
        most = -(-most // 64) * 64  # few different shapes: kernels are prepared for each
        boxes = torch.full((len(targets), most, 4), 20.0, device=self.device)
        index = torch.full((len(targets), most), -1, dtype=torch.long, device=self.device)
        for b, target in enumerate(targets):
            m = len(target.boxes)
            noise = torch.rand((m, 4), generator=self.generator, device=self.device) * 2 - 1
            noise = noise * self.config.denoising
            extent = target.boxes[:, 2:]
            boxes[b, :m, :2] = target.boxes[:, :2] + noise[:, :2] * extent
            boxes[b, :m, 2:] = extent * (1 + noise[:, 2:])
            index[b, :m] = torch.arange(m, device=self.device)
        return boxes, index
