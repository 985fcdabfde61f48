"""Classes of nuclei from a file that lies beside their label map.

Reads tables (``id,class``; also what `segment` writes), JSON (``{"7": "neoplastic"}``, and what
HoVer-Net writes), class maps (TIFF, PNG, NPY of the size of the labels, one class id a pixel) and
NPY pairs ``(n, 2)``. Classes are named or numbered as in one of the known schemes.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from napari_nucleus.core.cells import canonical_classes
from napari_nucleus.core.class_names import NO_CLASS_NAMES
from napari_nucleus.core.classes import PANNUKE, UNKNOWN_CLASS, ClassScheme
from napari_nucleus.core.schemes import SCHEMES, SYNONYMS
from napari_nucleus.errors import LabelsError
from napari_nucleus.io.labels import read_plane

__all__ = ["NucleusClasses", "count_strangers", "read_classes"]

ID_COLUMNS = ("id", "label", "label_id", "instance_id", "nucleus_id")
CLASS_COLUMNS = ("class", "class_name", "type", "class_id")

NO_CLASS = {**dict.fromkeys(NO_CLASS_NAMES, 0), "unknown": UNKNOWN_CLASS}
"""Names of having no class, and of having one that is not known."""

OTHERS = frozenset(("other", "miscellaneous"))
"""Classes that PanNuke does not have and that say nothing of tissue."""

SHORT_NAMES = {
    "neopla": "neoplastic",
    "inflam": "inflammatory",
    "connec": "connective",
    "necros": "dead",
    "no-neo": "epithelial",
}
"""PanNuke's classes as HoVer-Net abbreviates them."""

Stated = dict[int, str | int]
"""Classes by nucleus, as a file states them."""


@dataclass(frozen=True, slots=True)
class NucleusClasses:
    """What a file says of the classes of nuclei.

    Parameters
    ----------
    class_of_id
        Canonical class of each label id; 0 without a class, 255 for one that is not known.
    scheme
        The scheme that the file speaks of.
    not_told_apart
        Canonical classes that the scheme does not tell apart.
    """

    class_of_id: Mapping[int, int]
    scheme: ClassScheme
    not_told_apart: tuple[int, ...]


def read_classes(
    path: str | os.PathLike[str], labels: NDArray[np.integer], scheme: ClassScheme | None = None
) -> NucleusClasses:
    """Read the classes of the nuclei of a label map.

    Parameters
    ----------
    path
        The file; its ending tells what it is.
    labels
        ``(H, W)`` the label map. A class map gives each nucleus the class of most of its pixels.
    scheme
        The scheme of the classes; by default the first one that has all names, and PanNuke's five
        for numbers.

    Raises
    ------
    LabelsError
        If the file cannot be read, or states a class that the scheme does not have or two classes
        for one nucleus.
    """
    path = Path(path)
    name, ending = path.name, path.suffix.lower()
    if ending in (".csv", ".tsv", ".txt"):
        stated = _of_table(_text(path), name)
    elif ending == ".json":
        stated = _of_json(_text(path), name)
    elif ending in (".png", ".tif", ".tiff", ".npy"):
        stated = _of_array(read_plane(path)[0], labels, name)
    else:
        raise LabelsError(
            f"{name}: classes are read from CSV, JSON, PNG, TIFF and NPY files, not {ending!r}."
        )
    scheme = _scheme_of(stated, name) if scheme is None else scheme
    classes = np.array([_class_id(value, scheme, name) for value in stated.values()], np.int64)
    canonical, not_told_apart = canonical_classes(classes, scheme)
    return NucleusClasses(
        dict(zip(stated, canonical.tolist(), strict=True)), scheme, not_told_apart
    )


def count_strangers(classes: NucleusClasses, ids: NDArray[np.integer], name: str) -> int:
    """Return how many nuclei of a file of classes are not among those of the label map.

    Parameters
    ----------
    ids
        ``(n,)`` ids of the label map.
    name
        Of the file.

    Raises
    ------
    LabelsError
        If none of them is.
    """
    stated = np.fromiter(classes.class_of_id, np.int64, len(classes.class_of_id))
    known = np.isin(stated, ids)
    if len(stated) and len(ids) and not known.any():
        raise LabelsError(
            f"{name}: none of its {len(stated)} nuclei (such as {stated[0]}) is in the label map; "
            "are both of the same image?"
        )
    return int((~known).sum())


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise LabelsError(f"{path.name}: there is no such file (any more).") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise LabelsError(f"{path.name}: the classes cannot be read ({reason}).") from error


