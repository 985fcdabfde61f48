"""How SAM and its kin work on tiles, as fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["SamInference"]


@dataclass(frozen=True, slots=True)
class SamInference:
    """How a SAM works on tiles.

    Parameters
    ----------
    mpp
        Working pixel size, µm.
    window, stride
        Side of the squares that are stretched to the model's input and the step between them,
        working pixels. 256 px are 64 µm.
    largest
        A tile whose longer side is at most this, in working pixels, is one square; a tile for
        clicks is, with its border.
    values
        ``"statistics"`` takes ImageNet's mean and deviation out, ``"range"`` spreads the values of
        each square from 0 to 1.
    resize
        How a square is stretched.
    chunks
        Nuclei decoded at a time on a CPU, where more are slower, and on a GPU.
    """

    mpp: float = 0.25
    window: int = 256
    stride: int = 192
    largest: int = 320
    values: Literal["statistics", "range"] = "statistics"
    resize: Literal["bilinear", "bicubic"] = "bilinear"
    chunks: tuple[int, int] = (4, 32)
