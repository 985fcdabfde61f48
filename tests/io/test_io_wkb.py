"""WKB of anybody's, and rings put together."""

from __future__ import annotations

import struct
from contextlib import suppress

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_nucleus.core.polygons import polygons_of_labels
from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.formats.geojson_shapes import polygons_of_parts
from napari_nucleus.io.formats.rings import ellipse, nested, ring_of, rings_of
from napari_nucleus.io.formats.wkb import polygons_of_wkb

FIELDS = arrays(np.int32, (12, 14), elements=st.integers(0, 3))

HOLED = shapely.Polygon([(0, 0), (9, 0), (9, 9), (0, 9)], [[(3, 3), (6, 3), (6, 6), (3, 6)]])


class TestWkb:
    @given(FIELDS)
    @settings(deadline=None, max_examples=50)
    def test_what_shapely_writes_comes_back(self, labels):
        _, polygons = polygons_of_labels(labels)
        found, has_area = polygons_of_wkb("a", list(shapely.to_wkb(polygons)))
        assert has_area.all()
        assert shapely.equals_identical(found, polygons).all()

    @pytest.mark.parametrize("options", [{"byte_order": 0}, {"flavor": "iso"}, {"srid": True}])
    def test_every_dialect_is_understood(self, options):
        solid = shapely.force_3d(shapely.MultiPolygon([HOLED]), 5)
        if options.pop("srid", False):
            solid = shapely.set_srid(solid, 4326)
            options = {"include_srid": True}
        found, has_area = polygons_of_wkb("a", [shapely.to_wkb(solid, **options)])
        assert has_area.all()
        assert found[0].area == HOLED.area

    def test_points_lines_and_collections_have_no_area(self):
        others = [
            shapely.Point(1, 2),
            shapely.LineString([(0, 0), (1, 1)]),
            shapely.GeometryCollection([HOLED]),
        ]
        found, has_area = polygons_of_wkb("a", [None, *shapely.to_wkb(others)])
        assert not has_area.any()
        assert shapely.is_empty(found).all()

    def test_collections_in_each_other_do_not_stop_the_program(self):
        """GEOS calls itself for each of them, until there is no stack left."""
        deep = struct.pack("<BII", 1, 7, 1) * 200_000
        for outer in (b"", struct.pack("<BII", 1, 6, 1)):
            blob = outer + deep + struct.pack("<BII", 1, 7, 0)
            if outer:
                with pytest.raises(AnnotationError, match="geometry 1 is damaged"):
                    polygons_of_wkb("a", [blob])
            else:
                assert not polygons_of_wkb("a", [blob])[1].any()

    @given(st.integers(0, 180), st.binary(max_size=4))
    @settings(deadline=None, max_examples=200)
    def test_damage_is_one_error_or_none(self, place, patch):
        whole = shapely.to_wkb(shapely.MultiPolygon([HOLED]))
        for blob in (whole[:place], whole[:place] + patch + whole[place + len(patch) :]):
            with suppress(AnnotationError):
                polygons_of_wkb("a", [blob])

    def test_counts_that_do_not_fit_are_not_believed(self):
        blob = struct.pack("<BII", 1, 3, 2**32 - 1)
        with pytest.raises(AnnotationError, match="damaged"):
            polygons_of_wkb("a", [blob])


class TestRings:
    @given(FIELDS)
    @settings(deadline=None, max_examples=100)
    def test_taken_apart_and_nested_again_nothing_is_lost(self, labels):
        """Also parts in holes of other parts, and rings that meet at corners."""
        _, polygons = polygons_of_labels(labels)
        together = [
            nested([ring_of(ring) for part in parts for ring in part])
            for parts in rings_of(polygons)
        ]
        again = polygons_of_parts(together)
        assert shapely.is_valid(again).all()
        assert shapely.equals(again, polygons).all()

    def test_whole_numbers_stay_whole(self):
        ((shell, hole),) = next(rings_of(np.array([HOLED], object)))
        assert shell.dtype.kind == hole.dtype.kind == "i"
        assert len(shell) == 4
        moved = shapely.transform(np.array([HOLED], object), lambda xy: xy + 0.25)
        ((shell, _),) = next(rings_of(moved))
        assert shell[:, 0].min() == 0.25

    @pytest.mark.parametrize("angle", [0, 0.7])
    def test_an_ellipse_has_its_area_and_place(self, angle):
        found = shapely.Polygon(ellipse((10, 20, 50, 40), angle))
        assert found.area == pytest.approx(np.pi * 20 * 10)
        assert (found.centroid.x, found.centroid.y) == pytest.approx((30, 30))
        assert found.bounds[2] - found.bounds[0] == pytest.approx(
            2 * np.hypot(20 * np.cos(angle), 10 * np.sin(angle)), rel=0.01
        )
