"""Clicks in the running app: from the mouse event to the pixels of the outline layer.

A real viewer on a real or virtual screen, the model in its process;
for images of two sizes, so that it shows that neither size nor number of nuclei matters.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
from napari.layers import Image
from numpy.typing import NDArray
from qtpy.QtWidgets import QApplication

from benchmarks.timing import percentile, row
from napari_nucleus.sample_data.fields import load_field
from napari_nucleus.session.actions import import_labels
from napari_nucleus.session.shelf import Shelf
from napari_nucleus.widgets.dock import NucleusDock

CLICKS = 60


def wait(until: Callable[[], bool], seconds: float = 60) -> None:
    """Run Qt's events until something is so."""
    end = time.perf_counter() + seconds
    while not until():
        QApplication.processEvents()
        time.sleep(0.0005)  # as Qt's own loop would, leave the processor to others
        if time.perf_counter() > end:
            raise TimeoutError("the app did not answer")


def open_app() -> tuple[napari.Viewer, NucleusDock]:
    """Return a viewer with the dock, whose projects go into a folder of their own."""
    viewer = napari.Viewer()
    dock = NucleusDock(viewer, shelf=Shelf(Path(tempfile.mkdtemp())))
    viewer.window.add_dock_widget(dock, name="Nuclei", area="right")
    return viewer, dock


def wait_until_warm(dock: NucleusDock) -> None:
    """Wait until the model is loaded and has answered by itself once."""
    host = dock.workspace.models.clicks.host
    wait(host.loaded.done)
    asked = time.perf_counter() + 0.5
    wait(lambda: time.perf_counter() > asked)
    answered = host.describe()
    wait(answered.done)


def tiled(array: NDArray, side: int) -> NDArray:
    """Return a picture or label map of ``side`` pixels, the same field again and again."""
    repeat = -(-side // array.shape[0])
    return np.tile(array, (repeat, repeat) + (1,) * (array.ndim - 2))[:side, :side]


def first_look() -> None:
    """Time from the app's start to the first nuclei on screen."""
    start = time.perf_counter()
    viewer, dock = open_app()
    dock.segment_tab.sample.click()
    wait(lambda: dock.workspace.annotation is not None)
    annotation = dock.workspace.annotation
    assert annotation is not None
    wait(lambda: annotation.document.count > 0)
    row("start of the app to the first nuclei on screen", time.perf_counter() - start, "s", 15)
    dock.close()
    viewer.close()


def clicks(side: int) -> None:
    """Time clicks on missing nuclei of a tiled field of ``side`` pixels."""
    field = load_field("lymphoid")
    repeat = -(-side // field.rgb.shape[0])
    viewer, dock = open_app()
    wait_until_warm(dock)
    image = viewer.add_image(
        tiled(field.rgb, side), name="field", scale=(0.25, 0.25), units=("µm", "µm")
    )
    assert isinstance(image, Image)
    dock.work_on(image)
    annotation = dock.workspace.annotation
    assert annotation is not None
    # Fill the document with nuclei, except where the clicks will be.
    offsets = np.arange(repeat * repeat).reshape(repeat, repeat) * int(field.labels.max())
    labels = np.kron(offsets, np.ones(field.labels.shape, np.int64))
    labels = np.where(
        np.tile(field.labels, (repeat, repeat)) > 0,
        np.tile(field.labels, (repeat, repeat)) + labels,
        0,
    )[:side, :side]
    labels[:512, :512] = 0
    import_labels(annotation.document, labels)
    dock.tabs.setCurrentWidget(dock.correct_tab)
    centres = [
        np.argwhere(field.labels == i).mean(axis=0) + 0.5
        for i in range(1, int(field.labels.max()) + 1)
    ]
    places = [c for c in centres if (c > 40).all() and (c < 470).all()][: CLICKS + 1]
    viewer.scene.camera.center = (0, 64, 64)
    viewer.scene.camera.zoom *= side / 512
    warm, cold = [], []
    layer = annotation.binding.layers[1]
    outlines = layer.data[0] if layer.multiscale else layer.data
    for n, place in enumerate(places):
        before, count = np.array(outlines[:512, :512]), annotation.document.count
        start = time.perf_counter()
        annotation.clicked(place, False)
        wait(lambda: not annotation.tool.pending)
        elapsed = (time.perf_counter() - start) * 1000
        if annotation.document.count > count:
            assert (np.asarray(outlines[:512, :512]) != before).any()
            (cold if n == 0 else warm).append(elapsed)
        if n == 0:
            # A user looks before he clicks; meanwhile the tiles in view are encoded.
            looked = time.perf_counter()
            wait(lambda looked=looked: time.perf_counter() - looked > 4)
    size = f"{side} x {side}, {annotation.document.count:,} nuclei"
    row(f"first click on cold tissue, {size}", cold[0] if cold else float("nan"), "ms", 500)
    row(f"click to pixels, median, {size}", statistics.median(warm), "ms", 60)
    row(f"click to pixels, 95 %, {size}", percentile(warm, 0.95), "ms", 120)
    undo = []
    for _ in range(20):
        start = time.perf_counter()
        annotation.undo()
        undo.append((time.perf_counter() - start) * 1000)
    row(f"undo to pixels, median, {size}", statistics.median(undo), "ms", 50)
    row(f"undo to pixels, 95 %, {size}", percentile(undo, 0.95), "ms", 50)
    dock.close()
    viewer.close()


def main() -> None:
    """Print the rows of the running app."""
    os.environ.setdefault("QT_QPA_PLATFORM", "xcb")
    first_look()
    for side in (2048, 8192):
        clicks(side)


if __name__ == "__main__":
    main()
