"""Augmentation: picture and labels change together, and colour changes nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training_helpers import BACKGROUND, draw_labels, paint_labels

from napari_nucleus.training.augment import (
    AppearanceConfig,
    change_appearance,
    cover_with_dirt,
    crop_affine,
    paste_nuclei,
)

LABELS = draw_labels((90, 110), 3, 20)
PICTURE = paint_labels(LABELS)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("size", [32, 33])
def test_right_angles_at_scale_one_copy_pixels(turns, mirror, size):
    centre = (45.3, 52.7)
    rgb, labels = crop_affine(PICTURE, LABELS, centre, size, 1.0, turns * np.pi / 2, mirror)
    low = [int(np.floor(c)) - size // 2 for c in centre]
    plain = np.s_[low[0] : low[0] + size, low[1] : low[1] + size]
    candidates = []
    for k in range(4):
        for flipped in (False, True):
            views = [np.rot90(a[plain], k) for a in (PICTURE, LABELS)]
            candidates.append([v[:, ::-1] if flipped else v for v in views])
    matches = [np.array_equal(rgb, a) and np.array_equal(labels, b) for a, b in candidates]
    assert sum(matches) == 1
    assert (matches.index(True) % 2 == 1) == mirror
    if turns == 0 and not mirror:
        assert matches[0]


def test_the_four_turns_and_their_mirrors_are_eight_different_pictures():
    seen = {
        crop_affine(PICTURE, LABELS, (45, 52), 32, 1.0, k * np.pi / 2, m)[1].tobytes()
        for k in range(4)
        for m in (False, True)
    }
    assert len(seen) == 8


@given(
    st.floats(20, 70),
    st.floats(20, 90),
    st.floats(0.55, 1.8),
    st.floats(0, 2 * np.pi),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_picture_and_labels_stay_aligned(y, x, scale, angle, mirror):
    # Colours say twice the row and column of a pixel, labels its number.
    shape = (90, 110)
    rows, cols = np.indices(shape)
    picture = np.stack([2 * rows, 2 * cols, 0 * rows], -1).astype(np.uint8)
    numbers = (rows * shape[1] + cols + 1).astype(np.int32)
    rgb, labels = crop_affine(picture, numbers, (y, x), 48, scale, angle, mirror)
    row, col = np.divmod(labels - 1, shape[1])
    # Where the image is mirrored a smoothed ramp is none.
    inner = (row > 4) & (row < shape[0] - 5) & (col > 4) & (col < shape[1] - 5)
    assert inner.sum() > 300
    for shown, own in ((rgb[..., 0] / 2, row), (rgb[..., 1] / 2, col)):
        # Labels are those of the nearest pixel; colours are rounded to half a pixel.
        assert np.abs(shown - own)[inner].max() <= 0.76


def test_the_centre_stays_the_centre_and_scale_magnifies():
    labels = np.zeros((101, 101), np.int32)
    labels[40:61, 40:61] = 1
    picture = np.repeat((labels * 200).astype(np.uint8)[..., None], 3, 2)
    for scale in (0.5, 0.8, 1.3, 2.0):
        for angle in (0.0, np.pi / 2, np.pi):
            rgb, out = crop_affine(picture, labels, (50.5, 50.5), 80, scale, angle, False)
            rows, cols = np.nonzero(out)
            assert np.ptp(rows) + 1 == pytest.approx(21 * scale, abs=1)
            # The middle of the crop is between its pixels 39 and 40.
            assert rows.mean() == pytest.approx(39.5, abs=0.3)
            assert cols.mean() == pytest.approx(39.5, abs=0.3)
            weight = rgb[..., 0].astype(float)
            assert (np.arange(80)[:, None] * weight).sum() / weight.sum() == pytest.approx(
                39.5, abs=0.15
            )


def test_beyond_the_image_it_is_mirrored():
    rgb, labels = crop_affine(PICTURE, LABELS, (0.0, 50.0), 40, 1.0, 0.0, False)
    assert np.array_equal(labels[20:], LABELS[:20, 30:70])
    assert np.array_equal(labels[:20], LABELS[20:0:-1, 30:70])
    assert np.array_equal(rgb[:20], PICTURE[20:0:-1, 30:70])
    tiny = np.full((1, 1, 3), 9, np.uint8), np.ones((1, 1), np.int32)
    rgb, labels = crop_affine(*tiny, (0.5, 0.5), 8, 1.0, 0.0, False)
    assert (rgb == 9).all()
    assert (labels == 1).all()


# ---- pasting and dirt


def test_pasted_nuclei_lie_on_background_and_bring_their_class():
    donor = draw_labels(LABELS.shape, 8, 20)
    target = np.arange(LABELS.max() + 1).astype(np.uint8) % 5 + 1
    donor_target = np.full(donor.max() + 1, 77, np.uint8)
    rgb, labels, classes = paste_nuclei(
        PICTURE,
        LABELS,
        target,
        paint_labels(donor),
        donor,
        donor_target,
        np.random.default_rng(0),
        20,
    )
    old = LABELS > 0
    assert np.array_equal(labels[old], LABELS[old])
    new = np.unique(labels[~old & (labels > 0)])
    assert len(new) > 0
    assert (classes[new] == 77).all()
    assert len(classes) == labels.max() + 1
    for number in new:
        where = labels == number
        source = np.unique(donor[where])
        assert len(source) == 1
        assert np.array_equal(where, donor == source[0])
        shown = rgb[where].astype(int)
        assert np.abs(shown - paint_labels(donor)[where]).mean() < 40
    far = np.zeros_like(old)
    far[:, :] = labels == 0
    unchanged = far & (np.abs(rgb.astype(int) - PICTURE).max(-1) == 0)
    assert unchanged.sum() > 0.6 * far.sum()
    # What was given is not written to.
    assert np.array_equal(PICTURE, paint_labels(LABELS))


def test_no_more_nuclei_are_pasted_than_asked_for():
    donor = draw_labels(LABELS.shape, 8, 20)
    empty = np.zeros_like(LABELS), np.zeros(1, np.uint8)
    for count in (0, 1, 3):
        _, labels, classes = paste_nuclei(
            PICTURE,
            *empty,
            paint_labels(donor),
            donor,
            np.ones(30, np.uint8),
            np.random.default_rng(1),
            count,
        )
        assert labels.max() == count
        assert len(classes) == count + 1


def test_covered_nuclei_are_taken_off_and_the_others_stay():
    for seed in range(8):
        rgb, labels = cover_with_dirt(PICTURE, LABELS, np.random.default_rng(seed))
        assert rgb.dtype == np.uint8
        assert labels.dtype == LABELS.dtype
        kept = labels > 0
        assert np.array_equal(labels[kept], LABELS[kept])
        for number in np.unique(LABELS[LABELS > 0]):
            assert (labels[number == LABELS] == 0).all() or (labels[number == LABELS] > 0).all()
        assert (rgb != PICTURE).any()


# ---- appearance


def test_without_any_change_a_crop_is_itself():
    fields = AppearanceConfig.__dataclass_fields__
    shares = {n: 0.0 for n in fields if isinstance(getattr(AppearanceConfig(), n), float)}
    out = change_appearance(PICTURE, np.random.default_rng(0), AppearanceConfig(**shares))
    assert np.array_equal(out, PICTURE)


def test_every_change_alone_gives_a_picture_of_the_same_size():
    fields = AppearanceConfig.__dataclass_fields__
    off = dict.fromkeys(
        (
            "hed",
            "rotation",
            "restain",
            "grey",
            "gamma",
            "blur",
            "resample",
            "jpeg",
            "sharpen",
            "noise",
        ),
        0.0,
    )
    assert set(off) <= set(fields)
    for name in off:
        config = AppearanceConfig(**(off | {name: 1.0}))
        out = change_appearance(PICTURE, np.random.default_rng(3), config)
        assert out.shape == PICTURE.shape
        assert out.dtype == np.uint8
        assert (out != PICTURE).any(), name


def test_appearance_does_not_move_the_borders_of_nuclei():
    dark = np.zeros((64, 64), bool)
    dark[20:44, 16:50] = True
    picture = np.where(dark[..., None], (90, 60, 130), BACKGROUND).astype(np.uint8)
    for seed in range(25):
        out = change_appearance(picture, np.random.default_rng(seed), AppearanceConfig())
        grey = out.astype(float).mean(-1)
        middle = (grey[dark].mean() + grey[~dark].mean()) / 2
        shown = (grey < middle) == (grey[dark].mean() < middle)
        for axis in (0, 1):
            found = np.argwhere(shown)[:, axis].mean()
            assert found == pytest.approx(np.argwhere(dark)[:, axis].mean(), abs=0.4)


def test_the_same_generator_gives_the_same_picture():
    first, second, other = (
        change_appearance(PICTURE, np.random.default_rng(s), AppearanceConfig()) for s in (5, 5, 6)
    )
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
