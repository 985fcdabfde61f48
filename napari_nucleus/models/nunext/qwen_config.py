"""How a Qwen2.5-VL that points to nuclei is asked, and how its answers are read.

The settings of a checkpoint stand in ``nunext.json`` in its folder; what is absent there has the
value given here.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from napari_nucleus.errors import WeightsError
from napari_nucleus.models.configuration import from_plain
from napari_nucleus.models.nunext.tokens import CLASS_TOKENS

__all__ = ["SETTINGS_FILE", "ClassMode", "QwenSettings", "read_settings"]

SETTINGS_FILE = "nunext.json"

ClassMode = Literal["auto", "none", "typed", "grouped"]


@dataclass(frozen=True, slots=True)
class QwenSettings:
    """Every decision in the published size as a field.

    Parameters
    ----------
    class_mode
        ``"typed"``: the separator after a point tells its class. ``"none"``: one list of points.
        ``"grouped"``: one list for each of ``phrases``, as Rex-Omni writes them. ``"auto"``: typed
        where the tokenizer knows the class separators; none where it knows latent tokens; grouped
        otherwise, for a checkpoint that was never trained on NuNext's own answers.
    phrases
        What is asked for where lists are grouped: one phrase for all nuclei, or one for each of
        PanNuke's classes in the order of their ids.
    instruction
        What the model is told, with ``{phrases}`` where the phrases belong.
    system
        Its first turn.
    bins
        Coordinate tokens.
    latent
        Most latent tokens before an answer; those that the tokenizer knows are written.
    class_tokens
        Separators that tell classes, in the order of PanNuke's ids.
    max_points
        After so many points of a window an answer, or each list of it, must end: 1.2 times the
        most in training.
    line_margin
        Bins that a point may lie above the one before it; None for any. Grouped lists are free of
        it: Rex-Omni's order is its own.
    sigma
        Standard deviation, in bins, of a coordinate; a point is as sure as what lies within three
        of them along both axes.
    mpp
        Working pixel size, µm.
    window, halo, radius
        Windows of larger tiles and the distance below which two points are one, working pixels.
    side
        Pixels of the model's input that ``window`` is stretched to; a multiple of 28. Windows of
        tiles that are smaller are stretched alike.
    batch
        Windows at a time.
    backend
        ``"transformers"``, or ``"vllm"`` where that is installed.
    """

    class_mode: ClassMode = "auto"
    phrases: tuple[str, ...] = ("nucleus",)
    instruction: str = "Point to {phrases}. Output the coordinates in [x, y] format."
    system: str = "You are a helpful assistant."
    bins: int = 1000
    latent: int = 16
    class_tokens: tuple[str, ...] = CLASS_TOKENS
    max_points: int = 360
    line_margin: int | None = 2
    sigma: float = 4.0
    mpp: float = 0.25
    window: int = 256
    halo: int = 32
    radius: float = 6.0
    side: int = 1008
    batch: int = 4
    backend: Literal["transformers", "vllm"] = "transformers"

    def __post_init__(self) -> None:
        choices = {
            "class_mode": ("auto", "none", "typed", "grouped"),
            "backend": ("transformers", "vllm"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}, not {' or '.join(allowed)}")
        for name in ("bins", "max_points", "window", "batch"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}, not a number from 1 on")
        if len(self.phrases) not in (1, len(self.class_tokens)):
            raise ValueError(f"phrases are {len(self.phrases)}, not 1 or {len(self.class_tokens)}")
        if self.side % 28:
            raise ValueError(f"side is {self.side}, no multiple of 28")
        if self.window <= 2 * self.halo:
            raise ValueError(f"a window of {self.window} is all halo of {self.halo}")

    @property
    def reach(self) -> int:
        """How many bins off a coordinate still counts for its score: three ``sigma``."""
        return round(3 * self.sigma)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as in `SETTINGS_FILE`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> QwenSettings:
        """Rebuild settings from `to_dict`, or some of them; unknown fields raise TypeError."""
        return from_plain(cls, values)


def read_settings(folder: Path) -> QwenSettings:
    """Return the settings of a checkpoint's folder.

    Raises
    ------
    WeightsError
        If they cannot be read, or a value is none of those allowed.
    """
    file = folder / SETTINGS_FILE
    if not file.is_file():
        return QwenSettings()
    try:
        return QwenSettings.from_dict(json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise WeightsError(f"{file}: no settings of NuNext ({error}).") from error
