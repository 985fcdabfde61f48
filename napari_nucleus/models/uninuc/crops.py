"""One nucleus, one crop: windows, gathering of features, and prompts drawn on the crop's grid.

A nucleus is decoded in a square window of the tile, on a grid of ``crop_grid`` cells, so that its
cost does not depend on the tile. Positions here are network pixels, corner-origin, in torch order
``(x, y)`` only where a name says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_nucleus.models.uninuc.config import DecoderConfig
from napari_nucleus.models.uninuc.mask_decoder import RASTER_CHANNELS
from napari_nucleus.models.uninuc.prompt_encoder import (
    BOX_CORNERS,
    NEGATIVE,
    PADDING,
    POSITIVE,
)

__all__ = [
    "PromptBatch",
    "choose_windows",
    "draw_prompts",
    "gather",
    "instance_logits",
    "pseudo_logits",
    "sample_logits",
    "tokens_of",
]

_ALIGN = 8
"""Windows begin at multiples of this, so that grids of strides 2 to 8 are cut without blur."""

LOGIT_RANGE = 10.0
"""Logits fed back are clipped to ± this and drawn as a fraction of it."""


@dataclass(frozen=True, eq=False)
class PromptBatch:
    """Prompts of ``B`` nuclei in network pixels of their tile.

    Parameters
    ----------
    windows
        ``(B, 4)`` float ``y0, x0, y1, x1``.
    points_yx, labels
        ``(B, K, 2)`` and ``(B, K)``: 1 positive, 0 negative, −1 no point.
    boxes
        ``(B, 4)`` float, NaN in rows without a box.
    logits
        ``(B, G, G)`` previous logits on the crop's grid, 0 in rows without.
    has_logits
        ``(B,)`` bool.
    """

    windows: Tensor
    points_yx: Tensor
    labels: Tensor
    boxes: Tensor
    logits: Tensor
    has_logits: Tensor

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def has_box(self) -> Tensor:
        """``(B,)`` bool."""
        return ~torch.isnan(self.boxes[:, 0])

    @property
    def lone(self) -> Tensor:
        """``(B,)`` bool, where one point is all there is."""
        return ~self.has_box & ~self.has_logits & ((self.labels != PADDING).sum(1) == 1)


def choose_windows(centres_yx: Tensor, extents: Tensor, config: DecoderConfig) -> Tensor:
    """Return windows ``(B, 4)`` around nuclei.

    Parameters
    ----------
    centres_yx
        ``(B, 2)`` where the window is centred, up to its alignment.
    extents
        ``(B,)`` largest side of each nucleus, 0 where it is unknown; the smallest window that
        leaves a margin of about a third is taken.
    """
    sizes = extents.new_full(extents.shape, float(config.crop_windows[-1]))
    for window in reversed(config.crop_windows[:-1]):
        sizes = torch.where(extents <= 0.7 * window, extents.new_tensor(float(window)), sizes)
    start = centres_yx - sizes[:, None] / 2
    start = torch.round(start / _ALIGN) * _ALIGN
    return torch.cat([start, start + sizes[:, None]], dim=1)


def gather(feature: Tensor, windows: Tensor, tile_index: Tensor, stride: int, grid: int) -> Tensor:
    """Cut ``(B, C, grid, grid)`` out of maps ``(T, C, H, W)`` at ``windows`` ``(B, 4)``.

    ``tile_index`` ``(B,)`` says which of the T maps each window belongs to. What lies outside a map
    is 0. Cells are sampled at their centres, bilinearly, in single precision: positions in bfloat16
    are off by up to half a pixel.
    """
    n, (h, w) = len(windows), feature.shape[-2:]
    steps = (torch.arange(grid, device=windows.device) + 0.5) / grid
    side = windows[:, 2:] - windows[:, :2]
    y = (windows[:, :1] + steps * side[:, :1]) / (stride * h) * 2 - 1
    x = (windows[:, 1:2] + steps * side[:, 1:]) / (stride * w) * 2 - 1
    positions = torch.stack(
        [x[:, None, :].expand(n, grid, grid), y[:, :, None].expand(n, grid, grid)], dim=-1
    )
    pieces = []
    order = []
    for t in range(len(feature)):
        rows = torch.nonzero(tile_index == t)[:, 0]
        if not len(rows):
            continue
        # All crops of one map in one call: stacked along the height of one tall grid.
        tall = positions[rows].reshape(1, len(rows) * grid, grid, 2)
        one = feature[t : t + 1].float()
        cut = F.grid_sample(one, tall, "bilinear", "zeros", align_corners=False)
        pieces.append(cut[0].unflatten(1, (len(rows), grid)).transpose(0, 1))
        order.append(rows)
    if not pieces:
        return positions.new_zeros((0, feature.shape[1], grid, grid))
    inverse = torch.argsort(torch.cat(order))
    return torch.cat(pieces)[inverse]


def tokens_of(prompts: PromptBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Return the points that stand for prompts.

    The box comes first as two corner points and one padding point last, as SAM2's predictor puts
    them. What fills a row up to the length of the longest is marked, so that a nucleus' answer does
    not depend on the prompts of the others in its batch.

    Returns
    -------
    Positions ``(B, N, 2)`` as (x, y) in 0–1 of the window, labels ``(B, N)``, and ``(B, N)`` bool,
    False for what only fills up.
    """
    origin = prompts.windows[:, None, :2]
    side = (prompts.windows[:, 2:] - prompts.windows[:, :2])[:, None]
    points = (prompts.points_yx - origin) / side
    labels, real = prompts.labels, prompts.labels != PADDING
    has_box = prompts.has_box
    if bool(has_box.any()):
        corners = torch.nan_to_num(prompts.boxes).reshape(-1, 2, 2)
        corners = (corners - origin) / side
        corner_labels = labels.new_tensor(BOX_CORNERS).expand(len(prompts), 2)
        corner_labels = torch.where(has_box[:, None], corner_labels, PADDING)
        points = torch.cat([corners, points], dim=1)
        labels = torch.cat([corner_labels, labels], dim=1)
        real = torch.cat([has_box[:, None].expand(-1, 2), real], dim=1)
    points, labels = F.pad(points, (0, 0, 0, 1)), F.pad(labels, (0, 1), value=PADDING)
    return points.flip(-1), labels, F.pad(real, (0, 1), value=True)


