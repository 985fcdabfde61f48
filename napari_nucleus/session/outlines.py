"""Plans for the outline of one nucleus: what would change, computed without changing anything.

The overlap policy is in `_fit`: new pixels take background only, no neighbour ever changes, every
click is obeyed to the pixel, and the plan says how many pixels were left to whom.
Knows the document; not where outlines come from, nor when plans are made true (`actions`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from math import ceil

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.geometry import (
    Box,
    box_area,
    box_union,
    clip_box,
    pad_box,
    pixels_of_points,
)
from napari_nucleus.core.prompts import MaskLogits, MaskPrediction, Prompts
from napari_nucleus.core.schemes import mapped_probabilities
from napari_nucleus.errors import EditRefusedError
from napari_nucleus.session.document import Document
from napari_nucleus.session.edits import Edit, NucleusChange, Patch, patches_between
from napari_nucleus.session.masks import (
    DISK_RADIUS,
    TightMask,
    obey_points,
    place_mask,
    tidy_mask,
    tight_mask,
)
from napari_nucleus.session.provenance import MadeBy
from napari_nucleus.session.table import NucleusRow, NucleusState, remember

__all__ = [
    "ActionResult",
    "Outline",
    "Plan",
    "check_class",
    "how_many",
    "known_rows",
    "plan_add",
    "plan_refine",
    "plan_remove",
    "plan_take_away",
]


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """An outline that is wished for one nucleus.

    Parameters
    ----------
    mask, box
        ``(h, w)`` bool at its level-0 box; may reach out of the image and over neighbours.
    prompts
        All that the user gave for this nucleus, level-0 pixels. Positive points will lie inside,
        negative ones outside.
    logits
        The model's logits to go on with, level-0 window.
    iou
        The model's own estimate of the IoU with the true nucleus.
    class_prob
        The model's class probabilities in the order of its scheme, ``made_by.classes``, else of the
        document's; they name the class of a new nucleus, that of an old one stays.
    made_by
        The model; None for an outline that the user drew.
    """

    mask: NDArray[np.bool_]
    box: Box
    prompts: Prompts | None = None
    logits: MaskLogits | None = None
    iou: float | None = None
    class_prob: tuple[float, ...] = ()
    made_by: MadeBy | None = None

    @classmethod
    def of(
        cls, prediction: MaskPrediction, prompts: Prompts, made_by: MadeBy | None = None
    ) -> Outline:
        """Return the outline that a model answered to prompts, both in level-0 pixels."""
        return cls(
            prediction.mask,
            prediction.box,
            prompts,
            prediction.logits,
            float(prediction.iou),
            prediction.class_prob,
            made_by,
        )


@dataclass(frozen=True, slots=True)
class ActionResult:
    """What an action did.

    Parameters
    ----------
    name
        Name of the undo step.
    action_id
        The undo step; None when nothing had to be changed and there is no step.
    ids
        Nuclei that are new or changed.
    removed
        Nuclei that are gone.
    trimmed_px, trimmed_by
        Pixels that were wished for but belong to neighbours, and the ids of those.
    message
        One sentence for the user; empty when there is nothing to say.
    """

    name: str
    action_id: int | None
    ids: tuple[int, ...] = ()
    removed: tuple[int, ...] = ()
    trimmed_px: int = 0
    trimmed_by: tuple[int, ...] = ()
    message: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A change that has not been made yet, and what its result will say.

    ``shape`` is the outline that the nucleus will have; None in plans of other things.
    """

    name: str
    edit: Edit
    ids: tuple[int, ...] = ()
    removed: tuple[int, ...] = ()
    trimmed_px: int = 0
    trimmed_by: tuple[int, ...] = ()
    message: str = ""
    shape: TightMask | None = None

    def result(self, action_id: int | None) -> ActionResult:
        """Return the result once the plan is made true as this step."""
        return ActionResult(
            self.name,
            action_id,
            self.ids,
            self.removed,
            self.trimmed_px,
            self.trimmed_by,
            self.message,
        )


