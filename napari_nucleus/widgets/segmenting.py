"""A segmentation under way in the app: tiles come in from the view's centre, progress, cancel.

Nuclei arrive on the host's threads and enter the document on the main thread, all tiles in one undo
step; what the user does meanwhile is never overwritten (see `session.run`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_nucleus.core.geometry import Box
from napari_nucleus.core.nuclei import Nuclei, counted
from napari_nucleus.core.progress import Progress
from napari_nucleus.core.tiling import TileSpec
from napari_nucleus.errors import CancelledError, NucleusError
from napari_nucleus.hosting.job import Job
from napari_nucleus.models.api import Calibration
from napari_nucleus.session.regions import Polygons
from napari_nucleus.session.run import Run
from napari_nucleus.widgets.annotation import Annotation
from napari_nucleus.widgets.background import on_main_thread, when_done
from napari_nucleus.widgets.model import AppModel

__all__ = ["Extent", "Segmentation"]

AT_ONCE = 40
"""Nuclei of a tile that enter the document in one piece."""


@dataclass(frozen=True, eq=False)
class Extent:
    """Where to segment.

    Parameters
    ----------
    name
        What it is called in the history: "view", "region", "image".
    box
        Level-0 box around it.
    polygons
        Level-0 polygons ``(n, 2)`` of ``(y, x)``, corner-origin; nuclei whose centroid lies in none
        are left out. Empty for the whole box.
    """

    name: str
    box: Box
    polygons: Polygons = ()


class Segmentation:
    """One automatic run over a part of an annotated image.

    Parameters
    ----------
    annotation
        The image and its document.
    model
        Finds the nuclei.
    extent
        Where.
    visible, start_yx
        What is on screen, and where to begin, on level 0.

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
    ) -> None:
        self._annotation, self._model, self._extent = annotation, model, extent
        self._visible, self._start = visible, start_yx
        self._job: Job | None = None
        self._run: Run | None = None
        self._ended = self._all_found = self._scheduled = False
        self._pieces: deque[tuple[Box, Nuclei]] = deque()

    @property
    def running(self) -> bool:
        """True until it has ended."""
        return not self._ended

    def start(self) -> None:
        """Begin; returns at once."""
        self.progressed.emit(Progress(0, 0, "Loading the model"))
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
        self._add_all()
        self._end(f"Cancelled. {self._found()}")

    def _begin(self, calibration: Calibration) -> None:
        if self._ended:
            return
        self._annotation.finish_change()
        try:
            self._run = self._annotation.document.run(
                f"Segment {self._extent.name}",
                self._extent.polygons,
                made_by=self._model.made_by,
            )
        except NucleusError as error:
            self._fail(error)
            return
        self._job = self._model.host.segment(
            self._annotation.source,
            calibration,
            self._extent.box,
            self._start,
            on_tile=lambda spec, nuclei: on_main_thread(self._on_tile, spec, nuclei),
            on_progress=lambda report: on_main_thread(self._on_progress, report),
            visible=self._visible,
            wanted=self._run.ground.meets,
        )
        when_done(self._job.future, self._succeed, self._fail)

    def _on_tile(self, spec: TileSpec, nuclei: Nuclei) -> None:
        if self._run is None or self._ended:
            return
        self._pieces.extend(_quarters(spec.core, nuclei))
        self._add_soon()

    def _add_soon(self) -> None:
        if self._pieces and not self._scheduled:
            self._scheduled = True
            # A method alone would be held weakly.
            QTimer.singleShot(0, lambda: self._add_next())

    def _add_next(self) -> None:
        """Add one piece, then let the window breathe."""
        self._scheduled = False
        if self._ended:
            return
        self._add()
        self._add_soon()
        if self._all_found and not self._pieces:
            self._end(self._found())

    def _add_all(self) -> None:
        """Add what has been found already."""
        while self._pieces:
            self._add()

    def _add(self) -> None:
        if self._run is None or not self._pieces:
            return
        try:
            self._run.add_tile(*self._pieces.popleft())
        except CancelledError:
            self._pieces.clear()
            self.cancel()
        except NucleusError as error:
            self._pieces.clear()
            self.cancel()
            self._annotation.warned.emit(str(error))

    def _on_progress(self, report: Progress) -> None:
        if not self._ended:
            self.progressed.emit(report)

    def _succeed(self, _: int) -> None:
        self._all_found = True
        if not self._pieces:
            self._end(self._found())

    def _fail(self, error: BaseException) -> None:
        if self._ended:
            return
        self._add_all()
        if isinstance(error, CancelledError):
            self._end(f"Cancelled. {self._found()}")
        else:
            self._annotation.warned.emit(str(error) or type(error).__name__)
            self._end(f"Stopped by an error. {self._found()}")

    def _found(self) -> str:
        if self._run is None:
            return "Nothing was found yet."
        text = f"{counted(self._run.added)} in the {self._extent.name}."
        if self._run.left_out:
            text += f" {self._run.left_out:,} gave way to nuclei of yours."
        if any(region.meets(self._extent.box) for region in self._run.ground.closed):
            text += " Excluded and signed-off regions were left as they are."
        return text

    def _end(self, message: str) -> None:
        if self._ended:
            return
        self._ended = True
        if self._run is not None:
            try:
                self._run.close()
            except NucleusError as error:
                self._annotation.warned.emit(str(error))
        self.finished.emit(message)


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
