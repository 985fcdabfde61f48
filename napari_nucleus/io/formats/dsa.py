"""Annotations of the Digital Slide Archive: JSON for HistomicsUI and large_image.

Follows the schema of large_image's annotations: an outline is a closed polyline of ``[x, y, 0]`` in
pixels of the base layer with the origin in the top-left corner, with its holes; a nucleus of
several parts is several elements of the same ``user.id``. Class is label and group, so that
HistomicsUI lists and colours by class; id and score are in ``user``, which is free. What concerns
all nuclei is in the annotation's free ``attributes``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.annotation_file import AnnotationFile, Stated, of_polygons
from napari_nucleus.io.atomic import replacing
from napari_nucleus.io.formats.base import PLAIN, Export, Format, Keeps
from napari_nucleus.io.formats.geojson_shapes import Rings, polygons_of_parts, shown
from napari_nucleus.io.formats.members import members_of, number_in, whole_in
from napari_nucleus.io.formats.our_text import OUR_KEY, stated_in_value
from napari_nucleus.io.formats.rings import corners_in, ellipse, ring_of, rings_of
from napari_nucleus.io.results import ResultBlock, SegmentationResult

__all__ = ["DSA", "is_dsa", "read_dsa", "write_dsa"]

NOT_OUTLINES = ("point", "arrow", "heatmap", "griddata", "image", "pixelmap", "rectanglegrid")
"""Kinds of elements that are no outlines of anything."""


def write_dsa(path: Path, result: SegmentationResult, export: Export = PLAIN) -> None:
    """Write the nuclei of an image as one annotation.

    Raises
    ------
    AnnotationError
        If the file cannot be written.
    CancelledError
        If it was cancelled; a file that was there is as it was.
    """
    head: dict[str, Any] = {
        "name": export.stem,
        "description": f"{len(result)} nuclei",
        "attributes": {OUR_KEY: members_of(result)},
    }
    with replacing(path) as file:
        file.write(_json(head).removesuffix(b"}") + b',"elements":[')
        separator = b"\n"
        for block in export.blocks(result):
            file.write(separator + b",\n".join(_json(e) for e in _elements(block, export)))
            separator = b",\n"
        file.write(b"\n]}\n")


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def _elements(block: ResultBlock, export: Export) -> Iterator[dict[str, Any]]:
    scheme = block.result.scheme
    rows = zip(
        block.ids.tolist(),
        block.class_ids.tolist(),
        np.round(block.scores.astype(np.float64), 4).tolist(),
        rings_of(export.outlines(block)),
        strict=True,
    )
    for number, class_id, score, parts in rows:
        label, (red, green, blue) = scheme.name_of(class_id), scheme.color_of(class_id)
        user: dict[str, Any] = {"id": number}
        if np.isfinite(score):
            user["score"] = score
        for part, (shell, *holes) in enumerate(parts, 1):
            element: dict[str, Any] = {
                "type": "polyline",
                "closed": True,
                "points": _flat(shell),
                "lineColor": f"rgb({red}, {green}, {blue})",
                "fillColor": f"rgba({red}, {green}, {blue}, 0.2)",
                "lineWidth": 1,
                "label": {"value": label},
                "group": label,
                "user": user | {"part": part, "parts": len(parts)} if len(parts) > 1 else user,
            }
            if holes:
                element["holes"] = [_flat(hole) for hole in holes]
            yield element


def _flat(ring: np.ndarray) -> np.ndarray:
    """Return corners with a height of zero, which the schema asks for."""
    return np.column_stack([ring, np.zeros(len(ring), ring.dtype)])


def is_dsa(value: Any) -> bool:
    """Return True for an annotation, one as the server wraps it, or a list of such."""
    if isinstance(value, list):
        return bool(value) and isinstance(value[0], dict) and is_dsa(value[0])
    if not isinstance(value, dict):
        return False
    inner = value.get("annotation", value)
    elements = inner.get("elements") if isinstance(inner, dict) else None
    return isinstance(elements, list) and all(
        isinstance(e, dict) and isinstance(e.get("type"), str) for e in elements[:1]
    )


@dataclass(slots=True)
class _Found:
    """What the elements say, nucleus by nucleus."""

    outlines: list[list[Rings]] = field(default_factory=list)
    ids: list[int | None] = field(default_factory=list)
    classes: list[str | None] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    colors: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    parted: dict[tuple[int, int], int] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)


def read_dsa(value: Any, name: str) -> AnnotationFile:
    """Read closed polylines, rectangles, ellipses and circles of annotations.

    Raises
    ------
    AnnotationError
        If an element is none that large_image would take.
    """
    found = _Found()
    stated: dict[str, Any] = {}
    annotations = value if isinstance(value, list) else [value]
    for place, wrapped in enumerate(annotations):
        one = wrapped.get("annotation", wrapped) if isinstance(wrapped, dict) else None
        elements = one.get("elements") if isinstance(one, dict) else None
        if not isinstance(one, dict) or not isinstance(elements, list):
            raise AnnotationError(f"{name}: annotation {place + 1} has no list of elements.")
        attributes = one.get("attributes")
        if isinstance(attributes, dict) and not stated:
            stated = stated_in_value(attributes.get(OUR_KEY), name)
        for number, element in enumerate(elements, 1):
            _take(element, place, name, f"element {number}", found)
    notes = [f"{name}: {n:,} elements {why}; left out." for why, n in found.others.items()]
    return of_polygons(
        name,
        polygons_of_parts(found.outlines),
        Stated(
            ids=found.ids if any(i is not None for i in found.ids) else None,
            classes=found.classes,
            colors=found.colors,
            scores=found.scores,
            notes=notes,
            **stated,
        ),
    )


def _take(element: Any, place: int, name: str, where: str, found: _Found) -> None:
    """Add what an element says to what was found."""
    if not isinstance(element, dict):
        raise AnnotationError(f"{name}: {where} is {shown(element)}, no object.")
    rings = _rings(element, name, where)
    if rings is None:
        found.others["are no closed outlines"] += 1
        return
    user = element.get("user")
    user = user if isinstance(user, dict) else {}
    number = whole_in(user.get("id"))
    if number is not None and (whole_in(user.get("parts")) or 1) > 1:
        row = found.parted.setdefault((place, number), len(found.outlines))
        if row < len(found.outlines):
            found.outlines[row].append(rings)
            return
    label = element.get("label")
    label = label.get("value") if isinstance(label, dict) else element.get("group")
    label = label if isinstance(label, str) else None
    color = _color(element.get("lineColor"))
    if label and color:
        found.colors.setdefault(label, color)
    score = number_in(user.get("score", user.get("prob")))
    found.outlines.append([rings])
    found.ids.append(number)
    found.classes.append(label)
    found.scores.append(float("nan") if score is None else score)


def _rings(element: Mapping[str, Any], name: str, where: str) -> Rings | None:
    """Return shell and holes of an element, None if it is no outline."""
    kind = element.get("type")
    if kind in NOT_OUTLINES or (kind == "polyline" and element.get("closed") is not True):
        return None
    if kind == "polyline":
        holes = element.get("holes", [])
        if not isinstance(holes, list):
            raise AnnotationError(f"{name}: {where} has {shown(holes)} as its holes, no list.")
        rings = [ring_of(corners_in(r, name, where)) for r in (element.get("points"), *holes)]
        return [ring for ring in rings if len(ring)] if len(rings[0]) else []
    if kind not in ("rectangle", "ellipse", "circle"):
        raise AnnotationError(f"{name}: {where} is of the kind {shown(kind)}, which is unknown.")
    (middle,) = corners_in([element.get("center")], name, where).reshape(-1, 2)[:1]
    sides = [element.get(k) for k in ("width", "height")]
    if kind == "circle":
        sides = [2 * (number_in(element.get("radius")) or 0)] * 2
    width, height = (number_in(side) or 0.0 for side in sides)
    angle = number_in(element.get("rotation")) or 0.0
    half = np.array([width, height]) / 2
    low, high = middle - half, middle + half
    if kind != "rectangle":
        return [ring_of(ellipse((low[0], low[1], high[0], high[1]), angle))]
    corners = np.array([low, [high[0], low[1]], high, [low[0], high[1]]]) - middle
    turned = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return [ring_of(corners @ turned + middle)]


def _color(text: Any) -> tuple[int, int, int] | None:
    """Return a colour of the forms ``#rrggbb``, ``#rgb`` and ``rgb(r, g, b)``, also with alpha."""
    if not isinstance(text, str) or len(text) > 40:
        return None
    if found := re.fullmatch(r"#([0-9a-fA-F]{3})[0-9a-fA-F]?", text):
        red, green, blue = bytes.fromhex("".join(c + c for c in found[1]))
        return red, green, blue
    if found := re.fullmatch(r"#([0-9a-fA-F]{6})(?:[0-9a-fA-F]{2})?", text):
        red, green, blue = bytes.fromhex(found[1])
        return red, green, blue
    if found := re.match(r"rgba?\((\d{1,3}),\s*(\d{1,3}),\s*(\d{1,3})", text):
        red, green, blue = (min(int(v), 255) for v in found.groups())
        return red, green, blue
    return None


DSA = Format(
    "dsa",
    "DSA / HistomicsUI JSON",
    ".dsa.json",
    Keeps(),
    write_dsa,
    endings=(".json", ".json.gz"),
    is_json=is_dsa,
    read_json=read_dsa,
    note="HistomicsUI shows some ten thousand nuclei of one annotation well.",
)
"""Annotations of the Digital Slide Archive."""
