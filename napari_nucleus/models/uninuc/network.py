"""The whole UniNuc network: encoder, dense heads, prompt encoder, mask decoder, detector."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from napari_nucleus.models.uninuc.config import UniNucConfig
from napari_nucleus.models.uninuc.crops import PromptBatch, draw_prompts, gather, tokens_of
from napari_nucleus.models.uninuc.dense import DenseHeads
from napari_nucleus.models.uninuc.detector import Detector
from napari_nucleus.models.uninuc.encoder import ImageEncoder
from napari_nucleus.models.uninuc.mask_decoder import MaskDecoder, MaskOutput
from napari_nucleus.models.uninuc.prompt_encoder import PromptEncoder

__all__ = ["CropFeatures", "Segmenter", "UniNuc"]


class CropFeatures(NamedTuple):
    """F0, F1, F2 of the decoder, cut out for ``B`` nuclei; made once, used for every click."""

    f0: Tensor
    f1: Tensor
    f2: Tensor


class Segmenter(nn.Module):
    """The promptable half of UniNuc."""

    def __init__(self, config: UniNucConfig) -> None:
        super().__init__()
        self.config = config
        encoder, decoder = config.encoder, config.decoder
        self.encoder = ImageEncoder(encoder)
        self.dense = None
        if config.dense.dim:
            self.dense = DenseHeads(encoder.neck_dims[0], config.dense.dim, config.n_classes)
        self.prompt_encoder = PromptEncoder(decoder.dim)
        self.mask_decoder = MaskDecoder(decoder, encoder.neck_dims[:3])  # type: ignore[arg-type]

    def crop(
        self, projected: tuple[Tensor, Tensor, Tensor], windows: Tensor, tile_index: Tensor
    ) -> CropFeatures:
        """Cut the decoder's features ``(T, c, H, W)`` at windows ``(B, 4)`` of the T tiles."""
        grid = self.config.decoder.crop_grid
        strides = self.config.encoder.strides
        return CropFeatures(
            *(
                gather(f, windows, tile_index, strides[i], grid >> i)
                for i, f in enumerate(projected)
            )
        )

    def decode(self, crops: CropFeatures, prompts: PromptBatch) -> MaskOutput:
        """Return the answers to prompts on crops, on the crop's grid."""
        decoder = self.config.decoder
        size = (crops.f2.shape[-2], crops.f2.shape[-1])
        positions, labels, real = tokens_of(prompts)
        logits = prompts.logits[:, None] if bool(prompts.has_logits.any()) else None
        dense = self.prompt_encoder.dense(logits, prompts.has_logits, size, len(prompts))
        return self.mask_decoder(
            crops,
            self.prompt_encoder.pe_layer.of_grid(size, crops.f2.device),
            self.prompt_encoder.sparse(positions, labels),
            dense,
            draw_prompts(prompts, decoder) if decoder.raster_prompts else None,
            real,
        )


def empty_logits(n: int, grid: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return logits and flags of ``n`` nuclei without a previous answer."""
    return torch.zeros((n, grid, grid), device=device), torch.zeros(n, dtype=bool, device=device)  # type: ignore[call-overload]


class UniNuc(nn.Module):
    """Segmenter and detector."""

    def __init__(self, config: UniNucConfig) -> None:
        super().__init__()
        self.config = config
        self.segmenter = Segmenter(config)
        self.detector = Detector(config.detector, config.encoder, config.n_classes)
