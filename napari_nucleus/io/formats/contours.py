"""Contours as OpenCV has them: the pixels along the rim of a nucleus, and the mask from them.

HoVer-Net and what came after it store ``cv2.findContours(mask, RETR_TREE, CHAIN_APPROX_SIMPLE)``:
the rim pixels of an 8-connected part (Suzuki and Abe 1985), as positions of pixels ``(x, y)`` and
not of their corners, those left out that lie straight between their neighbours. Filled with
``cv2.fillPoly``, which draws the rim as well, such a contour is the part with its holes filled. A
contour that is taken for a polygon of corners lacks half a pixel all around.

All nuclei of a label map are traced at once, as in `napari_nucleus.core.polygons`: pixels come in
the order of the pixel sides between them and their surroundings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage

from napari_nucleus.core.polygons import (
    BoundaryEdges,
    boundary_edges,
    masks_of_polygons,
    ring_order,
)
from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.annotation_file import sized_as_nuclei

__all__ = ["checked_contour", "contours_of_labels", "masks_of_contours"]

FEWEST = 3
"""Points of a contour that every reader takes: HoVer-Net drops those of fewer."""

BATCH = 10_000
"""Contours that are filled at a time."""

EIGHT = np.ones((3, 3), bool)

Contour = NDArray[np.int64]
"""``(m, 2)`` positions ``(x, y)`` of pixels."""


def contours_of_labels(
    labels: NDArray[np.integer], offset_yx: tuple[int, int] = (0, 0)
) -> tuple[NDArray[np.int64], list[Contour]]:
    """Trace the largest 8-connected part of every nucleus of a label map.

    Parameters
    ----------
    labels
        ``(H, W)`` integers, 0 is background.
    offset_yx
        Position of the array's first pixel, added to the positions.

    Returns
    -------
    ids
        ``(n,)`` label ids, ascending.
    contours
        n contours as OpenCV gives them: from the leftmost of the topmost pixels on, down its left
        side. A nucleus of one pixel, or of a straight line of them, has fewer than `FEWEST`; its
        last point is repeated.
    """
    padded = np.pad(labels, 1)
    width = padded.shape[1]
    edges = boundary_edges(padded)
    if not len(edges.start):
        return np.zeros(0, np.int64), []
    _join_at_corners(edges)
    first, steps = ring_order(edges.following)
    inside = np.array([0, -1, -width - 1, -width])
    pixel = edges.start + inside[edges.direction]
    heads = _outlines_of_parts(edges, first, steps, width)
    heads = _of_largest_parts(heads, edges.label[heads], pixel[heads], padded)

    chosen = np.isin(first, heads)
    place = np.searchsorted(heads, first[chosen])
    length = np.bincount(place, minlength=len(heads))
    # Against the order of the sides, which run clockwise: OpenCV goes down first.
    order = np.lexsort((steps[chosen] % length[place], place))
    rim, ring = _turning_points(pixel[chosen][order], place[order], width)

    y, x = np.divmod(rim, width)
    xy = np.column_stack([x - 1 + offset_yx[1], y - 1 + offset_yx[0]])
    ids = edges.label[heads].astype(np.int64)
    by_id = np.argsort(ids)
    contours = np.split(xy, np.cumsum(np.bincount(ring, minlength=len(heads)))[:-1])
    return ids[by_id], [_padded(contours[i]) for i in by_id.tolist()]


def _join_at_corners(edges: BoundaryEdges) -> None:
    """Let rings turn left where pixels of one label meet at a corner; changes them in place."""
    pinched = edges.pinched
    vertex = edges.start[edges.following[pinched]]
    pinched = pinched[np.lexsort((edges.label[pinched], vertex))]
    a, b = pinched[::2], pinched[1::2]
    edges.following[a], edges.following[b] = edges.following[b], edges.following[a]


def _outlines_of_parts(
    edges: BoundaryEdges, first: NDArray, steps: NDArray, width: int
) -> NDArray[np.int64]:
    """Return the first edge of each ring that lies around a part, not around a hole."""
    x = edges.start % width
    down = (edges.direction == 1).astype(np.int64) - (edges.direction == 3)
    area = np.bincount(first, x * down, len(first))
    return np.flatnonzero((steps == 0) & (area > 0))


def _of_largest_parts(
    heads: NDArray[np.int64],
    label: NDArray[np.integer],
    pixel: NDArray[np.int64],
    padded: NDArray[np.integer],
) -> NDArray[np.int64]:
    """Return the rings, one a label, around the part of most pixels; ``heads`` ascends."""
    _, number, count = np.unique(label, return_inverse=True, return_counts=True)
    kept = count[number] == 1
    several = np.flatnonzero(~kept)
    groups = several[np.argsort(number[several], kind="stable")]
    for group in np.split(groups, np.flatnonzero(np.diff(number[groups])) + 1):
        if len(group):
            kept[_largest(group, label, pixel, padded)] = True
    return heads[kept]


def _largest(
    group: NDArray[np.int64],
    label: NDArray[np.integer],
    pixel: NDArray[np.int64],
    padded: NDArray[np.integer],
) -> int:
    """Return the ring of a group, all of one label, whose part has most pixels."""
    rows, columns = np.nonzero(padded == label[group[0]])
    y0, x0 = rows.min(), columns.min()
    crop = np.zeros((rows.max() - y0 + 1, columns.max() - x0 + 1), bool)
    crop[rows - y0, columns - x0] = True
    parts = np.zeros(crop.shape, np.int32)
    ndimage.label(crop, structure=EIGHT, output=parts)
    y, x = np.divmod(pixel[group], padded.shape[1])
    return int(group[np.bincount(parts.ravel())[parts[y - y0, x - x0]].argmax()])


def _turning_points(
    pixel: NDArray[np.int64], ring: NDArray[np.int64], width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pixels at which rings turn, and the ring of each.

    Rings lie one after the other; a pixel comes once for each of its sides, of which the last
    stands for it.
    """
    moved = pixel != pixel[_neighbours(ring)[1]]
    moved |= _begins(ring) & ~_any_in_ring(moved, ring)
    pixel, ring = pixel[moved], ring[moved]
    before, after = _neighbours(ring)
    # Steps to the eight neighbours differ as numbers, because a padded row has three pixels.
    turns = pixel - pixel[before] != pixel[after] - pixel
    turns |= _begins(ring) & ~_any_in_ring(turns, ring)
    return pixel[turns], ring[turns]


