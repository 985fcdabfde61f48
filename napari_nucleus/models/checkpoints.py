"""Checkpoints of other programs: read without running their code, their names matched to ours."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from napari_nucleus.errors import WeightsError

__all__ = ["LoadReport", "load_into", "read_checkpoint", "without_prefixes"]

WRAPPERS = ("model", "state_dict", "model_state", "desc")
PREFIXES = ("module.", "sam.", "model.")

LEAST = 0.95
"""Share of the tensors of each part of a module that a checkpoint must hold."""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What became of the names of a checkpoint and of a module, each sorted.

    ``loaded`` and ``missing`` are names of the module, ``unexpected`` of the checkpoint;
    ``reshaped`` were loaded in another grid.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...] = ()


def read_checkpoint(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors or PyTorch file, without wrappers and common prefixes.

    PyTorch files are read with ``weights_only``: they can hold no code.

    Raises
    ------
    WeightsError
        If there is no such file, or it holds no tensors by name.
    """
    if not file.is_file():
        raise WeightsError(f"{file}: no such weights file.")
    try:
        if file.suffix == ".safetensors":
            found: Any = load_file(file)
        else:
            found = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{file}: holds more than tensors, or is damaged; ask for a file of weights alone."
        ) from error
    except Exception as error:  # what a reader raises on damaged bytes is of any kind
        raise WeightsError(f"{file}: not a complete weights file ({error}).") from error
    state = _unwrapped(found)
    if not state:
        raise WeightsError(f"{file}: holds no tensors by name.")
    return without_prefixes(state)


def without_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state without prefixes that all its names have."""
    for prefix in PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            return without_prefixes({k.removeprefix(prefix): v for k, v in state.items()})
    return state


def load_into(
    module: nn.Module,
    state: dict[str, Tensor],
    file: Path,
    unexpected: Iterable[str] = (),
    reshaped: Iterable[str] = (),
) -> LoadReport:
    """Load a state with the module's names; few may be missing.

    Raises
    ------
    WeightsError
        If a shape does not fit, a value is not finite, or less than 95 % of the tensors of one of
        the module's parts are there.
    """
    own = module.state_dict()
    shared = {name: value for name, value in state.items() if name in own}
    missing = sorted(set(own) - set(shared))
    for name, value in shared.items():
        if value.shape != own[name].shape:
            raise WeightsError(
                f"{file.name}: {name} is {tuple(value.shape)}, the model's "
                f"{tuple(own[name].shape)}; these weights are another model's."
            )
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise WeightsError(f"{file.name}: {name} holds NaN or infinity; the file is damaged.")
    _check_complete(set(own), set(shared), file)
    module.load_state_dict(
        {name: value.to(own[name].dtype) for name, value in shared.items()}, strict=False
    )
    surplus = sorted({*unexpected, *(set(state) - set(own))})
    return LoadReport(
        tuple(sorted(shared)), tuple(missing), tuple(surplus), tuple(sorted(reshaped))
    )


def _check_complete(own: set[str], shared: set[str], file: Path) -> None:
    """Refuse a state that lacks much of a part; counts of batches are nothing to lack."""
    needed = {name for name in own if not name.endswith("num_batches_tracked")}
    for part in sorted({name.split(".")[0] for name in needed}):
        names = {name for name in needed if name.split(".")[0] == part}
        if len(names & shared) < LEAST * len(names):
            missing = sorted(names - shared)
            raise WeightsError(
                f"{file.name}: holds {len(names & shared)} of the {len(names)} tensors that the "
                f"model's {part} needs; it lacks {', '.join(missing[:3])}"
                f"{' and others' if len(missing) > 3 else ''}."
            )


def _unwrapped(found: Any, depth: int = len(WRAPPERS)) -> dict[str, Tensor]:
    """Return the tensors in the innermost wrapper, beside which others may count steps."""
    if not isinstance(found, dict) or not depth:
        return {}
    inside = (_unwrapped(found.get(w), depth - 1) for w in WRAPPERS)
    own = {k: v for k, v in found.items() if isinstance(k, str) and isinstance(v, Tensor)}
    return next((state for state in inside if state), own)
