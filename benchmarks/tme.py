"""Measuring the microenvironment, and keeping it up with changes: ``python -m benchmarks tme``."""

from __future__ import annotations

import statistics

import numpy as np

from benchmarks.timing import median_ms, percentile, row, wall_times
from napari_nucleus.core.cells import Cells
from napari_nucleus.core.entropy_map import entropy_map
from napari_nucleus.core.tme import features
from napari_nucleus.core.tme_area import MeasuredArea
from napari_nucleus.core.tme_live import LiveTme, measure_cells

MPP = 0.25
PER_MM2 = 5000
CHANGES = 60
TARGET_NUCLEI, TARGET_MS = 20_000, 100


def tissue(n: int) -> tuple[Cells, MeasuredArea]:
    """Return nests of neoplastic nuclei in tissue of the other classes, and the area of it all."""
    rng = np.random.default_rng(0)
    size = (n / PER_MM2 * 1e6) ** 0.5 / MPP
    points = rng.random((n, 2)) * size
    nests = rng.random((max(n // 500, 1), 2)) * size
    near = (
        np.min([np.hypot(*(points - nest).T) for nest in nests], axis=0, initial=np.inf) < 60 / MPP
    )
    classes = np.where(
        near,
        rng.choice([1, 2, 3, 4], n, p=[0.85, 0.08, 0.05, 0.02]),
        rng.choice([0, 2, 3, 5], n, p=[0.02, 0.3, 0.5, 0.18]),
    )
    cells = Cells(points, rng.uniform(100, 600, n), classes, MPP)
    return cells, MeasuredArea.of("all", (int(size), int(size)))


def measure(n: int) -> None:
    """Print the rows of n nuclei."""
    cells, area = tissue(n)
    what = f"{n:,} nuclei"
    row(f"the 23 features, {what}", median_ms(lambda: features(cells), 3), "ms")
    row(f"everything measured, {what}", median_ms(lambda: measure_cells(cells, area), 3), "ms")
    live = LiveTme(cells, area)
    rng = np.random.default_rng(1)

    def change(kind: str) -> None:
        """Change one nucleus and measure again."""
        chosen = cells.select([rng.integers(len(cells))])
        points, classes = chosen.centroids_yx, rng.integers(1, 6, 1)
        if kind == "moved":
            points, classes = points + rng.normal(0, 8, (1, 2)), chosen.class_ids
        if kind == "gone":
            live.update(removed=chosen.ids)
        else:
            live.update(Cells(points, chosen.areas, classes, MPP, chosen.ids))
        live.result()

    for kind in ("of another class", "moved", "gone"):
        times = [t * 1000 for t in wall_times(lambda kind=kind: change(kind), CHANGES)]
        note = f"95 % in {percentile(times, 0.95):.1f} ms"
        target = TARGET_MS if n <= TARGET_NUCLEI else None
        row(f"one nucleus {kind}, {what}", statistics.median(times), "ms", target, note)
    table = live.table()
    row(f"entropy map, {what}", median_ms(lambda: entropy_map(table, area, MPP), 3), "ms")


def main() -> None:
    """Print the rows of 20,000 and 150,000 nuclei."""
    for n in (TARGET_NUCLEI, 150_000):
        measure(n)


if __name__ == "__main__":
    main()