def draw_prompts(prompts: PromptBatch, config: DecoderConfig) -> Tensor:
    """Return ``(B, RASTER_CHANNELS, G, G)``: previous logits, a flag, disks of clicks, the box."""
    grid = config.crop_grid
    n = len(prompts)
    side = (prompts.windows[:, 2] - prompts.windows[:, 0]).view(n, 1, 1)
    cell = side / grid
    steps = torch.arange(grid, device=prompts.windows.device) + 0.5
    y = prompts.windows[:, 0].view(n, 1, 1) + steps.view(1, grid, 1) * cell
    x = prompts.windows[:, 1].view(n, 1, 1) + steps.view(1, 1, grid) * cell
    out = prompts.windows.new_zeros((n, RASTER_CHANNELS, grid, grid))
    out[:, 0] = prompts.logits.clamp(-LOGIT_RANGE, LOGIT_RANGE) / LOGIT_RANGE
    out[:, 1] = prompts.has_logits.to(out.dtype).view(n, 1, 1)
    radius = torch.clamp(cell, min=config.disk_radius)
    for channel, sign in ((2, POSITIVE), (3, NEGATIVE)):
        for k in range(prompts.labels.shape[1]):
            here = (prompts.labels[:, k] == sign).view(n, 1, 1)
            dy = y - prompts.points_yx[:, k, 0].view(n, 1, 1)
            dx = x - prompts.points_yx[:, k, 1].view(n, 1, 1)
            distance = torch.sqrt(dy * dy + dx * dx)
            disk = torch.clamp((radius - distance) / cell + 0.5, 0, 1) * here
            out[:, channel] = torch.maximum(out[:, channel], disk)
    box = torch.nan_to_num(prompts.boxes, nan=-1e4).view(n, 4, 1, 1)
    inside_y = torch.minimum(y - box[:, 0], box[:, 2] - y) / cell + 0.5
    inside_x = torch.minimum(x - box[:, 1], box[:, 3] - x) / cell + 0.5
    out[:, 4] = inside_y.clamp(0, 1) * inside_x.clamp(0, 1)
    return out


def sample_logits(grid: Tensor, source: Tensor, target: Tensor, size: int) -> Tensor:
    """Resample logits ``(B, g, g)`` from windows ``source`` to ``size`` cells of ``target``.

    Outside of its source window a logit is −`LOGIT_RANGE`: no nucleus.
    """
    n = len(grid)
    steps = (torch.arange(size, device=grid.device) + 0.5) / size
    side = target[:, 2:] - target[:, :2]
    from_side = source[:, 2:] - source[:, :2]
    y = ((target[:, :1] + steps * side[:, :1]) - source[:, :1]) / from_side[:, :1] * 2 - 1
    x = ((target[:, 1:2] + steps * side[:, 1:]) - source[:, 1:2]) / from_side[:, 1:] * 2 - 1
    positions = torch.stack(
        [x[:, None, :].expand(n, size, size), y[:, :, None].expand(n, size, size)], dim=-1
    )
    shifted = (grid + LOGIT_RANGE)[:, None]
    return F.grid_sample(shifted, positions, "bilinear", "zeros", align_corners=False)[:, 0] - (
        LOGIT_RANGE
    )


def pseudo_logits(mask: Tensor) -> Tensor:
    """Return logits ``(n, S, S)`` that a mask ``(n, S, S)`` of 0 and 1 stands for."""
    smooth = F.avg_pool2d(mask[:, None].float(), 3, 1, 1)[:, 0]
    return (smooth - 0.5) * (0.8 * LOGIT_RANGE)


def instance_logits(labels: Tensor, ids: Tensor, windows: Tensor, stride: int, grid: int) -> Tensor:
    """Return pseudo-logits ``(n, grid, grid)`` of instances of a label map, each on its window.

    Parameters
    ----------
    labels
        ``(h, w)`` instances on cells of ``stride`` pixels.
    ids
        ``(n,)`` the instance of each window.
    windows
        ``(n, 4)`` in pixels; outside the map there is background.
    """
    fine = 2 * grid
    steps = (torch.arange(fine) + 0.5) / fine
    cells = []
    for start, end, limit in ((0, 2, labels.shape[0]), (1, 3, labels.shape[1])):
        side = windows[:, end] - windows[:, start]
        cell = ((windows[:, start, None] + steps * side[:, None]) / stride).floor().long()
        cells.append((cell.clamp(0, limit - 1), (cell >= 0) & (cell < limit)))
    (y, y_inside), (x, x_inside) = cells
    mask = labels[y[:, :, None], x[:, None, :]] == ids[:, None, None]
    mask &= y_inside[:, :, None] & x_inside[:, None, :]
    return F.avg_pool2d(pseudo_logits(mask)[:, None], 2)[:, 0]
