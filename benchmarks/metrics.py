"""PQ, AJI and mSA of a pair of 2048 x 2048 label maps: ``python -m benchmarks metrics``."""

from __future__ import annotations

from benchmarks.fields import disturbed, nuclei_field
from benchmarks.timing import cpu_seconds, row
from napari_nucleus.core.metrics import (
    OverlapTable,
    aji,
    mean_segmentation_accuracy,
    panoptic_quality,
)


def main() -> None:
    """Print one row."""
    true = nuclei_field()
    pred = disturbed(true)

    def score() -> tuple[float, float, float]:
        table = OverlapTable.of(true, pred)
        return panoptic_quality(table).pq, aji(table), mean_segmentation_accuracy(table)

    note = f"{int(true.max()):,} nuclei"
    row("PQ + AJI + mSA, 2048 x 2048", cpu_seconds(score), "CPU-s", 0.2, note)


if __name__ == "__main__":
    main()
