"""How long the window does not answer while nuclei stream in and the user clicks.

``python -m benchmarks stalls``. A real viewer segments a tiled field of 2048² while nuclei are
added by clicks. Each round of Qt's events is timed: as long as one lasts, nothing else is drawn or
answered. The model's process competes for the same processor, as it does on a user's laptop.
"""

from __future__ import annotations

import os
import statistics
import time

import numpy as np
from qtpy.QtWidgets import QApplication

from benchmarks.app import open_app, tiled, wait
from benchmarks.timing import percentile, row
from napari_nucleus.sample_data.fields import load_field
from napari_nucleus.widgets.extents import whole_extent

SIDE = 2048
CLICK_EVERY_S = 0.5


def main() -> None:
    """Print the longest rounds of events."""
    os.environ.setdefault("QT_QPA_PLATFORM", "xcb")
    field = load_field("lymphoid")
    viewer, dock = open_app()
    rgb = tiled(field.rgb, SIDE)
    dock.work_on(viewer.add_image(rgb, name="field", scale=(0.25, 0.25), units=("µm", "µm")))
    annotation = dock.workspace.annotation
    assert annotation is not None
    wait(lambda: dock.workspace.models.clicks.host.state == "ready")
    dock.tabs.setCurrentWidget(dock.correct_tab)
    for _ in range(100):  # what is drawn for the first time is not what this is about
        QApplication.processEvents()
    run = dock.workspace.runs.segment(whole_extent(annotation))
    rng = np.random.default_rng(0)
    rounds, clicked, clicks = [], time.perf_counter(), 0
    while run.running:
        start = time.perf_counter()
        QApplication.processEvents()
        if start - clicked > CLICK_EVERY_S:
            annotation.clicked(rng.uniform(0, SIDE, 2), False)
            clicked, clicks = start, clicks + 1
        rounds.append((time.perf_counter() - start) * 1000)
        time.sleep(0.0005)
    what = f"{annotation.document.count:,} nuclei streaming in, {clicks} clicks"
    busy = [r for r in rounds if r > 1]
    row(f"round of events, median, {what}", statistics.median(busy), "ms", 50)
    row(f"round of events, 95 %, {what}", percentile(busy, 0.95), "ms", 50)
    row(f"round of events, longest, {what}", max(rounds), "ms", 50)
    dock.close()
    viewer.close()


if __name__ == "__main__":
    main()
