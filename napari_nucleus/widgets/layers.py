"""Napari layers as the rest of the package sees images: pixels, pixel size, places.

Uses napari's public API only. Layers made by this package are known by their metadata, never by
their names, which napari and users change.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nucleus.core.geometry import Box, clip_box, points_from_centre_origin
from napari_nucleus.core.image import MPP_RANGE, ArraySource, ImageSource, check_layout
from napari_nucleus.core.image_levels import PyramidSource
from napari_nucleus.errors import ImageError, LabelsError
from napari_nucleus.widgets.level_array import LevelArray

if TYPE_CHECKING:
    from napari.layers import Image, Labels, Layer, Shapes
    from napari.viewer import Viewer

__all__ = [
    "METADATA_KEY",
    "check_usable",
    "frame",
    "layer_mpp",
    "layer_path",
    "layer_source",
    "mpp_of_place",
    "numbered_polygons",
    "offset_onto",
    "point_of_event",
    "region_polygons",
    "role_of",
    "same_place",
    "show_source",
    "visible_box",
]

METADATA_KEY = "napari_nucleus"
"""Key in ``layer.metadata`` under which this package keeps what it knows of a layer."""

_MICROMETRES = {
    "micrometer": 1.0,
    "micron": 1.0,
    "um": 1.0,
    "µm": 1.0,
    "nanometer": 1e-3,
    "nm": 1e-3,
    "millimeter": 1e3,
    "mm": 1e3,
}


FRAMED_PX = 60.0
"""Screen pixels that a nucleus brought into view takes at least."""


def level_0(layer: Image) -> Any:
    """Return the full-resolution array of an image layer."""
    return layer.data[0] if layer.multiscale else layer.data


def check_usable(layer: Image) -> None:
    """Raise `ImageError` unless nuclei can be annotated on this layer."""
    data = level_0(layer)
    if layer.rgb:
        check_layout(data.shape, data.dtype, layer.name)
    elif len(data.shape) != 2:
        raise ImageError(
            f"{layer.name}: has {len(data.shape)} dimensions; open one 2-D RGB or grey picture."
        )
    else:
        check_layout(data.shape, data.dtype, layer.name)


def layer_source(layer: Image, mpp: float | None) -> ArraySource:
    """Return the pixels of a layer as an image source; reads from any thread.

    Raises
    ------
    ImageError
        If the layer holds no picture that can be annotated.
    """
    check_usable(layer)
    return ArraySource(level_0(layer), mpp, layer.name)


def layer_mpp(layer: Image) -> float | None:
    """Return µm per pixel as the layer states it: by its units, or by our own metadata."""
    stated = layer.metadata.get(METADATA_KEY, {})
    mpp = stated.get("mpp") if isinstance(stated, dict) else None
    return mpp_of_place(layer.scale, layer.units) if mpp is None else _usual(mpp)


def mpp_of_place(scale: Any, units: Any) -> float | None:
    """Return µm per pixel by scale and units of a layer; None where they do not tell."""
    factor = _MICROMETRES.get(str(units[-1])) if units else None
    return None if factor is None else _usual(float(scale[-1]) * factor)


def _usual(mpp: float) -> float | None:
    return float(mpp) if MPP_RANGE[0] <= mpp <= MPP_RANGE[1] else None


def layer_path(layer: Image) -> str:
    """Return the file that a layer's picture was read from, as far as is known; else ""."""
    stated = layer.metadata.get(METADATA_KEY, {})
    path = stated.get("path") if isinstance(stated, dict) else None
    return str(path or layer.source.path or "")


def show_source(viewer: Viewer, source: ImageSource, name: str, path: str = "") -> Image:
    """Add an image to a viewer, at its pixel size; ``path`` is the file it comes from.

    Raises
    ------
    ImageError
        If the pixels cannot be read.
    """
    levels = source.levels if isinstance(source, PyramidSource) else ()
    pixels = [
        LevelArray((*level.shape, 3), np.uint8, level.read) for level in levels
    ] or source.read((0, 0, *source.shape))
    place: dict[str, Any] = {"multiscale": bool(levels)}
    if source.mpp is not None:
        place |= {"scale": (source.mpp,) * 2, "units": ("µm", "µm")}
    metadata = {METADATA_KEY: {"path": path}}
    return viewer.add_image(pixels, name=name, rgb=True, metadata=metadata, **place)  # type: ignore[return-value]


def role_of(layer: Layer) -> tuple[str, str] | None:
    """Return (document key, role) of a layer that this package made, else None."""
    known = layer.metadata.get(METADATA_KEY)
    if isinstance(known, dict) and "role" in known:
        return known["document"], known["role"]
    return None


