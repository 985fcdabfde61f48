"""The outlines of the points in view, made again shortly after something has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_nucleus.core.geometry import Box, box_intersection
from napari_nucleus.errors import CancelledError
from napari_nucleus.hosting.job import Job
from napari_nucleus.hosting.tiles import TileOrder
from napari_nucleus.models.api import Calibration
from napari_nucleus.models.point_prompting import PointMasks
from napari_nucleus.session.points_book import PointBook
from napari_nucleus.session.points_values import AskedPoints
from napari_nucleus.widgets.background import on_main_thread, when_done
from napari_nucleus.widgets.layers import visible_box

if TYPE_CHECKING:
    from napari_nucleus.widgets.annotation import Annotation

__all__ = ["PointsPreview"]

REST_MS = 250
"""How long points and view must rest before outlines are asked for."""


class PointsPreview:
    """Asks the model that answers clicks about points in view that wait for an outline.

    Parameters
    ----------
    annotation
        The image.
    book
        The points; takes in what they become.

    Attributes
    ----------
    came
        Emitted when outlines are in the book.
    failed
        Emitted with a sentence when the model could not say.
    """

    came = Signal()
    failed = Signal(str)

    def __init__(self, annotation: Annotation, book: PointBook) -> None:
        self._annotation, self._book = annotation, book
        self._job: Job | None = None
        self._number = 0
        self._asking = self._urgent = self._again = False
        self._place: NDArray[np.float64] | None = None
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(REST_MS)
        self._timer.timeout.connect(lambda: self._go())
        annotation.viewer.scene.camera.events.connect(self._on_camera)

    @property
    def at_work(self) -> bool:
        """True while outlines are on their way, or soon will be."""
        return self._asking or self._timer.isActive()

    def schedule(self, urgent: bool = False, near: NDArray[np.float64] | None = None) -> None:
        """Ask soon for what is in view.

        Parameters
        ----------
        urgent
            True if what is on its way has to wait, else it is done first.
        near
            A level-0 point to begin at, if it is in view.
        """
        self._urgent |= urgent
        self._place = self._place if near is None else near
        self._timer.start()

    def stop(self) -> None:
        """Ask no more, and want no answer."""
        self._timer.stop()
        self._number += 1
        self._asking = False
        job, self._job = self._job, None
        if job is not None:
            job.cancel()

    def close(self) -> None:
        """Let go of the viewer."""
        self.stop()
        self._annotation.viewer.scene.camera.events.disconnect(self._on_camera)

    def _on_camera(self, _: Any = None) -> None:
        self.schedule(urgent=True)

    def _go(self) -> None:
        self._again = self._asking and not self._urgent
        if self._again:
            return
        view = visible_box(self._annotation.image)
        asked = self._book.ask(view)
        if asked is None:
            return
        # What was asked before is asked again with it, where it was not answered.
        self.stop()
        self._asking, self._urgent = True, False
        number, place = self._number, self._place
        self._place = None
        start = _start(view, place)

        def fail(error: BaseException) -> None:
            if number == self._number:
                self._asking, self._job = False, None
                if not isinstance(error, CancelledError):
                    self.failed.emit(str(error) or type(error).__name__)

        def take(which: NDArray[np.int64], masks: PointMasks) -> None:
            if number == self._number:
                self._take(asked, which, masks)

        def end(_: int) -> None:
            if number == self._number:
                self._asking, self._job = False, None
                if self._again:
                    self._go()

        def send(calibration: Calibration) -> None:
            if number != self._number:
                return
            order = TileOrder(self._annotation.source, calibration, start_yx=start, visible=view)
            self._job = self._annotation.model.host.masks_of_all(
                order,
                asked.points,
                lambda _, which, masks: on_main_thread(take, which, masks),
            )
            when_done(self._job.future, end, fail)

        when_done(self._annotation.calibration(), send, fail)

    def _take(self, asked: AskedPoints, which: NDArray[np.int64], masks: PointMasks) -> None:
        classes = self._annotation.model.info.classes
        self._book.answer(asked, which, masks.nuclei, masks.nucleus, classes)
        self.came.emit()


def _start(view: Box, place: NDArray[np.float64] | None) -> tuple[float, float]:
    """Return where to begin: at a place if it is in view, else in the middle of the view."""
    if place is not None:
        y, x = np.floor(place).astype(int).tolist()
        if box_intersection((y, x, y + 1, x + 1), view) is not None:
            return float(place[0]), float(place[1])
    return (view[0] + view[2]) / 2, (view[1] + view[3]) / 2
