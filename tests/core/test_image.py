from __future__ import annotations

import numpy as np
import pytest

from napari_nucleus.core.image import (
    ArraySource,
    ImageSource,
    Tile,
    check_mpp,
    rgb_uint8,
    value_range,
)
from napari_nucleus.errors import ImageError

ALL = (0, 0, 99, 99)


def test_rgb_stays_as_it_is():
    rgb = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    np.testing.assert_array_equal(rgb_uint8(rgb), rgb)


@pytest.mark.parametrize("shape", [(2, 2), (2, 2, 1)])
def test_grey_fills_three_channels(shape):
    rgb = rgb_uint8(np.full(shape, 7, np.uint8))
    assert rgb.shape == (2, 2, 3)
    assert (rgb == 7).all()


def test_transparent_pixels_become_white():
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 3] = (0, 255, 51)
    assert rgb_uint8(rgba)[0, :, 0].tolist() == [255, 0, 204]


@pytest.mark.parametrize(
    ("top", "white"), [(255, 255), (256, 511), (1000, 1023), (4095, 4095), (60_000, 65_535)]
)
def test_16_bit_is_scaled_by_the_bits_in_use(top, white):
    array = np.array([[0, top]], np.uint16)
    assert value_range(array) == (0.0, white)
    assert rgb_uint8(array)[0, 1, 0] == round(top / white * 255)


def test_floats_are_0_to_1_or_0_to_255():
    assert rgb_uint8(np.array([[0, 0.5, 1]]))[0, :, 0].tolist() == [0, 128, 255]
    assert rgb_uint8(np.array([[0.0, 20, 255]]))[0, :, 0].tolist() == [0, 20, 255]


def test_bool_is_black_and_white():
    assert rgb_uint8(np.array([[False, True]]))[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 2), np.uint8), "2 channels"),
        (np.zeros((4, 4, 7), np.uint16), "7 channels.*fluorescence"),
        (np.zeros(5, np.uint8), r"shape \(5,\)"),
        (np.zeros((2, 2, 2, 3), np.uint8), "2-D picture"),
        (np.zeros((0, 5, 3), np.uint8), r"shape \(0, 5, 3\)"),
        (np.array([[0.1, np.nan]]), "NaN"),
        (np.array([[0.1, np.inf]]), "infinite"),
        (np.array([[-3, 5]], np.int16), "negative pixels .minimum -3"),
        (np.zeros((2, 2), complex), "type complex128"),
        (np.array([["a", "b"]]), "not numbers"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(array, message):
    with pytest.raises(ImageError, match=f"slide.png: .*{message}"):
        rgb_uint8(array, "slide.png")
    with pytest.raises(ImageError, match=f"slide.png: .*{message}"):
        ArraySource(array, name="slide.png")


def test_nan_within_fixed_limits_is_refused():
    with pytest.raises(ImageError, match="NaN"):
        rgb_uint8(np.array([[np.nan]]), limits=(0, 1))


def test_a_source_converts_all_its_pieces_alike():
    array = np.zeros((4, 4), np.uint16)
    array[3, 3] = 4095
    source = ArraySource(array, 0.25)
    array[0, 0] = 100
    assert isinstance(source, ImageSource)
    assert source.shape == (4, 4)
    np.testing.assert_array_equal(source.read((0, 0, 2, 2)), source.read(ALL)[:2, :2])
    assert source.read(ALL).shape == (4, 4, 3)


def test_a_tile_is_rgb_uint8():
    assert Tile(np.zeros((4, 6, 3), np.uint8)).shape == (4, 6)
    for wrong in (np.zeros((4, 6, 3)), np.zeros((4, 6), np.uint8), np.zeros((4, 6, 4), np.uint8)):
        with pytest.raises(ValueError, match="rgb_uint8"):
            Tile(wrong)


@pytest.mark.parametrize("mpp", [0.05, 0.25, 5.0, None])
def test_microscope_pixel_sizes_pass(mpp):
    assert check_mpp(mpp) == mpp


@pytest.mark.parametrize("mpp", [0, -0.25, 0.049, 5.1, 352.8, np.nan, np.inf])
def test_other_pixel_sizes_are_refused_with_their_value(mpp):
    with pytest.raises(ImageError, match=f"a.tif: {mpp:g} µm"):
        check_mpp(mpp, "a.tif")
