"""One-to-one matchings: of points by distance, and of overlapping nuclei by weight.

Knows nothing of what is matched. Exact, like the assignment over a full matrix, but sparse where
that gives the same answer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

__all__ = ["best_matching", "match_points"]


def match_points(
    true_yx: ArrayLike, pred_yx: ArrayLike, radius: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair two sets of points one to one; return the positions of the pairs in each.

    All points of the smaller set are paired at the least total Euclidean distance, then pairs
    farther apart than ``radius`` are dropped (HoVer-Net's rule). Because the total counts far
    pairs too, a k-d tree decides alone only if no two points have the same nearest neighbour;
    otherwise time and memory grow with the product of the numbers of points.
    """
    true, pred = (
        np.asarray(true_yx, float).reshape(-1, 2),
        np.asarray(pred_yx, float).reshape(-1, 2),
    )
    few, many = (true, pred) if len(true) <= len(pred) else (pred, true)
    if not len(few):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    few_index = np.arange(len(few))
    distance, many_index = KDTree(many).query(few)
    if len(np.unique(many_index)) < len(few):
        all_distances = cdist(few, many)
        few_index, many_index = linear_sum_assignment(all_distances)
        distance = all_distances[few_index, many_index]
    near = np.asarray(distance) <= radius
    few_index, many_index = few_index[near], np.asarray(many_index)[near]
    return (few_index, many_index) if few is true else (many_index, few_index)


def best_matching(row: NDArray, column: NDArray, weight: NDArray) -> NDArray[np.int64]:
    """Return the edges of a bipartite graph that pair one to one at the highest total weight.

    An edge heavier than the heaviest rival in its row and the heaviest in its column together is
    in every best matching: exchanging it for the two would lose. Nearly all nuclei are settled
    so; what is left falls into small components, solved one by one.
    """
    left = np.arange(len(weight))
    settled: list[NDArray[np.int64]] = []
    while len(left):
        r, c, w = row[left], column[left], weight[left]
        sure = w > _heaviest_rival(r, w) + _heaviest_rival(c, w)
        if not sure.any():
            break
        settled.append(left[sure])
        left = left[~(np.isin(r, r[sure]) | np.isin(c, c[sure]))]
    settled += _matching_by_component(row[left], column[left], weight[left], left)
    return np.concatenate([np.zeros(0, np.int64), *settled])


def _heaviest_rival(node: NDArray, weight: NDArray) -> NDArray[np.float64]:
    """Return, for each edge, the largest weight of the other edges at its node; 0 if alone."""
    top, second = np.zeros(node.max() + 1), np.zeros(node.max() + 1)
    np.maximum.at(top, node, weight)
    is_top = weight == top[node]
    np.maximum.at(second, node[~is_top], weight[~is_top])
    alone_on_top = is_top & (np.bincount(node, is_top)[node] == 1)
    return np.where(alone_on_top, second[node], top[node])


def _matching_by_component(
    row: NDArray, column: NDArray, weight: NDArray, edge: NDArray
) -> list[NDArray[np.int64]]:
    if not len(edge):
        return []
    rows, r = np.unique(row, return_inverse=True)
    columns, c = np.unique(column, return_inverse=True)
    n = len(rows) + len(columns)
    graph = coo_array((np.ones(len(r), bool), (r, len(rows) + c)), shape=(n, n))
    _, component = connected_components(graph, directed=False)
    order = np.argsort(component[r], kind="stable")
    found = []
    for part in np.split(order, np.flatnonzero(np.diff(component[r][order])) + 1):
        local_rows, i = np.unique(r[part], return_inverse=True)
        local_columns, j = np.unique(c[part], return_inverse=True)
        total = np.zeros((len(local_rows), len(local_columns)))
        number = np.full(total.shape, -1)
        total[i, j], number[i, j] = weight[part], edge[part]
        chosen = number[linear_sum_assignment(total, maximize=True)]
        found.append(chosen[chosen >= 0])
    return found
