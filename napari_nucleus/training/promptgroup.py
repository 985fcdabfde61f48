"""Training of text-prompted models: the loss of one batch of prompt groups.

The same for the nano, whose encoder has seen the pieces before, and for SAM3, which is fed with
pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_nucleus.models.promptgroup.losses import aggregated, grouped_loss, segmentation_loss
from napari_nucleus.models.promptgroup.network import Answers, PromptGroup, Seen
from napari_nucleus.models.promptgroup.sam3 import Sam3Network, to_input
from napari_nucleus.models.promptgroup.set_loss import native_loss
from napari_nucleus.models.promptgroup.text import Read
from napari_nucleus.training.prompt_bank import QUALITIES, Prompt
from napari_nucleus.training.prompt_batches import GroupBatch, GroupPlan

__all__ = ["GroupLoss", "ramp", "resized"]


class GroupLoss:
    """Loss of a step; a value that the training loop calls."""

    def __init__(self, plan: GroupPlan, steps: int, device: torch.device, autocast: bool) -> None:
        self.plan, self.steps, self.device, self.autocast = plan, steps, device, autocast

    def __call__(
        self, model: nn.Module, batch: GroupBatch, step: int
    ) -> tuple[Tensor, dict[str, float]]:
        """Return loss and parts of one batch."""
        plan, k = self.plan, self.plan.prompts
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            answers, wanted = self._answers(model, batch)
        mask, known, present = (
            v.to(self.device).repeat_interleave(k, 0)
            for v in (batch.mask, batch.known, batch.present)
        )
        logits = self._asked(answers, batch)
        losses = segmentation_loss(
            logits, answers.presence.float(), mask, known, present, plan.loss.segmentation
        )
        group = plan.loss.group.scaled(ramp(step, self.steps, plan.warmup))
        grouped = grouped_loss(losses.view(-1, k), logits.view(-1, k, *logits.shape[1:]), group)
        total = grouped.total
        parts = {
            "plain": float(losses.detach().mean()),
            "group": float(grouped.group.detach()),
            "consistency": float(grouped.consistency.detach()),
        }
        if wanted is not None:
            right = batch.wanted.to(self.device).repeat_interleave(k, 0)
            reading = F.binary_cross_entropy_with_logits(wanted.float(), right)
            total = total + plan.loss.wanted * reading
            parts["wanted"] = float(reading.detach())
        if plan.native and batch.nuclei is not None:
            native = self._native(answers, batch)
            total = total + plan.native * native
            parts["native"] = float(native.detach())
        return total, parts | _by_quality(batch.prompts, grouped.weights.flatten())

    def _answers(self, model: nn.Module, batch: GroupBatch) -> tuple[Answers, Tensor | None]:
        """Return the answers to all texts, and the classes that they were read as asking for."""
        assert isinstance(model, PromptGroup | Sam3Network)
        index = batch.piece.repeat_interleave(self.plan.prompts).to(self.device)
        read = model.read_texts(batch.texts)
        if isinstance(model, Sam3Network):
            assert isinstance(batch.seen, Tensor)
            pixels = to_input(batch.seen.to(self.device).float() / 255, model.size)
            return model(model.see(pixels).of(index), read), None
        assert isinstance(batch.seen, Seen)
        assert isinstance(read, Read)
        seen = Seen(*(v.to(self.device, memory_format=torch.channels_last) for v in batch.seen))
        return model(seen.of(index), read), read.wanted

    def _asked(self, answers: Answers, batch: GroupBatch) -> Tensor:
        """Return the logit map of each prompt, ``(n, S, S)``."""
        size = batch.mask.shape[-1]
        if self.plan.answer == "semantic":
            return resized(answers.semantic.float(), size)
        scores = answers.scores.float().sigmoid() * answers.presence.float().sigmoid()[:, None]
        counts = [self.plan.more_queries + self._count(batch, g) for g in range(len(batch.piece))]
        maps = [
            aggregated(answers.masks[i].float(), scores[i], counts[i // self.plan.prompts])
            for i in range(len(scores))
        ]
        return resized(torch.stack(maps)[:, None], size)

    def _count(self, batch: GroupBatch, group: int) -> int:
        return 1 if batch.nuclei is None else max(len(batch.nuclei[group]), 1)

    def _native(self, answers: Answers, batch: GroupBatch) -> Tensor:
        """Return the mean set loss of the prompts."""
        assert batch.nuclei is not None
        losses = []
        for i in range(len(answers.scores)):
            group = i // self.plan.prompts
            masks = batch.nuclei[group].to(self.device)
            losses.append(native_loss(answers.masks[i], answers.scores[i], answers.boxes[i], masks))
        return torch.stack(losses).mean()


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
