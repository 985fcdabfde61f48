"""Plans that redraw labels by hand: cut, merge, paint, erase, fill, smooth.

All of them draw what the labels of a window should become; `plan_labels` finds out what that means
for the nuclei. The overlap policy is that of `outlines`: what is added takes background only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from skimage.draw import line
from skimage.morphology import disk
from skimage.segmentation import watershed

from napari_nucleus.core.geometry import Box, box_area, box_union, clip_box, pad_box
from napari_nucleus.errors import EditRefusedError
from napari_nucleus.session.document import Document
from napari_nucleus.session.edits import Edit, NucleusChange, patches_between
from napari_nucleus.session.masks import place_mask, tight_mask
from napari_nucleus.session.outlines import Plan, known_rows
from napari_nucleus.session.table import NucleusRow, NucleusState

__all__ = [
    "plan_cut",
    "plan_erase",
    "plan_fill",
    "plan_labels",
    "plan_merge",
    "plan_paint",
    "plan_smooth",
    "plan_split",
]

SMALLEST_PART = 12
"""Pixels of a part below which a stroke has not cut it off; it stays with what it touches."""

WIDEST_GAP = 24
"""Pixels between two nuclei up to which they can be merged: 6 µm at 0.25 µm per pixel."""

SMOOTHING = 1.5
"""Standard deviation in pixels of the blur that smooths an outline."""


def plan_labels(
    document: Document,
    name: str,
    window: Box,
    after: NDArray[np.int32],
    new: Mapping[int, NucleusRow] | None = None,
    message: str = "",
) -> Plan:
    """Plan that the labels of a window become ``after``.

    Parameters
    ----------
    window
        Inside the image; holds every nucleus whole that ``after`` changes.
    after
        ``(h, w)``.
    new
        For each id that is new, the row whose class and origin it takes.
    message
        What the result says.

    Nuclei that change count as the user's; their clicks and logits, which speak of another shape,
    are forgotten. Those without pixels left are removed.
    """
    before = document.store.read_labels(window)
    differs = before != after
    changes, ids, removed = [], [], []
    for nucleus_id in np.union1d(before[differs], after[differs]).tolist():
        if nucleus_id == 0:
            continue
        old = document.store.row(nucleus_id)
        shape = tight_mask(after == nucleus_id, window)
        memory = document.memory(nucleus_id)
        if shape is None:
            changes.append(NucleusChange(old, None, memory, None))
            removed.append(nucleus_id)
            continue
        row = replace(
            old or (new or {})[nucleus_id],
            id=nucleus_id,
            box=shape.box,
            area=shape.area,
            centroid_yx=shape.centroid_yx,
            iou=None,
            state=NucleusState.USER,
        )
        changes.append(NucleusChange(old, row, memory, None))
        ids.append(nucleus_id)
    edit = Edit(patches_between(window, before, after), tuple(changes))
    return Plan(name, edit, tuple(ids), tuple(removed), message=message)


def plan_cut(document: Document, stroke_yx: ArrayLike) -> Plan:
    """Plan to cut all nuclei that a stroke crosses from rim to rim.

    Parameters
    ----------
    stroke_yx
        ``(m, 2)`` points of the stroke, level-0.

    Raises
    ------
    EditRefusedError
        If it crosses none.
    """
    points = np.asarray(stroke_yx, float).reshape(-1, 2)
    if len(points) < 2:
        raise EditRefusedError("A cut is a stroke; drag across the nucleus.")
    rows, cols = _pixels_of_stroke(points)
    reach = (int(rows.min()), int(cols.min()), int(rows.max()) + 1, int(cols.max()) + 1)
    window = _whole(document, clip_box(reach, document.shape))
    labels = document.store.read_labels(window)
    inside = (rows >= window[0]) & (rows < window[2]) & (cols >= window[1]) & (cols < window[3])
    stroke = np.zeros(labels.shape, bool)
    stroke[rows[inside] - window[0], cols[inside] - window[1]] = True
    pieces = [
        (nucleus_id, parts)
        for nucleus_id in np.unique(labels[stroke & (labels > 0)]).tolist()
        if (parts := _cut_parts(labels == nucleus_id, stroke)) is not None
    ]
    if not pieces:
        raise EditRefusedError(
            "The stroke crosses no nucleus from rim to rim; begin and end it outside."
        )
    return _plan_parts(document, window, labels, pieces)


def plan_split(document: Document, nucleus_id: int, points_yx: ArrayLike) -> Plan:
    """Plan to split a nucleus into one for each point, along the waist between them.

    Raises
    ------
    EditRefusedError
        If there is no such nucleus, or fewer than two points lie in it.
    """
    row = known_rows(document, [nucleus_id])[0]
    mask, box = document.mask(nucleus_id)
    corner = np.array(box[:2])
    pixels = np.unique(np.floor(np.asarray(points_yx, float)).astype(np.int64) - corner, axis=0)
    inside = ((pixels >= 0) & (pixels < mask.shape)).all(axis=1)
    pixels = pixels[inside]
    pixels = pixels[[bool(mask[r, c]) for r, c in pixels.tolist()]]
    rows, cols = pixels.T
    if len(pixels) < 2:
        raise EditRefusedError(f"Click two places in nucleus {row.id} to split it between them.")
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    markers = np.zeros(mask.shape, np.int32)
    markers[rows, cols] = np.arange(1, len(pixels) + 1)
    parts = watershed(-ndimage.gaussian_filter(depth, 1.0), markers, mask=mask)
    # A part that no point lies in stays with the first.
    parts[mask & (parts == 0)] = 1
    labels = document.store.read_labels(box)
    return _plan_parts(document, box, labels, [(row.id, parts)])


def plan_merge(document: Document, ids: Sequence[int]) -> Plan:
    """Plan to make one nucleus of several; it keeps the id and class of the largest.

    Narrow gaps between them are closed with background.

    Raises
    ------
    EditRefusedError
        If there are fewer than two, or they lie apart, or a neighbour lies between them.
    """
    rows = known_rows(document, ids)
    if len(rows) < 2:
        raise EditRefusedError("Merging takes two nuclei.")
    kept = max(rows, key=lambda row: row.area)
    box = reduce(box_union, (row.box for row in rows))
    window = clip_box(pad_box(box, WIDEST_GAP // 2 + 1), document.shape)
    labels = document.store.read_labels(window)
    merged = np.isin(labels, [row.id for row in rows])
    free = merged | (labels == 0)
    radius = 0
    while ndimage.label(merged)[1] > 1:
        radius += 1
        if 2 * radius > WIDEST_GAP:
            listed = " and ".join(str(row.id) for row in rows)
            raise EditRefusedError(
                f"Nuclei {listed} lie apart, or another lies between them; nothing was changed."
            )
        padded = np.pad(merged, radius)
        closed = ndimage.binary_closing(padded, disk(radius))[radius:-radius, radius:-radius]
        merged |= closed & free
    after = labels.copy()
    after[merged] = kept.id
    return plan_labels(document, "Merge nuclei", window, after)


def plan_paint(
    document: Document, mask: NDArray[np.bool_], box: Box, nucleus_id: int | None, class_id: int = 0
) -> Plan:
    """Plan to add painted pixels to a nucleus, or to make a new one of them.

    Parameters
    ----------
    mask, box
        ``(h, w)`` bool at its level-0 box; may reach out of the image.
    nucleus_id
        None for a new nucleus, of ``class_id``.

    Raises
    ------
    EditRefusedError
        If there is no such nucleus, or nothing of the paint lies on background.
    """
    rows = [] if nucleus_id is None else known_rows(document, [nucleus_id])
    window = clip_box(reduce(box_union, (row.box for row in rows), box), document.shape)
    if not box_area(window):
        raise EditRefusedError("Nothing was painted: the stroke lies outside the image.")
    labels = document.store.read_labels(window)
    painted = place_mask(mask, box, window)
    added = painted & (labels == 0)
    if not added.any():
        raise EditRefusedError("Nothing was painted: nuclei hold all of that place.")
    target = document.store.next_id if nucleus_id is None else rows[0].id
    after = np.where(added, np.int32(target), labels)
    others = int((painted & (labels != 0) & (labels != target)).sum())
    message = f"{others} px were left to neighbours." if others else ""
    fresh = NucleusRow(target, box, 0, (0.0, 0.0), class_id)
    name = "Paint nucleus" if nucleus_id is None else "Paint"
    return plan_labels(document, name, window, after, {target: fresh}, message)


def plan_erase(
    document: Document, mask: NDArray[np.bool_], box: Box, nucleus_id: int | None = None
) -> Plan:
    """Plan to take erased pixels from one nucleus, or from all; one cut in two becomes two.

    Raises
    ------
    EditRefusedError
        If it has, or none has, a pixel there.
    """
    window = _whole(document, clip_box(box, document.shape))
    labels = document.store.read_labels(window)
    there = labels > 0 if nucleus_id is None else labels == nucleus_id
    erased = place_mask(mask, box, window) & there
    if not erased.any():
        raise EditRefusedError("Nothing was erased: there is no nucleus.")
    after = np.where(erased, np.int32(0), labels)
    new: dict[int, NucleusRow] = {}
    next_id = document.store.next_id
    for met in np.unique(labels[erased]).tolist():
        parts, n = ndimage.label(after == met)
        _, had = ndimage.label(labels == met)
        sizes = np.bincount(parts.ravel(), minlength=n + 1)[1:]
        for part in np.argsort(-sizes)[had:] + 1:
            after[parts == part] = next_id
            new[next_id] = document.row(met)
            next_id += 1
    return plan_labels(document, "Erase", window, after, new)


def plan_fill(document: Document, ids: Sequence[int]) -> Plan:
    """Plan to fill the holes of nuclei, as far as they hold no other nucleus.

    Raises
    ------
    EditRefusedError
        If one of them is not in the document.
    """
    return _plan_each(document, ids, "Fill holes", ndimage.binary_fill_holes)


def plan_smooth(document: Document, ids: Sequence[int]) -> Plan:
    """Plan smoother outlines for nuclei; what is added takes background only.

    Raises
    ------
    EditRefusedError
        If one of them is not in the document.
    """

    def smooth(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        out = ndimage.gaussian_filter(mask.astype(np.float32), SMOOTHING) > 0.5
        return out if out.any() else mask

    return _plan_each(document, ids, "Smooth", smooth)


def _plan_each(document: Document, ids: Sequence[int], name: str, change: object) -> Plan:
    """Plan to change the mask of each nucleus by a function of it, one after the other."""
    rows = known_rows(document, ids)
    if not rows:
        raise EditRefusedError("No nucleus was named; nothing was changed.")
    box = reduce(box_union, (row.box for row in rows))
    window = clip_box(pad_box(box, 4), document.shape)
    after = document.store.read_labels(window)
    for row in rows:
        near = clip_box(pad_box(row.box, 4), document.shape)
        part = after[
            near[0] - window[0] : near[2] - window[0], near[1] - window[1] : near[3] - window[1]
        ]
        mask = part == row.id
        wished = change(np.pad(mask, 4))[4:-4, 4:-4]  # type: ignore[operator]
        part[mask & ~wished] = 0
        part[wished & (part == 0)] = row.id
    return plan_labels(document, name, window, after)


def _plan_parts(
    document: Document,
    window: Box,
    labels: NDArray[np.int32],
    pieces: Sequence[tuple[int, NDArray[np.int32]]],
) -> Plan:
    """Plan that nuclei become their parts; the largest part keeps the id."""
    after, new = labels.copy(), {}
    next_id = document.store.next_id
    for nucleus_id, parts in pieces:
        sizes = np.bincount(parts.ravel())[1:]
        for part in np.argsort(-sizes, kind="stable")[1:] + 1:
            after[parts == part] = next_id
            new[next_id] = document.row(nucleus_id)
            next_id += 1
    name = "Split nucleus" if len(pieces) == 1 else f"Split {len(pieces)} nuclei"
    return plan_labels(document, name, window, after, new)


def _cut_parts(mask: NDArray[np.bool_], stroke: NDArray[np.bool_]) -> NDArray[np.int32] | None:
    """Return the parts 1…n that a stroke leaves of a mask; None if it leaves one.

    The pixels of the stroke, and parts too small to be meant, go to the nearest part.
    """
    _, had = ndimage.label(mask)
    parts, n = ndimage.label(mask & ~stroke)
    sizes = np.bincount(parts.ravel(), minlength=n + 1)
    large = np.flatnonzero(sizes >= SMALLEST_PART)
    large = large[large > 0]
    if len(large) <= had:
        return None
    number = np.zeros(n + 1, np.int32)
    number[large] = np.arange(1, len(large) + 1)
    kept = number[parts]
    nearest = ndimage.distance_transform_edt(kept == 0, return_distances=False, return_indices=True)
    return np.where(mask, kept[tuple(nearest)], 0).astype(np.int32)


def _pixels_of_stroke(points: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows and columns of the pixels under a stroke, without gaps."""
    pixels = np.floor(points).astype(int)
    lines = [line(*a, *b) for a, b in pairwise(pixels.tolist())]
    rows, cols = (np.concatenate(axis) for axis in zip(*lines, strict=True))
    return rows.astype(np.int64), cols.astype(np.int64)


def _whole(document: Document, box: Box) -> Box:
    """Return a box that holds ``box`` and every nucleus that meets it whole."""
    if not box_area(box):
        raise EditRefusedError("The stroke lies outside the image; nothing was changed.")
    return reduce(box_union, (document.row(i).box for i in document.ids_in(box)), box)
