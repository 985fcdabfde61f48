"""Local filters of maps, block by block, and exact distances to the background.

Sums run over the flat pixels of a small block: one addition of neighbours at a time, in the same
order for every pixel. The answer at a pixel hence does not depend on how the map was cut, to the
last bit, and temporaries stay in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_nucleus.core.geometry import Box, clip_box, pad_box

__all__ = [
    "bands",
    "binomial_blur",
    "blocks",
    "distance_to_background",
    "gradient",
    "opened",
    "window",
]

BLOCK = 256
"""Side of a block in pixels."""

BAND = 1 << 17
"""Pixels of a band of rows, about."""

MOST_SUMS = 32
"""Additions of neighbours after which a sum is scaled back to a mean."""

LARGEST_DISTANCE = 100
"""Distances up to here are found in blocks; components that are thicker are done apart."""


def bands(shape: tuple[int, int]) -> Iterator[slice]:
    """Cut a map into bands of rows."""
    rows = max(BAND // max(shape[1], 1), 1)
    for y0 in range(0, shape[0], rows):
        yield slice(y0, min(y0 + rows, shape[0]))


def blocks(mask: NDArray[np.bool_]) -> Iterator[Box]:
    """Cut a map into blocks, and yield those that hold a pixel of ``mask``."""
    height, width = mask.shape
    for y0 in range(0, height, BLOCK):
        for x0 in range(0, width, BLOCK):
            box = clip_box((y0, x0, y0 + BLOCK, x0 + BLOCK), mask.shape)
            if mask[box[0] : box[2], box[1] : box[3]].any():
                yield box


def window(values: NDArray, box: Box, by: int) -> NDArray[np.floating]:
    """Return the pixels of a box and of ``by`` pixels around it; the map is mirrored at its edges.

    The pixel on the edge is not repeated (OpenCV's ``BORDER_REFLECT_101``). float64 stays, all
    else becomes float32.
    """
    y0, x0, y1, x1 = pad_box(box, by)
    a, b, c, d = clip_box((y0, x0, y1, x1), (values.shape[0], values.shape[1]))
    part = values[a:c, b:d].astype(np.float64 if values.dtype == np.float64 else np.float32)
    if (a, b, c, d) == (y0, x0, y1, x1):
        return part
    return np.pad(part, ((a - y0, y1 - c), (b - x0, x1 - d)), mode="reflect")


def gradient(padded: NDArray[np.floating], size: int, axis: int) -> NDArray[np.floating]:
    """Return the slope along an axis by Sobel's operator of an odd ``size``, per pixel.

    Parameters
    ----------
    padded
        ``(h, w)`` map with ``size // 2`` pixels more on each side than is asked for.
    size
        3 is Sobel's 3 x 3 operator; each step of 2 blurs as a binomial of variance 1/2 would.
    axis
        0 for the slope downwards, 1 for the slope to the right.

    Returns
    -------
    ndarray
        ``(h - size + 1, w - size + 1)``; 1 where the map rises by 1 per pixel.
    """
    along, across = (1, padded.shape[1]) if axis == 1 else (padded.shape[1], 1)
    flat = _means(padded.reshape(-1), along, size - 2)
    flat = _means(flat[along:] - flat[:-along], across, size - 1)
    return _inner(flat, padded.shape, size - 1)


def binomial_blur(padded: NDArray[np.floating], radius: int) -> NDArray[np.floating]:
    """Blur by a binomial of variance ``radius / 2``; the answer is ``radius`` smaller all round."""
    flat = _means(padded.reshape(-1), 1, 2 * radius)
    flat = _means(flat, padded.shape[1], 2 * radius)
    return _inner(flat, padded.shape, 2 * radius)


def _means(flat: NDArray[np.floating], step: int, times: int) -> NDArray[np.floating]:
    """Put the mean of it and of the one ``step`` behind it for each value, ``times`` times."""
    while times > 0:
        now = min(times, MOST_SUMS)
        for _ in range(now):
            flat = flat[:-step] + flat[step:]
        flat *= 0.5**now
        times -= now
    return flat


def _inner(flat: NDArray, shape: tuple[int, ...], lost: int) -> NDArray[np.floating]:
    """Return flat values of rows of the original width as an array without what rows lost."""
    height, width = shape
    return np.lib.stride_tricks.as_strided(
        flat,
        (height - lost, width - lost),
        (width * flat.itemsize, flat.itemsize),
        writeable=False,
    )


def opened(mask: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Open a mask with an ellipse of ``size`` x ``size`` pixels, as OpenCV draws and applies it.

    What lies beyond the map neither erodes nor grows anything.
    """
    radius = size // 2
    eroded = _every_or_any(mask, radius, np.logical_and)
    return _every_or_any(eroded, radius, np.logical_or)


def _every_or_any(mask: NDArray[np.bool_], radius: int, join: np.ufunc) -> NDArray[np.bool_]:
    """Join the pixels under an ellipse around each pixel by and or by or."""
    if not radius:
        return mask
    padded = np.pad(mask, radius, constant_values=join is np.logical_and)
    width = padded.shape[1]
    run = padded.reshape(-1)
    rows = {0: run}
    for half in range(1, radius + 1):
        # A run of 2 half + 1 pixels begins at its first pixel, and so half before its middle.
        run = join(run[:-2], join(run[1:-1], run[2:])) if half == 1 else join(run[:-2], run[2:])
        rows[half] = run
    length = mask.shape[0] * width - 2 * radius
    joined = None
    for dy in range(-radius, radius + 1):
        half = round(np.sqrt(radius**2 - dy**2))
        begin = (radius + dy) * width + radius - half
        part = rows[half][begin : begin + length]
        joined = part.copy() if joined is None else join(joined, part, out=joined)
    assert joined is not None
    whole = np.append(joined, np.zeros(2 * radius, bool)).reshape(mask.shape[0], width)
    return whole[:, : mask.shape[1]]


def distance_to_background(components: NDArray[np.int32]) -> NDArray[np.float32]:
    """Return each pixel's Euclidean distance to the next pixel of the background.

    Exact, and the same whichever other components are near: between two components that do not
    touch along a side there is background at least as near as the other one. What lies beyond the
    map is unknown and counts as neither; a map without background is taken to lie on some.

    Parameters
    ----------
    components
        ``(H, W)`` connected components (4-connectivity), 0 is background.
    """
    foreground = components > 0
    distance = np.zeros(components.shape, np.float32)
    up_or_down = _distance_in_columns(foreground)
    for box in blocks(foreground):
        y0, x0, y1, x1 = box
        reach = int(up_or_down[y0:y1, x0:x1].max())
        a, b = max(x0 - reach, 0), min(x1 + reach, components.shape[1])
        rows = up_or_down[y0:y1, a:b].astype(np.uint16)
        beyond = ((0, 0), (reach - (x0 - a), reach - (b - x1)))
        rows = np.pad(rows, beyond, constant_values=LARGEST_DISTANCE) ** 2
        squared = _distance_across(rows, reach)[:, reach : reach + x1 - x0]
        distance[y0:y1, x0:x1] = np.sqrt(squared, dtype=np.float32)
    thick = components[distance >= LARGEST_DISTANCE]
    for number in np.unique(thick):
        _measure_apart(distance, components, int(number))
    return distance


def _distance_in_columns(foreground: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the distance to the background above or below, `LARGEST_DISTANCE` at most."""
    distance = np.zeros(foreground.shape, np.uint8)
    for rows, values in ((foreground, distance), (foreground[::-1], distance[::-1])):
        count = np.full(foreground.shape[1], LARGEST_DISTANCE, np.uint8)
        first = values is distance
        for row, value in zip(rows, values, strict=True):
            count += 1
            np.minimum(count, LARGEST_DISTANCE, out=count)
            count *= row
            if first:
                value[:] = count
            else:
                np.minimum(value, count, out=value)
    return distance


def _distance_across(squared: NDArray[np.uint16], reach: int) -> NDArray[np.uint16]:
    """Return the least of ``squared + dx²`` over pixels of the same row, ``reach`` at most away."""
    height, width = squared.shape
    source = squared.reshape(-1)
    least = source.copy()
    for dx in range(1, reach + 1):
        if dx * dx >= int(least.reshape(height, width)[:, reach : width - reach].max()):
            break
        far = source + np.uint16(dx * dx)
        np.minimum(least[dx:], far[:-dx], out=least[dx:])
        np.minimum(least[:-dx], far[dx:], out=least[:-dx])
    return least.reshape(height, width)


def _measure_apart(
    distance: NDArray[np.float32], components: NDArray[np.int32], number: int
) -> None:
    """Write the distances of one component."""
    rows, columns = np.nonzero(components == number)
    box = pad_box((rows.min(), columns.min(), rows.max() + 1, columns.max() + 1), 1)
    y0, x0, y1, x1 = clip_box(box, (components.shape[0], components.shape[1]))
    mask = components[y0:y1, x0:x1] == number
    if mask.all():
        exact = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    else:
        exact = ndimage.distance_transform_edt(mask)
    distance[y0:y1, x0:x1][mask] = exact[mask]
