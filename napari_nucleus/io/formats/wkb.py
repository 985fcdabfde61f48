"""Well-known binary (OGC 06-103r4) of anybody's: looked through before GEOS sees it.

GEOS calls itself for every geometry inside of another one, and a few hundred kilobytes of nested
collections crash the program. What comes through here are polygons and multipolygons whose counts
fit their bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_nucleus.errors import AnnotationError

__all__ = ["polygons_of_wkb"]

POLYGON, MULTIPOLYGON = 3, 6

Z, M, REFERENCE = 0x80000000, 0x40000000, 0x20000000
"""Flags of PostGIS's form, in which heights are not told by thousands."""


def polygons_of_wkb(
    name: str, blobs: Sequence[bytes | None]
) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
    """Return the polygons in blobs.

    Parameters
    ----------
    name
        Of the file, for errors.
    blobs
        n geometries, None where there is none.

    Returns
    -------
    polygons
        ``(n,)`` shapely polygons and multipolygons; empty ones for what has no area.
    has_area
        ``(n,)`` False for points, lines, collections and None.

    Raises
    ------
    AnnotationError
        If one is no WKB.
    """
    has_area = np.zeros(len(blobs), bool)
    for i, blob in enumerate(blobs):
        if blob is None:
            continue
        try:
            has_area[i] = _checked(blob)
        except (struct.error, ValueError) as error:
            raise AnnotationError(f"{name}: geometry {i + 1} is damaged, or no WKB.") from error
    polygons = np.full(len(blobs), shapely.Polygon(), object)
    chosen = np.flatnonzero(has_area)
    if len(chosen):
        try:
            some = shapely.from_wkb(np.array([blobs[i] for i in chosen.tolist()], object))
        except shapely.GEOSException as error:
            raise AnnotationError(f"{name}: a geometry is damaged ({error}).") from error
        polygons[chosen] = some
        if not np.isfinite(shapely.get_coordinates(some)).all():
            raise AnnotationError(f"{name}: a geometry has a coordinate that is no number.")
    return polygons, has_area


def _checked(blob: bytes) -> bool:
    """Return True for polygons alone; `ValueError` or `struct.error` if counts do not fit."""
    kind, place, order, width = _header(blob, 0)
    if kind not in (POLYGON, MULTIPOLYGON):
        return False
    if kind == POLYGON:
        _skip_polygon(blob, place, order, width)
        return True
    (count,) = struct.unpack_from(order + "I", blob, place)
    place += 4
    for _ in range(count):
        kind, place, order, width = _header(blob, place)
        if kind != POLYGON:
            raise ValueError("a multipolygon of other geometries")
        place = _skip_polygon(blob, place, order, width)
    return True


def _header(blob: bytes, place: int) -> tuple[int, int, str, int]:
    """Return the type, where its content begins, the byte order and the bytes of a position."""
    if place >= len(blob) or blob[place] > 1:
        raise ValueError("no byte order")
    order = "<" if blob[place] else ">"
    (code,) = struct.unpack_from(order + "I", blob, place + 1)
    kind = code & ~(Z | M | REFERENCE)
    thousands = kind // 1000
    has_z = bool(code & Z) or thousands in (1, 3)
    has_m = bool(code & M) or thousands in (2, 3)
    place += 9 if code & REFERENCE else 5
    return kind % 1000, place, order, 8 * (2 + has_z + has_m)


def _skip_polygon(blob: bytes, place: int, order: str, width: int) -> int:
    """Return where a polygon ends."""
    (rings,) = struct.unpack_from(order + "I", blob, place)
    place += 4
    for _ in range(rings):
        (corners,) = struct.unpack_from(order + "I", blob, place)
        place += 4 + corners * width
        if place > len(blob):
            raise ValueError("cut off")
    return place
