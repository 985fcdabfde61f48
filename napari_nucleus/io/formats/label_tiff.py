"""Label TIFF as a format: instance ids as pixels, written and read tile by tile.

Classes, scores and provenance stand as JSON in the image description, see `class_table`; programs
that know only pixels see the ids.
"""

from __future__ import annotations

import os
from pathlib import Path

from napari_nucleus.io.annotation_file import AnnotationFile, Stated, of_labels
from napari_nucleus.io.formats.base import PLAIN, Export, Format, Keeps
from napari_nucleus.io.formats.class_table import description_of, table_in
from napari_nucleus.io.formats.steps import steps
from napari_nucleus.io.label_planes import tile_boxes
from napari_nucleus.io.labels import (
    TILE,
    label_dtype,
    open_labels,
    provenance_of_text,
    write_label_tiles,
)
from napari_nucleus.io.results import SegmentationResult

__all__ = ["LABELS", "read_label_file", "write_label_tiff"]


def write_label_tiff(
    path: str | os.PathLike[str], result: SegmentationResult, export: Export = PLAIN
) -> None:
    """Write the label map of a result; see `napari_nucleus.io.labels.write_label_tiles`.

    Raises
    ------
    AnnotationError
        If the file cannot be written; it is then as it was before.
    CancelledError
        If it was cancelled.
    """
    boxes = tile_boxes(result.shape, TILE)
    tiles = (result.read(box) for box in steps(export, boxes, "tiles"))
    dtype = label_dtype(int(result.ids.max(initial=0)))
    write_label_tiles(path, result.shape, dtype, tiles, result.mpp, description_of(result))


def read_label_file(path: Path) -> AnnotationFile:
    """Read a label map from a TIFF, OME-TIFF, PNG or NPY file of any whole-number type.

    Raises
    ------
    LabelsError
        If the file cannot be read, or holds no single label map.
    """
    name = path.name
    with open_labels(path) as found:
        table = table_in(found.text, name)
        notes = [found.pixel_size.note] if found.pixel_size.note else []
        stated = Stated(
            scheme=table.scheme,
            mpp=found.pixel_size.mpp,
            provenance=provenance_of_text(found.text),
            notes=(*notes, *table.notes),
        )
        return of_labels(name, found.array, stated, table.class_of_id, table.score_of_id)


LABELS = Format(
    "labels",
    "Label TIFF (instance ids)",
    ".tif",
    Keeps(),
    write_label_tiff,
    read_label_file,
    endings=(".tiff", ".png", ".npy"),
    note="Ids above 65,535 make 32 bit pixels, which ImageJ does not show.",
)
"""Instance ids as pixels."""
