"""Painters of lymphoid tissue, necrosis and brain-like tissue, and of what holds no nuclei.

Nucleus-free material (blood, mucin, acellular matrix, glass) is there to be left alone by a
segmenter. Artefacts (folds, pigment) lie over whatever tissue there is.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from napari_nucleus.sample_data.canvas import Canvas
from napari_nucleus.sample_data.connective import (
    infiltrate,
    plasma_cells,
    red_cells,
    rims,
    vessel_at,
)
from napari_nucleus.sample_data.fibres import Grain
from napari_nucleus.sample_data.noise import Array, ridges, smoothstep
from napari_nucleus.sample_data.shapes import Shapes

__all__ = [
    "acellular",
    "blood",
    "fold",
    "glass",
    "glial",
    "lymphoid",
    "mucin",
    "necrosis",
    "pigment",
]


def lymphoid(canvas: Canvas, region: Array) -> None:
    """A lymphoid aggregate: packed small dark nuclei, blasts, plasma cells, gaps."""
    rng = canvas.rng
    airy = rng.uniform(0, 1)
    gaps = smoothstep(canvas.noise(7) + 0.6 * canvas.noise(2.5), 1.3 - 1.2 * airy, 1.9 - 1.0 * airy)
    net = smoothstep(canvas.noise(3) + 0.5 * canvas.noise(1.0), -0.5, 1.5)
    strands = ridges(canvas.noise(5) + 0.4 * canvas.noise(1.5), 0.25)
    gaps *= 1 - 0.5 * strands * smoothstep(canvas.noise(4), -1, 1)
    eosin = (0.14 + 0.24 * net + 0.12 * strands) * (1 - 0.92 * gaps)
    eosin *= 1 + 0.15 * canvas.noise(0.8)
    haze = (0.08 + 0.08 * net) * (1 - 0.9 * gaps)
    canvas.lay(region, np.maximum(eosin, 0.01), np.maximum(haze, 0.0))
    if rng.random() < 0.4:
        for yx in canvas.spots_in(region, 1 + rng.poisson(canvas.area_um2 / 8000)):
            half = rng.uniform(4, 9) * canvas.px, rng.uniform(2.5, 4.5) * canvas.px
            vessel_at(canvas, yx, rng.uniform(0, np.pi), half, wall_um=2.0, filled=0.5)
    open_ = region * (gaps < 0.6)
    centre = canvas.noise(35) > 1.0 if rng.random() < 0.5 else np.zeros(canvas.shape, bool)
    canvas.grow("blast", canvas.spots_in(open_ * centre, canvas.count(open_ * centre, 20000)))
    canvas.grow("blast", canvas.spots_in(open_, canvas.count(open_, rng.uniform(0, 700))))
    canvas.grow("histiocyte", canvas.spots_in(open_, canvas.count(open_, rng.uniform(0, 600))))
    spots = canvas.spots_in(open_, canvas.count(open_, rng.choice([0, 400, 3000])))
    plasma_cells(canvas, spots)
    packing = rng.uniform(0.78, 1.08)
    packed = open_ * (~centre | (canvas.noise(3) > 0.8))
    spots = canvas.spots_in(packed, canvas.count(packed, rng.uniform(30000, 160000)))
    rims(canvas, canvas.grow("lymphocyte", spots, spacing=packing), halo=0.3 * airy)


def necrosis(canvas: Canvas, region: Array) -> None:
    """Dirty necrosis: granular pink debris, shrunken and broken nuclei, fading ghosts."""
    rng = canvas.rng
    coarse, fine = canvas.noise(6), canvas.noise(0.9)
    tone = rng.uniform(0.32, 0.52)
    eosin = tone * (1 + 0.18 * coarse + 0.2 * fine + 0.12 * canvas.noise(2))
    eosin *= 1 - 0.8 * smoothstep(canvas.noise(5) + 0.4 * fine, 1.2, 2.0)
    haze = rng.uniform(0.03, 0.14) * (1 + 0.5 * canvas.noise(3) + 0.4 * fine)
    canvas.lay(region, np.maximum(eosin, 0.02), np.maximum(haze, 0.0))
    _wrecks(canvas, region)
    clumped = region * (canvas.noise(16) > rng.uniform(-1.0, 0.3))
    spots = canvas.spots_in(clumped, canvas.count(clumped, rng.uniform(500, 2500)))
    shrunken = canvas.grow("pyknotic", spots, spacing=1.3)
    halo = Shapes.ellipses(
        rng,
        shrunken.shapes.yx + rng.normal(0, 1.5, (len(shrunken), 2)),
        shrunken.shapes.angle,
        shrunken.shapes.semi * rng.uniform(1.8, 2.6),
        irregular=0.06,
        warp=0.5,
    )
    canvas.stamp(
        halo, eosin=rng.uniform(0.3, 0.65, len(shrunken)), erase=0.7, grain=0.2, soft_um=1.5
    )
    # Karyorrhexis: fragments in clusters the size of the nucleus they were.
    seeds = canvas.spots_in(clumped, canvas.count(clumped, rng.uniform(500, 2500)))
    cloud = np.repeat(seeds, rng.integers(2, 7, len(seeds)), axis=0)
    cloud += rng.normal(0, 1.5 * canvas.px * canvas.size, cloud.shape).astype(np.float32)
    canvas.grow("fragment", cloud, spacing=0.95)
    canvas.grow("faded", canvas.spots_in(region, canvas.count(region, rng.uniform(100, 1200))))
    dust(canvas, clumped, rng.uniform(2000, 12000))
    infiltrate(canvas, region, float(rng.choice([0, 500, 2500])))


def _wrecks(canvas: Canvas, region: Array) -> None:
    """Bodies of dead cells: smudged pink lumps without nuclei, with cracks between."""
    rng = canvas.rng
    spots = canvas.spots_in(
        region, int(rng.uniform(4000, 14000) * 1e-6 * region.sum() / canvas.px**2)
    )
    n = len(spots)
    semi = rng.uniform(2.0, 5.5, (n, 1)) * rng.uniform(0.6, 1.0, (n, 2)) * canvas.px * canvas.size
    lumps = Shapes.ellipses(
        rng, spots, rng.uniform(0, np.pi, n), semi, irregular=0.12, warp=0.35 * canvas.px
    )
    crack = replace(lumps, semi=lumps.semi + 0.5 * canvas.px)
    canvas.stamp(crack, eosin=0.05, erase=rng.uniform(0.0, 0.5, n), soft_um=0.8)
    canvas.stamp(
        lumps,
        eosin=rng.uniform(0.15, 0.5, n),
        hematoxylin=rng.uniform(0.0, 0.15, n),
        erase=rng.uniform(0.3, 0.9, n),
        soft_um=1.0,
        grain=0.25,
    )


def dust(canvas: Canvas, region: Array, per_mm2: float) -> None:
    """Nuclear dust: specks of hematoxylin too small to be nuclei."""
    rng = canvas.rng
    spots = canvas.spots_in(region, canvas.count(region, per_mm2))
    r = rng.uniform(0.2, 0.45, (len(spots), 1)) * canvas.px * np.array([1.0, 0.85])
    canvas.stamp(Shapes.ellipses(rng, spots, 0.0, r), hematoxylin=0.8, erase=0.2, soft_um=0.4)


def glial(canvas: Canvas, region: Array) -> None:
    """Infiltrated brain: a pink felt of processes, scattered oval nuclei, thin vessels."""
    rng = canvas.rng
    felt = Grain.wavy(canvas, 2.0).threads((0.7,), 6)[0] + canvas.noise(0.8)
    tone = rng.uniform(0.28, 0.45)
    eosin = tone * (1 + 0.12 * felt + 0.12 * canvas.noise(5) + 0.08 * canvas.noise(2))
    eosin *= 1 - 0.7 * smoothstep(canvas.noise(3) + 0.3 * felt, 1.6, 2.4)
    haze = rng.uniform(0.05, 0.16) * (1 + 0.15 * felt + 0.15 * canvas.noise(5))
    canvas.lay(region, np.maximum(eosin, 0.02), np.maximum(haze, 0.0))
    if rng.random() < 0.5:
        for yx in canvas.spots_in(region, 1 + rng.poisson(canvas.area_um2 / 9000)):
            half = rng.uniform(5, 14) * canvas.px, rng.uniform(2.5, 6) * canvas.px
            vessel_at(canvas, yx, rng.uniform(0, np.pi), half, wall_um=1.5, filled=0.5)
    spots = canvas.spots_in(region, canvas.count(region, rng.uniform(1500, 7000)))
    canvas.grow("glial", spots, spacing=0.9)
    spots = canvas.spots_in(region, canvas.count(region, rng.uniform(0, 500)))
    canvas.grow("lymphocyte", spots)
    if rng.random() < 0.3:
        canvas.grow("mitosis", canvas.spots_in(region, rng.poisson(1.0)), spacing=1.3)


def mucin(canvas: Canvas, region: Array) -> None:
    """A pool of mucin: pale blue-grey wisps, few cells."""
    rng = canvas.rng
    wisps, threads = Grain.wavy(canvas, 2.0).threads((3.5, 1.0), 20)
    body = smoothstep(wisps + 0.5 * threads, -1.0, 2.2)
    hematoxylin = rng.uniform(0.05, 0.16) * body * (1 + 0.2 * canvas.noise(1.2))
    eosin = rng.uniform(0.03, 0.14) * body
    canvas.lay(region, np.maximum(eosin, 0), np.maximum(hematoxylin, 0))
    infiltrate(canvas, region, float(rng.choice([0, 0, 200])))


def blood(canvas: Canvas, region: Array) -> None:
    """Haemorrhage: red cells, crowded or loose, some fibrin."""
    rng = canvas.rng
    fibrin = smoothstep(canvas.noise(2.5) + 0.5 * canvas.noise(8), 0.2, 1.5)
    canvas.lay(region, 0.25 * fibrin + 0.02, 0.03 * fibrin)
    red_cells(canvas, region * (canvas.noise(18) > rng.uniform(-2.0, 0.0)), rng.uniform(0.3, 1.4))
    infiltrate(canvas, region, float(rng.choice([0, 100, 300])))


def acellular(canvas: Canvas, region: Array) -> None:
    """Matrix without nuclei: hyalin, keratin or fibrin, pink and streaked."""
    rng = canvas.rng
    grain = Grain.wavy(canvas, rng.uniform(0, 1.5))
    (broad,) = grain.threads((rng.uniform(3, 8),), rng.uniform(10, 60))
    (thin,) = grain.threads((0.8,), rng.uniform(4, 25))
    tone = rng.uniform(0.35, 0.8)
    eosin = tone * (1 + rng.uniform(0.05, 0.25) * broad + 0.12 * thin + 0.05 * canvas.noise(1))
    crack = smoothstep(-broad - 0.3 * thin, rng.uniform(1.0, 2.5), 3.0)
    haze = 0.05 + 0.03 * thin + rng.uniform(0, 0.08) * smoothstep(canvas.noise(12), 0, 2)
    canvas.lay(region, np.maximum(eosin * (1 - 0.9 * crack), 0.01), np.maximum(haze, 0))


def glass(canvas: Canvas, region: Array) -> None:
    """Empty slide with a trace of dirt."""
    trace = 0.008 + 0.006 * canvas.noise(15)
    canvas.lay(region, np.maximum(trace, 0), np.maximum(0.5 * trace, 0))


def fold(canvas: Canvas) -> None:
    """A fold: a band in which the tissue lies twice and out of focus."""
    rng = canvas.rng
    y, x = canvas.grid_um()
    theta = rng.uniform(0, np.pi)
    height, width = canvas.shape[0] / canvas.px, canvas.shape[1] / canvas.px
    across = (x - width * rng.random()) * np.cos(theta) + (y - height * rng.random()) * np.sin(
        theta
    )
    across = across + 4 * canvas.noise(25)
    half = rng.uniform(2, 7) * (1 + 0.4 * canvas.noise(20)) + 0.4 * canvas.noise(2)
    band = smoothstep(half - np.abs(across), -0.8, 1.2)
    (streak,) = Grain.along_contours(canvas, np.asarray(across, np.float32)).threads((1.2,), 30)
    again = 1 + 0.25 * streak + 0.15 * canvas.noise(1.5)
    # The second layer is the same tissue a little further on.
    shift = int(8 * canvas.px)
    for plane in (canvas.eosin, canvas.hematoxylin):
        plane += band * np.maximum(again * np.roll(plane, shift, axis=1), 0.05)


def pigment(canvas: Canvas) -> None:
    """Brown or black granules in small heaps."""
    rng = canvas.rng
    tissue = canvas.eosin > 0.1
    heaps = canvas.spots_in(tissue, 1 + rng.poisson(canvas.area_um2 / 1500))
    spots = np.repeat(heaps, rng.integers(3, 25, len(heaps)), axis=0)
    spots = spots + rng.normal(0, 1.8 * canvas.px, spots.shape)
    r = rng.uniform(0.25, 0.7, (len(spots), 1)) * canvas.px * np.array([1.0, 0.8])
    shapes = Shapes.ellipses(rng, spots, rng.uniform(0, np.pi, len(spots)), r, irregular=0.1)
    canvas.stamp(shapes, pigment=rng.uniform(0.8, 2.2), erase=0.2, soft_um=0.4)
