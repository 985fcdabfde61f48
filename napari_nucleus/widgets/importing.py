"""Imports of annotation files: read on another thread, looked at, and entered as one undo step."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.core.nuclei import counted
from napari_nucleus.core.schemes import class_mapping
from napari_nucleus.errors import ImageError
from napari_nucleus.io.annotation_file import AnnotationFile
from napari_nucleus.io.formats import read_annotations
from napari_nucleus.io.importing import incoming_from
from napari_nucleus.session.import_batch import Incoming
from napari_nucleus.session.import_policy import ImportPolicy, import_incoming_in_steps
from napari_nucleus.session.outlines import ActionResult
from napari_nucleus.widgets.background import in_background

if TYPE_CHECKING:
    from napari_nucleus.widgets.annotation import Annotation
    from napari_nucleus.widgets.workspace import Workspace

__all__ = ["ClassLine", "FoundFile", "Importing"]


@dataclass(frozen=True)
class ClassLine:
    """What becomes of a class of a file.

    Parameters
    ----------
    name, color
        Of the class in the file.
    becomes
        Name of the class in the document; "unclassified" without a counterpart.
    count
        Number of nuclei.
    """

    name: str
    color: tuple[int, int, int]
    becomes: str
    count: int


@dataclass(frozen=True, eq=False)
class FoundFile:
    """An annotation file that was read for a document.

    Parameters
    ----------
    path
        The file.
    annotations
        What is in it.
    incoming
        What of it can enter the document.
    scheme
        The document's scheme then.
    """

    path: Path
    annotations: AnnotationFile
    incoming: Incoming
    scheme: ClassScheme

    @property
    def classes(self) -> list[ClassLine]:
        """What becomes of the classes of the file's nuclei, those that it has any of."""
        theirs = self.annotations.scheme
        mapping = class_mapping(theirs, self.scheme)
        counts = Counter(i if theirs.by_id(i) else 0 for i in self.annotations.class_ids.tolist())
        return [
            ClassLine(
                theirs.name_of(i),
                theirs.color_of(i),
                self.scheme.name_of(mapping.get(i, 0)),
                counts[i],
            )
            for i in (*theirs.ids, 0)
            if counts[i]
        ]


class Importing:
    """Reads annotation files for the document that is worked on, and lets it have them.

    Attributes
    ----------
    found
        Emitted with a `FoundFile` when the file that was asked for last is read.
    failed
        Emitted with a sentence when it cannot be.
    """

    found = Signal(object)
    failed = Signal(str)

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._turn = 0

    def read(self, path: Path) -> None:
        """Read a file on another thread; returns at once, and drops what was asked for before.

        Raises
        ------
        ImageError
            If there is no image to import nuclei for.
        """
        annotation = self._workspace.worked_on()
        scheme, shape, mpp = annotation.document.scheme, annotation.document.shape, annotation.mpp
        self._turn += 1
        turn = self._turn

        def work() -> FoundFile:
            annotations = read_annotations(path)
            incoming = incoming_from(annotations, shape, scheme, mpp)
            return FoundFile(path, annotations, incoming, scheme)

        def on_found(found: FoundFile) -> None:
            if turn == self._turn:
                self.found.emit(found)

        def on_failure(error: BaseException) -> None:
            if turn == self._turn:
                self.failed.emit(str(error) or type(error).__name__)

        in_background(work, on_found, on_failure)

    def drop(self) -> None:
        """Tell nobody of what is being read."""
        self._turn += 1

    def enter(self, found: FoundFile, policy: ImportPolicy) -> None:
        """Let what was found enter the document as one undo step; goes on after it returns.

        Raises
        ------
        ImageError
            If there is no image any more, its classes are others, or another change is being made.
        """
        annotation = self._workspace.at_rest()
        document = annotation.document
        if document.scheme != found.scheme:
            raise ImageError(f"{found.path.name}: the classes have changed; import it again.")
        steps = import_incoming_in_steps(
            document, found.incoming, policy, name=f"Import {found.path.name}"
        )
        annotation.work(steps, lambda result: _told(annotation, found, result))

    def close(self) -> None:
        """Tell nobody anything any more."""
        self.drop()
        self.found.disconnect()
        self.failed.disconnect()


def _told(annotation: Annotation, found: FoundFile, result: ActionResult) -> str:
    annotation.reviewing.queue.renew()
    return f"{found.path.name}: {result.message or f'{counted(0)} imported.'}"
