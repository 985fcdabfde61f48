"""Regions and borders that were drawn in QuPath or elsewhere, from GeoJSON.

Coordinates are level-0 pixels ``(x, y)`` with a corner origin, as QuPath exports them. Nuclei
(detections, cells) in the same file are no regions.
"""

from __future__ import annotations

import gzip
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import shapely
from shapely.geometry import shape

from napari_nucleus.errors import AnnotationError

__all__ = ["DrawnRegion", "read_regions"]

NUCLEUS_TYPES = ("detection", "cell", "tile")


@dataclass(frozen=True, eq=False, slots=True)
class DrawnRegion:
    """A polygon or several ``(x, y)``, under the name or the class that it was given."""

    name: str
    geometry: shapely.Geometry


def read_regions(path: str | os.PathLike[str]) -> list[DrawnRegion]:
    """Read the regions of a GeoJSON file, compressed or not; each has a name of its own.

    Raises
    ------
    AnnotationError
        If the file cannot be read, or there is no polygon in it.
    """
    path = Path(path)
    value = _json(path)
    features = value.get("features") if isinstance(value, dict) and "features" in value else value
    if not isinstance(features, list):
        features = [features]
    regions: list[DrawnRegion] = []
    for feature in features:
        if not isinstance(feature, dict):
            raise AnnotationError(f"{path.name}: {feature!r} is no GeoJSON feature.")
        properties = feature.get("properties") or {}
        if properties.get("objectType") in NUCLEUS_TYPES:
            continue
        geometry = _geometry(feature.get("geometry", feature), path.name)
        if geometry is not None:
            regions.append(DrawnRegion(_name(properties, regions), geometry))
    if not regions:
        raise AnnotationError(
            f"{path.name}: there is no polygon in it; draw regions, and export them as GeoJSON."
        )
    return regions


def _json(path: Path) -> Any:
    try:
        data = path.read_bytes()
        return orjson.loads(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
    except FileNotFoundError as error:
        raise AnnotationError(f"{path.name}: there is no such file (any more).") from error
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AnnotationError(f"{path.name}: the file cannot be read ({reason}).") from error
    except orjson.JSONDecodeError as error:
        raise AnnotationError(f"{path.name}: the file is no GeoJSON ({error}).") from error


def _geometry(value: Any, name: str) -> shapely.Geometry | None:
    """Return the polygons of a GeoJSON geometry, made valid; None for points and lines."""
    if not isinstance(value, dict) or "type" not in value:
        raise AnnotationError(f"{name}: a feature has no geometry.")
    if value["type"] not in ("Polygon", "MultiPolygon", "GeometryCollection"):
        return None
    try:
        geometry = shape(value)
    except (AttributeError, KeyError, TypeError, ValueError, shapely.GEOSException) as error:
        raise AnnotationError(f"{name}: a {value['type']} is damaged ({error}).") from error
    whole = shapely.make_valid(geometry, method="structure", keep_collapsed=False)
    parts = [p for p in shapely.get_parts(whole).tolist() if shapely.area(p) > 0]
    return shapely.union_all(parts) if parts else None


def _name(properties: dict[str, Any], before: list[DrawnRegion]) -> str:
    classification = properties.get("classification")
    if isinstance(classification, dict):
        classification = classification.get("name")
    wanted = str(properties.get("name") or classification or f"region {len(before) + 1}").strip()
    taken = {region.name for region in before}
    others = (f"{wanted} {number}" for number in range(2, len(before) + 3))
    return wanted if wanted not in taken else next(n for n in others if n not in taken)
