"""Models of numpy alone that behave, and misbehave, on demand; imported by worker processes.

Orders that must survive the death of a worker are files in a folder the test names.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.image import Tile
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.points import Points
from napari_nucleus.core.prompts import MaskLogits, MaskPrediction, Prompts
from napari_nucleus.errors import ModelError, WeightsError
from napari_nucleus.models.api import Calibration, Embedding, ModelInfo, TextAnswer

INFO = ModelInfo(
    name="fake",
    title="A threshold",
    capabilities=("automatic", "promptable"),
    classes=None,
    working_mpp=0.5,
    tile=64,
    halo=16,
    click_tile=64,
    licence="none",
    source="bundled",
)
DIGEST = "fa4e" * 16
DARK, FINDER_DARK = 128, 100
CARVED_RADIUS = 3.0
DEADLY = (255, 0, 0)
"""A tile whose first pixel has this colour kills the worker."""


@dataclass
class Threshold:
    """Every dark connected component is a nucleus; a click selects the one it hits."""

    folder: Path | None = None
    info: ModelInfo = field(default=INFO)
    device: str = "cpu"
    digest: str = DIGEST

    def calibrate(self, samples: Sequence[Tile], mpp: float | None) -> Calibration:
        mean = np.mean([s.rgb.mean(axis=(0, 1)) for s in samples], axis=0)
        return Calibration(
            1.0, 0.5 if mpp is None else mpp, mpp is None, lab_mean=tuple(map(float, mean))
        )

    def segment(self, tile: Tile, calibration: Calibration | None = None) -> Nuclei:
        self.log("segment", tile)
        self.obey("segment")
        die_of(tile)
        labels, _ = ndimage.label(tile.rgb.max(axis=-1) < DARK)
        return Nuclei.from_labels(labels, source=self.info.name)[0]

    def embed(self, tile: Tile, calibration: Calibration | None = None) -> Embedding:
        assert calibration is not None
        self.log("embed", tile)
        self.obey("embed")
        die_of(tile)
        labels, _ = ndimage.label(tile.rgb.max(axis=-1) < DARK)
        arrays = {"labels": labels.astype(np.int32)}
        return Embedding(arrays, tile.shape, tile.frame, calibration, "fake")

    def refine(self, embedding: Embedding, prompts: Prompts) -> MaskPrediction:
        return self.refine_many(embedding, [prompts])[0]

    def refine_many(self, embedding: Embedding, prompts: Sequence[Prompts]) -> list[MaskPrediction]:
        self.log("refine", Tile(np.zeros((1, 1, 3), np.uint8), embedding.frame))
        self.obey("refine")
        return [select(embedding.arrays["labels"], p) for p in prompts]

    def log(self, what: str, tile: Tile) -> None:
        if self.folder is not None:
            y, x = tile.frame.origin_yx
            with (self.folder / "log").open("a") as file:
                file.write(f"{what} {y:g} {x:g}\n")

    def obey(self, what: str) -> None:
        """Do what a file named after the step says: die once or always, hang, raise."""
        if self.folder is None:
            return
        order = self.folder / what
        if not order.exists():
            return
        word = order.read_text()
        if word == "wait":
            (self.folder / "waiting").touch()
            while order.exists():
                time.sleep(0.005)
        elif word == "die once":
            order.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        elif word == "die":
            os._exit(3)
        elif word == "model error":
            raise ModelError("fake: this tile is too wonderful.")
        elif word == "fault":
            raise ZeroDivisionError("a fault")
        elif word == "out of memory":
            raise MemoryError


def die_of(tile: Tile) -> None:
    if tuple(tile.rgb[0, 0]) == DEADLY:
        os._exit(3)


def select(labels: np.ndarray, prompts: Prompts) -> MaskPrediction:
    """Select the component that is prompted, less a disk around every negative point."""
    y, x = np.floor(_place(prompts)).astype(int)
    mask = labels == labels[y, x] if labels[y, x] else np.zeros_like(labels, bool)
    yy, xx = np.indices(labels.shape) + 0.5
    for cy, cx in prompts.points_yx[~prompts.positive]:
        mask &= (yy - cy) ** 2 + (xx - cx) ** 2 > CARVED_RADIUS**2
    logits = MaskLogits(np.zeros((2, 2), np.float16), (y - 4.0, x - 4.0, y + 4.0, x + 4.0))
    if not mask.any():
        return MaskPrediction(np.zeros((0, 0), bool), (y, x, y, x), logits, 0.0)
    found = Nuclei.from_masks([mask], [(0, 0)])
    return MaskPrediction(found.masks[0], tuple(int(v) for v in found.boxes[0]), logits, 0.9)


def _place(prompts: Prompts) -> np.ndarray:
    """Return the last positive point, or the middle of the scribble, the box or the mask."""
    if prompts.positive.any():
        return prompts.points_yx[prompts.positive][-1]
    if prompts.scribble_yx is not None:
        return prompts.scribble_yx[len(prompts.scribble_yx) // 2]
    box = np.array(prompts.box or prompts.mask_box)
    return (box[:2] + box[2:]) / 2


def threshold(folder: str | None = None, **info: object) -> Threshold:
    return Threshold(Path(folder) if folder else None, replace(INFO, **info))


class OnlyClicks:
    """A model that does not find nuclei by itself."""

    def __init__(self) -> None:
        fake = Threshold()
        self.info = INFO
        self.calibrate, self.embed = fake.calibrate, fake.embed
        self.refine, self.refine_many = fake.refine, fake.refine_many


def only_clicks() -> OnlyClicks:
    return OnlyClicks()


FINDER_INFO = replace(
    INFO,
    name="finder",
    title="Another threshold",
    capabilities=("automatic",),
    classes=PANNUKE,
    limits="Takes everything blue for connective.",
    not_told_apart=(1, 5),
)
FINDER_DIGEST = "f1de" * 16


class Finder:
    """A model that takes no clicks: its nuclei are what any channel is dark in.

    They are connective where blue is the strongest channel, else inflammatory.
    """

    info = FINDER_INFO
    device, digest = "cpu", FINDER_DIGEST

    def __init__(self, folder: Path) -> None:
        self._fake = Threshold(folder)
        self.calibrate = self._fake.calibrate

    def segment(self, tile: Tile, calibration: Calibration | None = None) -> Nuclei:
        self._fake.log("segment", tile)
        self._fake.obey("segment")
        labels, n = ndimage.label(tile.rgb.min(axis=-1) < FINDER_DARK)
        strongest = [tile.rgb[labels == i + 1].mean(axis=0).argmax() for i in range(n)]
        prob = np.eye(len(PANNUKE))[[2 if channel == 2 else 1 for channel in strongest]]
        return Nuclei.from_labels(labels, prob, source=self.info.name)[0]


def finder(folder: str) -> Finder:
    return Finder(Path(folder))


READER_INFO = replace(
    INFO,
    name="reader",
    title="A threshold that reads",
    capabilities=("text",),
    classes=PANNUKE,
)


class Reader:
    """A model that knows all words but ``moons``; ``large`` nuclei have more than 60 px for it.

    Everything dark is inflammatory; asked about a ``patch`` it sees nothing.
    """

    info = READER_INFO
    device, digest = "cpu", "4ead" * 16

    def __init__(self, folder: Path | None = None) -> None:
        self._fake = Threshold(folder)
        self.calibrate, self.embed = self._fake.calibrate, self._fake.embed

    def answer(self, embedding: Embedding, text: str) -> TextAnswer:
        return self.answer_many(embedding, [text])[0]

    def answer_many(self, embedding: Embedding, texts: Sequence[str]) -> list[TextAnswer]:
        self._fake.log("answer", Tile(np.zeros((1, 1, 3), np.uint8), embedding.frame))
        self._fake.obey("answer")
        return [self._answer(embedding.arrays["labels"], text) for text in texts]

    def query(self, tile: Tile, text: str, calibration: Calibration | None = None) -> TextAnswer:
        return self.answer(self.embed(tile, calibration), text)

    def _answer(self, labels: np.ndarray, text: str) -> TextAnswer:
        unknown = tuple(word for word in text.split() if word == "moons")
        prob = np.tile(np.eye(len(PANNUKE))[1], (int(labels.max()), 1))
        nuclei = Nuclei.from_labels(labels, prob, source=self.info.name)[0]
        if unknown:
            none = Nuclei.empty(len(PANNUKE), self.info.name)
            return TextAnswer(text, none, 0.0, 0.0, (), unknown, (), True)
        if "large" in text:
            nuclei = nuclei.select(nuclei.areas > 60)
        if "patch" in text:
            nuclei = nuclei.select(nuclei.areas < 0)
        return TextAnswer(text, nuclei, float(len(nuclei) > 0), 0.9, ((text, "nuclei"),), (), (2,))


def reader(folder: str | None = None) -> Reader:
    return Reader(Path(folder) if folder else None)


POINTER_INFO = replace(
    INFO, name="pointer", title="A threshold that points", capabilities=("points", "promptable")
)


class Pointer(Threshold):
    """A model that points to the middle of everything dark, and outlines what is clicked.

    It is sure of large things: a score of 1 from 100 px on.
    """

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder, POINTER_INFO)

    def detect(self, tile: Tile, calibration: Calibration | None = None) -> Points:
        return self.detect_many([tile], calibration)[0]

    def detect_many(
        self, tiles: Sequence[Tile], calibration: Calibration | None = None
    ) -> list[Points]:
        found = []
        for tile in tiles:
            self.log("detect", tile)
            self.obey("detect")
            labels, _ = ndimage.label(tile.rgb.max(axis=-1) < DARK)
            nuclei, _ = Nuclei.from_labels(labels)
            score = np.minimum(nuclei.areas / 100, 1)
            found.append(Points(nuclei.centroids_yx, score, np.zeros((len(nuclei), 0))))
        return found


def pointer(folder: str | None = None) -> Pointer:
    return Pointer(Path(folder) if folder else None)


def bad_weights() -> None:
    raise WeightsError("fake.safetensors: 3 keys do not fit; nothing was loaded.")


def broken_factory() -> None:
    raise ImportError("no module named torch")


def dies_while_loading() -> None:
    os._exit(7)


def dies_once_while_loading(folder: str) -> Threshold:
    mark = Path(folder) / "died"
    if not mark.exists():
        mark.touch()
        os._exit(7)
    return threshold(folder)


def loads_slowly(folder: str) -> Threshold:
    fake = threshold(folder)
    fake.obey("load")
    return fake
