"""What a user does to the nuclei, each one undo step with a name.

Each verb makes a plan (`outlines`) and commits it. Where outlines come from and what the pointer
does is not known here (`tool`), nor how steps are kept (`history`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nucleus.core.geometry import Box
from napari_nucleus.session.document import Document
from napari_nucleus.session.edits import Edit, NucleusChange
from napari_nucleus.session.imports import batches_of, import_labels, import_nuclei
from napari_nucleus.session.marking import drop_region, exclude, sign_off
from napari_nucleus.session.outlines import (
    ActionResult,
    Outline,
    Plan,
    check_class,
    how_many,
    known_rows,
    plan_add,
    plan_refine,
    plan_remove,
    plan_take_away,
)
from napari_nucleus.session.reshape import (
    plan_cut,
    plan_erase,
    plan_fill,
    plan_merge,
    plan_paint,
    plan_smooth,
    plan_split,
)
from napari_nucleus.session.steps import finished
from napari_nucleus.session.table import NucleusRow, NucleusState

__all__ = [
    "ActionResult",
    "Outline",
    "accept",
    "accept_in_steps",
    "add",
    "batches_of",
    "classify",
    "classify_in_steps",
    "commit",
    "cut",
    "drop_region",
    "erase",
    "exclude",
    "fill_holes",
    "import_labels",
    "import_nuclei",
    "merge",
    "paint",
    "refine",
    "remove",
    "remove_in_steps",
    "sign_off",
    "smooth",
    "split",
    "take_away",
]

T = TypeVar("T")

Steps: TypeAlias = Generator[None, None, ActionResult]

BATCH = 250
"""Nuclei that are changed at once."""


def commit(document: Document, plan: Plan) -> ActionResult:
    """Make a plan true as one undo step; an empty plan makes no step."""
    return plan.result(document.commit(plan.name, [plan.edit] if plan.edit else []))


def add(document: Document, outline: Outline, class_id: int = 0) -> ActionResult:
    """Add a nucleus; see `outlines.plan_add` for what is refused."""
    return commit(document, plan_add(document, outline, class_id))


def refine(
    document: Document, nucleus_id: int, outline: Outline, name: str = "Refine nucleus"
) -> ActionResult:
    """Give a nucleus another outline; see `outlines.plan_refine` for what is refused."""
    return commit(document, plan_refine(document, nucleus_id, outline, name))


def take_away(document: Document, nucleus_id: int, outline: Outline) -> ActionResult:
    """Take away what lies outside ``outline``; see `outlines.plan_take_away`."""
    return commit(document, plan_take_away(document, nucleus_id, outline))


def cut(document: Document, stroke_yx: ArrayLike) -> ActionResult:
    """Cut nuclei along a stroke; see `reshape.plan_cut`."""
    return commit(document, plan_cut(document, stroke_yx))


def split(document: Document, nucleus_id: int, points_yx: ArrayLike) -> ActionResult:
    """Split a nucleus between points; see `reshape.plan_split`."""
    return commit(document, plan_split(document, nucleus_id, points_yx))


def merge(document: Document, ids: Sequence[int]) -> ActionResult:
    """Make one nucleus of several; see `reshape.plan_merge`."""
    return commit(document, plan_merge(document, ids))


def paint(
    document: Document, mask: NDArray[np.bool_], box: Box, nucleus_id: int | None, class_id: int = 0
) -> ActionResult:
    """Add painted pixels to a nucleus, or make one of them; see `reshape.plan_paint`."""
    return commit(document, plan_paint(document, mask, box, nucleus_id, class_id))


def erase(
    document: Document, mask: NDArray[np.bool_], box: Box, nucleus_id: int | None = None
) -> ActionResult:
    """Take erased pixels from one nucleus, or from all; see `reshape.plan_erase`."""
    return commit(document, plan_erase(document, mask, box, nucleus_id))


def fill_holes(document: Document, ids: Sequence[int]) -> ActionResult:
    """Fill the holes of nuclei; see `reshape.plan_fill`."""
    return commit(document, plan_fill(document, ids))


def smooth(document: Document, ids: Sequence[int]) -> ActionResult:
    """Smooth the outlines of nuclei; see `reshape.plan_smooth`."""
    return commit(document, plan_smooth(document, ids))


def remove(document: Document, ids: Iterable[int]) -> ActionResult:
    """Remove nuclei.

    Raises
    ------
    EditRefusedError
        If one of them is not in the document; none is removed then.
    """
    return finished(remove_in_steps(document, ids))


def remove_in_steps(document: Document, ids: Iterable[int]) -> Steps:
    """Do as `remove`, pausing after every `BATCH` nuclei; see `Document.commit_in_steps`."""
    rows: list[NucleusRow] = []
    for batch in _batches(_different(ids)):
        rows += known_rows(document, batch)
        yield
    name = f"Remove {how_many(len(rows))}"
    edits = (plan_remove(document, batch).edit for batch in _batches(rows))
    action_id = yield from document.commit_in_steps(name, edits)
    return ActionResult(name, action_id, removed=tuple(row.id for row in rows))


def classify(document: Document, ids: Iterable[int], class_id: int) -> ActionResult:
    """Give nuclei a class, 0 for unclassified; they count as touched from then on.

    Raises
    ------
    EditRefusedError
        If a nucleus is not in the document or the class not in its scheme; none changes then.
    """
    return finished(classify_in_steps(document, ids, class_id))


def classify_in_steps(document: Document, ids: Iterable[int], class_id: int) -> Steps:
    """Do as `classify`, pausing after every `BATCH` nuclei; see `Document.commit_in_steps`."""
    check_class(document, class_id)

    def changed(row: NucleusRow) -> NucleusRow | None:
        # A class that a model has named is the user's only once he has named it himself.
        if row.class_id == class_id and row.touched and not row.class_prob:
            return None
        return replace(row, class_id=class_id, class_prob=(), state=NucleusState.USER)

    name = document.scheme.name_of(class_id)
    return (
        yield from _change_rows(
            document, ids, changed, f"Classify {{}} as {name}", f"Already {name}."
        )
    )


def accept(document: Document, ids: Iterable[int]) -> ActionResult:
    """Note that the user found nuclei right as they are; a new run leaves them alone.

    Raises
    ------
    EditRefusedError
        If one of them is not in the document; none changes then.
    """
    return finished(accept_in_steps(document, ids))


def accept_in_steps(document: Document, ids: Iterable[int]) -> Steps:
    """Do as `accept`, pausing after every `BATCH` nuclei; see `Document.commit_in_steps`."""

    def changed(row: NucleusRow) -> NucleusRow | None:
        return None if row.touched else replace(row, state=NucleusState.ACCEPTED)

    return (yield from _change_rows(document, ids, changed, "Accept {}", "Already accepted."))


def _change_rows(
    document: Document,
    ids: Iterable[int],
    changed: Callable[[NucleusRow], NucleusRow | None],
    name: str,
    nothing: str,
) -> Steps:
    """Give nuclei other rows, None for those that stay; they keep pixels and click memories."""
    pairs: list[tuple[NucleusRow, NucleusRow]] = []
    for batch in _batches(_different(ids)):
        for row in known_rows(document, batch):
            new = changed(row)
            if new is not None:
                pairs.append((row, new))
        yield
    name = name.format(how_many(len(pairs)))
    edits = (_edit_of(document, batch) for batch in _batches(pairs))
    action_id = yield from document.commit_in_steps(name, edits)
    done = tuple(row.id for row, _ in pairs)
    return ActionResult(name, action_id, done, message="" if pairs else nothing)


def _edit_of(document: Document, pairs: Sequence[tuple[NucleusRow, NucleusRow]]) -> Edit:
    memories = document.store.memories([row.id for row, _ in pairs])
    changes = []
    for old, new in pairs:
        memory = memories.get(old.id)
        changes.append(NucleusChange(old, new, memory, memory))
    return Edit((), tuple(changes))


def _different(ids: Iterable[int]) -> list[int]:
    return list(dict.fromkeys(int(i) for i in ids))


def _batches(of: Sequence[T]) -> Iterator[Sequence[T]]:
    for begin in range(0, len(of), BATCH):
        yield of[begin : begin + BATCH]
