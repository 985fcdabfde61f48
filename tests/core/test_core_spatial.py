"""Areas, bands along a border, densities and distances between classes."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from tme_helpers import AREA, MPP, SIZE, cells_at

from napari_nucleus.core.cells import Cells
from napari_nucleus.core.spatial import RADII_UM
from napari_nucleus.core.tme import TmeSettings
from napari_nucleus.core.tme_area import MeasuredArea, TumourBorder, geometry_of
from napari_nucleus.core.tme_live import measure_cells

SQUARE = [(100, 100), (100, 300), (300, 300), (300, 100)]


class TestArea:
    def test_what_is_excluded_is_subtracted_once(self):
        excluded = geometry_of(
            [[(0, 0), (0, 100), (100, 100), (100, 0)], [(0, 0), (0, 100), (50, 100), (50, 0)]]
        )
        area = MeasuredArea.of("all", (200, 400), excluded=excluded)
        assert area.pixels == 200 * 400 - 100 * 100
        assert area.square_millimetres(0.5) == pytest.approx(70_000 * 0.25 / 1e6)
        assert area.holds(np.array([(50, 50), (50, 150), (250, 10)])).tolist() == [
            False,
            True,
            False,
        ]

    def test_a_drawn_region_is_cut_to_the_image(self):
        area = MeasuredArea.of("drawn", (200, 200), within=geometry_of([SQUARE]))
        assert area.pixels == 100 * 100

    def test_polygons_are_y_x_and_may_cross_themselves(self):
        tall = geometry_of([[(0, 0), (0, 10), (100, 10), (100, 0)]])
        assert tall.bounds == (0, 0, 10, 100)
        bow = geometry_of([[(0, 0), (100, 100), (100, 0), (0, 100)]])
        assert bow.is_valid
        assert bow.area == pytest.approx(5000)
        assert geometry_of([]).is_empty

    def test_distance_to_the_edge_is_to_holes_as_well(self):
        area = MeasuredArea.of("x", (SIZE, SIZE), excluded=geometry_of([SQUARE]))
        assert area.distance_to_edge(np.array([(10.0, 200), (90, 200)])).tolist() == [10, 10]


class TestBorder:
    def test_bands_share_out_the_area(self):
        border = TumourBorder.of(geometry_of([SQUARE]), AREA, MPP)
        assert border.edges_um[0] == -25  # the square is 50 µm wide
        assert border.areas_mm2.sum() == pytest.approx(AREA.square_millimetres(MPP))
        inside = border.areas_mm2[border.edges_um[1:] <= 0].sum()
        assert inside == pytest.approx(200 * 200 * MPP**2 / 1e6)
        assert (border.areas_mm2 > 0).all()
        assert len(border.areas_mm2) <= 20

    def test_the_first_band_outside_of_a_square_has_round_corners(self):
        border = TumourBorder.of(geometry_of([SQUARE]), AREA, MPP, step_um=5)
        first = border.areas_mm2[np.flatnonzero(border.edges_um == 0)[0]]
        expected = (4 * 200 * 20 + np.pi * 20**2) * MPP**2 / 1e6
        assert first == pytest.approx(expected, rel=1e-3)

    def test_signed_distances_are_negative_inside(self):
        border = TumourBorder.of(geometry_of([SQUARE]), AREA, MPP, step_um=10)
        points = np.array([(200.0, 110), (200, 60), (200, 200), (0.0, 0)])
        signed = border.signed_distance(points)
        np.testing.assert_allclose(signed, [-10, 40, -100, 100 * 2**0.5])
        bands = border.band_of(signed)
        edges = border.edges_um
        assert [edges[b] for b in bands] == [-10, 10, -30, 30]

    def test_beyond_the_reach_is_in_no_band(self):
        border = TumourBorder.of(geometry_of([SQUARE]), AREA, MPP, step_um=5, reach_um=10)
        assert border.edges_um.tolist() == [-10, -5, 0, 5, 10]
        assert border.band_of(np.array([-41.0, 41, 39.9, -40])).tolist() == [-1, -1, 3, 0]

    def test_a_border_elsewhere_is_refused(self):
        with pytest.raises(ValueError, match="goes around nothing"):
            TumourBorder.of(shapely.box(900, 900, 950, 950), AREA, MPP)


def test_densities_are_per_square_millimetre_of_what_is_left():
    area = MeasuredArea.of("x", (SIZE, SIZE), excluded=shapely.box(0, 0, SIZE / 2, SIZE))
    cells = cells_at([(10, 10), (10, 300), (20, 300), (30, 350)], [1, 1, 2, 0])
    found = measure_cells(cells, area).densities_per_mm2
    mm2 = SIZE * SIZE / 2 * MPP**2 / 1e6
    assert found[1] == pytest.approx(1 / mm2)
    assert found[2] == pytest.approx(1 / mm2)
    assert found[0] == pytest.approx(2 / mm2)
    assert found[3] == 0
    assert (
        measure_cells(cells, MeasuredArea("none", shapely.Polygon())).densities_per_mm2[0] is None
    )


def test_quartiles_between_classes_are_those_of_all_distances():
    rng = np.random.default_rng(3)
    points, classes = rng.random((90, 2)) * SIZE, rng.integers(1, 6, 90)
    result = measure_cells(cells_at(points, classes), AREA)
    assert len(result.distances) == 25
    for pair in result.distances:
        a, b = points[classes == pair.source], points[classes == pair.target]
        gaps = np.hypot(*(a[:, None] - b[None]).transpose(2, 0, 1))
        if pair.source == pair.target:
            np.fill_diagonal(gaps, np.inf)
        expected = np.percentile(gaps.min(axis=1), (25, 50, 75)) * MPP
        found = pair.lower_um, pair.median_um, pair.upper_um
        np.testing.assert_allclose(np.array(found, float), expected)
        assert pair.count == len(a)


def test_a_class_of_one_or_none_has_no_distance_to_itself():
    result = measure_cells(cells_at([(10, 10), (20, 20)], [1, 2]), AREA)
    pairs = {(d.source, d.target): d for d in result.distances}
    assert pairs[1, 1].median_um is None
    assert pairs[1, 3].count == 0
    assert pairs[1, 2].median_um == pytest.approx(200**0.5 * MPP)
    assert [(c.source, c.target) for c in result.curves] == [(1, 2), (2, 1)]


class TestCurves:
    def test_at_random_they_are_what_randomness_gives_in_spite_of_the_edge(self):
        size, rng = 800, np.random.default_rng(0)
        area = MeasuredArea.of("x", (size, size))
        gaps, uncorrected = [], []
        for _ in range(30):
            points, classes = rng.random((300, 2)) * size, rng.choice([1, 2], 300, p=[0.9, 0.1])
            result = measure_cells(Cells(points, np.ones(300), classes, MPP), area)
            curve = next(c for c in result.curves if (c.source, c.target) == (1, 2))
            n = min(len(curve.share), 26)
            gaps.append((curve.share - curve.random[: len(curve.share)])[20:n].mean())
            nearest = result.cells.nearest_px[classes == 1, 2] * MPP
            plain = (nearest[:, None] <= RADII_UM[20:n]).mean(axis=0)
            uncorrected.append((plain - curve.random[20:n]).mean())
        assert abs(np.mean(gaps)) < 0.02
        assert np.mean(uncorrected) < np.mean(gaps) - 0.02

    def test_far_from_the_edge_they_are_the_share_of_cells_within_a_distance(self):
        rng = np.random.default_rng(1)
        points = rng.random((200, 2)) * 100 + 5000
        classes = rng.integers(1, 4, 200)
        far = MeasuredArea.of("x", (10_000, 10_000))
        result = measure_cells(Cells(points, np.ones(200), classes, MPP), far)
        for curve in result.curves:
            nearest = result.cells.nearest_px[classes == curve.source, curve.target] * MPP
            expected = (nearest[:, None] <= curve.radii_um).mean(axis=0)
            np.testing.assert_allclose(curve.share, expected, atol=1e-12)

    def test_a_curve_ends_where_nobody_is_far_enough_from_the_edge(self):
        small = MeasuredArea.of("x", (80, 80))
        result = measure_cells(cells_at([(30, 30), (40, 75), (31, 41)], [1, 2, 1]), small)
        curve = next(c for c in result.curves if (c.source, c.target) == (1, 2))
        assert len(curve.share) < 10
        assert curve.share.max() == 0


def test_infiltration_counts_each_class_in_its_band():
    border = TumourBorder.of(geometry_of([SQUARE]), AREA, MPP, step_um=10)
    cells = cells_at([(200, 110), (200, 60), (200, 65), (200, 200)], [1, 2, 2, 5])
    result = measure_cells(cells, AREA, TmeSettings(not_told_apart=(1, 5)), border)
    bands = result.infiltration
    assert bands is not None
    rows = {(bands.edges_um[b], c): n for (b, c), n in np.ndenumerate(bands.counts) if n}
    assert rows == {(-10.0, 5): 1, (0.0, 2): 1, (10.0, 2): 1, (-30.0, 5): 1}
    at = np.flatnonzero(bands.edges_um == 10)[0]
    assert bands.densities_per_mm2[at, 2] == pytest.approx(1 / bands.areas_mm2[at])
    value = result.to_json()["infiltration"]
    assert "Neoplastic" not in value["counts"]
    assert value["counts"]["Inflammatory"][at] == 1
    assert measure_cells(cells, AREA).infiltration is None
