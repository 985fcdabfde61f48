"""Windows, crops and grids: everything lands at the right pixel, for every window and scale.

Bilinear sampling returns a linear function unchanged, so maps that hold their own coordinates show
any shift, half a pixel included.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from uninuc_helpers import TINY

from napari_nucleus.models.uninuc.crops import (
    LOGIT_RANGE,
    PromptBatch,
    choose_windows,
    draw_prompts,
    gather,
    instance_logits,
    pseudo_logits,
    sample_logits,
    tokens_of,
)
from napari_nucleus.models.uninuc.decoding import (
    logits_on_pixels,
    obey_clicks,
    to_mask_logits,
)
from napari_nucleus.models.uninuc.prompt_encoder import NEGATIVE, PADDING, POSITIVE

GRID = 16
NAN = float("nan")


def coordinate_map(shape: tuple[int, int], stride: int) -> torch.Tensor:
    """``(1, 2, h, w)`` y and x of the cells' centres, in pixels."""
    h, w = shape[0] // stride, shape[1] // stride
    y = (torch.arange(h) + 0.5) * stride
    x = (torch.arange(w) + 0.5) * stride
    return torch.stack(torch.meshgrid(y, x, indexing="ij"))[None]


def centres(window: torch.Tensor, grid: int) -> torch.Tensor:
    """``(2, grid, grid)`` y and x of the centres of a window's cells."""
    steps = (torch.arange(grid) + 0.5) / grid
    y = window[0] + steps * (window[2] - window[0])
    x = window[1] + steps * (window[3] - window[1])
    return torch.stack(torch.meshgrid(y, x, indexing="ij"))


def batch_of(window, points=(), labels=(), box=None, logits=None) -> PromptBatch:
    n_points = max(len(points), 1)
    yx, signs = torch.zeros(1, n_points, 2), torch.full((1, n_points), PADDING)
    for k, (point, label) in enumerate(zip(points, labels, strict=True)):
        yx[0, k], signs[0, k] = torch.tensor(point), label
    boxes = torch.full((1, 4), NAN) if box is None else torch.tensor([box], dtype=torch.float32)
    has = torch.tensor([logits is not None])
    grid = torch.zeros(1, GRID, GRID) if logits is None else logits
    windows = torch.tensor([window], dtype=torch.float32)
    return PromptBatch(windows, yx, signs, boxes, grid, has)


# ---- windows


@given(
    st.floats(-50, 900), st.floats(-50, 900), st.floats(0, 200), st.sampled_from([(32, 64), (64,)])
)
def test_windows_are_aligned_near_their_nucleus_and_the_smallest_that_fit(y, x, extent, sizes):
    config = TINY.decoder.__class__(crop_grid=GRID, crop_windows=sizes)
    window = choose_windows(torch.tensor([[y, x]]), torch.tensor([extent]), config)[0]
    side = (window[2:] - window[:2]).tolist()
    assert side[0] == side[1]
    assert side[0] in sizes
    assert (window % 8 == 0).all()
    centre = (window[:2] + window[2:]) / 2
    assert (centre - torch.tensor([y, x])).abs().max() <= 4
    fitting = [s for s in sizes if extent <= 0.7 * s]
    assert side[0] == (fitting[0] if fitting else sizes[-1])


# ---- gathering


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize(
    "window", [(16, 24, 48, 56), (19.5, 21.25, 51.5, 53.25), (8, 8, 72, 72)], ids=str
)
def test_a_crop_holds_the_cells_at_its_own_positions(stride, window):
    windows = torch.tensor([window], dtype=torch.float32)
    feature = coordinate_map((96, 112), stride)
    cut = gather(feature, windows, torch.zeros(1, dtype=torch.long), stride, GRID)
    assert torch.allclose(cut[0], centres(windows[0], GRID), atol=1e-3)


def test_an_aligned_crop_is_a_plain_slice():
    feature = torch.randn(1, 3, 40, 48)
    window = torch.tensor([[16.0, 24, 48, 56]])
    cut = gather(feature, window, torch.zeros(1, dtype=torch.long), 2, GRID)
    assert torch.allclose(cut[0], feature[0, :, 8:24, 12:28], atol=1e-5)


def test_outside_of_the_map_a_crop_is_zero():
    feature = torch.ones(1, 1, 16, 16)
    window = torch.tensor([[-16.0, -16, 16, 16]])
    cut = gather(feature, window, torch.zeros(1, dtype=torch.long), 2, GRID)[0, 0]
    assert torch.equal(cut[8:, 8:], torch.ones(8, 8))
    assert cut[:8].abs().sum() == 0
    assert cut[:, :8].abs().sum() == 0


