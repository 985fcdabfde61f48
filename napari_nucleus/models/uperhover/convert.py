"""Weights of other programs into UperHoVer: UNI2-h's encoder as timm names it, and whole models.

UNI2-h is a flat timm state: ``blocks.N.attn.qkv``, ``mlp.fc1`` with gate and value packed, a
positional embedding without the class token's. Of whole models no layout is published; parts are
known by their structure: an encoder by its blocks, UperNet heads by their layers (the one with a
row for each class, the one with two), projections by their shapes.
"""

from __future__ import annotations

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
_ANCHOR = "blocks.0.attn.qkv.weight"
_HEAD_ANCHOR = "psp_modules.0.1.conv.weight"


def trunk_of_timm(
    state: dict[str, Tensor], config: EncoderConfig
) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Return a timm vision transformer's tensors under the names of the trunk.

    Returns
    -------
    The tensors, the names of the state that have no place, and the names that were brought to
    another grid.
    """
    trunk: dict[str, Tensor] = {}
    surplus, reshaped = [], []
    for name, value in state.items():
        if name.startswith("blocks."):
            _, number, rest = name.split(".", 2)
            trunk |= _block(f"encoder.layer.{number}.", rest, value, surplus, name)
        elif name == "cls_token":
            trunk["embeddings.cls_token"] = value
        elif name == "reg_token":
            trunk["embeddings.register_tokens"] = value
        elif name.startswith("patch_embed.proj."):
            trunk[f"embeddings.patch_embeddings.projection.{name.rsplit('.', 1)[1]}"] = value
        elif name == "pos_embed":
            side = config.image_size // config.patch_size
            positions = _positions(value, side)
            if positions.shape[1] != value.shape[1] + 1:
                reshaped.append("embeddings.position_embeddings")
            trunk["embeddings.position_embeddings"] = positions
        else:
            surplus.append(name)
    return trunk, surplus, reshaped


def _block(
    begin: str, rest: str, value: Tensor, surplus: list[str], name: str
) -> dict[str, Tensor]:
    part, kind = rest.rsplit(".", 1)
    if part in _BLOCK:
        return {f"{begin}{_BLOCK[part]}.{kind}": value}
    if part == "attn.qkv":
        names = ("q_proj", "k_proj", "v_proj")
        return {
            f"{begin}attention.{n}.{kind}": v for n, v in zip(names, value.chunk(3), strict=True)
        }
    if part == "mlp.fc1":
        gate, up = value.chunk(2)
        return {f"{begin}mlp.gate_proj.{kind}": gate, f"{begin}mlp.up_proj.{kind}": up}
    if part in ("ls1", "ls2"):
        return {f"{begin}layer_scale{part[2]}.lambda1": value}
    surplus.append(name)
    return {}


def _positions(value: Tensor, side: int) -> Tensor:
    """Return ``(1, 1 + side², dim)`` of a timm embedding ``(1, n², dim)``; the class token's is 0.

    An embedding that has the class token's in front keeps it.
    """
    n = round((value.shape[1]) ** 0.5)
    first = value.new_zeros(1, 1, value.shape[2])
    if n * n != value.shape[1]:
        first, value = value[:, :1], value[:, 1:]
        n = round(value.shape[1] ** 0.5)
    if n != side:
        grid = value.reshape(1, n, n, -1).permute(0, 3, 1, 2)
        grid = F.interpolate(
            grid.float(), (side, side), mode="bicubic", align_corners=False, antialias=True
        )
        value = grid.to(value.dtype).permute(0, 2, 3, 1).reshape(1, side * side, -1)
    return torch.cat([first, value], dim=1)


def load_encoder(network: UperHover, file: Path) -> LoadReport:
    """Load UNI2-h's weights, or another timm encoder of the configured size, into the trunk.

    Raises
    ------
    WeightsError
        If the file is not readable or holds less than 95 % of the encoder.
    """
    state = read_checkpoint(file)
    prefix = _prefix_of(state, _ANCHOR)
    if prefix is None:
        raise WeightsError(f"{file.name}: holds no vision transformer as timm names it.")
    inner = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    trunk, surplus, reshaped = trunk_of_timm(inner, network.config.encoder)
    mask = network.encoder.trunk.state_dict()["embeddings.mask_token"]
    trunk.setdefault("embeddings.mask_token", mask)
    return load_into(network.encoder.trunk, trunk, file, surplus, reshaped)


def load_checkpoint(network: UperHover, file: Path) -> LoadReport:
    """Load a whole model: with our names, or known by the structure of its parts.

    Raises
    ------
    WeightsError
        If the file is not readable, a part is missing, or less than 95 % of the tensors are there.
    """
    state = read_checkpoint(file)
    if any(name.startswith("encoder.trunk.") for name in state):
        return load_into(network, state, file)
    prefix = _prefix_of(state, _ANCHOR)
    if prefix is None:
        raise WeightsError(f"{file.name}: holds no vision transformer as timm names it.")
    heads = _heads(state, network, file)
    projections = _projections(state, network.config.encoder, file)
    inside = {
        k.removeprefix(prefix): v
        for k, v in state.items()
        if k.startswith(prefix) and k not in heads and k not in projections
    }
    trunk, surplus, reshaped = trunk_of_timm(inside, network.config.encoder)
    named = {f"encoder.trunk.{k}": v for k, v in trunk.items()}
    named |= {new: state[old] for old, new in {**heads, **projections}.items()}
    # The token of masked patches is never looked at.
    mask = "encoder.trunk.embeddings.mask_token"
    named.setdefault(mask, network.state_dict()[mask])
    others = [k for k in state if not k.startswith(prefix) and k not in heads | projections]
    return load_into(
        network,
        named,
        file,
        [*(prefix + k for k in surplus), *others],
        [f"encoder.trunk.{k}" for k in reshaped],
    )


def _prefix_of(state: dict[str, Tensor], anchor: str) -> str | None:
    """Return what stands before ``anchor`` in the one name that ends with it."""
    return next((n.removesuffix(anchor) for n in state if n.endswith(anchor)), None)


def _heads(state: dict[str, Tensor], network: UperHover, file: Path) -> dict[str, str]:
    """Return our name of each tensor of the two heads."""
    rows = {1 + network.config.n_classes: "classes", 2: "hv"}
    found: dict[str, str] = {}
    seen = set()
    for name in [n for n in state if n.endswith(_HEAD_ANCHOR)]:
        prefix = name.removesuffix(_HEAD_ANCHOR)
        classifier = state.get(f"{prefix}classifier.weight")
        head = None if classifier is None else rows.get(classifier.shape[0])
        if head is None:
            raise WeightsError(
                f"{file.name}: the head {prefix!r} gives neither {' nor '.join(map(str, rows))} "
                "maps; these weights have other classes."
            )
        seen.add(head)
        found |= {
            k: f"{head}.decode_head.{k.removeprefix(prefix)}" for k in state if k.startswith(prefix)
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
