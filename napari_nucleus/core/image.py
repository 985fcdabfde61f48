"""Images as the package sees them: RGB uint8 with a frame, whole or read piece by piece.

`Tile` is a raster in memory, `ImageSource` anything that pieces can be read from. What the user
opens (grey, 16 bit, float, RGBA) becomes RGB uint8 here, by one rule, or is refused by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.geometry import Box, Frame, clip_box
from napari_nucleus.errors import ImageError

__all__ = ["ArraySource", "ImageSource", "Tile", "check_mpp", "rgb_uint8"]

MPP_RANGE = (0.05, 5.0)
"""Micrometres per pixel that a light microscope's picture of tissue can have."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A piece of an image in memory.

    Parameters
    ----------
    rgb
        ``(H, W, 3)`` uint8.
    frame
        Where the piece lies on level 0.
    """

    rgb: NDArray[np.uint8]
    frame: Frame = field(default_factory=Frame)

    def __post_init__(self) -> None:
        if self.rgb.ndim != 3 or self.rgb.shape[2] != 3 or self.rgb.dtype != np.uint8:
            raise ValueError(
                f"a tile is (H, W, 3) uint8, got {self.rgb.shape} {self.rgb.dtype}; "
                "use rgb_uint8() to convert"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.rgb.shape[0], self.rgb.shape[1]

    def middle(self, side: int) -> Tile:
        """Return the middle of the tile, at most ``side`` pixels high and wide."""
        h, w = self.shape
        y, x = max((h - side) // 2, 0), max((w - side) // 2, 0)
        return Tile(self.rgb[y : y + side, x : x + side], self.frame.cropped(y, x))


@runtime_checkable
class ImageSource(Protocol):
    """An image of any size that can be read box by box at level 0."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width at level 0, in pixels."""
        ...

    @property
    def mpp(self) -> float | None:
        """Micrometres per level-0 pixel, or None when unknown."""
        ...

    def read(self, box: Box) -> NDArray[np.uint8]:
        """Return ``(h, w, 3)`` uint8 of a level-0 box that lies inside the image."""
        ...


@dataclass(frozen=True)
class ArraySource:
    """An `ImageSource` over an array in memory; converts what is not RGB uint8 when read.

    ``array`` is ``(H, W)``, ``(H, W, 3)`` or ``(H, W, 4)`` of any dtype that `rgb_uint8` takes;
    lazy arrays that can be sliced serve as well. ``value_range`` is fixed for the whole array, so
    that neighbouring pieces are converted alike.
    """

    array: Any
    mpp: float | None = None
    name: str = "image"
    value_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        check_layout(self.array.shape, self.array.dtype, self.name)
        if self.value_range is None and self.array.dtype != np.uint8:
            object.__setattr__(self, "value_range", value_range(np.asarray(self.array), self.name))

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.array.shape[0]), int(self.array.shape[1])

    def read(self, box: Box) -> NDArray[np.uint8]:
        """Return the RGB pixels of ``box``, clipped to the image."""
        y0, x0, y1, x1 = clip_box(box, self.shape)
        return rgb_uint8(np.asarray(self.array[y0:y1, x0:x1]), self.name, self.value_range)


def check_layout(shape: Sequence[int], dtype: Any, name: str) -> None:
    """Raise `ImageError` unless an array of this shape and dtype can be shown as RGB."""
    if len(shape) not in (2, 3) or 0 in shape:
        raise ImageError(f"{name}: shape {tuple(shape)} is not a 2-D picture (H, W[, channels]).")
    if len(shape) == 3 and shape[2] not in (1, 3, 4):
        raise ImageError(
            f"{name}: {shape[2]} channels; an H&E picture has 1 (grey), 3 (RGB) or 4 (RGBA). "
            "Multichannel fluorescence is not supported."
        )
    if np.dtype(dtype).kind not in "buif":
        raise ImageError(f"{name}: pixels of type {dtype} are not numbers a picture can have.")


def value_range(array: NDArray[Any], name: str = "image") -> tuple[float, float]:
    """Return the values that become 0 and 255.

    The range comes from the type where the type says it: bool 0–1, 8 bit 0–255. Floats within
    0–1 use 0–1 and within 0–255 use 0–255. 16 bit and other types use 0 and the power of two
    above their maximum less one, which is right for 8, 10, 12 and 16 bit cameras alike.
    """
    if array.dtype == np.bool_:
        return 0.0, 1.0
    if array.dtype == np.uint8:
        return 0.0, 255.0
    low, high = float(np.min(array)), float(np.max(array))
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ImageError(f"{name}: contains NaN or infinite pixels.")
    if low < 0:
        raise ImageError(f"{name}: contains negative pixels (minimum {low:g}).")
    if array.dtype.kind == "f" and high <= 1.0:
        return 0.0, 1.0
    return 0.0, max(255.0, 2.0 ** np.ceil(np.log2(high + 1.0)) - 1.0)


def rgb_uint8(
    array: NDArray[Any], name: str = "image", limits: tuple[float, float] | None = None
) -> NDArray[np.uint8]:
    """Convert grey, RGB or RGBA of any number type to RGB uint8.

    Parameters
    ----------
    array
        ``(H, W)``, ``(H, W, 1)``, ``(H, W, 3)`` or ``(H, W, 4)``. Transparent pixels become white,
        the colour of empty glass.
    name
        What to call the image in an error.
    limits
        Values that become 0 and 255; by default `value_range`.

    Raises
    ------
    ImageError
        If the shape, the number of channels, the type or the values fit no picture.
    """
    check_layout(array.shape, array.dtype, name)
    if array.ndim == 2:
        array = array[..., None]
    if array.dtype != np.uint8:
        low, high = limits or value_range(array, name)
        scaled = (array.astype(np.float32) - low) * (255.0 / (high - low))
        if not np.isfinite(scaled).all():
            raise ImageError(f"{name}: contains NaN or infinite pixels.")
        array = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    if array.shape[2] == 4:
        alpha = array[..., 3:].astype(np.uint16)
        colour = array[..., :3].astype(np.uint16)
        array = ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    if array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    return np.ascontiguousarray(array)


def check_mpp(mpp: float | None, name: str = "image") -> float | None:
    """Return ``mpp`` if a microscope can have made it, else raise `ImageError` with the value."""
    if mpp is None:
        return None
    if not np.isfinite(mpp) or not MPP_RANGE[0] <= mpp <= MPP_RANGE[1]:
        raise ImageError(
            f"{name}: {mpp:g} µm per pixel is outside {MPP_RANGE[0]:g}–{MPP_RANGE[1]:g}; "
            "state the pixel size by hand."
        )
    return float(mpp)
