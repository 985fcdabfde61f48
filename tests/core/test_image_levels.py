from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from napari_nucleus.core.image import ArraySource
from napari_nucleus.core.image_levels import CachedSource, PyramidSource, with_levels


class Counting:
    """A source that remembers what was read of it."""

    def __init__(self, array, mpp=0.5):
        self.source, self.boxes = ArraySource(array, mpp), []
        self.shape, self.mpp = self.source.shape, mpp

    def read(self, box):
        self.boxes.append(box)
        return self.source.read(box)


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (2100, 1300, 3), np.uint8)


def test_missing_levels_are_averaged(picture):
    levels = with_levels((ArraySource(picture, 0.25),)).levels
    assert [s.shape for s in levels] == [(2100, 1300), (1050, 650), (525, 325)]
    blocks = picture.reshape(1050, 2, 650, 2, 3).astype(int)
    expected = (blocks.sum((1, 3)) + 2) // 4
    np.testing.assert_array_equal(levels[1].read((0, 0, 1050, 650)), expected)


@pytest.mark.parametrize("shape", [(1501, 3), (3, 1501), (1, 1300), (1025, 1025)])
def test_odd_and_narrow_pictures(shape):
    picture = np.full((*shape, 3), 77, np.uint8)
    levels = with_levels((ArraySource(picture),)).levels
    assert max(levels[-1].shape) <= 1024
    for level in levels:
        assert (level.read((0, 0, *level.shape)) == 77).all()


def test_levels_that_are_there_are_taken_where_the_steps_are_small_enough(picture):
    quarter = ArraySource(picture[::4, ::4].copy())
    levels = with_levels((ArraySource(picture), quarter)).levels
    assert levels[1] is quarter
    tiny = ArraySource(picture[::16, ::16].copy())
    levels = with_levels((ArraySource(picture), tiny)).levels
    assert [s.shape for s in levels[:3]] == [(2100, 1300), (1050, 650), (525, 325)]


def test_a_pyramid_is_read_at_full_size(picture):
    pyramid = PyramidSource((ArraySource(picture, 0.5), ArraySource(picture[::2, ::2])))
    assert (pyramid.shape, pyramid.mpp) == ((2100, 1300), 0.5)
    np.testing.assert_array_equal(pyramid.read((5, 6, 70, 80)), picture[5:70, 6:80])


def test_tiles_are_read_once_and_only_where_they_are_wanted(picture):
    source = Counting(picture)
    cached = CachedSource(source)
    assert (cached.shape, cached.mpp) == ((2100, 1300), 0.5)
    for _ in range(2):
        np.testing.assert_array_equal(
            cached.read((500, 500, 1100, 1290)), picture[500:1100, 500:1290]
        )
    assert len(source.boxes) == len(set(source.boxes)) == 3 * 3
    np.testing.assert_array_equal(cached.read((2090, 1290, 2100, 1300)), picture[2090:, 1290:])


def test_a_full_cache_forgets_and_reads_again(picture):
    source = Counting(picture)
    cached = CachedSource(source, cache_bytes=1)
    for _ in range(2):
        np.testing.assert_array_equal(cached.read((0, 0, 600, 600)), picture[:600, :600])
    assert len(source.boxes) == 8


def test_any_thread_may_read(picture):
    cached = CachedSource(Counting(picture), cache_bytes=3 * 512**2 * 4)
    boxes = [(y, x, y + 300, x + 200) for y in range(0, 1800, 150) for x in range(0, 1100, 180)]
    with ThreadPoolExecutor(4) as pool:
        for box, pixels in zip(boxes, pool.map(cached.read, boxes), strict=True):
            np.testing.assert_array_equal(pixels, picture[box[0] : box[2], box[1] : box[3]])
