"""Opening the images pathologists have: PNG, JPEG, BMP, TIFF, OME-TIFF and Aperio's SVS.

What a file is, is told by its content. Small formats are read at once through Pillow, TIFF through
`tiff_planes`. Every fault of a file becomes one `ImageError` that names it.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from napari_nucleus.core.geometry import Box
from napari_nucleus.core.image import ArraySource, ImageSource, check_mpp
from napari_nucleus.errors import ImageError
from napari_nucleus.io.pixel_size import PixelSize, pixel_size_of_dpi
from napari_nucleus.io.tiff_planes import open_tiff_plane

__all__ = ["IMAGE_SUFFIXES", "ImageFile", "open_image"]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".svs"})
"""Endings of the names of files that are taken for images when a folder is opened."""

TIFF_BEGINS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of TIFF and BigTIFF in both byte orders."""

COPY_AGAIN = "check that it is complete, or copy it again from where it came from"

PILLOW_FORMATS = ("PNG", "JPEG", "BMP")


@dataclass(frozen=True, eq=False)
class ImageFile:
    """An `ImageSource` over a file.

    Parameters
    ----------
    pixels
        The picture, in memory or read when asked for.
    name
        The file's name without its folder.
    pixel_size
        What was stated by the user or else by the file; its ``note`` says why a pixel size in
        the file was not used.
    smaller
        Smaller copies of the picture that the file holds.
    """

    pixels: ArraySource
    name: str
    pixel_size: PixelSize
    smaller: tuple[ArraySource, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape

    @property
    def mpp(self) -> float | None:
        """Micrometres per pixel, or None when unknown."""
        return self.pixel_size.mpp

    def read(self, box: Box) -> NDArray[np.uint8]:
        """Return the RGB pixels ``(h, w, 3)`` of ``box``, clipped to the image.

        Raises
        ------
        ImageError
            If this part of the file is damaged or the file can no longer be read.
        """
        with _faults_named(self.name):
            return self.pixels.read(box)

    def levels(self) -> tuple[ImageSource, ...]:
        """Return the picture and its smaller copies, each a source with faults named alike."""
        copies = (replace(self, pixels=pixels, smaller=()) for pixels in self.smaller)
        return (self, *copies)


def open_image(path: str | os.PathLike[str], mpp: float | None = None) -> ImageFile:
    """Open an image file.

    Parameters
    ----------
    path
        A PNG, JPEG, BMP, TIFF, OME-TIFF or SVS file. Tiled TIFF is read piece by piece, the
        rest at once; JPEGs are turned upright as their EXIF orientation says.
    mpp
        Micrometres per pixel if the user knows better than the file.

    Raises
    ------
    ImageError
        If the file is missing, empty, damaged, too large, of another kind, no picture that can be
        shown as RGB, or if ``mpp`` is none a microscope can have.
    """
    path = Path(path)
    name = path.name
    stated = check_mpp(mpp, name)
    with _faults_named(name):
        with open(path, "rb") as file:
            begin = file.read(4)
        if not begin:
            raise ImageError(f"{name}: the file is empty.")
        if begin in TIFF_BEGINS:
            planes, pixel_size, limits = open_tiff_plane(path, name)
            source, *smaller = (ArraySource(p, pixel_size.mpp, name, limits) for p in planes)
        else:
            array, pixel_size = _read_with_pillow(path, name)
            source, smaller = ArraySource(array, pixel_size.mpp, name), []
    if stated is not None:
        pixel_size = PixelSize(stated, "user")
    return ImageFile(source, name, pixel_size, tuple(smaller))


@contextmanager
def _faults_named(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises into an `ImageError`; each has its own kinds of error."""
    try:
        yield
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{name}: there is no such file (any more).") from error
    except MemoryError as error:
        raise ImageError(f"{name}: the picture does not fit into memory.") from error
    except OSError as error:
        reason = error.strerror or error
        raise ImageError(f"{name}: the file cannot be read ({reason}); {COPY_AGAIN}.") from error
    except Exception as error:
        raise ImageError(f"{name}: damaged or cut off ({error}); {COPY_AGAIN}.") from error


def _read_with_pillow(path: Path, name: str) -> tuple[NDArray, PixelSize]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(path, formats=PILLOW_FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{name}: its header states more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels, "
            "too many to be read at once; save it as a tiled TIFF."
        ) from error
    except (Image.UnidentifiedImageError, SyntaxError) as error:
        raise ImageError(
            f"{name}: no image that can be opened (PNG, JPEG, BMP, TIFF, OME-TIFF, SVS), or "
            "it is damaged."
        ) from error
    with picture:
        pixel_size = pixel_size_of_dpi(
            picture.info.get("dpi"), name, f"{picture.format} resolution"
        )
        return _pixels(ImageOps.exif_transpose(picture)), pixel_size


def _pixels(picture: Image.Image) -> NDArray:
    """Return grey, RGB or RGBA of any of Pillow's modes; deeper pixels keep their depth."""
    transparent = picture.has_transparency_data
    if picture.mode not in ("L", "RGB", "RGBA", "F") and not picture.mode.startswith("I"):
        picture = picture.convert("RGBA" if transparent else "RGB")
    return np.asarray(picture)
