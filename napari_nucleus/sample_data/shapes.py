"""Outlines of small objects as signed distances, many at a time.

Knows ellipses that are pointed or blunt, bent, rippled by low Fourier orders and warped by noise;
knows nothing of what they stand for. Distances are in pixels, positive inside, exact to first
order near the outline (the implicit function over its gradient).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nucleus.sample_data.noise import Array, NoiseBank

__all__ = ["Shapes", "concatenate", "rasterize", "rippled_radius"]

ORDERS = 4  # Fourier orders 2..5
CROP_SIZES = (16, 24, 32, 40, 48, 64, 96, 128, 192)
CHUNK_PX = 60_000  # pixels rendered at once, to stay in the cache


@dataclass(frozen=True, eq=False)
class Shapes:
    """Outlines of ``n`` objects.

    Parameters
    ----------
    yx
        Centres ``(n, 2)``, corner-origin pixels.
    angle
        Direction of the long axis ``(n,)``, radians from +x towards +y.
    semi
        Long and short semi-axis ``(n, 2)``, pixels.
    sharp
        Above 0 the ends are pointed, below 0 (not under -0.8) blunt ``(n,)``.
    bend
        How far the long axis is bent to a bow, in short semi-axes ``(n,)``.
    ripple
        Cosine and sine amplitude of Fourier orders 2–5 of the radius ``(n, 4, 2)``.
    warp
        Displacement of the outline by noise, pixels ``(n,)``.
    """

    yx: NDArray[np.float32]
    angle: NDArray[np.float32]
    semi: NDArray[np.float32]
    sharp: NDArray[np.float32]
    bend: NDArray[np.float32]
    ripple: NDArray[np.float32]
    warp: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.yx)

    def __getitem__(self, index: ArrayLike) -> Shapes:
        """Return the shapes that an index array or mask picks."""
        return Shapes(*(getattr(self, f.name)[index] for f in fields(self)))

    @classmethod
    def ellipses(
        cls,
        rng: np.random.Generator,
        yx: ArrayLike,
        angle: ArrayLike,
        semi: ArrayLike,
        *,
        irregular: float = 0.0,
        sharp: ArrayLike = 0.0,
        bend: ArrayLike = 0.0,
        warp: ArrayLike = 0.0,
    ) -> Shapes:
        """Return ellipses with random ripples of about ``irregular`` of the radius."""
        points = np.asarray(yx, np.float32).reshape(-1, 2)
        n = len(points)
        falloff = irregular / np.arange(2, 2 + ORDERS) ** 1.2 * 2.0
        ripple = rng.standard_normal((n, ORDERS, 2)) * falloff[:, None]
        return cls(
            points,
            np.broadcast_to(np.asarray(angle, np.float32), (n,)).copy(),
            np.broadcast_to(np.asarray(semi, np.float32), (n, 2)).copy(),
            np.broadcast_to(np.asarray(sharp, np.float32), (n,)).copy(),
            np.broadcast_to(np.asarray(bend, np.float32), (n,)).copy(),
            np.clip(ripple, -0.35, 0.35).astype(np.float32),
            np.broadcast_to(np.asarray(warp, np.float32), (n,)).copy(),
        )


def concatenate(parts: list[Shapes]) -> Shapes:
    """Return all shapes of ``parts`` in order; at least one part is needed."""
    return Shapes(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Shapes)))


def rasterize(
    rng: np.random.Generator, shapes: Shapes, bank: NoiseBank, margin_px: float = 3.0
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.int32], Array]]:
    """Yield groups of shapes with their signed distances.

    Parameters
    ----------
    rng
        Source of the noise crops.
    shapes
        What to draw; each comes out once.
    bank
        Map 0 warps the outlines.
    margin_px
        Pixels to keep around each outline.

    Yields
    ------
    index, corner, distance
        ``(m,)`` which shapes, ``(m, 2)`` row and column of the crop's first pixel, ``(m, S, S)``
        signed distance at the pixel centres.
    """
    ripple_reach = 1.0 + np.abs(shapes.ripple).sum(axis=(1, 2))
    reach = (
        shapes.semi[:, 0] * np.minimum(ripple_reach, 1.35)
        + np.abs(shapes.bend) * (shapes.semi[:, 1])
    )
    need = 2 * (reach + 2 * shapes.warp + margin_px)
    bucket = np.searchsorted(CROP_SIZES, np.minimum(need, CROP_SIZES[-1]))
    for b in np.unique(bucket):
        size = CROP_SIZES[b]
        members = np.flatnonzero(bucket == b)
        step = max(CHUNK_PX // size**2, 1)
        for start in range(0, len(members), step):
            index = members[start : start + step]
            yield index, *_distances(rng, shapes[index], bank, size)


def _distances(
    rng: np.random.Generator, shapes: Shapes, bank: NoiseBank, size: int
) -> tuple[NDArray[np.int32], Array]:
    n = len(shapes)
    corner = np.floor(shapes.yx - size / 2 + 0.5).astype(np.int32)
    grid = np.arange(size, dtype=np.float32) + 0.5
    y = (grid[None] + (corner[:, :1] - shapes.yx[:, :1]))[:, :, None]
    x = (grid[None] + (corner[:, 1:] - shapes.yx[:, 1:]))[:, None, :]
    cos = np.cos(shapes.angle)[:, None, None]
    sin = np.sin(shapes.angle)[:, None, None]
    u = x * cos + y * sin
    v = y * cos - x * sin
    if shapes.warp.any():
        warp = shapes.warp[:, None, None]
        u += warp * bank.crops(rng, 0, n, size)
        v += warp * bank.crops(rng, 0, n, size)
    a, b = shapes.semi[:, :1, None], shapes.semi[:, 1:, None]
    u /= a
    v /= b
    if shapes.bend.any():
        v -= shapes.bend[:, None, None] * (np.minimum(u * u, 2.0) - 0.33)
    v2 = v * v
    if shapes.sharp.any():
        v2 *= 1.0 + shapes.sharp[:, None, None] * np.minimum(u * u, 1.2)
    u2 = u * u
    q2 = u2 + v2 + 1e-6
    q = np.sqrt(q2)
    radius = rippled_radius(shapes.ripple, u / q, v / q)
    slope = np.sqrt(u2 / (a * a) + v2 / (b * b) + 1e-12) / q
    distance = (radius - q) / slope
    return corner, np.minimum(distance, shapes.semi[:, 1:, None])


def rippled_radius(ripple: NDArray[np.float32], cos1: Array, sin1: Array) -> Array:
    """Return the radius 1 + a sum of Fourier orders in given directions.

    Parameters
    ----------
    ripple
        Amplitudes ``(n, 4, 2)``, see `Shapes`.
    cos1, sin1
        Cosine and sine of the directions ``(n, H, W)``.
    """
    radius = np.ones_like(cos1)
    if not ripple.any():
        return radius
    cos_k, sin_k = cos1, sin1
    for k in range(ORDERS):
        cos_k, sin_k = cos_k * cos1 - sin_k * sin1, sin_k * cos1 + cos_k * sin1
        radius += ripple[:, k, 0, None, None] * cos_k
        radius += ripple[:, k, 1, None, None] * sin_k
    return np.maximum(radius, 0.4)
