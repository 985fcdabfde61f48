"""Stains and optics: from dye to picture."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_nucleus.sample_data.optics import Optics, photograph, random_optics
from napari_nucleus.sample_data.staining import Stain, random_stain, transmitted

NOTHING = Optics(
    blur_px=0.0,
    sharpen=0.0,
    colour_shift_px=(0.0, 0.0),
    noise=0.0,
    quality=0,
    unevenness=0.0,
)


def scene(side: int = 64) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    light = np.full((side, side, 3), 220.0, np.float32)
    light[np.hypot(y - 30, x - 25) < 12] = (90, 60, 130)
    return light


def test_glass_without_dye_is_white():
    zero = np.zeros((4, 5), np.float32)
    light = transmitted(Stain(), zero, zero, zero, zero)
    np.testing.assert_allclose(light, np.broadcast_to(Stain().white, (4, 5, 3)), rtol=1e-6)


def test_twice_the_dye_squares_the_transmission():
    zero, one = np.zeros((2, 2), np.float32), np.full((2, 2), 0.7, np.float32)
    white = np.array(Stain().white)
    once = transmitted(Stain(), one, zero, zero, zero) / white
    twice = transmitted(Stain(), 2 * one, zero, zero, zero) / white
    np.testing.assert_allclose(twice, once**2, rtol=1e-5)


@given(seed=st.integers(0, 100_000))
@settings(max_examples=100, deadline=None)
def test_random_stains_are_blue_and_pink(seed):
    stain = random_stain(np.random.default_rng(seed))
    zero, one = np.zeros((1, 1), np.float32), np.ones((1, 1), np.float32)
    blue = transmitted(stain, one, zero, zero, zero)[0, 0]
    pink = transmitted(stain, zero, one, zero, zero)[0, 0]
    assert blue[2] > blue[1]
    assert blue[2] > blue[0]
    assert pink[0] > pink[1]
    assert pink[2] > pink[1]
    assert (np.array(stain.hematoxylin) > 0).all()
    assert (np.array(stain.eosin) > 0).all()


def test_perfect_optics_change_nothing():
    light = scene()
    picture = photograph(light, NOTHING, np.random.default_rng(0))
    assert picture.dtype == np.uint8
    assert np.abs(picture.astype(float) - light).max() <= 1


@pytest.mark.parametrize("shape", [(33, 70), (64, 64), (50, 49)])
def test_compression_keeps_the_shape_and_costs_more_at_low_quality(shape):
    light = scene(80)[: shape[0], : shape[1]]
    errors = []
    for quality in (98, 75, 30):
        optics = Optics(**{**NOTHING.__dict__, "quality": quality})
        picture = photograph(light, optics, np.random.default_rng(0))
        assert picture.shape == (*shape, 3)
        errors.append(np.abs(picture.astype(float) - light).mean())
    assert errors[0] < errors[1] < errors[2]
    assert errors[0] < 2.5


def test_blur_softens_and_sharpening_steepens_an_edge():
    light = scene()

    def steepness(**change: float) -> float:
        optics = Optics(**{**NOTHING.__dict__, **change})
        picture = photograph(light, optics, np.random.default_rng(0)).astype(float)
        return float(np.abs(np.diff(picture[:, :, 1], axis=1)).max())

    soft = steepness(blur_px=1.5)
    assert soft < steepness()
    assert steepness(blur_px=1.5, sharpen=1.0) > soft


def test_noise_has_the_asked_strength():
    light = np.full((128, 128, 3), 128, np.float32)
    optics = Optics(**{**NOTHING.__dict__, "noise": 3.0})
    picture = photograph(light, optics, np.random.default_rng(0)).astype(float)
    assert picture.std() == pytest.approx(3.0, rel=0.1)


def test_colour_shift_moves_red_against_blue():
    light = scene()
    optics = Optics(**{**NOTHING.__dict__, "colour_shift_px": (0.0, 0.8)})
    picture = photograph(light, optics, np.random.default_rng(0)).astype(float)
    x = np.arange(64)

    def centre(c: int) -> float:
        dark = 255 - picture[:, :, c]
        dark = dark - dark.min()
        return float((dark * x).sum() / dark.sum())

    assert centre(0) - centre(2) == pytest.approx(0.8, abs=0.15)


def test_random_optics_can_be_photographed_with():
    light = scene()
    for seed in range(30):
        rng = np.random.default_rng(seed)
        picture = photograph(light, random_optics(rng), rng)
        assert np.abs(picture.astype(float).mean() - light.mean()) < 25
