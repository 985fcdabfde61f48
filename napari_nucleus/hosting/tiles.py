"""The loop that works through an image tile by tile, for whatever runs the model.

Both drivers use it: the host sends tiles to a worker process, the command line runs them beside
this thread. While a tile is in the model the next one is read and handed over, so that the model
never waits for pixels; what was found, nuclei or points, is emitted as soon as it is settled which
tile it belongs to.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence, Sized
from concurrent.futures import CancelledError as FutureCancelledError
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

from napari_nucleus.core.geometry import Box, box_intersection
from napari_nucleus.core.image import ImageSource, Tile
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.progress import Cancel, Progress, ProgressCallback, ignore_progress
from napari_nucleus.core.tiling import TileSpec
from napari_nucleus.errors import CancelledError
from napari_nucleus.hosting.planning import plan_tiles, read_tile
from napari_nucleus.models.api import Calibration, ModelInfo

__all__ = ["Found", "Seams", "TileCallback", "TileOrder", "ignore_tile", "run_tiles"]


class Found(Protocol):
    """What a tile gives."""

    def shifted(self, dy: int, dx: int, /) -> Self:
        """Return the same, moved by ``(dy, dx)`` pixels."""
        ...


F = TypeVar("F", bound=Found)
SeenF = TypeVar("SeenF", bound=Found, contravariant=True)
S = TypeVar("S", bound=Sized)
FinalS = TypeVar("FinalS", bound=Sized, covariant=True)


class Seams(Protocol[SeenF, FinalS]):
    """Turns what tiles gave, in any order, into what comes once."""

    def add(self, spec: TileSpec, found: SeenF, /) -> FinalS:
        """Take what a tile gave, on level 0; return what is final now."""
        ...


TileCallback = Callable[[TileSpec, Nuclei], None]


def ignore_tile(_: TileSpec, __: Nuclei) -> None:
    """Take the nuclei of a tile and do nothing."""


@dataclass(frozen=True, eq=False, slots=True)
class TileOrder:
    """What of an image is to be worked through tile by tile, and who is told.

    Parameters
    ----------
    source, calibration
        The image, and what the model knows of it.
    region
        Level-0 box; by default all of the image.
    start_yx
        Where to begin, on level 0; by default the middle of the region.
    on_tile
        Takes a tile and the nuclei that became final with it, in level-0 pixels; called on the
        job's thread.
    on_progress
        Takes a report before the first tile and after each; called on the job's thread.
    visible
        What is on screen, on level 0: its tiles go before those of other jobs.
    wanted
        Called with the core of a tile on the job's thread: False leaves the tile out.
    """

    source: ImageSource
    calibration: Calibration
    region: Box | None = None
    start_yx: tuple[float, float] | None = None
    on_tile: TileCallback = ignore_tile
    on_progress: ProgressCallback = ignore_progress
    visible: Box | None = None
    wanted: Callable[[Box], bool] | None = None

    def plan(self, info: ModelInfo) -> list[TileSpec]:
        """Return the tiles of a model, in their order."""
        return plan_tiles(
            self.source.shape, info, self.calibration, self.region, self.start_yx, self.wanted
        )

    def shows(self, core: Box) -> bool:
        """Return True if a part of a tile's core is on screen."""
        return self.visible is not None and box_intersection(core, self.visible) is not None


LOOKAHEAD = 1
"""Tiles that are read and handed over while another one is in the model."""


def run_tiles(
    specs: Sequence[TileSpec],
    source: ImageSource,
    calibration: Calibration,
    submit: Callable[[TileSpec, Tile], Future[F]],
    seams: Seams[F, S],
    on_tile: Callable[[TileSpec, S], None],
    on_progress: ProgressCallback,
    cancel: Cancel,
    what: str = "Segmenting tiles",
) -> int:
    """Work through tiles in order; return how many nuclei or points were emitted.

    Parameters
    ----------
    specs
        Tiles on level 0, in the order to work through.
    source, calibration
        The image, and what the model knows of it.
    submit
        Hands a tile to the model; what the future gives is in pixels of the tile.
    seams
        Makes of it what comes once.
    on_tile
        Takes what became final with a tile, on level 0.
    on_progress
        Takes a report before the first tile and after each.
    cancel
        Looked at around every tile.
    what
        What is being done, for people.

    Raises
    ------
    CancelledError
        When cancelled; nothing more is emitted.
    NucleusError
        What reading or the model raise; what was emitted before stands.
    """
    waiting: deque[tuple[TileSpec, Future[F]]] = deque()
    started = time.monotonic()
    emitted = done = 0

    def report() -> None:
        on_progress(Progress(done, len(specs), what, started))

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
