"""Nuclei on their way into a document: cut to its image, and told apart where they overlap.

Knows neither documents nor policies (`import_policy`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

from napari_nucleus.core.geometry import Box, clip_box, grouped_by_cell
from napari_nucleus.core.morphology import overlapping_pairs
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.session.grid import TILE_SIZE
from napari_nucleus.session.masks import TightMask, largest_part, place_mask, tight_mask
from napari_nucleus.session.placement import KEPT_SHARE

__all__ = ["Incoming", "batches_of", "incoming_of", "parted_in_steps"]


@dataclass(frozen=True, eq=False)
class Incoming:
    """Nuclei that are to enter a document; made by `incoming_of`.

    Parameters
    ----------
    nuclei
        n nuclei in level-0 pixels, inside the image.
    class_ids
        ``(n,)`` class of each in the document's scheme; 0 for none.
    scores
        ``(n,)`` confidence in 0–1; nan where nothing was stated.
    ids
        ``(n,)`` ids that they had elsewhere; None if they had none.
    left_out
        Number of nuclei that are not among them because better ones hold their place.
    trimmed_px
        Pixels that those which are here left to better ones.
    outside
        Number of nuclei that are not among them because they lie outside the image.
    notes
        What else is to be told, each a part of a sentence.
    """

    nuclei: Nuclei
    class_ids: NDArray[np.int32]
    scores: NDArray[np.float32]
    ids: NDArray[np.int64] | None = None
    left_out: int = 0
    trimmed_px: int = 0
    outside: int = 0
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.nuclei)

    def select(self, which: ArrayLike) -> Incoming:
        """Return those at these indices, or where a ``(n,)`` bool array is True."""
        index = np.asarray(which)
        index = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64)
        return replace(
            self,
            nuclei=self.nuclei.select(index),
            class_ids=self.class_ids[index],
            scores=self.scores[index],
            ids=None if self.ids is None else self.ids[index],
        )

    def inside(self, within: shapely.Geometry) -> Incoming:
        """Return those whose centroids lie in a geometry ``(x, y)``; how many do not is noted."""
        y, x = self.nuclei.centroids_yx.T
        held = shapely.contains_xy(within, x, y)
        beyond = int(np.count_nonzero(~held))
        if not beyond:
            return self
        note = f"{beyond:,} left out because they lie outside the region"
        return replace(self.select(held), notes=(*self.notes, note))


def incoming_of(
    nuclei: Nuclei,
    shape: tuple[int, int],
    class_ids: NDArray[np.integer],
    scores: NDArray[np.floating] | None = None,
    ids: ArrayLike | None = None,
    notes: Sequence[str] = (),
) -> Incoming:
    """Cut nuclei to an image.

    Parameters
    ----------
    nuclei
        In level-0 pixels; may overlap and reach out of the image.
    shape
        Height and width of the image.
    class_ids, scores, ids, notes
        As in `Incoming`; without ``scores`` those of the nuclei.
    """
    crossing = ((nuclei.boxes[:, :2] < 0) | (nuclei.boxes[:, 2:] > np.array(shape))).any(axis=1)
    others: dict[int, TightMask | None] = {}
    for i in np.flatnonzero(crossing).tolist():
        box = clip_box(nuclei.boxes[i], shape)
        others[i] = tight_mask(place_mask(nuclei.masks[i], _box(nuclei, i), box), box)
    scores = nuclei.score if scores is None else scores
    incoming = Incoming(
        nuclei,
        np.asarray(class_ids, np.int32),
        np.asarray(scores, np.float32),
        None if ids is None else np.asarray(ids, np.int64),
        notes=tuple(notes),
    )
    inside = _with_masks(incoming, others)
    return replace(inside, outside=len(incoming) - len(inside))


def batches_of(nuclei: Nuclei, size: int = 2 * TILE_SIZE) -> Iterator[NDArray[np.int64]]:
    """Yield the indices of nuclei that begin in the same square of ``size`` pixels, row by row."""
    return grouped_by_cell(nuclei.boxes, size)


def parted_in_steps(incoming: Incoming) -> Generator[None, None, Incoming]:
    """Give each pixel to one nucleus at most; pauses square by square.

    The better score goes first, the first of equals. One that keeps less than `KEPT_SHARE` of its
    pixels is left out; of another its largest remaining part stays.
    """
    nuclei = incoming.nuclei
    better = yield from _better_neighbours(nuclei)
    rank = _rank(nuclei)
    others: dict[int, TightMask | None] = {}
    left_out = trimmed_px = 0
    for i in sorted(better, key=rank.__getitem__):
        box, mask = _box(nuclei, i), nuclei.masks[i]
        held = np.zeros_like(mask)
        for j in better[i]:
            shape = others.get(j)
            if j not in others:
                held |= place_mask(nuclei.masks[j], _box(nuclei, j), box)
            elif shape is not None:
                held |= place_mask(shape.mask, shape.box, box)
        if not (held & mask).any():
            continue
        wanted = int(np.count_nonzero(mask))
        left = tight_mask(largest_part(mask & ~held), box)
        if left is None or left.area < KEPT_SHARE * wanted:
            others[i] = None
            left_out += 1
        else:
            others[i] = left
            trimmed_px += wanted - left.area
    parted = _with_masks(incoming, others)
    return replace(
        parted,
        left_out=incoming.left_out + left_out,
        trimmed_px=incoming.trimmed_px + trimmed_px,
    )


def _better_neighbours(nuclei: Nuclei) -> Generator[None, None, dict[int, list[int]]]:
    """Return, for each nucleus that shares pixels with better ones, which those are."""
    rank = _rank(nuclei)
    y0, x0, y1, x1 = nuclei.boxes.T
    tree = shapely.STRtree(shapely.box(x0, y0, x1, y1))
    better: dict[int, list[int]] = {}
    for batch in batches_of(nuclei, TILE_SIZE):
        top, left = nuclei.boxes[batch, :2].min(axis=0)
        bottom, right = nuclei.boxes[batch, 2:].max(axis=0)
        near = np.sort(tree.query(shapely.box(left, top, right, bottom)))
        i, j, _ = overlapping_pairs(nuclei.select(batch), nuclei.select(near), 0.0)
        first, second = batch[i], near[j]
        worse = rank[first] > rank[second]
        for a, b in zip(first[worse].tolist(), second[worse].tolist(), strict=True):
            better.setdefault(a, []).append(b)
        yield
    return better


def _rank(nuclei: Nuclei) -> NDArray[np.int64]:
    """Return the place of each nucleus ``(n,)`` by score, 0 for the best."""
    rank = np.empty(len(nuclei), np.int64)
    rank[np.argsort(-nuclei.score, kind="stable")] = np.arange(len(nuclei))
    return rank


def _box(nuclei: Nuclei, i: int) -> Box:
    y0, x0, y1, x1 = nuclei.boxes[i].tolist()
    return y0, x0, y1, x1


def _with_masks(incoming: Incoming, others: Mapping[int, TightMask | None]) -> Incoming:
    """Return a batch in which some nuclei have another mask, or are left out for None."""
    if not others:
        return incoming
    boxes, masks = incoming.nuclei.boxes.copy(), list(incoming.nuclei.masks)
    stays = np.ones(len(incoming), np.bool_)
    for i, shape in others.items():
        if shape is None:
            stays[i] = False
        else:
            boxes[i], masks[i] = shape.box, shape.mask
    nuclei = replace(incoming.nuclei, boxes=boxes, masks=tuple(masks))
    return replace(incoming, nuclei=nuclei).select(stays)
