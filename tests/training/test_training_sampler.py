"""Crops and batches: the same seed gives the same, ids without gaps, tensors of the right kind."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from scipy import ndimage
from training_helpers import make_crop, make_image
from uninuc_helpers import TINY

from napari_nucleus.training.batches import (
    CropBatches,
    StagePlan,
    TrainingImages,
    dense_batch,
    pixels_of,
)
from napari_nucleus.training.click_targets import ObjectConfig
from napari_nucleus.training.data import PointImage
from napari_nucleus.training.detection import box_batch, boxes_of_crop
from napari_nucleus.training.loop import RunConfig
from napari_nucleus.training.sampler import CropSampler, SamplerConfig, compact_crop
from napari_nucleus.training.uninuc import click_batch

CONFIG = SamplerConfig(consep=0.4, dsb2018=0.3, synthetic=0.2, points=0.1)
POINTS = PointImage(
    "nucls_1",
    make_image((60, 60)).rgb,
    np.array([[20.5, 30.5], [40.5, 12.5]]),
    np.array([1, 255], np.uint8),
)


def make_sampler(seed: int = 0, size: int = 48, config: SamplerConfig = CONFIG, points=(POINTS,)):
    images = {
        "consep": [make_image((96, 112), s) for s in range(3)],
        "dsb2018": [make_image((40, 50), s, 6, "dsb2018") for s in range(2)],
        "synthetic": [make_image((64, 64), 9, 8, "synthetic")],
    }
    return CropSampler(images, points, size, config, seed)


def test_the_same_seed_gives_the_same_crops():
    first, second, other = (list(islice(make_sampler(s), 6)) for s in (1, 1, 2))
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a.rgb, b.rgb)
        assert np.array_equal(a.labels, b.labels)
    assert any(not np.array_equal(a.rgb, b.rgb) for a, b in zip(first, other, strict=True))


def test_crops_have_compact_ids_with_a_class_each():
    for crop in islice(make_sampler(), 40):
        assert crop.rgb.shape == (48, 48, 3)
        assert crop.labels.shape == crop.known.shape == (48, 48)
        n = len(crop.class_target) - 1
        assert np.unique(crop.labels[crop.labels > 0]).tolist() == list(range(1, n + 1))
        assert crop.class_target[0] == 0
        assert (crop.class_target[1:] > 0).all()
        for i in range(1, n + 1):
            assert ndimage.label(crop.labels == i, np.ones((3, 3)))[1] == 1


def test_a_nucleus_shown_twice_by_mirroring_is_two():
    labels = np.zeros((30, 30), np.int32)
    labels[4:10, 4:10], labels[20:26, 4:10] = 5, 5
    labels[4:10, 20:26] = 2
    target = np.array([0, 9, 3, 9, 9, 15], np.uint8)
    out, classes = compact_crop(labels, target)
    assert out.max() == 3
    assert sorted(classes[1:].tolist()) == [3, 15, 15]
    assert classes[out[5, 21]] == 3
    assert classes[out[5, 5]] == classes[out[21, 5]] == 15
    assert out[5, 5] != out[21, 5]


def test_specks_at_the_border_are_dropped():
    labels = np.zeros((20, 20), np.int32)
    labels[0, 0:5], labels[10:14, 10:14] = 1, 2
    out, classes = compact_crop(labels, np.array([0, 1, 2], np.uint8))
    assert np.unique(out).tolist() == [0, 1]
    assert classes.tolist() == [0, 2]


def test_points_are_known_and_the_rest_is_not():
    only = replace(CONFIG, consep=0, dsb2018=0, synthetic=0, points=1, exact=1.0)
    for crop in islice(make_sampler(config=only), 10):
        assert np.array_equal(crop.known, crop.labels > 0)
        assert set(crop.class_target) <= {0, 1, 255}
        for area in np.bincount(crop.labels.ravel())[1:]:
            assert area <= 32  # a disk of radius 3


def test_images_outside_of_the_shares_are_never_drawn():
    only = replace(CONFIG, consep=0, dsb2018=0, synthetic=1, points=0)
    sampler = make_sampler(config=only)
    assert {sampler._names[i] for i in np.flatnonzero(sampler._share)} == {"synthetic"}
    with pytest.raises(ValueError, match="no training images"):
        CropSampler({}, [], 32)
    with pytest.raises(ValueError, match="no training images"):
        make_sampler(config=replace(CONFIG, consep=0, dsb2018=0, synthetic=0, points=0))


def test_nuclei_of_unknown_magnification_are_brought_to_size():
    only = replace(CONFIG, consep=0, dsb2018=1, synthetic=0, points=0, paste=0, dirt=0)
    only = replace(only, dsb_diameter=(20.0, 20.0), exact=0.0)
    areas = [
        np.bincount(crop.labels.ravel())[1:]
        for crop in islice(make_sampler(config=only, size=96), 12)
    ]
    diameters = 2 * np.sqrt(np.median(np.concatenate(areas)) / np.pi)
    assert diameters == pytest.approx(20, rel=0.2)


# ---- batches


def test_dense_batches_have_the_shapes_and_types_that_losses_take():
    crops = [make_crop(32, s, 4) for s in range(3)]
    batch = dense_batch(TINY)(crops)
    shapes = {
        "pixels": (3, 3, 32, 32),
        "foreground": (3, 32, 32),
        "distance": (3, 32, 32),
        "hv": (3, 2, 32, 32),
        "heatmap": (3, 32, 32),
        "known": (3, 32, 32),
        "class_set": (3, 5, 32, 32),
    }
    assert {k: tuple(v.shape) for k, v in batch.items()} == shapes
    for name, value in batch.items():
        expected = torch.uint8 if name in ("pixels", "class_set") else torch.float32
        assert value.dtype == expected, name
    assert np.array_equal(pixels_of(crops)[1].permute(1, 2, 0), crops[1].rgb)


def test_boxes_are_centre_and_size_in_x_and_y():
    crop = make_crop(64, 1, 5)
    targets = boxes_of_crop(crop, 5)
    assert targets.boxes.dtype == targets.class_set.dtype == torch.float32
    assert targets.class_set.shape == (len(targets.boxes), 5)
    for i, (cx, cy, w, h) in enumerate(targets.boxes.tolist(), start=1):
        rows, cols = np.nonzero(crop.labels == i)
        assert (cx - w / 2, cx + w / 2) == (cols.min(), cols.max() + 1)
        assert (cy - h / 2, cy + h / 2) == (rows.min(), rows.max() + 1)
    empty = replace(crop, labels=crop.labels * 0, class_target=crop.class_target[:1])
    assert boxes_of_crop(empty, 5).boxes.shape == (0, 4)
    batch = box_batch(TINY)([crop, empty])
    assert [len(t.boxes) for t in batch["boxes"]] == [5, 0]


def test_click_batches_carry_their_objects():
    batch = click_batch(TINY, ObjectConfig(per_crop=6), 0)([make_crop(64, s) for s in range(2)])
    assert batch["objects"].tile_index.tolist() == [0] * 6 + [1] * 6
    assert batch["objects"].truth.shape == (12, 32, 32)
    assert batch["pixels"].shape == (2, 3, 64, 64)


def test_batches_follow_their_seed_and_continue_with_new_crops():
    def drawn(seed: int, start: int) -> torch.Tensor:
        dataset = CropBatches(make_sampler(), 2, pixels_of, seed, start)
        return torch.cat(list(islice(dataset, 2)))

    assert torch.equal(drawn(0, 0), drawn(0, 0))
    assert not torch.equal(drawn(0, 0), drawn(1, 0))
    assert not torch.equal(drawn(0, 0), drawn(0, 7))


@pytest.mark.parametrize("start", [0, 3, 7])
def test_a_plan_gives_every_step_its_size_and_ends_with_the_run(start):
    plan = StagePlan(
        RunConfig(steps=10), sizes=((0.6, 32, 3), (1.0, 48, 2)), sampler=CONFIG, workers=0
    )
    sampler = make_sampler()
    images = TrainingImages(sampler._images, [POINTS], [])
    shapes = [tuple(b.shape) for b in plan.batches(images, pixels_of, start)]
    expected = [(3, 3, 32, 32)] * 6 + [(2, 3, 48, 48)] * 4
    assert shapes == expected[start:]
