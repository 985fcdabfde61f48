"""The loop that segments an image tile by tile, for whatever runs the model.

Both drivers use it: the host sends tiles to a worker process, the command line runs them beside
this thread. While a tile is in the model the next one is read and handed over, so that the model
never waits for pixels; nuclei are emitted as soon as their owner is settled.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError as FutureCancelledError
from concurrent.futures import Future

from napari_nucleus.core.image import ImageSource, Tile
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.progress import Cancel, Progress, ProgressCallback
from napari_nucleus.core.tiling import SeamResolver, TileSpec
from napari_nucleus.errors import CancelledError
from napari_nucleus.hosting.planning import read_tile
from napari_nucleus.models.api import Calibration

__all__ = ["TileCallback", "run_tiles"]

TileCallback = Callable[[TileSpec, Nuclei], None]

LOOKAHEAD = 1
"""Tiles that are read and handed over while another one is in the model."""


def run_tiles(
    specs: Sequence[TileSpec],
    source: ImageSource,
    calibration: Calibration,
    submit: Callable[[TileSpec, Tile], Future[Nuclei]],
    on_tile: TileCallback,
    on_progress: ProgressCallback,
    cancel: Cancel,
) -> int:
    """Segment tiles in order; return how many nuclei were emitted.

    Parameters
    ----------
    specs
        Tiles on level 0, in the order to work through.
    source, calibration
        The image, and what the model knows of it.
    submit
        Hands a tile to the model; the future's nuclei are in pixels of the tile.
    on_tile
        Takes the nuclei that became final with a tile, on level 0.
    on_progress
        Takes a report before the first tile and after each.
    cancel
        Looked at around every tile.

    Raises
    ------
    CancelledError
        When cancelled; nothing more is emitted.
    NucleusError
        What reading or the model raise; what was emitted before stands.
    """
    seams = SeamResolver(specs)
    waiting: deque[tuple[TileSpec, Future[Nuclei]]] = deque()
    started = time.monotonic()
    emitted = done = 0

    def report() -> None:
        on_progress(Progress(done, len(specs), "Segmenting tiles", started))

    def take_oldest() -> None:
        nonlocal done, emitted
        spec, future = waiting.popleft()
        found = future.result()
        cancel.check()
        final = seams.add(spec, found.shifted(spec.outer[0], spec.outer[1]))
        done += 1
        emitted += len(final)
        on_tile(spec, final)
        report()

    report()
    try:
        for spec in specs:
            cancel.check()
            waiting.append((spec, submit(spec, read_tile(source, spec.outer, calibration.mpp))))
            if len(waiting) > LOOKAHEAD:
                take_oldest()
        while waiting:
            take_oldest()
    except FutureCancelledError:
        raise CancelledError("Cancelled; what was finished before is kept.") from None
    finally:
        for _, future in waiting:
            future.cancel()
    return emitted
