"""Label maps in and out: instance ids as pixels, 0 is background.

Reads TIFF, PNG (8 and 16 bit, and palette files, whose indices are the ids) and NPY. Writes tiled,
deflated uint32 TIFF with the pixel size as TIFF resolution, which Fiji, QuPath and napari read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from napari_nucleus import __version__
from napari_nucleus.core.nuclei import check_labels
from napari_nucleus.errors import LabelsError, NucleusError
from napari_nucleus.io.atomic import replacing
from napari_nucleus.io.pixel_size import PixelSize, pixel_size_of_dpi, pixel_size_of_tiff

__all__ = ["LabelFile", "provenance_in", "read_labels", "read_plane", "write_labels"]

TILE = 512


@dataclass(frozen=True, eq=False, slots=True)
class LabelFile:
    """A label map ``(H, W)`` from a file, with the pixel size that the file states."""

    labels: NDArray[np.integer]
    pixel_size: PixelSize

    @property
    def mpp(self) -> float | None:
        """Micrometres per pixel, or None when unknown."""
        return self.pixel_size.mpp


def read_labels(
    path: str | os.PathLike[str], image_shape: tuple[int, int] | None = None
) -> LabelFile:
    """Read a label map from a TIFF, PNG or NPY file.

    Parameters
    ----------
    path
        The file. Ids may have gaps; whole floats and masks of two values are taken as in
        `napari_nucleus.core.nuclei.check_labels`.
    image_shape
        Height and width of the image that the labels belong to, if it is known.

    Raises
    ------
    LabelsError
        If the file cannot be read, holds no label map, or is not of the image's size.
    """
    name = Path(path).name
    array, pixel_size = read_plane(path)
    labels = check_labels(array, name)
    if not labels.size:
        raise LabelsError(f"{name}: the label map has no pixels (shape {labels.shape}).")
    if image_shape is not None and labels.shape != tuple(image_shape):
        raise LabelsError(
            f"{name}: the label map has {labels.shape[1]} x {labels.shape[0]} pixels, the image "
            f"{image_shape[1]} x {image_shape[0]}; export labels at the image's full resolution."
        )
    return LabelFile(labels, pixel_size)


def read_plane(path: str | os.PathLike[str]) -> tuple[NDArray, PixelSize]:
    """Return the numbers in a TIFF, PNG or NPY file, whatever they mean, and its pixel size.

    Raises
    ------
    LabelsError
        If the file cannot be read.
    """
    path = Path(path)
    try:
        return _read(path, path.name)
    except NucleusError:
        raise
    except FileNotFoundError as error:
        raise LabelsError(f"{path.name}: there is no such file (any more).") from error
    except Exception as error:  # each decoder has its own kinds of error
        reason = getattr(error, "strerror", None) or error
        raise LabelsError(
            f"{path.name}: the file is damaged or cannot be read ({reason})."
        ) from error


def _read(path: Path, name: str) -> tuple[NDArray, PixelSize]:
    with open(path, "rb") as file:
        begin = file.read(8)
    if not begin:
        raise LabelsError(f"{name}: the file is empty.")
    if begin.startswith(b"\x93NUMPY"):
        return _one_plane(np.load(path, allow_pickle=False)), PixelSize()
    if begin[:2] in (b"II", b"MM"):
        with tifffile.TiffFile(path) as tiff:
            return _one_plane(tiff.series[0].asarray()), pixel_size_of_tiff(tiff, name)
    if begin != b"\x89PNG\r\n\x1a\n":
        raise LabelsError(f"{name}: no label map that can be read (TIFF, PNG, NPY).")
    with Image.open(path, formats=("PNG",)) as picture:
        pixel_size = pixel_size_of_dpi(picture.info.get("dpi"), name, "PNG resolution")
        return np.asarray(picture), pixel_size


def provenance_in(path: str | os.PathLike[str]) -> dict[str, str | float | int]:
    """Return what `write_labels` noted of what made the labels of a file; empty if it was another.

    Raises
    ------
    LabelsError
        If the file cannot be read.
    """
    path = Path(path)
    try:
        with tifffile.TiffFile(path) as tiff:
            value = json.loads(tiff.pages.first.description)
    except OSError as error:
        raise LabelsError(f"{path.name}: the file cannot be read ({error.strerror}).") from error
    except (tifffile.TiffFileError, ValueError):
        return {}
    plain = value.items() if isinstance(value, dict) else ()
    return {k: v for k, v in plain if isinstance(v, str | float | int)}


def _one_plane(array: NDArray) -> NDArray:
    """Drop axes of length 1 in front of the two of a picture."""
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    return array


def write_labels(
    path: str | os.PathLike[str],
    labels: NDArray[np.integer],
    mpp: float | None = None,
    provenance: Mapping[str, str | float | int] | None = None,
) -> None:
    """Write a label map as uint32 TIFF.

    Parameters
    ----------
    path
        File to write; it is complete or as it was before.
    labels
        ``(H, W)`` integers from 0.
    mpp
        Micrometres per pixel, kept as resolution in pixels per centimetre.
    provenance
        What made the labels; kept as JSON in the image description.

    Raises
    ------
    LabelsError
        If ``labels`` is no label map.
    AnnotationError
        If the file cannot be written.
    """
    labels = check_labels(labels, Path(path).name)
    # A classic TIFF ends at 4 GiB; label maps deflate, so only very large ones need the other kind.
    bigtiff = labels.size * 4 > 2**32 - 2**25
    resolution = {} if mpp is None else {"resolution": (1e4 / mpp,) * 2, "resolutionunit": 3}
    with replacing(path) as file:
        tifffile.imwrite(
            file,
            labels.astype(np.uint32),
            bigtiff=bigtiff,
            tile=(TILE, TILE),
            compression="zlib",
            photometric="minisblack",
            description=json.dumps(dict(provenance)) if provenance else None,
            metadata=None,
            software=f"napari-nucleus {__version__}",
            **resolution,
        )
