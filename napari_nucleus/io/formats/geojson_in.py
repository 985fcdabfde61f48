"""GeoJSON in: what QuPath, CellViT, InstanSeg and programs for maps write of nuclei.

Follows QuPath's reader in what it accepts: a FeatureCollection, an array, one Feature or one bare
geometry; classifications as ``{name, color}``, as text, as a list of names, as null or with the
``colorRGB`` of old versions; measurements as an object or a list; children in ``childObjects``.
Beyond it, rings that are not closed are, and features without a geometry are passed over.

What is a nucleus: every detection and cell, of which the nucleus is taken where there is one; an
annotation, since QuPath draws by hand nothing else, unless it has children or holds the centres of
`REGION` other outlines, which makes it a region. An annotation of several parts is what CellViT
writes for each class, so each part is a nucleus. CellViT's outlines run through the centres of the
outermost pixels, and are taken as they stand, as QuPath takes them: half a pixel is missing all
around, which its ``cells.json`` has.

Ids are looked for in the metadata, where `geojson` writes them, then in names, then in features.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import shapely
from numpy.typing import NDArray

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.core.nuclei import counted
from napari_nucleus.core.schemes import scheme_of_text
from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.annotation_file import (
    LARGEST_COORDINATE,
    LARGEST_ID,
    AnnotationFile,
    Stated,
    of_polygons,
)
from napari_nucleus.io.formats.geojson_parts import missing_parts
from napari_nucleus.io.formats.geojson_shapes import (
    GEOMETRIES,
    Rings,
    parts_of,
    polygons_of_parts,
    shown,
)
from napari_nucleus.io.results import Provenance

__all__ = ["is_geojson", "read_geojson"]

NUCLEI = {
    "detection": "detection",
    "pathdetectionobject": "detection",
    "cell": "cell",
    "pathcellobject": "cell",
}
"""Types of objects, in small letters, that are surely nuclei; the long ones are QuPath 0.2's."""

OTHERS = (
    "tile",
    "pathtileobject",
    "tmacore",
    "tma_core",
    "tmacoreobject",
    "root",
    "pathrootobject",
)
"""Types of objects that are never nuclei."""

REGION = 3
"""Centres of other outlines in an annotation that make it a region."""

LARGER = 4
"""Times the usual box of an outline: smaller annotations are not asked whether they are regions."""

MOST_REGIONS = 500
"""Annotations, the largest, that are asked; no slide has more regions."""

SCORES = ("score", "probability", "detection probability", "prob", "type_prob", "confidence")
"""Names of measurements, in small letters, that are scores; the first that is there counts."""


def is_geojson(value: Any) -> bool:
    """Return True if a value of JSON is GeoJSON, or an array of it."""
    if isinstance(value, list):
        return all(isinstance(v, dict) and is_geojson(v) for v in value[:1])
    if not isinstance(value, dict):
        return False
    kind = value.get("type")
    if isinstance(kind, str) and kind in GEOMETRIES:
        return "coordinates" in value or "geometries" in value
    return kind in ("Feature", "FeatureCollection") or isinstance(value.get("features"), list)


@dataclass(slots=True)
class _Found:
    """What the features say, outline by outline; ``is_open`` where it may be a region."""

    geometries: list[list[Rings]] = field(default_factory=list)
    classes: list[str | None] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    ids: list[tuple[Any, Any, Any]] = field(default_factory=list)
    is_open: list[bool] = field(default_factory=list)
    is_parent: list[bool] = field(default_factory=list)
    colors: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    parted: int = 0


def read_geojson(value: Any, name: str) -> AnnotationFile:
    """Read the nuclei of a value of GeoJSON.

    Parameters
    ----------
    value
        Of which `is_geojson` is true.
    name
        Of the file, for errors and notes.

    Raises
    ------
    AnnotationError
        If a part of it is not what GeoJSON has there; it names the feature and the value.
    """
    found = _Found()
    for number, feature in enumerate(_features(value), 1):
        _take(feature, f"{name}: feature {number}", found)
    polygons = polygons_of_parts(found.geometries)
    keep = ~_regions(polygons, found)
    if not keep.all():
        around = "drawn around other outlines, so regions and no nuclei"
        found.left_out[around] += int((~keep).sum())
    notes = [f"{name}: {n:,} outlines {why}; left out." for why, n in found.left_out.items()]
    if found.parted:
        notes.append(
            f"{name}: {found.parted:,} annotations have several parts; each is taken for a nucleus."
        )
    rows = np.flatnonzero(keep).tolist()
    members = value if isinstance(value, dict) else {}
    stated = Stated(
        ids=_ids([found.ids[i] for i in rows], name, notes),
        classes=[found.classes[i] for i in rows],
        colors=found.colors,
        scores=[found.scores[i] for i in rows],
        scheme=_scheme(members.get("classes")),
        shape=_shape(members.get("image")),
        mpp=_mpp(members.get("image")),
        provenance=_provenance(members.get("provenance")),
        notes=[*notes, *missing_parts(members.get("parts"), name)],
    )
    return of_polygons(name, polygons[keep], stated)


