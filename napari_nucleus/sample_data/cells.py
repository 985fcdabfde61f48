"""Kinds of nuclei: size, shape and chromatin of each, and how single nuclei are drawn from them.

Sizes are in micrometres of fixed, embedded tissue as slides show it. Classes are the canonical
PanNuke ids. Knows nothing of where nuclei lie (`canvas`) or how chromatin is painted (`chromatin`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nucleus.sample_data.shapes import Shapes
from napari_nucleus.sample_data.shapes import concatenate as concatenate_shapes

__all__ = ["CHROMATINS", "KINDS", "Cells", "Chromatin", "Kind", "Style", "draw_cells", "draw_style"]

NEOPLASTIC, INFLAMMATORY, CONNECTIVE, DEAD, EPITHELIAL = 1, 2, 3, 4, 5


@dataclass(frozen=True)
class Chromatin:
    """How hematoxylin is spread within a nucleus, relative to its darkness.

    Parameters
    ----------
    level
        Amount between the clumps.
    rim
        Amount added along the membrane.
    fine, medium, coarse
        Amplitude of chromatin grain of about 0.3, 0.6 and 1.4 µm.
    clumps
        Amount added in blocks of heterochromatin.
    nucleoli
        Probability of each of up to three nucleoli.
    nucleolus_um
        Radius of a nucleolus.
    """

    level: float
    rim: float
    fine: float
    medium: float
    coarse: float
    clumps: float
    nucleoli: float = 0.0
    nucleolus_um: float = 0.5


CHROMATINS: tuple[Chromatin, ...] = (
    Chromatin(0.74, 0.18, 0.06, 0.12, 0.15, 0.24),  # 0 smudged
    Chromatin(0.62, 0.28, 0.06, 0.15, 0.14, 0.42),  # 1 clumped
    Chromatin(0.40, 0.45, 0.05, 0.10, 0.07, 0.25, 0.55, 0.50),  # 2 vesicular
    Chromatin(0.58, 0.25, 0.10, 0.16, 0.07, 0.15, 0.20, 0.40),  # 3 salt and pepper
    Chromatin(0.66, 0.20, 0.07, 0.14, 0.14, 0.25, 0.30, 0.55),  # 4 hyperchromatic, coarse
    Chromatin(0.46, 0.40, 0.05, 0.10, 0.10, 0.20, 0.85, 0.75),  # 5 vesicular, large nucleoli
    Chromatin(0.85, 0.00, 0.04, 0.06, 0.12, 0.00),  # 6 fading
    Chromatin(0.24, 0.62, 0.07, 0.12, 0.08, 0.36, 0.45, 0.45),  # 7 open
)
SMUDGED, CLUMPED, VESICULAR, SALT, COARSE, NUCLEOLAR, FADING, OPEN = range(len(CHROMATINS))


@dataclass(frozen=True)
class Kind:
    """A kind of nucleus.

    Parameters
    ----------
    class_id
        Canonical class, 1-5.
    diameter_um
        Diameter of the circle of equal area.
    spread
        Standard deviation of its logarithm.
    aspect
        Range of long over short axis.
    irregular
        Ripple of the outline, relative to the radius.
    sharp, bend
        Ranges of the ends' pointedness and of the bow, see `Shapes`.
    darkness
        Mean amount of hematoxylin, 1 being an average nucleus.
    chromatin
        Indices into `CHROMATINS` with their weights.
    warp_um
        Fine irregularity of the outline.
    softness_um
        Width of the blurred border.
    """

    class_id: int
    diameter_um: float
    spread: float
    aspect: tuple[float, float]
    irregular: float
    darkness: float
    chromatin: tuple[tuple[int, float], ...]
    sharp: tuple[float, float] = (-0.3, 0.2)
    bend: tuple[float, float] = (0.0, 0.15)
    warp_um: float = 0.1
    softness_um: float = 0.42


KINDS: Mapping[str, Kind] = {
    "lymphocyte": Kind(
        INFLAMMATORY, 4.4, 0.12, (1.0, 1.4), 0.045, 1.35, ((SMUDGED, 0.45), (CLUMPED, 0.55))
    ),
    "plasma": Kind(INFLAMMATORY, 4.5, 0.09, (1.05, 1.35), 0.03, 1.2, ((CLUMPED, 1.0),)),
    "granulocyte": Kind(
        INFLAMMATORY, 4.0, 0.12, (1.2, 1.9), 0.15, 1.4, ((SMUDGED, 1.0),), bend=(0.1, 0.6)
    ),
    "histiocyte": Kind(
        INFLAMMATORY,
        5.8,
        0.13,
        (1.1, 1.7),
        0.06,
        0.75,
        ((VESICULAR, 0.7), (SALT, 0.3)),
        bend=(0.1, 0.6),
    ),
    "blast": Kind(
        INFLAMMATORY, 6.0, 0.12, (1.0, 1.3), 0.05, 0.9, ((VESICULAR, 0.6), (NUCLEOLAR, 0.4))
    ),
    "fibroblast": Kind(
        CONNECTIVE,
        5.2,
        0.17,
        (2.0, 4.5),
        0.065,
        0.85,
        ((SALT, 0.6), (VESICULAR, 0.25), (SMUDGED, 0.15)),
        sharp=(-0.2, 0.9),
        bend=(0.0, 0.6),
        warp_um=0.14,
    ),
    "fibrocyte": Kind(
        CONNECTIVE,
        4.0,
        0.17,
        (3.5, 6.5),
        0.05,
        1.2,
        ((SMUDGED, 0.8), (SALT, 0.2)),
        sharp=(0.0, 1.1),
        bend=(0.0, 0.9),
        warp_um=0.14,
    ),
    "muscle": Kind(
        CONNECTIVE,
        5.4,
        0.16,
        (2.6, 5.0),
        0.03,
        0.8,
        ((SALT, 0.5), (SMUDGED, 0.3), (VESICULAR, 0.2)),
        sharp=(-0.6, 0.3),
        bend=(0.0, 0.3),
    ),
    "endothelium": Kind(
        CONNECTIVE,
        4.2,
        0.16,
        (2.0, 4.5),
        0.05,
        1.15,
        ((SMUDGED, 0.6), (SALT, 0.4)),
        sharp=(-0.3, 0.6),
        bend=(0.2, 0.8),
    ),
    "fat": Kind(CONNECTIVE, 3.9, 0.15, (2.0, 4.0), 0.05, 1.1, ((SMUDGED, 1.0),), bend=(0.2, 0.9)),
    "columnar": Kind(
        EPITHELIAL,
        5.4,
        0.11,
        (1.2, 1.9),
        0.035,
        0.85,
        ((VESICULAR, 0.35), (SALT, 0.4), (OPEN, 0.25)),
        sharp=(-0.4, 0.2),
    ),
    "parenchymal": Kind(
        EPITHELIAL,
        5.8,
        0.12,
        (1.0, 1.18),
        0.02,
        0.8,
        ((VESICULAR, 0.55), (NUCLEOLAR, 0.3), (OPEN, 0.15)),
    ),
    "squamous": Kind(
        EPITHELIAL,
        5.6,
        0.16,
        (1.1, 1.8),
        0.04,
        0.9,
        ((VESICULAR, 0.5), (SALT, 0.3), (SMUDGED, 0.2)),
    ),
    "tumour_vesicular": Kind(
        NEOPLASTIC,
        7.6,
        0.20,
        (1.05, 1.7),
        0.065,
        0.85,
        ((VESICULAR, 0.35), (NUCLEOLAR, 0.25), (COARSE, 0.15), (OPEN, 0.25)),
        warp_um=0.1,
    ),
    "tumour_columnar": Kind(
        NEOPLASTIC,
        6.6,
        0.17,
        (1.4, 2.7),
        0.05,
        1.0,
        ((COARSE, 0.35), (SALT, 0.25), (VESICULAR, 0.2), (OPEN, 0.2)),
        sharp=(-0.4, 0.3),
        warp_um=0.1,
    ),
    "tumour_small": Kind(
        NEOPLASTIC,
        5.6,
        0.13,
        (1.05, 1.6),
        0.06,
        1.2,
        ((SALT, 0.6), (SMUDGED, 0.2), (COARSE, 0.2)),
    ),
    "tumour_giant": Kind(
        NEOPLASTIC,
        9.6,
        0.24,
        (1.05, 1.8),
        0.10,
        1.1,
        ((COARSE, 0.6), (NUCLEOLAR, 0.4)),
        warp_um=0.15,
    ),
    "mitosis": Kind(NEOPLASTIC, 5.0, 0.12, (1.5, 2.8), 0.12, 1.9, ((SMUDGED, 1.0),), warp_um=0.25),
    "glial": Kind(
        NEOPLASTIC,
        5.6,
        0.17,
        (1.05, 1.9),
        0.06,
        0.95,
        ((SALT, 0.6), (COARSE, 0.2), (VESICULAR, 0.2)),
    ),
    "pyknotic": Kind(DEAD, 3.1, 0.22, (1.0, 1.4), 0.06, 1.9, ((SMUDGED, 1.0),)),
    "fragment": Kind(DEAD, 1.9, 0.25, (1.0, 1.5), 0.08, 1.7, ((SMUDGED, 1.0),), softness_um=0.25),
    "faded": Kind(DEAD, 5.0, 0.2, (1.0, 1.7), 0.07, 0.55, ((FADING, 1.0),), softness_um=0.8),
}


@dataclass(frozen=True)
class Style:
    """How one field's nuclei of a kind differ from the kind: size, darkness, chromatin."""

    size: float
    darkness: float
    texture: float
    level: float
    irregular: float
    preference: tuple[float, ...]


