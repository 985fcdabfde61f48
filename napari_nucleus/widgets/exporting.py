"""Exports of what is annotated: read and written on another thread, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_nucleus import __version__
from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.core.geometry import Box
from napari_nucleus.core.nuclei import counted
from napari_nucleus.core.progress import Cancel, Progress, ProgressCallback
from napari_nucleus.errors import CancelledError, ImageError
from napari_nucleus.io.export import write_all
from napari_nucleus.io.results import Provenance, Read, SegmentationResult, result_of_rows
from napari_nucleus.session.document import Document
from napari_nucleus.session.provenance import MadeBy, provenance_of
from napari_nucleus.session.reading import reading
from napari_nucleus.session.recoding import scheme_in
from napari_nucleus.session.table import NucleusRow
from napari_nucleus.widgets.annotation import Annotation
from napari_nucleus.widgets.background import in_background, on_main_thread
from napari_nucleus.widgets.exported_nuclei import EVERYTHING, ExportedNuclei

__all__ = ["Exporting", "result_of_annotation"]

TILES_AT_ONCE = 8
"""Label tiles that are copied between two turns of the window's event loop."""

Arrays = tuple[NDArray[np.int32], list[NucleusRow]]


class Exporting:
    """Writes what is annotated, as it was when that was asked for.

    Attributes
    ----------
    progressed
        Emitted with a `Progress` during an export, with None when it has ended.
    said, warned
        Emitted with a sentence when it has ended well or was cancelled; when it failed.
    """

    progressed = Signal(object)
    said = Signal(str)
    warned = Signal(str)

    def __init__(self) -> None:
        self._cancel: Cancel | None = None

    @property
    def running(self) -> bool:
        """True until all files are there, or none."""
        return self._cancel is not None

    def write(self, work: Callable[[ProgressCallback, Cancel], str]) -> None:
        """Write files on another thread; returns at once.

        Parameters
        ----------
        work
            Called with what takes reports and with what it looks at to be cancelled; returns a
            sentence about what was written.

        Raises
        ------
        ImageError
            If an export is going on already.
        """
        cancel = self._begin()

        def report(done: Progress) -> None:
            on_main_thread(self._report, cancel, done)

        self.progressed.emit(Progress(0, 0, "Export"))
        in_background(lambda: work(report, cancel), self._done, self._failed)

    def _begin(self) -> Cancel:
        if self.running:
            raise ImageError("An export is running; cancel it first.")
        self._cancel = Cancel()
        return self._cancel

    def begin(
        self,
        annotation: Annotation,
        project: Path | None,
        folder: Path,
        stem: str,
        formats: Collection[str],
        nuclei: ExportedNuclei = EVERYTHING,
        simplify: bool = False,
    ) -> None:
        """Write the files of a document; returns at once.

        Parameters
        ----------
        project
            The file that the document is kept in; None for one that is in memory only.
        formats
            Some of `io.export.WRITTEN`.
        nuclei
            Which of them; all by default.
        simplify
            See `io.formats.Export`.

        Raises
        ------
        ImageError
            If an export is going on already.
        """
        cancel = self._begin()
        document, source = annotation.document, annotation.source
        scheme, mpp = document.scheme, annotation.mpp
        noted = _Provenance.of(annotation)

        def report(done: Progress) -> None:
            on_main_thread(self._report, cancel, done)

        def write(
            rows: list[NucleusRow], read: Read, scheme: ClassScheme
        ) -> tuple[SegmentationResult, list[Path]]:
            cancel.check()
            result = nuclei.of(result_of_rows(rows, source.shape, read, scheme, mpp))
            result = replace(result, provenance=noted.of_rows(rows, result))
            return result, write_all(
                result, source, folder, stem, formats, report, cancel, simplify
            )

        def write_of_file() -> tuple[SegmentationResult, list[Path]]:
            assert project is not None
            with reading(project) as store:
                # The scheme that belongs to the rows that are read.
                there = Document(store, scheme_in(store) or scheme, mpp)
                return write(there.rows(), there.labels, there.scheme)

        def write_of_copy(copied: Arrays) -> tuple[SegmentationResult, list[Path]]:
            labels, rows = copied
            return write(rows, lambda box: labels[_slices(box)], scheme)

        def in_the_background(work: Callable[[], tuple[SegmentationResult, list[Path]]]) -> None:
            in_background(work, self._written, self._failed)

        self.progressed.emit(Progress(0, 0, "Export"))
        if project is not None:
            in_the_background(write_of_file)
        else:
            _Copying(
                document,
                cancel,
                lambda copied: in_the_background(lambda: write_of_copy(copied)),
            )

    def cancel(self) -> None:
        """Stop after the file that is being written; no file is left behind."""
        if self._cancel is not None:
            self._cancel.set()
            self.progressed.emit(Progress(0, 0, "Stopping…"))

    def close(self) -> None:
        """Stop without a word: whoever would hear it may be gone already."""
        for signal in (self.progressed, self.said, self.warned):
            signal.disconnect()
        self.cancel()

    def _report(self, cancel: Cancel, done: Progress) -> None:
        if self._cancel is cancel and not cancel:
            self.progressed.emit(done)

    def _written(self, written: tuple[SegmentationResult, list[Path]]) -> None:
        result, files = written
        self._done(f"{counted(len(result))} written: {', '.join(f.name for f in files)}")

    def _done(self, sentence: str) -> None:
        self._end()
        self.said.emit(sentence)

    def _failed(self, error: BaseException) -> None:
        self._end()
        if isinstance(error, CancelledError):
            self.said.emit("The export was cancelled; no file was written.")
        else:
            self.warned.emit(str(error) or type(error).__name__)

    def _end(self) -> None:
        self._cancel = None
        self.progressed.emit(None)


