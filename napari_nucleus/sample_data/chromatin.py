"""Nuclei onto the canvas: which pixel belongs to which nucleus, then their hematoxylin.

Labels come first, from the topmost nucleus down, so that a nucleus of which too little would show
is not painted at all: the label map is exactly what the picture was made from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_nucleus.sample_data.canvas import Canvas
from napari_nucleus.sample_data.cells import Cells
from napari_nucleus.sample_data.noise import smoothstep
from napari_nucleus.sample_data.shapes import rasterize

__all__ = ["paint_nuclei"]

MIN_VISIBLE = 0.45  # share of a nucleus inside the field that must not be covered
MIN_AREA_UM2 = 0.8  # smaller parts are slivers
LEAST_CONTRAST = 0.1  # least hematoxylin above the surroundings
COVER = (0.5, 0.9)  # share of what lies below that dense and open nuclei hide


@dataclass(frozen=True, eq=False, slots=True)
class _Crop:
    """A nucleus inside the canvas: where, its mask, alpha and hematoxylin, and what it hides."""

    rows: slice
    cols: slice
    mask: NDArray[np.bool_]
    alpha: NDArray[np.float32]
    amount: NDArray[np.float32]
    cover: float


def paint_nuclei(
    canvas: Canvas, nuclear_eosin: float, margin: int = 0
) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Paint all nuclei of a canvas; return their labels and classes.

    Parameters
    ----------
    canvas
        Changed in place.
    nuclear_eosin
        Eosin within a nucleus, relative to what it replaces.
    margin
        Border of the canvas, in pixels, that is no part of the field.

    Returns
    -------
    labels, class_of_id
        ``(H - 2 margin, W - 2 margin)`` int32 with ids 1..n, and ``(n + 1,)`` uint8.
    """
    height, width = canvas.shape
    field = (slice(margin, height - margin), slice(margin, width - margin))
    cells = canvas.cells
    if cells is None:
        return np.zeros((height - 2 * margin, width - 2 * margin), np.int32), np.zeros(1, np.uint8)
    cells = cells[np.argsort(cells.depth, kind="stable")]
    crops = _render(canvas, cells)
    labels = np.zeros((height, width), np.int32)
    inside = np.zeros((height, width), bool)
    inside[field] = True
    # Half a pixel over the exact bound, so that cutting at the field's border leaves no sliver.
    min_px = max(int(np.ceil(MIN_AREA_UM2 * canvas.px**2)), 3)
    shown = [
        i for i in reversed(range(len(cells))) if _claim(labels, inside, crops[i], i + 1, min_px)
    ]
    for i in reversed(shown):
        crop = crops[i]
        assert crop is not None
        stain = canvas.hematoxylin[crop.rows, crop.cols]
        below = float(stain[crop.mask].mean())
        stain *= 1.0 - crop.cover * crop.alpha
        # Truth must be visible: a nucleus holds more hematoxylin than what it lies on.
        lacking = 1.15 * below + LEAST_CONTRAST - float(stain[crop.mask].mean())
        stain += crop.amount * max(lacking / float(crop.amount[crop.mask].mean()), 1.0)
        eosin = canvas.eosin[crop.rows, crop.cols]
        keep = nuclear_eosin * (1.6 - crop.cover)
        eosin *= 1.0 - crop.alpha * (1.0 - keep)
        eosin += (0.12 * keep) * crop.alpha
        canvas.red_cells[crop.rows, crop.cols] *= 1.0 - 0.85 * crop.alpha
    return _numbered(labels[field], cells.class_id)


