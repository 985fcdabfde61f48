"""Models by name: what there is, what it can do, and how to load it.

Describing a model needs no torch; loading it does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.errors import ModelError
from napari_nucleus.models.api import ModelInfo

__all__ = ["DEFAULT_MODEL", "card", "describe", "load_model", "names", "weights_file"]

DEFAULT_MODEL = "uninuc-nano"


@dataclass(frozen=True, slots=True)
class _Entry:
    """A model of the zoo: what is said of it, its folder, and what loads it."""

    info: ModelInfo
    folder: str
    load: Callable[[ModelInfo, Path, str], Any]


def _load_uninuc(info: ModelInfo, weights: Path, device: str) -> Any:
    from napari_nucleus.models.uninuc.build import load_predictor

    return load_predictor(info, weights, device)


def _load_uperhover(info: ModelInfo, weights: Path, device: str) -> Any:
    from napari_nucleus.models.uperhover.build import load_predictor

    return load_predictor(info, weights, device)


_ZOO: Mapping[str, _Entry] = {
    "uninuc-nano": _Entry(
        ModelInfo(
            name="uninuc-nano",
            title="UniNuc nano: every nucleus, and one-click corrections, on any laptop",
            capabilities=("automatic", "promptable"),
            classes=PANNUKE,
            working_mpp=0.25,
            tile=512,
            halo=32,
            click_tile=256,
            licence="BSD-3-Clause",
            source="bundled",
            limits=(
                "Its training data tell too little of neoplastic and benign epithelium: "
                "read both as epithelial."
            ),
            not_told_apart=(1, 5),
        ),
        "uninuc",
        _load_uninuc,
    ),
    "uperhover-nano": _Entry(
        ModelInfo(
            name="uperhover-nano",
            title="UperHoVer nano: every nucleus with its class, parted by a watershed",
            capabilities=("automatic",),
            classes=PANNUKE,
            working_mpp=0.25,
            tile=640,
            halo=32,
            click_tile=640,
            licence="BSD-3-Clause",
            source="bundled",
            limits=(
                "Its training data tell too little of neoplastic and benign epithelium: "
                "read both as epithelial."
            ),
            not_told_apart=(1, 5),
        ),
        "uperhover",
        _load_uperhover,
    ),
}


def names() -> tuple[str, ...]:
    """Return the names of all models."""
    return tuple(_ZOO)


def describe(name: str, weights: Path | None = None) -> ModelInfo:
    """Return what is known of a model without loading it.

    Raises
    ------
    ModelError
        If there is no model of that name.
    """
    info = _entry(name).info
    return info if weights is None else replace(info, source=str(weights))


def card(name: str) -> str:
    """Return a model's card: data, licences, recipe, scores, what it is bad at (Markdown).

    Raises
    ------
    ModelError
        If there is no model of that name, or it came without a card.
    """
    file = _resource(_entry(name), "card.md")
    try:
        return file.read_text("utf-8")
    except FileNotFoundError as error:
        raise ModelError(
            f"{file}: {name} came without its card; install the package anew."
        ) from error


def load_model(name: str, device: str = "auto", weights: str | Path | None = None) -> Any:
    """Load a model onto a device.

    Parameters
    ----------
    name
        One of `names`.
    device
        ``"auto"`` (a CUDA GPU if there is one), ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
    weights
        A file in place of the bundled weights.

    Raises
    ------
    ModelError, WeightsError
        If the model is unknown, the device is not there, or the weights do not fit.
    """
    entry = _entry(name)
    file = Path(weights) if weights is not None else weights_file(name)
    return entry.load(describe(name, None if weights is None else Path(weights)), file, device)


def weights_file(name: str) -> Path:
    """Return where the bundled weights of a model are."""
    return _resource(_entry(name), "nano.safetensors")


def _entry(name: str) -> _Entry:
    if name not in _ZOO:
        raise ModelError(f"No model {name!r}; there is {', '.join(names())}.")
    return _ZOO[name]


def _resource(entry: _Entry, name: str) -> Path:
    return Path(str(resources.files("napari_nucleus.models") / entry.folder / name))
