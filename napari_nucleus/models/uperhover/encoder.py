"""Image encoder: DINOv2 with registers from transformers, and a pyramid of its blocks' outputs.

A plain vision transformer has maps of one size only. Four blocks are tapped, projected, and resized
to four strides. With ``stem_dims`` the transformer stands on convolutional stages, which are also
added to the pyramid: tokens of 16 pixels alone would blur the borders of nuclei.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

from napari_nucleus.models.layers import ChannelNorm, ConvNormAct, ResidualBlock, Stem
from napari_nucleus.models.uperhover.config import EncoderConfig

__all__ = ["Features", "PyramidEncoder"]


class Features(NamedTuple):
    """``pyramid``: maps ``(B, pyramid_dims[i], H / strides[i], W / strides[i])``, finest first;
    ``stem``: the map at stride 2, or None without a stem.
    """

    pyramid: list[Tensor]
    stem: Tensor | None


class PyramidEncoder(nn.Module):
    """Turns normalised ``(B, 3, H, W)`` into `Features`.

    ``H`` and ``W`` must be multiples of the patch size.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = StemStages(config) if config.stem_dims else None
        below = 2 ** len(config.stem_dims)
        self.trunk = Dinov2WithRegistersModel(
            Dinov2WithRegistersConfig(
                hidden_size=config.dim,
                num_hidden_layers=config.depth,
                num_attention_heads=config.heads,
                mlp_ratio=config.mlp_ratio,
                image_size=config.image_size // below,
                patch_size=config.patch_size // below,
                num_channels=config.stem_dims[-1] if config.stem_dims else 3,
                layerscale_value=config.layer_scale,
                use_swiglu_ffn=True,
                num_register_tokens=config.registers,
            )
        )
        # Only taps are read: the norm after the last block and the token of masked patches are not.
        self.trunk.layernorm = nn.Identity()  # type: ignore[assignment]
        self.trunk.embeddings.mask_token.requires_grad_(False)
        self.projections = nn.ModuleList(
            nn.Sequential(
                ChannelNorm(config.dim) if config.tap_norm else nn.Identity(),
                nn.Conv2d(config.dim, dim, 1),
            )
            for dim in config.pyramid_dims
        )
        self.laterals = nn.ModuleList(
            nn.Conv2d(dim, config.pyramid_dims[level], 1) for level, dim in self._joined()
        )

    def _joined(self) -> list[tuple[int, int]]:
        """Return which level each stage of the stem is added to, and its channels."""
        strides = {s: i for i, s in enumerate(self.config.pyramid_strides)}
        stages = [(2 ** (i + 1), dim) for i, dim in enumerate(self.config.stem_dims)]
        return [(strides[s], dim) for s, dim in stages if s in strides]

    def forward(self, pixels: Tensor) -> Features:
        """Return the pyramid and the finest map of the stem."""
        size = (pixels.shape[-2], pixels.shape[-1])
        stages = [] if self.stem is None else self.stem(pixels)
        taps = self.taps(stages[-1] if stages else pixels)
        pyramid = [
            F.interpolate(
                project(tap),
                (size[0] // stride, size[1] // stride),
                mode="bilinear",
                align_corners=False,
            )
            for tap, project, stride in zip(
                taps, self.projections, self.config.pyramid_strides, strict=True
            )
        ]
        by_stride = {2 ** (i + 1): stage for i, stage in enumerate(stages)}
        for (level, _), lateral in zip(self._joined(), self.laterals, strict=True):
            stage = by_stride[self.config.pyramid_strides[level]]
            pyramid[level] = pyramid[level] + lateral(stage)
        return Features(pyramid, stages[0] if stages else None)

    def taps(self, below: Tensor) -> list[Tensor]:
        """Return the patch tokens after each tapped block as maps ``(B, dim, h, w)``."""
        states = self.trunk(below, output_hidden_states=True).hidden_states
        patch = self.config.patch_size // 2 ** len(self.config.stem_dims)
        h, w = below.shape[-2] // patch, below.shape[-1] // patch
        skipped = 1 + self.config.registers
        # The first state is what enters the first block.
        chosen = [states[i + 1][:, skipped:] for i in self.config.taps]
        return [t.transpose(1, 2).reshape(t.shape[0], -1, h, w) for t in chosen]


class StemStages(nn.Module):
    """Convolutional stages at strides 2, 4, …; the first has the layers of the shared stem."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        dims, blocks = config.stem_dims, config.stem_blocks
        self.first = Stem(dims[0], blocks)
        self.rest = nn.ModuleList(
            nn.Sequential(ConvNormAct(a, b, stride=2), *(ResidualBlock(b) for _ in range(blocks)))
            for a, b in pairwise(dims)
        )

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return one map for each stage, finest first."""
        maps = [self.first(pixels)]
        for stage in self.rest:
            maps.append(stage(maps[-1]))
        return maps
