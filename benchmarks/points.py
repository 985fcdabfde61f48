"""Twenty thousand points in the running app: ``python -m benchmarks points``.

A real viewer, the model that outlines points in its process. What is timed keeps the window busy,
napari's part included; and how long after an edit its outline is there.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

import numpy as np
from napari.layers import Image, Points

from benchmarks.app import open_app, tiled, wait, wait_until_warm
from benchmarks.timing import row
from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.points import Points as FoundPoints
from napari_nucleus.sample_data.fields import load_field
from napari_nucleus.session.points_book import PointBook
from napari_nucleus.session.points_kept import keep_points
from napari_nucleus.session.provenance import MadeBy
from napari_nucleus.session.regions import Ground
from napari_nucleus.widgets.layers import role_of
from napari_nucleus.widgets.points_layer import POINTS_ROLE

COUNT, SIDE, APART = 20_000, 4000, 28

TIMES = 15


def main() -> None:
    """Print the rows."""
    os.environ.setdefault("QT_QPA_PLATFORM", "xcb")
    viewer, dock = open_app()
    wait_until_warm(dock)
    pixels = tiled(load_field("crypts").rgb, SIDE)
    image = viewer.add_image(pixels, name="field", scale=(0.25, 0.25), units=("µm", "µm"))
    assert isinstance(image, Image)
    dock.work_on(image)
    annotation = dock.workspace.worked_on()
    keep_points(annotation.document, book_of(COUNT))
    dock.workspace.set_image(None)
    dock.work_on(image)
    points = dock.workspace.points
    viewer.scene.camera.center, viewer.scene.camera.zoom = (0, 96, 96), 20
    wait(lambda: not points.at_work)
    layer = next(x for x in viewer.layers if (role_of(x) or ("", ""))[1] == POINTS_ROLE)
    assert isinstance(layer, Points)
    points.work("select")
    note = f"{len(layer.data):,} points"

    def busy(name: str, act: Callable[[], object], target: float) -> None:
        times = []
        for _ in range(TIMES):
            start = time.perf_counter()
            act()
            times.append((time.perf_counter() - start) * 1000)
        row(name, statistics.median(times), "ms", target, note)

    def outlined() -> float:
        """Return the milliseconds from a click that adds a point to its outline."""
        start = time.perf_counter()
        layer.add([[384.0, 384.0]])
        book = points.book
        assert book is not None
        new = int(book.table.ids[-1])
        wait(lambda: new in book.outlines or book.outlines.is_empty(new))
        taken = (time.perf_counter() - start) * 1000
        points.undo()
        wait(lambda: not points.at_work)
        return taken

    busy("a point added", lambda: layer.add([[2000.0, 2000.0]]), 100)
    busy("a point taken out", lambda: layer.remove([len(layer.data) - 1]), 100)
    busy("a change of points taken back", points.undo, 200)
    wait(lambda: not points.at_work)
    times = [outlined() for _ in range(TIMES)]
    row("from a point to its outline, encoded tile", statistics.median(times), "ms", 1000, note)
    dock.close()
    viewer.close()


def book_of(count: int) -> PointBook:
    """Return so many points on a grid, some of them less sure."""
    per_row = SIDE // APART
    y, x = np.divmod(np.arange(count), per_row)
    places = np.stack([y % per_row, x], axis=1) * float(APART) + APART / 2
    rng = np.random.default_rng(0)
    book = PointBook((SIDE, SIDE), PANNUKE, 0.25)
    book.begin_search(MadeBy("nunext-nano", classes=PANNUKE))
    classes = PANNUKE.one_hot(rng.integers(1, 6, count))
    book.add_found(
        (0, 0, SIDE, SIDE),
        FoundPoints(places, rng.uniform(0.2, 1, count).astype(np.float32), classes),
        Ground(),
    )
    return book


if __name__ == "__main__":
    main()
