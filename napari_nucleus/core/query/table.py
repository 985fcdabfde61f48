"""The nuclei table that queries are answered on: what is known at once, and what the pixels say.

Shape, darkness and touching are computed when a query first needs them, of the nuclei that it needs
them of, block by block, and kept. Knows neither documents nor files: pixels come through functions.
Not to be used from two threads at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.typing import NDArray
from skimage.color import hed_from_rgb

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.core.geometry import Box, clip_box, grouped_by_cell, pad_box
from napari_nucleus.core.image import ImageSource
from napari_nucleus.core.morphology import measure
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.query.rules import ALMOST_TOUCHING_UM
from napari_nucleus.core.stain import rgb_to_od

__all__ = ["DARKNESS", "SHAPE", "TOUCHING", "NucleiTable"]

SHAPE, DARKNESS, TOUCHING = "shape", "darkness", "touching"
"""What is computed from pixels."""

BLOCK = 512
"""Pixels of the side of a square whose nuclei are worked on together: some 30 ms."""

_HEMATOXYLIN = np.asarray(hed_from_rgb, np.float32)[:, 0]


@dataclass(frozen=True, eq=False)
class NucleiTable:
    """n nuclei of an image.

    Parameters
    ----------
    ids
        ``(n,)`` ascending.
    class_ids
        ``(n,)`` in ``scheme``, 0 for none.
    class_prob
        ``(n, C)`` a model's probabilities in the order of the scheme; zeros where there are none.
    scores
        ``(n,)`` confidence of what found it, 0–1; nan where nothing gave one.
    areas
        ``(n,)`` pixels.
    centroids_yx, boxes
        ``(n, 2)`` and ``(n, 4)``, level-0 pixels.
    states
        ``(n,)`` texts: automatic, imported, accepted or user.
    doubts
        ``(n,)`` how doubtful each is, 0–1.
    shape
        Height and width of the image.
    scheme
        The classes.
    mpp
        µm per pixel, None when unknown.
    read
        Returns the labels of a box inside the image; None where there are no pixels.
    source
        The image, None where it is not at hand.
    border
        What the user's border goes around, ``(x, y)`` level-0 pixels; None without one.
    guessed
        ``(n,)`` which nuclei were named by a model that does not tell neoplastic from epithelial
        nuclei: they count as both. None for none.
    """

    ids: NDArray[np.int64]
    class_ids: NDArray[np.integer]
    class_prob: NDArray[np.floating]
    scores: NDArray[np.floating]
    areas: NDArray[np.integer]
    centroids_yx: NDArray[np.float64]
    boxes: NDArray[np.integer]
    states: NDArray[np.str_]
    doubts: NDArray[np.floating]
    shape: tuple[int, int]
    scheme: ClassScheme
    mpp: float | None = None
    read: Callable[[Box], NDArray[np.integer]] | None = None
    source: ImageSource | None = None
    border: shapely.Geometry | None = None
    guessed: NDArray[np.bool_] | None = None
    _values: dict[str, NDArray[np.float64]] = field(default_factory=dict, repr=False)
    _pairs: list[NDArray[np.int64]] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        n = len(self.ids)
        for name in ("class_ids", "class_prob", "scores", "areas", "centroids_yx", "boxes"):
            if len(getattr(self, name)) != n:
                raise ValueError(f"{n} ids and {len(getattr(self, name))} {name}")
        if len(self.states) != n or len(self.doubts) != n:
            raise ValueError(f"{n} ids, {len(self.states)} states and {len(self.doubts)} doubts")
        if n and (np.diff(self.ids) <= 0).any():
            raise ValueError("ids are not in ascending order")

    def __len__(self) -> int:
        return len(self.ids)

    def values(self, name: str) -> NDArray[np.float64]:
        """Return ``eccentricity``, ``solidity`` or `DARKNESS`, ``(n,)``; nan where not computed."""
        return self._values.setdefault(name, np.full(len(self), np.nan))

    def touching_pairs(self) -> NDArray[np.int64]:
        """Return pairs ``(k, 2)`` of rows that touch, for the first of which it was computed."""
        return np.concatenate([np.zeros((0, 2), np.int64), *self._pairs])

    def missing(self, what: str, rows: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return those of some rows of which shape, darkness or touching is not computed yet."""
        name = {SHAPE: "solidity"}.get(what, what)
        return np.asarray(rows, np.int64)[np.isnan(self.values(name)[rows])]

    def compute(self, what: str, rows: NDArray[np.integer]) -> Iterator[int]:
        """Compute shape, darkness or touching of rows where it is missing; yields after each block.

        Yields
        ------
        int
            How many more of the rows are done.

        Raises
        ------
        ValueError
            If there are no pixels to compute it from.
        """
        if self.read is None or (what == DARKNESS and self.source is None):
            raise ValueError(f"there are no pixels to compute {what} from")
        work = {SHAPE: self._measure, DARKNESS: self._darken, TOUCHING: self._pair}[what]
        wanted = self.missing(what, rows)
        for group in grouped_by_cell(self.boxes[wanted], BLOCK):
            work(wanted[group])
            yield len(group)

    def take_over(self, other: NucleiTable) -> None:
        """Take what another table of the same image has computed of nuclei that are as they were.

        Which nuclei touch is not taken over: it changes with their neighbours.
        """
        common, here, there = np.intersect1d(
            self.ids, other.ids, assume_unique=True, return_indices=True
        )
        if not len(common):
            return
        same = (self.boxes[here] == other.boxes[there]).all(axis=1)
        same &= self.areas[here] == other.areas[there]
        same &= (self.centroids_yx[here] == other.centroids_yx[there]).all(axis=1)
        for name in ("eccentricity", "solidity", DARKNESS):
            if name in other._values and (name != DARKNESS or self.source is other.source):
                self.values(name)[here[same]] = other._values[name][there[same]]

    def _labels_around(
        self, rows: NDArray[np.int64], by: int = 0
    ) -> tuple[NDArray[np.integer], Box]:
        """Return the labels of the box around some nuclei, and the box."""
        low, high = self.boxes[rows, :2].min(axis=0), self.boxes[rows, 2:].max(axis=0)
        whole = (int(low[0]), int(low[1]), int(high[0]), int(high[1]))
        box = clip_box(pad_box(whole, by), self.shape)
        assert self.read is not None
        return self.read(box), box

    def _measure(self, rows: NDArray[np.int64]) -> None:
        labels, (top, left, _, _) = self._labels_around(rows)
        boxes = self.boxes[rows]
        crops = boxes - np.array([top, left, top, left])
        masks = tuple(
            labels[a:c, b:d] == i
            for i, (a, b, c, d) in zip(self.ids[rows].tolist(), crops.tolist(), strict=True)
        )
        n = len(rows)
        nuclei = Nuclei(
            boxes.astype(np.int32), masks, np.ones(n, np.float32), np.zeros((n, 0), np.float32)
        )
        found = measure(nuclei)
        self.values("eccentricity")[rows] = found.eccentricity
        self.values("solidity")[rows] = found.solidity

    def _darken(self, rows: NDArray[np.int64]) -> None:
        """Take the mean optical density (natural logarithm) of hematoxylin of each nucleus."""
        labels, box = self._labels_around(rows)
        assert self.source is not None
        inside = labels > 0
        place, known = _places(labels[inside], self.ids[rows])
        density = rgb_to_od(self.source.read(box)[inside][known]) @ _HEMATOXYLIN
        sums = np.bincount(place[known], density, len(rows))
        counts = np.bincount(place[known], minlength=len(rows))
        self.values(DARKNESS)[rows] = sums / np.maximum(counts, 1)

    def _pair(self, rows: NDArray[np.int64]) -> None:
        gap = 0.0 if self.mpp is None else ALMOST_TOUCHING_UM / self.mpp
        reach = int(gap) + 1
        labels, _ = self._labels_around(rows, reach)
        pairs = _touching(labels, gap, reach)
        first, known = _places(pairs[:, 0], self.ids[rows])
        second, there = _places(pairs[:, 1], self.ids)
        both = known & there
        self._pairs.append(np.column_stack([rows[first[both]], second[both]]))
        self.values(TOUCHING)[rows] = 1.0


