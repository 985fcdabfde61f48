"""Every decision in the text-prompted nano as a field; presets are values of these classes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from napari_nucleus.core.watershed import WatershedConfig
from napari_nucleus.models.configuration import from_plain
from napari_nucleus.models.uperhover.config import UperHoverConfig

__all__ = ["AnswerConfig", "FusionConfig", "PromptGroupConfig", "Sam3Inference", "TextConfig"]


@dataclass(frozen=True, slots=True)
class TextConfig:
    """The text encoder: hashed words and their n-grams, then a transformer.

    Parameters
    ----------
    buckets
        Rows of the embedding that words and n-grams are hashed into.
    grams
        Shortest and longest n-gram.
    dim, layers, heads, ffn_dim
        Transformer over the words.
    max_words
        Words that are read; more are cut off.
    """

    buckets: int = 4096
    grams: tuple[int, int] = (3, 5)
    dim: int = 64
    layers: int = 1
    heads: int = 4
    ffn_dim: int = 128
    max_words: int = 32


@dataclass(frozen=True, slots=True)
class FusionConfig:
    """SAM3's DETR encoder, decoder and mask decoder, and how they look at the encoder.

    Parameters
    ----------
    dim, heads, ffn_dim
        Width of all of them.
    encoder_layers, decoder_layers, queries
        Transformers; the decoder holds the token that tells whether what is asked for is there.
    gated
        Let the text scale and shift the channels of every level. A level finer than the coarsest
        would otherwise hear of the text through the coarsest alone, whose cells are as large as
        half a nucleus.
    """

    dim: int = 64
    heads: int = 4
    ffn_dim: int = 128
    encoder_layers: int = 1
    decoder_layers: int = 2
    queries: int = 16
    gated: bool = True


@dataclass(frozen=True, slots=True)
class AnswerConfig:
    """When something is drawn; chosen on images that were trained on.

    Parameters
    ----------
    presence
        Least probability that what is asked for is in the tile at all.
    mask
        Probability from which a pixel belongs to the answer.
    score
        Least mean probability of a nucleus.
    confidence
        Least certainty that the text was understood.
    plain
        Answer the plainest text for the classes that were read in a text in its place, so that all
        texts that are read alike have one answer.
    batch
        Windows at a time.
    precision
        ``"single"``, or ``"auto"``: half of it on CPUs that are faster with it; logits then differ
        by about 0.03.
    """

    presence: float = 0.5
    mask: float = 0.5
    score: float = 0.5
    confidence: float = 0.5
    plain: bool = False
    batch: int = 4
    precision: Literal["single", "auto"] = "single"


@dataclass(frozen=True, slots=True)
class PromptGroupConfig:
    """A whole text-prompted nano; ``vision`` is the UperHoVer whose encoder and heads it looks at.

    Its windows, working pixels, mirrorings and watershed are those of ``vision.inference``.
    """

    vision: UperHoverConfig = field(default_factory=UperHoverConfig)
    text: TextConfig = field(default_factory=TextConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    answer: AnswerConfig = field(default_factory=AnswerConfig)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for the header of a weights file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PromptGroupConfig:
        """Rebuild a configuration from `to_dict`; unknown fields raise TypeError."""
        return from_plain(cls, values)


@dataclass(frozen=True, slots=True)
class Sam3Inference:
    """How SAM3 works on tiles.

    Parameters
    ----------
    mpp
        Working pixel size, µm.
    window, stride
        Side of the squares that are stretched to SAM3's input and the step between them, working
        pixels. 256 px are 64 µm: the detector has 200 queries.
    presence, score
        Least probability that what is asked for is there, and of an instance with it (a query's
        probability times that of presence).
    mask
        Probability from which a pixel belongs to an instance.
    crowded
        Instances of a window above which its semantic answer is parted in their place.
    overlap
        Two masks with a larger IoU are one nucleus.
    stain_strength, canonical_diameter
        As for the other models.
    batch
        Windows times texts at a time.
    watershed
        How a semantic answer is parted.
    """

    mpp: float = 0.25
    window: int = 256
    stride: int = 224
    presence: float = 0.5
    score: float = 0.3
    mask: float = 0.5
    crowded: int = 150
    overlap: float = 0.5
    stain_strength: float = 0.0
    canonical_diameter: float = 17.0
    batch: int = 1
    watershed: WatershedConfig = field(default_factory=WatershedConfig)
