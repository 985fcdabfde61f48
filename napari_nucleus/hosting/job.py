"""A segmentation under way, as the caller holds it."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

from napari_nucleus.core.progress import Cancel

__all__ = ["Job"]


class Job:
    """A segmentation that streams its nuclei; made by `Host.segment`.

    Parameters
    ----------
    future
        The number of nuclei emitted, once the last tile is done; `CancelledError` of
        `napari_nucleus.errors` when cancelled, else what went wrong.
    """

    def __init__(self) -> None:
        self.future: Future[int] = Future()
        self.future.set_running_or_notify_cancel()
        self.cancelled = Cancel()
        self._lock = threading.Lock()
        self._tiles: list[Future[Any]] = []

    def cancel(self) -> None:
        """Stop within one tile; nothing more is emitted then."""
        with self._lock:
            self.cancelled.set()
            tiles, self._tiles = self._tiles, []
        for tile in tiles:
            tile.cancel()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the number of nuclei, or raise what ended it early."""
        return self.future.result(timeout)

    def follow(self, tile: Future[Any]) -> Future[Any]:
        """Return ``tile``, after seeing to it that a cancellation reaches it."""
        with self._lock:
            self._tiles = [t for t in self._tiles if not t.done()] + [tile]
            cancelled = bool(self.cancelled)
        if cancelled:
            tile.cancel()
        return tile
