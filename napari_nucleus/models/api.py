"""What a model can do, as small protocols; free of torch.

Tiles are given at the image's own resolution; a model rescales to its working pixel size itself
and answers in pixels of the tile. What must be the same for all tiles of one image (the scale, the
stain) is estimated once and passed as a `Calibration`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from numpy.typing import NDArray

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.core.geometry import Frame
from napari_nucleus.core.image import Tile
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.points import Points
from napari_nucleus.core.prompts import MaskPrediction, Prompts

__all__ = [
    "AutomaticSegmenter",
    "Calibration",
    "Embedding",
    "GuidedDetector",
    "ModelInfo",
    "PointDetector",
    "PromptableSegmenter",
    "TextAnswer",
    "TextSegmenter",
]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a model needs to know of a whole image to treat all its tiles alike.

    Parameters
    ----------
    scale
        Working pixels of the model per image pixel (0.5 halves the image).
    mpp
        µm per image pixel, as stated or estimated.
    mpp_estimated
        True if ``mpp`` came from the size of the nuclei instead of the file or the user.
    lab_mean, lab_std
        Mean and standard deviation of the tissue in CIELAB; None to leave the stain as it is.
    """

    scale: float
    mpp: float
    mpp_estimated: bool = False
    lab_mean: tuple[float, float, float] | None = None
    lab_std: tuple[float, float, float] | None = None


@dataclass(frozen=True, eq=False)
class Embedding:
    """What an encoder makes of a tile, as plain arrays; caches hold it, models keep no state.

    Parameters
    ----------
    arrays
        Feature maps by name, as the model that made them knows them.
    shape
        Height and width of the tile, in tile pixels.
    frame
        Where the tile lies on level 0.
    calibration
        The calibration it was made with.
    model
        Name and weights digest of the model; embeddings of another model are refused.
    """

    arrays: Mapping[str, NDArray]
    shape: tuple[int, int]
    frame: Frame
    calibration: Calibration
    model: str

    @property
    def nbytes(self) -> int:
        """Bytes held by the arrays."""
        return sum(a.nbytes for a in self.arrays.values())


@dataclass(frozen=True, eq=False)
class TextAnswer:
    """What a model says to a text on a tile.

    Parameters
    ----------
    text
        As it was asked.
    nuclei
        What was asked for, in tile pixels; none where the text was not understood.
    presence
        Probability that anything asked for is in the tile.
    confidence
        How sure the model is that it understood the text, 0–1.
    words
        Words of the text that explain the answer, each with what it was read as, such as
        ``("lymphocytes", "inflammatory")``; empty where a model cannot tell.
    unknown
        Words that the model was never taught; one of them is enough for no answer.
    classes
        Ids of the classes that the text was read as asking for; all of them for all nuclei.
    low_confidence
        The text was not understood: nothing was drawn, which says nothing about the tile.
    """

    text: str
    nuclei: Nuclei
    presence: float
    confidence: float
    words: tuple[tuple[str, str], ...] = ()
    unknown: tuple[str, ...] = ()
    classes: tuple[int, ...] = ()
    low_confidence: bool = False


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is said of a model before it is loaded.

    Parameters
    ----------
    name
        Preset name, such as ``"uninuc-nano"``.
    title
        One line for people.
    capabilities
        Names of what it can do: ``"automatic"``, ``"points"``, ``"promptable"``,
        ``"text"``.
    classes
        Classes it tells apart, or None.
    working_mpp
        µm per pixel it works at.
    tile, halo
        Core and border of its automatic tiles, in working pixels.
    click_tile
        Core of the tiles that are encoded for clicks, in working pixels; they have the same border.
    licence
        Licence of the weights.
    source
        ``"bundled"``, a path, or where to get the weights.
    limits
        What its answers must not be taken for, as a sentence.
    not_told_apart
        Class ids that its training data did not tell apart: its choice among them says nothing.
    """

    name: str
    title: str
    capabilities: tuple[str, ...]
    classes: ClassScheme | None
    working_mpp: float
    tile: int
    halo: int
    click_tile: int
    licence: str
    source: str
    limits: str = ""
    not_told_apart: tuple[int, ...] = ()


@runtime_checkable
class AutomaticSegmenter(Protocol):
    """Finds every nucleus of a tile."""

    info: ModelInfo

    def calibrate(self, samples: Sequence[Tile], mpp: float | None) -> Calibration:
        """Estimate what is common to an image from sample tiles of it."""
        ...

    def segment(self, tile: Tile, calibration: Calibration | None = None) -> Nuclei:
        """Return the nuclei of a tile, in tile pixels."""
        ...


@runtime_checkable
class PromptableSegmenter(Protocol):
    """Segments one nucleus from clicks, a box or a scribble."""

    info: ModelInfo

    def calibrate(self, samples: Sequence[Tile], mpp: float | None) -> Calibration:
        """Estimate what is common to an image from sample tiles of it."""
        ...

    def embed(self, tile: Tile, calibration: Calibration | None = None) -> Embedding:
        """Encode a tile once, for any number of prompts."""
        ...

    def refine(self, embedding: Embedding, prompts: Prompts) -> MaskPrediction:
        """Return the mask that the prompts ask for, in tile pixels."""
        ...

    def refine_many(self, embedding: Embedding, prompts: Sequence[Prompts]) -> list[MaskPrediction]:
        """Return the masks of several nuclei of one tile, decoded together."""
        ...


@runtime_checkable
class PointDetector(Protocol):
    """Finds every nucleus of a tile as a point; a promptable model makes masks of them."""

    info: ModelInfo

    def calibrate(self, samples: Sequence[Tile], mpp: float | None) -> Calibration:
        """Estimate what is common to an image from sample tiles of it."""
        ...

    def detect(self, tile: Tile, calibration: Calibration | None = None) -> Points:
        """Return the centres of the nuclei of a tile, in tile pixels."""
        ...

    def detect_many(
        self, tiles: Sequence[Tile], calibration: Calibration | None = None
    ) -> list[Points]:
        """Return the centres of the nuclei of several tiles, found together."""
        ...


@runtime_checkable
class GuidedDetector(PointDetector, Protocol):
    """Writes points one after the other, guided by a map of centres of its own."""

    def with_bias(self, scale: float) -> PointDetector:
        """Return the same detector with the map counting ``scale`` times as much; 0: not at all."""
        ...

    def peaks(self, tile: Tile, calibration: Calibration | None = None) -> Points:
        """Return the peaks of the map alone, in tile pixels."""
        ...


@runtime_checkable
class TextSegmenter(Protocol):
    """Finds the nuclei that a text asks for."""

    info: ModelInfo

    def calibrate(self, samples: Sequence[Tile], mpp: float | None) -> Calibration:
        """Estimate what is common to an image from sample tiles of it."""
        ...

    def embed(self, tile: Tile, calibration: Calibration | None = None) -> Embedding:
        """Encode a tile once, for any number of texts."""
        ...

    def answer(self, embedding: Embedding, text: str) -> TextAnswer:
        """Answer a text on an encoded tile."""
        ...

    def answer_many(self, embedding: Embedding, texts: Sequence[str]) -> list[TextAnswer]:
        """Answer several texts on one encoded tile."""
        ...

    def query(self, tile: Tile, text: str, calibration: Calibration | None = None) -> TextAnswer:
        """Encode a tile and answer one text on it."""
        ...
