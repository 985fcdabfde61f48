"""Exact polygons of nuclei: the pixel edges themselves, and back.

A polygon here follows the edges of the pixels of a nucleus, in corner-origin coordinates
``(x, y)``: pixel ``(r, c)`` is the square from ``(c, r)`` to ``(c + 1, r + 1)``. Its area is the
number of pixels, rasterising it by pixel centres gives the mask back, holes and parts are kept.
Pixels belong together across sides, not corners, and a ring that meets itself at a corner is cut
there, so every ring is simple and every polygon valid (OGC Simple Features).

All labels are traced at once without a loop over pixels or nuclei: every side of a pixel that
separates two labels is a directed edge with its label on the right, the next edge follows from
the two pixels ahead, and rings are put in order by pointer doubling (Wyllie 1979).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

__all__ = [
    "coverage_of_labels",
    "crossings_of_polygons",
    "masks_of_polygons",
    "polygon_of_mask",
    "polygons_of_labels",
    "rasterize",
]

AT_ONCE = 2**22
"""Crossings of rows and sides that are worked on at once; they take 250 MB."""


def polygons_of_labels(
    labels: NDArray[np.integer], offset_yx: tuple[int, int] = (0, 0)
) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Trace every nucleus of a label map.

    Parameters
    ----------
    labels
        ``(H, W)`` integers, 0 is background; the edge of the array bounds nuclei that reach it.
    offset_yx
        Position of the array's first pixel, added to the coordinates.

    Returns
    -------
    ids
        ``(n,)`` label ids, ascending.
    polygons
        ``(n,)`` shapely ``Polygon`` with whole-number coordinates ``(x, y)``, or ``MultiPolygon``
        for a nucleus of several parts. Shells run clockwise on the screen.
    """
    return _traced(labels, offset_yx, with_junctions=False)


def coverage_of_labels(
    labels: NDArray[np.integer], offset_yx: tuple[int, int] = (0, 0)
) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Trace every nucleus, with a corner also wherever three labels meet on a straight side.

    As `polygons_of_labels`, but nuclei that touch have every corner of their border in common: the
    polygons are a valid coverage (`shapely.coverage_is_valid`), as its simplification asks for.
    """
    return _traced(labels, offset_yx, with_junctions=True)


def _traced(
    labels: NDArray[np.integer], offset_yx: tuple[int, int], with_junctions: bool
) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    padded = np.pad(labels, 1)
    edges = boundary_edges(padded)
    if not len(edges.start):
        return np.zeros(0, np.int64), np.zeros(0, object)
    first, to_first = _cut_rings(edges)
    rings = _corners(edges, first, to_first, padded, with_junctions)
    return _assemble(rings, padded, offset_yx)


def polygon_of_mask(
    mask: NDArray[np.bool_], offset_yx: tuple[int, int] = (0, 0)
) -> shapely.Polygon | shapely.MultiPolygon:
    """Trace one mask that begins at pixel ``offset_yx``; an empty mask gives an empty polygon."""
    _, polygons = polygons_of_labels(mask.astype(np.uint8), offset_yx)
    return polygons[0] if len(polygons) else shapely.Polygon()


@dataclass(frozen=True, slots=True)
class BoundaryEdges:
    """Directed pixel sides, as positions in the flat padded label map.

    A vertex has the number of the pixel below and right of it. ``following`` is the edge that
    comes next if a ring turns right where it meets itself; it does so at the end of the edges in
    ``pinched``.
    """

    start: NDArray[np.int64]
    direction: NDArray[np.int8]
    label: NDArray[np.integer]
    following: NDArray[np.int64]
    pinched: NDArray[np.int64]


def boundary_edges(padded: NDArray[np.integer]) -> BoundaryEdges:
    """Find all edges, and for each the next one from the two pixels ahead of it."""
    flat, width = padded.ravel(), padded.shape[1]
    rows = np.flatnonzero(padded[1:].ravel() != padded[:-1].ravel()) + width
    columns = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    below, above = flat[rows] > 0, flat[rows - width] > 0
    right, left = flat[columns] > 0, flat[columns - 1] > 0
    # The label lies on the right: east along its upper side, south along its right side.
    starts = (rows[below], columns[left], rows[above] + 1, columns[right] + width)
    start = np.concatenate(starts)
    counts = [len(s) for s in starts]
    direction = np.repeat(np.arange(4, dtype=np.int8), counts)

    step = np.array([1, width, -1, -width])
    inside = np.array([0, -1, -width - 1, -width])
    outside = np.roll(inside, 1)
    label = flat[start + inside[direction]]
    end = start + step[direction]
    ahead_right = flat[end + inside[direction]] == label
    ahead_left = flat[end + outside[direction]] == label
    turn = np.where(~ahead_right, 1, np.where(ahead_left, -1, 0))
    next_direction = (direction + turn) % 4
    following = np.empty(len(start), np.int64)
    first = np.cumsum([0, *counts])
    for d in range(4):
        takers = np.flatnonzero(next_direction == d)
        following[takers] = first[d] + np.searchsorted(starts[d], end[takers])
    return BoundaryEdges(
        start, direction, label, following, np.flatnonzero(ahead_left & ~ahead_right)
    )


def ring_order(following: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return, for each edge, the first edge of its ring (of lowest number) and the steps to it.

    In round k every edge knows the lowest of the ``2**k`` edges from itself on.
    """
    first = np.arange(len(following))
    steps = np.zeros(len(following), np.int64)
    jump, reach = following, 1
    while True:
        candidate = first[jump]
        lower = candidate < first
        steps = np.where(lower, reach + steps[jump], steps)
        first = np.where(lower, candidate, first)
        if np.array_equal(first, first[following]):
            return first, steps
        jump, reach = jump[jump], reach * 2


