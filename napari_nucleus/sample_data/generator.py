"""H&E-like fields with exact truth: what to draw (`FieldSpec`) and the drawing of it.

Dyes are composed on a `Canvas` by tissue painters, nuclei are laid on top, Beer-Lambert makes light
of the dyes and a camera makes a picture of the light. The label map is what the nuclei were drawn
from, so it is exact by construction. Torch-free and fast enough to run beside a training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.sample_data import connective, epithelium, immune
from napari_nucleus.sample_data.canvas import Canvas
from napari_nucleus.sample_data.chromatin import paint_nuclei
from napari_nucleus.sample_data.noise import Array, ridges, smoothstep
from napari_nucleus.sample_data.optics import Optics, photograph, random_optics
from napari_nucleus.sample_data.staining import Stain, random_stain, transmitted

__all__ = ["TISSUES", "Field", "FieldSpec", "generate_field", "random_spec"]

TISSUES: Mapping[str, Callable[[Canvas, Array], object]] = {
    "acellular": immune.acellular,
    "adenocarcinoma": epithelium.adenocarcinoma,
    "blood": immune.blood,
    "fat": connective.fat,
    "glands": epithelium.glands,
    "glass": immune.glass,
    "glial": immune.glial,
    "lymphoid": immune.lymphoid,
    "mucin": immune.mucin,
    "muscle": connective.muscle,
    "necrosis": immune.necrosis,
    "parenchyma": epithelium.parenchyma,
    "squamous": epithelium.squamous,
    "stroma": connective.stroma,
    "tumour": epithelium.tumour,
    "vessel": connective.vessel,
}
"""Painter of each tissue, by name."""

SHARES: Mapping[str, float] = {
    "acellular": 0.3,
    "adenocarcinoma": 1.6,
    "blood": 0.25,
    "fat": 0.3,
    "glands": 1.6,
    "glass": 0.2,
    "glial": 0.8,
    "lymphoid": 1.2,
    "mucin": 0.25,
    "muscle": 0.7,
    "necrosis": 0.6,
    "parenchyma": 0.6,
    "squamous": 0.7,
    "stroma": 1.4,
    "tumour": 2.0,
    "vessel": 0.5,
}
MARGIN_UM = 3.0  # drawn around the field and cut off, so that nuclei are cut by its border


@dataclass(frozen=True)
class FieldSpec:
    """All that a field has in common; what differs from nucleus to nucleus is drawn at random.

    Parameters
    ----------
    shape
        Height and width, pixels.
    mpp
        Micrometres per pixel.
    tissues
        One to three names of `TISSUES`; several share the field.
    size
        Factor on the diameter of all nuclei.
    density
        Factor on their number.
    pleomorphism
        0 for regular nuclei, 1 for very irregular ones.
    ghosts
        Share of nuclei that are pale and out of focus.
    texture
        Relative strength of the fine grain of all tissue.
    stain, optics
        Laboratory and scanner.
    folded, pigmented
        Whether there is a fold, or pigment.
    """

    shape: tuple[int, int] = (256, 256)
    mpp: float = 0.25
    tissues: tuple[str, ...] = ("tumour",)
    size: float = 1.0
    density: float = 1.0
    pleomorphism: float = 0.5
    ghosts: float = 0.06
    texture: float = 0.13
    stain: Stain = field(default_factory=Stain)
    optics: Optics = field(default_factory=Optics)
    folded: bool = False
    pigmented: bool = False

    def __post_init__(self) -> None:
        unknown = [t for t in self.tissues if t not in TISSUES]
        if unknown or not 1 <= len(self.tissues) <= 3:
            raise ValueError(
                f"tissues must be one to three of {', '.join(TISSUES)}; got {self.tissues}"
            )
        if min(self.shape) < 32:
            raise ValueError(f"a field is at least 32 pixels high and wide, got {self.shape}")
        if not 0.1 <= self.mpp <= 1.0:
            raise ValueError(f"mpp must lie in 0.1-1.0 µm per pixel, got {self.mpp}")


@dataclass(frozen=True, eq=False)
class Field:
    """A picture with its truth.

    Parameters
    ----------
    rgb
        ``(H, W, 3)`` uint8.
    labels
        ``(H, W)`` int32, ids 1..n; each id is one 4-connected piece.
    class_of_id
        ``(n + 1,)`` uint8, canonical class 1-5 of each id; 0 for the background.
    spec
        What it was made from.
    """

    rgb: NDArray[np.uint8]
    labels: NDArray[np.int32]
    class_of_id: NDArray[np.uint8]
    spec: FieldSpec


def random_spec(
    rng: np.random.Generator,
    shape: tuple[int, int] = (256, 256),
    mpp: float = 0.25,
    tissues: tuple[str, ...] | None = None,
) -> FieldSpec:
    """Draw everything about a field at random; ``tissues`` may be given."""
    if tissues is None:
        names = list(TISSUES)
        weights = np.array([SHARES[name] for name in names])
        count = int(rng.choice([1, 2, 3], p=[0.5, 0.38, 0.12]))
        picked = rng.choice(len(names), count, replace=False, p=weights / weights.sum())
        tissues = tuple(names[i] for i in picked)
    return FieldSpec(
        shape=shape,
        mpp=mpp,
        tissues=tissues,
        size=round(float(np.clip(np.exp(rng.normal(0.02, 0.15)), 0.75, 1.4)), 3),
        density=round(float(np.exp(rng.normal(0, 0.25))), 3),
        pleomorphism=round(float(rng.beta(1.5, 1.5)), 3),
        ghosts=round(float(rng.choice([0.02, 0.06, 0.15])), 3),
        texture=round(float(rng.uniform(0.07, 0.23)), 3),
        stain=random_stain(rng),
        optics=random_optics(rng),
        folded=bool(rng.random() < 0.03),
        pigmented=bool(rng.random() < 0.06),
    )


def generate_field(spec: FieldSpec, rng: np.random.Generator) -> Field:
    """Draw a field.

    The same spec and the same state of ``rng`` give the same field.

    Parameters
    ----------
    spec
        What to draw.
    rng
        Source of what the spec leaves open.
    """
    margin = int(np.ceil(MARGIN_UM / spec.mpp))
    height, width = spec.shape
    canvas = Canvas(
        (height + 2 * margin, width + 2 * margin),
        spec.mpp,
        rng,
        size=spec.size,
        density=spec.density,
        pleomorphism=spec.pleomorphism,
        ghosts=spec.ghosts,
    )
    for name, region in zip(spec.tissues, _regions(canvas, len(spec.tissues)), strict=True):
        TISSUES[name](canvas, region)
    if spec.pigmented:
        immune.pigment(canvas)
    _age(canvas, spec)
    labels, class_of_id = paint_nuclei(canvas, spec.stain.nuclear_eosin, margin)
    if spec.folded:
        immune.fold(canvas)
    light = transmitted(
        spec.stain, canvas.hematoxylin, canvas.eosin, canvas.red_cells, canvas.pigment
    )
    rgb = photograph(light[margin : margin + height, margin : margin + width], spec.optics, rng)
    return Field(rgb, labels, class_of_id, spec)


def _regions(canvas: Canvas, n: int) -> list[Array]:
    """Return soft masks, one per tissue: the first fills the field, later ones lie over it."""
    regions = [np.ones(canvas.shape, np.float32)]
    extent = min(canvas.shape) / canvas.px
    for k in range(1, n):
        shape = canvas.noise(max(0.55 * extent, 30.0)) + 0.08 * canvas.noise(8)
        shape += 0.03 * canvas.noise(2.5)
        level = canvas.rng.uniform(-0.5, 0.5) + 0.4 * (k - 1)
        regions.append(smoothstep(shape, level - 0.03, level + 0.03))
    for k in range(n - 1):
        for upper in regions[k + 1 :]:
            regions[k] = regions[k] * (1 - upper)
    return regions


def _age(canvas: Canvas, spec: FieldSpec) -> None:
    """Give all tissue the uneven thickness and fine grain of a section."""
    grain = 0.55 * canvas.noise(0.35) + 0.7 * canvas.noise(0.7) + 0.7 * canvas.noise(1.5)
    grain += 0.5 * canvas.noise(3.0)
    specks = ridges(canvas.noise(1.1), 0.25) - ridges(canvas.noise(1.6), 0.25)
    factor = 1 + spec.texture * (grain + 0.8 * specks) + 0.08 * canvas.noise(45)
    np.clip(factor, 0.25, 2.0, out=factor)
    canvas.hematoxylin *= factor * spec.stain.haze
    canvas.eosin *= factor
    canvas.red_cells *= 0.7 + 0.3 * factor
