"""Pictures with dark discs, a model that finds them, and what a command said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.image import Tile
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.points import Points
from napari_nucleus.core.prompts import MaskLogits, MaskPrediction, Prompts
from napari_nucleus.models.api import Calibration, Embedding, ModelInfo

SHAPE = (70, 90)
CENTRES = [(15, 20), (15, 60), (45, 40), (55, 75)]
DARK = ModelInfo(
    name="dark",
    title="Dark is nucleus",
    capabilities=("automatic",),
    classes=PANNUKE,
    working_mpp=0.25,
    tile=64,
    halo=16,
    click_tile=64,
    licence="none",
    source="bundled",
)


@dataclass(frozen=True)
class Outcome:
    """The exit code of a command, and what it wrote."""

    code: int
    out: str
    err: str

    def refused(self, *words: object) -> None:
        """Assert that it ended with one line that says all of ``words``, and with nothing else."""
        assert self.code == 2, self.out + self.err
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("napari-nucleus: ")
        for word in words:
            assert str(word) in lines[0], lines[0]


class DarkIsNucleus:
    """Every dark connected component is a nucleus, a neoplastic one."""

    info = DARK
    digest = "0123456789abcdef" * 4

    def calibrate(self, samples: Sequence[Tile], mpp: float | None) -> Calibration:
        return Calibration(1.0, mpp or 0.25, mpp is None)

    def segment(self, tile: Tile, calibration: Calibration | None = None) -> Nuclei:
        labels, _ = ndimage.label(tile.rgb.max(axis=-1) < 128)
        nuclei, _ = Nuclei.from_labels(labels)
        neoplastic = np.tile(np.eye(1, 5, dtype=np.float32), (len(nuclei), 1))
        return replace(nuclei, class_prob=neoplastic)


def disc_labels(shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Discs that do not touch, ids 1 to 4."""
    rows, cols = np.indices(shape)
    labels = np.zeros(shape, np.int32)
    for i, (y, x) in enumerate(CENTRES, start=1):
        labels[(rows - y) ** 2 + (cols - x) ** 2 < 36] = i
    return labels


def disc_picture(shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """The discs, dark blue on pink; ``(H, W, 3)`` uint8."""
    colours = np.array([(230, 180, 210), (70, 50, 110)], np.uint8)
    return colours[(disc_labels(shape) > 0).astype(int)]


def save_picture(file: Path, shape: tuple[int, int] = SHAPE) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(disc_picture(shape)).save(file)
    return file


def save_labels(file: Path, labels: np.ndarray | None = None) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((disc_labels() if labels is None else labels).astype(np.uint16)).save(file)
    return file


POINTS = replace(
    DARK, name="points", title="Dark has a middle", capabilities=("automatic", "points")
)
OUTLINES = replace(DARK, name="outlines", title="Dark around a click", capabilities=("promptable",))


class DarkHasMiddles(DarkIsNucleus):
    """Every dark connected component is a point, an inflammatory one, of score 0.5."""

    info = POINTS

    def detect(self, tile: Tile, calibration: Calibration | None = None) -> Points:
        nuclei = self.segment(tile, calibration)
        prob = np.tile(np.eye(5, dtype=np.float32)[1], (len(nuclei), 1))
        return Points(nuclei.centroids_yx, np.full(len(nuclei), 0.5), prob)

    def detect_many(
        self, tiles: Sequence[Tile], calibration: Calibration | None = None
    ) -> list[Points]:
        return [self.detect(tile, calibration) for tile in tiles]


class DarkAroundClicks(DarkIsNucleus):
    """The dark connected component at a click is its nucleus."""

    info = OUTLINES

    def embed(self, tile: Tile, calibration: Calibration | None = None) -> Embedding:
        assert calibration is not None
        labels, _ = ndimage.label(tile.rgb.max(axis=-1) < 128)
        return Embedding({"labels": labels}, tile.shape, tile.frame, calibration, self.digest)

    def refine(self, embedding: Embedding, prompts: Prompts) -> MaskPrediction:
        return self.refine_many(embedding, [prompts])[0]

    def refine_many(self, embedding: Embedding, prompts: Sequence[Prompts]) -> list[MaskPrediction]:
        labels = embedding.arrays["labels"]
        answers = []
        for one in prompts:
            y, x = np.floor(one.points_yx[one.positive][0]).astype(int)
            mask = (labels == labels[y, x]) & (labels > 0)
            logits = MaskLogits(np.zeros((2, 2), np.float16), (0.0, 0.0, *map(float, mask.shape)))
            answers.append(MaskPrediction(mask, (0, 0, *mask.shape), logits, 0.8))
        return answers
