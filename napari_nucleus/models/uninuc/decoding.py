"""Decoding many nuclei at a time: fixed chunk sizes, out-of-memory, and masks in tile pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from napari_nucleus.core.geometry import pixels_of_points
from napari_nucleus.core.morphology import clean_mask
from napari_nucleus.core.prompts import MaskLogits, MaskPrediction, Prompts
from napari_nucleus.models.uninuc.crops import LOGIT_RANGE, PromptBatch
from napari_nucleus.models.uninuc.network import Segmenter
from napari_nucleus.models.uninuc.prompt_encoder import NEGATIVE, PADDING, POSITIVE

__all__ = ["Answers", "decode_all", "logits_on_pixels", "obey_clicks", "prediction_of"]

CHUNKS = (1, 8, 64)
"""Numbers of nuclei decoded together: kernels are prepared once for each, the rest is padding."""


@dataclass(frozen=True, eq=False)
class Answers:
    """Answers for ``B`` nuclei: grid logits ``(B, G, G)``, ``iou`` ``(B,)``, ``present`` ``(B,)``.

    ``present`` is the probability that there is a nucleus at all.
    """

    logits: Tensor
    iou: Tensor
    present: Tensor


@torch.inference_mode()
def decode_all(
    network: Segmenter, projected: tuple[Tensor, Tensor, Tensor], prompts: PromptBatch
) -> Answers:
    """Decode prompts on one tile, in chunks; a chunk that exceeds the memory is halved."""
    n = len(prompts)
    parts: list[Answers] = []
    start, largest = 0, CHUNKS[-1]
    while start < n:
        chunk = min(c for c in CHUNKS if c >= min(n - start, largest))
        rows = torch.arange(start, start + chunk).clamp(max=n - 1)
        try:
            answer = _decode(network, projected, _take(prompts, rows))
        except torch.OutOfMemoryError:
            if chunk == CHUNKS[0]:
                raise
            largest = CHUNKS[CHUNKS.index(chunk) - 1]
            continue
        kept = min(chunk, n - start)
        parts.append(Answers(answer.logits[:kept], answer.iou[:kept], answer.present[:kept]))
        start += kept
    return Answers(
        torch.cat([p.logits for p in parts]),
        torch.cat([p.iou for p in parts]),
        torch.cat([p.present for p in parts]),
    )


def _decode(
    network: Segmenter, projected: tuple[Tensor, Tensor, Tensor], prompts: PromptBatch
) -> Answers:
    device = projected[0].device
    prompts = PromptBatch(
        *(getattr(prompts, f).to(device) for f in PromptBatch.__dataclass_fields__)
    )
    tile = torch.zeros(len(prompts), dtype=torch.long, device=device)
    crops = network.crop(projected, prompts.windows, tile)
    out = network.decode(crops, prompts)
    logits, iou = out.best(prompts.lone)
    return Answers(
        logits.float().clamp(-LOGIT_RANGE, LOGIT_RANGE).cpu(),
        iou.float().cpu(),
        out.object_score.float().sigmoid().cpu(),
    )


def _take(prompts: PromptBatch, rows: Tensor) -> PromptBatch:
    return PromptBatch(*(getattr(prompts, f)[rows] for f in PromptBatch.__dataclass_fields__))


def obey_clicks(
    logits: Tensor, prompts: PromptBatch, margin: float = 0.5, sweeps: int = 8
) -> Tensor:
    """Return logits in which every click lies on its side: inside if positive, else outside.

    Where the network disagrees, a bump of a click's radius is added, just high enough. A bump may
    lift or sink a click nearby, hence several sweeps; of two opposite clicks less than two cells
    apart the later may win. Clicks outside of their window are left alone.
    """
    for _ in range(sweeps):
        before = logits
        logits = _bumps(logits, prompts, margin)
        if logits is before:
            break
    return logits


def _bumps(logits: Tensor, prompts: PromptBatch, margin: float) -> Tensor:
    """Return logits with a bump at each click that is not obeyed; the same object if all are."""
    n, grid = logits.shape[:2]
    side = (prompts.windows[:, 2:] - prompts.windows[:, :2])[:, None]
    at = (prompts.points_yx - prompts.windows[:, None, :2]) / side * grid
    steps = torch.arange(grid) + 0.5
    for k in range(prompts.labels.shape[1]):
        sign = torch.zeros(n)
        sign[prompts.labels[:, k] == POSITIVE] = 1
        sign[prompts.labels[:, k] == NEGATIVE] = -1
        sign[((at[:, k] < 0) | (at[:, k] > grid)).any(1)] = 0
        xy = (at[:, k : k + 1] / grid * 2 - 1).flip(-1)[:, None]
        value = F.grid_sample(logits[:, None], xy, padding_mode="border", align_corners=False)
        lack = (margin - sign * value[:, 0, 0, 0]).clamp(min=0) * sign.abs()
        if not bool((lack > 0).any()):
            continue
        dy = steps[None, :, None] - at[:, k, 0].view(n, 1, 1)
        dx = steps[None, None, :] - at[:, k, 1].view(n, 1, 1)
        bump = torch.exp(-(dy**2 + dx**2) / 4)
        # Interpolation between cell centres flattens a narrow bump by at most this factor.
        logits = logits + 1.3 * (sign * lack).view(n, 1, 1) * bump
    return logits


def logits_on_pixels(
    logits: Tensor, windows: NDArray[np.float64], shape: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Interpolate grids ``(B, G, G)`` at the pixel centres of a tile.

    Parameters
    ----------
    windows
        ``(B, 4)`` the grids' windows in tile pixels; all must have nearly one size.
    shape
        Height and width of the tile; outside of it and of the window logits are −`LOGIT_RANGE`.

    Returns
    -------
    ``(B, s, s)`` logits, and the tile pixel ``(B, 2)`` at which each begins.
    """
    starts = np.floor(windows[:, :2]).astype(np.int64)
    side = int(np.ceil((windows[:, 2:] - windows[:, :2]).max())) + 1
    centres = np.arange(side) + 0.5
    extent = windows[:, 2:] - windows[:, :2]
    y = (starts[:, :1] + centres - windows[:, :1]) / extent[:, :1] * 2 - 1
    x = (starts[:, 1:] + centres - windows[:, 1:2]) / extent[:, 1:] * 2 - 1
    n = len(starts)
    positions = np.stack(
        [
            np.broadcast_to(x[:, None, :], (n, side, side)),
            np.broadcast_to(y[:, :, None], (n, side, side)),
        ],
        axis=-1,
    )
    at = torch.from_numpy(positions.astype(np.float32))
    values = F.grid_sample(logits[:, None].float(), at, padding_mode="border", align_corners=False)
    out = values[:, 0].numpy()
    rows, cols = starts[:, :1] + np.arange(side), starts[:, 1:] + np.arange(side)
    outside_y = (np.abs(y) > 1) | (rows < 0) | (rows >= shape[0])
    outside_x = (np.abs(x) > 1) | (cols < 0) | (cols >= shape[1])
    out[outside_y[:, :, None] | outside_x[:, None, :]] = -LOGIT_RANGE
    return out, starts