def test_crops_of_several_tiles_come_in_the_order_of_their_windows():
    features = torch.arange(3.0).reshape(3, 1, 1, 1).expand(3, 1, 32, 32)
    index = torch.tensor([2, 0, 1, 0, 2])
    windows = torch.tensor([[8.0, 8, 24, 24]]).expand(5, 4)
    cut = gather(features, windows, index, 1, GRID)
    assert torch.equal(cut.mean((1, 2, 3)), index.float())
    assert len(gather(features, windows[:0], index[:0], 1, GRID)) == 0


def test_crops_of_bfloat16_maps_are_not_shifted():
    feature = coordinate_map((576, 576), 2)
    windows = torch.tensor([[440.0, 504, 472, 536]])
    index = torch.zeros(1, dtype=torch.long)
    exact = gather(feature / 576, windows, index, 2, GRID)
    rounded = gather((feature / 576).bfloat16(), windows, index, 2, GRID)
    # Values lose up to 1 px / 576 px by themselves; positions must lose nothing on top.
    assert torch.allclose(rounded, (feature / 576).bfloat16().float()[:, :, 220:236, 252:268])
    assert torch.allclose(rounded, exact, atol=2.0**-9)


# ---- grids to pixels


@pytest.mark.parametrize(
    "window",
    [
        (4.0, 8.0, 20.0, 24.0),  # one cell a pixel
        (4.0, 8.0, 36.0, 40.0),  # two pixels a cell
        (3.3, 7.6, 27.3, 31.6),  # between pixels
        (3.3, 7.6, 11.3, 15.6),  # two cells a pixel
    ],
    ids=str,
)
def test_grids_are_read_at_the_centres_of_pixels(window):
    ramp = centres(torch.tensor(window), GRID)
    for axis in (0, 1):
        out, start = logits_on_pixels(ramp[axis][None], np.array([window]), (60, 60))
        pixel = start[0, axis] + np.arange(out.shape[1]) + 0.5
        expected = pixel[:, None] if axis == 0 else pixel[None]
        expected = np.broadcast_to(expected, out.shape[1:])
        # Beyond the centres of the outermost cells there is nothing to interpolate.
        reach = (window[2] - window[0]) * (1 - 1 / GRID) / 2
        near = [
            np.abs(start[0, a] + np.arange(out.shape[1]) + 0.5 - (window[a] + window[a + 2]) / 2)
            <= reach
            for a in (0, 1)
        ]
        inner = near[0][:, None] & near[1][None]
        assert inner.sum() > 9
        assert np.allclose(out[0][inner], expected[inner], atol=1e-3)


def test_what_lies_outside_of_the_window_or_the_tile_is_no_nucleus():
    windows = np.array([[-8.0, 10.0, 24.0, 42.0]])
    out, start = logits_on_pixels(torch.full((1, GRID, GRID), 5.0), windows, (20, 30))
    inside = out[0] > 0
    rows, cols = np.nonzero(inside)
    assert (rows.min() + start[0, 0], rows.max() + start[0, 0]) == (0, 19)
    assert (cols.min() + start[0, 1], cols.max() + start[0, 1]) == (10, 29)
    assert inside.sum() == 20 * 20
    assert (out[0][~inside] == -LOGIT_RANGE).all()


def crossings(profile: np.ndarray) -> np.ndarray:
    """Where a profile of logits at pixel centres crosses 0, corner-origin."""
    i = np.flatnonzero(np.diff(profile > 0))
    return i + 0.5 + profile[i] / (profile[i] - profile[i + 1])


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(
    "square",
    [(24, 28, 34, 38), (25, 29, 35, 40), (0, 4, 10, 13), (53, 52, 64, 64)],
    ids=["aligned", "unaligned", "upper border", "lower border"],
)
def test_a_bright_square_comes_back_where_it_was(scale, square):
    size = int(64 * scale)
    working = torch.zeros(1, 1, size, size)
    y0, x0, y1, x1 = (round(v * scale) for v in square)
    working[..., y0:y1, x0:x1] = 1
    feature = torch.nn.functional.avg_pool2d(working, 2)
    centre = torch.tensor([[(y0 + y1) / 2, (x0 + x1) / 2]])
    windows = choose_windows(centre, torch.tensor([float(y1 - y0)]), TINY.decoder)
    cut = gather(feature, windows, torch.zeros(1, dtype=torch.long), 2, GRID)[:, 0]
    in_tile = windows.numpy().astype(np.float64) / scale
    out, start = logits_on_pixels(cut - 0.5, in_tile, (64, 64))
    top, left = start[0]
    middle = [int(c / scale) for c in centre[0]]
    down = out[0][max(-top, 0) : 64 - top, middle[1] - left]
    across = out[0][middle[0] - top, max(-left, 0) : 64 - left]
    inside = np.array([v for v in (y0, y1) if 0 < v < size]) / scale
    # Half a working pixel is the error that must show, whatever it is in tile pixels.
    assert crossings(down) + max(top, 0) == pytest.approx(inside, abs=0.1 / scale)
    inside = np.array([v for v in (x0, x1) if 0 < v < size]) / scale
    assert crossings(across) + max(left, 0) == pytest.approx(inside, abs=0.1 / scale)


