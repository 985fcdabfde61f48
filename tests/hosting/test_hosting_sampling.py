import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_nucleus.core.geometry import clip_box
from napari_nucleus.core.image import ArraySource
from napari_nucleus.hosting.image_key import ImageKeys, image_key
from napari_nucleus.hosting.sampling import (
    CANDIDATES,
    candidate_boxes,
    sample_boxes,
    tissue_fraction,
)


class CountingSource(ArraySource):
    """Counts the pixels that are read."""

    pixels_read = 0

    def read(self, box):
        rgb = super().read(box)
        CountingSource.pixels_read += rgb.shape[0] * rgb.shape[1]
        return rgb


def glass(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 243, np.uint8)


def test_glass_and_ink_are_no_tissue():
    rgb = glass(10, 10)
    rgb[:2] = 5  # ink
    rgb[2:5] = (180, 90, 160)  # tissue
    assert tissue_fraction(rgb) == 0.3
    assert tissue_fraction(np.zeros((0, 5, 3), np.uint8)) == 0.0


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 600))
def test_candidates_lie_inside_are_few_and_have_full_size(height, width, size):
    boxes = candidate_boxes((height, width), size)
    assert 1 <= len(boxes) <= CANDIDATES
    assert len(set(boxes)) == len(boxes)
    for y0, x0, y1, x1 in boxes:
        assert clip_box((y0, x0, y1, x1), (height, width)) == (y0, x0, y1, x1)
        assert (y1 - y0, x1 - x0) == (min(size, height), min(size, width))


def test_samples_are_taken_from_the_tissue_and_spread_over_it():
    rgb = glass(1000, 1000)
    rgb[:, 600:] = (180, 90, 160)
    boxes = sample_boxes(ArraySource(rgb), 100, 4)
    assert len(set(boxes)) == 4
    assert all(x0 >= 550 for _, x0, _, _ in boxes)
    assert min(b[0] for b in boxes) < 200
    assert max(b[2] for b in boxes) > 800


def test_an_image_without_tissue_is_sampled_all_the_same():
    assert len(sample_boxes(ArraySource(glass(500, 500)), 100, 4)) == 4


def test_an_image_smaller_than_a_sample_is_its_own_sample():
    assert sample_boxes(ArraySource(glass(30, 20)), 256, 8) == [(0, 0, 30, 20)]


def test_sampling_reads_little_whatever_the_size():
    CountingSource.pixels_read = 0
    sample_boxes(CountingSource(glass(4000, 3000)), 256, 8)
    assert CountingSource.pixels_read <= CANDIDATES * 96 * 96


def test_the_same_pixels_have_the_same_key_and_others_another():
    rgb = np.random.default_rng(0).integers(0, 255, (300, 200, 3), np.uint8)
    assert image_key(ArraySource(rgb)) == image_key(ArraySource(rgb.copy(), name="again"))
    assert image_key(ArraySource(rgb)) != image_key(ArraySource(255 - rgb))
    assert image_key(ArraySource(rgb)) != image_key(ArraySource(np.ascontiguousarray(rgb[:-1])))


def test_the_shape_counts_even_where_the_pixels_are_alike():
    assert image_key(ArraySource(glass(300, 200))) != image_key(ArraySource(glass(200, 300)))


def test_a_known_source_is_not_read_again():
    keys = ImageKeys()
    source = CountingSource(glass(300, 200))
    assert keys.known(source) is None
    key = keys.of(source)
    CountingSource.pixels_read = 0
    assert keys.of(source) == keys.known(source) == key
    assert CountingSource.pixels_read == 0
    assert keys.known(CountingSource(glass(300, 200))) is None


def test_a_source_that_cannot_be_referred_to_weakly_has_a_key_all_the_same():
    class Slotted:
        __slots__ = ()
        shape = (20, 20)
        mpp = None

        def read(self, box):
            return glass(20, 20)[box[0] : box[2], box[1] : box[3]]

    assert ImageKeys().of(Slotted()) == image_key(Slotted())
