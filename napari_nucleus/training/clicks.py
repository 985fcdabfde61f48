"""Training with simulated corrections: prompts, an answer, clicks in what is wrong, and so on.

The simulation is that of PathoSAM and micro-sam (random clicks in false-negative and
false-positive regions, answers fed back), with T passes of which the last and a random one are
learned from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_nucleus.models.uninuc.crops import (
    LOGIT_RANGE,
    PromptBatch,
    pseudo_logits,
    sample_logits,
)
from napari_nucleus.models.uninuc.losses import dense_loss, dice_loss, focal_loss
from napari_nucleus.models.uninuc.network import CropFeatures, Segmenter, empty_logits
from napari_nucleus.models.uninuc.prompt_encoder import NEGATIVE, PADDING, POSITIVE
from napari_nucleus.training.batches import network_pixels
from napari_nucleus.training.click_targets import ClickObjects

__all__ = ["ClickConfig", "ClickLoss", "mask_iou", "simulate_clicks", "simulate_corrections"]


@dataclass(frozen=True, slots=True)
class ClickConfig:
    """The simulated user and the loss.

    Parameters
    ----------
    passes
        Largest number of passes before and after ``long_from`` (share of the steps).
    long_from
        See ``passes``.
    feedback
        Probability that an answer's logits are fed back with the next click.
    both_signs
        Probability that one round has a click of each sign; otherwise one sign is drawn.
    focal_from
        Share of the steps after which 20 x focal replaces cross-entropy.
    click_weight
        Weight of the cross-entropy at the clicked pixels.
    encoder_from
        Step from which the encoder learns as well; None for never, which halves the time of a step.
    encoder_rate
        The encoder's learning rate as a share of the heads'.
    kept_weight
        Weight of the cross-entropy where an answer is wrong and the one before it, which was fed
        back, was right: a correction must not spoil what was good.
    dense_weight
        Weight of the dense losses, which keep the encoder's other heads alive.
    """

    passes: tuple[int, int] = (4, 8)
    long_from: float = 0.7
    feedback: float = 0.85
    both_signs: float = 0.5
    focal_from: float = 0.4
    click_weight: float = 0.2
    encoder_from: int | None = 500
    encoder_rate: float = 0.1
    kept_weight: float = 2.0
    dense_weight: float = 0.3


def mask_iou(pred: Tensor, truth: Tensor) -> Tensor:
    """Return the IoU of bool masks ``(..., S, S)`` over the last two axes; 1 for two empty ones."""
    both = (pred & truth).flatten(-2).sum(-1)
    either = (pred | truth).flatten(-2).sum(-1)
    return torch.where(either > 0, both / either.clamp(min=1), torch.ones_like(both, dtype=float))  # type: ignore[call-overload]


def upsample(logits: Tensor, size: int) -> Tensor:
    """Return logits ``(B, M, g, g)`` at ``size`` pixels a side."""
    return F.interpolate(logits, (size, size), mode="bilinear", align_corners=False)


def simulate_clicks(
    pred: Tensor,
    truth: Tensor,
    windows: Tensor,
    signs: Tensor,
    sharpness: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Click once into what is missing and once into what is surplus.

    Parameters
    ----------
    pred, truth
        ``(n, S, S)`` bool on the windows ``(n, 4)``.
    signs
        ``(n, 2)`` bool, whether a positive and a negative click are given.
    sharpness
        0 clicks uniformly; larger values prefer the middle of large errors.

    Returns
    -------
    Points ``(n, 2, 2)`` and labels ``(n, 2)``; `PADDING` where there is no error of that sign.
    """
    n, side = len(pred), pred.shape[-1]
    errors = torch.stack([truth & ~pred, pred & ~truth], dim=1).float()
    weight = errors
    if sharpness > 0:
        weight = errors * F.avg_pool2d(errors, 7, 1, 3).pow(sharpness)
    weight = weight.flatten(2)
    empty = weight.sum(-1) <= 0
    weight = torch.where(empty[..., None], torch.ones_like(weight), weight)
    index = torch.multinomial(weight.flatten(0, 1), 1, generator=generator).view(n, 2)
    cell = (windows[:, 2:] - windows[:, :2])[:, None] / side
    yx = torch.stack([index // side, index % side], dim=-1).float() + 0.5
    points = windows[:, None, :2] + yx * cell
    labels = torch.tensor([POSITIVE, NEGATIVE], device=pred.device).expand(n, 2)
    return points, torch.where(signs & ~empty, labels, PADDING)


class ClickLoss:
    """Loss of one batch of tiles with objects; a value that the training loop calls."""

    def __init__(
        self,
        config: ClickConfig,
        steps: int,
        device: torch.device,
        autocast: bool,
        seed: int,
        class_weights: tuple[float, ...],
    ) -> None:
        self.config, self.steps = config, steps
        self.device, self.autocast = device, autocast
        self.generator = torch.Generator(device).manual_seed(seed)
        self.rng = np.random.default_rng(seed)
        self.class_weights = torch.tensor(class_weights, device=device)

    def __call__(self, model: nn.Module, batch: dict, step: int) -> tuple[Tensor, dict[str, float]]:
        """Return loss and parts."""
        assert isinstance(model, Segmenter)
        objects: ClickObjects = batch["objects"].to(self.device)
        dense = {k: v.to(self.device) for k, v in batch.items() if isinstance(v, Tensor)}
        pixels = network_pixels(dense.pop("pixels"))
        encoder_from = self.config.encoder_from
        learn_encoder = encoder_from is not None and step >= encoder_from
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            with torch.set_grad_enabled(learn_encoder):
                features = model.encoder(pixels)
            crops = model.crop(
                model.mask_decoder.project(features), objects.windows, objects.tile_index
            )
            loss, parts = self._passes(model, crops, objects, step)
            if learn_encoder and self.config.dense_weight and model.dense is not None:
                maps = model.dense(features[0]).resized(pixels.shape[-2:])  # type: ignore[arg-type]
                dense_value, dense_parts = dense_loss(maps, dense, self.class_weights)
                loss = loss + self.config.dense_weight * dense_value
                parts |= {"dense": float(dense_value.detach()), "fg_dice": dense_parts["fg_dice"]}
        return loss, parts

    def _passes(
        self, model: Segmenter, crops: CropFeatures, objects: ClickObjects, step: int
    ) -> tuple[Tensor, dict[str, float]]:
        done = step / self.steps
        longest = self.config.passes[done >= self.config.long_from]
        shortest = 2 if done >= self.config.long_from else 1
        n_passes = int(self.rng.integers(shortest, longest + 1))
        learned = {n_passes - 1, int(self.rng.integers(n_passes))}
        use_focal = done >= self.config.focal_from
        truth = objects.truth > 0.5
        prompts = first_prompts(objects, model.config.decoder.crop_grid)
        total = objects.truth.new_zeros(())
        right: Tensor | None = None
        ious: list[float] = []
        for t in range(n_passes):
            with torch.set_grad_enabled(t in learned):
                losses, best = self._one_pass(model, crops, objects, prompts, use_focal)
                if right is not None:
                    spoilt = _spoilt_loss(best.float(), objects, prompts, right)
                    losses = losses + self.config.kept_weight * spoilt
            if t in learned:
                total = total + losses / len(learned)
            grid_logits = best.detach().float()
            pred = upsample(grid_logits[:, None], truth.shape[-1])[:, 0] > 0
            real = objects.is_object > 0
            ious.append(float(mask_iou(pred, truth)[real].mean()) if bool(real.any()) else 1.0)
            right = pred == truth
            if t + 1 < n_passes:
                prompts = self._next_prompts(prompts, objects, pred, truth, grid_logits)
        parts = {"iou_first": ious[0], "iou_last": ious[-1], "passes": float(n_passes)}
        return total, parts

    def _one_pass(
        self,
        model: Segmenter,
        crops: CropFeatures,
        objects: ClickObjects,
        prompts: PromptBatch,
        use_focal: bool,
    ) -> tuple[Tensor, Tensor]:
        """Decode once; of a lone point's three hypotheses the one that fits best learns."""
        out = model.decode(crops, prompts)
        lone = prompts.lone
        truth = objects.truth
        n, m = out.logits.shape[:2]
        side = truth.shape[-1]
        logits = upsample(out.logits.float(), side)
        flat, target = logits.flatten(0, 1), truth[:, None].expand(n, m, side, side).flatten(0, 1)
        dice = dice_loss(flat, target)
        if use_focal:
            pixel = 20 * focal_loss(flat, target)
        else:
            pixel = F.binary_cross_entropy_with_logits(flat, target, reduction="none")
            pixel = pixel.flatten(1).mean(1)
        losses = (dice + pixel).view(n, m)
        mask = torch.where(lone, losses[:, 1:].min(1).values, losses[:, 0])
        real = objects.is_object
        with torch.no_grad():
            true_iou = mask_iou(logits > 0, (truth > 0.5)[:, None]).float() * real[:, None]
        # Hypotheses are judged on lone points only, the single mask on all other prompts.
        judged = torch.cat([~lone[:, None], lone[:, None].expand(n, m - 1)], dim=1).float()
        iou = ((out.iou.float() - true_iou).pow(2) * judged).sum() / judged.sum().clamp(min=1)
        score = F.binary_cross_entropy_with_logits(out.object_score.float(), real)
        loss = (mask * real).sum() / real.sum().clamp(min=1) + iou + 0.3 * score
        chosen, _ = out.best(lone)
        loss = loss + self.config.click_weight * _click_loss(chosen.float(), prompts)
        return loss, chosen

    def _next_prompts(
        self,
        prompts: PromptBatch,
        objects: ClickObjects,
        pred: Tensor,
        truth: Tensor,
        logits: Tensor,
    ) -> PromptBatch:
        n = len(prompts)
        device = pred.device
        if self.rng.random() < self.config.both_signs:
            signs = torch.ones((n, 2), dtype=torch.bool, device=device)
        else:
            positive = torch.rand(n, generator=self.generator, device=device) < 0.5
            signs = torch.stack([positive, ~positive], dim=1)
        sharpness = float(self.rng.choice([0.0, 0.0, 1.0, 3.0]))
        points, labels = simulate_clicks(
            pred, truth, prompts.windows, signs, sharpness, self.generator
        )
        keep = torch.rand(n, generator=self.generator, device=device) < self.config.feedback
        keep &= objects.is_object > 0
        return PromptBatch(
            prompts.windows,
            torch.cat([prompts.points_yx, points], dim=1),
            torch.cat([prompts.labels, labels], dim=1),
            prompts.boxes,
            torch.where(keep[:, None, None], logits.clamp(-LOGIT_RANGE, LOGIT_RANGE), 0.0),
            keep,
        )


def simulate_corrections(
    model: Segmenter, crops: CropFeatures, objects: ClickObjects, passes: int, seed: int
) -> list[float]:
    """Return the mean IoU after the first answer and after each round of two random clicks."""
    generator = torch.Generator(objects.windows.device).manual_seed(seed)
    prompts = first_prompts(objects, model.config.decoder.crop_grid)
    truth = objects.truth > 0.5
    n = len(prompts)
    ious = []
    for _ in range(passes):
        best, _ = model.decode(crops, prompts).best(prompts.lone)
        pred = upsample(best[:, None], truth.shape[-1])[:, 0] > 0
        ious.append(float(mask_iou(pred, truth).mean()))
        signs = torch.ones((n, 2), dtype=torch.bool, device=pred.device)
        points, labels = simulate_clicks(pred, truth, prompts.windows, signs, 0.0, generator)
        prompts = PromptBatch(
            prompts.windows,
            torch.cat([prompts.points_yx, points], dim=1),
            torch.cat([prompts.labels, labels], dim=1),
            prompts.boxes,
            best.clamp(-LOGIT_RANGE, LOGIT_RANGE),
            torch.ones(n, dtype=torch.bool, device=pred.device),
        )
    return ious


def first_prompts(objects: ClickObjects, grid: int) -> PromptBatch:
    """Return the prompts an object starts from: a point, a box, or a damaged mask."""
    n = len(objects.windows)
    device = objects.windows.device
    logits, has = empty_logits(n, grid, device)
    from_mask = objects.starts_from_mask
    if bool(from_mask.any()):
        pseudo = pseudo_logits(objects.start_mask)
        coarse = sample_logits(pseudo, objects.windows, objects.windows, grid)
        logits = torch.where(from_mask[:, None, None], coarse, logits)
        has = from_mask
    has_box = ~torch.isnan(objects.boxes[:, 0])
    label = torch.where(has_box | from_mask, PADDING, POSITIVE)
    return PromptBatch(
        objects.windows, objects.points_yx[:, None], label[:, None], objects.boxes, logits, has
    )


def _spoilt_loss(
    logits: Tensor, objects: ClickObjects, prompts: PromptBatch, right: Tensor
) -> Tensor:
    """Return the cross-entropy of pixels that were right before, per pixel of the nuclei.

    ``right`` is ``(n, S, S)``, where the answer before agreed with the truth; only objects that
    saw that answer count.
    """
    truth = objects.truth
    seen = prompts.has_logits.to(truth.dtype) * objects.is_object
    at = upsample(logits[:, None], truth.shape[-1])[:, 0]
    wrong = right & ((at > 0) != (truth > 0.5))
    value = F.binary_cross_entropy_with_logits(at, truth, reduction="none") * wrong
    per_object = value.sum((1, 2)) / truth.sum((1, 2)).clamp(min=1)
    return (per_object * seen).sum() / seen.sum().clamp(min=1)


def _click_loss(logits: Tensor, prompts: PromptBatch) -> Tensor:
    """Return the cross-entropy at clicked pixels: a click must be obeyed where it was made."""
    real = prompts.labels != PADDING
    if not bool(real.any()):
        return logits.new_zeros(())
    side = (prompts.windows[:, 2:] - prompts.windows[:, :2])[:, None]
    xy = ((prompts.points_yx - prompts.windows[:, None, :2]) / side * 2 - 1).flip(-1)
    at = F.grid_sample(logits[:, None], xy[:, None], align_corners=False)[:, 0, 0]
    value = F.binary_cross_entropy_with_logits(
        at, (prompts.labels == POSITIVE).to(at.dtype), reduction="none"
    )
    return (value * real).sum() / real.sum()