def _render(canvas: Canvas, cells: Cells) -> list[_Crop | None]:
    """Return each nucleus as a crop, None for those that lie outside."""
    crops: list[_Crop | None] = [None] * len(cells)
    rng, bank = canvas.rng, canvas.bank
    for index, corner, distance in rasterize(rng, cells.shapes, bank, margin_px=2.0):
        n, size = distance.shape[:2]
        part = cells[index]
        soft = part.softness[:, None, None]
        alpha = smoothstep(distance / soft, -0.5, 0.5)
        level, rim, fine, medium, coarse, clumps, nucleoli, nucleolus = part.chromatin.T[
            :, :, None, None
        ]
        medium_noise = bank.crops(rng, 2, n, size)
        texture = level + fine * bank.crops(rng, 1, n, size) + medium * medium_noise
        texture += coarse * bank.crops(rng, 3, n, size)
        texture += clumps * smoothstep(medium_noise + 0.5 * bank.crops(rng, 3, n, size), 0.4, 1.6)
        membrane = 0.22 * canvas.px
        uneven = np.clip(1.0 + 0.45 * medium_noise, 0.2, 2.0)
        texture += rim * uneven * np.exp(-(((distance - membrane) / (1.4 * membrane)) ** 2))
        texture += _nucleoli(rng, part, nucleoli, nucleolus, corner, size)
        np.clip(texture, 0.08, 2.0, out=texture)
        cover = np.interp(part.chromatin[:, 0], [0.2, 0.6], [COVER[1], COVER[0]])
        amount = alpha * texture * part.darkness[:, None, None]
        for j, i in enumerate(index):
            y, x = (int(v) for v in corner[j])
            y0, y1 = max(y, 0), min(y + size, canvas.shape[0])
            x0, x1 = max(x, 0), min(x + size, canvas.shape[1])
            if y0 >= y1 or x0 >= x1:
                continue
            cut = (slice(y0 - y, y1 - y), slice(x0 - x, x1 - x))
            crops[i] = _Crop(
                slice(y0, y1),
                slice(x0, x1),
                distance[j][cut] > 0,
                alpha[j][cut],
                amount[j][cut],
                float(cover[j]),
            )
    return crops


def _nucleoli(
    rng: np.random.Generator,
    part: Cells,
    chance: NDArray,
    radius: NDArray,
    corner: NDArray[np.int32],
    size: int,
) -> NDArray[np.float32]:
    """Return the hematoxylin of up to three nucleoli per nucleus, ``(n, size, size)``."""
    n = len(part)
    out = np.zeros((n, size, size), np.float32)
    grid = np.arange(size, dtype=np.float32) + 0.5
    shapes = part.shapes
    for _ in range(3):
        has = (rng.random(n) < chance[:, 0, 0]) * rng.uniform(0.4, 0.9, n)
        offset = rng.uniform(-0.5, 0.5, (n, 2)) * shapes.semi
        along, across = offset[:, 0], offset[:, 1]
        y = shapes.yx[:, 0] + along * np.sin(shapes.angle) + across * np.cos(shapes.angle)
        x = shapes.yx[:, 1] + along * np.cos(shapes.angle) - across * np.sin(shapes.angle)
        r = radius[:, 0, 0] * rng.uniform(0.6, 1.3, n)
        fall_y = np.exp(-(((grid + corner[:, :1] - y[:, None]) / r[:, None]) ** 2))
        fall_x = np.exp(-(((grid + corner[:, 1:] - x[:, None]) / r[:, None]) ** 2))
        fall_y *= has[:, None]
        out += (fall_y[:, :, None] * fall_x[:, None, :]).astype(np.float32)
    return out


def _claim(
    labels: NDArray[np.int32],
    inside: NDArray[np.bool_],
    crop: _Crop | None,
    value: int,
    min_px: int,
) -> bool:
    """Give a nucleus the free pixels of its mask as one 4-connected piece, if enough are left."""
    if crop is None or not crop.mask.any():
        return False
    owned = labels[crop.rows, crop.cols]
    visible = crop.mask & (owned == 0)
    within = inside[crop.rows, crop.cols]
    whole = int(np.count_nonzero(crop.mask & within))
    if whole == 0:
        # Wholly in the margin: it may still darken the border, and nothing is counted there.
        owned[visible] = value
        return True
    pieces, count = _pieces(visible & within)
    if count == 0:
        return False
    if count > 1:
        areas = np.bincount(pieces.ravel())
        areas[0] = 0
        visible = pieces == areas.argmax()
    else:
        visible = pieces > 0
    area = int(np.count_nonzero(visible))
    if area < min_px or area < MIN_VISIBLE * whole:
        return False
    owned[visible] = value
    return True


def _pieces(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Return the 4-connected pieces of a mask, numbered from 1, and how many there are."""
    pieces = np.zeros(mask.shape, np.int32)
    count = ndimage.label(mask, output=pieces)
    return pieces, int(count)  # type: ignore[arg-type]


def _numbered(
    labels: NDArray[np.int32], class_id: NDArray[np.uint8]
) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Return labels with ids 1..n in the order of the old ones, and the classes of those."""
    present = np.unique(labels)
    present = present[present > 0]
    lookup = np.zeros(len(class_id) + 1, np.int32)
    lookup[present] = np.arange(1, len(present) + 1)
    classes = np.concatenate([np.zeros(1, np.uint8), class_id[present - 1]])
    return lookup[labels], classes