@pytest.mark.parametrize("target", [(8, 8, 40, 40), (12, 4, 28, 20), (0, 0, 64, 64)], ids=str)
def test_logits_move_between_windows_without_a_shift(target):
    source = torch.tensor([[8.0, 8, 40, 40]])
    window = torch.tensor([target], dtype=torch.float32)
    for axis in (0, 1):
        ramp = centres(source[0], GRID)[axis] / 8
        moved = sample_logits(ramp[None], source, window, GRID)[0]
        at = centres(window[0], GRID)
        inner = ((at - 24).abs() <= 15).all(0)
        assert torch.allclose(moved[inner], at[axis][inner] / 8, atol=1e-4)
        outside = ((at - 24).abs() > 17).any(0)
        assert (moved[outside] == -LOGIT_RANGE).all()


def test_fed_back_logits_keep_their_window():
    grid = torch.randn(2, GRID, GRID)
    windows = np.array([[0.0, 4, 32, 36], [-8, 8, 24, 40]])
    first, second = to_mask_logits(grid, windows)
    assert second.window == (-8.0, 8.0, 24.0, 40.0)
    assert first.grid.dtype == np.float16
    assert np.allclose(first.grid, grid[0], atol=1e-2)


def test_a_mask_becomes_logits_of_its_own_place_and_shape():
    mask = torch.zeros(1, 24, 24)
    mask[0, 5:15, 8:20] = 1
    logits = pseudo_logits(mask)[0]
    # Only the very corners of a rectangle are rounded off.
    assert ((logits > 0) != (mask[0] > 0)).sum() == 4
    assert torch.equal(logits[5:15, 8:20], logits[5:15, 8:20].flip(0, 1))
    assert logits.abs().max() <= LOGIT_RANGE


# ---- prompts as tokens and as maps


def test_tokens_are_x_and_y_as_fractions_of_the_window():
    batch = batch_of((8, 16, 40, 48), [(16.0, 40.0)], [POSITIVE], box=(8, 16, 24, 48))
    positions, labels, real = tokens_of(batch)
    assert labels.tolist() == [[2, 3, POSITIVE, PADDING]]
    assert real.all()
    assert torch.allclose(positions[0, :3], torch.tensor([[0, 0], [1, 0.5], [0.75, 0.25]]))


def test_what_fills_a_row_up_is_marked():
    one = batch_of((0, 0, 32, 32), [(4.0, 4.0)], [NEGATIVE])
    other = batch_of((0, 0, 32, 32), box=(4, 4, 20, 20))
    both = PromptBatch(
        *(torch.cat([getattr(b, f) for b in (one, other)]) for f in one.__dataclass_fields__)
    )
    _, labels, real = tokens_of(both)
    assert labels[0, real[0]].tolist() == [NEGATIVE, PADDING]
    assert labels[1, real[1]].tolist() == [2, 3, PADDING]


@given(st.floats(8, 24), st.floats(8, 24), st.sampled_from([POSITIVE, NEGATIVE]))
@settings(max_examples=25, deadline=None)
def test_a_click_is_drawn_as_a_disk_around_it(y, x, label):
    batch = batch_of((0, 0, 32, 32), [(y, x)], [label])
    drawn = draw_prompts(batch, TINY.decoder)[0]
    channel = 2 if label == POSITIVE else 3
    disk = drawn[channel]
    at = centres(batch.windows[0], GRID)
    centre = (at * disk).flatten(1).sum(1) / disk.sum()
    assert (centre - torch.tensor([y, x])).abs().max() < 0.3
    assert abs(float(disk.sum()) * 4 / (np.pi * 2.5**2) - 1) < 0.2
    assert drawn[[c for c in range(5) if c != channel]].abs().sum() == 0


