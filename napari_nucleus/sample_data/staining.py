"""Amounts of dye to light: the Beer-Lambert law with random, plausible H&E stain vectors.

Knows dyes and colours; nothing of tissue or cameras. Optical density is the natural logarithm of
incident over transmitted light, per RGB channel, as in Ruifrok and Johnston (2001).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Stain", "random_stain", "transmitted"]

Vector = tuple[float, float, float]

HEMATOXYLIN = ((0.66, 0.71, 0.26), (0.43, 0.88, 0.20), (0.52, 0.82, 0.25), (0.56, 0.75, 0.36))
EOSIN = ((0.10, 0.92, 0.37), (0.24, 0.86, 0.45), (0.08, 0.87, 0.49), (0.17, 0.90, 0.40))
PIGMENT = (0.40, 0.55, 0.73)  # brown


@dataclass(frozen=True)
class Stain:
    """How one laboratory stains and one light source shines.

    Parameters
    ----------
    hematoxylin, eosin, red_cells, pigment
        Optical density per unit of dye, RGB.
    white
        RGB of empty glass, 0-255.
    haze
        Hematoxylin that everything holds, relative to the usual.
    nuclear_eosin
        Eosin in nuclei, relative to the cytoplasm.
    """

    hematoxylin: Vector = (0.60, 0.94, 0.29)
    eosin: Vector = (0.16, 0.90, 0.41)
    red_cells: Vector = (0.12, 0.86, 0.62)
    pigment: Vector = PIGMENT
    white: Vector = (243.0, 241.0, 243.0)
    haze: float = 1.0
    nuclear_eosin: float = 0.3


def _mixed(rng: np.random.Generator, anchors: tuple[Vector, ...], spread: float) -> NDArray:
    """Return a unit vector between anchors, off by about ``spread`` radians."""
    weights = rng.dirichlet(np.full(len(anchors), 0.7))
    vector = weights @ np.asarray(anchors) + rng.normal(0, spread, 3)
    vector = np.maximum(vector, 0.03)
    return vector / np.linalg.norm(vector)


def _vector(values: NDArray) -> Vector:
    r, g, b = (round(float(v), 4) for v in values)
    return r, g, b


def random_stain(rng: np.random.Generator) -> Stain:
    """Draw a stain: hue, strength and balance of the dyes, colour of the glass."""
    hematoxylin = _mixed(rng, HEMATOXYLIN, 0.03)
    eosin = _mixed(rng, EOSIN, 0.04)
    red = eosin + np.array([0.0, -0.04, rng.uniform(0.04, 0.26)])
    strength = 0.9 * np.exp(rng.normal(0, 0.25))
    if rng.random() < 0.06:
        # Hardly any eosin: pale lilac tissue.
        eosin = _mixed(rng, ((0.35, 0.88, 0.25), (0.25, 0.90, 0.30)), 0.03)
        strength *= rng.uniform(0.3, 0.6)
    white = 242.0 + rng.normal(0, 4) + rng.normal(0, 2.0, 3)
    return Stain(
        hematoxylin=_vector(hematoxylin * 1.15 * np.exp(rng.normal(0, 0.22))),
        eosin=_vector(eosin * strength),
        red_cells=_vector(red / np.linalg.norm(red) * rng.uniform(0.9, 1.3)),
        pigment=_vector(_mixed(rng, (PIGMENT,), 0.05)),
        white=_vector(np.clip(white, 225, 252)),
        haze=round(float(np.exp(rng.normal(0, 0.4))), 3),
        nuclear_eosin=round(float(rng.uniform(0.2, 0.7)), 3),
    )


def transmitted(
    stain: Stain, hematoxylin: NDArray, eosin: NDArray, red_cells: NDArray, pigment: NDArray
) -> NDArray[np.float32]:
    """Return the light ``(H, W, 3)``, 0-255 float32, behind amounts of dye ``(H, W)``."""
    amounts = np.stack([hematoxylin, eosin, red_cells, pigment], axis=-1).astype(np.float32)
    vectors = np.array(
        [stain.hematoxylin, stain.eosin, stain.red_cells, stain.pigment], dtype=np.float32
    )
    density = amounts.reshape(-1, 4) @ vectors
    np.exp(np.negative(density, out=density), out=density)
    density *= np.asarray(stain.white, np.float32)
    return density.reshape(*hematoxylin.shape, 3)
