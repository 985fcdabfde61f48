"""Run a model in this process: for the command line and for evaluation.

Plans, samples and resolves seams as the host does, so that the nuclei are the same.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from napari_nucleus.core.geometry import Box
from napari_nucleus.core.image import ImageSource
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.progress import Cancel, ProgressCallback, ignore_progress
from napari_nucleus.hosting.planning import plan_tiles, read_samples
from napari_nucleus.hosting.tiles import run_tiles
from napari_nucleus.models.api import AutomaticSegmenter, Calibration, PromptableSegmenter

__all__ = ["calibrate_source", "segment_source"]


def calibrate_source(
    model: AutomaticSegmenter | PromptableSegmenter, source: ImageSource, mpp: float | None = None
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
    with ThreadPoolExecutor(1, thread_name_prefix="model") as model_thread:
        run_tiles(
            plan_tiles(source.shape, model.info, calibration, region),
            source,
            calibration,
            lambda _, tile: model_thread.submit(model.segment, tile, calibration),
            lambda _, nuclei: found.append(nuclei),
            on_progress,
            Cancel() if cancel is None else cancel,
        )
    return Nuclei.concatenate(found)
