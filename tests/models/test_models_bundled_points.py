"""The models that ship, with points: each is outlined, and found ones make good nuclei."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from napari_nucleus.core.image import ArraySource
from napari_nucleus.core.metrics import OverlapTable, panoptic_quality
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.points import Points
from napari_nucleus.hosting.local import calibrate_source, masks_of_source, segment_with_points
from napari_nucleus.models import zoo
from napari_nucleus.models.point_prompting import PointPrompting
from napari_nucleus.sample_data.fields import FIELD_NAMES, load_field

SIDE = 256


def part_of(name: str) -> tuple[ArraySource, np.ndarray]:
    field = load_field(name)
    rgb = np.ascontiguousarray(field.rgb[:SIDE, :SIDE])
    return ArraySource(rgb, field.spec.mpp, name), field.labels[:SIDE, :SIDE]


def pq(true: np.ndarray, nuclei: Nuclei) -> float:
    return panoptic_quality(OverlapTable.of(true, nuclei.to_labels(true.shape))).pq


@pytest.fixture(scope="module")
def segmenter():
    return zoo.load_model("uninuc-nano", "cpu")


@pytest.mark.parametrize("name", FIELD_NAMES)
def test_a_point_on_each_nucleus_outlines_them_all(segmenter, name):
    source, true = part_of(name)
    yx = Nuclei.from_labels(true)[0].centroids_yx
    points = Points(yx, np.ones(len(yx)), np.zeros((len(yx), 0)))
    calibration = calibrate_source(segmenter, source)
    masks = masks_of_source(segmenter, source, calibration, points)
    assert pq(true, masks.nuclei) > 0.8
    assert (masks.nucleus >= 0).mean() > 0.98
    owner = masks.nuclei.to_labels(true.shape)[tuple(np.floor(yx).astype(int).T)]
    assert (owner == masks.nucleus + 1).mean() > 0.95


def test_neighbours_as_negative_points_part_crowded_nuclei(segmenter):
    source, true = part_of("tumour")
    yx = Nuclei.from_labels(true)[0].centroids_yx
    points = Points(yx, np.ones(len(yx)), np.zeros((len(yx), 0)))
    calibration = calibrate_source(segmenter, source)
    alone, usual = (
        pq(true, masks_of_source(segmenter, source, calibration, points, how).nuclei)
        for how in (PointPrompting(), None)
    )
    assert usual > alone


def test_the_small_writers_points_become_good_nuclei():
    model = zoo.load_model("nunext-nano", "cpu")
    source, true = part_of("tumour")
    nuclei, points = segment_with_points(model, source, calibrate_source(model, source))
    assert pq(true, nuclei) > 0.65
    assert len(nuclei) <= len(points)
    assert nuclei.source == "nunext-nano"
    assert nuclei.class_prob.shape == (len(nuclei), len(model.info.classes))
    nearest, _ = cKDTree(points.yx).query(nuclei.centroids_yx)
    assert np.median(nearest) < 4