def result_of_annotation(annotation: Annotation) -> SegmentationResult:
    """Return what is annotated now; it must be read before anything is changed."""
    document = annotation.document
    rows = document.rows()
    result = result_of_rows(rows, document.shape, document.labels, document.scheme, annotation.mpp)
    return replace(result, provenance=_Provenance.of(annotation).of_rows(rows, result))


@dataclass(frozen=True)
class _Provenance:
    """What is to be noted of an export, as it was when that was asked for."""

    models: tuple[MadeBy, ...]
    made: str

    @classmethod
    def of(cls, annotation: Annotation) -> Self:
        # A project from before models were noted names them in its rows alone.
        models = (*annotation.document.models, MadeBy(annotation.model.name))
        return cls(models, datetime.now(UTC).isoformat(timespec="seconds"))

    def of_rows(self, rows: list[NucleusRow], result: SegmentationResult) -> Provenance:
        """Return what made the nuclei of a result, some of these rows."""
        ids = set(result.ids.tolist())
        sources = {row.source for row in rows if row.id in ids}
        program = {"program": f"napari-nucleus {__version__}", "made": self.made}
        return program | provenance_of(self.models, sources)


class _Copying:
    """Copies a document in memory piece by piece on its own thread, edits in between included."""

    def __init__(self, document: Document, cancel: Cancel, then: Callable[[Arrays], None]) -> None:
        self._document, self._cancel, self._then = document, cancel, then
        self._labels = np.zeros(document.shape, np.int32)
        self._left = document.store.tile_boxes()
        document.changed.connect(self._on_changed)
        self._next()

    def _next(self) -> None:
        for _ in range(min(TILES_AT_ONCE, len(self._left))):
            self._copy(self._left.pop())
        if self._left and not self._cancel:
            # A method alone would be held weakly, and the copying with it.
            QTimer.singleShot(0, lambda: self._next())
            return
        self._document.changed.disconnect(self._on_changed)
        self._then((self._labels, self._document.rows()))

    def _on_changed(self, box: Box, _: frozenset[str]) -> None:
        self._copy(box)

    def _copy(self, box: Box) -> None:
        self._labels[_slices(box)] = self._document.labels(box)


def _slices(box: Box) -> tuple[slice, slice]:
    return slice(box[0], box[2]), slice(box[1], box[3])