def draw_style(rng: np.random.Generator, pleomorphism: float) -> Style:
    """Draw the traits that the nuclei of one kind share within a field."""
    return Style(
        size=float(np.exp(rng.normal(0, 0.07))),
        darkness=float(np.exp(rng.normal(0, 0.12))),
        texture=float(np.exp(rng.normal(0, 0.22))),
        level=float(np.exp(rng.normal(0, 0.12))),
        irregular=float(np.exp(rng.normal(0, 0.2)) * (0.6 + 0.7 * pleomorphism)),
        preference=tuple(np.exp(rng.normal(0, 1.2, len(CHROMATINS))).tolist()),
    )


@dataclass(frozen=True, eq=False)
class Cells:
    """Nuclei to be painted.

    Parameters
    ----------
    shapes
        Their outlines.
    class_id
        ``(n,)`` uint8.
    darkness, softness, depth
        ``(n,)``: amount of hematoxylin; width of the border in pixels; larger depth lies on top.
    chromatin
        ``(n, 8)``: the fields of `Chromatin` in order, nucleolus radius in pixels.
    """

    shapes: Shapes
    class_id: NDArray[np.uint8]
    darkness: NDArray[np.float32]
    softness: NDArray[np.float32]
    depth: NDArray[np.float32]
    chromatin: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.class_id)

    def __getitem__(self, index: ArrayLike) -> Cells:
        """Return the cells that an index array or mask picks."""
        return Cells(*(getattr(self, f.name)[index] for f in fields(self)))

    @classmethod
    def concatenate(cls, parts: list[Cells]) -> Cells:
        """Return all cells of ``parts`` in order."""
        rest = [np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)[1:]]
        return cls(concatenate_shapes([p.shapes for p in parts]), *rest)


