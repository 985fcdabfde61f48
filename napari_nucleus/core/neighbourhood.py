"""Who lies next to whom: nearest neighbours of cells, and how mixed their classes are.

Neighbours at exactly the same distance are taken in the order of their ids, so that the answer does
not depend on the search: a k-d tree over all cells and a plain search for a few give the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

__all__ = ["ROUNDING", "neighbour_entropy", "neighbours", "neighbours_of", "squared_distances"]

ROUNDING = 1 + 1e-9
"""Distances that differ by less may be equal."""

PLAIN_SEARCH = 4_000_000
"""Pairs of points up to which all distances are computed at once."""


def squared_distances(a_yx: NDArray[np.float64], b_yx: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return squared distances of points ``(..., 2)``, always by the same rounding."""
    dy, dx = a_yx[..., 0] - b_yx[..., 0], a_yx[..., 1] - b_yx[..., 1]
    return dy * dy + dx * dx


def neighbours(points_yx: NDArray[np.float64], ids: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Return the k nearest other points of each of n points.

    Parameters
    ----------
    points_yx
        ``(n, 2)``.
    ids
        ``(n,)``; of points that are equally far, that of the lower id is nearer.
    k
        At most ``n - 1`` are found.

    Returns
    -------
    ndarray
        ``(n, min(k, n - 1))`` rows of ``points_yx``, the nearest first.
    """
    n = len(points_yx)
    k = min(k, max(n - 1, 0))
    if not k:
        return np.zeros((n, 0), np.int64)
    tree = cKDTree(points_yx)
    # The point itself, k others, and the one after them: is it as near as the last?
    _, found = tree.query(points_yx, min(k + 2, n))
    squared = squared_distances(points_yx[found], points_yx[:, None])
    squared[found == np.arange(n)[:, None]] = np.inf
    order = np.lexsort((ids[found], squared), axis=1)
    found = np.take_along_axis(found, order, axis=1)
    squared = np.take_along_axis(squared, order, axis=1)
    result = found[:, :k].astype(np.int64)
    # Among many points at one place, the point itself need not be among those found.
    unclear = (squared[:, k] <= squared[:, k - 1] * ROUNDING) | np.isfinite(squared[:, -1])
    rows = np.flatnonzero(unclear)
    reach = np.sqrt(squared[rows, k - 1]) * ROUNDING
    for row, near in zip(rows.tolist(), tree.query_ball_point(points_yx[rows], reach), strict=True):
        result[row] = _nearest(points_yx, ids, row, np.asarray(near), k)
    return result


def neighbours_of(
    rows: NDArray[np.int64], points_yx: NDArray[np.float64], ids: NDArray[np.int64], k: int
) -> NDArray[np.int64]:
    """Return what `neighbours` returns for a few rows ``(m,)``, without a tree.

    Points at infinity are neighbours of none; there must be at least k others.
    """
    found = np.zeros((len(rows), k), np.int64)
    step = max(PLAIN_SEARCH // max(len(points_yx), 1), 1)
    for begin in range(0, len(rows) if k else 0, step):
        some = rows[begin : begin + step]
        squared = squared_distances(points_yx[None], points_yx[some][:, None])
        squared[np.arange(len(some)), some] = np.inf
        last = np.partition(squared, k - 1, axis=1)[:, k - 1]
        for i, row in enumerate(some.tolist()):
            near = np.flatnonzero(squared[i] <= last[i])
            found[begin + i] = _nearest(points_yx, ids, row, near, k)
    return found


def _nearest(
    points_yx: NDArray[np.float64],
    ids: NDArray[np.int64],
    row: int,
    candidates: NDArray[np.int64],
    k: int,
) -> NDArray[np.int64]:
    candidates = candidates[candidates != row]
    squared = squared_distances(points_yx[candidates], points_yx[row])
    return candidates[np.lexsort((ids[candidates], squared))[:k]]


def neighbour_entropy(
    class_ids: NDArray[np.integer], neighbour_rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the entropy of the classes among the neighbours of each cell, in bits.

    Parameters
    ----------
    class_ids
        ``(n,)`` classes 1–5 of all cells.
    neighbour_rows
        ``(m, k)`` rows of the neighbours of m cells; without neighbours the entropy is 0.
    """
    k = neighbour_rows.shape[1]
    if not k:
        return np.zeros(len(neighbour_rows))
    share = np.arange(k + 1) / k
    part = np.zeros(k + 1)
    part[1:] = -share[1:] * np.log2(share[1:])
    near = class_ids[neighbour_rows]
    entropy = np.zeros(len(near))
    for class_id in range(1, 6):
        entropy += part[(near == class_id).sum(axis=1)]
    return entropy


def nearest_of_classes(
    points_yx: NDArray[np.float64], class_ids: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return, for each cell, how far the nearest other cell of each class is, and which it is.

    Parameters
    ----------
    points_yx, class_ids
        ``(n, 2)`` and ``(n,)`` classes 1–5.

    Returns
    -------
    squared
        ``(n, 6)`` squared distances by class id; infinite where there is no other cell.
    rows
        ``(n, 6)`` rows of the nearest; -1 where there is none.
    """
    n = len(points_yx)
    squared, rows = np.full((n, 6), np.inf), np.full((n, 6), -1, np.int64)
    for class_id in range(1, 6):
        members = np.flatnonzero(class_ids == class_id)
        if len(members):
            every = np.arange(n)
            squared[:, class_id], rows[:, class_id] = nearest_member(every, members, points_yx)
    return squared, rows


def nearest_member(
    rows: NDArray[np.int64], members: NDArray[np.int64], points_yx: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return squared distance and row of the nearest of ``members`` that is not the row itself.

    Both ``(m,)``, for rows ``(m,)`` of ``points_yx``; infinite and -1 where there is none.
    """
    wanted, there = points_yx[rows], points_yx[members]
    if not len(members):
        return np.full(len(rows), np.inf), np.full(len(rows), -1, np.int64)
    if len(rows) * len(members) <= PLAIN_SEARCH // 10:
        squared = squared_distances(there[None], wanted[:, None])
        squared[rows[:, None] == members[None]] = np.inf
        place = squared.argmin(axis=1)
    else:
        _, two = cKDTree(there).query(wanted, min(2, len(members)))
        two = two.reshape(len(rows), -1)
        squared = squared_distances(there[two], wanted[:, None])
        squared[members[two] == rows[:, None]] = np.inf
        place = np.take_along_axis(two, squared.argmin(axis=1)[:, None], axis=1)[:, 0]
    squared = squared.min(axis=1)
    return squared, np.where(np.isfinite(squared), members[place], -1)
