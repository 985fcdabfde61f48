"""Two-way transformer of SAM: prompt tokens and image cells attend to each other.

Parameter names and arithmetic are those of SAM2's mask decoder.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from napari_nucleus.models.layers import MLP

__all__ = ["TwoWayTransformer"]


class Attention(nn.Module):
    """Multi-head attention that may narrow its channels inside."""

    def __init__(self, dim: int, heads: int, downsample_rate: int = 1) -> None:
        super().__init__()
        inner = dim // downsample_rate
        self.heads = heads
        self.q_proj = nn.Linear(dim, inner)
        self.k_proj = nn.Linear(dim, inner)
        self.v_proj = nn.Linear(dim, inner)
        self.out_proj = nn.Linear(inner, dim)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None = None) -> Tensor:
        """Return ``(B, N_q, dim)``; ``seen`` ``(B, N_k)`` bool says which keys are looked at."""
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v))
        )
        mask = None if seen is None else seen[:, None, None]
        out = F.scaled_dot_product_attention(q, k, v, mask)
        return self.out_proj(out.transpose(1, 2).flatten(2))


class TwoWayBlock(nn.Module):
    """Self-attention of tokens, tokens to image, MLP, image to tokens."""

    def __init__(
        self, dim: int, heads: int, mlp_dim: int, downsample_rate: int, first: bool
    ) -> None:
        super().__init__()
        self.self_attn = Attention(dim, heads)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn_token_to_image = Attention(dim, heads, downsample_rate)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, mlp_dim, dim, 2)
        self.norm3 = nn.LayerNorm(dim)
        self.norm4 = nn.LayerNorm(dim)
        self.cross_attn_image_to_token = Attention(dim, heads, downsample_rate)
        self.first = first

    def forward(
        self,
        tokens: Tensor,
        image: Tensor,
        tokens_pe: Tensor,
        image_pe: Tensor,
        seen: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return the updated tokens and image cells."""
        if self.first:
            tokens = self.self_attn(tokens, tokens, tokens, seen)
        else:
            q = tokens + tokens_pe
            tokens = tokens + self.self_attn(q, q, tokens, seen)
        tokens = self.norm1(tokens)
        q, k = tokens + tokens_pe, image + image_pe
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(q, k, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        q, k = tokens + tokens_pe, image + image_pe
        image = self.norm4(image + self.cross_attn_image_to_token(k, q, tokens, seen))
        return tokens, image


class TwoWayTransformer(nn.Module):
    """``depth`` blocks and a last look of the tokens at the image."""

    def __init__(
        self, depth: int, dim: int, heads: int, mlp_dim: int, downsample_rate: int = 2
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayBlock(dim, heads, mlp_dim, downsample_rate, first=i == 0) for i in range(depth)
        )
        self.final_attn_token_to_image = Attention(dim, heads, downsample_rate)
        self.norm_final_attn = nn.LayerNorm(dim)

    def forward(
        self, image: Tensor, image_pe: Tensor, tokens: Tensor, seen: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return tokens ``(B, N, dim)`` and image ``(B, dim, h, w)``.

        Parameters
        ----------
        image, image_pe
            ``(B, dim, h, w)`` features and ``(dim, h, w)`` position encoding.
        tokens
            ``(B, N, dim)``.
        seen
            ``(B, N)`` bool, False for tokens that nothing attends to; they attend to the others.
        """
        size = image.shape[-2:]
        cells = image.flatten(2).transpose(1, 2)
        pe = image_pe.flatten(1).transpose(0, 1)[None]
        query = tokens
        for layer in self.layers:
            query, cells = layer(query, cells, tokens, pe, seen)
        attended = self.final_attn_token_to_image(query + tokens, cells + pe, cells)
        query = self.norm_final_attn(query + attended)
        return query, cells.transpose(1, 2).unflatten(2, size)