def _cut_rings(edges: BoundaryEdges) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Order the rings, cut wherever one meets itself; ``edges.following`` is changed in place.

    A ring that turns right everywhere bounds one 4-connected part and may pass a vertex twice.
    Its passes nest like brackets, since it cannot cross itself, so turning left at all such
    vertices at once cuts it into simple rings. Two rings that meet are left as they are.
    """
    following = edges.following
    first, steps = ring_order(following)
    pinched = edges.pinched
    if not len(pinched):
        return first, steps
    vertex = edges.start[following[pinched]]
    order = np.lexsort((first[pinched], vertex))
    pinched, vertex = pinched[order], vertex[order]
    twice = np.flatnonzero((vertex[1:] == vertex[:-1]) & (np.diff(first[pinched]) == 0))
    if not len(twice):
        return first, steps
    a, b = pinched[twice], pinched[twice + 1]
    following[a], following[b] = following[b], following[a]
    changed = np.flatnonzero(np.isin(first, first[a]))
    local_first, steps[changed] = ring_order(np.searchsorted(changed, following[changed]))
    first[changed] = changed[local_first]
    return first, steps


@dataclass(frozen=True, slots=True)
class _Rings:
    """Closed rings, ordered by label: corners ``(m, 2)`` xy, where each ring begins, its label.

    ``pixel`` is the flat position, in the padded map, of a pixel that the ring bounds.
    """

    corners_xy: NDArray[np.int64]
    offsets: NDArray[np.int64]
    label: NDArray[np.integer]
    pixel: NDArray[np.int64]
    is_shell: NDArray[np.bool_]


def _corners(
    edges: BoundaryEdges,
    first: NDArray,
    steps: NDArray,
    padded: NDArray[np.integer],
    with_junctions: bool,
) -> _Rings:
    """Lay the rings out one after the other and keep the vertices where they turn.

    Junctions are where another label begins on the other side.
    """
    width = padded.shape[1]
    heads = np.flatnonzero(steps == 0)
    length = np.bincount(first, minlength=len(first))[heads]
    by_label = np.lexsort((heads, edges.label[heads]))
    heads, length = heads[by_label], length[by_label]
    begin = np.zeros(len(first), np.int64)
    begin[heads] = np.cumsum(length) - length
    size = np.zeros(len(first), np.int64)
    size[heads] = length
    place = begin[first] + (size[first] - steps) % size[first]
    ordered = np.empty(len(first), np.int64)
    ordered[place] = np.arange(len(first))

    # A ring begins at the leftmost of its topmost upper sides, which is a corner.
    direction = edges.direction[ordered]
    turns = np.append(True, direction[1:] != direction[:-1])
    inside = np.array([0, -1, -width - 1, -width])
    if with_junctions:
        beyond = padded.ravel()[edges.start[ordered] + np.roll(inside, 1)[direction]]
        turns[1:] |= beyond[1:] != beyond[:-1]
    turns[begin[heads]] = True
    ring = np.repeat(np.arange(len(heads)), length)[turns]
    count = np.bincount(ring, minlength=len(heads))
    vertex = edges.start[ordered][turns]
    y, x = np.divmod(vertex, width)
    open_xy = np.column_stack([x, y]) - 1
    open_begin = np.cumsum(count) - count
    # Close each ring with its first corner.
    closed_xy = np.insert(open_xy, open_begin + count, open_xy[open_begin], axis=0)
    offsets = np.append(0, np.cumsum(count + 1))
    cross = closed_xy[:-1, 0] * closed_xy[1:, 1] - closed_xy[1:, 0] * closed_xy[:-1, 1]
    cross[offsets[1:-1] - 1] = 0
    area = np.add.reduceat(cross, offsets[:-1])
    pixel = edges.start[heads] + inside[edges.direction[heads]]
    return _Rings(closed_xy, offsets, edges.label[heads], pixel, area > 0)


def _assemble(
    rings: _Rings, padded: NDArray[np.integer], offset_yx: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Make polygons of shells and their holes, and multipolygons of several parts."""
    xy = rings.corners_xy + np.array([offset_yx[1], offset_yx[0]])
    is_new = np.append(True, rings.label[1:] != rings.label[:-1])
    number = np.cumsum(is_new) - 1
    ids = rings.label[is_new].astype(np.int64)
    n_shells = np.bincount(number, rings.is_shell).astype(np.int64)
    n_rings = np.bincount(number)
    offsets, is_shell = rings.offsets, rings.is_shell
    # A nucleus of one part already has its shell first, for that begins at its topmost side.
    unclear = np.flatnonzero((n_shells > 1) & (n_rings > n_shells))
    if len(unclear):
        order = _order_of_parts(rings, padded, number, unclear)
        lengths = np.diff(offsets)[order]
        new_offsets = np.append(0, np.cumsum(lengths))
        within = np.arange(len(xy)) - np.repeat(new_offsets[:-1], lengths)
        xy = xy[np.repeat(offsets[order], lengths) + within]
        offsets, is_shell = new_offsets, is_shell[order]
    part_begins = np.append(np.flatnonzero(is_shell), len(is_shell))
    parts = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, xy.astype(np.float64), (offsets, part_begins)
    )
    first_part = np.cumsum(n_shells) - n_shells
    polygons = parts[first_part]
    several = n_shells > 1
    of_several = np.repeat(several, n_shells)
    if several.any():
        group = np.repeat(np.arange(several.sum()), n_shells[several])
        polygons[several] = shapely.multipolygons(parts[of_several], indices=group)
    return ids, polygons


