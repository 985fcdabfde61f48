"""Where projects are: those without a name of their own, and those that were used last.

Nobody has to choose a file before annotating: a project without a name lies in the user's data
folder, known by its image, and is there again when the image is opened again.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from platformdirs import user_data_path

from napari_nucleus.core.classes import PANNUKE, ClassScheme
from napari_nucleus.errors import ProjectError
from napari_nucleus.session.lists import read_list, write_list
from napari_nucleus.session.project import SUFFIX, ImageReference, Project
from napari_nucleus.session.reading import ProjectSummary, image_in, peek
from napari_nucleus.session.series import Positions

__all__ = ["Recent", "Shelf", "default_shelf"]

KEPT_RECENTS = 30


@dataclass(frozen=True, slots=True)
class Recent:
    """A project that was worked on, the newest first in lists.

    Parameters
    ----------
    path
        The project file.
    image
        Name of its image.
    fingerprint
        Of its image.
    nuclei
        How many it had.
    used
        When it was closed or opened last, ISO 8601.
    """

    path: str
    image: str
    fingerprint: str
    nuclei: int
    used: str


class Shelf:
    """The folder of projects without a name, and the list of projects used last.

    Parameters
    ----------
    folder
        Made when first needed.

    Attributes
    ----------
    positions
        Which image of each folder was looked at last.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.positions = Positions(folder / "series.json")
        self._list = folder / "recent.json"

    def open_for(
        self,
        image: ImageReference,
        shape: tuple[int, int],
        scheme: ClassScheme = PANNUKE,
        mpp: float | None = None,
    ) -> tuple[Project, str]:
        """Open the project of an image: the one used last, or a new one without a name.

        Returns
        -------
        The project, and what the user must know: that one used before cannot be opened; else "".

        Raises
        ------
        ProjectError
            If it can be neither opened nor made.
        """
        note = ""
        for recent in self.recents():
            file = Path(recent.path)
            if recent.fingerprint == image.fingerprint and file.is_file():
                try:
                    return Project.open(file), note
                except ProjectError as error:
                    note = f"{error} It was used for this image before; it was left as it is."
        file = self._place_of(image)
        if file.is_file():
            return Project.open(file), note
        return Project.create(file, image, shape, scheme, mpp), note

    def is_unnamed(self, project: Project) -> bool:
        """Return True if a project lies on the shelf and nobody has given it a name."""
        return project.path.parent == self.folder

    def note(self, project: Project) -> None:
        """Put a project at the head of those used last; one without a name or nuclei is left out.

        The list is a convenience: that it cannot be written is no reason to stop.
        """
        if project.is_empty and self.is_unnamed(project):
            self._write([r for r in self.recents() if r.path != str(project.path)])
        else:
            self._put_first(project.path, project.image, project.document.count)

    def prefer(self, project: ProjectSummary) -> None:
        """Make a project the one that its image is opened with."""
        self._put_first(project.path, project.image, project.nuclei)

    def hand_over(self, path: Path, image: ImageReference) -> None:
        """Note that a project goes with another picture from now on; it must not be open here.

        Raises
        ------
        ProjectError
            If it cannot be changed.
        """
        project = Project.open(path)
        try:
            unnamed = self.is_unnamed(project)
            project.refer_to(image)
        finally:
            project.close()
        place = self._place_of(image)
        if unnamed and not place.exists():
            path = path.rename(place)
        self.prefer(peek(path))

    def about(self, images: Collection[Path]) -> dict[Path, ProjectSummary]:
        """Return how far the annotation of these image files is, as far as there is any.

        Looks into the project files only, and may take as long as reading those; any thread.
        """
        wanted = {os.path.abspath(image): image for image in images}
        found: dict[Path, ProjectSummary] = {}
        used = [Path(recent.path) for recent in self.recents()]
        for file in dict.fromkeys([*used, *sorted(self.folder.glob(f"*{SUFFIX}"))]):
            with contextlib.suppress(ProjectError):
                path = image_in(file).path
                image = wanted.get(os.path.abspath(path)) if path else None
                if image is not None and image not in found:
                    found[image] = peek(file)
        return found

    def put_away(self, project: Project) -> None:
        """Note a project, close it, and throw it away if it has no name and nothing in it."""
        self.note(project)
        unused = self.is_unnamed(project) and project.is_empty and not project.read_only
        project.close()
        if unused:
            with contextlib.suppress(OSError):
                project.path.unlink()

    def recents(self) -> list[Recent]:
        """Return the projects used last whose files are still there."""
        try:
            rows = [Recent(*row) for row in read_list(self._list)]
            return [r for r in rows if Path(r.path).is_file()]
        except TypeError:
            return []

    def _put_first(self, path: Path, image: ImageReference, nuclei: int) -> None:
        used = datetime.now(UTC).isoformat(timespec="seconds")
        others = [r for r in self.recents() if r.path != str(path)]
        self._write([Recent(str(path), image.name, image.fingerprint, nuclei, used), *others])

    def _write(self, recents: list[Recent]) -> None:
        write_list(
            self._list,
            [[r.path, r.image, r.fingerprint, r.nuclei, r.used] for r in recents[:KEPT_RECENTS]],
        )

    def _place_of(self, image: ImageReference) -> Path:
        """Return the file of an image's project without a name, whatever the image was called."""
        tail = f"-{image.fingerprint[:12]}{SUFFIX}"
        there = sorted(self.folder.glob(f"*{tail}"))
        if there:
            return there[0]
        plain = re.sub(r"[^\w.-]+", "_", image.name).strip("._")[:60] or "image"
        return self.folder / f"{plain}{tail}"


def default_shelf() -> Shelf:
    """Return the user's own shelf."""
    return Shelf(user_data_path("napari-nucleus") / "projects")
