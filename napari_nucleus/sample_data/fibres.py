"""Fibrous texture: a field of directions and noise that is smeared along it.

Smearing follows the idea of line integral convolution (Cabral and Leedom 1993), with steps that
double: each pass averages every pixel with its two neighbours along its own direction. Unlike noise
in curved coordinates it leaves no closed contours where directions turn. Knows no tissue.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_nucleus.sample_data.canvas import Canvas
from napari_nucleus.sample_data.noise import Array

__all__ = ["Grain"]

LONGEST_STEP_PX = 40  # beyond it a straight step leaves a curved fibre


class Grain:
    """Directions of fibres over a canvas, and texture that follows them.

    Parameters
    ----------
    canvas
        Gives size, scale and noise.
    angle
        Direction ``(H, W)`` in radians; angles that differ by pi are the same direction.
    """

    def __init__(self, canvas: Canvas, angle: NDArray) -> None:
        self._canvas = canvas
        self.angle = np.broadcast_to(np.asarray(angle, np.float32), canvas.shape)

    @classmethod
    def wavy(cls, canvas: Canvas, waviness: float) -> Grain:
        """Return fibres with one main direction that meander by ``waviness`` (0-1)."""
        angle = canvas.rng.uniform(0, np.pi) + (0.1 + 0.35 * waviness) * canvas.noise(50)
        angle = angle + 0.3 * waviness * canvas.noise(16) + 0.18 * waviness * canvas.noise(5)
        return cls(canvas, angle)

    @classmethod
    def along_contours(cls, canvas: Canvas, height: Array, smooth_um: float = 1.5) -> Grain:
        """Return directions along the lines of equal ``height``."""
        smooth = ndimage.gaussian_filter(height, smooth_um * canvas.px)
        dy, dx = np.gradient(smooth)
        return cls(canvas, np.arctan2(dx, -dy))

    def blended(self, other: Grain, weight: Array) -> Grain:
        """Return these directions, turned towards another's where ``weight`` (0-1) is large."""
        # Doubled angles, because a direction and its opposite are one.
        c = (1 - weight) * np.cos(2 * self.angle) + weight * np.cos(2 * other.angle)
        s = (1 - weight) * np.sin(2 * self.angle) + weight * np.sin(2 * other.angle)
        return Grain(self._canvas, 0.5 * np.arctan2(s, c))

    def angle_at(self, yx: NDArray) -> NDArray[np.floating]:
        """Return the direction at points ``(n, 2)`` in pixels, radians."""
        rows, cols = self._canvas.shape
        y = np.clip(yx[:, 0].astype(int), 0, rows - 1)
        x = np.clip(yx[:, 1].astype(int), 0, cols - 1)
        return self.angle[y, x]

    def threads(self, widths_um: tuple[float, ...], length_um: float) -> list[Array]:
        """Return one texture ``(H, W)`` per width: mean 0, std 1, drawn out over ``length_um``."""
        canvas = self._canvas
        rows, cols = canvas.shape
        texture = np.stack([canvas.noise(w) for w in widths_um], axis=-1).reshape(
            -1, len(widths_um)
        )
        dy, dx = np.sin(self.angle), np.cos(self.angle)
        # Half a pixel on, because conversion to whole numbers cuts.
        y = np.arange(rows, dtype=np.float32)[:, None] + np.float32(0.5)
        x = np.arange(cols, dtype=np.float32)[None] + np.float32(0.5)
        step, reach = 1.0, 0.0
        while reach < 0.5 * length_um * canvas.px:
            smeared = texture.copy()
            for sign in (-step, step):
                to_y = np.clip(y + np.float32(sign) * dy, 0, rows - 1).astype(np.int32)
                to_x = np.clip(x + np.float32(sign) * dx, 0, cols - 1).astype(np.int32)
                smeared += np.take(texture, (to_y * cols + to_x).ravel(), axis=0)
            texture = smeared / np.float32(3.0)
            reach += step
            step = min(2.0 * step, LONGEST_STEP_PX)
        texture = texture - texture.mean(axis=0)
        texture /= texture.std(axis=0) + 1e-6
        return [plane.reshape(rows, cols) for plane in texture.T]
