"""What a user's hands and eyes do to the app: real Qt events on the canvas, looks at the layers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QPushButton

NO, CTRL = Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ControlModifier
SHIFT, ALT = Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.AltModifier
LEFT = Qt.MouseButton.LeftButton
PATIENCE_MS = 60_000


class Driver:
    """Drives one viewer with the dock in it."""

    def __init__(self, viewer, dock, qtbot, orders: Path) -> None:
        self.viewer, self.dock, self.qtbot, self.orders = viewer, dock, qtbot, orders
        self.said: list[str] = []
        self.warned: list[str] = []
        dock.workspace.said.connect(self.said.append)
        dock.workspace.warned.connect(self.warned.append)

    # ---- looking

    @property
    def workspace(self):
        return self.dock.workspace

    @property
    def annotation(self):
        return self.dock.workspace.annotation

    @property
    def document(self):
        return self.annotation.document

    @property
    def canvas(self) -> QOpenGLWidget:
        shown = [w for w in QApplication.allWidgets() if isinstance(w, QOpenGLWidget)]
        return next(w for w in shown if w.isVisible())

    def outlined(self) -> np.ndarray:
        """Return where the outline layer shows something."""
        from napari_nucleus.core.outlines import INTERIOR
        from napari_nucleus.widgets.binding import CARVING

        raster = np.asarray(self.annotation.binding.layers[1].data)
        return ((raster > 0) & (raster < INTERIOR)) | (raster >= CARVING)

    def export_dialog(self):
        from napari_nucleus.widgets.export_dialog import ExportDialog

        return self._dialog(ExportDialog)

    def import_dialog(self):
        from napari_nucleus.widgets.import_dialog import ImportDialog

        return self._dialog(ImportDialog)

    def _dialog(self, kind: type):
        shown = [w for w in QApplication.topLevelWidgets() if isinstance(w, kind)]
        return next(w for w in shown if w.isVisible())

    def pixel(self, point_yx) -> QPoint:
        """Return where on the canvas a level-0 point of the image is."""
        image = self.annotation.image
        world = np.asarray(image.data_to_world(np.asarray(point_yx, float) - 0.5))[-2:]
        canvas, camera = self.canvas, self.viewer.scene.camera
        offset = (world - np.asarray(camera.center)[-2:]) * camera.zoom
        y, x = offset + np.array([canvas.height(), canvas.width()]) / 2
        return QPoint(round(x), round(y))

    # ---- doing

    def open(self, picture, mpp: float | None = 0.5, **arguments):
        """Show a picture and work on it."""
        if mpp is not None:
            arguments = {"scale": (mpp, mpp), "units": ("µm", "µm")} | arguments
        image = self.viewer.add_image(picture, **({"name": "field", "rgb": True} | arguments))
        self.dock.work_on(image)
        self.viewer.reset_view()
        QApplication.processEvents()
        return image

    def correct(self) -> None:
        self.dock.tabs.setCurrentWidget(self.dock.correct_tab)

    def click(self, point_yx, modifiers=NO, wait: bool = True) -> None:
        QTest.mouseClick(self.canvas, LEFT, modifiers, self.pixel(point_yx))
        if wait:
            self.settle()

    def double_click(self, point_yx) -> None:
        QTest.mouseDClick(self.canvas, LEFT, NO, self.pixel(point_yx))
        self.settle()

    def second_press(self, point_yx) -> None:
        """Send what Qt makes of a press that follows another one fast."""
        place = self.pixel(point_yx)
        for kind in (QMouseEvent.Type.MouseButtonDblClick, QMouseEvent.Type.MouseButtonRelease):
            QApplication.sendEvent(self.canvas, self._event(kind, place, LEFT, LEFT, NO))
        self.settle()

    def drag(self, first_yx, last_yx, modifiers=NO) -> None:
        """Press, move in five steps, release."""
        first, last = self.pixel(first_yx), self.pixel(last_yx)
        self.drag_pixels(first, last, modifiers)

    def drag_pixels(self, first: QPoint, last: QPoint, modifiers=NO) -> None:
        QTest.mousePress(self.canvas, LEFT, modifiers, first)
        for step in range(1, 6):
            self._move(first + (last - first) * step / 5, modifiers, pressed=True)
            # The canvas takes a move every few milliseconds at most.
            self.qtbot.wait(10)
        QTest.mouseRelease(self.canvas, LEFT, modifiers, last)
        self.settle()

    def push(self, text: str) -> None:
        """Push the button of the Correct tab that says this."""
        buttons = self.dock.correct_tab.findChildren(QPushButton)
        next(b for b in buttons if text in b.text()).click()
        QApplication.processEvents()

    def hover(self, point_yx, modifiers=NO) -> None:
        self._move(self.pixel(point_yx), modifiers, pressed=False)
        QApplication.processEvents()

    def press(self, key: Qt.Key, modifiers=NO) -> None:
        QTest.keyClick(self.canvas, key, modifiers)
        QApplication.processEvents()

    def _move(self, place: QPoint, modifiers, pressed: bool) -> None:
        # QTest.mouseMove knows neither buttons nor keys that are held.
        held = LEFT if pressed else Qt.MouseButton.NoButton
        event = self._event(
            QMouseEvent.Type.MouseMove, place, Qt.MouseButton.NoButton, held, modifiers
        )
        QApplication.sendEvent(self.canvas, event)

    def _event(self, kind, place: QPoint, button, held, modifiers) -> QMouseEvent:
        around = self.canvas.mapToGlobal(place).toPointF()
        return QMouseEvent(kind, place.toPointF(), around, button, held, modifiers)

    # ---- waiting

    def until(self, holds: Callable[[], bool]) -> None:
        self.qtbot.waitUntil(holds, timeout=PATIENCE_MS)

    def settle(self) -> None:
        """Wait until no answer of the model is outstanding and no run goes on."""
        QApplication.processEvents()
        workspace = self.workspace
        self.until(lambda: self.annotation is None or not self.annotation.tool.pending)
        self.until(lambda: not workspace.runs.running)
        QApplication.processEvents()

    def until_threads_ended(self) -> None:
        """Wait until the closed host's threads are gone, background work has ended, and what both
        sent here has arrived: all of it holds on to the viewer, which must be free after a test.
        """
        from napari_nucleus.widgets.background import WORKERS, in_background

        self.until(lambda: not any(t.name.startswith("nucleus ") for t in threading.enumerate()))
        # Each worker has come to the end of all work before when all meet.
        meeting, met = threading.Barrier(WORKERS), []
        for _ in range(WORKERS):
            in_background(lambda: meeting.wait(60), met.append, met.append)
        self.until(lambda: len(met) == WORKERS)
        QApplication.processEvents()
