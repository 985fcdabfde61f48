"""How an image is cut up for a model: automatic tiles, the tile of a click, samples to calibrate.

Arithmetic on shapes; the worker process and the command line share it, so that both give the
same nuclei. A model states its tile in working pixels and a `Calibration` says how many of those
make an image pixel; here everything becomes level-0 pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from napari_nucleus.core.geometry import (
    Box,
    Frame,
    box_intersection,
    box_union,
    clip_box,
    pad_box,
)
from napari_nucleus.core.image import ImageSource, Tile
from napari_nucleus.core.tiling import TileSpec, order_from, tile_grid
from napari_nucleus.hosting.sampling import sample_boxes
from napari_nucleus.models.api import Calibration, ModelInfo

__all__ = ["click_tile", "plan_tiles", "read_samples", "read_tile", "sample_size", "tile_pixels"]

SAMPLES = 8
"""Most pieces of an image to calibrate on."""

SAMPLE_LIMIT = 1024
"""Largest side of a calibration sample, in level-0 pixels."""


def tile_pixels(tile: int, halo: int, calibration: Calibration) -> tuple[int, int]:
    """Return a core and a halo, given in working pixels, in level-0 pixels."""
    return max(1, round(tile / calibration.scale)), math.ceil(halo / calibration.scale)


def sample_size(info: ModelInfo, mpp: float | None) -> int:
    """Return the side of a calibration sample in level-0 pixels, at most `SAMPLE_LIMIT`.

    It is one tile of the model; where ``mpp`` is unknown, one at the model's own pixel size.
    """
    zoom = 1.0 if mpp is None else info.working_mpp / mpp
    return max(1, min(round(info.tile * zoom), SAMPLE_LIMIT))


def plan_tiles(
    shape: tuple[int, int],
    info: ModelInfo,
    calibration: Calibration,
    region: Box | None = None,
    start_yx: tuple[float, float] | None = None,
    wanted: Callable[[Box], bool] | None = None,
) -> list[TileSpec]:
    """Return the tiles to segment, from ``start_yx`` outwards.

    Parameters
    ----------
    shape
        Height and width of level 0.
    info, calibration
        The model, and the scale of the image for it.
    region
        Box to segment; by default all of the image.
    start_yx
        Where to begin, on level 0; by default the middle of the region.
    wanted
        Called with the core of a tile: whether there is anything to be found; all by default.
    """
    core, halo = tile_pixels(info.tile, info.halo, calibration)
    y0, x0, y1, x1 = region or (0, 0, *shape)
    specs = tile_grid(shape, core, halo, region)
    if wanted is not None:
        specs = [spec for spec in specs if wanted(spec.core)]
    return order_from(specs, start_yx or ((y0 + y1) / 2, (x0 + x1) / 2))


def click_tile(
    target: Sequence[float],
    shape: tuple[int, int],
    info: ModelInfo,
    calibration: Calibration,
    keep: Box | None = None,
) -> Box:
    """Return the box to embed for prompts at ``target``, on level 0.

    The image is covered by a fixed grid of tiles that overlap by their halos. A target gets the
    tile whose core holds its centre, hence has a halo of image around it (where the image goes on)
    and shares the tile with its neighbours; the same target always gets the same tile. At the
    edges of the image tiles are moved inwards rather than cut, so that all show as much context.

    Parameters
    ----------
    target
        A point ``(y, x)``, or a box ``(y0, x0, y1, x1)`` of all prompts of a nucleus. A box that
        sticks out of its tile gets a larger one.
    shape
        Height and width of level 0.
    info, calibration
        The model, and the scale of the image for it.
    keep
        The tile in use for this nucleus; it stays in use while it shows half a halo around
        ``target``, so that a second click across the border of a core needs no new tile.
    """
    core, halo = tile_pixels(info.click_tile, info.halo, calibration)
    y0, x0, y1, x1 = target if len(target) == 4 else (*target, *target)
    exact = (math.floor(y0), math.floor(x0), math.ceil(y1), math.ceil(x1))
    if keep is not None and _holds(keep, clip_box(pad_box(exact, halo // 2), shape)):
        return keep
    rows = _grid_span((y0 + y1) / 2, shape[0], core, halo)
    columns = _grid_span((x0 + x1) / 2, shape[1], core, halo)
    tile = (rows[0], columns[0], rows[1], columns[1])
    if _holds(tile, clip_box(pad_box(exact, halo // 2), shape)):
        return tile
    return box_union(tile, clip_box(pad_box(exact, halo), shape))


def _grid_span(centre: float, length: int, core: int, halo: int) -> tuple[int, int]:
    """Return begin and end, along one axis, of the tile whose core holds ``centre``."""
    size = core + 2 * halo
    if length <= size:
        return 0, length
    begin = int(centre // core) * core - halo
    begin = min(max(begin, 0), length - size)
    return begin, begin + size


def _holds(outer: Box, inner: Box) -> bool:
    return box_intersection(outer, inner) == inner


def read_tile(source: ImageSource, box: Box, mpp: float | None) -> Tile:
    """Read a level-0 box as a tile that knows where it lies."""
    return Tile(source.read(box), Frame((float(box[0]), float(box[1])), mpp=mpp))


def read_samples(source: ImageSource, info: ModelInfo, mpp: float | None) -> list[Tile]:
    """Read the pieces of an image that a model calibrates itself on.

    There are at most `SAMPLES`, spread over the tissue (see `sample_boxes`).
    """
    boxes = sample_boxes(source, sample_size(info, mpp), SAMPLES)
    return [read_tile(source, box, mpp) for box in boxes]
