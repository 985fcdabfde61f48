"""The nano: a UperHoVer sees the tile once, SAM3's detector answers any number of texts on it.

`transformers`' `Sam3Model` takes features of an image and of a text that others have made; here a
small convolutional encoder with its class head makes the first, hashed words the second. Its own
towers are left out. Maps of strides 2 to 16 stand in the place of SAM3's pyramid: the answer has
stride 2 while the transformer looks at few tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Sam3Config, Sam3Model
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

from napari_nucleus.models.layers import ChannelNorm
from napari_nucleus.models.promptgroup.config import FusionConfig, PromptGroupConfig
from napari_nucleus.models.promptgroup.text import Read, TextEncoder
from napari_nucleus.models.promptgroup.words import split_words
from napari_nucleus.models.uperhover.network import UperHover

__all__ = ["Answers", "Evidence", "PromptGroup", "Seen"]

STRIDES = (2, 4, 8, 16)
"""Pixels per cell of the levels; the last is the third, averaged over four cells."""


class Seen(NamedTuple):
    """What the encoder makes of windows ``(B, 3, H, W)``, once for all texts.

    ``fine`` ``(B, c, H / 2, W / 2)`` features of the class head and its logits, ``middle`` at
    stride 4, ``coarse`` at stride 8; ``maps`` ``(B, 1 + C + 2, H / 2, W / 2)``: class
    probabilities, background first, and HV offsets.
    """

    fine: Tensor
    middle: Tensor
    coarse: Tensor
    maps: Tensor

    def of(self, index: Tensor) -> Seen:
        """Return the windows at ``index``."""
        return Seen(*(value[index] for value in self))


class Answers(NamedTuple):
    """Answers to n pairs of window and text.

    ``semantic`` ``(n, 1, H / 2, W / 2)`` logits of a pixel being asked for, ``presence``
    ``(n,)`` logits of anything being, ``masks`` ``(n, Q, H / 2, W / 2)`` and ``scores`` ``(n, Q)``
    logits of the queries, ``boxes`` ``(n, Q, 4)`` x0, y0, x1, y1 in 0–1.
    """

    semantic: Tensor
    presence: Tensor
    masks: Tensor
    scores: Tensor
    boxes: Tensor


class PromptGroup(nn.Module):
    """Answers texts on windows; sides are multiples of the encoder's patch size."""

    def __init__(self, config: PromptGroupConfig) -> None:
        super().__init__()
        self.config = config
        self.vision = UperHover(config.vision)
        dim = config.fusion.dim
        self.levels = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, dim, 1), ChannelNorm(dim))
            for channels in level_dims(config)
        )
        self.text = TextEncoder(config.text, dim, config.vision.n_classes)
        self.gates = nn.ModuleList(
            nn.Linear(dim, 2 * dim) for _ in (STRIDES if config.fusion.gated else ())
        )
        for gate in self.gates:
            nn.init.zeros_(gate.bias)  # type: ignore[arg-type]
        self.sam3 = detector(config.fusion)
        self.evidence = Evidence(config.vision.n_classes)

    def see(self, pixels: Tensor) -> Seen:
        """Return what is kept of windows of normalised pixels."""
        features = self.vision.encoder(pixels)
        assert features.stem is not None
        head = self.vision.classes
        middle = head.decode_head(features.pyramid)
        size = (features.stem.shape[-2], features.stem.shape[-1])
        assert head.fine is not None
        upper = F.interpolate(middle, size=size, mode="bilinear", align_corners=False)
        fine = head.fine.body(head.fine.join(torch.cat([upper, features.stem], 1)))
        logits = head.fine.out(fine)
        maps = torch.cat([logits.float().softmax(1), self.vision.hv(features).float()], 1)
        return Seen(torch.cat([fine, logits], 1), middle, features.pyramid[1], maps)

    def read(self, texts: Sequence[Sequence[str]]) -> Read:
        """Read texts, each a sequence of words."""
        return self.text(texts)

    def read_texts(self, texts: Sequence[str]) -> Read:
        """Read texts as they are, mistyped words too."""
        return self.text([split_words(text) for text in texts])

    def forward(self, seen: Seen, read: Read) -> Answers:
        """Answer text i on window i, for all i."""
        levels = [
            self._gated(project(x), i, read)
            for i, (project, x) in enumerate(zip(self.levels, self._pyramid(seen), strict=True))
        ]
        place = sine_places(levels[-1])
        out = self.sam3(
            # The model drops the last of the levels it is given, as SAM3's own has no use.
            vision_embeds=Sam3VisionEncoderOutput(
                fpn_hidden_states=(*levels, levels[-1]),
                fpn_position_encoding=(*[place] * len(levels), place),
            ),
            text_embeds=BaseModelOutputWithPooling(pooler_output=read.tokens),  # type: ignore[arg-type]
            attention_mask=read.mask.long(),
        )
        return Answers(
            out.semantic_seg,
            out.presence_logits[:, 0],
            out.pred_masks,
            out.pred_logits,
            out.pred_boxes,
        )

    def _pyramid(self, seen: Seen) -> tuple[Tensor, ...]:
        """Return what was seen at each of `STRIDES`."""
        return seen.fine, seen.middle, seen.coarse, F.avg_pool2d(seen.coarse, 2)

    def _gated(self, x: Tensor, level: int, read: Read) -> Tensor:
        if not self.gates:
            return x
        scale, shift = self.gates[level](read.pooled)[:, :, None, None].chunk(2, dim=1)
        return x * (1 + scale) + shift


