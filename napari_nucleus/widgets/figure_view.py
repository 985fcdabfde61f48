"""A figure in the dock, drawn on another thread: it takes longer than a window may stand still."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qtpy.compat import isalive
from qtpy.QtCore import QSize, QTimer
from qtpy.QtGui import QImage, QPainter, QPaintEvent, QResizeEvent
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_nucleus.widgets.background import in_background

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FigureView"]

DPI = 100

LEAST_INCHES = 4.4
"""A narrower figure is drawn so wide and made smaller; its parts would lie on each other."""

RESIZED_MS = 200
"""How long the width must rest before the figure is drawn anew."""

_ONE_AT_A_TIME = threading.Lock()
"""Not all of matplotlib may be used from two threads at once."""


class FigureView(QWidget):
    """Shows what a function draws, at the widget's width and the screen's resolution."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._make: Callable[[], Figure] | None = None
        self._drawn: QImage | None = None
        self._stale = self._drawing = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(RESIZED_MS)
        self._timer.timeout.connect(lambda: self._draw())
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(160)

    @property
    def image(self) -> QImage | None:
        """What is shown; None until something is drawn."""
        return self._drawn

    def show_figure(self, make: Callable[[], Figure] | None) -> None:
        """Show what ``make`` draws, which is called on another thread; None for nothing."""
        self._make = make
        if make is None:
            self._drawn = None
            self.update()
        else:
            self._draw()

    def sizeHint(self) -> QSize:
        """Return the size before anything is drawn."""
        return QSize(300, 160)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Draw anew when the width has rested."""
        super().resizeEvent(event)
        if (
            self._drawn is None
            or abs(self._drawn.deviceIndependentSize().width() - self.width()) > 1
        ):
            self._timer.start()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Show what was drawn."""
        if self._drawn is not None:
            painter = QPainter(self)
            painter.drawImage(0, 0, self._drawn)
            painter.end()

    def _draw(self) -> None:
        make, width, ratio = self._make, self.width(), self.devicePixelRatioF()
        if self._drawing:
            self._stale = True
            return
        if make is None or width < 50:
            return
        self._drawing, self._stale = True, False

        def then(pixels: NDArray[np.uint8]) -> None:
            if not isalive(self):  # its window was closed meanwhile
                return
            self._drawing = False
            if self._make is not None:
                self._take(pixels, ratio)
            if self._stale:
                self._draw()

        def failed(error: BaseException) -> None:
            self._drawing = False
            raise error

        in_background(lambda: _pixels(make, width, ratio), then, failed)

    def _take(self, pixels: NDArray[np.uint8], ratio: float) -> None:
        height, width = pixels.shape[:2]
        data = pixels.tobytes()
        image = QImage(data, width, height, 4 * width, QImage.Format.Format_RGBA8888)
        self._drawn = image.copy()  # the data go
        self._drawn.setDevicePixelRatio(ratio)
        self.setFixedHeight(max(round(height / ratio), 1))
        self.update()


def _pixels(make: Callable[[], Figure], width: int, ratio: float) -> NDArray[np.uint8]:
    """Return a figure as ``(h, w, 4)`` RGBA, so wide in screen-independent pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with _ONE_AT_A_TIME:
        figure = make()
        _, height = figure.get_size_inches()
        inches = max(width / DPI, LEAST_INCHES)
        figure.set_size_inches(inches, float(height))
        figure.set_dpi(width * ratio / inches)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.array(canvas.buffer_rgba())
