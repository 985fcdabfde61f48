"""Dense heads on the finest feature: they warm the encoder up, teach, and check detections.

Maps: foreground, distance to the border normalised to 1 in each nucleus, horizontal and vertical
offsets (HoVer-Net), centre heatmap, classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_nucleus.models.layers import ConvNormAct
from napari_nucleus.models.working import flip_offsets

__all__ = ["DenseHeads", "DenseMaps"]


class DenseMaps(NamedTuple):
    """Outputs of `DenseHeads`, each ``(B, ..., H, W)`` at one resolution.

    ``foreground`` ``(B, 1)`` and ``heatmap`` ``(B, 1)`` are logits, ``distance`` ``(B, 1)`` and
    ``hv`` ``(B, 2)`` (x, then y) plain values, ``classes`` ``(B, C)`` logits.
    """

    foreground: Tensor
    distance: Tensor
    hv: Tensor
    heatmap: Tensor
    classes: Tensor

    def resized(self, size: tuple[int, int]) -> DenseMaps:
        """Return the maps interpolated to ``size``."""
        return DenseMaps(
            *(F.interpolate(m, size=size, mode="bilinear", align_corners=False) for m in self)
        )

    def flipped(self, axes: tuple[int, ...]) -> DenseMaps:
        """Return the maps mirrored along spatial axes 2 (y) and 3 (x); offsets change sign."""
        if not axes:
            return self
        mirrored = DenseMaps(*(m.flip(axes) for m in self))
        return mirrored._replace(hv=flip_offsets(self.hv, axes))


class DenseHeads(nn.Module):
    """Two shared 3x3 layers, then a 1x1 layer for all maps."""

    def __init__(self, in_dim: int, dim: int, n_classes: int) -> None:
        super().__init__()
        self.sizes = (1, 1, 2, 1, n_classes)
        self.body = nn.Sequential(ConvNormAct(in_dim, dim), ConvNormAct(dim, dim))
        self.out = nn.Conv2d(dim, sum(self.sizes), 1)
        assert self.out.bias is not None
        with torch.no_grad():
            # Foreground covers about a fifth of tissue, centres about a hundredth.
            self.out.bias[0] = -1.4
            self.out.bias[4] = -4.6

    def forward(self, feature: Tensor) -> DenseMaps:
        """Return the maps at the feature's resolution."""
        return DenseMaps(*self.out(self.body(feature)).float().split(self.sizes, dim=1))
