"""A model at work on a part of an image in the app: tiles come in, progress, cancel.

What a model finds arrives on the host's threads and is taken in on the main thread; nuclei are, a
piece of a tile between two turns of the event loop. What is done with them is for subclasses to
say.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_nucleus.core.geometry import Box
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.progress import Progress
from napari_nucleus.core.tiling import TileSpec
from napari_nucleus.errors import CancelledError, NucleusError
from napari_nucleus.hosting.job import Job
from napari_nucleus.models.api import Calibration
from napari_nucleus.widgets.annotation import Annotation
from napari_nucleus.widgets.background import on_main_thread, when_done
from napari_nucleus.widgets.extents import Extent
from napari_nucleus.widgets.model import AppModel

__all__ = ["ModelRun", "TileRun"]

AT_ONCE = 40
"""Nuclei of a tile that are taken in at once."""


class ModelRun(ABC):
    """One run of a model over a part of an annotated image.

    Parameters
    ----------
    annotation
        The image and its document.
    model
        Does the work.
    extent
        Where.
    visible, start_yx
        What is on screen, and where to begin, on level 0.
    alike
        Class ids of the document that do not contradict each other where models are compared.

    Attributes
    ----------
    progressed
        Emitted on the main thread with a `Progress`.
    finished
        Emitted on the main thread with a sentence, when the run has ended in whatever way.
    """

    progressed = Signal(Progress)
    finished = Signal(str)

    def __init__(
        self,
        annotation: Annotation,
        model: AppModel,
        extent: Extent,
        visible: Box,
        start_yx: tuple[float, float],
        alike: Collection[int] = (),
    ) -> None:
        self._annotation, self._model, self._extent = annotation, model, extent
        self._visible, self._start, self._alike = visible, start_yx, alike
        self._job: Job | None = None
        self._ended = False

    @property
    def running(self) -> bool:
        """True until it has ended."""
        return not self._ended

    def start(self) -> None:
        """Begin; returns at once."""
        self.progressed.emit(Progress(0, 0, f"Loading {self._model.name}"))
        calibration = self._model.calibration(self._annotation.source, self._annotation.mpp)
        when_done(calibration, self._begin, self._fail)

    def cancel(self) -> None:
        """Stop within one tile; what was found is kept."""
        if self._job is not None:
            self._job.cancel()
        else:
            self._end("Cancelled before anything was found.")

    def stop(self) -> None:
        """End now, without waiting for the tile that is being done; what was found is kept."""
        if self._job is not None:
            self._job.cancel()
        self._end(f"Cancelled. {self._found()}")

    # ---- for subclasses

    @abstractmethod
    def _open(self) -> Callable[[Box], bool]:
        """Begin to take in what is found; return what says of a core whether its tile is wanted."""

    @abstractmethod
    def _send(self, calibration: Calibration, wanted: Callable[[Box], bool]) -> Job:
        """Set the model to work."""

    @abstractmethod
    def _found(self) -> str:
        """Return in a sentence what was found up to now."""

    @abstractmethod
    def _close(self) -> None:
        """Take no more; called once, whether it was opened or not."""

    # ---- its course

    def _begin(self, calibration: Calibration) -> None:
        if self._ended:
            return
        self._annotation.finish_change()
        try:
            wanted = self._open()
        except NucleusError as error:
            self._fail(error)
            return
        self._job = self._send(calibration, wanted)
        when_done(self._job.future, self._succeed, self._fail)

    def _on_progress(self, report: Progress) -> None:
        if not self._ended:
            self.progressed.emit(report)

    def _succeed(self, _: int) -> None:
        self._end(self._found())

    def _fail(self, error: BaseException) -> None:
        if self._ended:
            return
        if isinstance(error, CancelledError):
            self._end(f"Cancelled. {self._found()}")
        else:
            self._annotation.warned.emit(str(error) or type(error).__name__)
            self._end(f"Stopped by an error. {self._found()}")

    def _end(self, message: str) -> None:
        if self._ended:
            return
        self._ended = True
        self._close()
        self.finished.emit(message)


class TileRun(ModelRun):
    """A run whose nuclei are taken in piece by piece; see `ModelRun`."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._all_found = self._scheduled = False
        self._pieces: deque[tuple[Box, Nuclei]] = deque()

    @abstractmethod
    def _take(self, core: Box, nuclei: Nuclei) -> None:
        """Take in the nuclei of a piece of a tile."""

    def stop(self) -> None:
        """End now, without waiting for the tile that is being done; what was found is kept."""
        self._take_rest()
        super().stop()

    def _send(self, calibration: Calibration, wanted: Callable[[Box], bool]) -> Job:
        """Set the model to work; by default it finds every nucleus."""
        return self._model.host.segment(
            self._annotation.source,
            calibration,
            self._extent.box,
            self._start,
            on_tile=lambda spec, nuclei: on_main_thread(self._on_tile, spec, nuclei),
            on_progress=lambda report: on_main_thread(self._on_progress, report),
            visible=self._visible,
            wanted=wanted,
        )

    def _on_tile(self, spec: TileSpec, nuclei: Nuclei) -> None:
        if not self._ended:
            self._pieces.extend(_quarters(spec.core, nuclei))
            self._take_soon()

    def _take_soon(self) -> None:
        if self._pieces and not self._scheduled:
            self._scheduled = True
            # A method alone would be held weakly.
            QTimer.singleShot(0, lambda: self._take_next())

    def _take_next(self) -> None:
        """Take one piece, then let the window breathe."""
        self._scheduled = False
        if self._ended:
            return
        self._take_one()
        self._take_soon()
        if self._all_found and not self._pieces:
            self._end(self._found())

    def _take_rest(self) -> None:
        """Take what has been found already."""
        while self._pieces:
            self._take_one()

    def _take_one(self) -> None:
        if not self._pieces:
            return
        try:
            self._take(*self._pieces.popleft())
        except CancelledError:
            self._pieces.clear()
            self.cancel()
        except NucleusError as error:
            self._pieces.clear()
            self.cancel()
            self._annotation.warned.emit(str(error))

    def _succeed(self, count: int) -> None:
        self._all_found = True
        if not self._pieces:
            super()._succeed(count)

    def _fail(self, error: BaseException) -> None:
        if self.running:
            self._take_rest()
        super()._fail(error)


def _quarters(core: Box, nuclei: Nuclei) -> list[tuple[Box, Nuclei]]:
    """Return a tile's core in four parts, each with the nuclei that have their centroids there.

    A core with few nuclei stays whole.
    """
    if len(nuclei) <= AT_ONCE:
        return [(core, nuclei)]
    y0, x0, y1, x1 = core
    y, x = (y0 + y1) // 2, (x0 + x1) // 2
    low, left = (nuclei.centroids_yx < (y, x)).T
    parts = (
        ((y0, x0, y, x), low & left),
        ((y0, x, y, x1), low & ~left),
        ((y, x0, y1, x), ~low & left),
        ((y, x, y1, x1), ~low & ~left),
    )
    return [(box, nuclei.select(np.flatnonzero(there))) for box, there in parts]
