from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.draw import disk, ellipse
from skimage.measure import regionprops

from napari_nucleus.core.morphology import (
    clean_mask,
    clean_nuclei,
    measure,
    minimum_area,
    overlapping_pairs,
    pixels_of_nuclei,
    suppress_overlaps,
)
from napari_nucleus.core.nuclei import Nuclei

masks = arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def discs(centres, radius: float = 5, **kwargs) -> Nuclei:
    crops = []
    size = int(2 * radius + 1)
    for _ in centres:
        mask = np.zeros((size, size), bool)
        mask[disk((radius, radius), radius)] = True
        crops.append(mask)
    offsets = [(y - int(radius), x - int(radius)) for y, x in centres]
    return Nuclei.from_masks(crops, np.asarray(offsets).reshape(-1, 2), **kwargs)


class TestCleaning:
    def test_debris_is_ten_pixels_at_a_quarter_micrometre(self):
        assert minimum_area(0.25) == 10
        assert minimum_area(None) == 10
        assert minimum_area(0.125) == 40
        assert minimum_area(5.0) == 1

    def test_only_the_largest_part_stays_and_its_holes_are_filled(self):
        mask = np.zeros((9, 12), bool)
        mask[1:6, 1:6] = True
        mask[3, 3] = False
        mask[7:9, 9:12] = True
        cleaned = clean_mask(mask)
        assert cleaned.sum() == 25
        assert cleaned[1:6, 1:6].all()

    def test_parts_that_meet_at_a_corner_are_two(self):
        assert clean_mask(np.array([[1, 1, 0], [0, 0, 1]], bool)).sum() == 2

    def test_debris_is_dropped(self):
        assert not clean_mask(np.ones((3, 3), bool), min_area=10).any()
        assert clean_mask(np.ones((3, 3), bool), min_area=9).all()

    @given(masks)
    def test_a_clean_mask_stays_as_it_is(self, mask):
        once = clean_mask(mask)
        np.testing.assert_array_equal(clean_mask(once), once)

    def test_nuclei_keep_what_belongs_to_them(self):
        nuclei = Nuclei.from_masks(
            [np.ones((2, 2), bool), np.ones((6, 6), bool)], [(0, 0), (10, 20)], [0.9, 0.4]
        )
        cleaned = clean_nuclei(nuclei, 0.25)
        assert len(cleaned) == 1
        assert cleaned.score.tolist() == pytest.approx([0.4])
        assert cleaned.boxes.tolist() == [[10, 20, 16, 26]]
        assert len(clean_nuclei(Nuclei.empty(5), 0.25)) == 0


class TestOverlaps:
    @given(
        st.lists(st.tuples(masks, st.integers(0, 12), st.integers(0, 12)), max_size=6),
        st.lists(st.tuples(masks, st.integers(0, 12), st.integers(0, 12)), max_size=6),
        st.sampled_from([0.0, 0.2, 0.5, 0.8]),
    )
    def test_pairs_are_those_whose_masks_overlap_enough(self, first, second, threshold):
        a, b = (
            Nuclei.from_masks([m for m, _, _ in s], [(y, x) for _, y, x in s])
            for s in (first, second)
        )
        painted = [[n.select([k]).to_labels((24, 24)) > 0 for k in range(len(n))] for n in (a, b)]
        expected = {
            (i, j)
            for i, p in enumerate(painted[0])
            for j, q in enumerate(painted[1])
            if (p & q).sum() > threshold * (p | q).sum()
        }
        i, j, common = overlapping_pairs(a, b, threshold)
        for first, second, n in zip(i, j, common, strict=True):
            assert n == (painted[0][first] & painted[1][second]).sum()
        assert set(zip(i.tolist(), j.tolist(), strict=True)) == expected

    def test_the_better_score_stays(self):
        nuclei = discs([(10, 10), (11, 10), (40, 40)], score=[0.5, 0.9, 0.1])
        kept = suppress_overlaps(nuclei)
        assert kept.score.tolist() == pytest.approx([0.9, 0.1])

    def test_what_is_suppressed_suppresses_nothing(self):
        chain = discs([(10, 10), (13, 10), (16, 10)], score=[0.9, 0.8, 0.7])
        assert len(overlapping_pairs(chain.select([0]), chain.select([2]), 0.3)[0]) == 0
        assert suppress_overlaps(chain, 0.3).boxes[:, 0].tolist() == [6, 12]

    def test_classes_do_not_matter_and_equal_scores_keep_the_first(self):
        nuclei = discs([(10, 10), (10, 10)], class_prob=[[1, 0], [0, 1]])
        assert suppress_overlaps(nuclei).class_prob.tolist() == [[1, 0]]

    def test_neighbours_that_touch_both_stay(self):
        assert len(suppress_overlaps(discs([(10, 10), (10, 18)]))) == 2

    def test_nothing_suppresses_nothing(self):
        assert len(suppress_overlaps(Nuclei.empty(3))) == 0


class TestMeasure:
    @given(st.lists(st.tuples(masks, st.integers(-5, 50)), min_size=1, max_size=5))
    def test_shapes_equal_those_of_scikit_image(self, items):
        nuclei = Nuclei.from_masks([m for m, _ in items], [(o, 2 * o) for _, o in items])
        found = measure(nuclei)
        for i, mask in enumerate(nuclei.masks):
            region = regionprops(mask.astype(np.uint8))[0]
            assert found.area[i] == region.area
            assert found.perimeter[i] == pytest.approx(region.perimeter)
            assert found.equivalent_diameter[i] == pytest.approx(region.equivalent_diameter_area)
            assert found.major_axis[i] == pytest.approx(region.axis_major_length)
            assert found.minor_axis[i] == pytest.approx(region.axis_minor_length, abs=1e-5)
            centre = np.add(region.centroid, 0.5) + nuclei.boxes[i, :2]
            assert found.centroid_yx[i] == pytest.approx(centre)
            assert found.eccentricity[i] == pytest.approx(region.eccentricity, abs=1e-6)
            assert 0 < found.solidity[i] <= 1 + 1e-12

    def test_a_rectangle_fills_its_hull_and_a_cross_does_not(self):
        cross = np.zeros((3, 3), bool)
        cross[1] = cross[:, 1] = True
        nuclei = Nuclei.from_masks([np.ones((4, 7), bool), cross], [(0, 0), (9, 9)])
        # The hull of a cross of five squares is an octagon of area 7.
        assert measure(nuclei).solidity.tolist() == pytest.approx([1, 5 / 7])

    def test_an_ellipse_has_its_axes(self):
        mask = np.zeros((60, 100), bool)
        mask[ellipse(30, 50, 20, 40)] = True
        found = measure(Nuclei.from_masks([mask], [(0, 0)]))
        assert found.major_axis[0] == pytest.approx(80, rel=0.02)
        assert found.minor_axis[0] == pytest.approx(40, rel=0.02)
        assert found.eccentricity[0] == pytest.approx(np.sqrt(0.75), rel=0.02)

    def test_nothing_measures_nothing(self):
        found = measure(Nuclei.empty())
        assert found.centroid_yx.shape == (0, 2)
        assert found.area.shape == found.solidity.shape == (0,)


def test_pixels_are_counted_within_each_box():
    nuclei = Nuclei.from_masks([np.ones((1, 2), bool), np.ones((2, 1), bool)], [(5, 5), (9, 9)])
    number, rows, columns = pixels_of_nuclei(nuclei)
    assert number.tolist() == [0, 0, 1, 1]
    assert rows.tolist() == [0, 0, 0, 1]
    assert columns.tolist() == [0, 1, 0, 0]
