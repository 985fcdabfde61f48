"""Which device a model runs on."""

from __future__ import annotations

import torch

from napari_nucleus.errors import ModelError

__all__ = ["device_in_words", "resolve_device"]


def resolve_device(name: str) -> torch.device:
    """Return the torch device for ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.

    Raises
    ------
    ModelError
        If the name is not a device or this machine has none such.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(f"{name!r} is not a device; use auto, cpu, cuda or cuda:N.") from error
    if device.type not in ("cpu", "cuda"):
        raise ModelError(f"Device {name!r} is not supported; use auto, cpu, cuda or cuda:N.")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise ModelError(f"Device {name!r} was asked for, but {count} CUDA devices are usable.")
    return device


def device_in_words(device: torch.device) -> str:
    """Return a device as people know it, such as ``"cpu"`` or the name of a GPU."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)
