"""Prompts in tile pixels become a batch in working pixels; tiles become working pictures."""

import numpy as np
import pytest
import torch
from uninuc_helpers import TINY, at_scale

from napari_nucleus.core.prompts import MaskLogits, Prompts
from napari_nucleus.core.stain import LabStatistics
from napari_nucleus.models.api import Calibration
from napari_nucleus.models.uninuc.prompt_encoder import NEGATIVE, PADDING, POSITIVE
from napari_nucleus.models.uninuc.prompting import SCRIBBLE_POINTS, prompt_batch
from napari_nucleus.models.working import to_working

DECODER = TINY.decoder
CPU = torch.device("cpu")


def one(prompts: Prompts, per=(1.0, 1.0), **more):
    return prompt_batch([prompts], per, DECODER, **more)


def test_points_and_boxes_are_scaled_axis_by_axis():
    prompts = Prompts([[10.5, 20.5], [3.2, 4.9]], [True, False], box=(4.0, 6.0, 20.0, 30.0))
    batch = one(prompts, (2.0, 0.5))
    # A click means the centre of its pixel.
    assert batch.points_yx[0].tolist() == [[21.0, 10.25], [7.0, 2.25]]
    assert batch.labels[0].tolist() == [POSITIVE, NEGATIVE]
    assert batch.boxes[0].tolist() == [8.0, 3.0, 40.0, 15.0]


def test_rows_are_filled_up_to_the_longest():
    batch = prompt_batch(
        [Prompts([[1.5, 1.5]] * 3, [True] * 3), Prompts(box=(1.0, 1.0, 5.0, 5.0))],
        (1.0, 1.0),
        DECODER,
    )
    assert batch.labels.tolist() == [[POSITIVE] * 3, [PADDING] * 3]
    assert batch.has_box.tolist() == [False, True]
    assert batch.has_logits.tolist() == [False, False]


@pytest.mark.parametrize(
    ("prompts", "lone"),
    [
        (Prompts([[9.5, 9.5]], [True]), True),
        (Prompts([[9.5, 9.5], [2.5, 2.5]], [True, False]), False),
        (Prompts([[9.5, 9.5]], [True], box=(4.0, 4.0, 14.0, 14.0)), False),
        (
            Prompts([[9.5, 9.5]], [True], mask=np.ones((4, 4), bool), mask_box=(8, 8, 12, 12)),
            False,
        ),
        (Prompts(box=(4.0, 4.0, 14.0, 14.0)), False),
    ],
)
def test_a_point_is_lone_if_it_is_all_there_is(prompts, lone):
    assert one(prompts).lone.tolist() == [lone]


def test_a_scribble_becomes_points_along_it():
    line = np.stack([np.linspace(5, 25, 40), np.linspace(10, 10, 40)], 1)
    batch = one(Prompts([[2.5, 2.5]], [False], scribble_yx=line))
    points = batch.points_yx[0, :SCRIBBLE_POINTS]
    assert torch.allclose(points[:, 0], torch.linspace(5, 25, SCRIBBLE_POINTS), atol=1e-4)
    assert torch.allclose(points[:, 1], torch.tensor(10.0))
    assert batch.labels[0].tolist() == [POSITIVE] * SCRIBBLE_POINTS + [NEGATIVE]


@pytest.mark.parametrize(
    ("prompts", "centre", "side"),
    [
        (Prompts([[40.5, 48.5]], [True]), (40, 48), 32),
        (Prompts(box=(30.0, 40.0, 50.0, 56.0)), (40, 48), 32),
        (Prompts(box=(20.0, 30.0, 60.0, 66.0)), (40, 48), 64),
        (Prompts(mask=np.ones((20, 16), bool), mask_box=(30, 40, 50, 56)), (40, 48), 32),
        # Far clicks in the nucleus enlarge the window, those outside do not.
        (Prompts([[20.5, 48.5], [60.5, 48.5]], [True, True]), (40, 48), 64),
        (Prompts([[40.5, 48.5], [80.5, 48.5]], [True, False]), (40, 48), 32),
        (Prompts([[40.5, 48.5]], [False]), (40, 48), 32),
    ],
    ids=str,
)
def test_the_window_holds_what_is_known_of_the_nucleus(prompts, centre, side):
    y0, x0, y1, x1 = one(prompts).windows[0].tolist()
    assert (y1 - y0, x1 - x0) == (side, side)
    assert abs((y0 + y1) / 2 - centre[0]) <= 4
    assert abs((x0 + x1) / 2 - centre[1]) <= 4


