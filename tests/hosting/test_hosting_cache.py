import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_nucleus.core.geometry import Frame
from napari_nucleus.hosting.cache import EmbeddingCache
from napari_nucleus.hosting.messages import TileKey
from napari_nucleus.models.api import Calibration, Embedding

CALIBRATION = Calibration(1.0, 0.5)


def key(n: int) -> TileKey:
    return TileKey("image", (n, 0, n + 1, 1), CALIBRATION, "model")


def embedding(nbytes: int) -> Embedding:
    arrays = {"f": np.zeros(nbytes, np.uint8)}
    return Embedding(arrays, (1, 1), Frame(), CALIBRATION, "model")


def test_the_least_recently_used_goes_first():
    cache = EmbeddingCache(30)
    for n in range(3):
        assert cache.put(key(n), embedding(10)) == ()
    cache.get(key(0))
    assert cache.put(key(3), embedding(10)) == (key(1),)
    assert cache.get(key(1)) is None
    assert cache.get(key(0)) is not None


def test_the_newest_is_kept_even_if_it_is_too_large():
    cache = EmbeddingCache(30)
    cache.put(key(0), embedding(10))
    assert cache.put(key(1), embedding(100)) == (key(0),)
    assert cache.get(key(1)) is not None


def test_keys_differ_by_image_box_calibration_and_model():
    cache = EmbeddingCache(1000)
    cache.put(key(0), embedding(1))
    for other in (
        TileKey("another", key(0).box, CALIBRATION, "model"),
        key(1),
        TileKey("image", key(0).box, Calibration(2.0, 0.5), "model"),
        TileKey("image", key(0).box, CALIBRATION, "another"),
    ):
        assert cache.get(other) is None


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 40)), max_size=30))
def test_bytes_are_bounded_and_what_was_evicted_is_told(puts):
    cache = EmbeddingCache(60)
    held: dict[TileKey, int] = {}
    for n, size in puts:
        evicted = cache.put(key(n), embedding(size))
        held[key(n)] = size
        for gone in evicted:
            del held[gone]
        assert cache.nbytes == sum(held.values())
        assert cache.nbytes <= 60
        assert {k for k in map(key, range(6)) if cache.get(k)} == set(held)
