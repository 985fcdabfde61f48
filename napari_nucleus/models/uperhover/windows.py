"""A tile in overlapping windows of the size that the network was trained with, joined again.

Pyramid pooling and global attention see a whole window, so its size is part of the model.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_nucleus.models.uperhover.config import InferenceConfig
from napari_nucleus.models.uperhover.network import Maps, UperHover
from napari_nucleus.models.working import FLIPS, mirror_to, normalise

__all__ = ["predict_maps", "window_starts"]

BATCH = 4
"""Windows at a time; more are no faster on a CPU."""


@torch.inference_mode()
def predict_maps(
    network: UperHover, rgb: Tensor, config: InferenceConfig, batch: int = BATCH
) -> Maps:
    """Return class probabilities and offsets of ``rgb`` ``(1, 3, H, W)`` in 0–1.

    Classes are in the order of their ids, background first; both maps are on the input's device.
    """
    h, w = rgb.shape[-2:]
    starts = [(y, x) for y in window_starts(h, config) for x in window_starts(w, config)]
    side = config.window
    size = (max(y for y, _ in starts) + side, max(x for _, x in starts) + side)
    padded = normalise(_padded(rgb, size, config)).contiguous(memory_format=torch.channels_last)
    joined = _Joined(network.config.n_classes, size, config, rgb.device)
    for first in range(0, len(starts), batch):
        some = starts[first : first + batch]
        windows = torch.cat([padded[..., y : y + side, x : x + side] for y, x in some])
        maps = _averaged(network, windows, config)
        for i, start in enumerate(some):
            joined.add(maps.classes[i], maps.hv[i], start)
    maps = joined.result()
    return Maps(maps.classes[..., :h, :w], maps.hv[..., :h, :w])


def window_starts(length: int, config: InferenceConfig) -> list[int]:
    """Return where windows begin along an axis; the last ends with the tile."""
    if length <= config.window:
        return [0]
    return [*range(0, length - config.window, config.stride), length - config.window]


def _padded(rgb: Tensor, size: tuple[int, int], config: InferenceConfig) -> Tensor:
    if config.padding == "reflect":
        return mirror_to(rgb, size)
    return F.pad(rgb, (0, size[1] - rgb.shape[-1], 0, size[0] - rgb.shape[-2]))


def _averaged(network: UperHover, windows: Tensor, config: InferenceConfig) -> Maps:
    """Return probabilities and offsets, averaged over mirrored copies of the windows."""
    total: Maps | None = None
    for axes in FLIPS[: config.flips]:
        maps = network(windows.flip(axes) if axes else windows)
        maps = Maps(maps.classes.float().softmax(1), maps.hv.float()).flipped(axes)
        total = maps if total is None else Maps(total.classes + maps.classes, total.hv + maps.hv)
    assert total is not None
    classes = total.classes / config.flips
    if config.class_order:
        classes = classes[:, [config.class_order.index(i) for i in range(classes.shape[1])]]
    return Maps(classes, total.hv / config.flips)


class _Joined:
    """Maps of a whole tile, filled window by window."""

    def __init__(
        self, n_classes: int, size: tuple[int, int], config: InferenceConfig, device: torch.device
    ) -> None:
        self.config = config
        self.classes = torch.zeros((1 + n_classes, *size), device=device)
        self.hv = torch.zeros((2, *size), device=device)
        self.total = torch.zeros(size, device=device)
        self.weight = _feathered(config, device)
        if config.fusion == "paper":
            self.classes[0] = 1

    def add(self, classes: Tensor, hv: Tensor, start: tuple[int, int]) -> None:
        """Join the maps ``(C, S, S)`` of the window that begins at ``start``."""
        side = self.config.window
        place = (..., slice(start[0], start[0] + side), slice(start[1], start[1] + side))
        if self.config.fusion == "paper":
            held = self.classes[place]
            wins = (held.argmax(0) == 0) | (classes.argmax(0) > 0)
            self.classes[place] = torch.where(wins, classes, held)
            self.hv[place] = hv
            return
        self.classes[place] += classes * self.weight
        self.hv[place] += hv * self.weight
        self.total[place] += self.weight

    def result(self) -> Maps:
        """Return the maps with a batch axis."""
        if self.config.fusion == "paper":
            return Maps(self.classes[None], self.hv[None])
        return Maps((self.classes / self.total)[None], (self.hv / self.total)[None])


def _feathered(config: InferenceConfig, device: torch.device) -> Tensor:
    """Return the weight of each pixel of a window: a Gaussian of its distance from the centre."""
    side = config.window
    away = torch.arange(side, device=device) + 0.5 - side / 2
    line = torch.exp(-0.5 * (away / (config.feather * side / 4)) ** 2)
    return (line[:, None] * line[None]).clamp(min=1e-3)
