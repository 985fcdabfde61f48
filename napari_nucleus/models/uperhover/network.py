"""The whole network: encoder, a UperNet head for classes, another for HV maps.

The heads are `transformers`' UperNet heads. In small configurations their norm is replaced and a
last stage at stride 2 follows, since nuclei are small.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import UperNetConfig
from transformers.models.upernet.modeling_upernet import UperNetHead

from napari_nucleus.models.layers import ChannelNorm, ConvNormAct, ResidualBlock
from napari_nucleus.models.uperhover.config import HeadConfig, UperHoverConfig
from napari_nucleus.models.uperhover.encoder import Features, PyramidEncoder
from napari_nucleus.models.working import flip_offsets

__all__ = ["Maps", "UperHover"]


class Maps(NamedTuple):
    """Outputs at the size of the input.

    ``classes`` ``(B, 1 + C, H, W)`` logits, background first; ``hv`` ``(B, 2, H, W)``, horizontal
    then vertical offset from the centre of the nucleus.
    """

    classes: Tensor
    hv: Tensor

    def flipped(self, axes: tuple[int, ...]) -> Maps:
        """Return the maps mirrored along spatial axes 2 (y) and 3 (x); offsets change sign."""
        if not axes:
            return self
        return Maps(self.classes.flip(axes), flip_offsets(self.hv, axes))


class UperHover(nn.Module):
    """Turns normalised ``(B, 3, H, W)`` into `Maps`; sides are multiples of the patch size."""

    def __init__(self, config: UperHoverConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = PyramidEncoder(config.encoder)
        self.classes = Head(1 + config.n_classes, config)
        self.hv = Head(2, config)

    def forward(self, pixels: Tensor) -> Maps:
        """Return classes and offsets at the size of ``pixels``."""
        features = self.encoder(pixels)
        size = (pixels.shape[-2], pixels.shape[-1])
        return Maps(*(_resized(head(features), size) for head in (self.classes, self.hv)))


class Head(nn.Module):
    """A UperNet head and, with ``fine_dim``, a stage at stride 2 that sees the stem."""

    def __init__(self, out_dim: int, config: UperHoverConfig) -> None:
        super().__init__()
        head, encoder = config.head, config.encoder
        self.decode_head = UperNetHead(
            UperNetConfig(
                hidden_size=head.dim,
                pool_scales=list(head.pool_scales),
                num_labels=head.fine_dim or out_dim,  # type: ignore[call-arg]
                use_auxiliary_head=False,
            ),
            in_channels=list(encoder.pyramid_dims),
        )
        if head.norm != "batch":
            _replace_norms(self.decode_head, head)
        self.fine = Fine(head.fine_dim, encoder.stem_dims[0], out_dim) if head.fine_dim else None

    def forward(self, features: Features) -> Tensor:
        """Return ``(B, out_dim, h, w)`` at the finest stride of the head."""
        coarse = self.decode_head(features.pyramid)
        if self.fine is None:
            return coarse
        assert features.stem is not None
        return self.fine(coarse, features.stem)


class Fine(nn.Module):
    """Joins a head's map with the stem at stride 2."""

    def __init__(self, dim: int, stem_dim: int, out_dim: int) -> None:
        super().__init__()
        self.join = ConvNormAct(dim + stem_dim, dim)
        self.body = ResidualBlock(dim)
        self.out = nn.Conv2d(dim, out_dim, 1)

    def forward(self, coarse: Tensor, stem: Tensor) -> Tensor:
        """Return ``(B, out_dim, H / 2, W / 2)``."""
        size = (stem.shape[-2], stem.shape[-1])
        return self.out(self.body(self.join(torch.cat([_resized(coarse, size), stem], 1))))


def _replace_norms(head: nn.Module, config: HeadConfig) -> None:
    for module in list(head.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                channels = child.num_features
                norm = (
                    nn.GroupNorm(8, channels) if config.norm == "group" else ChannelNorm(channels)
                )
                setattr(module, name, norm)


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