def _places(
    values: NDArray[np.integer], ids: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the place of each value among ascending ids, and which values are there."""
    place = np.searchsorted(ids, values).clip(max=len(ids) - 1)
    return place, ids[place] == values


def _touching(labels: NDArray[np.integer], gap: float, reach: int) -> NDArray[np.int64]:
    """Return pairs ``(k, 2)`` of labels whose pixel squares lie at most ``gap`` pixels apart.

    Each pair is there in both orders.
    """
    padded = np.pad(labels, reach)
    flat, width = padded.ravel(), padded.shape[1]
    rim = np.zeros(labels.shape, bool)
    height, length = labels.shape
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        beside = padded[reach + dy :, reach + dx :][:height, :length]
        rim |= beside != labels
    rim &= labels != 0
    rows, columns = np.nonzero(rim)
    at = (rows + reach) * width + columns + reach
    own = flat[at]
    found = [np.zeros(0, np.int64)]
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            if np.hypot(max(abs(dy) - 1, 0), max(abs(dx) - 1, 0)) <= gap and (dy or dx):
                other = flat[at + (dy * width + dx)]
                met = np.flatnonzero((other != own) & (other != 0))
                if len(met):
                    # Both ids in one number.
                    found.append(np.unique((own[met].astype(np.int64) << 32) | other[met]))
    both = np.unique(np.concatenate(found))
    return np.column_stack([both >> 32, both & 0xFFFFFFFF])
