"""What horizontal and vertical offset maps (HV) say of where one nucleus ends.

Offsets rise from -1 to 1 across a nucleus and drop where the next one begins. Two readings of it:
a landscape whose peaks are nuclei (`energy_surface`, `peaks`), and HoVer-Net's borders and markers
(`hover_borders`, `hover_markers`). Both keep to connected components: nothing that happens in one
component changes what is found in another.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from napari_nucleus.core.filters import (
    binomial_blur,
    blocks,
    distance_to_background,
    gradient,
    opened,
    window,
)
from napari_nucleus.core.geometry import Box, clip_box, pad_box

__all__ = [
    "GradientLimits",
    "Markers",
    "energy_surface",
    "hover_borders",
    "hover_limits",
    "hover_markers",
    "hover_surface",
    "peaks",
]

CANDIDATES = 4096
"""Candidates for peaks that are looked at together."""


class Markers(NamedTuple):
    """Pixels from which components are flooded.

    ``pixels`` ``(m,)`` are flat positions and ``number`` ``(m,)`` the marker of each, 0..k-1;
    ``component`` ``(k,)`` is where each marker lies, in ascending order.
    """

    pixels: NDArray[np.int64]
    number: NDArray[np.int64]
    component: NDArray[np.int32]


class GradientLimits(NamedTuple):
    """Least and greatest slope of the offsets, of x to the right and of y downwards."""

    x: tuple[float, float]
    y: tuple[float, float]


def energy_surface(
    hv: NDArray[np.floating],
    components: NDArray[np.int32],
    sobel: int,
    drop: float,
    blur: int,
) -> NDArray[np.float32]:
    """Return the distance to the background, lowered where offsets drop, and blurred.

    Parameters
    ----------
    hv
        ``(2, H, W)`` offsets, x then y.
    components
        ``(H, W)`` connected components of the foreground, 0 is background.
    sobel
        Size of the operator that takes the slope of the offsets.
    drop
        Fall of the offsets per pixel at which nothing is left of the distance.
    blur
        Radius of the binomial blur at the end.

    Returns
    -------
    ndarray
        ``(H, W)`` float32 in pixels, 0 in the background.
    """
    distance = distance_to_background(components)
    surface = np.zeros(components.shape, np.float32)
    for box in blocks(components > 0):
        y0, x0, y1, x1 = box
        a, b, c, d = clip_box(pad_box(box, blur), components.shape)
        slope = np.minimum(*_slopes(hv, (a, b, c, d), sobel))
        slope *= 1 / drop
        slope += 1
        np.clip(slope, 0, 1, out=slope)
        slope *= distance[a:c, b:d]
        smooth = binomial_blur(window(slope, (y0 - a, x0 - b, y1 - a, x1 - b), blur), blur)
        np.multiply(smooth, components[y0:y1, x0:x1] > 0, out=surface[y0:y1, x0:x1])
    return surface


def _slopes(
    hv: NDArray[np.floating], box: Box, sobel: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the slope of x to the right and of y downwards in a box, per pixel."""
    reach = sobel // 2
    return (
        gradient(window(hv[0], box, reach), sobel, 1),
        gradient(window(hv[1], box, reach), sobel, 0),
    )


def peaks(
    surface: NDArray[np.float32],
    components: NDArray[np.int32],
    distance: int,
    saddle: float,
    length: int,
) -> Markers:
    """Return one pixel for each peak of each component, at least one for every component.

    Parameters
    ----------
    surface
        ``(H, W)``, 0 in the background.
    components
        ``(H, W)`` connected components of the foreground, 0 is background.
    distance
        A peak is the highest pixel of its component within this many rows and columns; of equally
        high ones that are nearer, the first counts.
    saddle
        A peak is part of a higher one if the straight way there stays within the component and
        above this share of its height.
    length
        Longest way, in pixels; peaks farther apart are compared with others between them only.
    """
    flat, component_at = surface.reshape(-1), components.reshape(-1)
    candidates = _local_maxima(surface)
    highest = [
        _is_highest(surface, components, candidates[begin : begin + CANDIDATES], distance)
        for begin in range(0, len(candidates), CANDIDATES)
    ]
    found = candidates[np.concatenate([np.zeros(0, bool), *highest])]
    found = _spaced(found, component_at[found], surface.shape[1], distance)
    found = found[_stand_alone(surface, components, found, saddle, length)]
    n = int(components.max(initial=0))
    without = np.bincount(component_at[found], minlength=n + 1) == 0
    without[0] = False
    if without.any():
        left = np.flatnonzero(without[components])
        order = np.lexsort((left, -flat[left], component_at[left]))
        _, first = np.unique(component_at[left][order], return_index=True)
        found = np.concatenate([found, left[order][first]])
    found = found[np.lexsort((found, component_at[found]))]
    return Markers(found, np.arange(len(found)), component_at[found])


