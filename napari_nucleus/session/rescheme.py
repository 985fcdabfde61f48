"""Giving a document another class scheme, as one undo step that takes all nuclei along.

Which class becomes which is `core.schemes`' rule; what has no counterpart becomes unclassified.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import reduce

import numpy as np

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.core.geometry import box_union
from napari_nucleus.core.schemes import class_mapping, mapped_ids, mapped_probabilities
from napari_nucleus.errors import EditRefusedError
from napari_nucleus.session.document import Document
from napari_nucleus.session.edits import Edit
from napari_nucleus.session.outlines import ActionResult
from napari_nucleus.session.recoding import Classes, Recoding
from napari_nucleus.session.steps import finished
from napari_nucleus.session.table import NucleusRow

__all__ = ["BATCH", "Effect", "change_scheme", "effect_of", "scheme_change_steps"]

BATCH = 1000
"""Nuclei in one edit; what is done at a time while the app waits for events."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What a change of scheme would do to the nuclei that there are.

    Parameters
    ----------
    counts
        Number of nuclei by class id of the scheme that the document has.
    unclassified
        Number of nuclei that have a class now and would have none.
    """

    counts: dict[int, int]
    unclassified: int


def effect_of(document: Document, scheme: ClassScheme) -> Effect:
    """Return what `change_scheme` would do; costs nothing, whatever the number of nuclei."""
    counts = document.counts_by_class()
    mapping = class_mapping(document.scheme, scheme)
    lost = sum(n for i, n in counts.items() if i != 0 and not mapping.get(i, 0))
    return Effect(counts, lost)


def change_scheme(document: Document, scheme: ClassScheme) -> ActionResult:
    """Give the document another scheme; its nuclei move to the classes there.

    The same scheme again is no step. Undo brings back scheme, classes and probabilities to the
    last bit.

    Raises
    ------
    EditRefusedError
        If a run is going on, whose nuclei are on their way in the classes of before.
    """
    return finished(scheme_change_steps(document, scheme))


def scheme_change_steps(
    document: Document, scheme: ClassScheme
) -> Generator[int, None, ActionResult]:
    """Do as `change_scheme`, pausing after every `BATCH` nuclei; yields how many are done.

    It is one transaction all the same: the document must not be changed while it pauses, and if
    the generator is closed, nothing has happened.
    """
    name = f"Change classes to {scheme.name}"
    if scheme == document.scheme:
        return ActionResult(name, None, message=f"The classes are those of {scheme.name} already.")
    if document.is_running:
        raise EditRefusedError(
            "Nuclei are still coming in; the classes were not changed. Wait for the end, or cancel "
            "it, then change them."
        )
    effect = effect_of(document, scheme)
    done = 0
    steps = document.commit_in_steps(name, _edits(document, scheme))
    while True:
        try:
            next(steps)
        except StopIteration as end:
            action_id = end.value
            break
        done += BATCH
        yield done
    message = f"The classes are those of {scheme.name} now."
    if effect.unclassified:
        message += f" {effect.unclassified:,} became unclassified."
    return ActionResult(name, action_id, message=message)


def _edits(document: Document, scheme: ClassScheme) -> Iterator[Edit]:
    source, mapping = document.scheme, class_mapping(document.scheme, scheme)
    # A change of names and colours alone touches no nucleus.
    same = source.ids == scheme.ids and all(a == b for a, b in mapping.items())
    ids = np.zeros(0, np.int64) if same else document.ids
    for begin in range(0, max(len(ids), 1), BATCH):
        rows = document.rows(ids[begin : begin + BATCH].tolist())
        yield Edit(recoding=_recoding(rows, source, scheme, mapping))


def _recoding(
    rows: list[NucleusRow], source: ClassScheme, target: ClassScheme, mapping: dict[int, int]
) -> Recoding:
    class_ids = np.array([row.class_id for row in rows], np.int32)
    prob = np.full((len(rows), len(source)), np.nan)
    judged = np.array([bool(row.class_prob) for row in rows], bool)
    if judged.any():
        prob[judged] = [row.class_prob for row in rows if row.class_prob]
    new_ids = mapped_ids(class_ids, mapping)
    new_prob = np.full((len(rows), len(target)), np.nan)
    likeliest, sums = mapped_probabilities(prob[judged], source, target)
    # Probabilities that speak of another class than the nucleus has would be of no use.
    agree = likeliest == new_ids[judged]
    new_prob[np.flatnonzero(judged)[agree]] = sums[agree]
    box = reduce(box_union, (row.box for row in rows)) if rows else None
    ids = np.array([row.id for row in rows], np.int64)
    return Recoding(ids, box, Classes(source, class_ids, prob), Classes(target, new_ids, new_prob))
