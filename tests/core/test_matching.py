from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from napari_nucleus.core.matching import best_matching, match_points

points = st.integers(0, 12).flatmap(
    lambda n: arrays(np.float64, (n, 2), elements=st.floats(0, 30, width=16))
)


@given(points, points)
def test_points_pair_at_the_least_total_distance_then_far_pairs_go(true, pred):
    i, j = match_points(true, pred, np.inf)
    distance = cdist(true, pred)
    assert len(i) == min(len(true), len(pred))
    assert len(set(i)) == len(set(j)) == len(i)
    assert distance[i, j].sum() == pytest.approx(distance[linear_sum_assignment(distance)].sum())
    near_i, near_j = match_points(true, pred, 4)
    kept = distance[i, j] <= 4
    assert distance[near_i, near_j].sum() == pytest.approx(distance[i[kept], j[kept]].sum())


def test_a_far_pair_can_take_the_nearest_point_away():
    # Both true points are nearest to the same prediction: the sum decides, not the order.
    i, j = match_points([(0, 0), (0, 2)], [(0, 1.5), (0, 40)], 12)
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == [(0, 0)] or (
        list(zip(i.tolist(), j.tolist(), strict=True)) == [(1, 0)]
    )


def test_no_points_pair_with_nothing():
    i, j = match_points(np.zeros((0, 2)), [(1, 1)], 12)
    assert len(i) == len(j) == 0


@given(arrays(np.float64, (7, 6), elements=st.sampled_from([0, 0, 0, 0.25, 0.4, 0.5, 0.8, 1])))
def test_best_matching_equals_the_assignment_over_the_full_matrix(weight):
    row, column = np.nonzero(weight)
    chosen = best_matching(row, column, weight[row, column])
    assert len(set(row[chosen])) == len(set(column[chosen])) == len(chosen)
    assert weight[row[chosen], column[chosen]].sum() == pytest.approx(
        weight[linear_sum_assignment(weight, maximize=True)].sum()
    )


def test_best_matching_gives_up_the_heaviest_edge_for_two_lighter_ones():
    row, column = np.array([0, 0, 1]), np.array([0, 1, 0])
    assert sorted(best_matching(row, column, np.array([1.0, 0.6, 0.6]))) == [1, 2]
