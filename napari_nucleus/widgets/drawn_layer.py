"""A layer of ours that the user draws shapes in, such as the border of a tumour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Shapes
from numpy.typing import NDArray

from napari_nucleus.widgets.layers import METADATA_KEY, region_polygons, role_of, same_place

if TYPE_CHECKING:
    from napari_nucleus.widgets.annotation import Annotation

__all__ = ["DrawnLayer"]

EDGE_WIDTH = 3
"""Of the lines, in image pixels."""


class DrawnLayer:
    """Shapes of one kind on one image.

    Parameters
    ----------
    annotation
        The image.
    role
        What the shapes are, in the layer's metadata.
    title
        Name of the layer.
    color
        Of the lines.
    """

    def __init__(self, annotation: Annotation, role: str, title: str, color: str) -> None:
        self._annotation, self._role = annotation, role
        self._title, self._color = title, color

    @property
    def layer(self) -> Shapes | None:
        """The layer; None while there is none."""
        key = (self._annotation.key, self._role)
        found = (layer for layer in self._annotation.viewer.layers if role_of(layer) == key)
        return next(found, None)  # type: ignore[return-value]

    @property
    def polygons(self) -> list[NDArray[Any]]:
        """Level-0 polygons ``(n, 2)`` of what is drawn."""
        layer = self.layer
        return [] if layer is None else region_polygons(layer, self._annotation.image)

    def draw(self) -> Shapes:
        """Let the user draw a polygon."""
        viewer, layer = self._annotation.viewer, self.layer
        if layer is None:
            layer = Shapes(
                ndim=2,
                name=self._title,
                edge_color=self._color,
                edge_width=EDGE_WIDTH,
                face_color="transparent",
                metadata={METADATA_KEY: {"document": self._annotation.key, "role": self._role}},
                **same_place(self._annotation.image),
            )
            viewer.add_layer(layer)
        viewer.layers.selection.active = layer
        layer.mode = "add_polygon"
        return layer
