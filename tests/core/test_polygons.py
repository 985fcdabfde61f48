from __future__ import annotations

import numpy as np
import pytest
import rasterio.features
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_nucleus.core.polygons import polygon_of_mask, polygons_of_labels, rasterize

label_maps = st.tuples(
    st.integers(1, 14), st.integers(1, 14), st.sampled_from([np.uint8, np.int32, np.int64])
).flatmap(lambda s: arrays(s[2], s[:2], elements=st.integers(0, 3)))


def traced_by_rasterio(labels: np.ndarray) -> dict[int, shapely.Geometry]:
    parts: dict[int, list] = {}
    shapes = rasterio.features.shapes(labels.astype(np.int32), mask=labels > 0, connectivity=4)
    for geometry, value in shapes:
        parts.setdefault(int(value), []).append(shapely.geometry.shape(geometry))
    return {i: shapely.MultiPolygon(p) if len(p) > 1 else p[0] for i, p in parts.items()}


@settings(max_examples=300)
@given(label_maps)
def test_polygons_equal_those_of_rasterio(labels):
    ids, polygons = polygons_of_labels(labels)
    expected = traced_by_rasterio(labels)
    assert ids.tolist() == sorted(expected)
    for i, polygon in zip(ids, polygons, strict=True):
        assert polygon.equals(expected[int(i)])
        assert polygon.geom_type == expected[int(i)].geom_type


@settings(max_examples=300)
@given(label_maps)
def test_polygons_are_valid_exact_and_come_back(labels):
    ids, polygons = polygons_of_labels(labels)
    assert shapely.is_valid(polygons).all()
    assert shapely.area(polygons).tolist() == [np.sum(labels == i) for i in ids]
    np.testing.assert_array_equal(rasterize(polygons, ids, labels.shape), labels)


@given(label_maps)
def test_no_corner_lies_on_a_straight_line(labels):
    for polygon in polygons_of_labels(labels)[1]:
        for ring in shapely.get_rings(polygon):
            xy = shapely.get_coordinates(ring)
            assert (xy == np.rint(xy)).all()
            sides = np.diff(xy, axis=0)
            after = np.roll(sides, -1, axis=0)
            turns = sides[:, 0] * after[:, 1] - sides[:, 1] * after[:, 0]
            assert (turns != 0).all()


def test_a_pixel_covers_the_square_right_and_below_its_corner():
    labels = np.zeros((5, 9), np.int32)
    labels[2, 6] = 1
    _, polygons = polygons_of_labels(labels)
    assert polygons[0].bounds == (6, 2, 7, 3)
    assert polygon_of_mask(np.ones((1, 1), bool), (2, 6)).equals(polygons[0])


def test_ids_with_gaps_are_kept():
    ids, _ = polygons_of_labels(np.array([[70_000, 0, 3]]))
    assert ids.tolist() == [3, 70_000]


def test_parts_that_meet_at_a_corner_stay_two():
    polygon = polygon_of_mask(np.eye(2, dtype=bool))
    assert polygon.geom_type == "MultiPolygon"
    assert len(polygon.geoms) == 2


def test_holes_that_meet_at_a_corner_stay_two():
    mask = np.ones((4, 4), bool)
    mask[1, 1] = mask[2, 2] = False
    polygon = polygon_of_mask(mask)
    assert len(polygon.interiors) == 2
    assert polygon.is_valid


def test_a_bay_closed_at_a_corner_becomes_a_hole():
    mask = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], bool)
    polygon = polygon_of_mask(mask)
    assert polygon.is_valid
    assert len(polygon.interiors) == 1
    assert polygon.area == 7


def test_each_hole_goes_to_the_part_around_it():
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    mask = np.zeros((3, 11), bool)
    mask[:, :3] = mask[:, 8:] = ring
    mask[0, 5] = True
    polygon = polygon_of_mask(mask)
    assert polygon.is_valid
    assert sorted(len(p.interiors) for p in polygon.geoms) == [0, 1, 1]


def test_two_labels_that_cross_at_a_corner_do_not_mix():
    _, polygons = polygons_of_labels(np.array([[1, 2], [2, 1]]))
    assert [p.area for p in polygons] == [2, 2]
    assert shapely.is_valid(polygons).all()


def test_nuclei_that_touch_share_their_edge():
    _, (left, right) = polygons_of_labels(np.array([[1, 1, 2], [1, 2, 2]]))
    assert left.intersection(right).length == pytest.approx(3)
    assert left.intersection(right).area == 0


def test_shells_run_clockwise_on_the_screen():
    polygon = polygon_of_mask(np.ones((2, 3), bool))
    assert polygon.exterior.is_ccw  # in coordinates in which y points up


@pytest.mark.parametrize("shape", [(0, 0), (3, 0), (4, 4)])
def test_no_nuclei_give_no_polygons(shape):
    ids, polygons = polygons_of_labels(np.zeros(shape, np.int32))
    assert len(ids) == len(polygons) == 0
    assert polygon_of_mask(np.zeros(shape, bool)).is_empty


def test_rasterize_takes_pixels_by_their_centre():
    polygon = shapely.box(0.4, 0.6, 2.6, 2.4)
    expected = [[0, 0, 0], [5, 5, 5], [0, 0, 0]]
    np.testing.assert_array_equal(rasterize([polygon], [5], (3, 3)), expected)


def test_rasterize_cuts_at_the_border_and_paints_the_later_on_top():
    polygons = [shapely.box(-5, -5, 2, 9), shapely.box(1, 1, 9, 2)]
    np.testing.assert_array_equal(rasterize(polygons, [1, 2], (2, 3)), [[1, 1, 0], [1, 2, 2]])


def test_rasterize_agrees_with_rasterio_on_slanted_sides():
    triangle = shapely.Polygon([(1.3, 0.2), (17.9, 6.1), (4.4, 15.7)])
    expected = rasterio.features.rasterize([(triangle, 1)], (16, 18))
    np.testing.assert_array_equal(rasterize([triangle], [1], (16, 18)), expected)


def test_rasterize_of_nothing_is_background():
    assert not rasterize([], [], (3, 3)).any()
    assert not rasterize([shapely.Polygon()], [1], (3, 3)).any()
