"""Points over an image, outlined tile by tile: which tiles, which points on each, and the seams.

The tiles are those that clicks are answered on, so that both share their embeddings. A point near
a seam is asked on both tiles and its better answer kept; then, as on one tile, the better of two
nuclei stays and the better is painted on top (the two levels of PromptNucSeg). Nuclei of tiles that
are done are given out as soon as no tile to come sees their points; they are not taken back.
Everything is in level-0 pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

from napari_nucleus.core.geometry import Box, box_union, clip_box, pad_box
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.points import Points
from napari_nucleus.core.prompts import MaskPrediction, Prompts
from napari_nucleus.core.tiling import TileSpec, order_from
from napari_nucleus.hosting.planning import click_tile, tile_pixels
from napari_nucleus.hosting.tiles import TileOrder
from napari_nucleus.models.api import ModelInfo
from napari_nucleus.models.point_prompting import (
    PointMasks,
    PointPrompting,
    best_answers,
    n_classes_of,
    point_prompts,
    resolve_masks,
    usual_prompting,
)

__all__ = ["FinalMasks", "MasksCallback", "PointTiles", "TileAnswers", "ignore_masks"]

MasksCallback = Callable[[TileSpec, NDArray[np.int64], PointMasks], None]
"""Takes a tile, the positions of the points that became final with it, and their nuclei."""


def ignore_masks(_: TileSpec, __: NDArray[np.int64], ___: PointMasks) -> None:
    """Take the nuclei of a tile and do nothing."""


@dataclass(frozen=True, eq=False)
class TileAnswers:
    """What a tile gives: answers to the points that were asked on it."""

    answers: tuple[MaskPrediction, ...]

    def shifted(self, dy: int, dx: int) -> TileAnswers:
        """Return the same answers moved by ``(dy, dx)`` pixels."""
        return TileAnswers(tuple(a.shifted(dy, dx) for a in self.answers))


@dataclass(frozen=True, eq=False)
class FinalMasks:
    """What became final: points ``which`` ``(k,)``, and their nuclei."""

    which: NDArray[np.int64]
    masks: PointMasks

    def __len__(self) -> int:
        return len(self.masks)


class PointTiles:
    """The tiles on which points are outlined, and what is known of their nuclei so far.

    Parameters
    ----------
    points
        All points of the run.
    info
        The promptable model.
    order
        The image and how the model sees it; points outside of its region, and those of tiles that
        are not wanted, are left out.
    prompting
        By default `usual_prompting`.
    """

    def __init__(
        self,
        points: Points,
        info: ModelInfo,
        order: TileOrder,
        prompting: PointPrompting | None = None,
    ) -> None:
        self._points, self._info, self._mpp = points, info, order.calibration.mpp
        self._prompting = prompting or usual_prompting(info)
        self._tree = shapely.STRtree(np.asarray(shapely.points(points.yx[:, ::-1])))
        specs, sought = _plan(points, info, order)
        self.specs = order_from(specs, order.start_yx or _middle(specs[0].core)) if specs else []
        # Half a halo of tissue is left around every point that is asked.
        reach = tile_pixels(info.click_tile, info.halo, order.calibration)[1] // 2
        self._asked: dict[TileSpec, NDArray[np.int64]] = {}
        self._to_come = np.zeros(len(points), int)
        for spec in self.specs:
            near = self._within(clip_box(pad_box(spec.core, reach), order.source.shape))
            self._asked[spec] = near[sought[near]]
            self._to_come[self._asked[spec]] += 1
        self._best: dict[int, MaskPrediction] = {}
        self._given = Nuclei.empty(n_classes_of(points, info))
        self._outers = shapely.STRtree(_polygons([spec.outer for spec in self.specs]))
        self._number = {spec: i for i, spec in enumerate(self.specs)}
        self._coming = np.ones(len(self.specs), bool)

    def prompts(self, spec: TileSpec) -> tuple[Prompts, ...]:
        """Return what the model is asked on a tile, in pixels of the tile."""
        around = self._within(spec.outer)
        local = self._points.select(around).shifted(-spec.outer[0], -spec.outer[1])
        which = np.searchsorted(around, self._asked[spec])
        return tuple(point_prompts(local, self._prompting, which))

    def answers(self, spec: TileSpec, answers: Sequence[MaskPrediction]) -> TileAnswers:
        """Return what the answers to `prompts` come to, in pixels of the tile."""
        return TileAnswers(tuple(best_answers(answers, len(self._asked[spec]))))

    def add(self, spec: TileSpec, found: TileAnswers) -> FinalMasks:
        """Take the answers of a tile, on level 0; return what became final with it."""
        which = self._asked[spec]
        for i, answer in zip(which.tolist(), found.answers, strict=True):
            known = self._best.get(i)
            self._best[i] = answer if known is None else best_answers([known, answer], 1)[0]
        self._to_come[which] -= 1
        final = which[self._to_come[which] == 0]
        points = self._points.select(final)
        masks = resolve_masks(
            points,
            [self._best.pop(i) for i in final.tolist()],
            self._prompting,
            self._info,
            self._mpp,
            self._given,
        )
        self._coming[self._number[spec]] = False
        self._remember(masks.nuclei)
        return FinalMasks(final, masks)

    def _within(self, box: Box) -> NDArray[np.int64]:
        """Return the positions of the points in a box, in order."""
        near = np.sort(self._tree.query(_polygons([box])[0]))
        return near[self._points.select(near).inside(box)]

    def _remember(self, nuclei: Nuclei) -> None:
        """Keep the nuclei given out that a tile to come may meet."""
        given = Nuclei.concatenate([self._given, nuclei])
        i, tile = self._outers.query(_polygons(given.boxes))
        self._given = given.select(np.unique(i[self._coming[tile]]))


def _plan(
    points: Points, info: ModelInfo, order: TileOrder
) -> tuple[list[TileSpec], NDArray[np.bool_]]:
    """Return the tiles of clicks that hold points, and which points ``(n,)`` are on them."""
    shape = order.source.shape
    side, _ = tile_pixels(info.click_tile, info.halo, order.calibration)
    inside = np.flatnonzero(points.inside(clip_box(order.region or (0, 0, *shape), shape)))
    cells, cell = np.unique(
        np.floor(points.yx[inside] / side).astype(int), axis=0, return_inverse=True
    )
    boxes = [clip_box((y, x, y + side, x + side), shape) for y, x in (cells * side).tolist()]
    wanted = np.array([order.wanted is None or order.wanted(box) for box in boxes], bool)
    sought = np.zeros(len(points), bool)
    sought[inside] = wanted[cell.ravel()]
    cores: dict[Box, Box] = {}
    for box in (box for box, is_wanted in zip(boxes, wanted, strict=True) if is_wanted):
        outer = click_tile(_middle(box), shape, info, order.calibration)
        # A small image is one tile, whatever its cores.
        cores[outer] = box_union(cores.get(outer, box), box)
    return [TileSpec(core, outer) for outer, core in cores.items()], sought


def _middle(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _polygons(boxes: ArrayLike) -> NDArray[np.object_]:
    y0, x0, y1, x1 = np.asarray(boxes).reshape(-1, 4).T
    return shapely.box(x0, y0, x1, y1)
