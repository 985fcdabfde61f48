"""Classes and scores of nuclei as JSON, for label images: their pixels hold nothing but ids.

It stands as ``"nuclei"`` beside the provenance in the text of a label TIFF or of an OME-TIFF:
``{"scheme": …, "ids": [1, 2], "classes": [1, 0], "scores": [0.91, null]}``; class 0 is
unclassified. The text is ASCII, as TIFF 6.0 demands of its descriptions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.core.schemes import scheme_of_text, text_of_scheme
from napari_nucleus.io.results import SegmentationResult

__all__ = ["ClassTable", "description_of", "table_in", "table_of_columns"]

MEMBER = "nuclei"
DECIMALS = 4


@dataclass(frozen=True, eq=False)
class ClassTable:
    """What a label image says of its nuclei besides their pixels.

    Parameters
    ----------
    scheme
        Its classes, None where it has none.
    class_of_id, score_of_id
        Class name and score by id; those that are missing have none.
    notes
        Why what was found was not used, as sentences.
    """

    scheme: ClassScheme | None = None
    class_of_id: Mapping[int, str] = field(default_factory=dict)
    score_of_id: Mapping[int, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def description_of(result: SegmentationResult) -> str:
    """Return provenance, classes and scores of a result as one ASCII text; empty without any."""
    value: dict[str, Any] = dict(result.provenance)
    if result.class_ids.any() or np.isfinite(result.scores).any():
        scores = np.round(result.scores.astype(np.float64), DECIMALS)
        value[MEMBER] = {
            "scheme": json.loads(text_of_scheme(result.scheme)),
            "ids": result.ids.tolist(),
            "classes": result.class_ids.tolist(),
            "scores": [s if s == s else None for s in scores.tolist()],
        }
    return json.dumps(value) if value else ""


def table_in(text: str, name: str) -> ClassTable:
    """Return the classes and scores in a text that `description_of` made; none in any other.

    Parameters
    ----------
    text
        Any text.
    name
        Of the file, for notes.
    """
    try:
        value = orjson.loads(text)
        table = value.get(MEMBER) if isinstance(value, dict) else None
    except ValueError:
        return ClassTable()
    if not isinstance(table, dict) or not {"scheme", "ids", "classes", "scores"} <= table.keys():
        return ClassTable()
    try:
        scheme = scheme_of_text(orjson.dumps(table["scheme"]))
        return table_of_columns(scheme, table["ids"], table["classes"], table["scores"])
    except (TypeError, ValueError, OverflowError) as error:
        return ClassTable(notes=(f"{name}: its classes cannot be read ({error}); left out.",))


def table_of_columns(scheme: ClassScheme, ids: Any, classes: Any, scores: Any) -> ClassTable:
    """Return a table of three columns, one after the other as a file has them.

    Raises
    ------
    ValueError, TypeError
        If they are no columns of numbers of one length; a score may be None.
    """
    if not all(isinstance(column, list) for column in (ids, classes, scores)):
        raise ValueError("ids, classes and scores are no lists")
    if not len(ids) == len(classes) == len(scores):
        raise ValueError(f"{len(ids)} ids, {len(classes)} classes, {len(scores)} scores")
    numbers = [int(i) for i in ids]
    names = {c.id: c.name for c in scheme.classes}
    known = {i: names[c] for i, c in zip(numbers, classes, strict=True) if c in names}
    rated = {i: float(s) for i, s in zip(numbers, scores, strict=True) if s is not None}
    return ClassTable(scheme, known, {i: s for i, s in rated.items() if s == s})
