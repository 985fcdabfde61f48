"""Points and their nuclei without a host: the same as with one."""

import numpy as np
import pytest
from hosting_fakes import DARK, Pointer
from scipy import ndimage

from napari_nucleus.core.image import ArraySource
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.points import Points
from napari_nucleus.core.progress import Cancel
from napari_nucleus.errors import CancelledError
from napari_nucleus.hosting.local import (
    detect_source,
    masks_of_source,
    segment_source,
    segment_with_points,
)
from napari_nucleus.models.api import Calibration
from napari_nucleus.models.point_segmenter import PointSegmenter

CALIBRATION = Calibration(1.0, 0.5)


@pytest.fixture
def source(blobs):
    return ArraySource(blobs, 0.5)


@pytest.fixture
def true(source) -> Nuclei:
    labels, _ = ndimage.label(source.array.max(axis=-1) < DARK)
    return Nuclei.from_labels(labels)[0]


def sorted_rows(rows) -> list[tuple]:
    return sorted(tuple(row) for row in np.asarray(rows).tolist())


def points_of(nuclei: Nuclei) -> Points:
    n = len(nuclei)
    return Points(nuclei.centroids_yx, np.ones(n), np.zeros((n, 0)))


def test_points_come_once_across_tiles(source, true):
    reports = []
    found = detect_source(Pointer(), source, CALIBRATION, reports.append)
    assert sorted_rows(found.yx) == sorted_rows(true.centroids_yx)
    assert reports[-1].done == reports[-1].total > 1


def test_points_become_the_nuclei_they_lie_in_across_tiles(source, true):
    masks = masks_of_source(Pointer(), source, CALIBRATION, points_of(true))
    assert len(masks) == len(true)
    assert masks.nuclei.boxes[masks.nucleus].tolist() == true.boxes.tolist()


def test_no_points_become_nothing(source):
    masks = masks_of_source(Pointer(), source, CALIBRATION, Points.empty())
    assert len(masks) == len(masks.nucleus) == 0


def test_a_detector_with_a_segmenter_works_through_an_image(source, true):
    model = PointSegmenter(Pointer(), Pointer())
    nuclei, points = segment_with_points(model, source, CALIBRATION)
    assert sorted_rows(nuclei.boxes) == sorted_rows(true.boxes)
    assert sorted_rows(points.yx) == sorted_rows(true.centroids_yx)
    plain = segment_source(model, source, CALIBRATION)
    assert sorted_rows(plain.boxes) == sorted_rows(nuclei.boxes)


def test_all_of_it_can_be_cancelled(source, true):
    cancel = Cancel()
    cancel.set()
    with pytest.raises(CancelledError):
        detect_source(Pointer(), source, CALIBRATION, cancel=cancel)
    with pytest.raises(CancelledError):
        masks_of_source(Pointer(), source, CALIBRATION, points_of(true), cancel=cancel)
