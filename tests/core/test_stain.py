from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.color import rgb2lab

from napari_nucleus.core.stain import (
    LabStatistics,
    hed_jitter,
    lab_statistics,
    lab_to_rgb,
    od_to_rgb,
    restain,
    rgb_to_lab,
    rgb_to_od,
    tissue_mask,
)

PICTURES = arrays(np.uint8, (6, 7, 3))


@given(PICTURES)
def test_lab_is_what_scikit_image_says(rgb) -> None:
    np.testing.assert_allclose(rgb_to_lab(rgb), rgb2lab(rgb), atol=2e-3)


@given(PICTURES)
def test_lab_there_and_back_is_the_same_picture(rgb) -> None:
    assert np.abs(lab_to_rgb(rgb_to_lab(rgb)).astype(int) - rgb).max() <= 1


@given(PICTURES)
def test_optical_density_there_and_back_is_the_same_picture(rgb) -> None:
    back = od_to_rgb(rgb_to_od(rgb))
    assert np.abs(back.astype(int) - np.maximum(rgb, 1)).max() <= 1


@given(PICTURES)
def test_a_jitter_of_nothing_changes_nothing_that_dyes_can_make(rgb) -> None:
    rgb = np.maximum(rgb, 1)
    assert np.abs(hed_jitter(rgb, (1, 1, 1), (0, 0, 0)).astype(int) - rgb).max() <= 1


def test_more_hematoxylin_makes_nuclei_darker_and_leaves_glass_white() -> None:
    rgb = np.array([[[110, 80, 160], [255, 255, 255]]], np.uint8)
    darker = hed_jitter(rgb, (1.5, 1, 1), (0, 0, 0))
    assert (darker[0, 0].astype(int) < rgb[0, 0]).all()
    assert (darker[0, 1] == 255).all()


def tissue(rng: np.random.Generator, mean, std) -> np.ndarray:
    return lab_to_rgb(rng.normal(mean, std, (64, 64, 3)))


def test_restaining_reaches_the_target_and_half_of_it_at_half_strength() -> None:
    rng = np.random.default_rng(0)
    rgb = tissue(rng, (62, 25, -15), (6, 4, 4))
    source = lab_statistics(rgb)
    assert source is not None
    target = LabStatistics((70.0, 15.0, -8.0), (8.0, 5.0, 5.0))
    full = lab_statistics(restain(rgb, source, target))
    half = lab_statistics(restain(rgb, source, target, 0.5))
    assert full is not None
    assert half is not None
    np.testing.assert_allclose(full.mean, target.mean, atol=0.3)
    np.testing.assert_allclose(full.std, target.std, rtol=0.05)
    np.testing.assert_allclose(half.mean, (np.array(source.mean) + target.mean) / 2, atol=0.3)
    assert np.abs(restain(rgb, source, target, 0.0).astype(int) - rgb).max() <= 1


def test_restaining_a_piece_with_the_statistics_of_the_whole_equals_restaining_the_whole() -> None:
    rgb = tissue(np.random.default_rng(1), (60, 20, -10), (9, 5, 5))
    source = lab_statistics(rgb)
    assert source is not None
    target = LabStatistics((70.0, 15.0, -8.0), (8.0, 5.0, 5.0))
    whole = restain(rgb, source, target)
    np.testing.assert_array_equal(restain(rgb[10:30, 5:50], source, target), whole[10:30, 5:50])


def test_glass_pen_and_too_little_tissue_give_no_statistics() -> None:
    glass = np.full((50, 50, 3), 240, np.uint8)
    pen = np.full((50, 50, 3), 20, np.uint8)
    assert not tissue_mask(glass).any()
    assert not tissue_mask(pen).any()
    assert lab_statistics(glass) is None
    glass[0, :20] = (180, 90, 160)
    assert lab_statistics(glass) is None
    assert lab_statistics(glass, minimum_pixels=20) is not None


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
@given(mean=st.floats(20, 90), spread=st.floats(0, 20))
def test_any_statistics_give_a_picture(strength: float, mean: float, spread: float) -> None:
    rgb = tissue(np.random.default_rng(2), (60, 20, -10), (9, 5, 5))
    odd = LabStatistics((mean, 0.0, 0.0), (spread, 0.0, spread))
    assert restain(rgb, odd, odd, strength).shape == rgb.shape
