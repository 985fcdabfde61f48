"""Class schemes by name, and how nuclei go from the classes of one scheme to those of another.

The rule, class by class: what the user decided (`ClassScheme.taken_in`) goes first, then the class
of the same name, then the first of `SYNONYMS` that the other scheme has. What has no counterpart
becomes unclassified; nothing is guessed. Two cases to know of: MoNuSAC splits what PanNuke calls
inflammatory, so such nuclei become unclassified there unless the user decides; and what CoNSeP and
MoNuSAC call epithelial may be malignant, while PanNuke has a class of its own for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import index
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from napari_nucleus.core.classes import PANNUKE, ClassScheme, NucleusClass

__all__ = [
    "CONSEP",
    "MONUSAC",
    "SCHEMES",
    "SYNONYMS",
    "class_mapping",
    "mapped_ids",
    "mapped_probabilities",
    "scheme_of_text",
    "text_of_scheme",
]

_GREEN, _CYAN, _BLUE = (10, 175, 85), (0, 204, 252), (0, 114, 220)
_BLACK, _VERMILION = (20, 20, 20), (230, 85, 13)

CONSEP = ClassScheme(
    "CoNSeP",
    (
        NucleusClass(1, "other", _BLACK, "1"),
        NucleusClass(2, "inflammatory", _GREEN, "2"),
        NucleusClass(3, "epithelial", _CYAN, "3"),
        NucleusClass(4, "spindle-shaped", _BLUE, "4"),
    ),
)
"""CoNSeP's four merged classes; epithelial nuclei may be healthy or malignant."""

MONUSAC = ClassScheme(
    "MoNuSAC",
    (
        NucleusClass(1, "epithelial", _CYAN, "1"),
        NucleusClass(2, "lymphocyte", _GREEN, "2"),
        NucleusClass(3, "macrophage", _BLUE, "3"),
        NucleusClass(4, "neutrophil", _VERMILION, "4"),
    ),
)
"""MoNuSAC's four classes; epithelial nuclei may be healthy or malignant."""

SCHEMES: Mapping[str, ClassScheme] = {s.name: s for s in (PANNUKE, CONSEP, MONUSAC)}
"""The schemes that come with the program, by name."""

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "neoplastic": ("tumour", "tumor", "malignant", "epithelial"),
    "tumour": ("tumor", "neoplastic", "malignant", "epithelial"),
    "tumor": ("tumour", "neoplastic", "malignant", "epithelial"),
    "malignant": ("neoplastic", "tumour", "tumor", "epithelial"),
    "inflammatory": ("immune",),
    "immune": ("inflammatory",),
    "lymphocyte": ("inflammatory", "immune"),
    "macrophage": ("inflammatory", "immune"),
    "neutrophil": ("inflammatory", "immune"),
    "connective": ("spindle-shaped", "stromal", "stroma"),
    "spindle-shaped": ("connective", "stromal", "stroma"),
    "stromal": ("stroma", "connective", "spindle-shaped"),
    "stroma": ("stromal", "connective", "spindle-shaped"),
    "dead": ("necrotic", "other", "miscellaneous"),
    "necrotic": ("dead", "other", "miscellaneous"),
    "other": ("miscellaneous",),
    "miscellaneous": ("other",),
}
"""Names under which a class goes in other schemes, those that say most first."""


def class_mapping(source: ClassScheme, target: ClassScheme) -> dict[int, int]:
    """Return the id in ``target`` of each class id of ``source``, 0 without a counterpart."""
    if source == target:
        return {i: i for i in source.ids}
    decided = dict(target.taken_in)
    mapping = {}
    for nucleus_class in source.classes:
        name = nucleus_class.name.casefold()
        candidates = (target.by_name(n) for n in (name, *SYNONYMS.get(name, ())))
        found = next((c.id for c in candidates if c is not None), 0)
        mapping[nucleus_class.id] = decided.get(name, found)
    return mapping


def mapped_ids(ids: NDArray[np.integer], mapping: Mapping[int, int]) -> NDArray[np.int32]:
    """Return class ids ``(n,)`` by a mapping; ids that it does not name become 0."""
    table = np.zeros(256, np.int32)
    for before, after in mapping.items():
        table[before] = after
    known = (ids >= 0) & (ids < len(table))
    return np.where(known, table[np.where(known, ids, 0)], 0).astype(np.int32)


def mapped_probabilities(
    class_prob: NDArray[np.floating], source: ClassScheme, target: ClassScheme
) -> tuple[NDArray[np.int32], NDArray[np.floating]]:
    """Return what probabilities of one scheme say in another.

    Parameters
    ----------
    class_prob
        ``(n, C)`` in the order of ``source``.

    Returns
    -------
    class_ids
        ``(n,)`` ids in ``target``: the class with the largest sum; 0 where the classes that have no
        counterpart have a larger one together, or where all is zero.
    class_prob
        ``(n, D)`` in the order of ``target``, the sums of the classes that became one; zeros where
        the class is 0, so that `ClassScheme.ids_of_probabilities` agrees.

    Raises
    ------
    ValueError
        If the columns are not those of ``source``.
    """
    if class_prob.shape[1] != len(source):
        raise ValueError(f"{class_prob.shape[1]} class columns for the scheme {source.name!r}")
    if source == target:
        return target.ids_of_probabilities(class_prob), class_prob
    mapping = class_mapping(source, target)
    column = {class_id: i for i, class_id in enumerate(target.ids)}
    sums = np.zeros((len(class_prob), len(target)), class_prob.dtype)
    lost = np.zeros(len(class_prob), class_prob.dtype)
    for i, class_id in enumerate(source.ids):
        after = mapping[class_id]
        if after:
            sums[:, column[after]] += class_prob[:, i]
        else:
            lost += class_prob[:, i]
    if len(target):
        sums[sums.max(axis=1) < lost] = 0
    return target.ids_of_probabilities(sums), sums


def text_of_scheme(scheme: ClassScheme) -> str:
    """Return a scheme as JSON for projects and files, readable by people."""
    value = {
        "name": scheme.name,
        "classes": [
            {"id": c.id, "name": c.name, "color": _hex(c.color), "key": c.key}
            for c in scheme.classes
        ],
        "unclassified": _hex(scheme.unknown_color),
        "taken_in": dict(scheme.taken_in),
    }
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def scheme_of_text(text: str | bytes) -> ClassScheme:
    """Return the scheme in a JSON text.

    Raises
    ------
    ValueError
        If there is none in it, or one that cannot be.
    """
    try:
        value = orjson.loads(text)
        if isinstance(value, list):  # as projects had it before schemes could be changed
            name, classes, unknown = value
            kinds = [NucleusClass(i, label, tuple(color), key) for i, label, color, key in classes]
            return ClassScheme(name, tuple(kinds), tuple(unknown))
        kinds = [
            NucleusClass(index(c["id"]), c["name"], _rgb(c["color"]), c["key"])
            for c in value["classes"]
        ]
        taken_in = tuple((str(n).casefold(), int(i)) for n, i in value["taken_in"].items())
        return ClassScheme(value["name"], tuple(kinds), _rgb(value["unclassified"]), taken_in)
    except KeyError as error:
        raise ValueError(f"no class scheme: {error} is missing") from error
    except (AttributeError, TypeError) as error:
        raise ValueError(f"no class scheme: {error}") from error


def _hex(color: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)


def _rgb(text: Any) -> tuple[int, int, int]:
    if not (isinstance(text, str) and len(text) == 7 and text.startswith("#")):
        raise ValueError(f"colour {text!r} is not of the form #rrggbb")
    red, green, blue = bytes.fromhex(text[1:])
    return red, green, blue
