"""What exports of a slide's worth of nuclei take: ``python -m benchmarks exports``.

The map is a small field repeated as tiles, each with ids of its own; labels come box by box from a
function, as from a project file, so that the whole map is never in memory. Rows are wall seconds,
with the CPU seconds beside them, since a machine may be shared. The memory of a writer is the
largest resident memory of a process of its own, less what that process held before it wrote.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.fields import nuclei_field
from benchmarks.timing import cpu_seconds, row
from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.geometry import Box
from napari_nucleus.core.label_runs import LabelTable, label_table
from napari_nucleus.core.polygons import polygons_of_labels
from napari_nucleus.core.simplification import simplified_polygons
from napari_nucleus.io.formats import FORMATS, Export, read_annotations
from napari_nucleus.io.results import SegmentationResult

TILE, TILES, PITCH = 2000, 10, 51
"""A field of 1,521 nuclei, ten by ten times: 152,100 in 20,000 x 20,000 pixels."""

TARGET_S = 30.0

WRITERS: tuple[tuple[str, bool, float | None], ...] = (
    ("geojson", False, TARGET_S),
    ("geojson-gz", False, None),
    ("geojson", True, None),
    ("coco", False, None),
    ("coco-polygons", False, None),
    ("hovernet", False, None),
    ("labels", False, None),
    ("ome-tiff", False, None),
    ("ome-zarr", False, None),
)
"""Name of a format, simplified or not, and the seconds it may take."""


class TiledField:
    """Labels of a field that repeats, read box by box."""

    def __init__(self) -> None:
        self.tile = nuclei_field(TILE, PITCH)
        self.per_tile = int(self.tile.max())

    def read(self, box: Box) -> NDArray[np.int32]:
        """Return the labels ``(h, w)`` of a box."""
        y0, x0, y1, x1 = box
        labels = np.zeros((y1 - y0, x1 - x0), np.int32)
        for r in range(y0 // TILE, -(-y1 // TILE)):
            for c in range(x0 // TILE, -(-x1 // TILE)):
                top, left = max(y0, r * TILE), max(x0, c * TILE)
                bottom, right = min(y1, (r + 1) * TILE), min(x1, (c + 1) * TILE)
                part = self.tile[
                    top - r * TILE : bottom - r * TILE, left - c * TILE : right - c * TILE
                ]
                first = (r * TILES + c) * self.per_tile
                window = labels[top - y0 : bottom - y0, left - x0 : right - x0]
                window[part > 0] = part[part > 0] + first
        return labels

    def result(self) -> SegmentationResult:
        """Return the whole as what is exported."""
        one = label_table(self.tile)
        moves = [(r * TILE, c * TILE) for r in range(TILES) for c in range(TILES)]
        table = LabelTable(
            np.concatenate([one.ids + k * self.per_tile for k in range(len(moves))]),
            np.concatenate([one.boxes + np.array([*m, *m], np.int32) for m in moves]),
            np.tile(one.areas, len(moves)),
            np.concatenate([one.centroids_yx + m for m in moves]),
        )
        n = len(table)
        return SegmentationResult(
            (TILE * TILES, TILE * TILES),
            table,
            (np.arange(n) % len(PANNUKE) + 1).astype(np.int32),
            np.linspace(0.3, 1, n, dtype=np.float32),
            0.25,
            PANNUKE,
            self.read,
            {"model": "benchmark"},
        )


def peak_mib() -> float:
    """Return the largest resident memory of this process so far."""
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def written(name: str, simplify: bool, folder: str) -> tuple[float, float, float, float, int]:
    """Write the field; return wall and CPU seconds, MiB over the input, MB of file, and nuclei."""
    one, result = FORMATS[name], TiledField().result()
    assert one.write is not None
    path = Path(folder) / f"slide{one.ending}"
    before = peak_mib()
    begin, cpu = time.perf_counter(), time.process_time()
    one.write(path, result, Export("slide", simplify=simplify))
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    files = [q for p in one.targets(path, len(result)) for q in (p, *p.rglob("*")) if q.is_file()]
    size = sum(q.stat().st_size for q in files) / 1e6
    return seconds, cpu, peak_mib() - before, size, len(result)


def read_back(folder: str) -> tuple[float, float, float, float, int]:
    """Read the written field; return the same of it."""
    path = Path(folder) / "slide.geojson"
    before = peak_mib()
    begin, cpu = time.perf_counter(), time.process_time()
    n = len(read_annotations(path))
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    return seconds, cpu, peak_mib() - before, path.stat().st_size / 1e6, n


def show(what: str, numbers: tuple[float, float, float, float, int], target: float | None) -> None:
    """Print the rows of one piece of work."""
    seconds, cpu, memory, size, n = numbers
    row(what, seconds, "s", target, f"{n:,} nuclei, {cpu:.1f} CPU-s, {size:.0f} MB")
    row("  memory over the input", memory, "MiB")


def main() -> None:
    """Print the rows of outlines and of each writer."""
    labels = nuclei_field()
    note = "2,025 nuclei"
    traced = cpu_seconds(lambda: polygons_of_labels(labels))
    row("exact polygons, 2048 x 2048", traced, "CPU-s", 0.25, note)
    fewer = cpu_seconds(lambda: simplified_polygons(labels))
    row("simplified polygons, 2048 x 2048", fewer, "CPU-s", None, note)
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        for name, simplify, target in WRITERS:
            # A process for each, so that each has a peak of its own.
            with context.Pool(1) as pool:
                numbers = pool.apply(written, (name, simplify, folder))
            show(f"{FORMATS[name].title}{', simplified' * simplify}", numbers, target)
            if name == "geojson" and not simplify:
                with context.Pool(1) as pool:
                    show("  read again", pool.apply(read_back, (folder,)), None)


if __name__ == "__main__":
    main()