def _order_of_parts(
    rings: _Rings, padded: NDArray[np.integer], number: NDArray, unclear: NDArray
) -> NDArray[np.int64]:
    """Return the order that puts holes after their shell, for labels of several parts."""
    order = np.arange(len(number))
    begins = np.searchsorted(number, unclear)
    ends = np.searchsorted(number, unclear, side="right")
    for begin, end in zip(begins, ends, strict=True):
        xy = rings.corners_xy[rings.offsets[begin] : rings.offsets[end]]
        (x0, y0), (x1, y1) = xy.min(axis=0) + 1, xy.max(axis=0) + 1
        components = np.zeros((y1 - y0, x1 - x0), np.int32)
        ndimage.label(padded[y0:y1, x0:x1] == rings.label[begin], output=components)
        y, x = np.divmod(rings.pixel[begin:end], padded.shape[1])
        part = components[y - y0, x - x0]
        order[begin:end] = begin + np.lexsort((~rings.is_shell[begin:end], part))
    return order


def rasterize(polygons: ArrayLike, ids: ArrayLike, shape: tuple[int, int]) -> NDArray[np.int32]:
    """Paint polygons into a label map: a pixel belongs to what holds its centre.

    Parameters
    ----------
    polygons
        ``(n,)`` shapely polygons or multipolygons, ``(x, y)``, corner-origin; any coordinates.
    ids
        ``(n,)`` labels. Where polygons overlap, the later one is on top.
    shape
        Height and width; what lies outside is cut off.
    """
    labels = np.zeros(shape, np.int32)
    ids = np.asarray(ids)
    polygon, rows, begins, ends = _spans(np.asarray(polygons, object), (0, 0, *shape))
    span, columns = _expand(begins, ends)
    labels[rows[span], columns] = ids[polygon[span]]
    return labels


