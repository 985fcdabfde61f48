"""UniNuc's detector: features, projector, and the two-stage deformable DETR head.

The head is LW-DETR's: every cell of the levels proposes a box, the best become queries, a decoder
refines them. The published detector has a ConvNeXt of its own; the nano looks at the segmenter's
neck. Boxes are ``cx, cy, w, h`` in input pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ConvNextConfig, ConvNextModel

from napari_nucleus.models.layers import MLP, LayerNorm2d
from napari_nucleus.models.uninuc.config import DetectorConfig, EncoderConfig
from napari_nucleus.models.uninuc.deformable import DecoderLayer, sine_embedding

__all__ = ["Detections", "Detector", "Proposals"]


class Proposals(NamedTuple):
    """First stage, for each cell: class logits ``(B, N, C)``, boxes ``(B, N, 4)``.

    ``memory`` ``(B, N, dim)`` is what the queries are made from.
    """

    logits: Tensor
    boxes: Tensor
    memory: Tensor


class Detections(NamedTuple):
    """Second stage: logits ``(L, B, Q, C)`` and boxes ``(L, B, Q, 4)`` of the L decoder layers."""

    logits: Tensor
    boxes: Tensor


class ConvNextFeatures(nn.Module):
    """ConvNeXt's four stages, from transformers."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.model = ConvNextModel(
            ConvNextConfig(
                hidden_sizes=list(config.convnext_dims),
                depths=list(config.convnext_depths),
                patch_size=config.convnext_patch,
                num_stages=len(config.convnext_dims),
            )
        )

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return the stages' maps, finest first."""
        hidden = self.model(pixels, output_hidden_states=True).hidden_states
        return list(hidden[1:])