def _of_table(text: str, name: str) -> Stated:
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    rows = csv.DictReader(text.splitlines(), delimiter=delimiter)
    columns = {(column or "").strip().casefold(): column for column in rows.fieldnames or ()}
    id_column = next((columns[c] for c in ID_COLUMNS if c in columns), None)
    class_column = next((columns[c] for c in CLASS_COLUMNS if c in columns), None)
    if id_column is None or class_column is None:
        raise LabelsError(
            f"{name}: the table needs a column 'id' and a column 'class'; it has "
            f"{', '.join(map(repr, columns)) or 'none'}."
        )
    stated: Stated = {}
    for row in rows:
        where = f"{name}, line {rows.line_num}"
        number = _nucleus_id(row[id_column], where)
        _state(stated, number, _value(row[class_column]), where)
    return stated


def _of_json(text: str, name: str) -> Stated:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise LabelsError(f"{name}: the file is no JSON ({error}).") from error
    if isinstance(value, dict) and isinstance(value.get("nuc"), dict):  # HoVer-Net
        value = {key: _field(nucleus, "type", name) for key, nucleus in value["nuc"].items()}
    if isinstance(value, list):
        value = {str(_field(entry, "id", name)): _field(entry, "class", name) for entry in value}
    if not isinstance(value, dict):
        raise LabelsError(f"{name}: the JSON is no object of classes by nucleus id.")
    stated: Stated = {}
    for key, nucleus_class in value.items():
        if not isinstance(nucleus_class, str | int) or isinstance(nucleus_class, bool):
            raise LabelsError(f"{name}: the class of nucleus {key} is {nucleus_class!r}.")
        _state(stated, _nucleus_id(key, name), _value(nucleus_class), name)
    return stated


def _field(entry: Any, key: str, name: str) -> Any:
    if not isinstance(entry, dict) or key not in entry:
        raise LabelsError(f"{name}: a nucleus has no {key!r}.")
    return entry[key]


def _of_array(array: NDArray, labels: NDArray[np.integer], name: str) -> Stated:
    if array.dtype.kind not in "bui":
        raise LabelsError(f"{name}: type {array.dtype} cannot hold class ids.")
    if array.shape != labels.shape and array.ndim == 2 and array.shape[1] == 2:
        pairs: Stated = {}
        for number, class_id in array.tolist():
            _state(pairs, _nucleus_id(number, name), class_id, name)
        return pairs
    if array.shape != labels.shape:
        raise LabelsError(
            f"{name}: the class map has shape {array.shape}, the label map {labels.shape}."
        )
    inside = (labels > 0) & (array > 0)
    ids, number = np.unique(labels[inside], return_inverse=True)
    kinds, kind = np.unique(array[inside], return_inverse=True)
    votes = np.zeros((len(ids), max(len(kinds), 1)), np.int64)
    np.add.at(votes, (number, kind), 1)
    return {int(i): int(kinds[best]) for i, best in zip(ids, votes.argmax(axis=1), strict=True)}


def _state(stated: Stated, number: int, value: str | int, where: str) -> None:
    if stated.setdefault(number, value) != value:
        raise LabelsError(f"{where}: nucleus {number} is {value!r}, but {stated[number]!r} before.")


def _nucleus_id(value: Any, where: str) -> int:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if number < 1 or number != int(number):
        raise LabelsError(f"{where}: {value!r} is no id of a nucleus (1 or more).")
    return int(number)


def _value(value: Any) -> str | int:
    """Return a class as a number where it is written as one, else as a name in small letters."""
    text = str(value if value is not None else "").strip().casefold()
    return int(text) if text.isdecimal() else SHORT_NAMES.get(text, text)


def _scheme_of(stated: Stated, name: str) -> ClassScheme:
    """Return the first known scheme that has all names, or else PanNuke's, by synonyms."""
    names = {v for v in stated.values() if isinstance(v, str)} - set(NO_CLASS)
    own = (s for s in SCHEMES.values() if all(s.by_name(n) for n in names))
    found = next(own, PANNUKE)
    foreign = sorted(n for n in names - OTHERS if not _by_synonym(n, found))
    if foreign:
        known = "; ".join(f"{s.name} ({', '.join(s.names)})" for s in SCHEMES.values())
        raise LabelsError(f"{name}: {foreign[0]!r} is in no known class scheme; there is {known}.")
    return found


def _by_synonym(name: str, scheme: ClassScheme) -> int:
    candidates = (scheme.by_name(n) for n in (name, *SYNONYMS.get(name, ())))
    return next((c.id for c in candidates if c is not None), 0)


def _class_id(value: str | int, scheme: ClassScheme, name: str) -> int:
    if isinstance(value, int):
        found = value if value in (0, UNKNOWN_CLASS) or scheme.by_id(value) else None
    else:
        found = NO_CLASS.get(value, _by_synonym(value, scheme) or (0 if value in OTHERS else None))
    if found is None:
        classes = ", ".join(f"{c.id} {c.name}" for c in scheme.classes)
        raise LabelsError(f"{name}: {value!r} is no class of {scheme.name} ({classes}).")
    return found
