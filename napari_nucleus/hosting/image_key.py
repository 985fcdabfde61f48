"""The identity of an image for caches: a fingerprint of its shape and a few of its pixels.

Two sources of the same pixels share a key, whatever they are called and however they are read. A
picture that is replaced by another gets another key; a change between the samples goes unseen, so
whoever changes pixels in place makes a new source and lets the old one go.
"""

from __future__ import annotations

import hashlib
import threading
import weakref

import numpy as np

from napari_nucleus.core.image import ImageSource

__all__ = ["ImageKeys", "image_key"]

GRID = 5
SAMPLE_PX = 16


def image_key(source: ImageSource) -> str:
    """Return a text that identifies the pixels of ``source``.

    It hashes the shape and 5 x 5 patches of 16 x 16 pixels, from corner to corner: some 20 KB at
    any image size.
    """
    height, width = source.shape
    digest = hashlib.blake2b(f"{height}x{width}".encode(), digest_size=16)
    for y in _starts(height):
        for x in _starts(width):
            box = (y, x, min(y + SAMPLE_PX, height), min(x + SAMPLE_PX, width))
            digest.update(np.ascontiguousarray(source.read(box)).tobytes())
    return digest.hexdigest()


def _starts(length: int) -> list[int]:
    last = max(length - SAMPLE_PX, 0)
    return sorted({round(i * last / (GRID - 1)) for i in range(GRID)})


class ImageKeys:
    """The keys of sources seen before, so that a slide is sampled once; forgets dead sources.

    A source is known by identity. Any thread may ask.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[int, tuple[weakref.ref[ImageSource], str]] = {}

    def known(self, source: ImageSource) -> str | None:
        """Return the key of a source that `of` has seen, without reading pixels, or None."""
        with self._lock:
            reference, key = self._known.get(id(source), (None, None))
        return key if reference is not None and reference() is source else None

    def of(self, source: ImageSource) -> str:
        """Return the key of a source, reading a few of its pixels the first time."""
        key = self.known(source)
        if key is not None:
            return key
        key = image_key(source)
        try:
            reference = weakref.ref(source)
        except TypeError:  # a class with slots: sampled anew each time
            return key
        with self._lock:
            alive = {i: e for i, e in self._known.items() if e[0]() is not None}
            self._known = {**alive, id(source): (reference, key)}
        return key