def test_a_box_is_drawn_with_its_area_and_centre():
    batch = batch_of((8, 8, 40, 40), box=(12, 15, 29, 34))
    box = draw_prompts(batch, TINY.decoder)[0, 4]
    at = centres(batch.windows[0], GRID)
    centre = (at * box).flatten(1).sum(1) / box.sum()
    assert torch.allclose(centre, torch.tensor([20.5, 24.5]), atol=0.1)
    assert float(box.sum()) * 4 == pytest.approx(17 * 19, rel=0.02)


def test_previous_logits_are_drawn_clipped_and_flagged():
    logits = torch.linspace(-20, 20, GRID * GRID).reshape(1, GRID, GRID)
    drawn = draw_prompts(batch_of((0, 0, 32, 32), logits=logits), TINY.decoder)[0]
    assert torch.equal(drawn[0], (logits[0] / LOGIT_RANGE).clamp(-1, 1))
    assert (drawn[1] == 1).all()
    assert drawn[2:].abs().sum() == 0


# ---- clicks are obeyed


def values_at(logits: torch.Tensor, batch: PromptBatch) -> torch.Tensor:
    xy = ((batch.points_yx - batch.windows[:, None, :2]) / 32 * 2 - 1).flip(-1)[:, None]
    return torch.nn.functional.grid_sample(
        logits[:, None], xy, padding_mode="border", align_corners=False
    )[0, 0, 0]


@given(
    st.lists(
        st.tuples(st.integers(0, 31), st.integers(0, 31), st.booleans()), min_size=1, max_size=5
    ),
    st.sampled_from([-LOGIT_RANGE, -1.0, 0.0, 3.0, LOGIT_RANGE]),
)
@settings(max_examples=60, deadline=None)
def test_every_click_ends_on_its_side(clicks, level):
    # Opposite clicks within two cells (four pixels) of each other cannot both be had.
    kept = []
    for y, x, sign in clicks:
        if all(s == sign or np.hypot(y - v, x - u) >= 5 for v, u, s in kept):
            kept.append((y, x, sign))
    points = [(y + 0.5, x + 0.5) for y, x, _ in kept]
    labels = [POSITIVE if s else NEGATIVE for *_, s in kept]
    batch = batch_of((0, 0, 32, 32), points, labels)
    obeyed = obey_clicks(torch.full((1, GRID, GRID), level), batch)
    values = values_at(obeyed, batch)
    assert [float(v) > 0 for v in values] == [s for *_, s in kept]


def test_clicks_that_are_obeyed_change_nothing():
    logits = torch.full((1, GRID, GRID), 4.0)
    batch = batch_of((0, 0, 32, 32), [(9.5, 12.5)], [POSITIVE])
    assert obey_clicks(logits, batch) is logits


def test_clicks_outside_of_the_window_change_nothing():
    logits = torch.full((1, GRID, GRID), -4.0)
    batch = batch_of((0, 0, 32, 32), [(40.5, 12.5)], [POSITIVE])
    assert obey_clicks(logits, batch) is logits


def test_instance_logits_are_positive_on_their_instance_and_nowhere_else():
    labels = torch.zeros((20, 24), dtype=torch.int32)
    labels[4:9, 6:12], labels[4:9, 12:16] = 1, 2  # two that touch, on cells of two pixels
    windows = torch.tensor([[0.0, 4.0, 32.0, 36.0], [8.0, 16.0, 40.0, 48.0]])
    logits = instance_logits(labels, torch.tensor([1, 2]), windows, stride=2, grid=32)
    for i, (rows, columns) in enumerate([((8, 18), (8, 20)), ((0, 10), (8, 16))]):
        expected = torch.zeros((32, 32), dtype=torch.bool)
        expected[slice(*rows), slice(*columns)] = True
        assert torch.equal(logits[i] > 0, expected)


def test_instance_logits_are_background_outside_the_map():
    labels = torch.ones((8, 8), dtype=torch.int32)
    logits = instance_logits(
        labels, torch.tensor([1]), torch.tensor([[-8.0, -8.0, 24.0, 24.0]]), 2, 16
    )
    inside = torch.zeros((16, 16), dtype=torch.bool)
    inside[4:12, 4:12] = True
    assert torch.equal(logits[0] > 0, inside)
