"""Multi-scale deformable attention in plain torch, and the detector's decoder layer.

After Deformable DETR with LW-DETR's box references; `grid_sample` takes the place of the CUDA
kernel. Boxes are ``cx, cy, w, h`` in input pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["DecoderLayer", "DeformableAttention", "sine_embedding"]


class DeformableAttention(nn.Module):
    """Each query looks at a few points around its box on every level.

    Parameters
    ----------
    dim, heads, levels, points
        Width, attention heads, feature levels, and sampling points for each head and level.
    """

    def __init__(self, dim: int, heads: int, levels: int, points: int) -> None:
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.sampling_offsets = nn.Linear(dim, heads * levels * points * 2)
        self.attention_weights = nn.Linear(dim, heads * levels * points)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)
        nn.init.zeros_(self.sampling_offsets.weight)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        # Heads start by looking in different directions, points at growing distance.
        angle = torch.arange(heads) * (2 * math.pi / heads)
        direction = torch.stack([angle.cos(), angle.sin()], dim=-1)
        direction = direction / direction.abs().amax(-1, keepdim=True)
        start = direction[:, None, None].expand(heads, levels, points, 2)
        start = start * (torch.arange(points) + 1)[:, None]
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(start.reshape(-1))

    def forward(
        self, query: Tensor, boxes: Tensor, memory: Sequence[Tensor], size: Tensor
    ) -> Tensor:
        """Return ``(B, Q, dim)``.

        Parameters
        ----------
        query
            ``(B, Q, dim)``.
        boxes
            ``(B, Q, 4)`` references.
        memory
            Feature maps ``(B, dim, H_l, W_l)`` of the levels.
        size
            ``(2,)`` width and height of the input that the maps cover.
        """
        b, q, dim = query.shape
        shape = (b, q, self.heads, self.levels, self.points)
        offsets = self.sampling_offsets(query).view(*shape, 2)
        weights = self.attention_weights(query).view(b, q, self.heads, -1).softmax(-1)
        weights = weights.view(shape)
        centre, extent = boxes[:, :, None, None, None, :2], boxes[:, :, None, None, None, 2:]
        positions = (centre + offsets / self.points * extent * 0.5) / size * 2 - 1
        out = query.new_zeros((b * self.heads, dim // self.heads, q))
        for level, feature in enumerate(memory):
            value = F.linear(
                feature.permute(0, 2, 3, 1), self.value_proj.weight, self.value_proj.bias
            )
            value = value.permute(0, 3, 1, 2).reshape(
                b * self.heads, dim // self.heads, *feature.shape[-2:]
            )
            at = positions[:, :, :, level].transpose(1, 2).flatten(0, 1)
            # In single precision, because positions in bfloat16 are off by up to half a pixel.
            sampled = F.grid_sample(
                value.float(), at.float(), "bilinear", "zeros", align_corners=False
            )
            weight = weights[:, :, :, level].transpose(1, 2).flatten(0, 1)
            out = out + (sampled * weight[:, None]).sum(-1)
        out = out.view(b, dim, q).transpose(1, 2)
        return self.output_proj(out)


class DecoderLayer(nn.Module):
    """Self-attention inside each query group, deformable cross-attention, feed-forward."""

    def __init__(
        self, dim: int, heads: int, cross_heads: int, levels: int, points: int, ffn_dim: int
    ) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn = DeformableAttention(dim, cross_heads, levels, points)
        self.norm2 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, ffn_dim)
        self.linear2 = nn.Linear(ffn_dim, dim)
        self.norm3 = nn.LayerNorm(dim)

    def forward(
        self,
        query: Tensor,
        position: Tensor,
        boxes: Tensor,
        memory: Sequence[Tensor],
        size: Tensor,
        groups: Sequence[int],
    ) -> Tensor:
        """Return the updated queries; ``groups`` are the sizes of groups that do not mix."""
        q = query + position
        attended = [
            self.self_attn(q_g, q_g, v_g, need_weights=False)[0]
            for q_g, v_g in zip(q.split(groups, 1), query.split(groups, 1), strict=True)  # type: ignore[arg-type]
        ]
        query = self.norm1(query + torch.cat(attended, 1))
        crossed = self.cross_attn(query + position, boxes, memory, size)
        query = self.norm2(query + crossed)
        return self.norm3(query + self.linear2(torch.relu(self.linear1(query))))


def sine_embedding(boxes: Tensor, dim: int, temperature: float = 10000.0) -> Tensor:
    """Return the sine embedding ``(..., 2 dim)`` of boxes ``(..., 4)`` given as fractions."""
    half = dim // 2
    frequency = temperature ** (2 * (torch.arange(half, device=boxes.device) // 2) / half)
    angle = boxes[..., None] * (2 * math.pi) / frequency
    pairs = torch.stack([angle[..., 0::2].sin(), angle[..., 1::2].cos()], dim=-1).flatten(-2)
    return pairs.flatten(-2)
