"""Several files of one result at once, all or none."""

from __future__ import annotations

import os
import uuid
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from napari_nucleus.core.image import ImageSource
from napari_nucleus.core.progress import Cancel, Progress, ProgressCallback, ignore_progress
from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.atomic import check_stem, replacing_together
from napari_nucleus.io.formats import FORMATS, Export, format_named
from napari_nucleus.io.formats.base import NUCLEI_NAMESPACE
from napari_nucleus.io.results import SegmentationResult

__all__ = ["USUAL", "WRITTEN", "write_all"]

USUAL = ("labels", "geojson", "csv", "overlay")
"""Formats that are written where none are named."""

WRITTEN = tuple(name for name, f in FORMATS.items() if f.write is not None)
"""Names of all formats that can be written."""


def write_all(
    result: SegmentationResult,
    source: ImageSource | None,
    out_dir: str | os.PathLike[str],
    stem: str,
    formats: Collection[str] = USUAL,
    progress: ProgressCallback = ignore_progress,
    cancel: Cancel | None = None,
    simplify: bool = False,
) -> list[Path]:
    """Write files of several formats, ``STEM`` and the ending of each.

    All are written to a folder beside their targets first and moved only when all are
    complete, so that they always belong together.

    Parameters
    ----------
    result
        The nuclei.
    source
        The image they lie on; None where no format shows it.
    out_dir
        Folder; it is made if it is not there.
    stem
        Beginning of the file names. With the label ids it also gives the ids of the detections.
    formats
        Some of `WRITTEN`; `USUAL` by default.
    progress
        Called between blocks of nuclei.
    cancel
        Looked at between blocks of nuclei, and before the files are moved to their places.
    simplify
        See `formats.Export`.

    Returns
    -------
    list of Path
        The files and folders; a format may write several.

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
    if not formats:
        raise AnnotationError(f"Format 'missing': choose of {', '.join(WRITTEN)}.")
    wanted = {format_named(name).name for name in formats}
    chosen = [FORMATS[name] for name in WRITTEN if name in wanted]
    namespace = uuid.uuid5(NUCLEI_NAMESPACE, stem)
    # A cancel that is not set yet is false.
    cancel = Cancel() if cancel is None else cancel
    export = Export(stem, namespace, source, simplify, cancel=cancel)
    written: list[Path] = []
    with replacing_together(out_dir, stem) as part:
        for number, one in enumerate(chosen):
            export.cancel.check()
            what = f"Export: {one.title}"
            progress(Progress(100 * number, 100 * len(chosen), what))

            def report(p: Progress, number: int = number, what: str = what) -> None:
                done = round(100 * (number + p.fraction))
                progress(Progress(done, 100 * len(chosen), f"{what}, {p.text}", p.started))

            before = set(part.iterdir())
            assert one.write is not None
            one.write(part / f"{stem}{one.ending}", result, replace(export, progress=report))
            written += sorted(out_dir / p.name for p in set(part.iterdir()) - before)
        export.cancel.check()
    return written
