"""What our files say beyond their format: classes, pixel size, image size, provenance.

The members have the same names in every format that takes strangers: ``type_info``, laid out as
HoVer-Net lays out its file of that name (``{"1": ["neoplastic", [230, 85, 13]]}``), ``mpp``,
``shape`` (height and width) and ``provenance``. What is read may come from anybody, so that each
function here takes any value and returns None, or nothing, for what it cannot be.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.class_names import NO_CLASS_NAMES
from napari_nucleus.core.classes import KEYS, LARGEST_ID, PANNUKE, ClassScheme, NucleusClass
from napari_nucleus.io.annotation_file import LARGEST_COORDINATE
from napari_nucleus.io.formats.base import Export
from napari_nucleus.io.results import SegmentationResult

__all__ = [
    "class_types",
    "label_map",
    "members_of",
    "names_of_types",
    "number_in",
    "provenance_in",
    "scheme_in",
    "shape_in",
    "type_info",
    "type_names_in",
    "whole_in",
]

Rgb = tuple[int, int, int]

NO_TYPE = "0"
"""Key of having no class, which HoVer-Net calls nolabe."""


def members_of(result: SegmentationResult) -> dict[str, Any]:
    """Return our members for a result; values that JSON has."""
    return {
        "type_info": type_info(result.scheme),
        "mpp": result.mpp,
        "shape": list(result.shape),
        "provenance": dict(result.provenance),
    }


def type_info(scheme: ClassScheme) -> dict[str, list[Any]]:
    """Return names and colours of classes by id, and under 0 those of having none."""
    classes = {str(c.id): [c.name, list(c.color)] for c in scheme.classes}
    return {NO_TYPE: ["unclassified", list(scheme.unknown_color)], **classes}


def class_types(result: SegmentationResult) -> NDArray[np.int32]:
    """Return the class id of each nucleus, 0 for those that the scheme does not have."""
    known = np.isin(result.class_ids, result.scheme.ids)
    return np.where(known, result.class_ids, 0).astype(np.int32)


def scheme_in(info: Any, name: str) -> ClassScheme | None:
    """Return the scheme in a ``type_info`` with colours, None where there is none.

    Parameters
    ----------
    info
        The value of the member.
    name
        Of the file, for the scheme.
    """
    if not isinstance(info, Mapping):
        return None
    classes: list[NucleusClass] = []
    unknown: Rgb | None = None
    for key, entry in info.items():
        number, label, color = _type(key, entry)
        if number is None or label is None or color is None:
            return None
        if label.casefold() in NO_CLASS_NAMES or number == 0:
            unknown = color
        else:
            place = len(classes)
            key_of_class = KEYS[place] if place < len(KEYS) else ""
            classes.append(NucleusClass(number, label, color, key_of_class))
    try:
        scheme = ClassScheme(name, tuple(classes))
        return scheme if unknown is None else ClassScheme(name, scheme.classes, unknown)
    except ValueError:
        return None


def _type(key: Any, entry: Any) -> tuple[int | None, str | None, Rgb | None]:
    number = whole_in(key)
    if number is None or not 0 <= number <= LARGEST_ID or not isinstance(entry, list | tuple):
        return None, None, None
    if len(entry) != 2 or not isinstance(entry[0], str) or not entry[0].strip():
        return None, None, None
    return number, entry[0], color_in(entry[1])


def color_in(value: Any) -> Rgb | None:
    """Return a colour that is a list of three numbers in 0–255, or ``#rrggbb``."""
    if isinstance(value, str) and len(value) == 7 and value.startswith("#"):
        try:
            value = list(bytes.fromhex(value[1:]))
        except ValueError:
            return None
    if not isinstance(value, list | tuple) or len(value) != 3:
        return None
    red, green, blue = (whole_in(v) for v in value)
    if red is None or green is None or blue is None:
        return None
    return (red, green, blue) if all(0 <= v <= 255 for v in (red, green, blue)) else None


def type_names_in(info: Any) -> dict[int, str] | None:
    """Return names by type number, whichever of both comes first; None where there are none.

    Takes ``type_info`` and CellViT's ``type_map``: ``{"1": "Neoplastic"}``, ``{"Neoplastic": 1}``.
    """
    if not isinstance(info, Mapping):
        return None
    names: dict[int, str] = {}
    for key, entry in info.items():
        label = entry[0] if isinstance(entry, list | tuple) and entry else entry
        number = whole_in(key)
        if number is None:
            number, label = whole_in(label), key
        if number is not None and isinstance(label, str):
            names[number] = label
    return names or None


def names_of_types(
    types: Iterable[int | None], names: Mapping[int, str] | None, name: str, notes: list[str]
) -> list[str | None]:
    """Return the class name of each nucleus by its type number.

    Parameters
    ----------
    types
        Type number of each of n nuclei, None or 0 for none.
    names
        Names by number, None where the file has none: then 1–5 are PanNuke's.
    name
        Of the file, for notes.
    notes
        Gets a sentence where names had to be assumed.
    """
    numbers = list(types)
    if names is None:
        used = {t for t in numbers if t}
        if used and used <= set(PANNUKE.ids):
            names = {c.id: c.name for c in PANNUKE.classes}
            known = ", ".join(f"{i} {label}" for i, label in names.items())
            notes.append(f"{name}: its types have no names; taken for PanNuke's ({known}).")
        elif used:
            names = {}
            notes.append(f"{name}: its types have no names; called by their numbers.")
    some = names or {}
    return [some.get(t, f"type {t}") if t else None for t in numbers]


def whole_in(value: Any) -> int | None:
    """Return a whole number, also one written as text or as a float; None for all else."""
    if isinstance(value, bool | np.bool_):
        return None
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return int(value)
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
        return int(value)
    return None


def number_in(value: Any) -> float | None:
    """Return a finite number, None for all else."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
        return None
    try:
        number = float(value)  # pyright: ignore[reportArgumentType]
    except (OverflowError, TypeError):
        return None
    return number if np.isfinite(number) else None


def shape_in(value: Any) -> tuple[int, int] | None:
    """Return height and width, None where a value is no size of an image."""
    if not isinstance(value, Sequence | np.ndarray) or len(value) != 2:
        return None
    height, width = (whole_in(v) for v in value)
    if height is None or width is None:
        return None
    fits = 1 <= height <= LARGEST_COORDINATE and 1 <= width <= LARGEST_COORDINATE
    return (height, width) if fits else None


def provenance_in(value: Any) -> dict[str, str | float | int]:
    """Return what is plain in a member of provenance."""
    if not isinstance(value, Mapping):
        return {}
    return {
        k: v for k, v in value.items() if isinstance(k, str) and isinstance(v, str | float | int)
    }


def label_map(
    result: SegmentationResult, export: Export, numbered: bool = False
) -> NDArray[np.int32]:
    """Return the labels ``(H, W)`` of a result, for formats that hold all of them at once.

    Parameters
    ----------
    result
        The nuclei.
    export
        Who is told how far it is, and may cancel.
    numbered
        Number the nuclei from 1 on, in the order of their ids.

    Raises
    ------
    CancelledError
        If it was cancelled.
    """
    whole = np.zeros(result.shape, np.int32)
    for block in export.blocks(result):
        y0, x0, y1, x1 = block.box
        inside = block.labels > 0
        found = block.labels[inside]
        if numbered:
            found = block.rows[np.searchsorted(block.ids, found)] + 1
        whole[y0:y1, x0:x1][inside] = found
    return whole
