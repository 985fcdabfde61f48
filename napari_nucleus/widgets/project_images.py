"""The image that a project is about; free of Qt and napari."""

from __future__ import annotations

from pathlib import Path

from napari_nucleus.errors import ImageError
from napari_nucleus.hosting.image_key import image_key
from napari_nucleus.io.images import ImageFile, open_image
from napari_nucleus.session.project import ImageReference, Project
from napari_nucleus.session.shelf import Shelf

__all__ = ["find_image", "prefer"]


def prefer(shelf: Shelf, path: Path) -> ImageReference:
    """Make a project the one that its image is opened with, and return which image that is.

    Raises
    ------
    ProjectError
        If the file is no project.
    """
    project = Project.open(path)
    try:
        shelf.note(project)
        return project.image
    finally:
        project.close()


def find_image(wanted: ImageReference, project: Path) -> tuple[ImageFile, Path]:
    """Open the image that a project is about, and return its file as well.

    Raises
    ------
    ImageError
        If it is not where it was, nor beside the project file, or is another picture now.
    """
    file = wanted.found(project)
    if file is None:
        raise ImageError(
            f"{project.name}: its image {wanted.path or wanted.name} is not there. Open the image "
            "where it is now; its annotation comes with it."
        )
    source = open_image(file)
    if image_key(source) != wanted.fingerprint:
        raise ImageError(
            f"{file}: the picture has changed since {project.name} was made on it; the project "
            "was not opened. Bring the picture back that it was."
        )
    return source, file
