"""Takes the pictures of README and guide in the running app: ``python -m docs.screenshots``.

Needs a screen, real or virtual; `make docs` sees to that.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
from qtpy.QtWidgets import QApplication, QScrollArea

from napari_nucleus.session.shelf import Shelf
from napari_nucleus.widgets.dock import NucleusDock
from napari_nucleus.widgets.extents import whole_extent
from napari_nucleus.widgets.nuclei_export_dialog import NucleiExportDialog

FOLDER = Path(__file__).parent / "images"


def wait(until: Callable[[], bool], seconds: float = 120) -> None:
    """Run Qt's events until something is so, and a moment longer for the screen to follow."""
    end = time.monotonic() + seconds
    while not until():
        QApplication.processEvents()
        if time.monotonic() > end:
            raise TimeoutError("the app did not answer")
    settle = time.monotonic() + 0.7
    while time.monotonic() < settle:
        QApplication.processEvents()


def nucleus_inside(dock: NucleusDock) -> np.ndarray:
    """Return the middle of a nucleus that the run found, inside the image and by itself."""
    annotation = dock.workspace.annotation
    assert annotation is not None
    nuclei = annotation.document.nuclei()
    centre = np.array(annotation.source.shape) / 2
    points = nuclei.centroids_yx
    apart = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
    np.fill_diagonal(apart, np.inf)
    inside = np.abs(points - centre).max(axis=1) < centre.min() / 2
    return points[np.where(inside, apart.min(axis=1), 0).argmax()]


def scroll_to(area: QScrollArea, y: int) -> None:
    """Scroll a part of the dock down to what lies at ``y``."""
    bar = area.verticalScrollBar()
    assert bar is not None
    bar.setValue(y)


def show_points(dock: NucleusDock) -> None:
    """Have nuclei found as points, and look at some of them and their outlines from near."""
    workspace = dock.workspace
    annotation = workspace.worked_on()
    if not annotation.binding.hidden:
        annotation.toggle_hidden()
    dock.tabs.setCurrentWidget(dock.segment_tab)
    workspace.choose_model("nunext-nano")
    workspace.points.find(whole_extent(annotation))
    wait(lambda: not workspace.runs.running, 600)
    camera = workspace.viewer.scene.camera
    camera.zoom *= 1.6
    wait(lambda: not workspace.points.at_work)


def main() -> None:
    """Open the sample, segment it, look through it, correct a nucleus; a picture of each."""
    os.environ.setdefault("QT_QPA_PLATFORM", "xcb")
    FOLDER.mkdir(exist_ok=True)
    viewer = napari.Viewer()
    viewer.window.resize(1400, 900)
    dock = NucleusDock(viewer, shelf=Shelf(Path(tempfile.mkdtemp())))
    viewer.window.add_dock_widget(dock, name="Nuclei", area="right")
    wait(lambda: dock.workspace.models.clicks.host.state == "ready")

    def take(name: str) -> None:
        wait(lambda: True)
        viewer.screenshot(str(FOLDER / f"{name}.png"), canvas_only=False, flash=False)

    dock.segment_tab.sample.click()
    run = dock.workspace.runs.current
    assert run is not None
    wait(lambda: not run.running)
    take("segmented")

    dock.footer.export.click()
    dialog = next(w for w in QApplication.topLevelWidgets() if isinstance(w, NucleiExportDialog))
    dialog.folder.setText("results")
    wait(lambda: dialog.count is not None)
    dialog.grab().save(str(FOLDER / "export.png"))
    dialog.reject()

    annotation = dock.workspace.annotation
    assert annotation is not None
    annotation.toggle_fill()
    take("filled")
    annotation.toggle_fill()
    whole = viewer.scene.camera.center, viewer.scene.camera.zoom
    annotation.reviewing.next()
    take("doubtful")
    dock.workspace.table_asked.emit()
    take("table")
    dock.workspace.table_asked.emit()
    annotation.escape()
    viewer.scene.camera.center, viewer.scene.camera.zoom = whole
    point = nucleus_inside(dock)
    viewer.scene.camera.center = (0, *(point * 0.25))
    viewer.scene.camera.zoom *= 3
    annotation.clicked(point, True)
    wait(lambda: not annotation.tool.pending)
    take("before_click")
    annotation.clicked(point, False)
    wait(lambda: not annotation.tool.pending)
    take("after_click")
    annotation.escape()
    viewer.scene.camera.center, viewer.scene.camera.zoom = whole
    measured: list[object] = []
    tab = dock.measure_tab
    tab.measuring.detailed.connect(measured.append)
    dock.tabs.setCurrentWidget(tab)
    wait(lambda: bool(measured) and tab.figures.view.image is not None)
    scroll_to(tab.scrolled, tab.results.y())
    take("measured")
    dock.tabs.setCurrentWidget(dock.text_tab)
    dock.text_tab.line.setText("inflammatory nuclei near epithelial ones")
    dock.text_tab._on_rest()
    dock.workspace.words.ask(dock.text_tab.line.text(), whole_extent(annotation))
    wait(lambda: dock.workspace.words.found is not None)
    take("asked")
    dock.workspace.words.put_away()
    dock.tabs.setCurrentWidget(dock.segment_tab)
    other = dock.workspace.models.offered[-1]
    dock.workspace.runs.compare(other, whole_extent(annotation))
    wait(lambda: annotation.opinion.comparison is not None)
    scroll_to(dock.correct_tab, dock.correct_tab.compared.y())
    take("compared")
    annotation.opinion.drop()
    show_points(dock)
    take("points")
    dock.close()
    viewer.close()


if __name__ == "__main__":
    main()
