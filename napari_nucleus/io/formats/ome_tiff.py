"""OME-TIFF of instance ids: a pyramid that QuPath, Fiji and napari show quickly at any size.

Follows OME-TIFF (2016-06) with the smaller levels as SubIFDs, and OME-XML's structured
annotations: a comment holds what `class_table` says, a map the provenance and the names of classes
for people. Levels are made by leaving out every second row and column, so that each pixel still is
an id; small nuclei may lack on small levels, never on the first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_nucleus.core.geometry import Box
from napari_nucleus.io.atomic import replacing
from napari_nucleus.io.formats.base import PLAIN, Export, Format, Keeps
from napari_nucleus.io.formats.class_table import description_of
from napari_nucleus.io.formats.label_tiff import read_label_file
from napari_nucleus.io.formats.steps import steps
from napari_nucleus.io.label_planes import sampled, sampled_shape, tile_boxes
from napari_nucleus.io.labels import BUFFER, OME_NAMESPACE, SOFTWARE, TILE, label_dtype
from napari_nucleus.io.results import SegmentationResult

__all__ = ["OME_TIFF", "pyramid_shapes", "write_ome_tiff"]

SMALLEST_LEVEL = 1024
"""Pixels of the longer side from which on there are no smaller levels."""

HELD_LEVEL = 2**24
"""Pixels of a level that is held in memory, so that those below need not read everything again."""


def pyramid_shapes(shape: tuple[int, int], smallest: int = SMALLEST_LEVEL) -> list[tuple[int, int]]:
    """Return height and width of each level, each half of the one before, rounded up."""
    shapes = [shape]
    while max(shapes[-1]) > smallest:
        shapes.append(sampled_shape(shapes[-1], 2))
    return shapes


def write_ome_tiff(
    path: str | os.PathLike[str], result: SegmentationResult, export: Export = PLAIN
) -> None:
    """Write the label map of a result as OME-TIFF, tile by tile.

    Parameters
    ----------
    path
        File to write; it is complete or as it was before.
    result
        The nuclei.
    export
        Its stem names the image.

    Raises
    ------
    AnnotationError
        If the file cannot be written.
    CancelledError
        If it was cancelled.
    """
    shapes = pyramid_shapes(result.shape)
    dtype = label_dtype(int(result.ids.max(initial=0)))
    layout: dict[str, Any] = {
        "dtype": dtype,
        "tile": (TILE, TILE),
        "compression": "zlib",
        "photometric": "minisblack",
        "buffersize": BUFFER,
    }
    if result.mpp is not None:
        layout["resolutionunit"] = "CENTIMETER"
    pixels = sum(height * width for height, width in shapes)
    bigtiff = pixels * dtype.itemsize > 2**32 - 2**25
    tiles = _tiles(result, shapes, export)
    with replacing(path) as file, tifffile.TiffWriter(file, bigtiff=bigtiff, ome=True) as tiff:
        for level, shape in enumerate(shapes):
            # The writer takes as many tiles of the one iterator as the level has.
            level_tiles = (tile.astype(dtype, copy=False) for tile in tiles)
            kind = (
                {"subfiletype": 1, "metadata": None}
                if level
                else {"subifds": len(shapes) - 1, "metadata": _metadata(result, export.stem)}
            )
            if result.mpp is not None:
                kind["resolution"] = (1e4 / result.mpp / 2**level,) * 2
            tiff.write(level_tiles, shape=shape, software=SOFTWARE, **layout, **kind)
        # The last tile was taken and never asked beyond; it tells that it is done only then.
        next(tiles, None)


def _tiles(
    result: SegmentationResult, shapes: list[tuple[int, int]], export: Export
) -> Iterator[NDArray[np.int32]]:
    """Yield the tiles of all levels, the first level first."""
    # A level that is held comes from the one before it, and gives all that follow.
    last = next((k for k, s in enumerate(shapes) if k and s[0] * s[1] <= HELD_LEVEL), len(shapes))
    held = np.zeros(shapes[last] if last < len(shapes) else (0, 0), np.int32)
    pieces = [(k, box) for k, shape in enumerate(shapes) for box in tile_boxes(shape, TILE)]
    for level, box in steps(export, pieces, "tiles"):
        y0, x0, y1, x1 = box
        if level >= last:
            step = 2 ** (level - last)
            yield held[::step, ::step][y0:y1, x0:x1]
            continue
        tile = _tile(result, level, box)
        if level == last - 1 and held.size:
            held[y0 // 2 : -(-y1 // 2), x0 // 2 : -(-x1 // 2)] = tile[::2, ::2]
        yield tile


def _tile(result: SegmentationResult, level: int, box: Box) -> NDArray[np.int32]:
    return result.read(box) if not level else sampled(result.read, result.shape, 2**level, 0, box)


def _metadata(result: SegmentationResult, stem: str) -> dict[str, Any]:
    """Return what tifffile puts into the OME-XML."""
    value: dict[str, Any] = {"axes": "YX", "Name": _printable(stem)}
    if result.mpp is not None:
        for axis in "XY":
            value |= {f"PhysicalSize{axis}": result.mpp, f"PhysicalSize{axis}Unit": "µm"}
    text = description_of(result)
    if text:
        value["CommentAnnotation"] = {"Namespace": OME_NAMESPACE, "Value": text}
    used = np.unique(result.class_ids).tolist()
    told = {k: str(v) for k, v in result.provenance.items()}
    told |= {f"class {c.id}": c.name for c in result.scheme.classes if c.id in used}
    if told:
        told = {_printable(k): _printable(v) for k, v in told.items()}
        value["MapAnnotation"] = {"Namespace": f"{OME_NAMESPACE}/summary", "Value": told}
    return value


def _printable(text: str) -> str:
    """Return a text without the control characters that XML cannot hold."""
    return "".join(c for c in text if c.isprintable())


OME_TIFF = Format(
    "ome-tiff",
    "OME-TIFF labels (pyramid)",
    ".ome.tif",
    Keeps(),
    write_ome_tiff,
    read_label_file,
    endings=(".ome.tiff",),
    note="Ids above 65,535 make 32 bit pixels, which ImageJ does not show.",
)
"""Instance ids as pixels at several sizes."""
