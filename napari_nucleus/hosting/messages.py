"""What a host and a worker say to each other, as typed values.

Knows the requests, the replies and how an error crosses a process border; knows neither pipes nor
processes, so that a server on another machine can speak the same messages. Every request but
`Shutdown` has exactly one reply, in the order of the requests. All coordinates are pixels of the
tile that a message carries or names.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from napari_nucleus import errors
from napari_nucleus.core.geometry import Box
from napari_nucleus.core.image import Tile
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.points import Points
from napari_nucleus.core.prompts import MaskPrediction, Prompts
from napari_nucleus.models.api import Calibration, ModelInfo, TextAnswer

__all__ = [
    "Answered",
    "Ask",
    "Calibrate",
    "Calibrated",
    "Describe",
    "Description",
    "Detect",
    "Detected",
    "Embed",
    "Embedded",
    "Failure",
    "Load",
    "MissingTile",
    "ModelSpec",
    "Refine",
    "Refined",
    "Reply",
    "Request",
    "SegmentTile",
    "Segmented",
    "Shutdown",
    "TileKey",
]


@dataclass(frozen=True)
class ModelSpec:
    """How to make a model, in words that can be sent to another process.

    Parameters
    ----------
    factory
        ``"module:function"``; the function returns the model.
    kwargs
        Its keyword arguments.
    """

    factory: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        module, _, function = self.factory.partition(":")
        if not module or not function:
            raise ValueError(f"a model factory is 'module:function', got {self.factory!r}")

    @property
    def key(self) -> str:
        """A text that is the same for the same model, for caches."""
        arguments = ", ".join(f"{name}={value!r}" for name, value in sorted(self.kwargs.items()))
        return f"{self.factory}({arguments})"


@dataclass(frozen=True, slots=True)
class TileKey:
    """What an embedding depends on: image, level-0 box, calibration and model."""

    image: str
    box: Box
    calibration: Calibration
    model: str


@dataclass(frozen=True, slots=True)
class Load:
    """Make the model; answered by `Description`."""

    spec: ModelSpec


@dataclass(frozen=True, slots=True)
class Describe:
    """Say what is loaded and what the cache holds; answered by `Description`."""


@dataclass(frozen=True, slots=True, eq=False)
class Calibrate:
    """Estimate what is common to an image; answered by `Calibrated`."""

    samples: tuple[Tile, ...]
    mpp: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Embed:
    """Encode a tile into the cache; answered by `Embedded`, or `MissingTile` without pixels."""

    key: TileKey
    tile: Tile | None


@dataclass(frozen=True, slots=True, eq=False)
class Refine:
    """Segment one nucleus for each of ``prompts``; answered by `Refined`.

    ``tile`` is needed only where the worker's cache does not hold ``key``; without it the answer
    is then `MissingTile`.
    """

    key: TileKey
    prompts: tuple[Prompts, ...]
    tile: Tile | None


@dataclass(frozen=True, slots=True, eq=False)
class Ask:
    """Answer each of ``texts`` on a tile; answered by `Answered`.

    ``tile`` is needed as in `Refine`.
    """

    key: TileKey
    texts: tuple[str, ...]
    tile: Tile | None


@dataclass(frozen=True, slots=True, eq=False)
class SegmentTile:
    """Find every nucleus of a tile; answered by `Segmented`."""

    tile: Tile
    calibration: Calibration


@dataclass(frozen=True, slots=True, eq=False)
class Detect:
    """Find every nucleus of a tile as a point; answered by `Detected`."""

    tile: Tile
    calibration: Calibration


@dataclass(frozen=True, slots=True)
class Shutdown:
    """End the worker; there is no reply."""


Request = Load | Describe | Calibrate | Embed | Refine | Ask | SegmentTile | Detect | Shutdown


@dataclass(frozen=True, slots=True)
class Description:
    """A loaded model, where it runs and how full the cache of embeddings is.

    ``weights`` is the SHA-256 of its weights in hex, empty for a model without any.
    """

    info: ModelInfo
    device: str
    cached_tiles: int = 0
    cached_bytes: int = 0
    weights: str = ""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """The calibration of an image."""

    calibration: Calibration


@dataclass(frozen=True, slots=True)
class Embedded:
    """A tile is in the cache; ``evicted`` are those that had to go."""

    evicted: tuple[TileKey, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Refined:
    """One answer for each prompt, in order; the tile is in the cache, ``evicted`` no longer."""

    predictions: tuple[MaskPrediction, ...]
    evicted: tuple[TileKey, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """One answer for each text, in order; the tile is in the cache, ``evicted`` no longer."""

    answers: tuple[TextAnswer, ...]
    evicted: tuple[TileKey, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Segmented:
    """The nuclei of a tile."""

    nuclei: Nuclei


@dataclass(frozen=True, slots=True, eq=False)
class Detected:
    """The points of a tile."""

    points: Points


@dataclass(frozen=True, slots=True)
class MissingTile:
    """The cache does not hold this tile; the request is to be sent again with pixels."""

    key: TileKey


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception in the worker.

    Parameters
    ----------
    kind
        Name of an error of `napari_nucleus.errors`, or of any other exception: a fault.
    message
        Its text.
    trace
        The worker's traceback, for a bug report.
    """

    kind: str
    message: str
    trace: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Return the failure that ``error`` is; subclasses go under the name errors.py gives."""
        kind = next(
            (c.__name__ for c in type(error).__mro__ if c.__name__ in errors.__all__),
            type(error).__name__,
        )
        return cls(kind, str(error), "".join(traceback.format_exception(error)))

    def to_error(self) -> Exception:
        """Return the error to raise on this side of the border.

        Errors that are addressed to the user keep their type. Anything else is a fault of the
        program and becomes a `RuntimeError` that carries the worker's traceback as a note.
        """
        if self.kind in errors.__all__:
            return getattr(errors, self.kind)(self.message)
        error = RuntimeError(f"the model failed with {self.kind}: {self.message}")
        error.add_note(self.trace)
        return error


Reply = (
    Description
    | Calibrated
    | Embedded
    | Refined
    | Answered
    | Segmented
    | Detected
    | MissingTile
    | Failure
)
