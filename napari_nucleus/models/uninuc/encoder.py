"""Image encoder: Hiera from transformers, an optional convolutional stem, and the neck.

The trunk is `transformers`' public Hiera of SAM2. The neck is SAM2's (1x1 convolution for each
level, top-down addition) with two additions that a small model needs: a stem at stride 2 as the
finest level, and residual blocks after the addition. Input is normalised RGB; see
`working.normalise`.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Sam2HieraDetConfig, Sam2HieraDetModel

from napari_nucleus.models.layers import ResidualBlock, Stem
from napari_nucleus.models.uninuc.config import EncoderConfig

__all__ = ["ImageEncoder"]


class ImageEncoder(nn.Module):
    """Turns ``(B, 3, H, W)`` into feature maps, finest first.

    ``H`` and ``W`` must be multiples of ``config.multiple``.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        n = len(config.stages)
        dims = [config.embed_dim * 2**i for i in range(n)]
        self.trunk = Sam2HieraDetModel(
            Sam2HieraDetConfig(
                hidden_size=config.embed_dim,
                num_attention_heads=config.heads,
                patch_kernel_size=[config.patch_kernel] * 2,
                patch_stride=[config.patch_stride] * 2,
                patch_padding=[config.patch_kernel // 2] * 2,
                query_stride=[2, 2],
                window_positional_embedding_background_size=[config.background_grid] * 2,
                num_query_pool_stages=n - 1,
                blocks_per_stage=list(config.stages),
                embed_dim_per_stage=dims,
                num_attention_heads_per_stage=[config.heads * 2**i for i in range(n)],
                window_size_per_stage=list(config.windows),
                global_attention_blocks=list(config.global_blocks),
            )
        )
        self.stem = Stem(config.stem_dim, config.stem_blocks) if config.stem_dim else None
        level_dims = [config.stem_dim, *dims] if self.stem is not None else dims
        self.neck = Neck(level_dims, config)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return the kept levels, ``(B, neck_dims[i], H / strides[i], W / strides[i])``."""
        return self.neck(self.levels(pixels))[: self.config.kept_levels]

    def levels(self, pixels: Tensor) -> list[Tensor]:
        """Return the raw maps of stem and trunk, finest first."""
        maps = [m.permute(0, 3, 1, 2) for m in self.trunk(pixels).intermediate_hidden_states]
        return maps if self.stem is None else [self.stem(pixels), *maps]


class Neck(nn.Module):
    """Feature pyramid; with ``neck_blocks`` 0 the arithmetic of SAM2's."""

    def __init__(self, level_dims: list[int], config: EncoderConfig) -> None:
        super().__init__()
        dims = config.neck_dims
        if len(dims) != len(level_dims):
            raise ValueError(f"{len(level_dims)} levels but neck_dims {dims}")
        self.top_down = config.top_down
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 1) for a, b in zip(level_dims, dims, strict=True)
        )
        # Levels of one width are added as they are, as SAM2 does.
        self.lateral = nn.ModuleList(
            nn.Identity()
            if i + 1 == len(dims) or dims[i] == dims[i + 1]
            else nn.Conv2d(dims[i + 1], dims[i], 1)
            for i in range(len(dims))
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(d) for _ in range(config.neck_blocks))) for d in dims
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Return one map for each level, finest first."""
        out: list[Tensor] = []
        above: Tensor | None = None
        for i in reversed(range(len(maps))):
            x = self.convs[i](maps[i])
            if above is not None and i in self.top_down:
                x = x + F.interpolate(self.lateral[i](above), scale_factor=2.0, mode="nearest")
            x = self.blocks[i](x)
            above = x
            out.append(x)
        return out[::-1]