def test_a_size_that_is_known_better_overrides_the_prompts():
    batch = one(Prompts([[40.5, 48.5]], [True]), extents=np.array([60.0]))
    assert float(batch.windows[0, 2] - batch.windows[0, 0]) == 64


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_previous_masks_and_logits_lie_where_they_were(scale):
    mask = np.ones((16, 16), bool)
    grid = np.full((16, 16), -5.0, np.float16)
    grid[4:12, 4:12] = 5.0
    logits = MaskLogits(grid, (24.0, 32.0, 56.0, 64.0))
    for prompts in (Prompts(mask=mask, mask_box=(32, 40, 48, 56)), Prompts(logits=logits)):
        batch = one(prompts, (scale, scale))
        assert batch.has_logits.tolist() == [True]
        y0, x0, y1, _ = batch.windows[0].tolist()
        cell = (y1 - y0) / DECODER.crop_grid
        rows, cols = np.nonzero(batch.logits[0].numpy() > 0)
        centre = np.array([y0, x0]) + (np.array([rows.mean(), cols.mean()]) + 0.5) * cell
        assert np.abs(centre / scale - [40, 48]).max() <= 0.1 * cell / scale
        assert len(rows) * cell**2 == pytest.approx(16 * 16 * scale**2, rel=0.25)


def test_the_extent_of_logits_chooses_the_window():
    grid = np.full((16, 16), -5.0, np.float16)
    grid[4:8, 6:10] = 5.0
    prompts = Prompts(logits=MaskLogits(grid, (0.0, 0.0, 160.0, 160.0)))
    # Cells of 10 px: the nucleus covers 40 to 80 and 60 to 100.
    y0, x0, y1, x1 = one(prompts).windows[0].tolist()
    assert (y0 + y1) / 2 == pytest.approx(60, abs=4)
    assert (x0 + x1) / 2 == pytest.approx(80, abs=4)
    assert y1 - y0 == 64


# ---- working pictures


def ramp(shape, axis) -> np.ndarray:
    line = (np.arange(shape[axis]) + 0.5) * 2
    plane = np.broadcast_to(line[:, None] if axis == 0 else line[None], shape)
    return np.repeat(plane[..., None], 3, 2).astype(np.uint8)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0, 0.7])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_resized_picture_keeps_its_corners_in_place(scale, axis):
    shape = (60, 80)
    working = to_working(ramp(shape, axis), at_scale(scale), 1, None, 0.0, CPU)
    h, w = working.rgb.shape[-2:]
    assert (h, w) == (round(60 * scale), round(80 * scale))
    assert working.per_tile_pixel == (h / 60, w / 80)
    line = working.rgb[0, 0].mean(1 - axis).numpy() * 255
    positions = (np.arange(len(line)) + 0.5) / working.per_tile_pixel[axis]
    inner = slice(4, -4)
    # The picture holds twice the coordinate, cut off to whole numbers.
    assert np.abs(line[inner] / 2 - positions[inner]).max() < 0.3


def test_small_tiles_never_vanish():
    working = to_working(np.zeros((1, 3, 3), np.uint8), at_scale(0.2), 1, None, 0.0, CPU)
    assert working.rgb.shape == (1, 3, 1, 1)


def test_restaining_at_full_strength_reaches_the_training_stain():
    rng = np.random.default_rng(0)
    rgb = np.clip(rng.normal((190, 130, 170), 12, (64, 64, 3)), 0, 255).astype(np.uint8)
    source = LabStatistics((62.0, 25.0, -15.0), (6.0, 5.0, 5.0))
    calibration = Calibration(1.0, 0.25, False, source.mean, source.std)
    plain = to_working(rgb, calibration, 1, None, 1.0, CPU).rgb
    assert torch.equal(to_working(rgb, calibration, 1, source, 0.0, CPU).rgb, plain)
    same = to_working(rgb, calibration, 1, source, 1.0, CPU).rgb
    assert (same - plain).abs().max() <= 2 / 255
    darker = LabStatistics((50.0, 25.0, -15.0), source.std)
    moved = to_working(rgb, calibration, 1, darker, 1.0, CPU).rgb
    half = to_working(rgb, calibration, 1, darker, 0.5, CPU).rgb
    assert moved.mean() < half.mean() < plain.mean()
