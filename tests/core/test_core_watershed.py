from __future__ import annotations

import numpy as np
import pytest

from napari_nucleus.core.watershed import instances_of_maps
from napari_nucleus.errors import ModelError


def discs(shape, *centre_radius):
    """Return labels and HV maps of discs (y, x, radius); a later one takes what is nearer to it."""
    yy, xx = np.indices(shape) + 0.5
    reach = np.stack([np.hypot(yy - y, xx - x) / r for y, x, r in centre_radius])
    labels = np.where(reach.min(axis=0) < 1, reach.argmin(axis=0) + 1, 0).astype(np.int32)
    hv = np.zeros((2, *shape), np.float32)
    for i, (y, x, r) in enumerate(centre_radius):
        inside = labels == i + 1
        hv[0][inside] = ((xx - x) / r)[inside]
        hv[1][inside] = ((yy - y) / r)[inside]
    return labels, hv


@pytest.mark.parametrize("radius", [9, 12, 18])
@pytest.mark.parametrize("overlap", [0.0, 0.3])
def test_touching_discs_are_separated(radius, overlap):
    rng = np.random.default_rng(radius)
    apart = (2 - overlap) * radius
    true, hv = discs((80, 120), (40, 40, radius), (40, 40 + apart, radius))
    hv += rng.normal(0, 0.15, hv.shape).astype(np.float32)
    found = instances_of_maps(hv, (true > 0).astype(np.float32))
    assert len(found) == 2
    for i in (1, 2):
        same = (found.labels == i) & (true == true[found.labels == i][0])
        assert same.sum() / ((found.labels == i) | (true == true[same][0])).sum() >= 0.86


def test_an_empty_map_holds_no_nuclei():
    found = instances_of_maps(np.zeros((2, 40, 30), np.float32), np.zeros((40, 30), np.float32))
    assert len(found) == 0
    assert not found.labels.any()
    assert len(found.nuclei()) == 0


def test_a_value_that_is_not_finite_is_named():
    hv = np.zeros((2, 8, 9), np.float32)
    hv[1, 3, 4] = np.nan
    with pytest.raises(ModelError, match=r"HV maps hold nan at \(1, 3, 4\)"):
        instances_of_maps(hv, np.ones((8, 9), np.float32))