def plan_add(document: Document, outline: Outline, class_id: int = 0) -> Plan:
    """Plan a new nucleus, of the class given, else the model's, else 0 (unclassified).

    Raises
    ------
    EditRefusedError
        If the outline is empty, or neighbours and the image border leave nothing of it.
    """
    check_class(document, class_id)
    likeliest, class_prob = _classes_of(document, outline)
    fitted = _fit(document, outline, own_id=0)
    shape = fitted.shape
    if shape is None:
        holder = f"nucleus {_listed(fitted.trimmed_by)} holds that place"
        raise EditRefusedError(
            f"No nucleus was added: {holder if fitted.trimmed_px else 'none was found here'}. "
            "Nothing was changed; draw a box around the nucleus with Shift-drag."
        )
    nucleus_id = document.store.next_id
    row = NucleusRow(
        nucleus_id,
        shape.box,
        shape.area,
        shape.centroid_yx,
        class_id or likeliest,
        class_prob,
        iou=outline.iou,
        source=_source_of(outline) or "user",
    )
    memory = remember(outline.prompts, outline.logits)
    edit = Edit(
        (Patch.of(shape.box, shape.mask, 0, nucleus_id),),
        (NucleusChange(None, row, None, memory),),
        made_by=outline.made_by,
    )
    return _plan("Add nucleus", edit, nucleus_id, fitted)


def _classes_of(document: Document, outline: Outline) -> tuple[int, tuple[float, ...]]:
    """Return class id and probabilities in the document's scheme; without an opinion 0 and ()."""
    scheme = document.scheme
    source = (outline.made_by and outline.made_by.classes) or scheme
    if len(outline.class_prob) != len(source):
        return 0, ()
    ids, prob = mapped_probabilities(np.array([outline.class_prob]), source, scheme)
    return int(ids[0]), tuple(prob[0].tolist())


def _source_of(outline: Outline) -> str:
    return "" if outline.made_by is None else outline.made_by.model


def plan_refine(
    document: Document, nucleus_id: int, outline: Outline, name: str = "Refine nucleus"
) -> Plan:
    """Plan another outline for a nucleus, which keeps its id and class.

    Raises
    ------
    EditRefusedError
        If there is no such nucleus, or no pixel would be left of it.
    """
    row = known_rows(document, [nucleus_id])[0]
    fitted = _fit(document, outline, row.id)
    if fitted.shape is None:
        raise EditRefusedError(
            f"The new outline leaves nothing of nucleus {row.id}; it was kept as it is. "
            "Ctrl-click in its middle to remove it."
        )
    return _plan_outline(document, row, outline, fitted, name)


def plan_take_away(document: Document, nucleus_id: int, outline: Outline) -> Plan:
    """Plan to take a part of a nucleus away: what is outside ``outline``.

    Who takes away does not expect the nucleus to grow elsewhere, so it never does. When nothing
    would remain, the nucleus is removed, for that is what was asked; the result says so.

    Raises
    ------
    EditRefusedError
        If there is no such nucleus.
    """
    row = known_rows(document, [nucleus_id])[0]
    fitted = _fit(document, outline, row.id, grow=False)
    if fitted.shape is None:
        plan = plan_remove(document, [row])
        return replace(plan, message=f"Nothing was left of nucleus {row.id}, so it was removed.")
    return _plan_outline(document, row, outline, fitted, "Take away")


def how_many(n: int) -> str:
    """Return nuclei as the name of a step counts them: ``nucleus``, ``12 nuclei``."""
    return "nucleus" if n == 1 else f"{n:,} nuclei"


def plan_remove(document: Document, rows: Sequence[NucleusRow]) -> Plan:
    """Plan to remove nuclei."""
    patches, changes = [], []
    memories = document.store.memories([row.id for row in rows])
    for row in rows:
        mask = document.store.read_labels(row.box) == row.id
        patches.append(Patch.of(row.box, mask, row.id, 0))
        changes.append(NucleusChange(row, None, memories.get(row.id), None))
    edit = Edit(tuple(patches), tuple(changes))
    return Plan(f"Remove {how_many(len(rows))}", edit, removed=tuple(row.id for row in rows))


