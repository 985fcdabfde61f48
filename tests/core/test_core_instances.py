from __future__ import annotations

import numpy as np
import pytest

from napari_nucleus.core.instances import describe_instances
from napari_nucleus.core.polygons import rasterize


def one_row(*pixels):
    """Return labels and probabilities of one nucleus from (background, a, b) of each pixel."""
    prob = np.array(pixels, np.float32).T[:, None, :]
    return np.ones((1, len(pixels)), np.int32), prob


def test_most_pixels_decide_the_class():
    labels, prob = one_row((0.1, 0.5, 0.4), (0.1, 0.5, 0.4), (0.0, 0.0, 1.0))
    found = describe_instances(labels, None, prob)
    assert found.classes.tolist() == [1]
    np.testing.assert_allclose(found.class_prob, [[1 / 2.8, 1.8 / 2.8]], rtol=1e-6)


def test_of_equal_votes_the_higher_sum_decides():
    labels, prob = one_row((0.1, 0.5, 0.4), (0.1, 0.2, 0.7))
    assert describe_instances(labels, None, prob).classes.tolist() == [2]


def test_pixels_of_the_background_do_not_vote():
    labels, prob = one_row((0.6, 0.4, 0.0), (0.6, 0.4, 0.0), (0.3, 0.2, 0.5))
    assert describe_instances(labels, None, prob).classes.tolist() == [2]


def test_without_votes_the_summed_probability_decides_and_without_that_nothing():
    labels, prob = one_row((0.6, 0.1, 0.3), (0.9, 0.1, 0.0))
    assert describe_instances(labels, None, prob).classes.tolist() == [2]
    labels, prob = one_row((1.0, 0.0, 0.0), (1.0, 0.0, 0.0))
    found = describe_instances(labels, None, prob)
    assert found.classes.tolist() == [0]
    assert found.class_prob.tolist() == [[0, 0]]


def test_the_score_is_the_mean_of_the_foreground():
    labels, prob = one_row((0.1, 0.5, 0.4), (0.3, 0.5, 0.2))
    assert describe_instances(labels, None, prob).score == pytest.approx(0.8)
    given = np.array([[1.2, 1.4]], np.float32)
    assert describe_instances(labels, given, prob).score == pytest.approx(1.0)


def many(rng, shape=(600, 500), n_classes=3):
    """Return labels whose nuclei span several bands, and class probabilities."""
    labels = np.zeros(shape, np.int32)
    ids = 0
    for y in range(0, shape[0] - 90, 90):
        for x in range(0, shape[1] - 40, 40):
            ids += 1
            labels[y : y + 85, x : x + 30] = ids
    return labels, rng.dirichlet(np.ones(n_classes + 1), shape).transpose(2, 0, 1)


def test_all_nuclei_of_a_map_are_described_as_one_by_one():
    labels, prob = many(np.random.default_rng(0))
    found = describe_instances(labels, None, prob)
    for number in np.unique(labels)[1:]:
        inside = prob[:, labels == number]
        votes = np.bincount(inside.argmax(axis=0), minlength=4)[1:]
        mean = inside[1:].mean(axis=1)
        i = number - 1
        assert found.classes[i] in np.flatnonzero(votes == votes.max()) + 1
        np.testing.assert_allclose(found.class_prob[i], mean / mean.sum(), rtol=1e-5)
        assert found.score[i] == pytest.approx(1 - inside[0].mean(), rel=1e-5)


def test_a_batch_has_the_masks_and_its_most_probable_class_is_the_voted_one():
    rng = np.random.default_rng(1)
    labels, _ = many(rng)
    sure = rng.random(labels.shape) < 0.4
    prob = np.where(sure, *np.reshape([(0.0, 0.1, 0.9), (0.1, 0.46, 0.44)], (2, 3, 1, 1)))
    found = describe_instances(labels, None, prob)
    batch = found.nuclei("a model")
    assert np.array_equal(batch.to_labels(labels.shape), labels)
    assert (found.classes == 1).all()
    assert (found.class_prob.argmax(axis=1) == 1).all()
    assert (batch.class_prob.argmax(axis=1) == 0).all()
    np.testing.assert_allclose(batch.class_prob.sum(axis=1), 1, rtol=1e-5)
    assert batch.source == "a model"
    outlines = found.polygons((3, 5))
    moved = rasterize(outlines, np.arange(1, len(found) + 1), (603, 505))
    assert np.array_equal(moved[3:, 5:], labels)


def test_maps_without_nuclei_or_classes_are_described():
    labels = np.zeros((6, 7), np.int32)
    none = describe_instances(labels, None, np.ones((3, 6, 7), np.float32))
    assert len(none) == len(none.nuclei()) == 0
    assert none.class_prob.shape == (0, 2)
    labels[2:4, 2:5] = 1
    bare = describe_instances(labels, np.ones((6, 7), np.float32), None)
    assert bare.nuclei().class_prob.shape == (1, 0)
    assert bare.boxes.tolist() == [[2, 2, 4, 5]]
