"""Every decision in UniNuc's networks as a field; presets are values of these classes."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from napari_nucleus.models.configuration import from_plain

__all__ = [
    "DecoderConfig",
    "DenseConfig",
    "DetectorConfig",
    "EncoderConfig",
    "InferenceConfig",
    "UniNucConfig",
]


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Hiera trunk and neck.

    Parameters
    ----------
    embed_dim, heads
        Channels and attention heads of the first stage; both double at each stage.
    stages
        Blocks of each stage.
    windows
        Attention window of each stage, in tokens.
    global_blocks
        Blocks with attention over the whole tile.
    patch_kernel, patch_stride
        Patch embedding; padding is half of the kernel.
    background_grid
        Size of the coarse positional embedding.
    stem_dim
        Channels of a convolutional stem at stride 2 that becomes the finest level; 0 for none.
    stem_blocks
        Residual blocks of that stem.
    neck_dims
        Channels of each level of the neck, finest first.
    top_down
        Levels (0 is the finest) into which the coarser level is added.
    neck_blocks
        Residual 3x3 blocks on each level after the addition; 0 is SAM2's neck.
    kept_levels
        Levels that leave the neck, counted from the finest; coarser ones only feed the top-down
        path.
    """

    embed_dim: int = 112
    heads: int = 2
    stages: tuple[int, ...] = (2, 3, 16, 3)
    windows: tuple[int, ...] = (8, 4, 14, 7)
    global_blocks: tuple[int, ...] = (12, 16, 20)
    patch_kernel: int = 7
    patch_stride: int = 4
    background_grid: int = 14
    stem_dim: int = 0
    stem_blocks: int = 0
    neck_dims: tuple[int, ...] = (256, 256, 256, 256)
    top_down: tuple[int, ...] = (2, 3)
    neck_blocks: int = 0
    kept_levels: int = 3

    @property
    def strides(self) -> tuple[int, ...]:
        """Input pixels per cell of each level, finest first."""
        trunk = tuple(self.patch_stride * 2**i for i in range(len(self.stages)))
        return (self.patch_stride // 2, *trunk) if self.stem_dim else trunk

    @property
    def multiple(self) -> int:
        """Input sides must be multiples of this: of a coarsest cell and of a first window."""
        return math.lcm(self.strides[-1], self.patch_stride * self.windows[0])


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """Prompt encoder and multi-scale high-quality mask decoder.

    Parameters
    ----------
    dim
        Width of prompt tokens and of the coarsest feature F2.
    fine_dims
        Channels of F0 and F1 inside the decoder (SAM2: an eighth and a quarter of ``dim``).
    depth, heads, mlp_dim
        Two-way transformer.
    downsample_rate
        By how much attention to the image narrows its channels.
    hq_dim
        Common width of the HQ path.
    hq_sum
        Add the HQ mask to the selected SAM mask, instead of replacing it.
    add_sam_feature
        Add the HQ-SAM2 ``embedding_maskfeature`` of the upscaled feature to the HQ feature.
    iou_outputs
        4 for SAM2's checkpoints; 5 adds an output for the final (HQ) mask.
    raster_prompts
        Draw prompts as maps at the finest grid and inject them into the HQ path; published
        weights have none.
    refine_dims
        Channels of the hourglass in the HQ path, finest first; empty for the published layers.
    crop_grid
        Side, in cells of F0, of the crop that one nucleus is decoded in; 0 decodes whole tiles.
    crop_windows
        Windows, in working pixels, that a crop may cover; the smallest that fits is used.
    disk_radius
        Radius of a click's disk in the drawn prompts, working pixels.
    """

    dim: int = 256
    fine_dims: tuple[int, int] = (32, 64)
    depth: int = 2
    heads: int = 8
    mlp_dim: int = 2048
    downsample_rate: int = 2
    hq_dim: int = 32
    hq_sum: bool = True
    add_sam_feature: bool = True
    iou_outputs: int = 5
    raster_prompts: bool = False
    refine_dims: tuple[int, ...] = ()
    crop_grid: int = 0
    crop_windows: tuple[int, ...] = ()
    disk_radius: float = 2.5


@dataclass(frozen=True, slots=True)
class DenseConfig:
    """Dense heads on the finest level: foreground, distance, HV, centre heatmap and classes.

    ``dim`` is the width of their shared 3x3 layers; 0 leaves the heads out, as published.
    """

    dim: int = 0
    heatmap_sigma: float = 2.0


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """Detector: features, projector and two-stage deformable DETR head.

    Parameters
    ----------
    backbone
        ``"convnext"`` (published, its own weights) or ``"shared"`` (the segmenter's neck).
    convnext_dims, convnext_depths, convnext_patch
        ConvNeXt stages; strides are ``convnext_patch * (1, 2, 4, 8)``.
    levels
        Indices of the feature levels that the head looks at.
    dim, heads, layers, ffn_dim
        Transformer decoder.
    cross_heads, points
        Deformable attention: heads, and sampling points for each head and level.
    c2f_blocks
        Blocks in each C2f of the projector; 0 leaves 1x1 projections.
    queries
        Boxes kept of the first stage, for each ``query_area`` of input pixels.
    query_area
        See ``queries``.
    query_threshold
        Proposals below this score do not become queries (at inference).
    groups
        Query groups in training (Group DETR); inference uses one.
    base_size
        Size of a proposal on the finest of the levels, in input pixels; doubles with the level.
    reference_px
        Pixels by which boxes are divided before their sine embedding and in losses.
    slot_queries
        A learned vector for each of ``queries`` slots (published); otherwise one for all, so that
        the number of queries can follow the area.
    """

    backbone: Literal["convnext", "shared"] = "convnext"
    convnext_dims: tuple[int, ...] = (128, 256, 512, 1024)
    convnext_depths: tuple[int, ...] = (3, 3, 27, 3)
    convnext_patch: int = 4
    levels: tuple[int, ...] = (1, 2, 3)
    dim: int = 256
    heads: int = 8
    layers: int = 6
    ffn_dim: int = 2048
    cross_heads: int = 8
    points: int = 4
    c2f_blocks: int = 3
    queries: int = 600
    query_area: int = 1024 * 1024
    query_threshold: float = 0.0
    groups: int = 13
    base_size: float = 24.0
    reference_px: float = 1024.0
    slot_queries: bool = True


@dataclass(frozen=True, slots=True)
class InferenceConfig:
    """How tiles are cut and results cleaned; measured on the development split.

    Parameters
    ----------
    mpp
        Working pixel size, µm.
    upscale
        Network pixels per working pixel (4 where 256 px tiles are stretched to 1024).
    tile, halo
        Core and border of an automatic tile, working pixels.
    click_tile
        Core of a tile that is encoded for clicks.
    score_threshold
        Detections below are dropped.
    peak_score
        Factor on the score of boxes that come from the dense heads; 0 leaves them out.
    foreground_threshold
        Masks whose mean foreground probability is lower are dropped; 0 for models without heads.
    min_score
        Nuclei whose final score is lower are dropped.
    overlap
        Two masks with a larger IoU are one nucleus.
    containment
        A mask of which a larger share lies inside a better one is dropped.
    min_area
        Smallest nucleus, in working pixels.
    flips
        How many mirrored copies of a tile are averaged in the dense heads (1, 2 or 4).
    stain_strength
        How far an image's LAB statistics are moved to those of the training data.
    canonical_diameter
        Median diameter, in working pixels, to which unknown magnifications are brought.
    """

    mpp: float = 0.25
    upscale: int = 1
    tile: int = 256
    halo: int = 64
    click_tile: int = 256
    score_threshold: float = 0.3
    peak_score: float = 0.0
    foreground_threshold: float = 0.0
    min_score: float = 0.0
    overlap: float = 0.5
    containment: float = 0.7
    min_area: int = 10
    flips: int = 1
    stain_strength: float = 0.0
    canonical_diameter: float = 17.0


@dataclass(frozen=True, slots=True)
class UniNucConfig:
    """A whole UniNuc."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    dense: DenseConfig = field(default_factory=DenseConfig)
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    n_classes: int = 5

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for the header of a weights file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> UniNucConfig:
        """Rebuild a configuration from `to_dict`; unknown fields raise TypeError."""
        return from_plain(cls, values)