def _features(value: Any) -> Iterator[Any]:
    """Yield features in their order, children after their parents, however deep they lie."""
    stack = [value]
    while stack:
        one = stack.pop()
        if isinstance(one, list):
            stack.extend(reversed(one))
        elif isinstance(one, dict) and isinstance(one.get("features"), list):
            stack.extend(reversed(one["features"]))
        else:
            yield one
            properties = one.get("properties") if isinstance(one, dict) else None
            if isinstance(properties, dict):
                stack.extend(reversed(_children(properties)))


def _children(properties: Mapping[str, Any]) -> list[Any]:
    found = properties.get("childObjects", properties.get("children"))
    return found if isinstance(found, list) else []


def _take(feature: Any, where: str, found: _Found) -> None:
    """Add what a feature says to what was found."""
    if not isinstance(feature, dict):
        raise AnnotationError(f"{where} is {shown(feature)}, no object.")
    if feature.get("type") in GEOMETRIES:  # QuPath makes an annotation of a bare geometry
        feature = {"geometry": feature, "properties": {"objectType": "annotation"}}
    elif feature.get("type") == "FeatureCollection":
        raise AnnotationError(f"{where} is a collection without a list of features.")
    properties = feature.get("properties")
    properties = {} if properties is None else properties
    if not isinstance(properties, dict):
        raise AnnotationError(f"{where} has {shown(properties)} as its properties, no object.")
    stated = properties.get("objectType", properties.get("object_type"))
    # QuPath 0.2 had the type of an object in the place of its id.
    low = str(stated or feature.get("id") or "").casefold()
    if low in OTHERS:
        found.left_out["of tiles, cores or whole images"] += 1
        return
    kind = NUCLEI.get(low, "annotation" if stated is not None else "")
    nucleus = feature.get("nucleusGeometry") if kind == "cell" else None
    geometry = feature.get("geometry") if nucleus is None else nucleus
    if geometry is None:
        found.left_out["without a geometry"] += 1
        return
    parts = parts_of(geometry, where)
    if parts is None:
        found.left_out["that are points or lines"] += 1
        return
    class_name, color = _class(properties.get("classification"), where)
    if class_name is not None and color is not None:
        found.colors.setdefault(class_name, color)
    metadata = properties.get("metadata")
    ids = (
        metadata.get("id") if isinstance(metadata, dict) else None,
        properties.get("name"),
        feature.get("id"),
    )
    several = kind == "annotation" and len(parts) > 1
    found.parted += several
    for geometry in [[part] for part in parts] if several else [parts]:
        found.geometries.append(geometry)
        found.classes.append(class_name)
        found.scores.append(_score(properties))
        found.ids.append((None, None, None) if several else ids)
        found.is_open.append(kind in ("annotation", ""))
        found.is_parent.append(bool(_children(properties)))


