from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_nucleus.core.polygons import coverage_of_labels, polygons_of_labels, rasterize
from napari_nucleus.core.simplification import SMALLEST, simplified_polygons

label_maps = st.tuples(st.integers(1, 14), st.integers(1, 14)).flatmap(
    lambda shape: arrays(np.int32, shape, elements=st.integers(0, 3))
)


def cells(size: int = 120, pitch: int = 15, seed: int = 0) -> np.ndarray:
    """Every pixel belongs to the nearest point of a crooked grid, if one is near: all touch."""
    rng = np.random.default_rng(seed)
    points = np.stack(np.mgrid[:size:pitch, :size:pitch], axis=-1).reshape(-1, 2) + pitch / 2
    points += rng.uniform(-pitch / 4, pitch / 4, points.shape)
    grid = np.stack(np.mgrid[:size, :size], axis=-1) + 0.5
    distances = np.linalg.norm(grid[:, :, None] - points, axis=-1)
    near = distances.min(axis=2) < 0.7 * pitch
    return np.where(near, distances.argmin(axis=2) + 1, 0).astype(np.int32)


@settings(max_examples=300)
@given(label_maps)
def test_a_coverage_is_valid_and_equals_the_exact_polygons(labels):
    ids, polygons = coverage_of_labels(labels)
    same, exact = polygons_of_labels(labels)
    assert ids.tolist() == same.tolist()
    assert all(a.equals(b) for a, b in zip(polygons, exact, strict=True))
    assert shapely.coverage_is_valid(polygons)


@settings(max_examples=300)
@given(label_maps)
def test_simplified_polygons_are_valid_and_never_empty(labels):
    ids, polygons = simplified_polygons(labels)
    assert ids.tolist() == [i for i in np.unique(labels) if i > 0]
    assert shapely.is_valid(polygons).all()
    assert np.isin(shapely.get_type_id(polygons), (3, 6)).all()
    assert all(rasterize([p], [1], labels.shape).any() for p in polygons)
    xy = shapely.get_coordinates(polygons)
    np.testing.assert_array_equal(xy, np.rint(xy))


def test_nuclei_that_touch_share_their_border_and_lose_corners():
    labels = cells()
    ids, exact = coverage_of_labels(labels)
    _, fewer = simplified_polygons(labels)
    assert shapely.coverage_is_valid(fewer)
    assert shapely.get_num_coordinates(fewer).sum() < 0.6 * shapely.get_num_coordinates(exact).sum()
    assert np.abs(shapely.area(fewer) / shapely.area(exact) - 1).max() < 0.1
    back = rasterize(fewer, ids, labels.shape)
    assert ((back == labels) & (labels > 0)).sum() > 0.95 * ((back > 0) | (labels > 0)).sum()


@pytest.mark.parametrize("side", [1, 2, 3])
def test_specks_stay_exact_beside_a_nucleus_and_overlap_it_by_less_than_a_pixel(side):
    labels = np.zeros((40, 40), np.int32)
    y, x = np.mgrid[:40, :40]
    labels[np.hypot(y - 20, x - 20) < 12] = 1
    edge = int(np.flatnonzero(labels[12])[0])
    labels[12 - side : 12, edge - side + 1 : edge + 1] = 2
    ids, polygons = simplified_polygons(labels)
    assert side**2 < SMALLEST
    assert ids.tolist() == [1, 2]
    assert polygons[1].equals(polygons_of_labels(labels)[1][1])
    assert polygons[0].intersection(polygons[1]).area <= 1


def test_the_offset_is_added():
    labels = cells(45)
    _, here = simplified_polygons(labels)
    _, there = simplified_polygons(labels, (100, 2000))
    moved = shapely.transform(here, lambda xy: np.add(xy, (2000, 100)))
    assert shapely.equals_exact(moved, there).all()


def test_no_nuclei_give_no_polygons():
    assert len(simplified_polygons(np.zeros((4, 4), np.int32))[1]) == 0