def masks_of_polygons(
    polygons: ArrayLike,
) -> tuple[NDArray[np.int64], tuple[NDArray[np.bool_], ...]]:
    """Rasterise each polygon on its own: a pixel belongs to it if its centre does.

    Parameters
    ----------
    polygons
        ``(n,)`` shapely polygons or multipolygons, ``(x, y)``, corner-origin; any finite
        coordinates, overlaps are no matter.

    Returns
    -------
    boxes
        ``(n, 4)`` boxes ``(y0, x0, y1, x1)`` that hold the polygons; not always tight.
    masks
        n bool arrays of the size of the boxes; empty of pixels for a polygon between centres.
    """
    shapes = np.asarray(polygons, object)
    x0, y0, x1, y1 = np.nan_to_num(shapely.bounds(shapes)).T.reshape(4, -1)
    boxes = np.column_stack([np.floor(y0), np.floor(x0), np.ceil(y1), np.ceil(x1)])
    boxes = boxes.astype(np.int64)
    heights, widths = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    ends_of = np.cumsum(heights * widths)
    flat = np.zeros(int(ends_of[-1]) if len(ends_of) else 0, np.bool_)
    group = np.cumsum(crossings_of_polygons(shapes)) // AT_ONCE
    for chosen in np.split(np.arange(len(shapes)), np.flatnonzero(np.diff(group)) + 1):
        polygon, rows, begins, ends = _spans(shapes[chosen], None)
        polygon = chosen[polygon]
        start = (ends_of - heights * widths)[polygon] + (rows - boxes[polygon, 0]) * widths[polygon]
        left = boxes[polygon, 1]
        _, place = _expand(start + begins - left, start + ends - left)
        flat[place] = True
    masks = np.split(flat, ends_of[:-1]) if len(ends_of) else []
    return boxes, tuple(
        mask.reshape(h, w)
        for mask, h, w in zip(masks, heights.tolist(), widths.tolist(), strict=True)
    )


def crossings_of_polygons(polygons: NDArray[np.object_]) -> NDArray[np.int64]:
    """Return how many rows the sides of each polygon ``(n,)`` cross: what rasterising costs.

    About twice the height of what has the shape of a nucleus.
    """
    xy, polygon = shapely.get_coordinates(polygons, return_index=True)
    if not len(xy):
        return np.zeros(len(polygons), np.int64)
    along = polygon[1:] == polygon[:-1]
    rows = np.ceil(np.abs(np.diff(xy[:, 1]))) * along
    return np.bincount(polygon[1:], rows, len(polygons)).astype(np.int64)


def _spans(
    polygons: NDArray[np.object_], clip: tuple[int, int, int, int] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return polygon, row, first column and column after the last of each span of pixels.

    Spans come polygon by polygon; ``clip`` cuts them to a box. In a part the even-odd rule holds,
    also where its rings cross; parts that overlap have spans that do.
    """
    parts, polygon_of_part = shapely.get_parts(polygons, return_index=True)
    rings, part_of_ring = shapely.get_rings(parts, return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    if not len(xy):
        none = np.zeros(0, np.int64)
        return none, none, none, none
    same_ring = ring[1:] == ring[:-1]
    a, b = xy[:-1][same_ring], xy[1:][same_ring]
    part = part_of_ring[ring[1:][same_ring]]
    # Rows whose centre line the side crosses, half-open so that a shared corner counts once.
    row0 = np.ceil(np.minimum(a[:, 1], b[:, 1]) - 0.5).astype(np.int64)
    row1 = np.ceil(np.maximum(a[:, 1], b[:, 1]) - 0.5).astype(np.int64)
    if clip is not None:
        row0, row1 = row0.clip(clip[0], clip[2]), row1.clip(clip[0], clip[2])
    side, rows = _expand(row0, row1)
    (ax, ay), (bx, by) = a[side].T, b[side].T
    crossing = ax + (rows + 0.5 - ay) / (by - ay) * (bx - ax)
    order = np.lexsort((crossing, rows, part[side]))
    column = np.ceil(crossing[order] - 0.5).astype(np.int64)
    if clip is not None:
        column = column.clip(clip[1], clip[3])
    # Sorted crossings of a row pair up into spans.
    polygon = polygon_of_part[part[side[order[::2]]]]
    return polygon, rows[order[::2]], column[::2], column[1::2]


def _expand(begin: NDArray, end: NDArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return position and value of every whole number of the ranges ``begin <= v < end``."""
    length = np.maximum(end - begin, 0)
    position = np.repeat(np.arange(len(length)), length)
    within = np.arange(len(position)) - np.repeat(np.cumsum(length) - length, length)
    return position, begin[position] + within