def known_rows(document: Document, ids: Iterable[int]) -> list[NucleusRow]:
    """Return the rows of these ids, each once, or refuse an id the document does not have."""
    wanted = list(dict.fromkeys(int(i) for i in ids))
    rows = document.store.rows(wanted)
    if len(rows) < len(wanted):
        missing = set(wanted) - {row.id for row in rows}
        raise EditRefusedError(
            f"Nucleus {min(missing)} is not in the document, it was removed or undone; nothing "
            "was changed."
        )
    return rows


def check_class(document: Document, class_id: int) -> None:
    """Refuse a class id that is neither 0 nor in the document's scheme."""
    if class_id != 0 and document.scheme.by_id(class_id) is None:
        known = ", ".join(f"{c.id} {c.name}" for c in document.scheme.classes)
        raise EditRefusedError(
            f"Class {class_id} is not in the scheme {document.scheme.name!r} ({known}); nothing "
            "was changed."
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Fitted:
    """An outline made to fit the document; without shape when nothing is left of it."""

    shape: TightMask | None
    trimmed_px: int = 0
    trimmed_by: tuple[int, ...] = ()


def _fit(document: Document, outline: Outline, own_id: int, grow: bool = True) -> _Fitted:
    """Make an outline obey the clicks, leave neighbours alone, and have a sensible shape.

    It takes pixels of nucleus ``own_id`` (0 for a new one) and, if it may ``grow``, background.
    """
    points, signs = _pixels(document, outline.prompts)
    # Room for the disks that make a mask obey.
    places = [pad_box((r, c, r + 1, c + 1), ceil(DISK_RADIUS)) for r, c in points]
    if box_area(outline.box) or not places:
        places.append(outline.box)
    window = clip_box(reduce(box_union, places), document.shape)
    if not box_area(window):
        return _Fitted(None)
    inside = [(r - window[0], c - window[1]) for r, c in points]
    wished = obey_points(place_mask(outline.mask, outline.box, window), inside, signs)
    labels = document.store.read_labels(window)
    own = (labels == own_id) & (own_id != 0)
    held = labels[wished & (labels != 0) & ~own]
    tidy = tidy_mask(
        wished,
        own | (labels == 0) if grow else own,
        [p for p, sign in zip(inside, signs, strict=True) if sign],
        [p for p, sign in zip(inside, signs, strict=True) if not sign],
    )
    return _Fitted(tight_mask(tidy, window), len(held), tuple(np.unique(held).tolist()))


def _pixels(
    document: Document, prompts: Prompts | None
) -> tuple[list[tuple[int, int]], list[bool]]:
    """Return pixels and signs of the points that lie on the image."""
    if prompts is None:
        return [], []
    on_image = [document.contains_point(p) for p in prompts.points_yx]
    pixels = pixels_of_points(prompts.points_yx[on_image]).tolist()
    return [(r, c) for r, c in pixels], prompts.positive[on_image].tolist()


def _plan_outline(
    document: Document, row: NucleusRow, outline: Outline, fitted: _Fitted, name: str
) -> Plan:
    """Plan to give a nucleus an outline that fits."""
    shape = fitted.shape
    assert shape is not None
    new = replace(
        row,
        box=shape.box,
        area=shape.area,
        centroid_yx=shape.centroid_yx,
        iou=outline.iou,
        state=NucleusState.USER,
        source=_source_of(outline) or row.source,
    )
    window = box_union(row.box, shape.box)
    before = document.store.read_labels(window)
    after = np.where(before == row.id, np.int32(0), before)
    after[place_mask(shape.mask, shape.box, window)] = row.id
    memory = remember(outline.prompts, outline.logits)
    change = NucleusChange(row, new, document.memory(row.id), memory)
    patches = patches_between(window, before, after)
    return _plan(name, Edit(patches, (change,), made_by=outline.made_by), row.id, fitted)


def _plan(name: str, edit: Edit, nucleus_id: int, fitted: _Fitted) -> Plan:
    message = ""
    if fitted.trimmed_px:
        message = f"{fitted.trimmed_px} px were left to nucleus {_listed(fitted.trimmed_by)}."
    return Plan(
        name,
        edit,
        (nucleus_id,),
        (),
        fitted.trimmed_px,
        fitted.trimmed_by,
        message,
        fitted.shape,
    )


def _listed(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids[:3])) + (" and others" if len(ids) > 3 else "")