def same_place(layer: Image) -> dict[str, Any]:
    """Return the arguments that put a new layer exactly onto ``layer``."""
    dims = slice(-2, None)
    return {
        "scale": layer.scale[dims],
        "translate": layer.translate[dims],
        "rotate": layer.rotate,
        "shear": layer.shear,
        "affine": layer.affine,
        "units": tuple(layer.units)[dims] if layer.units else None,
    }


def point_of_event(layer: Image, position: Iterable[float]) -> NDArray[np.float64]:
    """Return the level-0 point ``(y, x)``, corner-origin, of a position in the world."""
    return _level_0_point(layer, list(position))[-2:]


def visible_box(layer: Image) -> Box:
    """Return the level-0 box of what the canvas shows of a layer."""
    corners = np.asarray(layer.corner_pixels, float)[:, -2:]
    if layer.multiscale:
        corners = corners * np.asarray(layer.downsample_factors)[layer.data_level][-2:]
    low, high = np.floor(corners[0]), np.ceil(corners[1]) + 1
    shape = level_0(layer).shape[:2]
    return clip_box((*low, *high), shape)


def frame(viewer: Viewer, layer: Image, box: Box) -> None:
    """Bring a level-0 box into the middle of the view, large enough to be judged."""
    low, high = (np.asarray(layer.data_to_world(p))[-2:] for p in _corners(layer, box))
    camera = viewer.scene.camera
    camera.center = (*camera.center[:-2], *((low + high) / 2))
    extent = float(np.abs(high - low).max())
    camera.zoom = max(camera.zoom, FRAMED_PX / max(extent, 1e-9))


def _corners(layer: Image, box: Box) -> list[NDArray[np.float64]]:
    before = np.zeros(layer.ndim - 2)
    return [np.concatenate([before, np.array(p, float) - 0.5]) for p in (box[:2], box[2:])]


def region_polygons(shapes: Shapes, image: Image) -> list[NDArray[np.float64]]:
    """Return drawn shapes as level-0 polygons ``(n, 2)`` of an image, corner-origin.

    Ellipses are taken by their outline; lines and paths, which enclose nothing, are left out.
    """
    return list(numbered_polygons(shapes, image).values())


def numbered_polygons(shapes: Shapes, image: Image) -> dict[int, NDArray[np.float64]]:
    """Return what `region_polygons` does, by the numbers of the shapes."""
    polygons = {}
    for number, (vertices, kind) in enumerate(zip(shapes.data, shapes.shape_type, strict=True)):
        points = np.asarray(vertices, float)[:, -2:]
        if kind == "ellipse":
            angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
            centre = points.mean(axis=0)
            a, b = (points[1] - points[0]) / 2, (points[3] - points[0]) / 2
            points = centre + np.cos(angle)[:, None] * a + np.sin(angle)[:, None] * b
        elif kind not in ("rectangle", "polygon"):
            continue
        if len(points) >= 3:
            world = [shapes.data_to_world(p) for p in points]
            polygons[number] = np.array([_level_0_point(image, p) for p in world])
    return polygons


def offset_onto(labels: Labels, image: Image) -> tuple[int, int]:
    """Return where, in level-0 pixels of an image, the first pixel of a label layer lies.

    Raises
    ------
    LabelsError
        If the labels are not a 2-D map of the image's own pixels: another pixel size, turned, or
        between pixels.
    """
    if labels.multiscale or labels.data.ndim != 2:
        raise LabelsError(f"{labels.name}: only a plain 2-D label layer can be adopted.")
    height, width = labels.data.shape
    corners = np.array([[0.0, 0.0], [height, 0.0], [0.0, width]]) - 0.5
    placed = np.array([_level_0_point(image, labels.data_to_world(c)) for c in corners])
    steps = placed[1:] - placed[0]
    if not np.allclose(steps, [[height, 0], [0, width]], atol=0.01 * max(height, width)):
        raise LabelsError(
            f"{labels.name}: its pixels are not those of {image.name} (other scale or turned); "
            "resample it first."
        )
    offset = np.rint(placed[0])
    if np.abs(placed[0] - offset).max() > 0.1:
        raise LabelsError(f"{labels.name}: lies between the pixels of {image.name}.")
    return int(offset[0]), int(offset[1])


def _level_0_point(image: Image, world: ArrayLike) -> NDArray[np.float64]:
    return points_from_centre_origin(np.asarray(image.world_to_data(np.asarray(world)), float))
