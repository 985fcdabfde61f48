"""Weights of other programs into UperHoVer: UNI2-h's encoder as timm names it, and whole models.

UNI2-h is a flat timm state: ``blocks.N.attn.qkv``, ``mlp.fc1`` with gate and value packed, a
positional embedding without the class token's. Of whole models no layout is published; parts are
known by their structure: an encoder by its blocks, UperNet heads by their layers (the one with a
row for each class, the one with two), projections by their shapes.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_nucleus.errors import WeightsError
from napari_nucleus.models.checkpoints import LoadReport, load_into, read_checkpoint
from napari_nucleus.models.uperhover.config import EncoderConfig
from napari_nucleus.models.uperhover.network import UperHover

__all__ = ["load_checkpoint", "load_encoder", "trunk_of_timm"]

_BLOCK = {
    "norm1": "norm1",
    "attn.proj": "attention.o_proj",
    "norm2": "norm2",
    "mlp.fc2": "mlp.down_proj",
}
_IN_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)\.(\w+)")
_ANCHOR = "blocks.0.attn.qkv.weight"
_HEAD_ANCHOR = "psp_modules.0.1.conv.weight"
_HEAD_PARTS = (
    "psp_modules",
    "bottleneck",
    "lateral_convs",
    "fpn_convs",
    "fpn_bottleneck",
    "classifier",
)


def trunk_of_timm(
    state: dict[str, Tensor], config: EncoderConfig, file: Path
) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Return a timm vision transformer's tensors, read from ``file``, under the trunk's names.

    Returns
    -------
    The tensors, the names of the state that have no place, and the names that were brought to
    another grid.

    Raises
    ------
    WeightsError
        If packed layers or the positional embedding cannot be taken apart.
    """
    trunk: dict[str, Tensor] = {}
    surplus, reshaped = [], []
    for name, value in state.items():
        if within := _IN_BLOCK.fullmatch(name):
            number, part, kind = within.groups()
            placed = _block(part, kind, value, f"{file.name}: {name}")
            trunk |= {f"encoder.layer.{number}.{k}": v for k, v in placed.items()}
            if not placed:
                surplus.append(name)
        elif name == "cls_token":
            trunk["embeddings.cls_token"] = value
        elif name == "reg_token":
            trunk["embeddings.register_tokens"] = value
        elif name.startswith("patch_embed.proj."):
            trunk[f"embeddings.patch_embeddings.projection.{name.rsplit('.', 1)[1]}"] = value
        elif name == "pos_embed":
            side = config.image_size // config.patch_size
            positions = "embeddings.position_embeddings"
            trunk[positions], resized = _positions(value, side, f"{file.name}: {name}")
            if resized:
                reshaped.append(positions)
        else:
            surplus.append(name)
    return trunk, surplus, reshaped


def _block(part: str, kind: str, value: Tensor, name: str) -> dict[str, Tensor]:
    """Return what becomes of a block's tensor ``part.kind``; nothing where it has no place."""
    if part in _BLOCK:
        return {f"{_BLOCK[part]}.{kind}": value}
    if part == "attn.qkv":
        parts = _unpacked(value, 3, name)
        return {f"attention.{n}_proj.{kind}": v for n, v in zip("qkv", parts, strict=True)}
    if part == "mlp.fc1":
        gate, up = _unpacked(value, 2, name)
        return {f"mlp.gate_proj.{kind}": gate, f"mlp.up_proj.{kind}": up}
    if part in ("ls1", "ls2"):
        return {f"layer_scale{part[2]}.lambda1": value}
    return {}


def _unpacked(value: Tensor, n: int, name: str) -> tuple[Tensor, ...]:
    if value.ndim == 0 or value.shape[0] % n:
        raise WeightsError(f"{name} is {tuple(value.shape)}, not {n} layers in one.")
    return value.chunk(n)


def _positions(value: Tensor, side: int, name: str) -> tuple[Tensor, bool]:
    """Return ``(1, 1 + side², dim)`` of a timm embedding ``(1, n², dim)``, and whether n differs.

    The class token's position is 0; an embedding that has it in front keeps it.
    """
    tokens = value.shape[1] if value.ndim == 3 and value.shape[0] == 1 else 0
    with_class = math.isqrt(tokens) ** 2 != tokens
    n = math.isqrt(tokens - with_class)
    if not tokens or n * n + with_class != tokens:
        raise WeightsError(f"{name} is {tuple(value.shape)}, no positions of a square grid.")
    first = value[:, :1] if with_class else value.new_zeros(1, 1, value.shape[2])
    value = value[:, with_class:]
    if n != side:
        grid = value.reshape(1, n, n, -1).permute(0, 3, 1, 2)
        grid = F.interpolate(
            grid.float(), (side, side), mode="bicubic", align_corners=False, antialias=True
        )
        value = grid.to(value.dtype).permute(0, 2, 3, 1).reshape(1, side * side, -1)
    return torch.cat([first, value], dim=1), n != side


