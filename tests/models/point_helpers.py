"""Models of points without a network: what they say is what a test tells them to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.geometry import Box, Frame
from napari_nucleus.core.image import Tile
from napari_nucleus.core.points import Points
from napari_nucleus.core.prompts import MaskLogits, MaskPrediction, Prompts
from napari_nucleus.models.api import Calibration, Embedding, ModelInfo

CALIBRATION = Calibration(1.0, 0.25)

INFO = ModelInfo(
    name="outliner",
    title="Says what it is told",
    capabilities=("promptable",),
    classes=PANNUKE,
    working_mpp=0.25,
    tile=64,
    halo=8,
    click_tile=64,
    licence="none",
    source="bundled",
)


def points_at(*yx: tuple[float, float], score: float = 1.0, classes: int = 0) -> Points:
    rows = np.array(yx, float).reshape(-1, 2)
    return Points(rows, np.full(len(rows), score), np.zeros((len(rows), classes)))


def answer(
    box: Box, iou: float = 0.9, mask: np.ndarray | None = None, classes: tuple[float, ...] = ()
) -> MaskPrediction:
    """An answer that fills its box, or ``mask`` in it."""
    full = np.ones((box[2] - box[0], box[3] - box[1]), bool)
    logits = MaskLogits(np.zeros((2, 2), np.float16), tuple(map(float, box)))
    return MaskPrediction(full if mask is None else mask, box, logits, iou, classes)


NOTHING = answer((0, 0, 0, 0), 0.0)


class Outliner:
    """A promptable model that answers by a function of the prompts, and remembers them."""

    def __init__(self, say: Callable[[Prompts], MaskPrediction], info: ModelInfo = INFO) -> None:
        self.say, self.info = say, info
        self.asked: list[Prompts] = []
        self.embedded: list[tuple[Tile, Calibration]] = []

    def calibrate(self, samples: Sequence[Tile], mpp: float | None) -> Calibration:
        raise AssertionError("the detector calibrates")

    def embed(self, tile: Tile, calibration: Calibration | None = None) -> Embedding:
        assert calibration is not None
        self.embedded.append((tile, calibration))
        return Embedding({}, tile.shape, tile.frame, calibration, "outliner")

    def refine(self, embedding: Embedding, prompts: Prompts) -> MaskPrediction:
        return self.refine_many(embedding, [prompts])[0]

    def refine_many(self, embedding: Embedding, prompts: Sequence[Prompts]) -> list[MaskPrediction]:
        self.asked += prompts
        return [self.say(p) for p in prompts]


class Pointer:
    """A detector that finds the same points on every tile."""

    device, digest = "cpu", "9017" * 16

    def __init__(self, points: Points, info: ModelInfo | None = None) -> None:
        self.points = points
        self.info = info or replace(INFO, name="pointer", capabilities=("automatic", "points"))

    def calibrate(self, samples: Sequence[Tile], mpp: float | None) -> Calibration:
        return replace(CALIBRATION, mpp=mpp or 0.25, scale=(mpp or 0.25) / 0.25)

    def detect(self, tile: Tile, calibration: Calibration | None = None) -> Points:
        return self.points

    def detect_many(
        self, tiles: Sequence[Tile], calibration: Calibration | None = None
    ) -> list[Points]:
        return [self.points for _ in tiles]


def embedding_of(shape: tuple[int, int] = (64, 64)) -> Embedding:
    return Embedding({}, shape, Frame(), CALIBRATION, "outliner")


def positive(prompts: Prompts) -> tuple[float, float]:
    """The one positive point of some prompts."""
    ((y, x),) = prompts.points_yx[prompts.positive].tolist()
    return y, x
