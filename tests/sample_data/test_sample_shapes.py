"""Outlines, noise and fibres: what the drawing rests on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_nucleus.sample_data.canvas import Canvas
from napari_nucleus.sample_data.fibres import Grain
from napari_nucleus.sample_data.noise import NoiseBank, ridges, smooth_noise, smoothstep
from napari_nucleus.sample_data.shapes import Shapes, concatenate, rasterize


def areas_of(shapes: Shapes) -> np.ndarray:
    rng = np.random.default_rng(0)
    bank = NoiseBank(rng, (10.0,))
    areas = np.zeros(len(shapes))
    for index, _, distance in rasterize(rng, shapes, bank):
        areas[index] = (distance > 0).sum(axis=(1, 2))
    return areas


@given(
    a=st.floats(4, 30),
    aspect=st.floats(1, 4),
    angle=st.floats(0, 3.14),
    y=st.floats(-5, 100),
    x=st.floats(-5, 100),
)
@settings(max_examples=60, deadline=None)
def test_area_of_an_ellipse_is_pi_a_b(a, aspect, angle, y, x):
    b = max(a / aspect, 2.5)
    shapes = Shapes.ellipses(np.random.default_rng(0), [[y, x]], angle, [a, b])
    assert areas_of(shapes)[0] == pytest.approx(np.pi * a * b, rel=0.05, abs=8)


def test_distance_of_a_circle_is_exact():
    rng = np.random.default_rng(0)
    shapes = Shapes.ellipses(rng, [[20.3, 31.7]], 0.0, [9.0, 9.0])
    ((_, corner, distance),) = rasterize(rng, shapes, NoiseBank(rng, (10.0,)))
    grid = np.arange(distance.shape[1]) + 0.5
    y, x = grid[:, None] + corner[0, 0] - 20.3, grid[None] + corner[0, 1] - 31.7
    np.testing.assert_allclose(distance[0], np.minimum(9.0 - np.hypot(y, x), 9.0), atol=0.01)


def test_pointed_shapes_are_slimmer_and_blunt_ones_fuller():
    rng = np.random.default_rng(0)
    yx = np.full((3, 2), 50.0)
    shapes = Shapes.ellipses(rng, yx, 0.0, [20.0, 7.0], sharp=[1.0, 0.0, -0.6])
    pointed, plain, blunt = areas_of(shapes)
    assert pointed < 0.95 * plain < plain < 0.95 * blunt


def test_picking_and_concatenating_shapes_keeps_them():
    rng = np.random.default_rng(1)
    shapes = Shapes.ellipses(rng, rng.random((6, 2)) * 50, 0.3, [8.0, 5.0], irregular=0.1)
    again = concatenate([shapes[np.arange(2)], shapes[np.arange(2, 6)]])
    np.testing.assert_array_equal(again.ripple, shapes.ripple)
    np.testing.assert_array_equal(areas_of(again), areas_of(shapes))


@pytest.mark.parametrize("scale", [0.5, 1.2, 3.0, 5.9, 6.1, 20.0])
def test_noise_has_mean_0_and_deviation_1_at_every_scale(scale):
    rng = np.random.default_rng(0)
    planes = np.stack([smooth_noise(rng, (160, 200), scale) for _ in range(12)])
    assert planes.dtype == np.float32
    assert abs(planes.mean()) < 0.12
    assert planes.std() == pytest.approx(1.0, abs=0.08)


def test_noise_is_smoother_at_larger_scales():
    rng = np.random.default_rng(0)
    steps = [np.diff(smooth_noise(rng, (128, 128), s), axis=1).std() for s in (1, 3, 9, 27)]
    assert steps == sorted(steps, reverse=True)


def test_noise_crops_come_from_the_asked_map():
    bank = NoiseBank(np.random.default_rng(0), (1.0, 30.0))
    rough = bank.crops(np.random.default_rng(1), 0, 5, 24)
    calm = bank.crops(np.random.default_rng(1), 1, 5, 24)
    assert rough.shape == calm.shape == (5, 24, 24)
    assert np.diff(rough, axis=2).std() > 4 * np.diff(calm, axis=2).std()


def test_steps_and_ridges_stay_between_0_and_1():
    x = np.linspace(-3, 3, 101, dtype=np.float32)
    assert smoothstep(x, -1, 1)[[0, 50, 100]] == pytest.approx([0, 0.5, 1])
    assert ridges(x, 0.5)[50] == pytest.approx(1)
    assert ridges(x, 0.5)[[0, 100]] == pytest.approx([0, 0], abs=1e-6)


@pytest.mark.parametrize("angle", [0.0, 0.7, np.pi / 2])
def test_threads_vary_across_fibres_and_hardly_along_them(angle):
    canvas = Canvas((160, 160), 0.25, np.random.default_rng(0))
    (texture,) = Grain(canvas, np.float32(angle)).threads((1.0,), 20.0)
    assert texture.std() == pytest.approx(1, abs=1e-3)
    core = texture[40:-40, 40:-40]
    step = 6
    dy, dx = round(step * np.sin(angle)), round(step * np.cos(angle))
    along = texture[40 + dy : 120 + dy, 40 + dx : 120 + dx]
    across = texture[40 + dx : 120 + dx, 40 - dy : 120 - dy]
    assert np.abs(core - along).mean() < 0.4 * np.abs(core - across).mean()


def test_grain_follows_contours():
    canvas = Canvas((120, 120), 0.25, np.random.default_rng(0))
    y, x = np.mgrid[:120, :120].astype(np.float32) - 60
    grain = Grain.along_contours(canvas, np.hypot(y, x))
    points = np.array([[60.0, 100.0], [100.0, 60.0], [90.0, 90.0]])
    off = grain.angle_at(points) - np.array([np.pi / 2, 0.0, 3 * np.pi / 4])
    np.testing.assert_allclose(np.sin(off), 0, atol=0.05)


def test_no_two_nuclei_take_the_same_room():
    canvas = Canvas((200, 200), 0.25, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    cells = canvas.grow("lymphocyte", rng.random((400, 2)) * 200)
    assert 40 < len(cells) < 400
    yx = cells.shapes.yx
    gap = np.hypot(*(yx[:, None] - yx[None]).transpose(2, 0, 1)) + 1e3 * np.eye(len(yx))
    assert gap.min() > 0.8 * 2 * cells.shapes.semi[:, 1].min()


def test_reserved_room_stays_free():
    canvas = Canvas((128, 128), 0.25, np.random.default_rng(0))
    mask = np.zeros((128, 128), bool)
    mask[:, :64] = True
    canvas.reserve(mask)
    cells = canvas.grow("lymphocyte", np.random.default_rng(1).random((300, 2)) * 128)
    assert len(cells) > 10
    assert (cells.shapes.yx[:, 1] > 64).all()
