"""What a host does with points: finds them tile by tile, and has nuclei made of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future

import numpy as np

from napari_nucleus.core.geometry import Box
from napari_nucleus.core.image import ImageSource
from napari_nucleus.core.point_seams import SEAM_RADIUS_UM, PointSeams
from napari_nucleus.core.points import Points
from napari_nucleus.core.tiling import TileSpec
from napari_nucleus.hosting.job import Job
from napari_nucleus.hosting.messages import Detect, Refine, Refined, TileKey
from napari_nucleus.hosting.mirror import EncodingCallback, TileOnDemand
from napari_nucleus.hosting.point_tiles import FinalMasks, MasksCallback, PointTiles, TileAnswers
from napari_nucleus.hosting.queue import Item, Priority
from napari_nucleus.hosting.requests import Requests
from napari_nucleus.hosting.tiles import TileOrder
from napari_nucleus.models.api import Calibration, ModelInfo
from napari_nucleus.models.point_prompting import (
    PointMasks,
    PointPrompting,
    best_answers,
    point_prompts,
    resolve_masks,
    usual_prompting,
)

__all__ = ["PointsCallback", "detect_all", "masks_of", "masks_of_all", "point_seams"]

PointsCallback = Callable[[TileSpec, Points], None]
"""Takes a tile and the points that became final with it, in level-0 pixels."""


def point_seams(specs: Sequence[TileSpec], calibration: Calibration) -> PointSeams:
    """Return what makes one point of each nucleus where tiles of an image meet."""
    return PointSeams(specs, SEAM_RADIUS_UM / calibration.mpp)


def detect_all(requests: Requests, order: TileOrder, on_points: PointsCallback) -> Job:
    """Find the points of an image tile by tile; see `Host.detect_all`."""
    return requests.run_tiles(
        order,
        lambda _, tile: Detect(tile, order.calibration),
        lambda _, reply: reply.points,
        lambda specs: point_seams(specs, order.calibration),
        on_points,
        what="Detecting nuclei",
    )


def masks_of(
    requests: Requests,
    source: ImageSource,
    tile_box: Box,
    calibration: Calibration,
    points: Points,
    prompting: PointPrompting | None,
    key: Hashable,
    on_encoding: EncodingCallback | None,
) -> Future[PointMasks]:
    """Outline the nuclei at points of one tile; see `Host.masks_of`."""
    tile = TileOnDemand(requests.mirror, source, tile_box, calibration)
    y0, x0 = tile.box[:2]
    on_tile = np.flatnonzero(points.inside(tile.box))
    here = points.select(on_tile).shifted(-y0, -x0)

    def asked() -> PointPrompting:
        return prompting or usual_prompting(requests.info)

    def request() -> Refine:
        return Refine(tile.key, tuple(point_prompts(here, asked())), tile.pixels_to_send())

    def result(reply: Refined) -> PointMasks:
        tile.encoded(reply.evicted)
        answers = best_answers(reply.predictions, len(here))
        found = resolve_masks(here, answers, asked(), requests.info, calibration.mpp)
        return found.shifted(y0, x0).among(len(points), on_tile)

    item = Item("the points", Priority.CLICK, request, result)
    requests.submit_newest(item, tile, key, on_encoding)
    return item.future


def masks_of_all(
    requests: Requests,
    order: TileOrder,
    points: Points,
    on_masks: MasksCallback,
    prompting: PointPrompting | None,
) -> Job:
    """Outline the nuclei at points all over an image; see `Host.masks_of_all`."""
    made: list[PointTiles] = []

    def plan(info: ModelInfo) -> list[TileSpec]:
        made.append(PointTiles(points, info, order, prompting))
        return made[0].specs

    def key(spec: TileSpec) -> TileKey:
        return requests.mirror.key(order.source, spec.outer, order.calibration)

    def found(spec: TileSpec, reply: Refined) -> TileAnswers:
        requests.mirror.add(key(spec), reply.evicted)
        return made[0].answers(spec, reply.predictions)

    def on_tile(spec: TileSpec, final: FinalMasks) -> None:
        on_masks(spec, final.which, final.masks)
        order.on_tile(spec, final.masks.nuclei)

    return requests.run_tiles(
        order,
        lambda spec, tile: Refine(key(spec), made[0].prompts(spec), tile),
        found,
        lambda _: made[0],
        on_tile,
        plan,
        "Outlining nuclei",
    )
