"""Attributes of nuclei in tables of anybody's: under which names, and what their values may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.io.formats.members import color_in, names_of_types, whole_in

__all__ = ["CLASSES", "IDS", "SCORES", "class_names_in"]

IDS = ("id", "label", "label_id", "nucleus_id", "cell_id", "object_id", "instance_id")
CLASSES = ("class", "classification", "class_name", "cell_type", "type", "label", "class_id")
SCORES = ("score", "prob", "probability", "type_prob", "confidence")
"""Names in small letters, those that say most first."""


def class_names_in(
    values: Sequence[Any], scheme: ClassScheme | None, name: str, notes: list[str]
) -> tuple[list[str | None], dict[str, tuple[int, int, int]]]:
    """Return class names, and colours, of values as programs write them.

    Parameters
    ----------
    values
        Of n nuclei: names, numbers, or QuPath's objects of name and colour, also as JSON text.
    scheme
        Of the file, which says what numbers mean; None without one.
    name, notes
        See `members.names_of_types`.
    """
    names: list[str | None] = []
    colors: dict[str, tuple[int, int, int]] = {}
    numbers: dict[int, int] = {}
    known: dict[str, Any] = {}
    for i, value in enumerate(values):
        if isinstance(value, str) and value.startswith("{"):
            value = known.setdefault(value, _object(value))
        if isinstance(value, Mapping):
            label, color = value.get("name"), color_in(value.get("color"))
            label = label if isinstance(label, str) else None
            if label and color:
                colors.setdefault(label, color)
            names.append(label)
        elif isinstance(value, str):
            names.append(value)
        else:
            number = whole_in(value)
            if number is not None:
                numbers[i] = number
            names.append(None)
    types = None if scheme is None else {c.id: c.name for c in scheme.classes}
    called = names_of_types(numbers.values(), types, name, notes)
    for i, label in zip(numbers, called, strict=True):
        names[i] = label
    return names, colors


def _object(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
