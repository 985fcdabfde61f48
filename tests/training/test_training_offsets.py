"""Offset targets of UperHoVer: instances or components, their reach, their ends."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training_helpers import draw_labels

from napari_nucleus.training.offsets import offset_targets, reach_of


def test_the_reach_is_the_papers_ten_pixels_at_any_pixel_size():
    assert reach_of(0.314) == pytest.approx(10)
    assert reach_of(0.25) == pytest.approx(12.56)
    assert reach_of(0.5) == pytest.approx(6.28)


def test_offsets_are_from_the_centre_of_mass_over_the_reach():
    labels = np.zeros((20, 30), np.int32)
    labels[5:10, 8:19] = 4  # 5 x 11, its centre is pixel (7, 13)
    x, y = offset_targets(labels, 10.0)
    assert np.allclose(x[5:10, 8:19], (np.arange(8, 19) - 13) / 10)
    assert np.allclose(y[5:10, 8:19], ((np.arange(5, 10) - 7) / 10)[:, None])
    assert not x[labels == 0].any()
    assert not y[labels == 0].any()


def test_offsets_end_at_one():
    labels = np.zeros((9, 50), np.int32)
    labels[2:7, 3:48] = 1
    x, _ = offset_targets(labels, 10.0)
    assert x[4, 3] == -1
    assert x[4, 47] == 1
    assert np.allclose(x[4, 16:35], (np.arange(16, 35) - 25) / 10)
    assert (np.diff(x[4, 3:48]) >= 0).all()


def touching() -> np.ndarray:
    labels = np.zeros((16, 40), np.int32)
    labels[3:13, 4:20] = 7
    labels[3:13, 20:36] = 2
    return labels


def test_touching_nuclei_have_a_centre_each():
    x, y = offset_targets(touching(), 10.0)
    assert x[8, 19] == pytest.approx(0.75)
    assert x[8, 20] == pytest.approx(-0.75)
    assert np.allclose(y[:, 19], y[:, 20])


def test_in_the_papers_way_touching_nuclei_share_a_centre():
    x, _ = offset_targets(touching(), 10.0, "components")
    assert x[8, 19] == pytest.approx(-0.05)
    assert x[8, 20] == pytest.approx(0.05)
    assert x[8, 4] == -1
    assert x[8, 35] == 1


def test_components_of_the_paper_do_not_touch_by_a_corner():
    labels = np.zeros((12, 12), np.int32)
    labels[2:6, 2:6] = 1
    labels[6:10, 6:10] = 1  # one nucleus in two parts
    together, _ = offset_targets(labels, 10.0)
    apart, _ = offset_targets(labels, 10.0, "components")
    assert together[5, 5] == pytest.approx(-0.05)
    assert apart[5, 5] == pytest.approx(0.15)
    assert apart[6, 6] == pytest.approx(-0.15)


@given(st.integers(0, 50), st.integers(0, 10), st.sampled_from(["instances", "components"]))
@settings(max_examples=20, deadline=None)
def test_offsets_of_any_map_keep_their_range_and_balance(seed, n, source):
    labels = draw_labels((40, 52), seed, n) if n else np.zeros((40, 52), np.int32)
    hv = offset_targets(labels, 12.56, source)
    assert hv.shape == (2, 40, 52)
    assert hv.dtype == np.float32
    assert np.abs(hv).max(initial=0) <= 1
    assert not hv[:, labels == 0].any()
    if source == "instances":  # these ellipses are smaller than the reach
        for i in range(1, int(labels.max()) + 1):
            assert np.abs(hv[:, labels == i].mean(axis=1)).max() < 1e-5


def test_a_map_without_background_has_offsets_as_well():
    hv = offset_targets(np.full((5, 7), 3, np.int32), 10.0)
    assert np.allclose(hv[0, 0], (np.arange(7) - 3) / 10)


def test_ids_need_not_follow_each_other():
    labels = draw_labels((40, 52), 3, 5)
    other = np.where(labels > 0, labels * 1000 - 7, 0)
    assert np.array_equal(offset_targets(labels, 10.0), offset_targets(other, 10.0))
