"""An entropy map as a picture that ends where its image ends; knows neither Qt nor napari."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_nucleus.core.entropy_map import EntropyMap

__all__ = ["MapPicture", "map_picture"]

FINER = 4
"""Pixels of the picture across one point of a small map."""

SMALL = 100_000
"""Points of a map up to which its picture is finer; larger ones end less than a pixel too late."""


@dataclass(frozen=True, eq=False, slots=True)
class MapPicture:
    """A picture over an image.

    Parameters
    ----------
    values
        ``(h, w)`` float32; NaN where nothing is known.
    origin_yx
        Its corner in level-0 pixels.
    step_px
        Level-0 pixels to one of its own.
    """

    values: NDArray[np.float32]
    origin_yx: tuple[float, float]
    step_px: float


def map_picture(entropies: EntropyMap, shape: tuple[int, int]) -> MapPicture:
    """Return the picture of a map over an image of a shape (height, width)."""
    values, known, step = entropies.values, entropies.known, entropies.step_px
    if not known.any():
        return MapPicture(np.zeros((0, 0), np.float32), entropies.origin_yx, step)
    # Unknown points take the value of the nearest known one, so that edges are not drawn to 0.
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    values = values[tuple(nearest)]
    if values.size <= SMALL:
        values = ndimage.zoom(values, FINER, order=1, mode="nearest", grid_mode=True)
        known = known.repeat(FINER, axis=0).repeat(FINER, axis=1)
        step /= FINER
    rows, columns = (
        max(round((side - at) / step), 1)
        for side, at in zip(shape, entropies.origin_yx, strict=True)
    )
    shown = np.where(known, values, np.nan).astype(np.float32)[:rows, :columns]
    return MapPicture(shown, entropies.origin_yx, step)
