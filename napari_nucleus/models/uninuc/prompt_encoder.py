"""Prompt encoder of SAM2: points, box corners and previous logits to tokens and a dense map.

Parameter names are SAM2's. Coordinates are corner-origin pixels of the network input, so that
SAM's shift by half a pixel (which turns indices into centres) does not occur here.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from napari_nucleus.models.layers import LayerNorm2d

__all__ = ["BOX_CORNERS", "NEGATIVE", "PADDING", "POSITIVE", "PromptEncoder"]

PADDING, NEGATIVE, POSITIVE = -1, 0, 1
BOX_CORNERS = (2, 3)
"""Labels of points; the box's top-left corner is 2 and its bottom-right corner 3."""


class RandomPositionEncoding(nn.Module):
    """Random Fourier features of positions in 0–1."""

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, n_features))

    def forward(self, positions_xy: Tensor) -> Tensor:
        """Return ``(..., 2 n_features)`` of positions ``(..., 2)``."""
        matrix = self.positional_encoding_gaussian_matrix
        # Not a matrix product: autocast would do it in bfloat16 and blur the positions.
        angles = 2 * math.pi * ((2 * positions_xy - 1)[..., None] * matrix).sum(-2)  # type: ignore[operator]
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def of_grid(self, size: tuple[int, int], device: torch.device) -> Tensor:
        """Return the encoding of cell centres, ``(2 n_features, h, w)``."""
        h, w = size
        y = (torch.arange(h, device=device) + 0.5) / h
        x = (torch.arange(w, device=device) + 0.5) / w
        xy = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)
        return self(xy).permute(2, 0, 1)


class PromptEncoder(nn.Module):
    """Encodes prompts for grids of one size.

    Parameters
    ----------
    dim
        Width of tokens.
    mask_dim
        Hidden channels of the mask downscaler (SAM: 16).
    """

    def __init__(self, dim: int, mask_dim: int = 16) -> None:
        super().__init__()
        self.pe_layer = RandomPositionEncoding(dim // 2)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, dim) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_dim // 4, 2, 2),
            LayerNorm2d(mask_dim // 4),
            nn.GELU(),
            nn.Conv2d(mask_dim // 4, mask_dim, 2, 2),
            LayerNorm2d(mask_dim),
            nn.GELU(),
            nn.Conv2d(mask_dim, dim, 1),
        )
        self.no_mask_embed = nn.Embedding(1, dim)

    def sparse(self, points_xy: Tensor, labels: Tensor) -> Tensor:
        """Return tokens ``(B, N, dim)``.

        Parameters
        ----------
        points_xy
            ``(B, N, 2)`` positions as fractions of the grid, in 0–1.
        labels
            ``(B, N)`` integers: `PADDING`, `NEGATIVE`, `POSITIVE` or `BOX_CORNERS`.
        """
        tokens = self.pe_layer(points_xy)
        tokens = torch.where((labels == PADDING)[..., None], torch.zeros_like(tokens), tokens)
        table = torch.cat(
            [self.not_a_point_embed.weight, *(e.weight for e in self.point_embeddings)]  # type: ignore[list-item]
        )
        return tokens + table[labels + 1]

    def dense(
        self, logits: Tensor | None, has_logits: Tensor | None, size: tuple[int, int], batch: int
    ) -> Tensor:
        """Return the dense prompt ``(B, dim, h, w)``.

        Parameters
        ----------
        logits
            ``(B, 1, 4 h, 4 w)`` of previous answers, or None.
        has_logits
            ``(B,)`` bool, which rows of ``logits`` are real.
        """
        empty = self.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(batch, -1, *size)
        if logits is None:
            return empty
        encoded = self.mask_downscaling(logits)
        if has_logits is None:
            return encoded
        return torch.where(has_logits[:, None, None, None], encoded, empty)
