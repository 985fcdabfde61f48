"""A picture of the result: the image with the outline of every nucleus in the colour of its class.

For looking at, not for measuring: large images are shown smaller.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_nucleus.core.image import ImageSource
from napari_nucleus.core.outlines import UNCLASSIFIED_OUTLINE, class_outline
from napari_nucleus.errors import AnnotationError, LabelsError
from napari_nucleus.io.atomic import replacing
from napari_nucleus.io.formats.base import PLAIN, Export, Format, Keeps
from napari_nucleus.io.formats.steps import steps
from napari_nucleus.io.label_planes import sampled, sampled_shape
from napari_nucleus.io.results import SegmentationResult

__all__ = ["OVERLAY", "check_same_size", "draw_overlay", "write_overlay"]

STRIP_PIXELS = 2**24
"""Pixels of the image that are held at a time while it is reduced."""

LARGEST_SIDE = 4096
"""Pixels of the longer side of an overlay."""


def draw_overlay(
    source: ImageSource,
    result: SegmentationResult,
    largest_side: int = LARGEST_SIDE,
    export: Export = PLAIN,
) -> NDArray[np.uint8]:
    """Return the image with outlines, ``(h, w, 3)`` uint8.

    Images larger than ``largest_side`` are reduced by a whole factor, by averaging. Image and
    labels are read strip by strip. Outlines are one pixel wide at the size they are shown at.

    Raises
    ------
    LabelsError
        If the image and the labels differ in size.
    ImageError
        If the image cannot be read.
    CancelledError
        If the export was cancelled.
    """
    check_same_size(source, result)
    factor = -(-max(source.shape) // largest_side)
    rows, columns = (max(n // factor, 1) for n in source.shape)
    picture = np.empty((rows, columns, 3), np.uint8)
    # The pixel in the middle of each block stands for it; thin images may end before it.
    height, width = sampled_shape(result.shape, factor, factor // 2)
    labels = np.zeros((min(height, rows), min(width, columns)), np.int32)
    step = max(STRIP_PIXELS // (columns * factor**2), 1)
    for begin in steps(export, range(0, rows, step), "strips"):
        end = min(begin + step, rows)
        strip = source.read((begin * factor, 0, end * factor, columns * factor))
        picture[begin:end] = np.asarray(Image.fromarray(strip).reduce(factor))
        window = (begin, 0, min(end, len(labels)), labels.shape[1])
        labels[begin:end] = sampled(result.read, result.shape, factor, factor // 2, window)
    outline = class_outline(labels, _class_lookup(result), image_edges=(True, True, True, True))
    colours = np.zeros((256, 3), np.uint8)
    colours[UNCLASSIFIED_OUTLINE] = result.scheme.unknown_color
    for nucleus_class in result.scheme.classes:
        colours[nucleus_class.id] = nucleus_class.color
    drawn = outline > 0
    picture[: labels.shape[0], : labels.shape[1]][drawn] = colours[outline[drawn]]
    return picture


def check_same_size(source: ImageSource, result: SegmentationResult) -> None:
    """Raise `LabelsError` unless an image and the labels have the same size."""
    if tuple(source.shape) != tuple(result.shape):
        raise LabelsError(
            f"the labels have {result.shape[1]} x {result.shape[0]} pixels, the image "
            f"{source.shape[1]} x {source.shape[0]}."
        )


def _class_lookup(result: SegmentationResult) -> Callable[[NDArray], NDArray]:
    known = [0, *result.scheme.ids]
    classes = np.where(np.isin(result.class_ids, known), result.class_ids, 0)

    def class_of(ids: NDArray) -> NDArray:
        return classes[np.searchsorted(result.ids, ids)]

    return class_of


def write_overlay(path: str | os.PathLike[str], result: SegmentationResult, export: Export) -> None:
    """Write the overlay as PNG; the file is complete or as it was before.

    Raises
    ------
    AnnotationError
        If there is no image to draw on, or the file cannot be written.
    LabelsError
        If the image and the labels differ in size.
    CancelledError
        If it was cancelled.
    """
    if export.source is None:
        raise AnnotationError(
            f"{Path(path).name}: an overlay shows the image, and there is none; name it."
        )
    picture = Image.fromarray(draw_overlay(export.source, result, LARGEST_SIDE, export))
    with replacing(path) as file:
        picture.save(file, format="PNG")


OVERLAY = Format(
    "overlay",
    "Overlay PNG",
    "_overlay.png",
    Keeps(*(False,) * 10),
    write_overlay,
    note="For looking at.",
)
"""The image with the outline of every nucleus."""
