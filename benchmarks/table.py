"""How long the window does not answer while the table of nuclei is used; 150,000 rows.

``python -m benchmarks table``. A real viewer, a project with rows but without pixels: what the
table costs, not what the canvas does. Each figure is the longest round of Qt's events from the
user's doing to the table showing it; as long as one lasts, nothing else is drawn or answered.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from benchmarks.app import open_app, wait
from benchmarks.timing import row
from napari_nucleus.session.document import Document
from napari_nucleus.session.table import NucleusRow, NucleusState
from napari_nucleus.widgets.dock import NucleusDock
from napari_nucleus.widgets.table_model import COLUMNS

NUCLEI = 150_000
PER_LINE = 500
CHANGED = 10_000


def fill(document: Document) -> None:
    """Enter rows of every class and state, without pixels."""
    rng = np.random.default_rng(0)
    step = document.shape[0] // PER_LINE
    classes, states = (0, *document.scheme.ids), tuple(NucleusState)
    rows = []
    for i in range(NUCLEI):
        y, x = (int(v) * step for v in divmod(i, PER_LINE))
        rows.append(
            NucleusRow(
                i + 1,
                (y, x, y + step - 1, x + step - 1),
                int(rng.integers(50, 900)),
                (y + step / 2 - 1.0, x + step / 2 - 1.0),
                classes[rng.integers(len(classes))],
                (0.2,) * len(document.scheme),
                float(rng.random()),
                None,
                states[rng.integers(len(states))],
                "bench",
            )
        )
    for start in range(0, NUCLEI, 10_000):
        with document.store.transaction():
            document.store.put_rows(rows[start : start + 10_000])


def longest(act: Callable[[], object], until: Callable[[], bool]) -> tuple[float, float]:
    """Do something; return the longest round of events, itself included, and all of the time."""
    begin = time.perf_counter()
    act()
    rounds = [time.perf_counter() - begin]
    while True:
        start = time.perf_counter()
        QApplication.processEvents()
        rounds.append(time.perf_counter() - start)
        if until():
            break
        time.sleep(0.0005)
    for _ in range(5):
        start = time.perf_counter()
        QApplication.processEvents()
        rounds.append(time.perf_counter() - start)
    return max(rounds) * 1000, (time.perf_counter() - begin) * 1000


def shown(what: str, times: tuple[float, float], target: float | None = 50) -> None:
    """Print a row: the longest round, and how long it took in all."""
    row(what, times[0], "ms", target, f"{times[1]:.0f} ms in all")


def measure(dock: NucleusDock) -> None:
    """Use the table as a user does."""
    annotation = dock.workspace.annotation
    assert annotation is not None
    table, document = dock.table, annotation.document
    view, model = table.view, table.model
    n = f"{NUCLEI:,} rows"
    rng = np.random.default_rng(1)

    shown(f"open the table, {n}", longest(dock.toggle_table, lambda: len(model.ids) == NUCLEI))
    wait(lambda: view.isVisible())
    for number, column in enumerate(COLUMNS):
        for order in (Qt.SortOrder.DescendingOrder, Qt.SortOrder.AscendingOrder):
            view.sortByColumn(number, order)  # the first time, so that the next one changes it
            QApplication.processEvents()
        times = longest(
            lambda number=number: view.sortByColumn(number, Qt.SortOrder.DescendingOrder),
            lambda: True,
        )
        shown(f"sort by {column.value}", times)
    bar = view.verticalScrollBar()
    assert bar is not None
    scrolls = [
        longest(partial(bar.setValue, place), lambda: True)
        for place in rng.integers(0, NUCLEI, 20).tolist()
    ]
    shown("scroll to a random place, the slowest of 20", max(scrolls))
    picks = []
    for nucleus in rng.integers(1, NUCLEI, 20).tolist():

        def pick(nucleus: int = nucleus) -> None:
            y, x = document.row(nucleus).centroid_yx
            annotation.tool.select(nucleus)
            annotation.hovered(np.array([y, x]), False)

        picks.append(longest(pick, lambda nucleus=nucleus: nucleus in view.selected_ids().tolist()))
    shown("select on the canvas to the row shown, the slowest of 20", max(picks))
    picks = []
    for place in rng.integers(0, NUCLEI, 20).tolist():
        wanted = int(model.ids[place])
        times = longest(
            lambda place=place: view.selectRow(place),
            lambda wanted=wanted: annotation.tool.selected == wanted,
        )
        picks.append(times)
    shown("select a row to the nucleus in view, the slowest of 20", max(picks))
    classes = table.filters.classes
    shown("filter by a class", longest(lambda: classes.setCurrentIndex(2), lambda: True))
    shown("take the filter off", longest(lambda: table.filters.reset(), lambda: True))
    shown("select all shown", longest(view.selectAll, lambda: True))
    view.clearSelection()
    QApplication.processEvents()
    table.filters.area[1].setValue(round(_area_of(document, CHANGED), 1))
    view.selectAll()
    QApplication.processEvents()
    n = view.selected_count
    shown(
        f"sort by score with {n:,} selected",
        longest(lambda: view.sortByColumn(2, Qt.SortOrder.AscendingOrder), lambda: True),
    )
    by_class, undone = table.classes.actions()[1], document.history.undo_name

    def classified() -> bool:
        return document.history.undo_name != undone

    shown(f"classify {n:,} as one step", longest(by_class.trigger, classified))
    shown("undo it", longest(annotation.undo, lambda: not classified()))


def _area_of(document: Document, n: int) -> float:
    """Return an area in µm² below which about ``n`` nuclei lie."""
    areas = np.sort([nucleus.area for nucleus in document.rows()])
    return float(areas[n]) * (document.mpp or 1.0) ** 2


def main() -> None:
    """Print the rows of the table."""
    os.environ.setdefault("QT_QPA_PLATFORM", "xcb")
    viewer, dock = open_app()
    rgb = np.full((2000, 2000, 3), 235, np.uint8)
    image = viewer.add_image(rgb, name="field", scale=(0.25, 0.25), units=("µm", "µm"))
    dock.work_on(image)
    annotation = dock.workspace.annotation
    assert annotation is not None
    fill(annotation.document)
    dock.tabs.setCurrentWidget(dock.correct_tab)
    wait(lambda: dock.workspace.models.clicks.host.state == "ready")
    for _ in range(100):
        QApplication.processEvents()
    measure(dock)
    dock.close()
    viewer.close()


if __name__ == "__main__":
    main()
