"""A tile in overlapping windows of the size that the network was trained with, joined at stride 2.

Group norms and attention see a whole window, so its size is part of the model. What the encoder
makes of the windows and of their mirrored copies is kept; the answers to a text are joined anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from napari_nucleus.models.promptgroup.network import PromptGroup, Seen
from napari_nucleus.models.promptgroup.text import Read
from napari_nucleus.models.uperhover.config import InferenceConfig
from napari_nucleus.models.uperhover.windows import window_starts
from napari_nucleus.models.working import FLIPS, flip_offsets, mirror_to, normalise

__all__ = ["SeenTile", "answer_windows", "see_tile"]

STRIDE = 2


@dataclass(frozen=True, eq=False)
class SeenTile:
    """What was seen of a tile.

    Parameters
    ----------
    seen
        Windows, each mirroring of all of them after the other; without maps.
    maps
        ``(1 + C + 2, h, w)`` class probabilities and offsets of the tile at stride 2.
    starts
        Where windows begin, in cells of ``maps``.
    flips
        How many mirrorings there are.
    """

    seen: Seen
    maps: Tensor
    starts: tuple[tuple[int, int], ...]
    flips: int


def see_tile(network: PromptGroup, rgb: Tensor, batch: int) -> SeenTile:
    """Look at ``rgb`` ``(1, 3, H, W)`` in 0–1, once for all texts."""
    config = network.config.vision.inference
    h, w = (n + n % STRIDE for n in rgb.shape[-2:])
    starts = [(y, x) for y in window_starts(h, config) for x in window_starts(w, config)]
    side = config.window
    size = (max(y for y, _ in starts) + side, max(x for _, x in starts) + side)
    padded = normalise(mirror_to(rgb, size)).contiguous(memory_format=torch.channels_last)
    windows = [
        padded[..., y : y + side, x : x + side].flip(axes)
        for axes in FLIPS[: config.flips]
        for y, x in starts
    ]
    found = [
        network.see(torch.cat(windows[first : first + batch]))
        for first in range(0, len(windows), batch)
    ]
    seen = Seen(*(torch.cat(values) for values in zip(*found, strict=True)))
    cells = tuple((y // STRIDE, x // STRIDE) for y, x in starts)
    whole = _joined(_upright_maps(seen.maps, config.flips), cells, config)
    return SeenTile(
        Seen(seen.fine, seen.middle, seen.coarse, seen.maps[:, :0]),
        whole[:, : h // STRIDE, : w // STRIDE],
        cells,
        config.flips,
    )


def answer_windows(
    network: PromptGroup, tile: SeenTile, read: Read, least: float, batch: int
) -> tuple[Tensor, float]:
    """Answer one text on a tile.

    Windows in which what is asked for is less probable than ``least`` answer nothing.

    Returns
    -------
    probability
        ``(h, w)`` at stride 2, of each cell being asked for.
    presence
        The greatest probability, over the windows, that anything asked for is there.
    """
    n = len(tile.seen.fine)
    semantic: list[Tensor] = []
    presence: list[Tensor] = []
    for first in range(0, n, batch):
        index = torch.arange(first, min(first + batch, n), device=read.tokens.device)
        same = read.repeated(torch.zeros_like(index))
        windows = tile.seen.of(index)
        answers = network(windows, same)
        semantic.append(answers.semantic.float().sigmoid())
        presence.append(network.evidence(answers, windows, same.wanted).sigmoid())
    maps = _upright(torch.cat(semantic), tile.flips)
    there = torch.cat(presence).view(tile.flips, -1).mean(0)
    maps = maps * (there >= least)[:, None, None, None]
    h, w = tile.maps.shape[-2:]
    whole = _joined(maps, tile.starts, network.config.vision.inference)
    return whole[0, :h, :w], float(there.max())


def _upright(maps: Tensor, flips: int) -> Tensor:
    """Return the mean of the mirrorings of maps, each turned back."""
    parts = maps.chunk(flips)
    turned = [part.flip(axes) for part, axes in zip(parts, FLIPS, strict=False)]
    return torch.stack(turned).mean(0)


def _upright_maps(maps: Tensor, flips: int) -> Tensor:
    """Return `_upright` of class probabilities and offsets, whose signs turn as well."""
    turned = [
        torch.cat([part[:, :-2].flip(axes), flip_offsets(part[:, -2:], axes)], 1)
        for part, axes in zip(maps.chunk(flips), FLIPS, strict=False)
    ]
    return torch.stack(turned).mean(0)


def _joined(maps: Tensor, starts: tuple[tuple[int, int], ...], config: InferenceConfig) -> Tensor:
    """Return windows ``(n, C, s, s)`` joined with weights that fall towards their borders."""
    if len(starts) == 1:
        return maps[0]
    side = maps.shape[-1]
    size = (max(y for y, _ in starts) + side, max(x for _, x in starts) + side)
    weight = _feathered(side, config.feather, maps.device)
    whole = torch.zeros((maps.shape[1], *size), device=maps.device)
    total = torch.zeros(size, device=maps.device)
    for window, (y, x) in zip(maps, starts, strict=True):
        whole[:, y : y + side, x : x + side] += window * weight
        total[y : y + side, x : x + side] += weight
    return whole / total


def _feathered(side: int, feather: float, device: torch.device) -> Tensor:
    """Return the weight of each cell of a window: a Gaussian of its distance from the centre."""
    away = torch.arange(side, device=device) + 0.5 - side / 2
    line = torch.exp(-0.5 * (away / (feather * side / 4)) ** 2)
    return (line[:, None] * line[None]).clamp(min=1e-3)
