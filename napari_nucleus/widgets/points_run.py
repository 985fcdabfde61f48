"""A detector of points at work on an image in the app, and the model that outlines them all.

Neither changes the document; see `PointsFirst`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_nucleus.core.geometry import Box
from napari_nucleus.core.points import Points
from napari_nucleus.core.tiling import TileSpec
from napari_nucleus.hosting.job import Job
from napari_nucleus.hosting.tiles import TileOrder
from napari_nucleus.models.api import Calibration
from napari_nucleus.models.point_prompting import PointMasks
from napari_nucleus.session.points_book import PointBook
from napari_nucleus.session.points_values import AskedPoints
from napari_nucleus.session.regions import Ground
from napari_nucleus.widgets.background import on_main_thread
from napari_nucleus.widgets.tile_run import ModelRun

__all__ = ["OutlinesRun", "PointsRun"]


class PointsRun(ModelRun):
    """One search for nuclei as points.

    Parameters
    ----------
    book
        Takes in what is found.
    arguments
        Those of `ModelRun`.

    Attributes
    ----------
    came
        Emitted when points of another tile are in the book.
    """

    came = Signal()

    def __init__(self, book: PointBook, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._book = book
        self._ground = Ground(self._extent.polygons, self._annotation.document.regions)
        self._counted = 0

    def _open(self) -> Callable[[Box], bool]:
        self._book.begin_search(self._model.made_by, self._extent.polygons)
        return self._ground.meets

    def _send(self, calibration: Calibration, wanted: Callable[[Box], bool]) -> Job:
        order = TileOrder(
            self._annotation.source,
            calibration,
            self._extent.box,
            self._start,
            on_progress=lambda report: on_main_thread(self._on_progress, report),
            visible=self._visible,
            wanted=wanted,
        )
        return self._model.host.detect_all(
            order, lambda spec, points: on_main_thread(self._on_points, spec, points)
        )

    def _on_points(self, spec: TileSpec, points: Points) -> None:
        if self.running:
            self._counted += len(points)
            self._book.add_found(spec.core, points, self._ground)
            self.came.emit()

    def _found(self) -> str:
        if not self._counted:
            return f"{self._model.name} found no nucleus in the {self._extent.name}."
        return (
            f"{counted_points(self._counted)} in the {self._extent.name}. Add, move or delete "
            "points; Accept makes nuclei of them."
        )

    def _close(self) -> None:
        """There is nothing to close: what was found is in the book."""


class OutlinesRun(ModelRun):
    """Outlines all points that are still to be outlined.

    Parameters
    ----------
    book
        The points; takes in what they become.
    arguments
        Those of `ModelRun`.

    Attributes
    ----------
    complete
        True once all of them are outlined.
    came
        Emitted when outlines of another tile are in the book.
    """

    came = Signal()

    def __init__(self, book: PointBook, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.complete = False
        self._book = book
        self._asked: AskedPoints | None = None

    def _open(self) -> Callable[[Box], bool]:
        self._asked = self._book.ask()
        return lambda _: True

    def _send(self, calibration: Calibration, wanted: Callable[[Box], bool]) -> Job:
        asked = self._asked
        points = Points.empty() if asked is None else asked.points
        order = TileOrder(
            self._annotation.source,
            calibration,
            start_yx=self._start,
            on_progress=lambda report: on_main_thread(self._on_progress, report),
            visible=self._visible,
            wanted=wanted,
        )
        return self._model.host.masks_of_all(
            order,
            points,
            lambda _, which, masks: on_main_thread(self._on_masks, which, masks),
        )

    def _on_masks(self, which: NDArray[np.int64], masks: PointMasks) -> None:
        if self.running and self._asked is not None:
            classes = self._model.info.classes
            self._book.answer(self._asked, which, masks.nuclei, masks.nucleus, classes)
            self.came.emit()

    def _succeed(self, count: int) -> None:
        self.complete = True
        super()._succeed(count)

    def _found(self) -> str:
        standing = self._book.standing
        return (
            f"{standing.outlined:,} of {counted_points(standing.shown)} are outlined; nothing was "
            "added yet."
        )

    def _close(self) -> None:
        """There is nothing to close: outlines are in the book."""


def counted_points(n: int) -> str:
    """Return a number of points in words: ``1 point``, ``2,536 points``."""
    return "1 point" if n == 1 else f"{n:,} points"
