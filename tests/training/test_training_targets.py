"""Targets of the dense heads: distance, offsets, heatmap, classes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training_helpers import draw_labels

from napari_nucleus.training.targets import (
    dense_targets,
    heatmap_of_points,
    normalised_distance,
)


def targets_of(labels: np.ndarray, target=None):
    target = np.arange(labels.max() + 1) if target is None else target
    return dense_targets(labels.astype(np.int32), np.asarray(target, np.uint8), 2.0)


@given(st.integers(0, 50), st.integers(0, 10))
@settings(max_examples=20, deadline=None)
def test_targets_of_any_map_keep_their_ranges(seed, n):
    labels = draw_labels((40, 52), seed, n) if n else np.zeros((40, 52), np.int32)
    targets = targets_of(labels)
    inside = labels > 0
    assert np.array_equal(targets.foreground, inside)
    assert (targets.distance[inside] > 0).all()
    assert (targets.distance[~inside] == 0).all()
    assert (targets.hv[:, ~inside] == 0).all()
    assert np.abs(targets.hv).max(initial=0) <= 1
    assert np.array_equal(targets.classes, labels)
    assert all(a.dtype == np.float32 for a in targets[:4])
    for i in range(1, int(labels.max()) + 1):
        own = labels == i
        assert targets.distance[own].max() == 1
        assert np.abs(targets.hv[:, own].reshape(2, -1)).max(axis=1) == pytest.approx(1)
        # Offsets are taken from the centre of mass.
        assert np.abs(targets.hv[:, own].mean(axis=1)).max() < 1e-5
        rows, cols = np.nonzero(own)
        assert targets.heatmap[round(rows.mean()), round(cols.mean())] == 1


def test_distance_grows_from_the_border_to_the_middle():
    labels = np.zeros((21, 21), np.int32)
    labels[3:18, 3:18] = 1
    distance = normalised_distance(labels)
    expected = (np.arange(8) + 0.5) / 7.5
    assert np.allclose(distance[10, 3:11], expected)
    assert np.allclose(distance[3:11, 10], expected)
    assert np.array_equal(distance, distance[::-1])
    assert np.array_equal(distance, distance.T)


def test_touching_nuclei_have_a_border_between_them_and_the_picture_has_none():
    labels = np.zeros((12, 24), np.int32)
    labels[:, :12], labels[:, 12:] = 1, 2
    distance = normalised_distance(labels)
    assert distance[6, 11] == distance[6, 12] == distance.min()
    assert distance[6, 0] == distance[6, 23] == distance[0, 0] == 1
    assert (normalised_distance(np.ones((5, 5), np.int32)) == 1).all()


def test_offsets_point_right_and_down_and_grow_from_the_centroid():
    labels = np.zeros((30, 40), np.int32)
    labels[10:20, 12:27] = 1
    x, y = targets_of(labels).hv
    assert np.allclose(x[15, 12:27], np.linspace(-1, 1, 15))
    assert np.allclose(y[10:20, 20], np.linspace(-1, 1, 10))
    assert (np.diff(x[15, 12:27]) > 0).all()
    assert np.array_equal(x[10], x[19])


def test_every_centre_has_a_pixel_of_one_wherever_it_lies_in_it():
    points = np.array([[5.0, 5.0], [5.5, 15.5], [15.49, 5.51], [15.2, 15.0]])
    heatmap = heatmap_of_points(points, (22, 22), 2.0)
    for y, x in points:
        assert heatmap[round(y), round(x)] == 1
    assert heatmap[5, 7] == pytest.approx(np.exp(-0.5), abs=0.03)
    assert heatmap[0, 10] < 0.2
    assert heatmap.max() == 1


def test_close_centres_do_not_add_up():
    heatmap = heatmap_of_points(np.array([[10.0, 8.0], [10.0, 12.0]]), (20, 20), 2.0)
    assert heatmap[10, 10] == pytest.approx(np.exp(-0.5), abs=1e-6)


def test_centres_outside_of_the_picture_reach_in_and_break_nothing():
    heatmap = heatmap_of_points(np.array([[-2.0, 5.0], [30.0, 30.0], [4.0, 9.4]]), (10, 10), 2.0)
    assert heatmap[0, 5] == pytest.approx(np.exp(-0.5), abs=1e-6)
    assert heatmap[4, 9] == 1


def test_ids_with_gaps_keep_their_classes():
    labels = np.zeros((20, 20), np.int32)
    labels[2:8, 2:8], labels[10:18, 10:18] = 3, 7
    target = np.array([0, 9, 9, 2, 9, 9, 9, 5], np.uint8)
    targets = targets_of(labels, target)
    assert targets.classes[4, 4] == 2
    assert targets.classes[12, 12] == 5
    assert targets.classes[0, 0] == 0
    assert (targets.heatmap == 1).sum() == 2
