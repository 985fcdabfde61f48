"""Small layers that several networks use."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["MLP", "ChannelNorm", "ConvNormAct", "LayerNorm2d", "ResidualBlock", "Stem"]


class LayerNorm2d(nn.Module):
    """Layer norm over the channels of ``(B, C, H, W)``, with SAM2's parameter names."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised map."""
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) * torch.rsqrt(variance + self.eps)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class MLP(nn.Module):
    """Linear layers with ReLU between them, with SAM2's parameter names."""

    def __init__(
        self, in_dim: int, hidden_dim: int, out_dim: int, n_layers: int, sigmoid: bool = False
    ) -> None:
        super().__init__()
        dims = [in_dim, *[hidden_dim] * (n_layers - 1), out_dim]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(dims))
        self.sigmoid = sigmoid

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers to the last axis."""
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i < len(self.layers) - 1:
                x = torch.relu(x)
        return torch.sigmoid(x) if self.sigmoid else x


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of ``(B, C, H, W)`` at each position.

    It sees no neighbouring pixel, so a network that uses it answers alike for a tile and for the
    whole image; group and instance norm do not.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised map."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNormAct(nn.Sequential):
    """A 3x3 convolution, channel norm and ReLU."""

    def __init__(self, in_dim: int, out_dim: int, stride: int = 1) -> None:
        super().__init__(nn.Conv2d(in_dim, out_dim, 3, stride, 1), ChannelNorm(out_dim), nn.ReLU())


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with channel norm around a skip connection."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.first = ConvNormAct(dim, dim)
        self.conv = nn.Conv2d(dim, dim, 3, 1, 1)
        self.norm = ChannelNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return a map of the same shape."""
        return torch.relu(x + self.norm(self.conv(self.first(x))))


class Stem(nn.Module):
    """Convolutions at stride 2: the borders of nuclei that a trunk of larger patches cannot see."""

    def __init__(self, dim: int, blocks: int) -> None:
        super().__init__()
        self.embed = ConvNormAct(3, dim, stride=2)
        self.blocks = nn.Sequential(*(ResidualBlock(dim) for _ in range(blocks)))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return ``(B, dim, H / 2, W / 2)``."""
        return self.blocks(self.embed(pixels))
