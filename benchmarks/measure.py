"""How soon the Measure tab shows a correction, and how long the window stands still for it.

``python -m benchmarks measure``. A real viewer, a project with rows but without pixels: what is
measured, not what the canvas does. Corrections follow each other, so that the figures of one are
drawn while the next is measured.
"""

from __future__ import annotations

import os
import statistics
import time

import numpy as np
from qtpy.QtWidgets import QApplication

from benchmarks.app import open_app, wait
from benchmarks.timing import percentile, row
from napari_nucleus.session import actions
from napari_nucleus.session.document import Document
from napari_nucleus.session.table import NucleusRow
from napari_nucleus.widgets.dock import NucleusDock

NUCLEI = 20_000
STEP = 28
"""Pixels from one nucleus to the next."""

CHANGES = 60
PAUSE_S = 0.4
"""Seconds from one correction to the next."""


def fill(document: Document) -> None:
    """Enter nuclei of five classes in patches, as tissue has them, without pixels."""
    rng = np.random.default_rng(0)
    per_line = document.shape[0] // STEP
    rows = []
    for i in range(NUCLEI):
        y, x = (int(v) * STEP for v in divmod(i, per_line))
        patch = (y // 500 + x // 500) % 5
        class_id = int(patch if rng.random() < 0.7 else rng.integers(5)) + 1
        area, shift = int(rng.integers(80, 500)), rng.uniform(-8, 8, 2)
        centre = (y + STEP / 2 + shift[0], x + STEP / 2 + shift[1])
        box = (y, x, y + STEP - 1, x + STEP - 1)
        rows.append(NucleusRow(i + 1, box, area, centre, class_id))
    for start in range(0, NUCLEI, 5_000):
        with document.store.transaction():
            document.store.put_rows(rows[start : start + 5_000])


def rounds_until(done: list[object], n: int, least_s: float = 0.0) -> tuple[float, list[float]]:
    """Run Qt's events until there are n values; return the seconds, and all rounds in ms."""
    begin = time.perf_counter()
    arrived, rounds = 0.0, []
    while not arrived or time.perf_counter() - begin < least_s:
        start = time.perf_counter()
        QApplication.processEvents()
        rounds.append((time.perf_counter() - start) * 1000)
        if not arrived and len(done) >= n:
            arrived = time.perf_counter() - begin
        time.sleep(0.0005)
    return arrived, rounds


def measure(dock: NucleusDock) -> None:
    """Open the tab, then change the class of one nucleus after the other."""
    annotation, tab = dock.workspace.annotation, dock.measure_tab
    assert annotation is not None
    document = annotation.document
    values: list[object] = []
    details: list[object] = []
    tab.measuring.measured.connect(values.append)
    tab.measuring.detailed.connect(details.append)
    what = f"{NUCLEI:,} nuclei"
    dock.tabs.setCurrentWidget(tab)
    values.clear()
    seconds, rounds = rounds_until(values, 1)
    row(f"open the Measure tab to the values, {what}", seconds, "s")
    row("  longest round of events meanwhile", max(rounds), "ms", 50)
    wait(lambda: len(details) > 0)
    rng = np.random.default_rng(1)
    times, longest = [], []
    for nucleus in rng.choice(NUCLEI, CHANGES, replace=False).tolist():
        before = document.row(nucleus + 1).class_id
        n = len(values) + 1
        begin = time.perf_counter()
        actions.classify(document, [nucleus + 1], before % 5 + 1)
        held = (time.perf_counter() - begin) * 1000
        seconds, rounds = rounds_until(values, n, PAUSE_S)
        times.append(seconds * 1000 + held)
        longest.append(max([held, *rounds]))
    row(f"class change to the table updated, median, {what}", statistics.median(times), "ms", 100)
    row(f"class change to the table updated, 95 %, {what}", percentile(times, 0.95), "ms")
    row("  longest round of events, median", statistics.median(longest), "ms", 50)
    row("  longest round of events, 95 %", percentile(longest, 0.95), "ms", 50)


def main() -> None:
    """Print the rows of the Measure tab."""
    os.environ.setdefault("QT_QPA_PLATFORM", "xcb")
    viewer, dock = open_app()
    rgb = np.full((4000, 4000, 3), 235, np.uint8)
    dock.work_on(viewer.add_image(rgb, name="field", scale=(0.25, 0.25), units=("µm", "µm")))
    annotation = dock.workspace.annotation
    assert annotation is not None
    fill(annotation.document)
    wait(lambda: dock.workspace.models.clicks.host.state == "ready")
    for _ in range(100):
        QApplication.processEvents()
    measure(dock)
    dock.close()
    viewer.close()


if __name__ == "__main__":
    main()
