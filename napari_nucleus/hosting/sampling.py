"""Which pieces of an image a model looks at to calibrate itself: few, spread out, of tissue.

Reads level 0 only, and little of it: small patches of at most `CANDIDATES` places decide, whatever
the size of the image. The same image always gives the same samples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.geometry import Box, clip_box
from napari_nucleus.core.image import ImageSource

__all__ = ["candidate_boxes", "sample_boxes", "tissue_fraction"]

CANDIDATES = 64
PROBE_PX = 96
GLASS = 215
"""A pixel is glass if all its channels reach this: both dyes absorb green."""
INK = 30
"""A pixel is ink, or the rim of a scan, if no channel reaches this."""
ENOUGH_TISSUE = 0.5
"""Share of the best candidate's tissue that makes another place worth a look."""


def tissue_fraction(rgb: NDArray[np.uint8]) -> float:
    """Return the share of pixels that are neither glass nor ink, 0–1.

    Parameters
    ----------
    rgb
        ``(H, W, 3)`` uint8; grey pictures work as well.
    """
    if rgb.size == 0:
        return 0.0
    tissue = (rgb.min(axis=-1) < GLASS) & (rgb.max(axis=-1) >= INK)
    return float(tissue.mean())


def candidate_boxes(shape: tuple[int, int], size: int) -> list[Box]:
    """Return up to `CANDIDATES` boxes of ``size`` pixels on an even grid over an image.

    Boxes lie inside the image; one smaller than ``size`` is a single box. They overlap by no more
    than it takes to reach the edges.
    """
    side = int(np.sqrt(CANDIDATES))
    ys, xs = (_even_starts(length, size, side) for length in shape)
    return [clip_box((y, x, y + size, x + size), shape) for y in ys for x in xs]


def _even_starts(length: int, size: int, most: int) -> list[int]:
    """Return where up to ``most`` pieces of ``size`` begin, each in the middle of its share."""
    count = max(1, min(most, length // size))
    return [max(0, round((i + 0.5) * length / count - size / 2)) for i in range(count)]


def sample_boxes(source: ImageSource, size: int, count: int) -> list[Box]:
    """Return up to ``count`` boxes of ``size`` pixels, spread over the tissue of an image.

    Each candidate's middle is read. Of those with at least half as much tissue as the best one,
    the boxes farthest from one another are taken, the best one first (farthest-point sampling). An
    image without tissue is sampled as if it were all tissue.

    Parameters
    ----------
    source
        The image; read on level 0.
    size, count
        Side of a box in level-0 pixels, and how many at most.
    """
    boxes = candidate_boxes(source.shape, size)
    tissue = np.array([tissue_fraction(source.read(_middle(box))) for box in boxes])
    worth = np.flatnonzero(tissue >= ENOUGH_TISSUE * tissue.max())
    centres = np.array([((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for b in boxes])
    chosen = [int(worth[np.argmax(tissue[worth])])]
    while len(chosen) < min(count, len(worth)):
        gaps = np.linalg.norm(centres[worth, None] - centres[None, chosen], axis=-1).min(axis=1)
        chosen.append(int(worth[np.argmax(gaps)]))
    return [boxes[i] for i in chosen]


def _middle(box: Box) -> Box:
    """Return the `PROBE_PX` square in the middle of a box."""
    y, x = (box[0] + box[2]) // 2, (box[1] + box[3]) // 2
    half = PROBE_PX // 2
    return (
        max(y - half, box[0]),
        max(x - half, box[1]),
        min(y + half, box[2]),
        min(x + half, box[3]),
    )