class Projector(nn.Module):
    """1x1 projections, top-down addition, and a C2f block on each level."""

    def __init__(self, in_dims: list[int], dim: int, c2f_blocks: int) -> None:
        super().__init__()
        self.project = nn.ModuleList(
            nn.Sequential(nn.Conv2d(d, dim, 1), LayerNorm2d(dim)) for d in in_dims
        )
        self.blocks = nn.ModuleList(
            C2f(dim, c2f_blocks) if c2f_blocks else nn.Identity() for _ in in_dims
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Return maps of one width, finest first."""
        out: list[Tensor] = []
        above: Tensor | None = None
        for i in reversed(range(len(maps))):
            x = self.project[i](maps[i])
            if above is not None:
                x = x + F.interpolate(above, x.shape[-2:], mode="nearest")
            x = self.blocks[i](x)
            above = x
            out.append(x)
        return out[::-1]


class C2f(nn.Module):
    """Cross-stage block: half of the channels pass ``n`` bottlenecks, all stages are joined."""

    def __init__(self, dim: int, n: int) -> None:
        super().__init__()
        self.part = dim // 2
        self.enter = ConvX(dim, dim, 1)
        self.bottlenecks = nn.ModuleList(
            nn.Sequential(ConvX(self.part, self.part, 3), ConvX(self.part, self.part, 3))
            for _ in range(n)
        )
        self.leave = ConvX(self.part * (n + 2), dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return a map of the same shape."""
        stages = list(self.enter(x).split(self.part, 1))
        for bottleneck in self.bottlenecks:
            stages.append(stages[-1] + bottleneck(stages[-1]))
        return self.leave(torch.cat(stages, 1))


class ConvX(nn.Sequential):
    """Convolution, channel norm and SiLU."""

    def __init__(self, in_dim: int, out_dim: int, kernel: int) -> None:
        super().__init__(
            nn.Conv2d(in_dim, out_dim, kernel, 1, kernel // 2, bias=False),
            LayerNorm2d(out_dim),
            nn.SiLU(),
        )


class ProposalHead(nn.Module):
    """Class and box of every cell; one for each query group."""

    def __init__(self, dim: int, n_classes: int) -> None:
        super().__init__()
        self.enc_output = nn.Linear(dim, dim)
        self.enc_output_norm = nn.LayerNorm(dim)
        self.class_embed = nn.Linear(dim, n_classes)
        self.bbox_embed = MLP(dim, dim, 4, 3)
        _start_rare(self.class_embed)
        _start_at_reference(self.bbox_embed)

    def forward(self, memory: Tensor, anchors: Tensor) -> Proposals:
        """Return the proposals of cells ``(B, N, dim)`` with anchor boxes ``(N, 4)``."""
        memory = self.enc_output_norm(self.enc_output(memory))
        boxes = move_boxes(anchors[None], self.bbox_embed(memory))
        return Proposals(self.class_embed(memory), boxes, memory)


class Detector(nn.Module):
    """Boxes with classes from an image or from the encoder's features."""

    def __init__(self, config: DetectorConfig, encoder: EncoderConfig, n_classes: int) -> None:
        super().__init__()
        self.config = config
        if config.backbone == "convnext":
            self.backbone = ConvNextFeatures(config)
            dims = list(config.convnext_dims)
            strides = [config.convnext_patch * 2**i for i in range(len(dims))]
        else:
            self.backbone = None
            dims, strides = list(encoder.neck_dims), list(encoder.strides)
        self.strides = [strides[i] for i in config.levels]
        self.projector = Projector([dims[i] for i in config.levels], config.dim, config.c2f_blocks)
        self.proposal_heads = nn.ModuleList(
            ProposalHead(config.dim, n_classes) for _ in range(config.groups)
        )
        slots = config.queries if config.slot_queries else 1
        self.query_feat = nn.Embedding(config.groups * slots, config.dim)
        self.query_from_memory = nn.Linear(config.dim, config.dim)
        self.ref_point_head = MLP(2 * config.dim, config.dim, config.dim, 2)
        self.layers = nn.ModuleList(
            DecoderLayer(
                config.dim,
                config.heads,
                config.cross_heads,
                len(config.levels),
                config.points,
                config.ffn_dim,
            )
            for _ in range(config.layers)
        )
        self.class_embed = nn.Linear(config.dim, n_classes)
        self.bbox_embed = MLP(config.dim, config.dim, 4, 3)
        _start_rare(self.class_embed)
        _start_at_reference(self.bbox_embed)

    def memory(self, pixels: Tensor | None, features: list[Tensor] | None) -> list[Tensor]:
        """Return the projected levels, from pixels (own backbone) or the encoder's features."""
        maps = self.backbone(pixels) if self.backbone is not None else features
        if maps is None:
            raise ValueError("a detector without a backbone needs the encoder's features")
        return self.projector([maps[i] for i in self.config.levels])

    def anchors(self, memory: list[Tensor]) -> Tensor:
        """Return each cell's box ``(N, 4)``: its centre, and a size that doubles with the level."""
        boxes = []
        for level, (stride, feature) in enumerate(zip(self.strides, memory, strict=True)):
            h, w = feature.shape[-2:]
            y = (torch.arange(h, device=feature.device) + 0.5) * stride
            x = (torch.arange(w, device=feature.device) + 0.5) * stride
            cy, cx = torch.meshgrid(y, x, indexing="ij")
            size = torch.full_like(cx, self.config.base_size * 2**level)
            boxes.append(torch.stack([cx, cy, size, size], dim=-1).flatten(0, 1))
        return torch.cat(boxes)

    def propose(self, memory: list[Tensor], group: int = 0) -> Proposals:
        """Return the first stage of one query group."""
        flat = torch.cat([m.flatten(2).transpose(1, 2) for m in memory], dim=1)
        return self.proposal_heads[group](flat, self.anchors(memory))

    def select(self, proposals: Proposals, k: int) -> Tensor:
        """Return the indices ``(B, k)`` of the best proposals."""
        score = proposals.logits.detach().float().amax(-1)
        return score.topk(min(k, score.shape[1]), dim=1).indices

    def queries(self, proposals: Proposals, index: Tensor, group: int = 0) -> tuple[Tensor, Tensor]:
        """Return queries ``(B, k, dim)`` and detached reference boxes of chosen proposals."""
        boxes = proposals.boxes.detach().gather(1, index[..., None].expand(-1, -1, 4))
        memory = proposals.memory.detach()
        memory = memory.gather(1, index[..., None].expand(-1, -1, memory.shape[-1]))
        slots = len(self.query_feat.weight) // self.config.groups
        learned = self.query_feat.weight[group * slots : (group + 1) * slots]
        if slots > 1:
            learned = learned[: index.shape[1]]
        return learned[None] + self.query_from_memory(memory), boxes

    def denoising_queries(self, boxes: Tensor) -> Tensor:
        """Return the queries ``(B, M, dim)`` of given boxes, which know nothing of the image."""
        slots = len(self.query_feat.weight) // self.config.groups
        return self.query_feat.weight[:slots].mean(0).expand(*boxes.shape[:2], -1)

    def decode(
        self, memory: list[Tensor], query: Tensor, boxes: Tensor, groups: list[int] | None = None
    ) -> Detections:
        """Refine queries ``(B, Q, dim)`` with reference boxes ``(B, Q, 4)``."""
        groups = groups or [query.shape[1]]
        h, w = memory[0].shape[-2] * self.strides[0], memory[0].shape[-1] * self.strides[0]
        size = boxes.new_tensor([w, h])
        position = self.ref_point_head(
            sine_embedding(boxes / self.config.reference_px, self.config.dim)
        )
        logits, refined = [], []
        for layer in self.layers:
            query = layer(query, position, boxes, memory, size, groups)
            logits.append(self.class_embed(query))
            refined.append(move_boxes(boxes, self.bbox_embed(query)))
        return Detections(torch.stack(logits), torch.stack(refined))

    @torch.inference_mode()
    def detect(self, memory: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return class probabilities ``(Q, C)`` and boxes ``(Q, 4)`` of the first image.

        The number of queries follows the area and how many proposals pass ``query_threshold``.
        """
        proposals = self.propose([m[:1] for m in memory])
        area = memory[0].shape[-2] * memory[0].shape[-1] * self.strides[0] ** 2
        k = max(round(self.config.queries * area / self.config.query_area), 1)
        if self.config.slot_queries:
            k = self.config.queries
        index = self.select(proposals, k)
        if self.config.query_threshold > 0:
            score = proposals.logits[0, index[0]].float().amax(-1).sigmoid()
            index = index[:, : max(int((score > self.config.query_threshold).sum()), 1)]
        query, boxes = self.queries(proposals, index)
        out = self.decode([m[:1] for m in memory], query, boxes)
        return out.logits[-1, 0].float().sigmoid(), out.boxes[-1, 0].float()


def move_boxes(reference: Tensor, delta: Tensor) -> Tensor:
    """Return boxes moved by LW-DETR's reparametrisation: centres by size, sizes by exponent."""
    delta = delta.float()
    centre = delta[..., :2] * reference[..., 2:] + reference[..., :2]
    size = delta[..., 2:].clamp(-4, 4).exp() * reference[..., 2:]
    return torch.cat([centre, size], dim=-1)


def _start_rare(layer: nn.Linear) -> None:
    nn.init.constant_(layer.bias, -4.6)


def _start_at_reference(mlp: MLP) -> None:
    last = mlp.layers[-1]
    nn.init.zeros_(last.weight)  # type: ignore[arg-type]
    nn.init.zeros_(last.bias)  # type: ignore[arg-type]
