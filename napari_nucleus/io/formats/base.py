"""What every annotation format has in common: a description, a way out and a way in.

A writer takes a `SegmentationResult` and an `Export`, and writes one file or folder that is
complete when it returns. A reader gives an `AnnotationFile`, in level-0 pixels with a corner
origin, whatever its format counts in.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.image import ImageSource
from napari_nucleus.core.progress import Cancel, Progress, ProgressCallback, ignore_progress
from napari_nucleus.io.annotation_file import AnnotationFile
from napari_nucleus.io.results import BLOCK, ResultBlock, SegmentationResult

__all__ = ["NUCLEI_NAMESPACE", "PLAIN", "Export", "Format", "Keeps"]

NUCLEI_NAMESPACE = uuid.UUID("0f7f5b6e-9f0b-5a43-8f0e-2c1d7a4e9b35")
"""Namespace of the ids of nuclei of images without a namespace of their own."""


@dataclass(frozen=True, eq=False)
class Export:
    """What a writer is told besides the nuclei.

    Parameters
    ----------
    stem
        What the image is called in formats that name it, and the beginning of file names; no path.
    namespace
        Of the image or document: with its id it gives each nucleus the same UUID in every export.
    source
        The image, for formats that show it; None where there is none.
    simplify
        Reduce the corners of outlines where their format has outlines, touching nuclei still
        sharing their border; exact outlines by default. Writers ask for `outlines`.
    progress, cancel
        Called between blocks; looked at between blocks.
    """

    stem: str = "nuclei"
    namespace: uuid.UUID = NUCLEI_NAMESPACE
    source: ImageSource | None = None
    simplify: bool = False
    progress: ProgressCallback = ignore_progress
    cancel: Cancel = field(default_factory=Cancel)

    def blocks(self, result: SegmentationResult, size: int = BLOCK) -> Iterator[ResultBlock]:
        """Yield the blocks of a result, telling how far it is.

        Raises
        ------
        CancelledError
            If it was cancelled.
        """
        done = 0
        for block in result.blocks(size):
            self.cancel.check()
            yield block
            done += len(block)
            self.progress(Progress(done, len(result), f"{done:,} of {len(result):,} nuclei"))

    def outlines(self, block: ResultBlock) -> NDArray[np.object_]:
        """Return the outlines ``(k,)`` of a block that are to be written."""
        return block.simplified_polygons if self.simplify else block.polygons


PLAIN = Export()
"""Exact outlines, no image, nobody to report to."""


@dataclass(frozen=True, slots=True)
class Keeps:
    """What comes back when a format is written and read again.

    Parameters
    ----------
    masks
        Every pixel of every nucleus.
    holes, parts
        Holes in nuclei; nuclei of several parts.
    ids, classes, scores
        Of each nucleus.
    scheme
        Names and colours of classes.
    mpp
        The pixel size.
    shape
        The size of the image.
    provenance
        What made the nuclei.
    """

    masks: bool = True
    holes: bool = True
    parts: bool = True
    ids: bool = True
    classes: bool = True
    scores: bool = True
    scheme: bool = True
    mpp: bool = True
    shape: bool = True
    provenance: bool = True


@dataclass(frozen=True, eq=False)
class Format:
    """A format of annotation files.

    Parameters
    ----------
    name
        What ``--to`` and settings call it.
    title
        What people call it.
    ending
        What follows the stem in a file's name, such as ``".geojson"``.
    keeps
        What comes back.
    write
        ``write(path, result, export)`` or None for a format that is only read. ``path`` is new or
        is replaced whole.
    read
        ``read(path)`` or None for a format that is only written, or is JSON. Faults of a file are
        `NucleusError`s; what else goes wrong in it is taken for a damaged file by
        `formats.read_annotations`.
    endings
        Other endings of its files, such as ``".json"``.
    is_json, read_json
        For a format of JSON files, in place of ``read``: ``is_json(value)`` returns True if a
        parsed value is one of this kind, ``read_json(value, name)`` reads it.
    is_folder
        True if what is written is a folder.
    files
        For a format that splits large results: ``files(path, n)`` returns the files that ``write``
        makes of n nuclei in place of ``path``; users of a format ask for `targets`.
    gather
        For a JSON format that splits: ``gather(value, path)`` returns the value of a file together
        with those of the other parts that lie beside it.
    note
        What users should know, a sentence; may be empty.
    """

    name: str
    title: str
    ending: str
    keeps: Keeps
    write: Callable[[Path, SegmentationResult, Export], None] | None = None
    read: Callable[[Path], AnnotationFile] | None = None
    endings: tuple[str, ...] = ()
    is_json: Callable[[Any], bool] | None = None
    read_json: Callable[[Any, str], AnnotationFile] | None = None
    is_folder: bool = False
    files: Callable[[Path, int], list[Path]] | None = None
    gather: Callable[[Any, Path], Any] | None = None
    note: str = ""

    @property
    def is_read(self) -> bool:
        """True if its files can be read."""
        return self.read is not None or self.read_json is not None

    def fits(self, name: str) -> bool:
        """Return True if a file's name ends as this format's do."""
        return self.matched(name) > 0

    def matched(self, name: str) -> int:
        """Return the letters of the longest ending of this format that a file's name has."""
        low = name.casefold()
        return max((len(e) for e in (self.ending, *self.endings) if low.endswith(e)), default=0)

    def targets(self, path: Path, n: int) -> list[Path]:
        """Return the files or folders that `write` makes of n nuclei when it is given ``path``."""
        return [path] if self.files is None else self.files(path, n)
