"""Every decision in the NuNext nano as a field; presets are values of these classes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from napari_nucleus.models.configuration import from_plain

__all__ = ["GuideConfig", "LanguageConfig", "NuNextConfig", "NuNextInference", "SequenceConfig"]


@dataclass(frozen=True, slots=True)
class LanguageConfig:
    """The decoder-only transformer that writes coordinates.

    Parameters
    ----------
    dim, heads, layers, ffn_dim
        Width, attention heads, layers, and the width of SwiGLU's gate.
    dropout
        In training.
    waves
        Sines and cosines each that code a coordinate.
    """

    dim: int = 128
    heads: int = 4
    layers: int = 4
    ffn_dim: int = 352
    dropout: float = 0.1
    waves: int = 64


@dataclass(frozen=True, slots=True)
class SequenceConfig:
    """How points become words.

    Parameters
    ----------
    bins
        Words for coordinates.
    frame
        Pixels that they span: windows are at most as large.
    line
        Height in pixels of the lines that are read from left to right, one after the other. 1 is
        the paper's order, in which a pixel of error in y changes the order of two nuclei.
    latent
        Words before the points that hold the mask of all nuclei (CoVT).
    max_points
        After as many a sequence must end.
    """

    bins: int = 256
    frame: int = 256
    line: int = 16
    latent: int = 16
    max_points: int = 720


@dataclass(frozen=True, slots=True)
class GuideConfig:
    """How the map of centres guides the words.

    Parameters
    ----------
    radius
        Pixels within which a point takes a peak, and a peak the lower ones around it.
    least
        Probability below which a place is no peak.
    peaks
        Most peaks of a window.
    sigma
        Standard deviation, in bins, of a peak's coordinates.
    floor
        Probability that every bin keeps.
    slack
        Pixels by which the next point may lie before the last: to its left, or in the line above
        where the last lies as little below it.
    """

    radius: float = 5.0
    least: float = 0.05
    peaks: int = 720
    sigma: float = 1.0
    floor: float = 1e-4
    slack: float = 2.0


@dataclass(frozen=True, slots=True)
class NuNextInference:
    """How points are read off.

    Parameters
    ----------
    mpp
        Working pixel size, µm.
    window, halo
        Side of a window with its border, and the border, working pixels.
    radius
        Of two points nearer than this, in working pixels, the better stays.
    bias
        What the learned weight of the guide is multiplied with; 0 leaves the words alone.
    end
        A sequence ends where its end is at least as likely as this.
    min_score, min_score_alone
        Points less sure are dropped; the second where the guide is left out, because words alone
        spread over more coordinates.
    peak
        Probability from which a peak of the map counts as a nucleus: by itself, and to the words.
    stain_strength, canonical_diameter
        As for the other models.
    batch
        Windows at a time.
    """

    mpp: float = 0.25
    window: int = 256
    halo: int = 32
    radius: float = 6.0
    bias: float = 10.0
    end: float = 0.5
    min_score: float = 0.1
    min_score_alone: float = 0.0
    peak: float = 0.3
    stain_strength: float = 0.3
    canonical_diameter: float = 17.0
    batch: int = 4


@dataclass(frozen=True, slots=True)
class NuNextConfig:
    """A whole nano, but for the UniNuc whose encoder it looks through."""

    language: LanguageConfig = field(default_factory=LanguageConfig)
    sequence: SequenceConfig = field(default_factory=SequenceConfig)
    guide: GuideConfig = field(default_factory=GuideConfig)
    inference: NuNextInference = field(default_factory=NuNextInference)
    n_classes: int = 5

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for the header of a weights file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NuNextConfig:
        """Rebuild a configuration from `to_dict`; unknown fields raise TypeError."""
        return from_plain(cls, values)
