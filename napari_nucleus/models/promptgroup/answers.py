"""From answers at the working magnification to nuclei of a tile."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.morphology import suppress_overlaps
from napari_nucleus.core.nuclei import Nuclei

__all__ = ["nuclei_of_masks", "of_window", "on_tile"]


def on_tile(nuclei: Nuclei, working: tuple[int, ...], shape: tuple[int, int]) -> Nuclei:
    """Return nuclei of a ``working`` map in the pixels of a tile of ``shape``, by nearest pixel."""
    labels = nuclei.to_labels((working[0], working[1]))
    rows, columns = (
        np.minimum(((np.arange(n) + 0.5) * m / n).astype(int), m - 1)
        for n, m in zip(shape, working, strict=True)
    )
    seen, ids = Nuclei.from_labels(labels[np.ix_(rows, columns)], source=nuclei.source)
    return Nuclei(
        seen.boxes,
        seen.masks,
        nuclei.score[ids - 1],
        nuclei.class_prob[ids - 1],
        source=nuclei.source,
    )


def nuclei_of_masks(
    masks: NDArray[np.bool_], scores: NDArray[np.floating], overlap: float, source: str = ""
) -> Nuclei:
    """Return whole masks ``(n, H, W)`` as nuclei: of two that overlap the better one stays."""
    found = Nuclei.from_masks(list(masks), np.zeros((len(masks), 2), int), scores, source=source)
    return suppress_overlaps(found, overlap)


def of_window(
    nuclei: Nuclei, number: int, starts: Sequence[tuple[int, int]], side: int
) -> NDArray[np.bool_]:
    """Return which nuclei ``(n,)`` are nearer to the middle of a window than to any other's.

    ``starts`` are where the windows of the tile begin, all of one ``side``; the nuclei are those
    that window ``number`` found, in pixels of the tile.
    """
    if not len(nuclei):
        return np.zeros(0, bool)
    centres = (nuclei.boxes[:, :2] + nuclei.boxes[:, 2:]) / 2
    middles = np.asarray(starts, float) + side / 2
    away = np.abs(centres[:, None] - middles[None]).max(2)
    return away.argmin(1) == number
