"""Dense maps to instances, overlapping masks to nuclei, sizes of nuclei to a magnification."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from uninuc_helpers import TINY

from napari_nucleus.core.image import Tile
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.models.calibrate import (
    MIN_NUCLEI,
    NucleusSizes,
    calibrate,
    estimate_scale,
)
from napari_nucleus.models.uninuc.automatic import _covered, resolve
from napari_nucleus.models.uninuc.config import InferenceConfig
from napari_nucleus.models.uninuc.postprocess import dense_instances

CONFIG = InferenceConfig(overlap=0.5, containment=0.7, min_area=4)


def disc(shape, y, x, r) -> np.ndarray:
    rows, cols = np.indices(shape) + 0.5
    return (rows - y) ** 2 + (cols - x) ** 2 <= r * r


def maps_of(discs, shape=(64, 64)):
    """Foreground and normalised distance of discs; of overlapping ones the later is on top."""
    labels = np.zeros(shape, int)
    for i, (y, x, r) in enumerate(discs):
        labels[disc(shape, y, x, r)] = i + 1
    distance = np.zeros(shape, np.float32)
    for i in range(1, labels.max() + 1):
        depth = ndimage.distance_transform_edt(labels == i)
        distance = np.maximum(distance, depth / max(depth.max(), 1))
    return (labels > 0).astype(np.float32), distance.astype(np.float32), labels


# ---- dense instances


@pytest.mark.parametrize(
    "discs",
    [
        [(30.0, 30.0, 8.0)],
        [(20.0, 20.0, 7.0), (45.0, 40.0, 9.0)],
        [(30.0, 22.0, 8.0), (30.0, 37.0, 8.0)],  # touching
        [(30.0, 22.0, 9.0), (30.0, 36.0, 6.0)],  # pressed together
        [(0.0, 30.0, 8.0), (63.0, 63.0, 9.0)],  # cut by the border
    ],
)
def test_discs_come_back_one_by_one(discs):
    foreground, distance, true = maps_of(discs)
    labels = dense_instances(foreground, distance)
    assert labels.max() == len(discs)
    for i in range(1, len(discs) + 1):
        own = np.bincount(labels[true == i]).argmax()
        assert own > 0
        iou = ((labels == own) & (true == i)).sum() / ((labels == own) | (true == i)).sum()
        assert iou > 0.9


def test_nothing_gives_nothing():
    none = np.zeros((20, 30), np.float32)
    assert dense_instances(none, none).shape == (20, 30)
    assert dense_instances(none, none).max() == 0
    # Foreground without any depth is no nucleus, and depth without foreground neither.
    assert dense_instances(none + 1, none).max() == 0
    assert dense_instances(none, none + 1).max() == 0


def test_ids_have_no_gaps_and_specks_are_dropped():
    foreground, distance, _ = maps_of([(10, 10, 2.0), (30, 30, 8.0), (50, 12, 7.0)])
    labels = dense_instances(foreground, distance, min_area=40)
    assert np.unique(labels).tolist() == [0, 1, 2]
    assert np.bincount(labels.ravel())[1:].min() >= 40


def test_a_dent_too_shallow_for_two_nuclei_leaves_one():
    foreground, _, _ = maps_of([(30, 30, 9.0)])
    distance = np.where(foreground > 0, 0.6, 0).astype(np.float32)
    distance[:, 29:31] *= 0.9
    assert dense_instances(foreground, distance).max() == 1


# ---- overlapping masks


def nuclei_of(boxes, scores) -> Nuclei:
    masks = [np.ones((y1 - y0, x1 - x0), bool) for y0, x0, y1, x1 in boxes]
    return Nuclei.from_masks(masks, [b[:2] for b in boxes], scores, np.ones((len(boxes), 5)))


def resolved(boxes, scores, values=None, shape=(60, 60), config=CONFIG) -> Nuclei:
    nuclei = nuclei_of(boxes, scores)
    values = [1.0] * len(boxes) if values is None else values
    grids = [np.full(m.shape, v, np.float32) for m, v in zip(nuclei.masks, values, strict=True)]
    return resolve(nuclei, grids, shape, config, config.min_area)


def test_of_duplicates_the_better_score_stays():
    out = resolved([(10, 10, 20, 20), (11, 10, 21, 20), (40, 40, 50, 50)], [0.6, 0.9, 0.5])
    assert out.boxes.tolist() == [[11, 10, 21, 20], [40, 40, 50, 50]]
    assert np.allclose(out.score, [0.9, 0.5])


def test_a_fragment_inside_a_better_nucleus_goes():
    out = resolved([(10, 10, 30, 30), (12, 12, 18, 18)], [0.8, 0.5])
    assert out.boxes.tolist() == [[10, 10, 30, 30]]


def test_a_better_nucleus_inside_a_worse_one_keeps_its_own_pixels():
    out = resolved([(10, 10, 30, 30), (12, 12, 18, 18)], [0.5, 0.8], [1.0, 2.0])
    assert len(out) == 2
    labels = out.to_labels((60, 60))
    assert (labels[12:18, 12:18] == labels[13, 13]).all()
    assert out.areas.sum() == 400


def test_a_dropped_nucleus_does_not_drop_others():
    # The middle one is a duplicate of the first and would have been one of the third.
    boxes = [(10, 10, 20, 20), (13, 10, 23, 20), (16, 10, 26, 20)]
    out = resolved(boxes, [0.9, 0.8, 0.7])
    assert out.boxes[:, 0].tolist() == [10, 20]


def test_shared_pixels_go_to_the_larger_logit():
    boxes = [(10, 10, 20, 20), (10, 17, 20, 30)]
    for values, edge in (((3.0, 1.0), 20), ((1.0, 3.0), 17)):
        out = resolved(boxes, [0.9, 0.8], values)
        assert out.boxes[0].tolist() == [10, 10, 20, edge]
        assert out.boxes[1].tolist() == [10, edge, 20, 30]


def test_scores_and_classes_stay_with_their_nucleus():
    nuclei = nuclei_of([(10, 10, 20, 20), (11, 10, 21, 20), (40, 40, 50, 50)], [0.6, 0.9, 0.5])
    prob = np.eye(5, dtype=np.float32)[:3]
    nuclei = replace(nuclei, class_prob=prob)
    out = resolve(nuclei, [np.ones(m.shape, np.float32) for m in nuclei.masks], (60, 60), CONFIG, 4)
    assert out.class_prob.argmax(1).tolist() == [1, 2]


random_boxes = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(3, 19), st.integers(3, 19)),
    min_size=0,
    max_size=12,
)


@given(random_boxes, st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_resolved_nuclei_share_no_pixel_and_invent_none(raw, seed):
    rng = np.random.default_rng(seed)
    boxes = [(y, x, y + h, x + w) for y, x, h, w in raw]
    nuclei = nuclei_of(boxes, rng.random(len(boxes)))
    values = [rng.uniform(0.01, 5, m.shape).astype(np.float32) for m in nuclei.masks]
    out = resolve(nuclei, values, (60, 60), CONFIG, CONFIG.min_area)
    painted = np.zeros((60, 60), int)
    before = nuclei.to_labels((60, 60)) > 0
    for (y0, x0, y1, x1), mask in zip(out.boxes, out.masks, strict=True):
        painted[y0:y1, x0:x1] += mask
        assert ndimage.label(mask)[1] == 1
        assert mask.sum() >= CONFIG.min_area
    assert painted.max(initial=0) <= 1
    assert not (painted.astype(bool) & ~before).any()


def test_boxes_of_the_dense_heads_that_the_detector_has_are_known():
    boxes = np.array([[0.0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 60, 60]])
    by = np.array([[1.0, 0, 11, 10], [24, 24, 34, 34]])
    assert _covered(boxes, by).tolist() == [True, False, False]
    assert _covered(boxes, by[:0]).tolist() == [False] * 3
    assert _covered(boxes[:0], by).tolist() == []


# ---- calibration


def seen_by(diameter: float, n: int = 40, confidence: float = 0.8):
    """What a model finds that knows nuclei of 5 to 60 working pixels."""

    def sizes_at(samples, zoom):
        shown = diameter * zoom
        count = n if 5 <= shown <= 60 else 0
        spread = np.linspace(0.9, 1.1, count)
        return NucleusSizes(shown * spread, confidence)

    return sizes_at


SAMPLES = [Tile(np.full((32, 32, 3), (200, 120, 170), np.uint8))]


@pytest.mark.parametrize("diameter", [6.0, 8.5, 12.0, 25.0, 34.0, 40.0])
def test_the_scale_brings_the_median_nucleus_to_canonical_size(diameter):
    scale = estimate_scale(SAMPLES, 17.0, seen_by(diameter))
    assert scale * diameter == pytest.approx(17.0, rel=0.02)
    doubled = estimate_scale(SAMPLES, 17.0, seen_by(2 * diameter))
    assert doubled * 2 * diameter == pytest.approx(17.0, rel=0.02)
    assert doubled == pytest.approx(scale / 2, rel=0.02)


@pytest.mark.parametrize("diameter", [15.0, 17.0, 19.0])
def test_nuclei_of_about_canonical_size_leave_the_scale_alone(diameter):
    assert estimate_scale(SAMPLES, 17.0, seen_by(diameter)) == 1.0


def test_too_few_nuclei_leave_the_scale_alone():
    assert estimate_scale(SAMPLES, 17.0, seen_by(8.0, MIN_NUCLEI - 1)) == 1.0
    assert estimate_scale([], 17.0, lambda *_: NucleusSizes(np.zeros(0), 0.0)) == 1.0
    assert estimate_scale(SAMPLES, 17.0, seen_by(8.0, MIN_NUCLEI)) != 1.0


def test_the_magnification_with_the_most_confidence_speaks():
    def sizes_at(samples, zoom):
        # At half size real nuclei; at full size the grain of chromatin, found unsurely.
        return NucleusSizes(np.full(30, 17.0), 0.9 if zoom == 0.5 else 0.3)

    assert estimate_scale(SAMPLES, 17.0, sizes_at) == 0.5


def test_a_stated_pixel_size_is_taken_and_no_nucleus_looked_for():
    def never(samples, zoom):
        raise AssertionError

    config = TINY.inference
    calibration = calibrate(SAMPLES, 0.5, config.mpp, config.canonical_diameter, never)
    assert calibration.scale == 2.0
    assert calibration.mpp == 0.5
    assert not calibration.mpp_estimated


def test_an_estimated_pixel_size_is_said_to_be_one():
    calibration = calibrate(
        SAMPLES, None, TINY.inference.mpp, TINY.inference.canonical_diameter, seen_by(34.0)
    )
    assert calibration.mpp_estimated
    assert calibration.scale == pytest.approx(0.5, rel=0.01)
    # Nuclei of 34 px are 17 px at 0.25 µm, hence 0.125 µm per pixel.
    assert calibration.mpp == pytest.approx(0.125, rel=0.01)


def test_the_stain_is_that_of_the_tissue():
    pink, white = (200, 120, 170), (245, 244, 246)
    half = np.full((64, 64, 3), white, np.uint8)
    half[:32] = pink
    found = calibrate(
        [Tile(half)], 0.25, TINY.inference.mpp, TINY.inference.canonical_diameter, seen_by(17.0)
    )
    alone = calibrate(
        [Tile(half[:32])],
        0.25,
        TINY.inference.mpp,
        TINY.inference.canonical_diameter,
        seen_by(17.0),
    )
    assert found.lab_mean == pytest.approx(alone.lab_mean, abs=1e-6)


def test_white_has_no_stain():
    white = Tile(np.full((64, 64, 3), 250, np.uint8))
    for samples in ([white], []):
        calibration = calibrate(
            samples, 0.25, TINY.inference.mpp, TINY.inference.canonical_diameter, seen_by(17.0)
        )
        assert calibration.lab_mean is None
        assert calibration.lab_std is None
