"""Where projects are: those without a name of their own, and those that were used last.

Nobody has to choose a file before annotating: a project without a name lies in the user's data
folder, known by its image, and is there again when the image is opened again.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson
from platformdirs import user_data_path

from napari_nucleus.core.classes import PANNUKE, ClassScheme
from napari_nucleus.errors import ProjectError
from napari_nucleus.session.project import SUFFIX, ImageReference, Project

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
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
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
        used = datetime.now(UTC).isoformat(timespec="seconds")
        image = project.image
        here = str(project.path)
        others = [r for r in self.recents() if r.path != here]
        if not (project.is_empty and self.is_unnamed(project)):
            count = project.document.count
            others.insert(0, Recent(here, image.name, image.fingerprint, count, used))
        rows = [[r.path, r.image, r.fingerprint, r.nuclei, r.used] for r in others[:KEPT_RECENTS]]
        part = self._list.with_suffix(".part")
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            part.write_bytes(orjson.dumps(rows, option=orjson.OPT_INDENT_2))
            os.replace(part, self._list)

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
            rows = [Recent(*row) for row in orjson.loads(self._list.read_bytes())]
            return [r for r in rows if Path(r.path).is_file()]
        except (OSError, TypeError, ValueError):
            return []

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