def _regions(polygons: NDArray[np.object_], found: _Found) -> NDArray[np.bool_]:
    """Return which outlines were drawn around others."""
    is_open = np.array(found.is_open, bool)
    regions = is_open & np.array(found.is_parent, bool)
    bounds = shapely.bounds(polygons).reshape(-1, 4)
    with np.errstate(all="ignore"):  # coordinates that are none are refused later, with a reason
        sizes = np.nan_to_num((bounds[:, 2:] - bounds[:, :2]).prod(axis=1))
        middles = (bounds[:, :2] + bounds[:, 2:]) / 2
    if not len(sizes):
        return regions
    asked = np.flatnonzero(is_open & ~regions & (sizes > LARGER * np.median(sizes)))
    asked = asked[np.argsort(-sizes[asked], kind="stable")][:MOST_REGIONS]
    # The middles of boxes, since centres ask for valid outlines.
    points = np.full(len(middles), None, object)
    known = np.isfinite(middles).all(axis=1)
    points[known] = shapely.points(middles[known])
    tree = shapely.STRtree(points)
    for i in asked.tolist():
        near = tree.query(polygons[i])
        near = near[near != i]
        shapely.prepare(polygons[i])
        # A few tell it of nearly every region.
        regions[i] = any(
            np.count_nonzero(shapely.intersects_xy(polygons[i], middles[some])) >= REGION
            for some in (near[:: max(len(near) // 100, 1)], near)
        )
    return regions


def _class(value: Any, where: str) -> tuple[str | None, tuple[int, int, int] | None]:
    """Return name and colour of a classification, None for what it does not state."""
    if value is None:
        return None, None
    if isinstance(value, str | list):
        value = {"name": value}
    if not isinstance(value, dict):
        raise AnnotationError(f"{where} has {shown(value)} as its classification.")
    label = value.get("name")
    label = value.get("names") if label is None else label
    if isinstance(label, list) and all(isinstance(v, str) for v in label):
        label = ": ".join(label)
    if label is not None and not isinstance(label, str):
        raise AnnotationError(f"{where} has {shown(label)} as the name of its class.")
    color = value.get("color") or value.get("colorRGB")
    return (label or "").strip() or None, _color(color)


def _color(value: Any) -> tuple[int, int, int] | None:
    """Return a colour; QuPath packs one into a signed whole number, opaque white being -1."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (value >> 16) & 255, (value >> 8) & 255, value & 255
    if not isinstance(value, list) or len(value) not in (3, 4):
        return None
    red, green, blue = value[:3]
    for v in (red, green, blue):
        if not isinstance(v, int) or isinstance(v, bool) or not 0 <= v <= 255:
            return None
    return red, green, blue


def _score(properties: Mapping[str, Any]) -> float:
    """Return the score that measurements or properties state, nan without one."""
    stated = properties.get("measurements")
    if isinstance(stated, list):
        stated = {m.get("name"): m.get("value") for m in stated if _is_measurement(m)}
    for values in (stated, properties):
        if not isinstance(values, dict):
            continue
        numbers = {k.casefold(): v for k, v in values.items() if isinstance(v, int | float)}
        score = next((numbers[k] for k in SCORES if k in numbers), None)
        if score is not None and abs(score) <= LARGEST_COORDINATE:
            return float(score)
    return float("nan")


def _is_measurement(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("name"), str)


def _ids(
    stated: list[tuple[Any, Any, Any]], name: str, notes: list[str]
) -> list[int | None] | None:
    """Return the ids of nuclei: those of the metadata, or of a place where all have one."""
    own = [_whole(metadata) for metadata, _, _ in stated]
    if any(own):
        return _completed(own, name, notes)
    for place in (1, 2):
        ids = [_whole(one[place]) for one in stated]
        if ids and all(ids) and len(set(ids)) == len(ids):
            return ids
    return None


def _completed(ids: list[int | None], name: str, notes: list[str]) -> list[int | None]:
    """Return ids of which none is missing or comes twice.

    QuPath keeps the metadata of a nucleus for both halves when it is split, and what is drawn
    there has none.
    """
    seen: set[int] = set()
    top = max(i for i in ids if i)
    given = 0
    for place, number in enumerate(ids):
        if number is None or number in seen:
            given += 1
            ids[place] = number = top + given
        seen.add(number)
    if given:
        notes.append(f"{name}: {counted(given)} had no id of their own; they have got new ones.")
    return ids


def _whole(value: Any) -> int | None:
    """Return an id from 1, or None for what is none."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 11:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST_ID:
        return value
    return None


def _scheme(value: Any) -> ClassScheme | None:
    """Return the class scheme beside the features, None if there is none or not ours."""
    if not isinstance(value, dict):
        return None
    with suppress(ValueError):
        return scheme_of_text(orjson.dumps(value))
    return None


def _shape(image: Any) -> tuple[int, int] | None:
    if not isinstance(image, dict):
        return None
    sides = image.get("height"), image.get("width")
    if all(type(side) is int and 1 <= side <= LARGEST_COORDINATE for side in sides):
        return sides  # type: ignore[return-value]
    return None


def _mpp(image: Any) -> float | None:
    mpp = image.get("mpp") if isinstance(image, dict) else None
    return float(mpp) if isinstance(mpp, int | float) and not isinstance(mpp, bool) else None


def _provenance(value: Any) -> Provenance:
    if not isinstance(value, dict):
        return {}
    return {
        k: v
        for k, v in value.items()
        if isinstance(v, str | int | float) and not isinstance(v, bool)
    }
