"""Tiles of an image, and one nucleus out of what several tiles saw of it.

Cores of tiles partition the image; a tile is read with a halo around its core, and a nucleus
belongs to the tile whose core holds its centroid. If the halo is wider than what a segmenter sees
plus a nucleus, neighbours see the same mask and the answer equals the untiled one, pixel by pixel.
Networks that see the whole tile agree only nearly: then a nucleus may be claimed by two tiles or
by none, which `SeamResolver` puts right.

Everything is in level-0 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from napari_nucleus.core.geometry import Box, clip_box, pad_box
from napari_nucleus.core.morphology import overlapping_pairs, pixels_of_nuclei
from napari_nucleus.core.nuclei import Nuclei

__all__ = ["SeamResolver", "TileSpec", "centroid_pixels", "order_from", "owned", "tile_grid"]

SAME_NUCLEUS_IOU = 0.5
"""Masks of two tiles that overlap more than this are one nucleus."""


@dataclass(frozen=True, slots=True)
class TileSpec:
    """A tile: the ``core`` it answers for and the ``outer`` box that is read, halo included."""

    core: Box
    outer: Box


def tile_grid(
    shape: tuple[int, int], core: int, halo: int, region: Box | None = None
) -> list[TileSpec]:
    """Cut an image, or a region of it, into tiles, row by row.

    Parameters
    ----------
    shape
        Height and width of the image.
    core
        Side of a core; at the lower and right end of the region it may be smaller.
    halo
        Pixels that are read around a core, as far as the image goes.
    region
        Part of the image to cover; it is clipped to the image.

    Returns
    -------
    list of TileSpec
        Each pixel of the region lies in exactly one core. Empty if nothing is to be covered.
    """
    if core < 1 or halo < 0:
        raise ValueError(f"a tile needs a core of at least 1 and a halo, got {core} and {halo}")
    y0, x0, y1, x1 = clip_box((0, 0, *shape) if region is None else region, shape)
    specs = []
    for y in range(y0, y1, core):
        for x in range(x0, x1, core):
            inner = (y, x, min(y + core, y1), min(x + core, x1))
            specs.append(TileSpec(inner, clip_box(pad_box(inner, halo), shape)))
    return specs


def order_from(specs: Sequence[TileSpec], point_yx: ArrayLike) -> list[TileSpec]:
    """Return the tiles from the one around ``point_yx`` outwards, by the centres of their cores."""
    y, x = np.asarray(point_yx, float)

    def squared_distance(spec: TileSpec) -> float:
        y0, x0, y1, x1 = spec.core
        return ((y0 + y1) / 2 - y) ** 2 + ((x0 + x1) / 2 - x) ** 2

    return sorted(specs, key=squared_distance)


def centroid_pixels(nuclei: Nuclei) -> NDArray[np.int64]:
    """Return the ``(n, 2)`` row and column of the pixels that hold the centroids.

    Computed in whole numbers, so that all tiles that see a mask agree on its pixel.
    """
    n = len(nuclei)
    number, rows, columns = pixels_of_nuclei(nuclei)
    area = np.bincount(number, minlength=n)
    sums = np.column_stack([np.bincount(number, v, n) for v in (rows, columns)]).astype(np.int64)
    return (2 * sums + area[:, None]) // (2 * area[:, None]) + nuclei.boxes[:, :2]


def owned(nuclei: Nuclei, spec: TileSpec) -> NDArray[np.bool_]:
    """Return which nuclei ``(n,)`` belong to a tile: those with their centroid in its core."""
    return _inside(centroid_pixels(nuclei), spec.core)


def _inside(pixels: NDArray[np.int64], box: Box) -> NDArray[np.bool_]:
    return np.all((pixels >= box[:2]) & (pixels < box[2:]), axis=1)


@dataclass(eq=False)
class _Kept:
    """Nuclei near seams with, for each, the tile that saw it, the one it belongs to, how far it
    is from where that first tile was cut off, and how many tiles to come may see it."""

    nuclei: Nuclei = field(default_factory=Nuclei.empty)
    seen_by: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    owner: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    depth: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    to_come: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def select(self, which: NDArray[np.bool_]) -> _Kept:
        return _Kept(
            self.nuclei.select(which),
            self.seen_by[which],
            self.owner[which],
            self.depth[which],
            self.to_come[which],
        )

    def joined(self, other: _Kept) -> _Kept:
        if not len(self.nuclei) or not len(other.nuclei):
            return other if len(other.nuclei) else self
        return _Kept(
            Nuclei.concatenate([self.nuclei, other.nuclei]),
            np.concatenate([self.seen_by, other.seen_by]),
            np.concatenate([self.owner, other.owner]),
            np.concatenate([self.depth, other.depth]),
            np.concatenate([self.to_come, other.to_come]),
        )


class SeamResolver:
    """Turns the answers of tiles, in any order, into nuclei that each come once.

    Parameters
    ----------
    specs
        All tiles of the run. Memory is held only for nuclei that a tile to come may see.
    """

    def __init__(self, specs: Sequence[TileSpec]) -> None:
        self._number = {spec: i for i, spec in enumerate(specs)}
        self._cores = np.array([s.core for s in specs], np.int64).reshape(-1, 4)
        self._outers = np.array([s.outer for s in specs], np.int64).reshape(-1, 4)
        self._core_tree = shapely.STRtree(_boxes(self._cores))
        self._outer_tree = shapely.STRtree(_boxes(self._outers))
        self._done = np.zeros(len(specs), bool)
        self._emitted = _Kept()
        self._waiting = _Kept()

    def add(self, spec: TileSpec, nuclei: Nuclei) -> Nuclei:
        """Take all nuclei that a tile saw, its halo included; return those to show now.

        Returned are the tile's own nuclei, without those that a neighbour has already given, and
        orphans: nuclei that two or more tiles saw, each of which left it to another; they come
        from the tile that saw them farthest from where it was cut off.

        Parameters
        ----------
        spec
            One of the tiles given at the start, not added before.
        nuclei
            Its nuclei in level-0 pixels.
        """
        number = self._number.get(spec)
        if number is None or self._done[number]:
            raise ValueError(f"{spec} is not one of the tiles of this run that are to come")
        self._done[number] = True
        for kept in (self._emitted, self._waiting):
            kept.to_come[_overlap(kept.nuclei.boxes, self._outers[number])] -= 1

        seen = self._describe(number, nuclei)
        own = seen.select(seen.owner == number)
        given, _, _ = overlapping_pairs(own.nuclei, self._emitted.nuclei, SAME_NUCLEUS_IOU)
        own = own.select(~np.isin(np.arange(len(own.nuclei)), given))
        # What no core holds lies outside the region; what was cut off is not known in full.
        others = seen.select((seen.owner >= 0) & (seen.owner != number) & (seen.depth > 0))
        self._waiting = self._waiting.joined(_uncovered(others, self._emitted.nuclei))
        self._emit(own)
        orphans = self._adopt_orphans()
        return own.joined(orphans).nuclei

    def _describe(self, number: int, nuclei: Nuclei) -> _Kept:
        pixels = centroid_pixels(nuclei)
        owner = np.full(len(nuclei), -1)
        i, tile = self._core_tree.query(shapely.points(pixels[:, 1] + 0.5, pixels[:, 0] + 0.5))
        owner[i] = tile
        i, tile = self._outer_tree.query(_boxes(nuclei.boxes))
        to_see = _overlap(nuclei.boxes[i], self._outers[tile]) & ~self._done[tile]
        to_come = np.bincount(i[to_see], minlength=len(nuclei))
        # Where there is no halo the image ends, and nothing was cut off.
        core, outer = self._cores[number], self._outers[number]
        margins = (nuclei.boxes - outer) * np.array([1, 1, -1, -1])
        depth = np.where(core != outer, margins, np.iinfo(np.int64).max).min(axis=1)
        return _Kept(nuclei, np.full(len(nuclei), number), owner, depth, to_come)

    def _emit(self, kept: _Kept) -> None:
        """Remember what was given out, while a tile to come may see it; wait for it no more."""
        self._waiting = _uncovered(self._waiting, kept.nuclei)
        kept = self._emitted.joined(kept)
        self._emitted = kept.select(kept.to_come > 0)

    def _adopt_orphans(self) -> _Kept:
        """Give out each nucleus that several tiles saw and all its owners have passed over."""
        waiting = self._waiting
        n = len(waiting.nuclei)
        if not n:
            return waiting
        i, j, _ = overlapping_pairs(waiting.nuclei, waiting.nuclei, SAME_NUCLEUS_IOU)
        other_tile = waiting.seen_by[i] != waiting.seen_by[j]
        i, j = i[other_tile], j[other_tile]
        graph = coo_array((np.ones(len(i), bool), (i, j)), shape=(n, n))
        _, group = connected_components(graph, directed=False)
        several = np.bincount(group)[group] > 1
        undecided = np.bincount(group, ~self._done[waiting.owner])[group] > 0
        best_first = np.lexsort((-waiting.depth, group))
        _, first = np.unique(group[best_first], return_index=True)
        is_best = np.zeros(n, bool)
        is_best[best_first[first]] = True
        orphan = several & ~undecided
        found = waiting.select(orphan & is_best)
        self._waiting = waiting.select(~orphan & (waiting.to_come > 0))
        self._emit(found)
        return found


def _uncovered(kept: _Kept, by: Nuclei) -> _Kept:
    """Return those that do not lie, by more than half, on a nucleus of ``by``.

    More is asked than of the same nucleus, because a halo may show only part of one.
    """
    i, _, common = overlapping_pairs(kept.nuclei, by, 0.0)
    covered = i[2 * common > kept.nuclei.areas[i]]
    return kept.select(~np.isin(np.arange(len(kept.nuclei)), covered))


def _boxes(boxes: NDArray) -> NDArray[np.object_]:
    return shapely.box(boxes[:, 1], boxes[:, 0], boxes[:, 3], boxes[:, 2])


def _overlap(a: NDArray, b: NDArray) -> NDArray[np.bool_]:
    return np.all((a[..., :2] < b[..., 2:]) & (b[..., :2] < a[..., 2:]), axis=1)
