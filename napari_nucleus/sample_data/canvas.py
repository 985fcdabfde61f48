"""The field while it is being made: amounts of dye, room that is taken, nuclei that wait.

Tissue painters (`tissue`) fill a `Canvas`; `chromatin` paints the nuclei at the end. Lengths that
painters give are in micrometres; arrays are in pixels. Knows no tissue.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.sample_data.cells import KINDS, Cells, Style, draw_cells, draw_style
from napari_nucleus.sample_data.noise import Array, NoiseBank, smooth_noise, smoothstep
from napari_nucleus.sample_data.shapes import Shapes, rasterize

__all__ = ["Canvas"]


class Canvas:
    """Amounts of dye ``(H, W)`` float32 and the nuclei that go on top.

    Parameters
    ----------
    shape
        Height and width, pixels.
    mpp
        Micrometres per pixel.
    rng
        Source of all randomness of the field.
    size, density, pleomorphism, ghosts
        Field-wide factors on nuclear diameter and number, irregularity 0-1, share of nuclei that
        are out of focus.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        mpp: float,
        rng: np.random.Generator,
        *,
        size: float = 1.0,
        density: float = 1.0,
        pleomorphism: float = 0.5,
        ghosts: float = 0.05,
    ) -> None:
        self.shape = shape
        self.rng = rng
        self.px = 1.0 / mpp
        self.size = size
        self.density = density
        self.pleomorphism = pleomorphism
        self.hematoxylin = np.zeros(shape, np.float32)
        self.eosin = np.zeros(shape, np.float32)
        self.red_cells = np.zeros(shape, np.float32)
        self.pigment = np.zeros(shape, np.float32)
        self.bank = NoiseBank(rng, tuple(s * self.px for s in (2.5, 0.3, 0.6, 1.4)))
        self._ghosts = ghosts
        self._styles: dict[str, Style] = {}
        self._cells: list[Cells] = []
        self._pad = int(10 * self.px) + 2
        self._taken = np.zeros((shape[0] + 2 * self._pad, shape[1] + 2 * self._pad), bool)
        self._disks: dict[int, NDArray[np.bool_]] = {}

    @property
    def area_um2(self) -> float:
        """Area of the whole canvas."""
        return self.shape[0] * self.shape[1] / self.px**2

    @property
    def cells(self) -> Cells | None:
        """All nuclei placed so far; None before the first."""
        return Cells.concatenate(self._cells) if self._cells else None

    def noise(self, scale_um: float) -> Array:
        """Return noise ``(H, W)`` with features of ``scale_um``."""
        return smooth_noise(self.rng, self.shape, scale_um * self.px)

    def grid_um(self) -> tuple[Array, Array]:
        """Return the pixel centres' y ``(H, 1)`` and x ``(1, W)`` in µm."""
        y = ((np.arange(self.shape[0], dtype=np.float32) + 0.5) / self.px)[:, None]
        x = ((np.arange(self.shape[1], dtype=np.float32) + 0.5) / self.px)[None, :]
        return y, x

    def lay(self, region: Array | None, eosin: Array, hematoxylin: Array) -> None:
        """Replace both dyes where ``region`` (0-1, None for everywhere) says so."""
        if region is None:
            self.eosin[:] = eosin
            self.hematoxylin[:] = hematoxylin
            return
        self.eosin += region * (eosin - self.eosin)
        self.hematoxylin += region * (hematoxylin - self.hematoxylin)

    def clear(self, amount: Array) -> None:
        """Take away the share ``amount`` (0-1) of the tissue."""
        keep = 1.0 - amount
        for plane in (self.hematoxylin, self.eosin, self.red_cells, self.pigment):
            plane *= keep

    def spots_in(self, where: NDArray, n: int) -> NDArray[np.float32]:
        """Return up to ``n`` random points ``(n, 2)`` (pixels) where the mask or weight is >0.5."""
        pixels = np.flatnonzero(where > 0.5)
        if len(pixels) == 0 or n <= 0:
            return np.zeros((0, 2), np.float32)
        picked = pixels[self.rng.integers(0, len(pixels), n)]
        yx = np.stack(np.unravel_index(picked, self.shape), axis=1) + self.rng.random((n, 2))
        return yx.astype(np.float32)

    def count(self, where: NDArray, per_mm2: float) -> int:
        """Return a Poisson number of nuclei for a mask at a density, the field's factor applied."""
        area_mm2 = float((where > 0.5).sum()) / self.px**2 * 1e-6
        return int(self.rng.poisson(area_mm2 * per_mm2 * self.density))

    def grow(
        self,
        kind: str,
        yx: NDArray,
        angle: NDArray | None = None,
        *,
        spacing: float = 1.0,
        size: float = 1.0,
        limit: int | None = None,
    ) -> Cells:
        """Place nuclei of one kind at those points where there is room; return them.

        ``spacing`` below 1 lets neighbours overlap; ``angle`` None means any direction; ``limit``
        stops after so many.
        """
        if angle is None:
            angle = self.rng.uniform(0, np.pi, len(yx))
        if kind not in self._styles:
            self._styles[kind] = draw_style(self.rng, self.pleomorphism)
        cells = draw_cells(
            self.rng,
            KINDS[kind],
            self._styles[kind],
            yx,
            np.asarray(angle),
            self.px,
            size=self.size * size,
            ghosts=self._ghosts,
        )
        cells = cells[self.room_for(cells.shapes, spacing, limit)]
        if len(cells):
            self._cells.append(cells)
        return cells

    def reserve(self, where: NDArray[np.bool_]) -> None:
        """Keep nuclei out of a mask."""
        p = self._pad
        self._taken[p:-p, p:-p] |= where

    def _disk(self, radius: int) -> NDArray[np.bool_]:
        if radius not in self._disks:
            line = np.arange(-radius, radius + 1)
            self._disks[radius] = line[:, None] ** 2 + line**2 <= (radius + 0.3) ** 2
        return self._disks[radius]

    def room_for(
        self, shapes: Shapes, spacing: float = 1.0, limit: int | None = None
    ) -> NDArray[np.intp]:
        """Return which shapes find room, first come first served, and take that room."""
        semi = shapes.semi * spacing
        steps = np.ceil(semi[:, 0] / semi[:, 1] - 1.15).clip(0, 4).astype(int)
        direction = np.stack([np.sin(shapes.angle), np.cos(shapes.angle)], axis=1)
        reach = (semi[:, :1] - semi[:, 1:]) * direction
        base = shapes.yx + self._pad
        rows, cols = self._taken.shape
        kept = []
        for i in range(len(shapes)):
            r = max(int(semi[i, 1] + 0.5), 1)
            disk = self._disk(r)
            boxes = []
            for t in np.linspace(-1, 1, 2 * steps[i] + 1) if steps[i] else (0.0,):
                y = int(base[i, 0] + t * reach[i, 0]) - r
                x = int(base[i, 1] + t * reach[i, 1]) - r
                if y < 0 or x < 0 or y + 2 * r >= rows or x + 2 * r >= cols:
                    continue
                box = self._taken[y : y + 2 * r + 1, x : x + 2 * r + 1]
                if box[disk].any():
                    break
                boxes.append(box)
            else:
                for box in boxes:
                    box |= disk
                kept.append(i)
                if limit is not None and len(kept) >= limit:
                    break
        return np.array(kept, np.intp)

    def stamp(
        self,
        shapes: Shapes,
        *,
        eosin: NDArray | float = 0.0,
        hematoxylin: NDArray | float = 0.0,
        red_cells: NDArray | float = 0.0,
        pigment: NDArray | float = 0.0,
        erase: NDArray | float = 1.0,
        soft_um: float = 0.4,
        rim: float = 0.0,
        hollow: NDArray | float = 0.0,
        grain: float = 0.1,
    ) -> None:
        """Lay blobs over the tissue: cytoplasm, vacuoles, red cells, granules.

        Each amount is one number or one per shape. ``erase`` is the share of what lies below that
        goes; ``rim`` adds to the border, ``hollow`` takes from the middle (both relative).
        """
        n = len(shapes)
        if n == 0:
            return
        planes = []
        for plane, amount in (
            (self.eosin, eosin),
            (self.hematoxylin, hematoxylin),
            (self.red_cells, red_cells),
            (self.pigment, pigment),
        ):
            planes.append((plane, np.broadcast_to(np.asarray(amount, np.float32), (n,))))
        gone = np.broadcast_to(np.asarray(erase, np.float32), (n,))
        dent = np.broadcast_to(np.asarray(hollow, np.float32), (n,))
        soft = max(soft_um * self.px, 0.8)
        for index, corner, distance in rasterize(self.rng, shapes, self.bank, soft):
            size = distance.shape[1]
            alpha = smoothstep(distance, -soft / 2, soft / 2)
            body = 1.0 + grain * self.bank.crops(self.rng, 2, len(index), size)
            if rim:
                body += rim * np.exp(-(((distance - 0.6 * soft) / soft) ** 2))
            radius = shapes.semi[index, 1][:, None, None]
            body -= dent[index][:, None, None] * smoothstep(distance / radius, 0.3, 1.0)
            for j, i in enumerate(index):
                y, x = corner[j]
                inner = slice(max(-y, 0), size - max(y + size - self.shape[0], 0))
                outer = slice(max(-x, 0), size - max(x + size - self.shape[1], 0))
                if inner.start >= inner.stop or outer.start >= outer.stop:
                    continue
                a = alpha[j, inner, outer]
                keep = 1.0 - gone[i] * a
                target = (
                    slice(y + inner.start, y + inner.stop),
                    slice(x + outer.start, x + outer.stop),
                )
                ab = a * body[j, inner, outer]
                for plane, amount in planes:
                    piece = plane[target]
                    piece *= keep
                    if amount[i]:
                        piece += amount[i] * ab
