"""The layer that shows how mixed the classes are around each place of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray

from napari_nucleus.core.figures import LARGEST_ENTROPY
from napari_nucleus.widgets.layers import METADATA_KEY
from napari_nucleus.widgets.map_picture import MapPicture

if TYPE_CHECKING:
    from napari_nucleus.widgets.annotation import Annotation

__all__ = ["ENTROPY_ROLE", "EntropyLayer"]

ENTROPY_ROLE = "entropy"

OPACITY = 0.55


class EntropyLayer:
    """Shows an entropy map over an image; made when there is one."""

    def __init__(self, annotation: Annotation) -> None:
        self._annotation = annotation
        self._layer: Image | None = None

    @property
    def layer(self) -> Image | None:
        """The layer; None before there was a map, or after the user deleted it."""
        known = self._layer is not None and self._layer in self._annotation.viewer.layers
        return self._layer if known else None

    def show(self, entropies: MapPicture) -> None:
        """Show a map."""
        values = entropies.values
        if not values.size:
            self.hide()
            return
        affine = _affine(self._annotation.image, entropies)
        layer = self.layer
        if layer is None:
            self._layer = self._made(values, affine)
            self._insert(self._layer)
            return
        layer.data = values
        if not np.allclose(np.asarray(layer.affine.affine_matrix), affine):
            layer.affine = affine
        layer.visible = True

    def hide(self) -> None:
        """Show it no more."""
        if self.layer is not None:
            self.layer.visible = False

    def close(self) -> None:
        """Take the layer out of the viewer."""
        if self.layer is not None:
            self._annotation.viewer.layers.remove(self.layer)
        self._layer = None

    def _made(self, values: NDArray[np.float32], affine: NDArray[np.float64]) -> Image:
        image = self._annotation.image
        return Image(
            values,
            rgb=False,
            name=f"{image.name} entropy of classes",
            metadata={METADATA_KEY: {"document": self._annotation.key, "role": ENTROPY_ROLE}},
            colormap="viridis",
            contrast_limits=(0.0, LARGEST_ENTROPY),
            opacity=OPACITY,
            blending="translucent_no_depth",
            interpolation2d="linear",
            affine=affine,
            units=tuple(image.units)[-2:] if image.units else None,
        )

    def _insert(self, layer: Image) -> None:
        """Put the layer onto the image, below the nuclei; the active layer stays active."""
        layers = self._annotation.viewer.layers
        active = layers.selection.active
        layers.insert(layers.index(self._annotation.image) + 1, layer)
        if active is not None:
            layers.selection.active = active


def _affine(image: Image, entropies: MapPicture) -> NDArray[np.float64]:
    """Return the transform of a map's points to the world, ``(3, 3)``."""
    before = np.zeros(image.ndim - 2)

    def world(point_yx: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(image.data_to_world(np.concatenate([before, point_yx])))[-2:]

    step = entropies.step_px
    # The first point is half a step from the corner; napari's pixels are counted from centres.
    first = np.asarray(entropies.origin_yx) + step / 2 - 0.5
    corner = world(first)
    columns = [world(first + offset) - corner for offset in (np.eye(2) * step)]
    matrix = np.eye(3)
    matrix[:2, 0], matrix[:2, 1], matrix[:2, 2] = *columns, corner
    return matrix
