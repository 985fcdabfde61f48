"""All files of a result at once: label map, QuPath detections, table and overlay."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from napari_nucleus.core.image import ImageSource
from napari_nucleus.core.progress import Cancel, Progress, ProgressCallback, ignore_progress
from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.atomic import check_stem, replacing_together
from napari_nucleus.io.geojson import NUCLEI_NAMESPACE, write_geojson
from napari_nucleus.io.labels import write_labels
from napari_nucleus.io.overlay import write_overlay
from napari_nucleus.io.results import SegmentationResult
from napari_nucleus.io.tables import write_table

__all__ = ["ENDINGS", "FORMATS", "write_all"]

FORMATS: Mapping[str, str] = {
    "labels": "Label TIFF (instance ids)",
    "geojson": "QuPath GeoJSON (detections)",
    "csv": "CSV table",
    "overlay": "Overlay PNG",
}
"""What can be written, with what to call it."""

ENDINGS: Mapping[str, str] = {
    "labels": ".tif",
    "geojson": ".geojson",
    "csv": ".csv",
    "overlay": "_overlay.png",
}
"""What follows the stem in the name of each file."""


def write_all(
    result: SegmentationResult,
    source: ImageSource,
    out_dir: str | os.PathLike[str],
    stem: str,
    formats: Collection[str] = tuple(FORMATS),
    progress: ProgressCallback = ignore_progress,
    cancel: Cancel | None = None,
) -> list[Path]:
    """Write ``STEM.tif``, ``STEM.geojson``, ``STEM.csv`` and ``STEM_overlay.png``.

    All are written to a folder beside their targets first and moved only when all are
    complete, so that they always belong together.

    Parameters
    ----------
    result
        The nuclei.
    source
        The image they lie on.
    out_dir
        Folder; it is made if it is not there.
    stem
        Beginning of the file names. With the label ids it also gives the ids of the detections.
    formats
        Some of `FORMATS`; all by default.
    progress
        Called before each file.
    cancel
        Looked at before each file, and before the files are moved to their places.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    AnnotationError
        If a file cannot be written; those that were there are as they were.
    LabelsError
        If the image and the labels differ in size.
    CancelledError
        If it was cancelled; the files that were there are as they were.
    """
    out_dir = Path(out_dir)
    check_stem(stem)
    writers: dict[str, Callable[[Path], None]] = {
        "labels": lambda file: write_labels(file, result.labels, result.mpp, result.provenance),
        "geojson": lambda file: write_geojson(file, result, uuid.uuid5(NUCLEI_NAMESPACE, stem)),
        "csv": lambda file: write_table(file, result),
        "overlay": lambda file: write_overlay(file, source, result),
    }
    unknown = [name for name in formats if name not in writers]
    if unknown or not formats:
        raise AnnotationError(
            f"Format {unknown[0] if unknown else 'missing'!r}: choose of {', '.join(FORMATS)}."
        )
    chosen = [(f"{stem}{ENDINGS[name]}", writers[name]) for name in writers if name in formats]
    if cancel is None:
        cancel = Cancel()
    with replacing_together(out_dir, stem) as part:
        for number, (name, write) in enumerate(chosen):
            cancel.check()
            progress(Progress(number, len(chosen), f"Export: {name}"))
            write(part / name)
        cancel.check()
    return [out_dir / name for name, _ in chosen]
