"""The app on a slide of 20,000 x 20,000 pixels with 176,000 nuclei; ``python -m benchmarks slide``.

A pyramidal JPEG TIFF and a project file are made of a bundled field, again and again side by side.
Times are from the user's act until napari has drawn what came of it, in a real viewer on a real or
virtual screen, with the bundled model in its process. ``--side`` makes it smaller.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import tifffile
from numpy.typing import NDArray
from qtpy.QtWidgets import QApplication

from benchmarks.app import open_app, wait
from benchmarks.timing import percentile, row
from napari_nucleus.core.image import ArraySource
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.hosting.image_key import image_key
from napari_nucleus.io.images import open_image
from napari_nucleus.sample_data.fields import Field, load_field
from napari_nucleus.session.actions import import_nuclei
from napari_nucleus.session.project import ImageReference, Project
from napari_nucleus.widgets.annotation import Annotation
from napari_nucleus.widgets.dock import NucleusDock
from napari_nucleus.widgets.extents import view_extent

MPP = 0.25
TILE = 512
CLICKS = 25


def write_slide(path: Path, field: Field, side: int) -> None:
    """Write a pyramid of the field, again and again."""
    levels = [field.rgb]
    while side >> len(levels) > 512:
        last = levels[-1].astype(np.uint16)
        mean = (last[::2, ::2] + last[1::2, ::2] + last[::2, 1::2] + last[1::2, 1::2] + 2) >> 2
        levels.append(mean.astype(np.uint8))
    options = {"photometric": "rgb", "tile": (TILE, TILE), "compression": "jpeg"}
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for k, level in enumerate(levels):
            length = side >> k
            tiff.write(
                _tiles(level, length),
                shape=(length, length, 3),
                dtype=np.uint8,
                subifds=len(levels) - 1 if not k else None,
                subfiletype=0 if not k else 1,
                resolution=(1e4 / MPP / 2**k,) * 2,
                resolutionunit="CENTIMETER",
                **options,
            )


def _tiles(level: NDArray[np.uint8], length: int) -> Iterator[NDArray[np.uint8]]:
    for y in range(0, length, TILE):
        for x in range(0, length, TILE):
            rows = np.arange(y, y + TILE) % level.shape[0]
            columns = np.arange(x, x + TILE) % level.shape[1]
            yield level[np.ix_(rows, columns)]


def nuclei_of(field: Field, side: int) -> Nuclei:
    """Return the nuclei of the tiled field, less a few in each: what a user would add."""
    one, ids = Nuclei.from_labels(field.labels)
    classes = np.array([field.class_of_id[int(i)] for i in ids])
    kept = np.arange(len(one)) % 10 > 0
    one, classes = one.select(np.flatnonzero(kept)), classes[kept]
    step = field.labels.shape[0]
    places = [(y, x) for y in range(0, side, step) for x in range(0, side, step)]
    boxes = np.concatenate([one.boxes + np.array([y, x, y, x]) for y, x in places])
    inside = np.flatnonzero((boxes[:, 2:] <= side).all(axis=1))
    offsets = boxes[inside, :2]
    masks = [one.masks[i % len(one)] for i in inside]
    prob = np.eye(5, dtype=np.float32)[np.maximum(classes, 1) - 1]
    score = np.random.default_rng(0).uniform(0.3, 1, len(inside)).astype(np.float32)
    return Nuclei.from_masks(masks, offsets, score, prob[inside % len(one)], source="bench")


def timed(act: Callable[[], object]) -> float:
    """Return the milliseconds until napari has drawn what came of it."""
    start = time.perf_counter()
    act()
    for _ in range(2):  # what is put off to the next turn of the event loop, and its drawing
        QApplication.processEvents()
    return (time.perf_counter() - start) * 1000


def rows_of(what: str, times: list[float], target: float, slow: float | None = None) -> None:
    """Print median and 95 %."""
    row(f"{what}, median", statistics.median(times), "ms", target)
    row(f"{what}, 95 %", percentile(times, 0.95), "ms", slow or target)


def look_at(annotation: Annotation, point_yx: NDArray[np.float64], zoom: float = 4.0) -> None:
    """Bring a level-0 point into the middle of the view; ``zoom`` in screen pixels a µm."""
    camera = annotation.viewer.scene.camera
    camera.zoom = zoom
    camera.center = (0, *(point_yx * MPP))
    QApplication.processEvents()


def correct(dock: NucleusDock, annotation: Annotation, field: Field) -> None:
    """Time clicks, undo and classes at places far apart."""
    document, rng = annotation.document, np.random.default_rng(1)
    missing = np.flatnonzero(np.arange(int(field.labels.max())) % 10 == 0) + 1
    step, side = field.labels.shape[0], document.shape[0]
    click, undo, classify, idle = [], [], [], []
    host = dock.workspace.models.clicks.host
    for _ in range(CLICKS):
        nucleus = rng.choice(missing)
        corner = rng.integers(0, side // step, 2) * step
        point = np.argwhere(field.labels == nucleus).mean(0) + 0.5 + corner
        look_at(annotation, point)
        # The tiles in view are encoded while a user looks.
        begun = time.perf_counter() + 1.0
        wait(lambda begun=begun: time.perf_counter() > begun and host.state == "ready")
        count = document.count

        def act(point: NDArray[np.float64] = point) -> None:
            annotation.clicked(point, False)
            wait(lambda: not annotation.tool.pending)

        elapsed = timed(act)
        if document.count > count:
            click.append(elapsed)
            undo.append(timed(annotation.undo))
        idle.append(timed(lambda: _say(dock, annotation)))
        y, x = (int(v) for v in point)
        near = document.ids_in((y - 60, x - 60, y + 60, x + 60))
        if near:
            annotation.tool.select(near[0])
            other = 1 + document.row(near[0]).class_id % 5
            classify.append(timed(lambda c=other: annotation.classify_selected(c)))
    rows_of(f"click to pixels, {len(click)} places", click, 60, 120)
    rows_of("undo to pixels", undo, 50)
    rows_of("class colour of one nucleus", classify, 50)
    row("of each: a new message and a frame alone, median", statistics.median(idle), "ms")


def _say(dock: NucleusDock, annotation: Annotation) -> None:
    """Change what every act changes: the message line, and the canvas by a hair."""
    dock.workspace.said.emit(f"{time.perf_counter()}")
    camera = annotation.viewer.scene.camera
    camera.center = (0, camera.center[1] + 1e-3, camera.center[2])


def move(annotation: Annotation) -> None:
    """Time panning and zooming, with nuclei and without."""
    side = annotation.document.shape[0]
    for hidden in (False, True):
        if hidden != annotation.binding.hidden:
            annotation.toggle_hidden()
        what = "without nuclei" if hidden else "with nuclei"
        pans, zooms = [], []
        start = np.array([side / 2, side / 2])
        look_at(annotation, start, 2.0)
        for i in range(60):
            place = start + 40.0 * i
            pans.append(timed(lambda p=place: look_at(annotation, p, 2.0)))
        for i in range(40):
            zoom = 0.05 * 1.13**i
            zooms.append(timed(lambda p=start, z=zoom: look_at(annotation, p, z)))
        rows_of(f"pan, {what}", pans, 50)
        rows_of(f"zoom, {what}", zooms, 50)
    annotation.toggle_hidden()


def stalls(dock: NucleusDock, annotation: Annotation) -> None:
    """Time rounds of events while the view is segmented and the user clicks."""
    side = annotation.document.shape[0]
    look_at(annotation, np.array([side / 2, side / 2]), 1.5)
    run = dock.workspace.runs.segment(view_extent(annotation))
    rng, rounds, clicked = np.random.default_rng(2), [], time.perf_counter()
    while run.running:
        start = time.perf_counter()
        QApplication.processEvents()
        if start - clicked > 0.5:
            annotation.clicked(side / 2 + rng.uniform(-200, 200, 2), False)
            clicked = start
        rounds.append((time.perf_counter() - start) * 1000)
        time.sleep(0.0005)
    busy = [r for r in rounds if r > 1]
    row("round of events in a run with clicks, median", statistics.median(busy), "ms", 50)
    row("round of events in a run with clicks, 95 %", percentile(busy, 0.95), "ms", 50)
    row("round of events in a run with clicks, longest", max(rounds), "ms", 50)


def main() -> None:
    """Print the rows of the app on a slide."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=20_000)
    side = parser.parse_args().side
    os.environ.setdefault("QT_QPA_PLATFORM", "xcb")
    field = load_field("crypts")
    folder = Path(tempfile.mkdtemp())
    image, project = folder / "slide.tif", folder / "slide.nucleus"
    write_slide(image, field, side)
    source = open_image(image)
    reference = ImageReference("slide", image_key(source), str(image))
    begun = Project.create(project, reference, source.shape, mpp=MPP)
    nuclei = nuclei_of(field, side)
    start = time.perf_counter()
    import_nuclei(begun.document, nuclei)
    count = begun.document.count
    row(f"import of {count:,} nuclei into a project file", time.perf_counter() - start, "s")
    begun.close()
    row("size of the project file", project.stat().st_size / 2**20, "MiB")

    viewer, dock = open_app()
    wait(lambda: dock.workspace.models.clicks.host.state == "ready")
    resident = psutil.Process().memory_info().rss
    start = time.perf_counter()
    dock.workspace.opening.project(project)
    wait(lambda: dock.workspace.annotation is not None)
    annotation = dock.workspace.annotation
    assert annotation is not None
    timed(lambda: None)
    row(f"open {side:,} x {side:,} with its nuclei", time.perf_counter() - start, "s", 3)
    assert isinstance(annotation.source, ArraySource)
    assert annotation.document.count == count
    dock.tabs.setCurrentWidget(dock.correct_tab)
    correct(dock, annotation, field)
    move(annotation)
    stalls(dock, annotation)
    grown = psutil.Process().memory_info().rss - resident
    row("memory of the app above an empty one", grown / 2**20, "MiB", 2048)
    dock.close()
    viewer.close()


if __name__ == "__main__":
    main()
