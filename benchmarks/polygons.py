"""Exact polygons of a label map, as shapely objects: ``python -m benchmarks polygons``."""

from __future__ import annotations

from benchmarks.fields import nuclei_field
from benchmarks.timing import cpu_seconds, row
from napari_nucleus.core.polygons import polygons_of_labels, rasterize


def main() -> None:
    """Print a row for tracing and one for the way back."""
    labels = nuclei_field()
    ids, polygons = polygons_of_labels(labels)
    trace = cpu_seconds(lambda: polygons_of_labels(labels))
    note = f"{len(ids):,} nuclei"
    row("exact polygons, 2048 x 2048", trace, "CPU-s", 0.25, note)
    back = cpu_seconds(lambda: rasterize(polygons, ids, labels.shape))
    row("polygons to labels, 2048 x 2048", back, "CPU-s", 0.25, note)


if __name__ == "__main__":
    main()
