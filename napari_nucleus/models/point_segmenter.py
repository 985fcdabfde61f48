"""A model that points and one that outlines, as one that finds every nucleus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from napari_nucleus.core.image import Tile
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.points import Points
from napari_nucleus.models.api import Calibration, PointDetector, PromptableSegmenter
from napari_nucleus.models.point_prompting import (
    PointMasks,
    PointPrompting,
    n_classes_of,
    segment_points,
)

__all__ = ["PointSegmenter"]


class PointSegmenter:
    """Automatic segmentation in two steps: a point for each nucleus, then its mask.

    ``device`` and ``digest`` are the detector's.

    Parameters
    ----------
    detector
        Finds the points; what is said of the model is said of it.
    segmenter
        Outlines them. It sees images as the detector does, at its own working pixel size.
    prompting
        How it is asked; by default what is usual for it.
    """

    def __init__(
        self,
        detector: PointDetector,
        segmenter: PromptableSegmenter,
        prompting: PointPrompting | None = None,
    ) -> None:
        self.detector, self.segmenter, self.prompting = detector, segmenter, prompting
        self.info = detector.info
        self.device = str(getattr(detector, "device", "cpu"))
        self.digest = str(getattr(detector, "digest", ""))

    def calibrate(self, samples: Sequence[Tile], mpp: float | None) -> Calibration:
        """Estimate what is common to an image from sample tiles of it, as the detector does."""
        return self.detector.calibrate(samples, mpp)

    def for_segmenter(self, calibration: Calibration) -> Calibration:
        """Return a calibration of the detector's as the segmenter takes it."""
        return replace(calibration, scale=calibration.mpp / self.segmenter.info.working_mpp)

    def detect(self, tile: Tile, calibration: Calibration | None = None) -> Points:
        """Return the centres of the nuclei of a tile, in tile pixels."""
        return self.detector.detect(tile, calibration)

    def detect_many(
        self, tiles: Sequence[Tile], calibration: Calibration | None = None
    ) -> list[Points]:
        """Return the centres of the nuclei of several tiles, found together."""
        return self.detector.detect_many(tiles, calibration)

    def segment(self, tile: Tile, calibration: Calibration | None = None) -> Nuclei:
        """Return the nuclei of a tile, in tile pixels; no two share a pixel."""
        return self.find(tile, calibration)[1].nuclei

    def find(self, tile: Tile, calibration: Calibration | None = None) -> tuple[Points, PointMasks]:
        """Return the points of a tile and the nuclei at them, in tile pixels."""
        calibration = calibration or self.calibrate([tile], tile.frame.raster_mpp)
        points = self.detector.detect(tile, calibration)
        if not len(points):
            none = Nuclei.empty(n_classes_of(points, self.segmenter.info), self.info.name)
            return points, PointMasks(none, np.zeros(0, np.int64))
        embedding = self.segmenter.embed(tile, self.for_segmenter(calibration))
        masks = segment_points(self.segmenter, embedding, points, self.prompting)
        return points, replace(masks, nuclei=replace(masks.nuclei, source=self.info.name))
