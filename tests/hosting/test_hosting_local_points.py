"""Points and their nuclei without a host: the same as with one."""

import numpy as np
import pytest
from hosting_fakes import DARK, Pointer
from scipy import ndimage
from scipy.spatial import cKDTree

from napari_nucleus.core.geometry import clip_box
from napari_nucleus.core.image import ArraySource
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.points import Points
from napari_nucleus.core.progress import Cancel
from napari_nucleus.core.prompts import MaskLogits, MaskPrediction
from napari_nucleus.errors import CancelledError
from napari_nucleus.hosting.local import (
    detect_source,
    masks_of_source,
    segment_source,
    segment_with_points,
)
from napari_nucleus.models.api import Calibration
from napari_nucleus.models.point_prompting import PointPrompting
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


class Squares(Pointer):
    """Outlines a square around every point; how sure it is depends on the place in the tile."""

    def refine_many(self, embedding, prompts):
        answers = []
        for one in prompts:
            y, x = np.floor(one.points_yx[0]).astype(int)
            y0, x0, y1, x1 = box = clip_box((y - 6, x - 6, y + 7, x + 7), embedding.shape)
            logits = MaskLogits(np.zeros((2, 2), np.float16), tuple(map(float, box)))
            iou = float(np.cos(y) * np.sin(x)) ** 2
            answers.append(MaskPrediction(np.ones((y1 - y0, x1 - x0), bool), box, logits, iou))
        return answers


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("contested", ["better", "nearest"])
def test_no_two_nuclei_share_a_pixel_wherever_their_tiles_meet(source, seed, contested):
    rng = np.random.default_rng(seed)
    yx = rng.uniform((0, 0), source.shape, (400, 2))
    points = Points(yx, rng.random(400), np.zeros((400, 0)))
    prompting = PointPrompting(contested=contested)
    masks = masks_of_source(Squares(), source, CALIBRATION, points, prompting)
    painted = np.zeros(source.shape, int)
    for (y0, x0, y1, x1), mask in zip(masks.nuclei.boxes, masks.nuclei.masks, strict=True):
        painted[y0:y1, x0:x1] += mask
    assert painted.max() == 1
    assert sorted(masks.nucleus[masks.nucleus >= 0]) == list(range(len(masks)))
    np.testing.assert_allclose(
        masks.nuclei.centroids_yx[masks.nucleus[masks.nucleus >= 0]],
        yx[masks.nucleus >= 0],
        atol=8,
    )
    # Each point became a nucleus, or lies on one whose box covers much of its own, or is covered.
    left_over = yx[masks.nucleus < 0]
    away, _ = cKDTree(masks.nuclei.centroids_yx).query(left_over)
    assert len(left_over) < 400
    assert away.max() < 10