def draw_cells(
    rng: np.random.Generator,
    kind: Kind,
    style: Style,
    yx: NDArray,
    angle: NDArray,
    px_per_um: float,
    *,
    size: float = 1.0,
    ghosts: float = 0.0,
) -> Cells:
    """Draw nuclei of one kind at given places.

    Parameters
    ----------
    rng
        Source of what differs between nuclei.
    kind, style
        What they have in common.
    yx, angle
        Centres ``(n, 2)`` in pixels and directions ``(n,)`` in radians.
    px_per_um
        Pixels per micrometre.
    size
        Factor on the diameter.
    ghosts
        Share of nuclei that are pale and blurred because they are out of focus.
    """
    n = len(yx)
    diameter = kind.diameter_um * size * style.size * np.exp(rng.normal(0, kind.spread, n))
    diameter = np.clip(diameter, 0.55 * kind.diameter_um * size, 1.9 * kind.diameter_um * size)
    aspect = rng.uniform(*kind.aspect, n)
    radius = 0.5 * diameter * px_per_um
    semi = np.stack([radius * np.sqrt(aspect), radius / np.sqrt(aspect)], axis=1)
    shapes = Shapes.ellipses(
        rng,
        yx,
        angle,
        semi,
        irregular=kind.irregular * style.irregular,
        sharp=rng.uniform(*kind.sharp, n),
        bend=rng.uniform(*kind.bend, n) * rng.choice([-1.0, 1.0], n),
        warp=kind.warp_um * px_per_um,
    )
    ghost = rng.random(n) < ghosts
    weights = np.array([w * style.preference[c] for c, w in kind.chromatin])
    which = rng.choice([c for c, _ in kind.chromatin], n, p=weights / weights.sum())
    table = np.array([[getattr(c, f.name) for f in fields(Chromatin)] for c in CHROMATINS])
    chromatin = table[which] * np.exp(rng.normal(0, 0.15, (n, table.shape[1])))
    chromatin[:, 0] = np.clip(chromatin[:, 0] * style.level, 0.15, 1.05)
    chromatin[:, 2:6] *= style.texture * np.where(ghost, 0.4, 1.0)[:, None]
    # A thin nucleus shows no membrane apart from its body.
    chromatin[:, 1] *= np.where(ghost, 0.2, np.clip(semi[:, 1] / (2.0 * px_per_um) - 0.2, 0.1, 1))
    chromatin[:, 6] *= np.where(ghost, 0.3, 1.0)
    chromatin[:, 7] *= px_per_um * size
    darkness = kind.darkness * style.darkness * np.exp(rng.normal(0, 0.2, n))
    softness = kind.softness_um * np.exp(rng.normal(0.05, 0.35, n))
    return Cells(
        shapes,
        np.full(n, kind.class_id, np.uint8),
        np.where(ghost, darkness * rng.uniform(0.4, 0.65, n), darkness).astype(np.float32),
        np.maximum(np.where(ghost, softness * 2.8, softness) * px_per_um, 0.8).astype(np.float32),
        (rng.random(n) - ghost).astype(np.float32),
        chromatin.astype(np.float32),
    )
