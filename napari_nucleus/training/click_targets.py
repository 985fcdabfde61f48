"""Objects for training with prompts: windows, truth in the window, first prompts, bad starts.

Made in numpy beside the crops, so that the training loop only decodes and simulates clicks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from napari_nucleus.models.uninuc.config import DecoderConfig
from napari_nucleus.models.uninuc.crops import choose_windows
from napari_nucleus.training.sampler import Crop

__all__ = ["ClickObjects", "ObjectConfig", "corrupt_mask", "draw_objects"]


@dataclass(frozen=True, slots=True)
class ObjectConfig:
    """Which objects are drawn from a crop.

    Parameters
    ----------
    per_crop
        Objects of one crop.
    negatives
        Share of prompts that lie where no nucleus is.
    box_start, corrupted_start
        Shares that start from a box, and from a damaged mask; the others start from a point.
    box_jitter
        Largest error of a side, as a fraction of the box; from box to box the largest error is
        drawn between none and this, as users draw some boxes with care and some without.
    min_area
        Smaller nuclei (mostly cut off by the crop's border) are left out.
    """

    per_crop: int = 10
    negatives: float = 0.1
    box_start: float = 0.45
    corrupted_start: float = 0.15
    box_jitter: float = 0.08
    min_area: int = 25


@dataclass(frozen=True, eq=False)
class ClickObjects:
    """Objects of a batch of tiles.

    Parameters
    ----------
    tile_index
        ``(n,)`` int64.
    windows
        ``(n, 4)`` float.
    truth
        ``(n, S, S)`` share of each of S x S cells of the window that the nucleus covers, 0–1.
    points_yx, boxes
        First point ``(n, 2)``; box ``(n, 4)``, NaN for other starts.
    start_mask
        ``(n, S, S)`` damaged mask, zeros for other starts.
    starts_from_mask
        ``(n,)`` bool.
    is_object
        ``(n,)`` float; 0 where the prompt lies on background.
    """

    tile_index: Tensor
    windows: Tensor
    truth: Tensor
    points_yx: Tensor
    boxes: Tensor
    start_mask: Tensor
    starts_from_mask: Tensor
    is_object: Tensor

    def to(self, device: torch.device) -> ClickObjects:
        """Return the objects on a device."""
        return ClickObjects(*(getattr(self, f).to(device) for f in self.__dataclass_fields__))


def draw_objects(
    crops: list[Crop], decoder: DecoderConfig, config: ObjectConfig, rng: np.random.Generator
) -> ClickObjects:
    """Draw objects with first prompts from crops; the truth has ``2 * crop_grid`` pixels a side."""
    rows: list[tuple] = []
    side = 2 * decoder.crop_grid
    for t, crop in enumerate(crops):
        slices = ndimage.find_objects(crop.labels)
        areas = np.bincount(crop.labels.ravel())
        ids = [i + 1 for i, s in enumerate(slices) if s and areas[i + 1] >= config.min_area]
        rng.shuffle(ids)
        # Always the same number: kernels are prepared for a shape once, and negatives fill up
        # crops without nuclei.
        n_negative = rng.binomial(config.per_crop, config.negatives) if ids else config.per_crop
        chosen = (ids * config.per_crop)[: config.per_crop - n_negative]
        rows.extend(
            (t, *_object(crop.labels, nucleus, slices[nucleus - 1], config, rng))
            for nucleus in chosen
        )
        rows.extend((t, *row) for row in _background(crop.labels, n_negative, config, rng))
    tile, masks, origins, points, boxes, starts, from_mask, is_object, extents = zip(
        *rows, strict=True
    )
    boxes_t = torch.tensor(np.array(boxes), dtype=torch.float32)
    points_t = torch.tensor(np.array(points), dtype=torch.float32)
    no_box = torch.isnan(boxes_t[:, 0])
    centres = torch.where(no_box[:, None], points_t, (boxes_t[:, :2] + boxes_t[:, 2:]) / 2)
    extents_t = torch.tensor(extents, dtype=torch.float32)
    for i, start in enumerate(starts):
        if start is not None:
            centres[i], extents_t[i] = _centre_and_side(*start)
    windows = choose_windows(centres, extents_t, decoder)
    truth = np.stack(
        [_on_window(m, o, w, side) for m, o, w in zip(masks, origins, windows.numpy(), strict=True)]
    )
    start_masks = np.stack(
        [
            np.zeros((side, side), np.float32) if s is None else _on_window(s[0], s[1], w, side)
            for s, w in zip(starts, windows.numpy(), strict=True)
        ]
    )
    return ClickObjects(
        torch.tensor(tile),
        windows,
        torch.from_numpy(truth),
        points_t,
        boxes_t,
        torch.from_numpy(start_masks),
        torch.tensor(from_mask),
        torch.tensor(is_object, dtype=torch.float32),
    )


def _object(
    labels: NDArray[np.int32],
    nucleus: int,
    where: tuple[slice, slice],
    config: ObjectConfig,
    rng: np.random.Generator,
) -> tuple:
    mask = labels[where] == nucleus
    origin = np.array([where[0].start, where[1].start])
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    if rng.random() < 0.5:
        inside = np.argwhere(mask)
        point = inside[rng.integers(len(inside))]
    else:
        point = np.array(np.unravel_index(int(np.argmax(depth)), depth.shape))
    box = np.full(4, np.nan)
    start, from_mask = None, False
    draw = rng.random()
    if draw < config.box_start:
        h, w = mask.shape
        tight = np.array([origin[0], origin[1], origin[0] + h, origin[1] + w], float)
        care = rng.uniform(0, config.box_jitter)
        box = tight + rng.uniform(-care, care, 4) * np.array([h, w, h, w])
    elif draw < config.box_start + config.corrupted_start:
        start = corrupt_mask(labels, nucleus, where, rng)
        from_mask = start is not None
    return mask, origin, point + origin + 0.5, box, start, from_mask, 1.0, max(mask.shape)


def _background(
    labels: NDArray[np.int32], n: int, config: ObjectConfig, rng: np.random.Generator
) -> list[tuple]:
    """Return points and boxes where no nucleus is."""
    rows: list[tuple] = []
    depth = ndimage.distance_transform_edt(labels == 0)
    far = np.argwhere(depth >= min(4.0, float(depth.max())))
    for _ in range(n):
        point = far[rng.integers(len(far))]
        box = np.full(4, np.nan)
        size = rng.uniform(10, 30, 2)
        if rng.random() < config.box_start:
            box = np.concatenate([point - size / 2, point + size / 2])
        empty = np.zeros((1, 1), bool)
        rows.append((empty, point, point + 0.5, box, None, False, 0.0, float(size.max())))
    return rows


def corrupt_mask(
    labels: NDArray[np.int32],
    nucleus: int,
    where: tuple[slice, slice],
    rng: np.random.Generator,
) -> tuple[NDArray[np.bool_], NDArray[np.int64]] | None:
    """Return a damaged mask of a nucleus and its origin: what another tool might have drawn.

    Grown, shrunk, shifted, cut by a line, joined with a neighbour, or an ellipse in its place.
    """
    pad = 10
    y0, x0 = max(where[0].start - pad, 0), max(where[1].start - pad, 0)
    region = labels[y0 : where[0].stop + pad, x0 : where[1].stop + pad]
    mask = region == nucleus
    kind = rng.integers(6)
    if kind == 0:
        mask = ndimage.binary_dilation(mask, iterations=int(rng.integers(1, 5)))
    elif kind == 1:
        mask = ndimage.binary_erosion(mask, iterations=int(rng.integers(1, 4)))
    elif kind == 2:
        mask = ndimage.shift(mask.astype(np.uint8), rng.integers(-5, 6, 2), order=0) > 0
    elif kind == 3:
        rows, cols = np.nonzero(mask)
        angle = rng.uniform(0, 2 * np.pi)
        along = np.sin(angle) * rows + np.cos(angle) * cols
        cut = along > np.quantile(along, rng.uniform(0.3, 0.8))
        mask[rows[cut], cols[cut]] = False
    elif kind == 4:
        others = np.unique(region[ndimage.binary_dilation(mask, iterations=3) & (region > 0)])
        others = others[others != nucleus]
        if len(others):
            joined = mask | (region == others[rng.integers(len(others))])
            mask = ndimage.binary_closing(joined, iterations=2)
    else:
        rows, cols = np.nonzero(mask)
        r, c = np.indices(mask.shape)
        ry, rx = (max(np.ptp(v) / 2 + rng.uniform(-2, 3), 1.5) for v in (rows, cols))
        mask = ((r - rows.mean()) / ry) ** 2 + ((c - cols.mean()) / rx) ** 2 <= 1
    if not mask.any():
        return None
    return mask, np.array([y0, x0])


def _centre_and_side(mask: NDArray[np.bool_], origin: NDArray) -> tuple[Tensor, float]:
    """Return the centre and the largest side of what a mask covers, as prompts with it have."""
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    low, high = np.array([rows[0], cols[0]]), np.array([rows[-1] + 1, cols[-1] + 1])
    return torch.from_numpy((low + high) / 2 + origin).float(), float((high - low).max())


def _on_window(
    mask: NDArray[np.bool_], origin: NDArray, window: NDArray, side: int
) -> NDArray[np.float32]:
    """Return the share of each of ``side`` cells a side over a window that the mask covers.

    Exact where a cell is one pixel, or two by two.
    """
    steps = (np.arange(2 * side) + 0.5) / (2 * side)
    rows = np.floor(window[0] + steps * (window[2] - window[0])).astype(int) - origin[0]
    cols = np.floor(window[1] + steps * (window[3] - window[1])).astype(int) - origin[1]
    ok_r, ok_c = (rows >= 0) & (rows < mask.shape[0]), (cols >= 0) & (cols < mask.shape[1])
    out = np.zeros((2 * side, 2 * side), np.float32)
    out[np.ix_(ok_r, ok_c)] = mask[np.ix_(rows[ok_r], cols[ok_c])]
    return out.reshape(side, 2, side, 2).mean(axis=(1, 3))
