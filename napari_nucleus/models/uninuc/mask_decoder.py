"""Multi-scale high-quality (MSHQ) mask decoder.

SAM2's mask decoder with its parameter names, and a high-quality path: the finest features of the
encoder, joined with the transformer's output, give a second mask that corrects the first. With
``hf_mlp``'s last layer at zero, as it is initialised, the output is SAM2's.

For small models two things can be switched on: prompts drawn as maps at the finest grid and added
to the high-quality path (a token at stride 8 loses a click's position), and an hourglass in place
of the published two convolutions.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_nucleus.models.layers import MLP, ConvNormAct, LayerNorm2d, ResidualBlock
from napari_nucleus.models.uninuc.config import DecoderConfig
from napari_nucleus.models.uninuc.transformer import TwoWayTransformer

__all__ = ["RASTER_CHANNELS", "MaskDecoder", "MaskOutput"]

N_MASKS = 4
"""One mask for unambiguous prompts and three hypotheses for a lone point."""

RASTER_CHANNELS = 5
"""Drawn prompts: previous logits, whether there are any, positive and negative disks, box."""


class MaskOutput(NamedTuple):
    """Answers for ``B`` objects.

    ``logits`` ``(B, 4, H, W)`` at F0's resolution: the mask for unambiguous prompts, then three
    hypotheses for a lone point; ``iou`` ``(B, 4)`` predicted; ``object_score`` ``(B,)`` logit that
    there is a nucleus at all.
    """

    logits: Tensor
    iou: Tensor
    object_score: Tensor

    def best(self, lone: Tensor) -> tuple[Tensor, Tensor]:
        """Return each object's mask logits ``(B, H, W)`` and its predicted IoU ``(B,)``.

        ``lone`` ``(B,)`` bool says where a single point is all there is, so that the best of the
        hypotheses is taken.
        """
        chosen = torch.where(lone, self.iou[:, 1:].argmax(1) + 1, 0)
        rows = torch.arange(len(chosen), device=chosen.device)
        return self.logits[rows, chosen], self.iou[rows, chosen]


class MaskDecoder(nn.Module):
    """Decodes masks from F0, F1, F2 (finest first) and encoded prompts."""

    def __init__(self, config: DecoderConfig, in_dims: tuple[int, int, int]) -> None:
        super().__init__()
        self.config = config
        dim, (c0, c1) = config.dim, config.fine_dims
        self.transformer = TwoWayTransformer(
            config.depth, dim, config.heads, config.mlp_dim, config.downsample_rate
        )
        self.obj_score_token = nn.Embedding(1, dim)
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(N_MASKS, dim)
        self.hf_token = nn.Embedding(1, dim)
        self.conv_s0 = nn.Conv2d(in_dims[0], c0, 1)
        self.conv_s1 = nn.Conv2d(in_dims[1], c1, 1)
        self.input_proj = nn.Identity() if in_dims[2] == dim else nn.Conv2d(in_dims[2], dim, 1)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(dim, c1, 2, 2),
            LayerNorm2d(c1),
            nn.GELU(),
            nn.ConvTranspose2d(c1, c0, 2, 2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(MLP(dim, dim, c0, 3) for _ in range(N_MASKS))
        self.iou_prediction_head = MLP(dim, dim, config.iou_outputs, 3, sigmoid=True)
        self.pred_obj_score_head = MLP(dim, dim, 1, 3)
        self.hf_mlp = MLP(dim, dim, config.hq_dim, 3)
        self.hq = HighQualityPath(config)
        nn.init.zeros_(self.hf_mlp.layers[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.hf_mlp.layers[-1].bias)  # type: ignore[arg-type]

    def project(self, features: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return F0, F1, F2 with the decoder's channels; done once for each tile."""
        f0, f1, f2 = features[:3]
        return self.conv_s0(f0), self.conv_s1(f1), self.input_proj(f2)

    def forward(
        self,
        projected: tuple[Tensor, Tensor, Tensor],
        image_pe: Tensor,
        sparse: Tensor,
        dense: Tensor,
        raster: Tensor | None = None,
        real: Tensor | None = None,
    ) -> MaskOutput:
        """Decode ``B`` objects.

        Parameters
        ----------
        projected
            Output of `project`, whole or cropped to each object: ``(B, c, h, w)``.
        image_pe
            ``(dim, h2, w2)``.
        sparse, dense
            Output of the prompt encoder.
        raster
            ``(B, RASTER_CHANNELS, h0, w0)`` drawn prompts, if the configuration has them.
        real
            ``(B, N)`` bool, False for tokens of ``sparse`` that only fill a row up.
        """
        f0, f1, f2 = projected
        n = len(sparse)
        tokens = torch.cat(
            [
                self.obj_score_token.weight,
                self.iou_token.weight,
                self.mask_tokens.weight,
                self.hf_token.weight,
            ]
        )
        tokens = torch.cat([tokens.expand(n, -1, -1), sparse], dim=1)
        seen = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        # The HQ token looks but is not looked at, or SAM2's masks would change with it.
        seen[:, 2 + N_MASKS] = False
        if real is not None:
            seen[:, -real.shape[1] :] = real
        out, image = self.transformer(f2 + dense, image_pe, tokens, seen)
        dc1, norm, act, dc2, act2 = self.output_upscaling
        upscaled = act(norm(dc1(image) + f1))
        upscaled = act2(dc2(upscaled) + f0)
        weights = [mlp(out[:, 2 + i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)]
        masks = torch.einsum("bmc,bchw->bmhw", torch.stack(weights, 1), upscaled)
        feature = self.hq(f0, f1, image, upscaled, raster)
        hq_weight = self.hf_mlp(out[:, 2 + N_MASKS])
        hq_mask = torch.einsum("bc,bchw->bhw", hq_weight, feature)[:, None]
        masks = masks + hq_mask if self.config.hq_sum else hq_mask.expand_as(masks)
        iou = self.iou_prediction_head(out[:, 1])
        if self.config.iou_outputs > N_MASKS:
            # The extra output judges the final mask of an unambiguous prompt.
            iou = torch.cat([iou[:, N_MASKS:], iou[:, 1:N_MASKS]], dim=1)
        return MaskOutput(masks, iou, self.pred_obj_score_head(out[:, 0])[:, 0])


class HighQualityPath(nn.Module):
    """Joins F0, F1 and the transformer's image into the feature of the high-quality mask."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        c, (c0, c1) = config.hq_dim, config.fine_dims
        self.phi = nn.ModuleList(nn.Conv2d(d, c, 1) for d in (c0, c1, config.dim))
        self.raster = None
        if config.raster_prompts:
            self.raster = nn.Conv2d(RASTER_CHANNELS, c, 3, 1, 1)
            nn.init.zeros_(self.raster.weight)
            nn.init.zeros_(self.raster.bias)  # type: ignore[arg-type]
        if config.refine_dims:
            self.refine = Hourglass(c, config.dim, config.refine_dims)
        else:
            self.refine = nn.Sequential(
                nn.Conv2d(c, 2 * c, 3, 1, 1),
                LayerNorm2d(2 * c),
                nn.GELU(),
                nn.Conv2d(2 * c, c, 3, 1, 1),
            )
        self.embedding_maskfeature = None
        if config.add_sam_feature:
            self.embedding_maskfeature = nn.Sequential(
                nn.Conv2d(c0, 2 * c0, 3, 1, 1),
                LayerNorm2d(2 * c0),
                nn.GELU(),
                nn.Conv2d(2 * c0, c, 3, 1, 1),
            )

    def forward(
        self, f0: Tensor, f1: Tensor, image: Tensor, upscaled: Tensor, raster: Tensor | None
    ) -> Tensor:
        """Return ``(B, hq_dim, h0, w0)``."""
        size = f0.shape[-2:]
        joined = self.phi[0](f0)
        for phi, x in ((self.phi[1], f1), (self.phi[2], image)):
            joined = joined + F.interpolate(phi(x), size, mode="bilinear", align_corners=False)
        if self.raster is not None and raster is not None:
            joined = joined + self.raster(raster)
        if isinstance(self.refine, Hourglass):
            feature = self.refine(joined, image)
        else:
            feature = self.refine(joined)
        if self.embedding_maskfeature is not None:
            feature = feature + self.embedding_maskfeature(upscaled)
        return feature


class Hourglass(nn.Module):
    """A small U-Net over the crop, so that one click can move the whole border."""

    def __init__(self, in_dim: int, image_dim: int, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.enter = ConvNormAct(in_dim, dims[0])
        self.down = nn.ModuleList(
            nn.Sequential(ConvNormAct(a, b, stride=2), ResidualBlock(b))
            for a, b in itertools.pairwise(dims)
        )
        self.image = nn.Conv2d(image_dim, dims[-1], 1)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in itertools.pairwise(dims))
        self.blocks = nn.ModuleList(ResidualBlock(d) for d in dims[:-1])
        self.leave = nn.Conv2d(dims[0], in_dim, 3, 1, 1)

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        """Return a map of the shape of ``x``; ``image`` joins at the coarsest level."""
        levels = [self.enter(x)]
        for down in self.down:
            levels.append(down(levels[-1]))
        bottom = self.image(image)
        if bottom.shape[-2:] != levels[-1].shape[-2:]:
            bottom = F.interpolate(bottom, levels[-1].shape[-2:], mode="bilinear")
        y = levels[-1] + bottom
        for up, block, skip in zip(
            reversed(self.up), reversed(self.blocks), reversed(levels[:-1]), strict=True
        ):
            y = block(skip + F.interpolate(up(y), scale_factor=2.0, mode="nearest"))
        return self.leave(y)
