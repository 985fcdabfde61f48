"""Painters of epithelium: glands healthy and malignant, solid nests, parenchyma, squamous sheets.

Glands follow their outline: depth below it (a distance transform) says where nuclei stand, where
mucin is and where the lumen opens.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_nucleus.sample_data.canvas import Canvas
from napari_nucleus.sample_data.cells import Cells
from napari_nucleus.sample_data.connective import infiltrate, stroma
from napari_nucleus.sample_data.noise import Array, ridges, smoothstep
from napari_nucleus.sample_data.shapes import Shapes, rippled_radius

__all__ = ["adenocarcinoma", "glands", "parenchyma", "squamous", "tumour"]


def distance_um(canvas: Canvas, mask: NDArray[np.bool_]) -> Array:
    """Return the distance to the nearest pixel outside ``mask``, µm."""
    if mask.all():
        return np.full(canvas.shape, 1e3, np.float32)
    depth = ndimage.distance_transform_edt(mask)
    return ndimage.uniform_filter(np.asarray(depth, np.float32), 3) / canvas.px


def rays(canvas: Canvas, mask: NDArray[np.bool_], width_um: float) -> Array:
    """Return noise that is constant from the border of ``mask`` inwards: streaks of tall cells."""
    across = canvas.noise(width_um)
    if mask.all():
        return across
    nearest = ndimage.distance_transform_edt(mask, return_distances=False, return_indices=True)
    rows, cols = np.asarray(nearest)
    return ndimage.uniform_filter(across[rows, cols], 3)


def gradient_angle(depth: Array, yx: NDArray) -> NDArray[np.float64]:
    """Return the direction of the steepest rise of a map at points ``(n, 2)``, radians."""
    rows, cols = depth.shape
    step = 4
    y = np.clip(yx[:, 0].astype(int), step, rows - 1 - step)
    x = np.clip(yx[:, 1].astype(int), step, cols - 1 - step)
    dy = depth[y + step, x] - depth[y - step, x]
    dx = depth[y, x + step] - depth[y, x - step]
    return np.arctan2(dy, dx)


def cell_map(canvas: Canvas, cells: Cells) -> tuple[Array, Array]:
    """Return cell borders (0-1) and a random tone per cell, from which nucleus is the nearest."""
    # Wavy borders: the nearest nucleus is looked up a little beside the pixel.
    rows, cols = canvas.shape
    free = np.ones(canvas.shape, bool)
    owner = np.zeros(canvas.shape, np.int32)
    yx = cells.shapes.yx.astype(int)
    yx = yx[(yx >= 0).all(axis=1) & (yx < canvas.shape).all(axis=1)]
    if not len(yx):
        return np.zeros(canvas.shape, np.float32), np.zeros(canvas.shape, np.float32)
    free[yx[:, 0], yx[:, 1]] = False
    owner[yx[:, 0], yx[:, 1]] = np.arange(len(yx))
    nearest = ndimage.distance_transform_edt(free, return_distances=False, return_indices=True)
    owner = owner[tuple(np.asarray(nearest))]
    y = np.arange(rows)[:, None] + np.rint(0.5 * canvas.px * canvas.noise(3)).astype(int)
    x = np.arange(cols)[None, :] + np.rint(0.5 * canvas.px * canvas.noise(3)).astype(int)
    owner = owner[y.clip(0, rows - 1), x.clip(0, cols - 1)]
    edge = np.zeros(canvas.shape, np.float32)
    edge[:, 1:] += owner[:, 1:] != owner[:, :-1]
    edge[1:] += owner[1:] != owner[:-1]
    edge = np.minimum(1.6 * ndimage.gaussian_filter(edge, 0.22 * canvas.px), 1.0)
    tone = canvas.rng.standard_normal(len(yx), dtype=np.float32)[owner]
    return edge, ndimage.uniform_filter(tone, int(0.8 * canvas.px) | 1)


def gland_mask(canvas: Canvas, region: Array, radius_um: float, gap_um: float) -> NDArray[np.bool_]:
    """Return a mask of round to long gland sections, packed with gaps, inside a region."""
    rng = canvas.rng
    aspect = float(rng.choice([1.15, 1.5, 2.4]))
    tilt = rng.uniform(0, np.pi)
    a, b = radius_um * np.sqrt(aspect), radius_um / np.sqrt(aspect)
    c, s = np.cos(tilt), np.sin(tilt)
    height, width = canvas.shape[0] / canvas.px, canvas.shape[1] / canvas.px
    reach = int(np.hypot(height, width) / (2 * b + gap_um)) + 2
    points, k = [], 0
    for i in range(-reach, reach + 1):
        for j in range(-reach, reach + 1):
            u = (i + 0.5 * (j % 2)) * (2 * a + gap_um)
            v = j * (1.75 * b + gap_um)
            points.append((height / 2 + u * s + v * c, width / 2 + u * c - v * s))
            k += 1
    yx = (np.array(points) + rng.normal(0, 0.16 * radius_um, (k, 2))) * canvas.px
    yx += rng.uniform(-1, 1, 2) * radius_um * canvas.px
    far = a * canvas.px
    near = ((yx > -far) & (yx < np.array(canvas.shape) + far)).all(axis=1)
    yx = yx[near]
    n = len(yx)
    shapes = Shapes.ellipses(
        rng,
        yx,
        tilt + rng.normal(0, 0.25, n),
        np.array([a, b]) * canvas.px * np.exp(rng.normal(0, 0.13, (n, 1))),
        irregular=rng.uniform(0.03, 0.09),
        bend=rng.normal(0, 0.2, n),
    )
    # The outlines are smooth, so every fourth pixel is enough for them.
    step = 4
    y = np.arange(0, canvas.shape[0] + step, step, dtype=np.float32)[:, None]
    x = np.arange(0, canvas.shape[1] + step, step, dtype=np.float32)[None]
    coarse = np.zeros((y.shape[0], x.shape[1]), np.float32)
    for i in range(n):
        np.maximum(coarse, _elevation(shapes[np.array([i])], y, x), out=coarse)
    fine = np.meshgrid(*(np.arange(size) / step for size in canvas.shape), indexing="ij")
    raised = ndimage.map_coordinates(coarse, fine, order=1, prefilter=False)
    return (raised + 0.05 * canvas.noise(7) > 0.12) & (region > 0.5)


def _elevation(shape: Shapes, y: Array, x: Array) -> Array:
    """Return 1 - normalised radius of one large shape at the rows ``y`` and columns ``x``."""
    cos, sin = np.cos(shape.angle[0]), np.sin(shape.angle[0])
    dy, dx = y - shape.yx[0, 0], x - shape.yx[0, 1]
    u = (dx * cos + dy * sin) / shape.semi[0, 0]
    v = (dy * cos - dx * sin) / shape.semi[0, 1] - shape.bend[0] * (u * u - 0.33)
    q = np.sqrt(u * u + v * v) + 1e-3
    return 1 - q / rippled_radius(shape.ripple, (u / q)[None], (v / q)[None])[0]


def glands(canvas: Canvas, region: Array) -> None:
    """Healthy crypts in lamina propria: one row of basal nuclei, goblet cells, a lumen."""
    rng = canvas.rng
    height = rng.uniform(14, 21) * canvas.size**0.5
    radius = height * rng.uniform(1.15, 1.7)
    mask = gland_mask(canvas, region, radius, rng.uniform(3, 12))
    outside = distance_um(canvas, ~mask)
    stroma(
        canvas,
        region,
        looseness=rng.uniform(0.4, 0.95),
        immune=float(rng.uniform(1500, 7000)),
        cellularity=rng.uniform(0.4, 1.0),
        around=outside,
        free=~mask,
    )
    goblets = float(rng.choice([0.0, 0.35, 0.7, 0.95]))
    _line(canvas, mask, height, "columnar", rows=1.0, goblets=goblets)


def adenocarcinoma(canvas: Canvas, region: Array) -> None:
    """Malignant glands: irregular or cribriform, crowded tall nuclei in several rows."""
    rng = canvas.rng
    height = rng.uniform(15, 26) * canvas.size**0.5
    if rng.random() < 0.5:
        scale = rng.uniform(30, 60)
        shape = canvas.noise(scale) + 0.35 * canvas.noise(scale / 3) + 0.06 * canvas.noise(5)
        mask = (shape > rng.uniform(-0.7, 0.1)) & (region > 0.5)
    else:
        mask = gland_mask(canvas, region, height * rng.uniform(1.3, 2.2), rng.uniform(5, 20))
    outside = distance_um(canvas, ~mask)
    stroma(canvas, region, looseness=rng.uniform(0.1, 0.7), around=outside, free=~mask)
    goblets = float(rng.choice([0.0, 0.05, 0.2]))
    _line(canvas, mask, height, "tumour_columnar", rows=rng.uniform(1.3, 3.0), goblets=goblets)


def _line(
    canvas: Canvas, mask: NDArray[np.bool_], height: float, kind: str, rows: float, goblets: float
) -> None:
    """Line the inside of a mask with a columnar epithelium ``height`` µm tall."""
    if not mask.any():
        return
    rng = canvas.rng
    healthy = kind == "columnar"
    depth = distance_um(canvas, mask)
    ragged = depth + 1.2 * canvas.noise(6) + 0.5 * canvas.noise(1.5)
    vacuoles = _vacuoles(canvas, depth, height, goblets)
    diameter = 5.4 * canvas.size
    basal = rng.uniform(0.22, 0.34) * height
    band = basal + (rows - 1) * diameter * 0.9
    wavering = depth + 1.0 * canvas.noise(9)
    inside = (wavering > max(basal - 1.2, 1.8)) & (wavering < band + 1.2) & mask
    n = int(inside.sum() / canvas.px**2 / (0.12 * diameter**2))
    spots = canvas.spots_in(inside, n)
    angle = gradient_angle(depth, spots) + rng.normal(0, 0.15 if healthy else 0.3, len(spots))
    cells = canvas.grow(kind, spots, angle, spacing=rng.uniform(0.64, 0.92))
    eosin, haze = cytoplasm(canvas, cells, basophilia=0.13 if healthy else 0.22)
    tall = np.clip(depth / height, 0, 1)
    brush = np.exp(-(((ragged - height + 0.4) / 0.7) ** 2))
    streak = rays(canvas, mask, 1.3) * rng.uniform(0.05, 0.2)
    eosin = eosin * (1 + streak) + 0.10 * tall + 0.22 * brush
    canvas.lay(
        smoothstep(depth, 0.0, 0.8), np.maximum(eosin, 0.03), haze * (1.15 - 0.4 * tall + streak)
    )
    surround(canvas, cells)
    if len(vacuoles):
        mucus = rng.uniform(0.01, 0.09)
        canvas.stamp(
            vacuoles,
            eosin=0.04,
            hematoxylin=mucus * rng.uniform(0.5, 1.5, len(vacuoles)),
            erase=rng.uniform(0.8, 0.97, len(vacuoles)),
            rim=rng.uniform(0.5, 2.0),
            grain=0.2,
            soft_um=rng.uniform(0.5, 1.2),
        )
    lumen = smoothstep(ragged, height - 0.4, height + 0.6)
    canvas.clear(0.98 * lumen)
    membrane = np.exp(-(((depth - 0.3) / 0.5) ** 2)) * mask
    canvas.eosin += rng.uniform(0.0, 0.2) * membrane
    _fill_lumen(canvas, lumen, healthy)


def _vacuoles(canvas: Canvas, depth: Array, height: float, share: float) -> Shapes:
    """Return the mucin vacuoles of goblet cells, with their room taken."""
    rng = canvas.rng
    level = (depth > 0.52 * height) & (depth < 0.68 * height)
    length, width = 0.27 * height, rng.uniform(2.4, 4.0) * canvas.size**0.5
    n = int(level.sum() / canvas.px**2 / (0.16 * height) / (2 * width) * share * 2.0)
    spots = canvas.spots_in(level, n)
    n = len(spots)
    semi = np.array([length, width]) * canvas.px * np.exp(rng.normal(0, 0.15, (n, 2)))
    shapes = Shapes.ellipses(
        rng,
        spots,
        gradient_angle(depth, spots) + rng.normal(0, 0.12, n),
        semi,
        irregular=0.05,
        sharp=rng.uniform(-0.5, 0.4, n),
        warp=0.12 * canvas.px,
    )
    return shapes[canvas.room_for(shapes, 0.92)]


def cytoplasm(canvas: Canvas, cells: Cells, basophilia: float) -> tuple[Array, Array]:
    """Return eosin and hematoxylin of epithelial cytoplasm: grain, foam, faint cell borders."""
    rng = canvas.rng
    edges, tone = cell_map(canvas, cells)
    granular, cloud = canvas.noise(0.9), canvas.noise(4)
    foam = ridges(canvas.noise(rng.uniform(1.5, 3.5)), 0.5) - 0.4
    bubbles = smoothstep(canvas.noise(2.2) + 0.3 * cloud, 1.4, 2.0) * rng.uniform(0, 0.8)
    texture = (
        1
        + rng.uniform(0.08, 0.2) * tone
        + 0.10 * granular
        + 0.14 * cloud
        + rng.uniform(0, 0.5) * foam
    )
    border = float(rng.choice([-0.5, -0.25, 0.0, 0.3, 0.6]))
    if rng.random() < 0.25:
        # Cells that have come apart: clear gaps of changing width between them.
        gaps = ndimage.gaussian_filter(edges, 0.3 * canvas.px) * smoothstep(canvas.noise(8), -1, 1)
        gaps = smoothstep(gaps + 0.1 * canvas.noise(2), 0.15, 0.6)
        bubbles = np.maximum(bubbles, rng.uniform(0.3, 0.75) * gaps)
    eosin = rng.uniform(0.26, 0.46) * (texture + border * edges) * (1 - bubbles)
    haze = basophilia * rng.uniform(0.5, 1.5) * (texture + 0.5 * min(border, 0.0) * edges)
    return np.maximum(eosin, 0.02), np.maximum(haze * (1 - bubbles), 0.0)


def surround(canvas: Canvas, cells: Cells) -> None:
    """Tint the cytoplasm next to the nuclei: basophilic in some fields, cleared in others."""
    rng = canvas.rng
    style = rng.random()
    shapes = replace(cells.shapes, semi=cells.shapes.semi + rng.uniform(0.5, 1.5) * canvas.px)
    if style < 0.45:
        tint = rng.uniform(0.05, 0.22) * rng.uniform(0.5, 1.5, len(cells))
        canvas.stamp(shapes, hematoxylin=tint, erase=0.1, soft_um=2.0, grain=0.2)
    elif style < 0.65:
        shift = rng.normal(0, 0.5 * canvas.px, (len(cells), 2)).astype(np.float32)
        shapes = replace(shapes, yx=shapes.yx + shift, warp=shapes.warp + 0.2 * canvas.px)
        gone = rng.uniform(0.2, 0.9) * rng.random(len(cells)) ** 2
        canvas.stamp(shapes, eosin=0.02, erase=gone, soft_um=1.2)


def _fill_lumen(canvas: Canvas, lumen: Array, healthy: bool) -> None:
    """Leave a lumen empty, or give it mucus, debris or shed cells."""
    rng = canvas.rng
    content = rng.random()
    if content < 0.45:
        return
    strands = ridges(canvas.noise(7) + 0.3 * canvas.noise(2), 0.15) * smoothstep(
        canvas.noise(6), 0, 2
    )
    wisps = strands + 0.5 * smoothstep(canvas.noise(9) + 0.5 * canvas.noise(2), 0, 3)
    if content < 0.75:
        canvas.hematoxylin += lumen * wisps * rng.uniform(0.08, 0.2)
        canvas.eosin += lumen * wisps * rng.uniform(0.05, 0.2)
        return
    mass = lumen * smoothstep(canvas.noise(9), -0.2, 0.3)
    canvas.eosin += mass * (0.32 + 0.12 * canvas.noise(1.0))
    canvas.hematoxylin += mass * 0.06
    n = canvas.count(mass, 2500 if healthy else 9000)
    spots = canvas.spots_in(mass, n)
    canvas.grow("fragment", spots[: n // 2])
    canvas.grow("pyknotic", spots[n // 2 :])


def tumour(canvas: Canvas, region: Array) -> None:
    """Solid nests or sheets of tumour cells with stroma between."""
    rng = canvas.rng
    scale = rng.uniform(25, 60)
    shape = canvas.noise(scale) + 0.3 * canvas.noise(scale / 3)
    shape += 0.07 * canvas.noise(6) + 0.03 * canvas.noise(2.5)
    mask = (shape > rng.uniform(-1.6, 0.2)) & (region > 0.5)
    outside = distance_um(canvas, ~mask)
    stroma(canvas, region, around=outside, free=~mask)
    kind = str(
        rng.choice(["tumour_vesicular", "tumour_small", "tumour_giant"], p=[0.6, 0.25, 0.15])
    )
    fill = rng.uniform(0.55, 1.0)
    gap = {"tumour_vesicular": 1.05, "tumour_small": 0.95, "tumour_giant": 1.1}[kind]
    depth = distance_um(canvas, mask)
    n = int(mask.sum() / canvas.px**2 / 60 / canvas.size**2 * 10 * fill * canvas.density)
    spots = canvas.spots_in(mask & (depth > 1.5), n)
    if kind == "tumour_vesicular":
        canvas.grow("tumour_giant", spots[: n // 40])
    canvas.grow("mitosis", spots[n // 40 : n // 40 + rng.poisson(n / 300)], spacing=1.4)
    canvas.grow("pyknotic", spots[n // 20 : n // 20 + rng.poisson(n / 300)], spacing=1.3)
    lean = gradient_angle(depth, spots) + rng.normal(0, 0.9, len(spots))
    cells = canvas.grow(kind, spots, lean, spacing=gap * rng.uniform(0.78, 1.1))
    eosin, haze = cytoplasm(canvas, cells, basophilia=0.22)
    soft = smoothstep(depth + 0.4 * canvas.noise(2), 0.0, 0.9)
    canvas.lay(soft, eosin, haze)
    surround(canvas, cells)
    if rng.random() < 0.5:
        _retract(canvas, outside, rng.uniform(0.5, 2.0))
    infiltrate(canvas, mask.astype(np.float32), float(rng.choice([0, 100, 500])))


def _retract(canvas: Canvas, outside: Array, width: float) -> None:
    """Open clefts between nests and stroma, here and there."""
    reach = width * (1 + 0.5 * canvas.noise(8))
    cleft = smoothstep(reach - np.abs(outside - width) + 0.3 * canvas.noise(2), 0.0, 1.2)
    canvas.clear(0.9 * cleft * smoothstep(canvas.noise(15), 0.3, 1.0) * (outside > 0))


def parenchyma(canvas: Canvas, region: Array) -> None:
    """Plates of polygonal cells with round central nuclei, as in liver or kidney."""
    rng = canvas.rng
    pitch = rng.uniform(11, 16) * canvas.size
    n = int(canvas.area_um2 / pitch**2 * 6)
    sinus = np.abs(canvas.noise(22) + 0.25 * canvas.noise(7))
    mask = (sinus > rng.uniform(0.08, 0.2)) & (region > 0.5)
    spots = canvas.spots_in(mask, n)
    gap = pitch / (5.8 * canvas.size) * 0.92
    cells = canvas.grow("parenchymal", spots, spacing=gap)
    eosin, haze = cytoplasm(canvas, cells, basophilia=0.14)
    eosin = eosin * 1.3 + 0.06 * canvas.noise(0.6)
    canvas.lay(region, np.maximum(eosin, 0.02), haze)
    surround(canvas, cells)
    slit = (1 - smoothstep(sinus + 0.04 * canvas.noise(2.5), 0.02, 0.16)) * region
    canvas.clear(slit * (0.7 + 0.3 * canvas.noise(6)).clip(0, 0.95))
    spots = canvas.spots_in((sinus < 0.16) * region, canvas.count(region, 900))
    canvas.grow("endothelium", spots, gradient_angle(sinus, spots) + np.pi / 2, spacing=0.9)


def squamous(canvas: Canvas, region: Array) -> None:
    """Stratified squamous sheet: small crowded cells at the base, large flat pink ones above."""
    rng = canvas.rng
    y, x = canvas.grid_um()
    theta = rng.uniform(0, 2 * np.pi)
    height, width = canvas.shape[0] / canvas.px, canvas.shape[1] / canvas.px
    rise = (x - width / 2) * np.cos(theta) + (y - height / 2) * np.sin(theta)
    depth = rise + 9 * canvas.noise(30) + 1.0 * canvas.noise(4) + rng.uniform(0, 20)
    depth = np.asarray(depth, np.float32)
    mask = (depth > 0) & (region > 0.5)
    stroma(canvas, region, free=~mask)
    malignant = rng.random() < 0.5
    kind = "tumour_vesicular" if malignant else "squamous"
    spots = canvas.spots_in(mask, int(mask.sum() / canvas.px**2 / 20))
    level = depth[spots[:, 0].astype(int), spots[:, 1].astype(int)]
    angle = gradient_angle(depth, spots) + np.pi / 2 * (level > 8) + rng.normal(0, 0.3, len(spots))
    low = level < 8
    parts = [
        canvas.grow(kind, spots[low], angle[low], spacing=0.95, size=0.85),
        canvas.grow(kind, spots[~low], angle[~low], spacing=rng.uniform(1.4, 1.9), size=0.95),
    ]
    cells = Cells.concatenate(parts)
    eosin, haze = cytoplasm(canvas, cells, basophilia=0.2)
    up = smoothstep(depth, 0, 40)
    canvas.lay(smoothstep(depth, 0, 0.8) * region, eosin * (1 + 0.5 * up), haze * (1.2 - 0.7 * up))
    surround(canvas, cells)
