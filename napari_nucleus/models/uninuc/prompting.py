"""From a user's prompts, in tile pixels, to the network's batch, in working pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_nucleus.core.prompts import MaskLogits, Prompts
from napari_nucleus.models.uninuc.config import DecoderConfig
from napari_nucleus.models.uninuc.crops import (
    PromptBatch,
    choose_windows,
    pseudo_logits,
    sample_logits,
)
from napari_nucleus.models.uninuc.prompt_encoder import NEGATIVE, PADDING, POSITIVE

__all__ = ["batch_on", "prompt_batch", "says_nothing", "where"]

SCRIBBLE_POINTS = 6
"""Positive points that stand for a scribble."""


def prompt_batch(
    prompts: Sequence[Prompts],
    per_tile_pixel: tuple[float, float],
    config: DecoderConfig,
    extents: NDArray[np.float64] | None = None,
) -> PromptBatch:
    """Return the batch of prompts for nuclei of one tile.

    Parameters
    ----------
    prompts
        One for each nucleus, in tile pixels.
    per_tile_pixel
        Working pixels per tile pixel.
    extents
        ``(B,)`` sizes that override what the prompts say of a nucleus, in working pixels.
    """
    centres, sizes = where(prompts, per_tile_pixel)
    if extents is not None:
        sizes = np.maximum(sizes, extents)
    windows = choose_windows(
        torch.from_numpy(centres).float(), torch.from_numpy(sizes).float(), config
    )
    return batch_on(prompts, per_tile_pixel, windows, config.crop_grid)


def batch_on(
    prompts: Sequence[Prompts], per_tile_pixel: tuple[float, float], windows: Tensor, grid: int
) -> PromptBatch:
    """Return the batch of prompts on windows ``(B, 4)``, in working pixels, of ``grid`` cells."""
    scale = np.asarray(per_tile_pixel, float)
    points = [_points(p, scale) for p in prompts]
    most = max(max(len(yx) for yx, _ in points), 1)
    points_yx = torch.zeros((len(prompts), most, 2))
    labels = torch.full((len(prompts), most), PADDING)
    boxes = torch.full((len(prompts), 4), torch.nan)
    for i, (prompt, (yx, signs)) in enumerate(zip(prompts, points, strict=True)):
        points_yx[i, : len(yx)] = torch.from_numpy(yx)
        labels[i, : len(yx)] = torch.from_numpy(signs)
        if prompt.box is not None:
            boxes[i] = torch.from_numpy(np.asarray(prompt.box, float) * np.tile(scale, 2))
    logits, has_logits = _previous(prompts, scale, windows, grid)
    return PromptBatch(windows, points_yx.float(), labels, boxes.float(), logits, has_logits)


def where(
    prompts: Sequence[Prompts], per_tile_pixel: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the centre ``(B, 2)`` and largest side ``(B,)`` of what each prompt encloses.

    In working pixels; the side of a lone point is 0.
    """
    scale = np.asarray(per_tile_pixel, float)
    found = [_where(p, *_points(p, scale), scale) for p in prompts]
    return np.stack([centre for centre, _ in found]), np.array([side for _, side in found])


def says_nothing(prompts: Prompts) -> bool:
    """Return whether no prompt says where the nucleus is."""
    return (
        not len(prompts.points_yx)
        and (prompts.scribble_yx is None or not len(prompts.scribble_yx))
        and prompts.box is None
        and prompts.logits is None
        and prompts.mask is None
    )


def _points(prompt: Prompts, scale: NDArray) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return points with labels; a scribble becomes points spread along it.

    A click means its pixel, whose centre is taken: there the answer is asked for, and there the
    clicks of the training are.
    """
    yx = (np.floor(prompt.points_yx) + 0.5) * scale
    signs = np.where(prompt.positive, POSITIVE, NEGATIVE)
    if prompt.scribble_yx is not None and len(prompt.scribble_yx):
        line = prompt.scribble_yx * scale
        steps = np.concatenate([[0], np.hypot(*np.diff(line, axis=0).T).cumsum()])
        at = np.linspace(0, steps[-1], min(SCRIBBLE_POINTS, len(line)))
        along = np.stack([np.interp(at, steps, line[:, k]) for k in (0, 1)], axis=1)
        yx = np.vstack([along, yx])
        signs = np.concatenate([np.full(len(along), POSITIVE), signs])
    return yx, signs


def _where(
    prompt: Prompts, yx: NDArray, signs: NDArray, scale: NDArray
) -> tuple[NDArray[np.float64], float]:
    """Return the centre and largest side of what the prompts enclose; 0 for a lone point."""
    known = [point for point, sign in zip(yx, signs, strict=True) if sign == POSITIVE]
    twice = np.tile(scale, 2)
    if prompt.box is not None:
        known += list((np.asarray(prompt.box, float) * twice).reshape(2, 2))
    if prompt.logits is not None:
        known += list((_extent_of_logits(prompt.logits) * twice).reshape(-1, 2))
    elif prompt.mask_box is not None:
        known += list((np.asarray(prompt.mask_box, float) * twice).reshape(2, 2))
    if not known:
        known = list(yx)
    if not known and prompt.logits is not None:
        y0, x0, y1, x1 = prompt.logits.window
        known = [np.array([(y0 + y1) / 2, (x0 + x1) / 2]) * scale]
    low, high = np.min(known, axis=0), np.max(known, axis=0)
    return (low + high) / 2, float((high - low).max())


def _extent_of_logits(logits: MaskLogits) -> NDArray[np.float64]:
    """Return the box ``(1, 4)`` of what an answer covers, in tile pixels; ``(0, 4)`` if nothing."""
    inside = logits.grid > 0
    if not inside.any():
        return np.zeros((0, 4))
    y0, x0, y1, x1 = logits.window
    rows, cols = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    dy, dx = (y1 - y0) / inside.shape[0], (x1 - x0) / inside.shape[1]
    return np.array(
        [
            [
                y0 + rows[0] * dy,
                x0 + cols[0] * dx,
                y0 + (rows[-1] + 1) * dy,
                x0 + (cols[-1] + 1) * dx,
            ]
        ]
    )


def _previous(
    prompts: Sequence[Prompts], scale: NDArray, windows: Tensor, grid: int
) -> tuple[Tensor, Tensor]:
    """Return previous answers on the crop's grid: logits as they were, masks as pseudo-logits."""
    logits = torch.zeros((len(prompts), grid, grid))
    has = torch.zeros(len(prompts), dtype=torch.bool)
    for i, prompt in enumerate(prompts):
        if prompt.logits is not None:
            values = torch.from_numpy(np.asarray(prompt.logits.grid, np.float32))[None]
            window = np.asarray(prompt.logits.window)
        elif prompt.mask is not None and prompt.mask_box is not None:
            # A margin, because pseudo-logits fade beyond the mask's border.
            values = pseudo_logits(torch.from_numpy(np.pad(prompt.mask, 2))[None])
            window = np.asarray(prompt.mask_box) + np.array([-2, -2, 2, 2])
        else:
            continue
        source = torch.from_numpy((window * np.tile(scale, 2)).astype(np.float32))[None]
        logits[i] = sample_logits(values, source, windows[i : i + 1], grid)[0]
        has[i] = True
    return logits, has
