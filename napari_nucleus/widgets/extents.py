"""Parts of an image that something is done in: the view, drawn shapes, all of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_nucleus.core.geometry import Box
from napari_nucleus.errors import ImageError
from napari_nucleus.session.regions import Polygons
from napari_nucleus.widgets.layers import region_polygons, visible_box

if TYPE_CHECKING:
    from napari.layers import Shapes

    from napari_nucleus.widgets.annotation import Annotation

__all__ = ["Extent", "Where", "drawn_extent", "view_extent", "whole_extent"]

Where = Literal["view", "region", "image"]
"""What is in view, what is drawn, or all of it."""


@dataclass(frozen=True, eq=False)
class Extent:
    """A part of an image.

    Parameters
    ----------
    name
        What it is called in the history: "view", "region", "image".
    box
        Level-0 box around it.
    polygons
        Level-0 polygons ``(n, 2)`` of ``(y, x)``, corner-origin; nuclei whose centroid lies in none
        are left out. Empty for the whole box.
    """

    name: str
    box: Box
    polygons: Polygons = ()


def view_extent(annotation: Annotation) -> Extent:
    """Return what the canvas shows of an image."""
    return Extent("view", visible_box(annotation.image))


def whole_extent(annotation: Annotation) -> Extent:
    """Return the whole of an image."""
    return Extent("image", (0, 0, *annotation.source.shape))


def drawn_extent(annotation: Annotation, shapes: Shapes) -> Extent:
    """Return all drawn shapes as one part of an image.

    Raises
    ------
    ImageError
        If nothing is drawn, or nothing of it on the image.
    """
    polygons = region_polygons(shapes, annotation.image)
    if not polygons:
        raise ImageError(f"{shapes.name}: draw a region first, with three corners or more.")
    points = np.concatenate(polygons)
    low, high = np.floor(points.min(0)).astype(int), np.ceil(points.max(0)).astype(int)
    height, width = annotation.source.shape
    box = (
        max(int(low[0]), 0),
        max(int(low[1]), 0),
        min(int(high[0]), height),
        min(int(high[1]), width),
    )
    if box[0] >= box[2] or box[1] >= box[3]:
        raise ImageError(f"{shapes.name}: the drawn region lies outside the image.")
    return Extent("region", box, tuple(polygons))
