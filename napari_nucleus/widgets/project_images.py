"""The image that a project is about: found, read, or asked about; free of Qt and napari."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_nucleus.core.image import ArraySource, ImageSource
from napari_nucleus.core.image_levels import CachedSource, with_levels
from napari_nucleus.errors import ImageError
from napari_nucleus.hosting.image_key import image_key
from napari_nucleus.io.images import ImageFile, open_image
from napari_nucleus.session.project import ImageReference
from napari_nucleus.session.reading import ProjectSummary

__all__ = [
    "ChangedImage",
    "LoadedImage",
    "MovedImage",
    "check_same_size",
    "load_image",
    "locate_image",
    "ready_to_show",
]

WHOLE_SIDE = 8192
"""Pictures up to this side are held in memory whole; larger ones are read where somebody looks."""


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """A picture that was read from a file and can be shown at once.

    Parameters
    ----------
    source
        Its pixels, in memory or with levels.
    file
        Where it was read from.
    note
        What the user should be told of it; else "".
    """

    source: ImageSource
    file: Path
    note: str = ""


@dataclass(frozen=True)
class MovedImage:
    """A question: the image of a project is not where it was."""

    project: ProjectSummary

    @property
    def sentence(self) -> str:
        """What has happened."""
        image = self.project.image
        return f"{self.project.path.name}: its image {image.path or image.name} is not there."


@dataclass(frozen=True)
class ChangedImage:
    """A question: the picture of a project is another one now, of the same size.

    Parameters
    ----------
    project
        The project.
    file, fingerprint
        The picture as it is now.
    """

    project: ProjectSummary
    file: Path
    fingerprint: str

    @property
    def sentence(self) -> str:
        """What has happened."""
        name = self.project.path.name
        return f"{self.file}: the picture has changed since {name} was made on it."

    @property
    def reference(self) -> ImageReference:
        """The changed picture, under the name that the project's had."""
        return ImageReference(self.project.image.name, self.fingerprint, str(self.file))


def load_image(file: Path, mpp: float | None = None) -> LoadedImage:
    """Read an image; on any thread.

    Parameters
    ----------
    mpp
        µm per pixel if the user knows better than the file.

    Raises
    ------
    ImageError
        If it cannot be read.
    """
    source = open_image(file, mpp)
    return LoadedImage(ready_to_show(source, source.name), file, source.pixel_size.note)


def ready_to_show(source: ImageSource, name: str) -> ImageSource:
    """Return an image as it is shown: read whole, or with levels where it is too large; slow.

    Raises
    ------
    ImageError
        If the pixels cannot be read.
    """
    if max(source.shape) <= WHOLE_SIDE:
        return ArraySource(source.read((0, 0, *source.shape)), source.mpp, name)
    levels = source.levels() if isinstance(source, ImageFile) else (source,)
    shown = with_levels(tuple(CachedSource(level) for level in levels))
    image_key(shown)  # asked for as soon as it is shown; what is read for it is kept
    return shown


def locate_image(
    project: ProjectSummary, file: Path | None = None
) -> Path | MovedImage | ChangedImage:
    """Return the file of the image that a project is about, or what to ask the user.

    Parameters
    ----------
    file
        Where the user says it is; by default where it was, or beside the project file.

    Raises
    ------
    ImageError
        If what is there cannot be read, or is a picture of another size.
    """
    file = file or project.image.found(project.path)
    if file is None:
        return MovedImage(project)
    source = open_image(file)
    key = image_key(source)
    if key == project.image.fingerprint:
        return file
    check_same_size(project, file, source.shape)
    return ChangedImage(project, file, key)


def check_same_size(project: ProjectSummary, file: Path, shape: tuple[int, int]) -> None:
    """Raise `ImageError` unless a picture has the size that the project was made on."""
    if shape != project.shape:
        (height, width), (was_high, was_wide) = shape, project.shape
        raise ImageError(
            f"{file}: {width} x {height} pixels, but {project.path.name} was made on a picture of "
            f"{was_wide} x {was_high}; the project was left as it is. Bring that picture back."
        )