def _local_maxima(surface: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the flat positions of pixels above 0 that no neighbour along a side exceeds."""
    highest = surface > 0
    highest[1:] &= surface[1:] >= surface[:-1]
    highest[:-1] &= surface[:-1] >= surface[1:]
    highest[:, 1:] &= surface[:, 1:] >= surface[:, :-1]
    highest[:, :-1] &= surface[:, :-1] >= surface[:, 1:]
    return np.flatnonzero(highest)


def _is_highest(
    surface: NDArray[np.float32],
    components: NDArray[np.int32],
    pixels: NDArray[np.int64],
    distance: int,
) -> NDArray[np.bool_]:
    """Return which pixels are not exceeded by another of their component within ``distance``."""
    height, width = surface.shape
    flat, component_at = surface.reshape(-1), components.reshape(-1)
    steps = np.arange(-distance, distance + 1)
    rows, columns = np.divmod(pixels, width)
    rows = (rows[:, None] + steps).clip(0, height - 1)
    columns = (columns[:, None] + steps).clip(0, width - 1)
    around = rows[:, :, None] * width + columns[:, None, :]
    own = component_at[around] == component_at[pixels][:, None, None]
    return np.where(own, flat[around], 0).max(axis=(1, 2)) == flat[pixels]


def _spaced(
    pixels: NDArray[np.int64], component: NDArray[np.int32], width: int, distance: int
) -> NDArray[np.int64]:
    """Drop the later of two pixels of a component that are nearer than ``distance``."""
    kept = np.ones(len(pixels), bool)
    for first, second in _pairs(pixels, component, width, distance - 0.5, np.inf):
        if kept[first]:
            kept[second] = False
    return pixels[kept]


def _stand_alone(
    surface: NDArray[np.float32],
    components: NDArray[np.int32],
    pixels: NDArray[np.int64],
    saddle: float,
    length: int,
) -> NDArray[np.bool_]:
    """Return which peaks are cut off from all higher ones of their component."""
    width = surface.shape[1]
    flat, component_at = surface.reshape(-1), components.reshape(-1)
    height, component = flat[pixels], component_at[pixels]
    pairs = _pairs(pixels, component, width, length, 2)
    # Of equally high ones the first counts as the higher.
    first_is_higher = height[pairs[:, 0]] >= height[pairs[:, 1]]
    low, high = np.where(first_is_higher[:, None], pairs[:, ::-1], pairs).T
    rows, columns = np.divmod(pixels, width)
    share = np.arange(length + 1) / length
    alone = np.ones(len(pixels), bool)
    for begin in range(0, len(low), CANDIDATES):
        a, b = low[begin : begin + CANDIDATES], high[begin : begin + CANDIDATES]
        # Steps are rounded, not places: halves would go by where the tile begins.
        y = rows[a, None] + np.rint((rows[b] - rows[a])[:, None] * share).astype(np.int64)
        x = columns[a, None] + np.rint((columns[b] - columns[a])[:, None] * share).astype(np.int64)
        way = y * width + x
        on_way = np.where(component_at[way] == component[a, None], flat[way], 0)
        alone[a[on_way.min(axis=1) > saddle * height[a]]] = False
    return alone


def _pairs(
    pixels: NDArray[np.int64],
    component: NDArray[np.int32],
    width: int,
    distance: float,
    norm: float,
) -> NDArray[np.int64]:
    """Return the pairs of pixels of a component not farther apart than ``distance``, in order."""
    if len(pixels) < 2:
        return np.zeros((0, 2), np.int64)
    tree = cKDTree(np.column_stack(np.divmod(pixels, width)))
    pairs = tree.query_pairs(distance, p=norm, output_type="ndarray")
    pairs = np.sort(pairs[component[pairs[:, 0]] == component[pairs[:, 1]]], axis=1)
    return pairs[np.lexsort(pairs.T[::-1])]


def hover_limits(hv: NDArray[np.floating], sobel: int) -> GradientLimits:
    """Return the limits of the slopes in a whole map, per pixel: what HoVer-Net scales by."""
    found = []
    for box in blocks(np.ones(hv.shape[1:], bool)):
        slope_x, slope_y = _slopes(hv, box, sobel)
        found.append((slope_x.min(), slope_x.max(), slope_y.min(), slope_y.max()))
    if not found:
        return GradientLimits((0.0, 0.0), (0.0, 0.0))
    low_x, high_x, low_y, high_y = np.array(found, np.float64).T
    return GradientLimits(
        (float(low_x.min()), float(high_x.max())), (float(low_y.min()), float(high_y.max()))
    )


def hover_borders(
    hv: NDArray[np.floating],
    components: NDArray[np.int32],
    sobel: int,
    limits: GradientLimits,
) -> NDArray[np.float32]:
    """Return how much each pixel looks like a border of a nucleus, 0–1; 0 in the background.

    1 is the steepest fall of ``limits`` (slopes per pixel), 0 the steepest rise, whichever of the
    two directions looks more like a border.
    """
    borders = np.zeros(components.shape, np.float32)
    for box in blocks(components > 0):
        y0, x0, y1, x1 = box
        fallen = []
        for slope, (low, high) in zip(_slopes(hv, box, sobel), limits, strict=True):
            fallen.append((high - slope) * np.float32(1 / max(high - low, 1e-12)))
        border = np.maximum(*fallen).clip(0, 1)
        np.multiply(border, components[y0:y1, x0:x1] > 0, out=borders[y0:y1, x0:x1])
    return borders


def hover_surface(
    borders: NDArray[np.float32], foreground: NDArray[np.bool_], box: Box
) -> NDArray[np.floating]:
    """Return the landscape of a box to flood, float64: low in the middle of nuclei."""
    a, b, c, d = clip_box(pad_box(box, 1), (borders.shape[0], borders.shape[1]))
    inner = np.where(foreground[a:c, b:d], 1 - borders[a:c, b:d], 0).astype(np.float64)
    y0, x0, y1, x1 = box
    return -binomial_blur(window(inner, (y0 - a, x0 - b, y1 - a, x1 - b), 1), 1)


def hover_markers(
    borders: NDArray[np.float32],
    components: NDArray[np.int32],
    threshold: float,
    opening: int,
    least: int,
) -> Markers:
    """Return the inner parts of nuclei: less border than ``threshold``, filled and opened.

    Parameters
    ----------
    borders
        What `hover_borders` returns.
    components
        ``(H, W)`` connected components of the foreground, 0 is background.
    threshold
        Pixels with at least that much of a border are left out.
    opening
        Size of the ellipse that opens the parts.
    least
        Parts with fewer pixels are no markers.
    """
    foreground = components > 0
    inner = foreground & (borders < threshold)
    _fill_holes(inner, components)
    inner = opened(inner, opening)
    parts = np.zeros(inner.shape, np.int32)
    n_parts = int(ndimage.label(inner, output=parts))
    inside = np.flatnonzero(inner)
    large = np.bincount(parts.reshape(-1)[inside], minlength=n_parts + 1) >= least
    pixels = inside[foreground.reshape(-1)[inside] & large[parts.reshape(-1)[inside]]]
    component, part = components.reshape(-1)[pixels], parts.reshape(-1)[pixels]
    of_part = np.zeros(n_parts + 1, np.int32)
    of_part[part] = component
    used = np.flatnonzero(of_part)
    order = used[np.lexsort((used, of_part[used]))]
    number = np.zeros(n_parts + 1, np.int64)
    number[order] = np.arange(len(order))
    return Markers(pixels, number[part], of_part[order])


def _fill_holes(inner: NDArray[np.bool_], components: NDArray[np.int32]) -> None:
    """Fill what the inner part of a component encloses, unless another component lies in it."""
    outer = np.zeros(inner.shape, np.int32)
    n_outer = int(ndimage.label(~inner, output=outer))
    closed = np.ones(n_outer + 1, bool)
    closed[0] = False
    for side in (outer[0], outer[-1], outer[:, 0], outer[:, -1]):
        closed[side] = False
    if not closed.any():
        return
    # Which components have a hole is seen from here; what the hole is, from each one alone.
    # The first part is nearly always all that lies between nuclei.
    pixels = np.flatnonzero(outer > 0 if closed[1] else outer > 1)
    pixels = pixels[closed[outer.reshape(-1)[pixels]]]
    rows, columns = np.divmod(pixels, inner.shape[1])
    around = [components[rows + dy, columns + dx] for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0))]
    places = ndimage.find_objects(components)
    for number in np.setdiff1d(np.concatenate(around), [0]):
        place = places[number - 1]
        part = components[place]
        own = inner[place] & (part == number)
        holes, n_holes = ndimage.label(ndimage.binary_fill_holes(own) & ~own)
        if not n_holes:
            continue
        alien = np.zeros(n_holes + 1, bool)
        alien[holes[(part != number) & (part > 0)]] = True
        alien[0] = True
        inner[place] |= ~alien[holes]
