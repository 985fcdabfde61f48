"""Where the annotation of the image that is worked on is kept; no save button to forget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari.layers import Image
from psygnal import Signal

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.image import ImageSource
from napari_nucleus.core.nuclei import counted
from napari_nucleus.errors import ImageError, ProjectError
from napari_nucleus.hosting.image_key import image_key
from napari_nucleus.session.document import Document
from napari_nucleus.session.memory_store import MemoryStore
from napari_nucleus.session.project import ImageReference, Project
from napari_nucleus.session.shelf import Recent, Shelf
from napari_nucleus.widgets.layers import layer_path, layer_source, role_of

if TYPE_CHECKING:
    from napari.layers import Layer

__all__ = ["Keeping", "shows"]


class Keeping:
    """The project of the image that is worked on, and those used before.

    Parameters
    ----------
    shelf
        Where projects without a name lie.

    Attributes
    ----------
    warned
        Emitted with a sentence that must not be missed.
    said
        Emitted with a sentence for the status line.
    changed
        Emitted when another project is open, or its file is another.
    """

    warned = Signal(str)
    said = Signal(str)
    changed = Signal()

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.project: Project | None = None
        self._unkept: dict[str, Document] = {}

    def take(self, image: Image, source: ImageSource) -> Document:
        """Open what was annotated on an image before, or begin; the project before is put away."""
        self.leave()
        key = image_key(source)
        if key in self._unkept:
            return self._unkept[key]
        path = layer_path(image)
        reference = ImageReference(image.name, key, path)
        try:
            project, note = self.shelf.open_for(reference, source.shape, PANNUKE, source.mpp)
        except ProjectError as error:
            self.warned.emit(
                f"{error} This annotation is kept in memory only: export it before you close "
                "napari."
            )
            self._unkept[key] = Document(MemoryStore(source.shape), PANNUKE, source.mpp)
            return self._unkept[key]
        self.project = project
        if not project.read_only:
            if project.document.mpp is None and source.mpp is not None:
                project.document.mpp = source.mpp
            if path and project.image.path != path:
                project.refer_to(reference)
        self._tell(project, note)
        self.changed.emit()
        return project.document

    def _tell(self, project: Project, note: str) -> None:
        if note:
            self.warned.emit(note)
        if project.read_only:
            self.warned.emit(f"{project.path.name}: {project.why_read_only}")
        elif project.document.count:
            self.said.emit(f"{counted(project.document.count)} from before are here again.")

    def leave(self) -> None:
        """Close the project that is open."""
        project, self.project = self.project, None
        if project is not None:
            self.shelf.put_away(project)
            self.changed.emit()

    def save_as(self, path: Path) -> None:
        """Give the project a name, and go on in that file.

        Raises
        ------
        ProjectError
            If nothing is open, or the file cannot be written.
        """
        if self.project is None:
            raise ProjectError("There is no project to save; open an image first.")
        before, ours = self.project.path, not self.project.read_only
        unnamed = self.shelf.is_unnamed(self.project)
        self.project.save_as(path)
        if unnamed and ours and before != path:
            before.unlink(missing_ok=True)
        self.shelf.note(self.project)
        self.changed.emit()

    def recents(self) -> list[Recent]:
        """Return the projects used last, without the one that is open."""
        here = None if self.project is None else str(self.project.path)
        return [r for r in self.shelf.recents() if r.path != here]

    @property
    def state(self) -> tuple[str, str]:
        """How what is done is kept: in a few words, and as a sentence."""
        project = self.project
        if project is None:
            return (
                "in memory only",
                "No project file could be made; export before you close.",
            )
        if project.read_only:
            return f"read only: {project.path.name}", project.why_read_only
        if self.shelf.is_unnamed(project):
            name = "saved, without a name yet"
        else:
            name = f"saved in {project.path.name}"
        return name, f"Every edit is in the file before you see it: {project.path}"


def shows(fingerprint: str, layer: Layer) -> bool:
    """Return True if a layer is an image of these pixels that can be worked on."""
    if not isinstance(layer, Image) or role_of(layer) is not None:
        return False
    try:
        return image_key(layer_source(layer, None)) == fingerprint
    except ImageError:
        return False
