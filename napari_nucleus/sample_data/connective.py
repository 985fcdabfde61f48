"""Painters of connective tissue: collagen, smooth muscle, fat, vessels.

Each takes the canvas and a region (soft mask ``(H, W)`` in 0-1) and leaves dye and nuclei there.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.sample_data.canvas import Canvas
from napari_nucleus.sample_data.cells import Cells
from napari_nucleus.sample_data.fibres import Grain
from napari_nucleus.sample_data.noise import Array, ridges, smoothstep
from napari_nucleus.sample_data.shapes import Shapes

__all__ = [
    "fat",
    "infiltrate",
    "muscle",
    "plasma_cells",
    "red_cells",
    "rims",
    "stroma",
    "vessel",
    "vessel_at",
]


def stroma(
    canvas: Canvas,
    region: Array,
    *,
    looseness: float | None = None,
    cellularity: float | None = None,
    immune: float | None = None,
    around: Array | None = None,
    free: NDArray[np.bool_] | None = None,
) -> Grain:
    """Collagen with fibroblasts, some immune cells and capillaries.

    ``looseness`` 0 is dense scar, 1 oedema; ``cellularity`` is relative; ``immune`` is the number
    of inflammatory cells per mm². ``free`` says where nuclei may lie, if not everywhere.
    """
    rng = canvas.rng
    loose = float(rng.beta(1.3, 1.3)) if looseness is None else looseness
    cells = float(rng.lognormal(0, 0.45)) if cellularity is None else cellularity
    per_mm2 = float(rng.choice([150, 600, 2000, 4000])) if immune is None else immune
    grain = Grain.wavy(canvas, rng.uniform(0.2, 1.0))
    if around is not None:
        # Fibres next to an outline follow it.
        near = np.exp(-np.maximum(around, 0) / rng.uniform(4, 12))
        grain = grain.blended(Grain.along_contours(canvas, around), near)
    eosin, haze = collagen(canvas, grain, loose)
    canvas.lay(region, eosin, haze)
    if free is not None:
        region = region * free
    if rng.random() < 0.5:
        capillaries(canvas, region, grain, rng.poisson(canvas.area_um2 / 6000))
    spots = canvas.spots_in(region, canvas.count(region, 2000 * cells))
    kind = "fibrocyte" if rng.random() < 0.35 else "fibroblast"
    bodies(
        canvas, canvas.grow(kind, spots, grain.angle_at(spots) + rng.normal(0, 0.22, len(spots)))
    )
    spots = canvas.spots_in(region, canvas.count(region, 800 * cells))
    canvas.grow("fibrocyte", spots, grain.angle_at(spots) + rng.normal(0, 0.15, len(spots)))
    infiltrate(canvas, region, per_mm2)
    return grain


def collagen(canvas: Canvas, grain: Grain, loose: float) -> tuple[Array, Array]:
    """Return eosin and hematoxylin of collagen: dense bundles with slits, or an open web."""
    rng = canvas.rng
    (broad,) = grain.threads((rng.uniform(3, 6),), rng.uniform(20, 45))
    fibres, cuts = grain.threads((1.6, 2.2), 16)
    (fibrils,) = grain.threads((0.6,), 8)
    slits = ridges(broad + 0.25 * fibres, rng.uniform(0.12, 0.3)) * smoothstep(
        canvas.noise(15), -1, 1
    )
    cracks = ridges(cuts, 0.1)
    dense = 1 + 0.15 * broad + 0.2 * fibres + 0.2 * fibrils
    dense *= 1 - (0.25 + 0.6 * loose) * slits - 0.3 * cracks
    n, m = canvas.noise(8) + 0.3 * fibres, canvas.noise(4) + 0.3 * fibrils
    broken = smoothstep(canvas.noise(5), -1.2, 1.2)
    web = 0.6 * ridges(n, 0.16) * broken + 0.5 * ridges(m, 0.2) * (1.1 - broken)
    web += 0.3 * smoothstep(canvas.noise(6) + 0.5 * fibrils, -1, 2.5)
    web += 0.5 * smoothstep(fibres + 0.5 * broad, 0.9, 2.2) + 0.05 * (1 + fibrils)
    open_share = smoothstep(canvas.noise(22) + 0.5 * broad, 2.2 - 4.0 * loose, 3.2 - 3.4 * loose)
    tone = rng.uniform(0.36, 0.52)
    eosin = tone * ((1 - open_share) * dense + open_share * web)
    haze = rng.uniform(0.04, 0.11) * (1 + 0.3 * fibrils + 0.4 * canvas.noise(3))
    haze = haze * (1 - open_share * (1 - np.minimum(web, 1)))
    return np.maximum(eosin, 0.01), np.maximum(haze, 0.0)


def bodies(canvas: Canvas, cells: Cells) -> None:
    """Tapering cell bodies around spindle-shaped nuclei."""
    rng = canvas.rng
    shapes = replace(
        cells.shapes,
        semi=cells.shapes.semi * rng.uniform([1.5, 1.1], [2.6, 1.7], (len(cells), 2)),
        sharp=np.full(len(cells), 2.0, np.float32),
        warp=np.full(len(cells), 0.15 * canvas.px, np.float32),
    )
    tint = rng.uniform(0.03, 0.14, len(cells))
    canvas.stamp(shapes, eosin=0.12, hematoxylin=tint, erase=0.25, soft_um=1.2, grain=0.3)


def infiltrate(canvas: Canvas, region: Array, per_mm2: float) -> None:
    """Scattered and clustered lymphocytes, plasma cells, granulocytes, histiocytes."""
    rng = canvas.rng
    crowd = canvas.noise(14) + 0.6 * canvas.noise(5)
    where = region * (crowd > rng.uniform(-0.5, 0.9))
    mix = rng.dirichlet([2.0, 1.2, 0.4, 0.5])
    total = canvas.count(region, per_mm2)
    counts = rng.multinomial(total, mix)
    rims(canvas, canvas.grow("lymphocyte", canvas.spots_in(where, counts[0]), spacing=0.9))
    plasma_cells(canvas, canvas.spots_in(where, counts[1]))
    granulocytes(canvas, canvas.spots_in(where, counts[2]))
    cells = canvas.grow("histiocyte", canvas.spots_in(region, counts[3]))
    body = cells.shapes.semi.mean(axis=1, keepdims=True) * 1.7
    outline = Shapes.ellipses(
        rng, cells.shapes.yx, cells.shapes.angle, body * [1.15, 0.9], irregular=0.1, warp=0.5
    )
    canvas.stamp(outline, eosin=0.16, hematoxylin=0.05, erase=0.5, grain=0.2, soft_um=1.2)


def rims(canvas: Canvas, cells: Cells, halo: float = 0.5) -> None:
    """Thin pale cytoplasm round lymphocytes, and the space they leave in the tissue."""
    rng = canvas.rng
    shapes = cells.shapes
    n = len(cells)
    space = replace(
        shapes,
        yx=shapes.yx + rng.normal(0, 0.5 * canvas.px, (n, 2)).astype(np.float32),
        semi=shapes.semi + rng.uniform(0.1, 1.0, (n, 1)).astype(np.float32) * canvas.px,
        warp=shapes.warp + 0.25 * canvas.px,
    )
    gone = rng.uniform(-0.3, 2 * halo, n).clip(0, 0.9)
    canvas.stamp(space, eosin=0.02, erase=gone, soft_um=1.0)
    shift = rng.normal(0, 0.35 * canvas.px, (n, 2)).astype(np.float32)
    rim = replace(shapes, yx=shapes.yx + shift, semi=shapes.semi + 0.3 * canvas.px)
    canvas.stamp(rim, eosin=0.16, hematoxylin=0.12, erase=0.5, soft_um=0.8)


def plasma_cells(canvas: Canvas, spots: NDArray) -> None:
    """Plasma cells: a round nucleus at one end of an oval, amphophilic body."""
    rng = canvas.rng
    cells = canvas.grow("plasma", spots, spacing=1.15)
    toward = rng.uniform(0, 2 * np.pi, len(cells))
    radius = cells.shapes.semi.mean(axis=1)
    shift = (radius * 0.55)[:, None] * np.stack([np.sin(toward), np.cos(toward)], axis=1)
    outline = Shapes.ellipses(
        rng,
        cells.shapes.yx + shift,
        toward,
        (radius * 1.75)[:, None] * np.array([1.05, 0.82]),
        irregular=0.04,
    )
    hue = rng.uniform(0.6, 1.3)
    canvas.stamp(
        outline, eosin=0.32, hematoxylin=0.2 * hue, erase=0.8, rim=0.1, grain=0.12, soft_um=0.8
    )


def granulocytes(canvas: Canvas, spots: NDArray) -> None:
    """Neutrophils and eosinophils: a lobed nucleus in a small body, pale or bright."""
    rng = canvas.rng
    cells = canvas.grow("granulocyte", spots, spacing=1.2)
    if not len(cells):
        return
    cells.shapes.ripple[:, 0] *= 1.5
    radius = np.sqrt(cells.shapes.semi.prod(axis=1)) * 1.5
    outline = Shapes.ellipses(
        rng, cells.shapes.yx + rng.normal(0, 1, (len(cells), 2)), 0.0, radius[:, None] * [1.0, 0.92]
    )
    bright = rng.random() < 0.5
    canvas.stamp(
        outline,
        eosin=0.4 if bright else 0.2,
        red_cells=0.2 if bright else 0.0,
        grain=0.12,
        erase=0.8,
        soft_um=0.8,
    )


def red_cells(canvas: Canvas, where: Array, share: float, size: float = 1.0) -> None:
    """Red blood cells: pink-orange disks, many with a pale middle, squeezed where crowded."""
    rng = canvas.rng
    radius = 2.7 * canvas.px * size * canvas.size**0.5
    n = int((where > 0.5).sum() / (np.pi * radius**2) * share)
    spots = canvas.spots_in(where, n)
    squeeze = rng.uniform(1.0, 1.7, len(spots)) ** rng.uniform(0.3, 1.2)
    r = radius * np.exp(rng.normal(0, 0.08, len(spots)))
    shapes = Shapes.ellipses(
        rng,
        spots,
        rng.uniform(0, np.pi, len(spots)),
        np.stack([r * np.sqrt(squeeze), r / np.sqrt(squeeze)], axis=1),
        irregular=rng.uniform(0.0, 0.06),
        warp=0.1 * canvas.px,
    )
    amount = rng.uniform(0.5, 0.8) * np.exp(rng.normal(0, 0.15, len(spots)))
    hollow = np.clip(rng.normal(rng.uniform(0, 0.5), 0.15, len(spots)), 0, 0.7)
    canvas.stamp(shapes, red_cells=amount, erase=0.9, rim=0.15, hollow=hollow, grain=0.05)


def capillaries(canvas: Canvas, region: Array, grain: Grain, n: int) -> None:
    """Small vessels: a slit or ring of endothelium, some with red cells inside."""
    rng = canvas.rng
    for yx in canvas.spots_in(region, n):
        angle = float(grain.angle_at(yx[None])[0])
        half = rng.uniform(3, 9) * canvas.px, rng.uniform(1.0, 3.0) * canvas.px
        vessel_at(canvas, yx, angle, half, wall_um=1.2, filled=float(rng.random() < 0.5))


def vessel_at(
    canvas: Canvas,
    yx: NDArray,
    angle: float,
    semi: tuple[float, float],
    *,
    wall_um: float,
    filled: float,
) -> None:
    """One vessel at a point: wall, lumen, endothelium along it, red cells in it."""
    rng = canvas.rng
    wall = wall_um * canvas.px
    outer = Shapes.ellipses(rng, yx, angle, np.array(semi) + wall, irregular=0.12, warp=1.5)
    canvas.stamp(outer, eosin=0.62, hematoxylin=0.1, erase=0.85, soft_um=0.8)
    inner = outer[np.array([0])]
    inner.semi[:] = semi
    canvas.stamp(inner, eosin=0.03, erase=0.97, soft_um=0.8)
    t = np.arange(0, 2 * np.pi, 0.35) + rng.uniform(0, 1)
    t = rng.permutation(t)
    edge = np.array(semi) + 0.5 * wall
    u, v = edge[0] * np.cos(t), edge[1] * np.sin(t)
    c, s = np.cos(angle), np.sin(angle)
    points = np.stack([u * s + v * c, u * c - v * s], axis=1) + yx
    du, dv = -edge[0] * np.sin(t), edge[1] * np.cos(t)
    tangent = np.arctan2(du * s + dv * c, du * c - dv * s)
    n = max(int(1 + (semi[0] + semi[1]) / (6 * canvas.px)), 1)
    canvas.grow("endothelium", points, tangent, spacing=1.3, limit=n)
    canvas.room_for(inner, 0.8)
    if filled:
        y, x = np.ogrid[: canvas.shape[0], : canvas.shape[1]]
        dy, dx = y + 0.5 - yx[0], x + 0.5 - yx[1]
        a = (dx * c + dy * s) / (semi[0] - 0.15 * wall)
        b = (dy * c - dx * s) / (semi[1] - 0.15 * wall)
        red_cells(canvas, (a * a + b * b < 0.75).astype(np.float32), filled * rng.uniform(0.5, 1.4))


def muscle(canvas: Canvas, region: Array) -> None:
    """Smooth muscle: parallel bundles, cigar-shaped nuclei along them."""
    rng = canvas.rng
    grain = Grain.wavy(canvas, rng.uniform(0.0, 0.4))
    fibres, clefts, cuts = grain.threads((2.0, 4.0, 2.6), rng.uniform(25, 60))
    (threads,) = grain.threads((0.7,), 14)
    tone = rng.uniform(0.5, 0.7)
    eosin = tone * (1 + 0.12 * fibres + 0.16 * threads + 0.08 * canvas.noise(0.8))
    eosin *= 1 - 0.3 * ridges(cuts, 0.12)
    cleft = smoothstep(-clefts - 0.3 * threads, 1.5, 2.3)
    eosin *= 1 - rng.uniform(0.4, 0.85) * cleft
    hematoxylin = 0.10 + 0.03 * fibres + 0.02 * canvas.noise(6)
    canvas.lay(region, np.maximum(eosin, 0.03), np.maximum(hematoxylin, 0))
    spots = canvas.spots_in(region, canvas.count(region, rng.uniform(2000, 4500)))
    canvas.grow(
        "muscle", spots, grain.angle_at(spots) + rng.normal(0, 0.06, len(spots)), spacing=1.1
    )
    infiltrate(canvas, region, float(rng.choice([0, 60, 300])))


def fat(canvas: Canvas, region: Array) -> None:
    """Fat: large empty cells with thin rims, a flat nucleus here and there."""
    rng = canvas.rng
    radius = rng.uniform(16, 32)
    y, x = canvas.grid_um()
    wy, wx = y + 3 * canvas.noise(25), x + 3 * canvas.noise(25)
    first = np.full(canvas.shape, np.inf, np.float32)
    second = first.copy()
    height, width = canvas.shape[0] / canvas.px, canvas.shape[1] / canvas.px
    step = 1.7 * radius
    for i in range(int((height + 2 * step) // step) + 1):
        for j in range(int((width + 2 * step) // step) + 1):
            cy = (i - 0.7 + 0.5 * (j % 2) + rng.uniform(-0.25, 0.25)) * step
            cx = (j - 0.7 + rng.uniform(-0.25, 0.25)) * step
            d = np.hypot(wy - cy, wx - cx) - rng.uniform(-0.15, 0.15) * radius
            second = np.minimum(second, np.maximum(first, d))
            first = np.minimum(first, d)
    gap = second - first
    wall = rng.uniform(0.2, 0.8)
    gap = gap + 0.25 * canvas.noise(5)
    rim = (1 - smoothstep(gap, wall, wall + 0.9)) * (0.75 + 0.2 * canvas.noise(8)).clip(0.2, 1.2)
    corners = 1 - smoothstep(gap + 0.5 * (radius - first), 0.2, 4.0)
    tissue = np.maximum(rim, corners * (0.7 + 0.3 * canvas.noise(3)))
    eosin = tissue * (0.42 + 0.08 * canvas.noise(4)) + 0.012 * (1 + canvas.noise(12))
    canvas.lay(region, np.maximum(eosin, 0), 0.08 * tissue)
    solid = region * (tissue > 0.6)
    spots = canvas.spots_in(solid, canvas.count(region, 350))
    grain = Grain.along_contours(canvas, gap, 0.5)
    canvas.grow("fat", spots, grain.angle_at(spots), spacing=1.1)
    if rng.random() < 0.4:
        infiltrate(canvas, solid, 1500)


def vessel(canvas: Canvas, region: Array) -> None:
    """One larger vessel in stroma, with a muscular wall."""
    rng = canvas.rng
    spots = canvas.spots_in(region, 1)
    if not len(spots):
        return
    semi_um = np.sort(rng.uniform(10, 30, 2))[::-1]
    mean = float(np.sqrt(semi_um.prod()))
    wall = rng.uniform(2, 12)
    angle = rng.uniform(0, np.pi)
    y, x = canvas.grid_um()
    dy, dx = y - spots[0, 0] / canvas.px, x - spots[0, 1] / canvas.px
    c, s = np.cos(angle), np.sin(angle)
    a, b = (dx * c + dy * s) / semi_um[0], (dy * c - dx * s) / semi_um[1]
    ripple = 0.06 * canvas.noise(14) + 0.025 * canvas.noise(4)
    depth = np.asarray((np.sqrt(a * a + b * b) + ripple - 1) * mean, np.float32)
    outside = depth > wall
    stroma(canvas, region, immune=float(rng.choice([100, 500])), around=depth - wall, free=outside)
    around = Grain.along_contours(canvas, depth)
    coat = region * smoothstep(depth, -0.5, 0.5) * (1 - smoothstep(depth, wall - 1, wall + 1))
    (ring,) = around.threads((1.2,), 12)
    eosin = 0.5 * (1 + 0.18 * ring) + 0.05 * canvas.noise(1)
    canvas.lay(coat, np.maximum(eosin, 0), 0.1 + 0.03 * ring)
    lumen = region * (1 - smoothstep(depth, -0.8, 0.0))
    canvas.clear(0.97 * lumen)
    thin = (np.abs(depth + 0.3) < 0.5) * region
    spots = canvas.spots_in(thin, 400)
    n = int(4 * mean / 8)
    canvas.grow("endothelium", spots, around.angle_at(spots), spacing=1.1, limit=n)
    canvas.reserve(depth < 0)
    spots = canvas.spots_in(coat, canvas.count(coat, 2200))
    canvas.grow("muscle", spots, around.angle_at(spots), size=0.85)
    if rng.random() < 0.7:
        held = lumen * (canvas.noise(10) > rng.uniform(-1.5, 0.8))
        red_cells(canvas, held, rng.uniform(0.5, 1.3))