def load_encoder(network: UperHover, file: Path) -> LoadReport:
    """Load UNI2-h's weights, or another timm encoder of the configured size, into the trunk.

    Raises
    ------
    WeightsError
        If the file is not readable or holds less than 95 % of the encoder.
    """
    state = read_checkpoint(file)
    prefix = _prefix_of_encoder(state, file)
    inner = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    trunk, surplus, reshaped = trunk_of_timm(inner, network.config.encoder, file)
    mask = network.encoder.trunk.state_dict()["embeddings.mask_token"]
    trunk.setdefault("embeddings.mask_token", mask)
    return load_into(network.encoder.trunk, trunk, file, surplus, reshaped)


def load_checkpoint(network: UperHover, file: Path) -> LoadReport:
    """Load a whole model: with our names, or known by the structure of its parts.

    Raises
    ------
    WeightsError
        If the file is not readable, a part is missing or there twice, or less than 95 % of its
        tensors are there.
    """
    state = read_checkpoint(file)
    if any(name.startswith("encoder.trunk.") for name in state):
        return load_into(network, state, file)
    prefix = _prefix_of_encoder(state, file)
    heads = _heads(state, network, file)
    rest = {k: v for k, v in state.items() if k not in heads}
    projections = _projections(rest, network.config.encoder, file)
    inside = {
        k.removeprefix(prefix): v
        for k, v in rest.items()
        if k.startswith(prefix) and k not in projections
    }
    trunk, surplus, reshaped = trunk_of_timm(inside, network.config.encoder, file)
    named = {f"encoder.trunk.{k}": v for k, v in trunk.items()}
    named |= {new: state[old] for old, new in {**heads, **projections}.items()}
    for level, dim in enumerate(network.config.encoder.pyramid_dims):
        named.setdefault(f"encoder.projections.{level}.1.bias", torch.zeros(dim))
    # The token of masked patches is never looked at.
    mask = "encoder.trunk.embeddings.mask_token"
    named.setdefault(mask, network.state_dict()[mask])
    others = [k for k in rest if not k.startswith(prefix) and k not in projections]
    return load_into(
        network,
        named,
        file,
        [*(prefix + k for k in surplus), *others],
        [f"encoder.trunk.{k}" for k in reshaped],
    )


def _prefix_of_encoder(state: dict[str, Tensor], file: Path) -> str:
    """Return what stands before the names of the one vision transformer."""
    found = [n.removesuffix(_ANCHOR) for n in state if n.endswith(_ANCHOR)]
    if not found:
        raise WeightsError(f"{file.name}: holds no vision transformer as timm names it.")
    if len(found) > 1:
        raise WeightsError(
            f"{file.name}: holds several vision transformers ({', '.join(map(repr, found))}); "
            "leave the one that counts."
        )
    return found[0]


def _heads(state: dict[str, Tensor], network: UperHover, file: Path) -> dict[str, str]:
    """Return our name of each tensor of the two heads."""
    rows = {1 + network.config.n_classes: "classes", 2: "hv"}
    found: dict[str, str] = {}
    seen = set()
    for name in [n for n in state if n.endswith(_HEAD_ANCHOR)]:
        prefix = name.removesuffix(_HEAD_ANCHOR)
        classifier = state.get(f"{prefix}classifier.weight")
        head = rows.get(classifier.shape[0]) if classifier is not None and classifier.ndim else None
        if head is None:
            raise WeightsError(
                f"{file.name}: the head {prefix!r} gives neither {' nor '.join(map(str, rows))} "
                "maps; these weights have other classes."
            )
        if head in seen:
            raise WeightsError(f"{file.name}: holds several heads for {head}, such as {prefix!r}.")
        seen.add(head)
        found |= {
            k: f"{head}.decode_head.{k.removeprefix(prefix)}"
            for k in state
            if k.startswith(prefix) and k.removeprefix(prefix).split(".")[0] in _HEAD_PARTS
        }
    lacking = sorted(set(rows.values()) - seen)
    if lacking:
        raise WeightsError(f"{file.name}: holds no UperNet head for {' and '.join(lacking)}.")
    return found


def _projections(state: dict[str, Tensor], config: EncoderConfig, file: Path) -> dict[str, str]:
    """Return our name of each projection's weight and bias, known by their shapes."""
    found: dict[str, str] = {}
    for level, dim in enumerate(config.pyramid_dims):
        shape = (dim, config.dim, 1, 1)
        name = next(
            (n for n, v in state.items() if tuple(v.shape) == shape and n not in found), None
        )
        if name is None:
            raise WeightsError(f"{file.name}: holds no projection of {config.dim} to {dim} maps.")
        found[name] = f"encoder.projections.{level}.1.weight"
        bias = f"{name.removesuffix('weight')}bias"
        if bias in state:
            found[bias] = f"encoder.projections.{level}.1.bias"
    return found
