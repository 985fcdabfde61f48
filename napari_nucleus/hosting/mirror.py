"""What the host knows of the worker's embeddings, so that it reads pixels only where needed.

The mirror may be wrong (a worker was restarted): then the worker answers `MissingTile`, the tile
is struck from the mirror and its pixels are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from napari_nucleus.core.geometry import Box, clip_box
from napari_nucleus.core.image import ImageSource, Tile
from napari_nucleus.hosting.image_key import ImageKeys
from napari_nucleus.hosting.messages import TileKey
from napari_nucleus.hosting.planning import read_tile
from napari_nucleus.models.api import Calibration

__all__ = ["EncodingCallback", "Mirror", "TileOnDemand"]

EncodingCallback = Callable[[Box], None]


class Mirror:
    """The keys of the tiles that the worker has encoded with one model.

    Changed on the dispatcher's thread, asked from any.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._encoded: set[TileKey] = set()
        self._images = ImageKeys()

    def __contains__(self, key: TileKey) -> bool:
        return key in self._encoded

    def clear(self) -> None:
        """Forget all tiles; the worker is a fresh one."""
        self._encoded.clear()

    def add(self, key: TileKey, evicted: Iterable[TileKey]) -> None:
        """Note that a tile was used, and which had to go for it."""
        self._encoded.add(key)
        self._encoded.difference_update(evicted)

    def discard(self, key: TileKey) -> None:
        """Note that the worker does not have a tile."""
        self._encoded.discard(key)

    def known_key(self, source: ImageSource, box: Box, calibration: Calibration) -> TileKey | None:
        """Return the key of a tile without reading pixels, None if the image is a new one."""
        image = self._images.known(source)
        return None if image is None else TileKey(image, box, calibration, self._model)

    def key(self, source: ImageSource, box: Box, calibration: Calibration) -> TileKey:
        """Return the key of a tile; reads a few pixels of a new image."""
        return TileKey(self._images.of(source), box, calibration, self._model)


class TileOnDemand:
    """A tile whose pixels are read when the worker needs them; held by one thread at a time.

    Parameters
    ----------
    mirror
        What the worker has.
    source, box, calibration
        The image, the level-0 box and how the model sees it.
    """

    def __init__(
        self, mirror: Mirror, source: ImageSource, box: Box, calibration: Calibration
    ) -> None:
        self.box = clip_box(box, source.shape)
        self._mirror = mirror
        self._source = source
        self._calibration = calibration
        self._key = mirror.known_key(source, self.box, calibration)
        self._pixels: Tile | None = None

    @property
    def key(self) -> TileKey:
        """The tile's key; reads a few pixels if the image is a new one."""
        if self._key is None:
            self._key = self._mirror.key(self._source, self.box, self._calibration)
        return self._key

    @property
    def is_ready(self) -> bool:
        """True if the worker has the embedding, or the pixels were read; reads nothing."""
        return self._pixels is not None or (self._key is not None and self._key in self._mirror)

    def prepare(self, on_encoding: EncodingCallback | None) -> None:
        """Read the pixels if the worker needs them, after telling ``on_encoding`` the box."""
        if self.key in self._mirror:
            return
        if on_encoding is not None:
            on_encoding(self.box)
        self._pixels = read_tile(self._source, self.box, self._calibration.mpp)

    def pixels_to_send(self) -> Tile | None:
        """Return the pixels, or None if the worker has the embedding by now."""
        return None if self.key in self._mirror else self._pixels

    def encoded(self, evicted: Iterable[TileKey]) -> None:
        """Note that the worker has the embedding, and what left its cache for it."""
        self._mirror.add(self.key, evicted)

    def missing(self) -> None:
        """Note that the worker does not have the embedding."""
        self._mirror.discard(self.key)
