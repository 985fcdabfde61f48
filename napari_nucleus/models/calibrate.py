"""What is common to all tiles of an image: the magnification and the stain.

Where the pixel size is unknown, the model segments samples at several magnifications; the one at
which nuclei are found with most confidence says how large they are, and the magnification is set so
that the median nucleus has the canonical diameter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.image import Tile
from napari_nucleus.core.stain import LabStatistics, lab_statistics
from napari_nucleus.models.api import Calibration

__all__ = ["NucleusSizes", "calibrate", "estimate_scale"]

MIN_NUCLEI = 8
"""Fewer say nothing about the magnification."""

TOLERANCE = 0.15
"""An estimate this near to the assumed magnification leaves it alone."""

ZOOMS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Magnifications that are tried, working pixels per image pixel."""

FAR = 0.2
"""Octaves between an estimate and all that was tried, from which on it is looked at as well."""


@dataclass(frozen=True, slots=True)
class NucleusSizes:
    """Nuclei found at one magnification.

    ``diameters`` ``(n,)`` in working pixels; ``confidence`` of the foreground, 0–1.
    """

    diameters: NDArray[np.float64]
    confidence: float


def calibrate(
    samples: Sequence[Tile],
    mpp: float | None,
    model_mpp: float,
    canonical_diameter: float,
    sizes_at: Callable[[Sequence[Tile], float], NucleusSizes],
) -> Calibration:
    """Return the calibration of an image.

    Parameters
    ----------
    samples
        Pieces spread over the image.
    mpp
        µm per image pixel, or None to estimate it.
    model_mpp
        µm per working pixel.
    canonical_diameter
        Median diameter, in working pixels, to which unknown magnifications are brought.
    sizes_at
        Finds nuclei of samples at a number of working pixels per image pixel.
    """
    estimated = mpp is None
    if mpp is None:
        scale = estimate_scale(samples, canonical_diameter, sizes_at)
        mpp = model_mpp * scale
    stain = _stain(samples)
    return Calibration(
        scale=mpp / model_mpp,
        mpp=mpp,
        mpp_estimated=estimated,
        lab_mean=None if stain is None else stain.mean,
        lab_std=None if stain is None else stain.std,
    )


def estimate_scale(
    samples: Sequence[Tile],
    canonical_diameter: float,
    sizes_at: Callable[[Sequence[Tile], float], NucleusSizes],
) -> float:
    """Return working pixels per image pixel that bring the median nucleus to canonical size.

    1 if too few nuclei are found to tell, or if they are about canonical already.
    """
    best, best_merit = 1.0, 0.0
    for zoom in ZOOMS:
        found = sizes_at(samples, zoom)
        if len(found.diameters) < MIN_NUCLEI:
            continue
        median = float(np.median(found.diameters))
        # Networks are sure of nuclei of the size they know; far from it the answer counts less.
        away = np.log2(median / canonical_diameter)
        merit = found.confidence * np.exp(-((2 * away) ** 2))
        if merit > best_merit:
            best, best_merit = zoom * canonical_diameter / median, merit
    if abs(best - 1) <= TOLERANCE:
        return 1.0
    if all(abs(np.log2(best / zoom)) > FAR for zoom in ZOOMS):
        # Sizes seen at another magnification are a little off: look again at this one.
        found = sizes_at(samples, best)
        if len(found.diameters) >= MIN_NUCLEI:
            best *= canonical_diameter / float(np.median(found.diameters))
    return float(np.clip(best, 0.2, 5.0))


def _stain(samples: Sequence[Tile]) -> LabStatistics | None:
    """Return the LAB statistics of the tissue on all samples, at most some 200,000 pixels."""
    if not samples:
        return None
    pixels = np.concatenate([t.rgb.reshape(-1, 3) for t in samples])
    return lab_statistics(pixels[:: max(len(pixels) // 200_000, 1)])
