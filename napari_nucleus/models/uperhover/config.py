"""Every decision in UperHoVer as a field; presets are values of these classes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from napari_nucleus.core.watershed import WatershedConfig
from napari_nucleus.models.configuration import from_plain

__all__ = ["EncoderConfig", "HeadConfig", "InferenceConfig", "UperHoverConfig"]


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """DINOv2 with registers, and the pyramid that is made of its blocks.

    Parameters
    ----------
    image_size
        Side, in pixels, for which the positional embedding is made.
    patch_size
        Pixels per token.
    dim, depth, heads, registers
        Transformer; its feed-forward layers are SwiGLU.
    mlp_ratio
        Hidden units of a plain layer over ``dim``; SwiGLU keeps two thirds of them.
    layer_scale
        First value of the factors on each block's output.
    taps
        Blocks (0-based) whose outputs become the levels of the pyramid, finest first.
    tap_norm
        A layer norm before each level's projection (the published text leaves it open).
    pyramid_dims
        Channels of the levels.
    pyramid_strides
        Pixels per cell of the levels.
    stem_dims
        Channels of convolutional stages at strides 2 and 4 on which the transformer stands and
        which are added to its pyramid; empty for patches of plain pixels, as published.
    stem_blocks
        Residual blocks of each stage.
    """

    image_size: int = 224
    patch_size: int = 14
    dim: int = 1536
    depth: int = 24
    heads: int = 24
    registers: int = 8
    mlp_ratio: int = 4
    layer_scale: float = 1e-5
    taps: tuple[int, ...] = (5, 11, 17, 23)
    tap_norm: bool = True
    pyramid_dims: tuple[int, ...] = (256, 512, 1024, 2048)
    pyramid_strides: tuple[int, ...] = (4, 8, 16, 32)
    stem_dims: tuple[int, ...] = ()
    stem_blocks: int = 0


@dataclass(frozen=True, slots=True)
class HeadConfig:
    """The two UperNet heads.

    Parameters
    ----------
    dim
        Channels of all their layers.
    pool_scales
        Grids of the pyramid pooling.
    norm
        ``"batch"`` (published), ``"group"``, or ``"channel"``, a layer norm of each position.
    fine_dim
        Channels of a last stage at the stem's stride 2; 0 ends at the finest level, as published.
    """

    dim: int = 768
    pool_scales: tuple[int, ...] = (1, 2, 3, 6)
    norm: Literal["batch", "group", "channel"] = "batch"
    fine_dim: int = 0


@dataclass(frozen=True, slots=True)
class InferenceConfig:
    """How tiles are cut, joined and parted into nuclei.

    Parameters
    ----------
    mpp
        Working pixel size, µm. The paper divides by 0.314.
    window, stride
        Side of the network's windows and the step between them, working pixels.
    fusion
        ``"gaussian"``: overlapping windows are averaged with feathered weights. ``"paper"``: a
        later window replaces classes only by foreground, and offsets always.
    feather
        Deviation of those weights over a quarter of the window.
    padding
        What a tile is extended with to whole windows: ``"zero"`` (published) or ``"reflect"``.
    flips
        How many mirrored copies of a window are averaged (1, 2 or 4).
    stain_strength
        How far an image's LAB statistics are moved to those of the training data.
    canonical_diameter
        Median diameter, in working pixels, to which unknown magnifications are brought.
    min_score
        Nuclei whose mean foreground probability is lower are dropped.
    class_order
        The class id of each output channel of the weights, background 0 included; empty where
        they are in the order of the ids. The paper's figure prints background last.
    watershed
        How maps become nuclei.
    """

    mpp: float = 0.314
    window: int = 224
    stride: int = 112
    fusion: Literal["gaussian", "paper"] = "gaussian"
    feather: float = 0.8
    padding: Literal["zero", "reflect"] = "zero"
    flips: int = 1
    stain_strength: float = 0.0
    canonical_diameter: float = 13.5
    min_score: float = 0.0
    class_order: tuple[int, ...] = ()
    watershed: WatershedConfig = field(default_factory=WatershedConfig)


@dataclass(frozen=True, slots=True)
class UperHoverConfig:
    """A whole UperHoVer."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    n_classes: int = 5

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for the header of a weights file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> UperHoverConfig:
        """Rebuild a configuration from `to_dict`; unknown fields raise TypeError."""
        return from_plain(cls, values)
