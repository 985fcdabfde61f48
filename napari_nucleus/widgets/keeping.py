"""Where the annotation of the image that is worked on is kept; no save button to forget."""

from __future__ import annotations

from concurrent.futures import Future, wait
from pathlib import Path
from typing import TYPE_CHECKING

from napari.layers import Image
from psygnal import Signal

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.core.image import ImageSource
from napari_nucleus.core.nuclei import counted
from napari_nucleus.core.schemes import SCHEMES
from napari_nucleus.errors import ImageError, ProjectError
from napari_nucleus.hosting.image_key import image_key
from napari_nucleus.session.document import Document
from napari_nucleus.session.memory_store import MemoryStore
from napari_nucleus.session.preferences import Preferences, tidy_name
from napari_nucleus.session.project import ImageReference, Project
from napari_nucleus.session.saving import Saving
from napari_nucleus.session.shelf import Recent, Shelf
from napari_nucleus.widgets.background import in_background
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
    begun
        Emitted with the path and the fingerprint of an image file on which nothing is annotated.
    fingerprint
        Of the image that was taken last.
    """

    warned = Signal(str)
    said = Signal(str)
    changed = Signal()
    begun = Signal(str, str)

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.preferences = Preferences(shelf.folder / "preferences.json")
        self.project: Project | None = None
        self.fingerprint = ""
        self._only_looked_at: dict[str, tuple[Path, str]] = {}
        self._saving: Saving | None = None
        self._copying: Future[None] | None = None
        self._turn = 0
        self._annotator: str | None = None
        self._unkept: dict[str, Document] = {}

    def take(self, image: Image, source: ImageSource) -> Document:
        """Open what was annotated on an image before, or begin; the project before is put away."""
        self.leave()
        key = self.fingerprint = image_key(source)
        if key in self._unkept:
            return self._unkept[key]
        path = layer_path(image)
        reference = ImageReference(image.name, key, path)
        try:
            project, note = self._open(reference, source)
        except ProjectError as error:
            self.warned.emit(
                f"{error} This annotation is kept in memory only: export it before you close "
                "napari."
            )
            scheme = self.preferences.new_scheme
            self._unkept[key] = Document(MemoryStore(source.shape), scheme, source.mpp)
            return self._unkept[key]
        self.project = project
        project.annotator = self.annotator
        if not project.read_only:
            if project.document.mpp is None and source.mpp is not None:
                project.document.mpp = source.mpp
            if path and project.image.path != path:
                project.refer_to(reference)
        self._tell(project, note)
        self.changed.emit()
        if path and project.is_empty:
            self.begun.emit(path, key)
        return project.document

    def look_only(self, fingerprint: str, project: Path, why: str) -> None:
        """Let the image with this fingerprint show a project the next time, without changing it.

        ``why`` is the sentence that says so.
        """
        self._only_looked_at[fingerprint] = project, why

    def _open(self, image: ImageReference, source: ImageSource) -> tuple[Project, str]:
        looked_at = self._only_looked_at.pop(image.fingerprint, None)
        if looked_at is not None:
            return Project.open(*looked_at), ""
        return self.shelf.open_for(image, source.shape, self.preferences.new_scheme, source.mpp)

    def _tell(self, project: Project, note: str) -> None:
        if note:
            self.warned.emit(note)
        if project.read_only:
            self.warned.emit(f"{project.path.name}: {project.why_read_only}")
        elif project.document.count:
            self.said.emit(f"{counted(project.document.count)} from before are here again.")

    @property
    def annotator(self) -> str:
        """Who works, noted with each action from now on; "" for the name of the login."""
        return self.preferences.annotator if self._annotator is None else self._annotator

    @annotator.setter
    def annotator(self, name: str) -> None:
        self.preferences.annotator = name
        # Where the preferences cannot be written, the name holds as long as the app runs.
        self._annotator = tidy_name(name) or self.preferences.annotator
        if self.project is not None:
            self.project.annotator = self._annotator

    def settle_scheme(self, scheme: ClassScheme, for_new_projects: bool) -> None:
        """Remember a scheme of the user's own, and whether new projects shall have it."""
        if scheme not in SCHEMES.values():
            self.preferences.last_scheme = scheme
        if for_new_projects:
            self.preferences.new_scheme = scheme

    def leave(self) -> None:
        """Close the project that is open; where it is being saved elsewhere, first go on there."""
        self._finish_saving()
        project, self.project = self.project, None
        if project is not None:
            self.shelf.put_away(project)
            self.changed.emit()

    def save_as(self, path: Path) -> None:
        """Give the project a name, and go on in that file; returns at once.

        Whatever is edited until the copy is complete is in it.

        Raises
        ------
        ProjectError
            If nothing is open or it is being saved already, or the file cannot be written.
        """
        if self.project is None:
            raise ProjectError("There is no project to save; open an image first.")
        if self._saving is not None:
            raise ProjectError(f"{self.project.path.name} is being saved; wait for that.")
        if path.resolve() != self.project.path.resolve():
            self._copy(self.project.begin_save_as(path))
            self.changed.emit()

    def _copy(self, saving: Saving) -> None:
        self._saving, self._turn = saving, self._turn + 1
        turn = self._turn
        self._copying = in_background(
            saving.copy,
            lambda _: self._on_copied(turn),
            lambda error: self._on_copied(turn, error),
        )

    def _on_copied(self, turn: int, error: BaseException | None = None) -> None:
        if self._saving is not None and turn == self._turn:
            self._go_on_in(self._saving, error)

    def _go_on_in(self, saving: Saving, error: BaseException | None) -> None:
        """Go on in a copy that was made; have it made again where an edit is missing in it."""
        project = self.project
        assert project is not None
        before, ours = project.path, not project.read_only
        unnamed = self.shelf.is_unnamed(project)
        try:
            if error is not None:
                raise error
            if not project.finish_save_as(saving):
                self._copy(saving)
                return
        except ProjectError as fault:
            self._end_saving()
            self.warned.emit(str(fault))
            return
        if unnamed and ours:
            before.unlink(missing_ok=True)
        self.shelf.note(project)
        self._end_saving()
        self.said.emit(f"The project is kept in {project.path.name} from now on.")

    def _finish_saving(self) -> None:
        """Wait until the project is saved elsewhere; rare, and short."""
        while self._saving is not None and self._copying is not None:
            wait([self._copying])
            self._go_on_in(self._saving, self._copying.exception())

    def _end_saving(self) -> None:
        self._saving = None
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
        if self._saving is not None:
            return "Saving…", f"Being copied to {self._saving.target}; go on meanwhile."
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