def prediction_of(
    answers: Answers, windows: np.ndarray, i: int, shape: tuple[int, int], prompts: Prompts
) -> MaskPrediction:
    """Return one answer as a mask in tile pixels, every click on its side, small parts left out.

    ``windows`` ``(B, 4)`` are those of the answers' grids, in tile pixels.
    """
    grid, start = logits_on_pixels(answers.logits[i : i + 1], windows[i : i + 1], shape)
    clicks = pixels_of_points(prompts.points_yx) - start[0]
    mask = _clicked_parts(grid[0] > 0, clicks[prompts.positive], clicks[~prompts.positive])
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    logits = to_mask_logits(answers.logits[i : i + 1], windows[i : i + 1])[0]
    y, x = (int(v) for v in start[0])
    iou = float(answers.iou[i] * answers.present[i])
    if not len(rows):
        return MaskPrediction(np.zeros((0, 0), bool), (y, x, y, x), logits, iou)
    box = (y + rows[0], x + cols[0], y + rows[-1] + 1, x + cols[-1] + 1)
    crop = mask[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    return MaskPrediction(crop, tuple(map(int, box)), logits, iou)  # type: ignore[arg-type]


def _clicked_parts(mask: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Return the largest part of a mask and every part with a positive click, holes filled.

    A hole with a negative click in it stays open. Clicks are ``(k, 2)`` pixels of the mask.
    """
    parts = np.zeros(mask.shape, np.int32)
    ndimage.label(mask, output=parts)
    area = np.bincount(parts.ravel())
    if len(area) < 2:
        return mask
    wanted = {int(area[1:].argmax()) + 1, *_at(parts, positive)} - {0}
    filled = np.logical_or.reduce([clean_mask(parts == part) for part in wanted])
    holes = np.zeros(mask.shape, np.int32)
    ndimage.label(filled & ~mask, output=holes)
    return filled & ~np.isin(holes, list(set(_at(holes, negative)) - {0}))


def _at(labels: np.ndarray, pixels: np.ndarray) -> list[int]:
    """Return the labels at those of some pixels ``(k, 2)`` that lie on the map."""
    inside = ((pixels >= 0) & (pixels < np.array(labels.shape))).all(axis=1)
    return labels[tuple(pixels[inside].T)].tolist()


def to_mask_logits(logits: Tensor, windows: NDArray[np.float64]) -> list[MaskLogits]:
    """Return the grids as values to be fed back, in tile pixels."""
    grids = logits.numpy().astype(np.float16)
    return [MaskLogits(g, tuple(map(float, w))) for g, w in zip(grids, windows, strict=True)]  # type: ignore[arg-type]


def no_points(n: int) -> tuple[Tensor, Tensor]:
    """Return points and labels of ``n`` prompts that have none."""
    return torch.zeros((n, 1, 2)), torch.full((n, 1), PADDING)
