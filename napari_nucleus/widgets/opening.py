"""Opening images and projects: read on another thread, asked about where they have changed.

What is asked for last is opened; what was asked for before and is not there yet is dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from napari.layers import Image
from psygnal import Signal

from napari_nucleus.core.nuclei import counted
from napari_nucleus.errors import ImageError, NucleusError
from napari_nucleus.session.reading import ProjectSummary, peek
from napari_nucleus.widgets.background import in_background
from napari_nucleus.widgets.keeping import shows
from napari_nucleus.widgets.layers import layer_source, show_source
from napari_nucleus.widgets.project_images import (
    ChangedImage,
    LoadedImage,
    MovedImage,
    check_same_size,
    load_image,
    locate_image,
)

if TYPE_CHECKING:
    from napari_nucleus.widgets.workspace import Workspace

__all__ = ["Opening"]

T = TypeVar("T")


class Opening:
    """Opens images and projects in one viewer.

    Attributes
    ----------
    asked
        Emitted with a `MovedImage` or `ChangedImage`; whoever shows it calls `find`,
        `use_changed`, `look_only`, or nothing.
    """

    asked = Signal(object)

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._turn = 0
        self._closed = False
        workspace.keeping.begun.connect(self._on_begun)

    def project(self, path: Path) -> None:
        """Open a project and the image that it is about; an image that is open is taken."""
        here = self._workspace.keeping.project
        if here is not None and here.path == path:
            return
        self._do(path.name, lambda: peek(path), self._on_project)

    def image(
        self,
        file: Path,
        mpp: float | None,
        then: Callable[[LoadedImage], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """Read an image; ``then`` or ``failed`` is told unless something else is opened first."""
        self._do(file.name, lambda: load_image(file, mpp), then, failed)

    def show(self, loaded: LoadedImage, name: str) -> Image:
        """Show an image that was read, and work on it."""
        image = show_source(self._workspace.viewer, loaded.source, name, str(loaded.file))
        self._workspace.set_image(image)
        if loaded.note:
            self._workspace.warned.emit(loaded.note)
        return image

    # ---- answers

    def find(self, question: MovedImage, file: Path) -> None:
        """Go on with the image where the user has found it."""
        self._look_for(question.project, file)

    def use_changed(self, question: ChangedImage) -> None:
        """Keep the annotation, and let it go with the changed picture from now on."""
        project = question.project
        self._leave(question)
        try:
            self._workspace.keeping.shelf.hand_over(project.path, question.reference)
        except NucleusError as error:
            self._workspace.warned.emit(str(error))
            return
        self._go_on(question)
        self._workspace.said.emit(
            f"{project.path.name}: the annotation ({counted(project.nuclei)}) is kept, and goes "
            "with the changed picture from now on."
        )

    def look_only(self, question: ChangedImage) -> None:
        """Show the annotation on the changed picture, without changing anything."""
        self._leave(question)
        self._workspace.keeping.look_only(
            question.fingerprint,
            question.project.path,
            "The picture has changed since this was made on it; it is open to read only.",
        )
        self._go_on(question)

    def _leave(self, question: ChangedImage) -> None:
        """Close what is open of the project or the picture, so that they can be opened together."""
        keeping = self._workspace.keeping
        ours = keeping.project is not None and keeping.project.path == question.project.path
        if ours or keeping.fingerprint == question.fingerprint:
            self._workspace.set_image(None)

    def _go_on(self, question: ChangedImage) -> None:
        image = self._shown(question.fingerprint)
        if image is not None:
            self._take(image)
            return
        name = question.project.image.name
        self._do(
            question.file.name,
            lambda: load_image(question.file),
            lambda loaded: self.show(loaded, name),
        )

    # ---- steps

    def _on_project(self, project: ProjectSummary) -> None:
        image = self._shown(project.image.fingerprint)
        if image is None:
            self._look_for(project)
        else:
            self._workspace.keeping.shelf.prefer(project)
            self._take(image)

    def _look_for(self, project: ProjectSummary, file: Path | None = None) -> None:
        def look() -> LoadedImage | MovedImage | ChangedImage:
            found = locate_image(project, file)
            return load_image(found) if isinstance(found, Path) else found

        def on_found(found: LoadedImage | MovedImage | ChangedImage) -> None:
            if isinstance(found, LoadedImage):
                self._workspace.keeping.shelf.prefer(project)
                self.show(found, project.image.name)
            else:
                self.asked.emit(found)

        self._do(project.image.name, look, on_found)

    def _shown(self, fingerprint: str) -> Image | None:
        return next(filter(partial(shows, fingerprint), self._workspace.viewer.layers), None)

    def _take(self, image: Image) -> None:
        """Work on an image that is open, with the project that is preferred now."""
        annotation = self._workspace.annotation
        if annotation is not None and annotation.image is image:
            self._workspace.set_image(None)
        self._workspace.set_image(image)

    def _do(
        self,
        name: str,
        work: Callable[[], T],
        then: Callable[[T], object],
        failed: Callable[[BaseException], object] | None = None,
    ) -> None:
        """Do work in the background; what came of it counts unless something was asked since."""
        self._turn += 1
        turn = self._turn

        def on_done(result: T) -> None:
            if turn == self._turn:
                then(result)

        def on_failure(error: BaseException) -> None:
            if turn == self._turn:
                (failed or self._on_failure)(error)

        self._workspace.said.emit(f"Reading {name}…")
        in_background(work, on_done, on_failure)

    def _on_failure(self, error: BaseException) -> None:
        self._workspace.warned.emit(str(error) or type(error).__name__)

    def close(self) -> None:
        """Drop what is not there yet."""
        self._turn += 1
        self._closed = True

    # ---- a picture that was another one when it was annotated

    def _on_begun(self, path: str, fingerprint: str) -> None:
        """Look whether the file that an annotation is begun on was annotated as another picture."""
        file = Path(path)
        shelf = self._workspace.keeping.shelf

        def on_known(known: dict[Path, ProjectSummary]) -> None:
            if self._closed:
                return
            project = known.get(file)
            image = self._shown(fingerprint)
            if project is None or image is None or not project.nuclei:
                return
            if project.image.fingerprint == fingerprint:
                return
            try:
                check_same_size(project, file, layer_source(image, None).shape)
            except ImageError as error:
                self._workspace.warned.emit(str(error))
            else:
                self.asked.emit(ChangedImage(project, file, fingerprint))

        in_background(lambda: shelf.about([file]), on_known, self._on_failure)
