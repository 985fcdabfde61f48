"""Run a model in this process: for the command line and for evaluation.

Plans, samples and resolves seams as the host does, so that the nuclei are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from napari_nucleus.core.geometry import Box
from napari_nucleus.core.image import ImageSource, Tile
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.points import Points
from napari_nucleus.core.progress import Cancel, ProgressCallback, ignore_progress
from napari_nucleus.core.tiling import SeamResolver, TileSpec
from napari_nucleus.hosting.planning import plan_tiles, read_samples
from napari_nucleus.hosting.point_tiles import FinalMasks, PointTiles, TileAnswers
from napari_nucleus.hosting.points import point_seams
from napari_nucleus.hosting.tiles import F, S, Seams, TileOrder, run_tiles
from napari_nucleus.models.api import (
    AutomaticSegmenter,
    Calibration,
    PointDetector,
    PromptableSegmenter,
    TextAnswer,
    TextSegmenter,
)
from napari_nucleus.models.point_prompting import PointMasks, PointPrompting
from napari_nucleus.models.point_segmenter import PointSegmenter

__all__ = [
    "ask_source",
    "calibrate_source",
    "detect_source",
    "masks_of_source",
    "segment_source",
    "segment_with_points",
]


def calibrate_source(
    model: AutomaticSegmenter | PromptableSegmenter | TextSegmenter | PointDetector,
    source: ImageSource,
    mpp: float | None = None,
) -> Calibration:
    """Estimate what a model needs to know of a whole image from a few samples of its tissue.

    Parameters
    ----------
    model
        Any model that can calibrate.
    source
        The image.
    mpp
        µm per level-0 pixel; by default what the image states, and if it states none the model
        estimates it.
    """
    mpp = source.mpp if mpp is None else mpp
    return model.calibrate(read_samples(source, model.info, mpp), mpp)


def segment_source(
    model: AutomaticSegmenter,
    source: ImageSource,
    calibration: Calibration,
    region: Box | None = None,
    on_progress: ProgressCallback = ignore_progress,
    cancel: Cancel | None = None,
) -> Nuclei:
    """Find every nucleus of an image or of a region of it.

    Parameters
    ----------
    model
        The model; it runs on one thread, while this one reads the next tile.
    source
        The image.
    calibration
        What `calibrate_source` returned.
    region
        Level-0 box; by default all of the image.
    on_progress
        Takes a report after each tile.
    cancel
        Set from another thread to stop within one tile.

    Returns
    -------
    Nuclei
        In level-0 pixels.

    Raises
    ------
    CancelledError
        When cancelled.
    """
    found: list[Nuclei] = []
    specs = plan_tiles(source.shape, model.info, calibration, region)
    _work_through(
        specs,
        source,
        calibration,
        lambda _, tile: model.segment(tile, calibration),
        SeamResolver(specs),
        lambda _, nuclei: found.append(nuclei),
        on_progress,
        cancel,
    )
    return Nuclei.concatenate(found)


def segment_with_points(
    model: PointSegmenter,
    source: ImageSource,
    calibration: Calibration,
    on_progress: ProgressCallback = ignore_progress,
    cancel: Cancel | None = None,
) -> tuple[Nuclei, Points]:
    """Find every nucleus of an image by a model that points, and return the points as well.

    Parameters are those of `segment_source`, whose nuclei they are; points may have become none.
    """
    specs = plan_tiles(source.shape, model.info, calibration)
    seams = point_seams(specs, calibration)
    told: dict[TileSpec, Points] = {}
    points: list[Points] = []
    found: list[Nuclei] = []

    def work(spec: TileSpec, tile: Tile) -> Nuclei:
        seen, masks = model.find(tile, calibration)
        told[spec] = seen.shifted(*spec.outer[:2])
        return masks.nuclei

    def take(spec: TileSpec, nuclei: Nuclei) -> None:
        points.append(seams.add(spec, told.pop(spec)))
        found.append(nuclei)

    _work_through(specs, source, calibration, work, SeamResolver(specs), take, on_progress, cancel)
    return Nuclei.concatenate(found), Points.joined(points)


def detect_source(
    model: PointDetector,
    source: ImageSource,
    calibration: Calibration,
    on_progress: ProgressCallback = ignore_progress,
    cancel: Cancel | None = None,
) -> Points:
    """Find every nucleus of an image as a point, in level-0 pixels.

    Parameters are those of `segment_source`.
    """
    found: list[Points] = []
    specs = plan_tiles(source.shape, model.info, calibration)
    _work_through(
        specs,
        source,
        calibration,
        lambda _, tile: model.detect(tile, calibration),
        point_seams(specs, calibration),
        lambda _, points: found.append(points),
        on_progress,
        cancel,
        "Detecting nuclei",
    )
    return Points.joined(found)


def masks_of_source(
    model: PromptableSegmenter,
    source: ImageSource,
    calibration: Calibration,
    points: Points,
    prompting: PointPrompting | None = None,
    on_progress: ProgressCallback = ignore_progress,
    cancel: Cancel | None = None,
) -> PointMasks:
    """Outline the nuclei at points of an image, all in level-0 pixels.

    Parameters
    ----------
    points
        Those beside the image get no nucleus.
    prompting
        How the model is asked; by default what is usual for it.
    model, source, calibration, on_progress, cancel
        As in `segment_source`.
    """
    tiles = PointTiles(points, model.info, TileOrder(source, calibration), prompting)
    nucleus = np.full(len(points), -1)
    found: list[Nuclei] = []

    def work(spec: TileSpec, tile: Tile) -> TileAnswers:
        answers = model.refine_many(model.embed(tile, calibration), tiles.prompts(spec))
        return tiles.answers(spec, answers)

    def take(_: TileSpec, final: FinalMasks) -> None:
        before = sum(len(nuclei) for nuclei in found)
        local = final.masks.nucleus
        nucleus[final.which] = np.where(local < 0, -1, local + before)
        found.append(final.masks.nuclei)

    _work_through(
        tiles.specs,
        source,
        calibration,
        work,
        tiles,
        take,
        on_progress,
        cancel,
        "Outlining nuclei",
    )
    return PointMasks(Nuclei.concatenate(found), nucleus)


def ask_source(
    model: TextSegmenter,
    source: ImageSource,
    calibration: Calibration,
    texts: Sequence[str],
    on_tile: Callable[[Box, Nuclei], None],
    on_answers: Callable[[Box, list[TextAnswer]], None],
    on_progress: ProgressCallback = ignore_progress,
    cancel: Cancel | None = None,
) -> None:
    """Answer texts on an image, tile by tile.

    Parameters
    ----------
    model
        The model; it runs on one thread, while this one reads the next tile.
    source, calibration, on_progress, cancel
        As in `segment_source`.
    texts
        Each is answered by itself.
    on_tile
        Takes the core of a tile and the nuclei that the first text led to, in level-0 pixels.
    on_answers
        Takes the core of a tile and the answers to all texts, in level-0 pixels; nuclei near its
        border may come with a neighbouring tile as well.

    Raises
    ------
    CancelledError
        When cancelled.
    """
    told: dict[Box, list[TextAnswer]] = {}

    def answer(spec: TileSpec, tile: Tile) -> Nuclei:
        answers = model.answer_many(model.embed(tile, calibration), texts)
        y0, x0 = spec.outer[:2]
        told[spec.core] = [replace(a, nuclei=a.nuclei.shifted(y0, x0)) for a in answers]
        return answers[0].nuclei

    def take(spec: TileSpec, nuclei: Nuclei) -> None:
        on_answers(spec.core, told.pop(spec.core))
        on_tile(spec.core, nuclei)

    specs = plan_tiles(source.shape, model.info, calibration)
    _work_through(
        specs, source, calibration, answer, SeamResolver(specs), take, on_progress, cancel
    )


def _work_through(
    specs: Sequence[TileSpec],
    source: ImageSource,
    calibration: Calibration,
    work: Callable[[TileSpec, Tile], F],
    seams: Seams[F, S],
    take: Callable[[TileSpec, S], None],
    on_progress: ProgressCallback,
    cancel: Cancel | None,
    what: str = "Segmenting tiles",
) -> None:
    """Work on tiles on a thread of the model's, while this one reads; see `run_tiles`."""
    with ThreadPoolExecutor(1, thread_name_prefix="model") as model_thread:
        run_tiles(
            specs,
            source,
            calibration,
            lambda spec, tile: model_thread.submit(work, spec, tile),
            seams,
            take,
            on_progress,
            Cancel() if cancel is None else cancel,
            what,
        )
