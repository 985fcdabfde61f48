"""Weights on disk: safetensors with a header that says what they are.

The header (``metadata`` of safetensors, one JSON string under ``napari_nucleus``) names the preset,
its whole configuration and what inference needs of the training data. Tensors are stored in half
precision, other programs' in single precision, and computed with in single precision.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from napari_nucleus.core.stain import LabStatistics
from napari_nucleus.errors import WeightsError

__all__ = [
    "WeightsFile",
    "check_system",
    "digest_of",
    "fill",
    "has_header",
    "read_weights",
    "stain_header",
    "training_stain_of",
    "write_weights",
]

_KEY = "napari_nucleus"


@dataclass(frozen=True, eq=False)
class WeightsFile:
    """The contents of a weights file; ``digest`` is the SHA-256 of the file."""

    header: dict[str, Any]
    tensors: dict[str, Tensor]
    digest: str


def read_weights(file: Path) -> WeightsFile:
    """Read a weights file.

    Raises
    ------
    WeightsError
        If there is no such file, or it is not one of ours.
    """
    if not file.is_file():
        raise WeightsError(f"{file}: no such weights file.")
    try:
        digest = digest_of(file)
        with safe_open(file, "pt") as handle:
            metadata = handle.metadata() or {}
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        header = json.loads(metadata[_KEY])
        if not isinstance(header, dict):
            raise ValueError(f"its header is {header!r}")
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"{file}: not a complete safetensors file ({error}); fetch it again."
        ) from error
    except KeyError as error:
        raise WeightsError(
            f"{file}: a safetensors file without a napari-nucleus header; "
            "it holds weights of another program."
        ) from error
    return WeightsFile(header, tensors, digest)


def digest_of(file: Path) -> str:
    """Return the SHA-256 of a file in hex, read piece by piece."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def has_header(file: Path) -> bool:
    """Return whether a file is one of ours; others are left to `checkpoints`.

    Raises
    ------
    WeightsError
        If there is no such file.
    """
    if not file.is_file():
        raise WeightsError(f"{file}: no such weights file.")
    try:
        with safe_open(file, "pt") as handle:
            return _KEY in (handle.metadata() or {})
    except (SafetensorError, OSError):
        return False


def write_weights(
    file: Path,
    state: dict[str, Tensor],
    header: dict[str, Any],
    precision: torch.dtype = torch.float16,
) -> None:
    """Write tensors in a precision with their header, whole or not at all."""
    stored = {
        name: (value.to(precision) if value.is_floating_point() else value).contiguous().cpu()
        for name, value in state.items()
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.part")
    save_file(stored, part, {_KEY: json.dumps(header)})
    os.replace(part, file)


def fill(module: nn.Module, tensors: dict[str, Tensor], name: str) -> None:
    """Load tensors into a module of the same names and shapes, in single precision.

    Raises
    ------
    WeightsError
        Naming the keys that do not fit.
    """
    own = module.state_dict()
    missing = sorted(set(own) - set(tensors))
    surplus = sorted(set(tensors) - set(own))
    reshaped = sorted(k for k in set(own) & set(tensors) if own[k].shape != tensors[k].shape)
    for keys, what in (
        (missing, "lack"),
        (surplus, "have, unknown to the model,"),
        (reshaped, "have in another shape"),
    ):
        if keys:
            shown = ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
            raise WeightsError(f"{name}: these weights {what} {shown}; they are another model's.")
    for key, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise WeightsError(f"{name}: {key} holds NaN or infinity; the file is damaged.")
    module.load_state_dict({k: v.to(own[k].dtype) for k, v in tensors.items()})


def check_system(weights: WeightsFile, file: Path, system: str) -> None:
    """Refuse weights of another system than the one of that name.

    Raises
    ------
    WeightsError
        Naming whose they are.
    """
    found = weights.header.get("system", "an unknown model")
    if found != system:
        raise WeightsError(f"{file}: weights of {found!r}, not {system!r}.")


def training_stain_of(weights: WeightsFile, file: Path) -> LabStatistics | None:
    """Return the LAB statistics of the training data, if the header states them.

    Raises
    ------
    WeightsError
        If what it states is no mean and deviation of three channels.
    """
    stain = weights.header.get("training_stain")
    if stain is None:
        return None
    try:
        mean, std = (tuple(float(v) for v in stain[key]) for key in ("mean", "std"))
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{file}: its training stain {stain!r} is no mean and std.") from error
    if len(mean) != 3 or len(std) != 3:
        raise WeightsError(f"{file}: its training stain {stain!r} is not of three channels.")
    return LabStatistics(mean, std)


def stain_header(stain: LabStatistics | None) -> dict[str, Any]:
    """Return what `training_stain_of` reads back from a header."""
    if stain is None:
        return {}
    return {"training_stain": {"mean": stain.mean, "std": stain.std}}