class Evidence(nn.Module):
    """Whether anything asked for is there: by the answer, and by the encoder's own classes.

    SAM3's token of presence hardly learns it from few images. A line through some features for each
    class and for all nuclei, fitted on training crops; 0 is where enough of those that are there
    are found. Before it is fitted it repeats the token.
    """

    LEVELS = (0.5, 0.6)
    AREAS = (15, 60, 150)  # cells of stride 2: a small nucleus, a usual one, more than one

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        weight = torch.zeros(1 + n_classes, 1 + len(self.LEVELS) + 3 * len(self.AREAS))
        weight[:, 0] = 1
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(1 + n_classes), requires_grad=False)

    def features(self, answers: Answers, seen: Seen, wanted: Tensor) -> Tensor:
        """Return ``(n, F)``; ``wanted`` ``(n, C)`` logits of the classes asked for.

        The token; the logarithms of the areas above some probabilities of the answer; and the
        probabilities that some areas have at least, of the answer, of the encoder's classes, and of
        both.
        """
        n_classes = wanted.shape[1]
        asked = answers.semantic.float().flatten(1).sigmoid()
        classes = seen.fine[:, -n_classes - 1 :].float().softmax(1)[:, 1:]
        own = (classes * (wanted > 0)[:, :, None, None]).sum(1).flatten(1)
        areas = [torch.log1p((asked >= level).sum(1)) for level in self.LEVELS]
        least = [
            _least(values, area) for values in (asked, own, asked * own) for area in self.AREAS
        ]
        return torch.stack([answers.presence.float(), *areas, *least], 1)

    def forward(self, answers: Answers, seen: Seen, wanted: Tensor) -> Tensor:
        """Return logits ``(n,)``."""
        lines = self.features(answers, seen, wanted) @ self.weight.T + self.bias
        asked = (wanted > 0).float()
        several = (lines[:, 1:] * asked).sum(1) / asked.sum(1).clamp(min=1)
        return torch.where(asked.all(1), lines[:, 0], several)


def _least(values: Tensor, area: int) -> Tensor:
    """Return what ``area`` of the values ``(n, cells)`` have at least, as a logit ``(n,)``."""
    top = values.topk(min(area, values.shape[1]), 1).values[:, -1]
    return torch.logit(top, 1e-4)


def level_dims(config: PromptGroupConfig) -> tuple[int, ...]:
    """Return the channels of what was seen at each of `STRIDES`."""
    head, encoder = config.vision.head, config.vision.encoder
    if not head.fine_dim or encoder.pyramid_strides[:2] != STRIDES[1:3]:
        raise ValueError("the encoder needs a last stage at stride 2 and levels at strides 4 and 8")
    logits, coarse = 1 + config.vision.n_classes, encoder.pyramid_dims[1]
    return head.fine_dim + logits, head.fine_dim, coarse, coarse


def detector(config: FusionConfig) -> Sam3Model:
    """Return SAM3's detector of this size without its towers, which others stand in for."""
    layers = {
        "hidden_size": config.dim,
        "num_attention_heads": config.heads,
        "intermediate_size": config.ffn_dim,
        "dropout": 0.0,
    }
    tiny = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    tiny["num_attention_heads"] = 1
    model = Sam3Model(
        Sam3Config(
            vision_config={
                "backbone_config": {
                    "model_type": "sam3_vit_model",
                    "image_size": 32,
                    "patch_size": 16,
                    "window_size": 2,
                    "global_attn_indexes": [0],
                    "pretrain_image_size": 32,
                    **tiny,
                },
                "fpn_hidden_size": 8,
                "scale_factors": [1.0],
            },
            text_config={
                "max_position_embeddings": 8,
                "projection_dim": 8,
                **tiny,
            },
            geometry_encoder_config={"num_layers": 1, **layers},
            detr_encoder_config={"num_layers": config.encoder_layers, **layers},
            detr_decoder_config={
                "num_layers": config.decoder_layers,
                "num_queries": config.queries,
                **layers,
            },
            mask_decoder_config={
                "hidden_size": config.dim,
                "num_attention_heads": config.heads,
                "num_upsampling_stages": len(STRIDES) - 1,
            },
        )
    )
    for tower in ("vision_encoder", "text_encoder", "text_projection", "geometry_encoder"):
        setattr(model, tower, nn.Identity())
    return model


def sine_places(level: Tensor) -> Tensor:
    """Return sines and cosines of the places on a level ``(B, dim, h, w)``, as SAM3 codes them."""
    b, dim, h, w = level.shape
    half = dim // 2
    wave = 10000 ** (2 * (torch.arange(half, device=level.device) // 2) / half)

    def line(n: int) -> Tensor:
        phase = (torch.arange(1, n + 1, device=level.device) / n * 2 * math.pi)[:, None] / wave
        return torch.stack([phase[:, 0::2].sin(), phase[:, 1::2].cos()], 2).flatten(1)

    rows = line(h)[:, None].expand(h, w, half)
    columns = line(w)[None].expand(h, w, half)
    places = torch.cat([rows, columns], 2).permute(2, 0, 1).to(level.dtype)
    return places[None].expand(b, -1, -1, -1)
