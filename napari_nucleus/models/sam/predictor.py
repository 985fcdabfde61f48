"""Adopted SAMs as the rest of the program sees them: a tile and prompts in, masks out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from napari_nucleus.models.api import ModelInfo
from napari_nucleus.models.devices import device_in_words
from napari_nucleus.models.sam.config import SamInference
from napari_nucleus.models.sam.network import SamNetwork
from napari_nucleus.models.sam.squares import SquarePredictor
from napari_nucleus.models.uninuc.crops import PromptBatch
from napari_nucleus.models.uninuc.prompt_encoder import PADDING
from napari_nucleus.models.working import normalise

__all__ = ["SamSegmenter"]


class SamSegmenter(SquarePredictor):
    """Promptable segmentation with one set of weights.

    Parameters
    ----------
    network
        With weights loaded, on its device.
    info
        Name, tile sizes.
    digest
        Identifies the weights; embeddings carry it.
    settings
        Squares, and what is done to their pixels.
    """

    def __init__(
        self, network: SamNetwork, info: ModelInfo, digest: str, settings: SamInference
    ) -> None:
        super().__init__(info, digest, settings, network.grid)
        self.network = network.eval()
        self._device = next(network.parameters()).device
        self._chunk = settings.chunks[self._device.type == "cuda"]

    @property
    def device(self) -> str:
        """The device in words, such as ``"cpu"`` or the name of a GPU."""
        return device_in_words(self._device)

    @torch.inference_mode()
    def _encode(self, rgb: NDArray[np.uint8], side: int) -> dict[str, NDArray]:
        pixels = torch.tensor(rgb, device=self._device).permute(2, 0, 1)[None].float() / 255
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"):
            seen = self.network.see(to_input(pixels, side, self.network.size, self.settings))
        return {f"f{i}": m[0].half().cpu().numpy() for i, m in enumerate(seen)}

    def _decode(self, maps: Mapping[str, NDArray], batch: PromptBatch) -> tuple[Tensor, Tensor]:
        # In single precision on every device: positions in half of it are off by pixels.
        seen = [torch.tensor(maps[k], device=self._device).float()[None] for k in sorted(maps)]
        logits = torch.empty((len(batch), self._grid, self._grid))
        iou = torch.empty(len(batch))
        for rows in _alike(batch):
            start = 0
            while start < len(rows):
                some = rows[start : start + self._chunk]
                try:
                    logits[some], iou[some] = self._answer(seen, batch, some)
                except torch.OutOfMemoryError:
                    if self._chunk == 1:
                        raise
                    self._chunk //= 2
                    continue
                start += len(some)
        return logits, iou

    def _answer(
        self, seen: Sequence[Tensor], batch: PromptBatch, rows: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Return the answers to prompts of one kind."""
        index = torch.tensor(rows)
        origin = batch.windows[index, :2]
        factor = self.network.size / (batch.windows[index, 2:] - origin)
        points, labels = batch.points_yx[index], batch.labels[index]
        count = int((labels[0] != PADDING).sum())
        # The network adds half a pixel to what it takes for an index.
        points = ((points[:, :count] - origin[:, None]) * factor[:, None] - 0.5).flip(-1)
        corners = (batch.boxes[index].view(-1, 2, 2) - origin[:, None]) * factor[:, None] - 0.5
        has_box, has_logits = (bool(b[rows[0]]) for b in (batch.has_box, batch.has_logits))
        lone = bool(batch.lone[rows[0]])
        logits, iou = self.network(
            seen,
            points.to(self._device) if count else None,
            labels[:, :count].to(self._device) if count else None,
            corners.flip(-1).flatten(1).to(self._device) if has_box else None,
            batch.logits[index].to(self._device) if has_logits else None,
            lone,
        )
        best = iou.argmax(1)
        at = torch.arange(len(best), device=best.device)
        return logits[at, best].float().cpu(), iou[at, best].float().cpu()


def to_input(rgb: Tensor, side: int, size: int, settings: SamInference) -> Tensor:
    """Return ``(B, 3, h, w)`` in 0–1 as a model sees it: ``(B, 3, size, size)``.

    What a square of ``side`` pixels has beyond the picture is 0 after the values were spread or
    ImageNet's statistics taken out.
    """
    if settings.values == "range":
        low, high = rgb.amin((1, 2, 3), keepdim=True), rgb.amax((1, 2, 3), keepdim=True)
        pixels = (rgb - low) / (high - low).clamp(min=1e-8)
    else:
        pixels = normalise(rgb)
    pixels = F.pad(pixels, (0, side - rgb.shape[-1], 0, side - rgb.shape[-2]))
    if side == size:
        return pixels
    return F.interpolate(
        pixels, (size, size), mode=settings.resize, align_corners=False, antialias=size < side
    )


def _alike(batch: PromptBatch) -> list[list[int]]:
    """Return rows with as many points and the same other prompts: these are decoded together.

    What fills up a row would be attended to.
    """
    kinds: dict[tuple[int, bool, bool], list[int]] = defaultdict(list)
    counts = (batch.labels != PADDING).sum(1).tolist()
    for i, kind in enumerate(
        zip(counts, batch.has_box.tolist(), batch.has_logits.tolist(), strict=True)
    ):
        kinds[kind].append(i)
    return list(kinds.values())
