"""The rules of large_image's annotation model that concern outlines, as JSON Schema (draft 6)."""

from __future__ import annotations

from typing import Any

POSITION: dict[str, Any] = {"type": "array", "minItems": 3, "maxItems": 3}
POSITION["items"] = {"type": "number"}

HEX = "#([0-9a-fA-F]{3}|[0-9a-fA-F]{4}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8})"
RGB = r"rgb\([0-9]+, *[0-9]+, *[0-9]+\)"
RGBA = r"rgba\([0-9]+, *[0-9]+, *[0-9]+, *[0-9]?\.?[0-9]+\)"
COLOR = {"type": "string", "pattern": f"^({HEX}|{RGB}|{RGBA})$"}

LABEL = {
    "type": "object",
    "required": ["value"],
    "additionalProperties": False,
    "properties": {
        "value": {"type": "string"},
        "visibility": {"enum": ["hidden", "always", "onhover"]},
        "fontSize": {"type": "number", "exclusiveMinimum": 0},
        "color": COLOR,
    },
}

POLYLINE = {
    "type": "object",
    "required": ["type", "points"],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9a-f]{24}$"},
        "type": {"const": "polyline"},
        "user": {"type": "object"},
        "label": LABEL,
        "group": {"type": "string"},
        "lineColor": COLOR,
        "lineWidth": {"type": "number", "minimum": 0},
        "fillColor": COLOR,
        "pattern": {"type": "string"},
        "closed": {"type": "boolean"},
        "points": {"type": "array", "minItems": 2, "items": POSITION},
        "holes": {"type": "array", "items": {"type": "array", "minItems": 3, "items": POSITION}},
    },
}

ANNOTATION = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "description": {"type": "string"},
        "display": {"type": "object"},
        "attributes": {"type": "object"},
        "elements": {"type": "array", "items": POLYLINE},
    },
}
