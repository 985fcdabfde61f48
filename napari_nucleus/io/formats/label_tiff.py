"""Label TIFF as a format: instance ids as pixels, as `napari_nucleus.io.labels` writes them."""

from __future__ import annotations

import os
from pathlib import Path

from napari_nucleus.io.annotation_file import AnnotationFile, Stated, of_labels
from napari_nucleus.io.formats.base import PLAIN, Export, Format, Keeps
from napari_nucleus.io.labels import provenance_in, read_labels, write_labels
from napari_nucleus.io.results import SegmentationResult

__all__ = ["LABELS", "read_label_file", "write_label_tiff"]


def write_label_tiff(
    path: str | os.PathLike[str], result: SegmentationResult, export: Export = PLAIN
) -> None:
    """Write the label map of a result; see `napari_nucleus.io.labels.write_labels`."""
    write_labels(path, result.labels, result.mpp, result.provenance)


def read_label_file(path: Path) -> AnnotationFile:
    """Read a label map from a TIFF, PNG or NPY file; see `napari_nucleus.io.labels.read_labels`."""
    found = read_labels(path)
    notes = [found.pixel_size.note] if found.pixel_size.note else []
    return of_labels(
        path.name,
        found.labels,
        Stated(mpp=found.mpp, provenance=provenance_in(path), notes=notes),
    )


LABELS = Format(
    "labels",
    "Label TIFF (instance ids)",
    ".tif",
    Keeps(classes=False, scores=False, scheme=False),
    write_label_tiff,
    read_label_file,
    endings=(".tiff", ".png", ".npy"),
)
"""Instance ids as pixels."""