def _begins(ring: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.append(True, ring[1:] != ring[:-1])


def _neighbours(ring: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions before and after each one in its ring, which is closed."""
    begins = np.flatnonzero(_begins(ring))
    ends = np.append(begins[1:], len(ring)) - 1
    before, after = np.arange(len(ring)) - 1, np.arange(len(ring)) + 1
    before[begins], after[ends] = ends, begins
    return before, after


def _any_in_ring(values: NDArray[np.bool_], ring: NDArray[np.int64]) -> NDArray[np.bool_]:
    return (np.bincount(ring, values) > 0)[ring]


def _padded(contour: Contour) -> Contour:
    missing = FEWEST - len(contour)
    return contour if missing <= 0 else np.vstack([contour, np.repeat(contour[-1:], missing, 0)])


def masks_of_contours(
    name: str, contours: Sequence[NDArray], notes: list[str]
) -> tuple[list[NDArray[np.bool_] | None], NDArray[np.int64]]:
    """Return the pixels on and inside of contours, as ``cv2.fillPoly`` draws each of them.

    Parameters
    ----------
    name
        Of the file, for errors.
    contours
        n arrays ``(m, 2)`` of positions ``(x, y)`` of pixels; fractions are rounded. Those without
        a point have no pixel.
    notes
        Gets a sentence about those that are left out.

    Returns
    -------
    masks
        n bool arrays, None for what is too large for a nucleus.
    offsets_yx
        ``(n, 2)`` the pixel at which each array begins.

    Raises
    ------
    AnnotationError
        If a coordinate is no pixel of an image.
    """
    count = np.array([len(c) for c in contours], np.int64)
    boxes = np.zeros((len(contours), 4))
    some = np.flatnonzero(count)
    if not len(some):
        return [np.zeros((0, 0), bool)] * len(contours), boxes[:, :2].astype(np.int64)
    points = np.concatenate([contours[i] for i in some.tolist()]).astype(np.float64)
    begins = np.cumsum(count[some]) - count[some]
    boxes[some, :2] = np.minimum.reduceat(points, begins)[:, ::-1]
    boxes[some, 2:] = np.maximum.reduceat(points, begins)[:, ::-1]
    sized = sized_as_nuclei(name, boxes, notes)
    offsets = np.floor(boxes[:, :2] + 0.5).astype(np.int64)

    drawn = np.flatnonzero(sized & (count > 0))
    filled: dict[int, NDArray[np.bool_]] = {}
    for first in range(0, len(drawn), BATCH):
        some = drawn[first : first + BATCH].tolist()
        rounded = [np.floor(contours[i] + 0.5).astype(np.int64) for i in some]
        filled.update(zip(some, _filled(rounded), strict=True))
    nothing: NDArray[np.bool_] = np.zeros((0, 0), bool)
    masks: list[NDArray[np.bool_] | None] = [
        filled.get(i, nothing if ok else None) for i, ok in enumerate(sized.tolist())
    ]
    return masks, offsets


def _filled(contours: list[Contour]) -> list[NDArray[np.bool_]]:
    """Return the mask of each contour, from its lowest position to its highest."""
    if not contours:
        return []
    ring = np.repeat(np.arange(len(contours)), [len(c) for c in contours])
    points = np.concatenate(contours)
    begins = np.flatnonzero(_begins(ring))
    low = np.minimum.reduceat(points, begins)
    size = np.maximum.reduceat(points, begins) - low + 1
    local = points - low[ring]
    masks: list[NDArray[np.bool_]] = [np.zeros((h, w), bool) for w, h in size.tolist()]

    # Closed, and by more points than it takes, for the library wants four.
    ends = np.append(begins[1:], len(ring))
    closed = np.insert(local, np.repeat(ends, 3), np.repeat(local[begins], 3, axis=0), axis=0)
    closed_ring = np.insert(ring, np.repeat(ends, 3), np.repeat(ring[begins], 3))
    shells = np.asarray(shapely.linearrings(closed + 0.5, indices=closed_ring))
    polygons = np.asarray(shapely.polygons(shells))
    boxes, insides = masks_of_polygons(polygons)
    for mask, inside, (y0, x0, y1, x1) in zip(masks, insides, boxes.tolist(), strict=True):
        part = mask[y0:y1, x0:x1]
        part |= inside[: part.shape[0], : part.shape[1]]

    rims, ring_of_pixel = _lines(local, ring)
    last = np.searchsorted(ring_of_pixel, np.arange(len(masks)), side="right")
    for mask, xy in zip(masks, np.split(rims, last[:-1]), strict=True):
        mask[xy[:, 1], xy[:, 0]] = True
    return masks


def _lines(points: Contour, ring: NDArray[np.int64]) -> tuple[Contour, NDArray[np.int64]]:
    """Return the pixels on the lines between the points of closed rings, and the ring of each."""
    target = points[_neighbours(ring)[1]]
    longer: NDArray[np.int64] = np.abs(target - points).max(axis=1)
    line = np.repeat(np.arange(len(points)), longer + 1)
    step = np.arange(len(line)) - np.repeat(np.cumsum(longer + 1) - longer - 1, longer + 1)
    share = step / np.maximum(longer, 1)[line]
    way = (target - points)[line] * share[:, None]
    return points[line] + np.floor(way + 0.5).astype(np.int64), ring[line]


def checked_contour(value: Any, name: str, which: object) -> NDArray[np.float64]:
    """Return a contour in a file as ``(m, 2)``.

    Raises
    ------
    AnnotationError
        If it is no list of points.
    """
    try:
        return np.asarray(value, np.float64).reshape(len(value), 2)
    except (TypeError, ValueError, OverflowError) as error:
        raise AnnotationError(
            f"{name}: the contour of nucleus {which} is no list of points (x, y)."
        ) from error
