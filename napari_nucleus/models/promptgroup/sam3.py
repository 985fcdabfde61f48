"""SAM3 whole, as published: `transformers`' `Sam3Model`, its towers taken apart for reuse.

An image is seen once and paired with any number of texts, through the public arguments of the
model (``vision_embeds``, ``text_embeds``). Interfaces are those of the nano's network, so that the
same losses train both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, Sam3Config, Sam3Model
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

from napari_nucleus.models.promptgroup.network import Answers

__all__ = ["Sam3Network", "Sam3Read", "Sam3Seen"]


class Sam3Seen(NamedTuple):
    """``levels``: the pyramid of ``B`` images, finest first, without the last level, which SAM3
    makes and does not use; ``place`` ``(1, C, h, w)``: where the cells of the coarsest lie.
    """

    levels: tuple[Tensor, ...]
    place: Tensor

    def of(self, index: Tensor) -> Sam3Seen:
        """Return the images at ``index``."""
        return Sam3Seen(tuple(level[index] for level in self.levels), self.place)


class Sam3Read(NamedTuple):
    """``tokens`` ``(T, L, dim)`` of texts and ``mask`` ``(T, L)``, 1 at tokens."""

    tokens: Tensor
    mask: Tensor

    def repeated(self, index: Tensor) -> Sam3Read:
        """Return the texts at ``index``."""
        return Sam3Read(self.tokens[index], self.mask[index])


class Sam3Network(nn.Module):
    """Answers texts on images of the configuration's size, scaled to −1…1."""

    def __init__(self, config: Sam3Config, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self.sam3 = Sam3Model(config)
        self.tokenizer = tokenizer

    @property
    def size(self) -> int:
        """Side of the images in pixels."""
        vision: Any = self.sam3.config.vision_config
        size = vision.image_size
        return int(size if isinstance(size, int) else size[0])

    @property
    def max_tokens(self) -> int:
        """Tokens of a text; more are cut off."""
        text: Any = self.sam3.config.text_config
        return int(text.max_position_embeddings)

    def see(self, pixels: Tensor) -> Sam3Seen:
        """Look at ``(B, 3, size, size)`` once."""
        out = self.sam3.get_vision_features(pixels)
        return Sam3Seen(tuple(out.fpn_hidden_states[:-1]), out.fpn_position_encoding[-2][:1])

    def read_texts(self, texts: Sequence[str]) -> Sam3Read:
        """Read texts."""
        found = self.tokenizer(
            list(texts),
            padding="max_length",
            max_length=self.max_tokens,
            truncation=True,
            return_tensors="pt",
        )
        device = next(self.parameters()).device
        mask = found["attention_mask"].to(device)  # type: ignore[union-attr]
        ids = found["input_ids"].to(device)  # type: ignore[union-attr]
        # Its "pooler output" is the projected sequence.
        out: Any = self.sam3.get_text_features(ids, mask)
        return Sam3Read(out.pooler_output, mask)

    def forward(self, seen: Sam3Seen, read: Sam3Read) -> Answers:
        """Answer text i on image i, for all i."""
        levels = (*seen.levels, seen.levels[-1])
        place = seen.place.expand(len(seen.levels[-1]), -1, -1, -1)
        out = self.sam3(
            vision_embeds=Sam3VisionEncoderOutput(
                fpn_hidden_states=levels, fpn_position_encoding=(place,) * len(levels)
            ),
            text_embeds=BaseModelOutputWithPooling(pooler_output=read.tokens),  # type: ignore[arg-type]
            attention_mask=read.mask,
        )
        return Answers(
            out.semantic_seg,
            out.presence_logits[:, 0],
            out.pred_masks,
            out.pred_logits,
            out.pred_boxes,
        )


def freeze_text(network: Sam3Network) -> None:
    """Leave the text encoder as it is in training, as the paper does."""
    network.sam3.text_encoder.requires_grad_(False)


def to_input(rgb: Tensor, size: int) -> Tensor:
    """Return ``(B, 3, H, W)`` in 0–1 stretched to a square of ``size`` and scaled to −1…1."""
    stretched = nn.functional.interpolate(
        rgb, (size, size), mode="bilinear", align_corners=False, antialias=size < rgb.shape[-1]
    )
    return torch.clamp(stretched, 0, 1) * 2 - 1
