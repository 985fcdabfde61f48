"""UperHoVers of a few thousand parameters, networks that answer by rule, and drawn tiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.models.api import ModelInfo
from napari_nucleus.models.uperhover.config import (
    EncoderConfig,
    HeadConfig,
    InferenceConfig,
    UperHoverConfig,
)
from napari_nucleus.models.uperhover.network import Maps, UperHover
from napari_nucleus.models.uperhover.predictor import UperHoverPredictor
from napari_nucleus.models.working import normalise

TINY = UperHoverConfig(
    encoder=EncoderConfig(
        image_size=64,
        patch_size=16,
        dim=24,
        depth=4,
        heads=3,
        registers=2,
        layer_scale=1.0,
        taps=(0, 1, 2, 3),
        pyramid_dims=(8, 8, 12, 16),
        stem_dims=(8, 12),
        stem_blocks=1,
    ),
    head=HeadConfig(dim=8, norm="channel", fine_dim=8),
    inference=InferenceConfig(
        mpp=0.25, window=64, stride=48, padding="reflect", flips=2, canonical_diameter=17.0
    ),
)
"""The nano in small: stem, channel norms, a last stage at stride 2."""

PLAIN = UperHoverConfig(
    encoder=EncoderConfig(
        image_size=56,
        dim=24,
        depth=5,
        heads=3,
        registers=2,
        layer_scale=1.0,
        taps=(0, 2, 3, 4),
        tap_norm=False,
        pyramid_dims=(8, 10, 12, 16),
    ),
    head=HeadConfig(dim=9),
    inference=InferenceConfig(window=56, stride=28),
)
"""The published layout in small: patches of plain pixels, batch norms, no norm before projections.
"""

INFO = ModelInfo(
    name="tiny",
    title="A tiny UperHoVer",
    capabilities=("automatic",),
    classes=PANNUKE,
    working_mpp=0.25,
    tile=64,
    halo=16,
    click_tile=64,
    licence="none",
    source="bundled",
)

BACKGROUND = (230, 180, 210)


def make_network(config: UperHoverConfig = TINY, seed: int = 0) -> UperHover:
    """A network with random weights; the class token alone has no position, as in UNI2-h."""
    torch.manual_seed(seed)
    network = UperHover(config).eval()
    with torch.no_grad():
        for value in network.parameters():
            value.add_(torch.randn_like(value) * 0.05)
        network.encoder.trunk.embeddings.position_embeddings[:, 0] = 0
        for name, value in network.named_buffers():
            if name.endswith("running_mean"):
                value.normal_(0, 0.1)
            elif name.endswith("running_var"):
                value.uniform_(0.5, 1.5)
    return network


def make_predictor(network: nn.Module | None = None, **info: Any) -> UperHoverPredictor:
    return UperHoverPredictor(network or make_network(), replace(INFO, **info), "digest", None)  # type: ignore[arg-type]


class Rule(nn.Module):
    """Answers with what a function makes of the batch of windows: logits and offsets."""

    def __init__(
        self,
        answer: Callable[[Tensor], tuple[Tensor, Tensor]],
        inference: InferenceConfig | None = None,
        n_classes: int = 5,
    ) -> None:
        super().__init__()
        self.answer = answer
        self.config = UperHoverConfig(
            inference=TINY.inference if inference is None else inference, n_classes=n_classes
        )
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, pixels: Tensor) -> Maps:
        return Maps(*self.answer(pixels))


def one_hot(classes: Tensor, n_classes: int = 5, sure: float = 20.0) -> Tensor:
    """Logits ``(B, 1 + C, H, W)`` that are sure of the class ids ``(B, H, W)``."""
    return sure * nn.functional.one_hot(classes, 1 + n_classes).permute(0, 3, 1, 2).float()


def constant(class_id: int, hv: tuple[float, float] = (0.0, 0.0)) -> Callable:
    """Everywhere the same class and offsets."""

    def answer(pixels: Tensor) -> tuple[Tensor, Tensor]:
        shape = (pixels.shape[0], *pixels.shape[-2:])
        offsets = torch.tensor(hv)[None, :, None, None].expand(-1, -1, *shape[1:])
        return one_hot(torch.full(shape, class_id)), offsets.expand(shape[0], -1, -1, -1)

    return answer


def blobs(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """What is dark is a nucleus; red is 10 in one of class 1, 50 in one of class 5."""
    shift = normalise(torch.zeros(1, 3, 1, 1))
    rgb = (pixels - shift) / (normalise(torch.ones(1, 3, 1, 1)) - shift) * 255
    dark = rgb[:, 1] < 120
    classes = torch.where(dark, (rgb[:, 0] / 10).round().clamp(1, 5), 0).long()
    hv = np.zeros((len(rgb), 2, *rgb.shape[-2:]), np.float32)
    for picture, maps in zip(dark.numpy(), hv, strict=True):
        labels = np.zeros(picture.shape, np.int32)
        n = ndimage.label(picture, output=labels)
        centres = np.array([(0, 0), *ndimage.center_of_mass(picture, labels, range(1, n + 1))])
        y, x = centres[labels].transpose(2, 0, 1)
        rows, columns = np.indices(picture.shape)
        maps[:] = np.stack([columns - x, rows - y]) / 12.56 * picture
    return one_hot(classes), torch.from_numpy(hv).clamp(-1, 1)


def discs(
    shape: tuple[int, int],
    centres: Sequence[tuple[float, float]],
    radius: float,
    classes: Sequence[int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """A picture ``(H, W, 3)`` uint8 that `blobs` understands, and its labels 1..n."""
    rows, columns = np.indices(shape) + 0.5
    rgb, labels = np.full((*shape, 3), BACKGROUND, np.uint8), np.zeros(shape, np.int32)
    for i, (y, x) in enumerate(centres):
        inside = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
        rgb[inside] = (10 * (2 if classes is None else classes[i]), 40, 90)
        labels[inside] = i + 1
    return rgb, labels


def painted(nuclei: Any, shape: tuple[int, int]) -> np.ndarray:
    """How many nuclei cover each pixel; boxes that leave the tile fail."""
    count = np.zeros(shape, int)
    for (y0, x0, y1, x1), mask in zip(nuclei.boxes, nuclei.masks, strict=True):
        assert 0 <= y0 < y1 <= shape[0]
        assert 0 <= x0 < x1 <= shape[1]
        count[y0:y1, x0:x1] += mask
    return count


def timm_state(trunk: nn.Module) -> dict[str, Tensor]:
    """The tensors of a trunk under the names and in the packing of timm, with a last norm."""
    own = trunk.state_dict()
    state = {
        "cls_token": own["embeddings.cls_token"],
        "reg_token": own["embeddings.register_tokens"],
        "pos_embed": own["embeddings.position_embeddings"][:, 1:],
        "patch_embed.proj.weight": own["embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": own["embeddings.patch_embeddings.projection.bias"],
        "norm.weight": torch.ones(own["embeddings.cls_token"].shape[-1]),
        "norm.bias": torch.zeros(own["embeddings.cls_token"].shape[-1]),
    }
    depth = 1 + max(int(n.split(".")[2]) for n in own if n.startswith("encoder.layer."))
    for i in range(depth):
        theirs, ours = f"blocks.{i}.", f"encoder.layer.{i}."
        for kind in ("weight", "bias"):
            parts = [own[f"{ours}attention.{n}_proj.{kind}"] for n in "qkv"]
            state[f"{theirs}attn.qkv.{kind}"] = torch.cat(parts)
            state[f"{theirs}attn.proj.{kind}"] = own[f"{ours}attention.o_proj.{kind}"]
            packed = [own[f"{ours}mlp.{n}_proj.{kind}"] for n in ("gate", "up")]
            state[f"{theirs}mlp.fc1.{kind}"] = torch.cat(packed)
            state[f"{theirs}mlp.fc2.{kind}"] = own[f"{ours}mlp.down_proj.{kind}"]
            for norm in ("norm1", "norm2"):
                state[f"{theirs}{norm}.{kind}"] = own[f"{ours}{norm}.{kind}"]
        for n in (1, 2):
            state[f"{theirs}ls{n}.gamma"] = own[f"{ours}layer_scale{n}.lambda1"]
    return {name: value.clone() for name, value in state.items()}
