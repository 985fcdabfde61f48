"""Makes a weights file of ours from the user's SAM3, and a predictor from that file.

SAM3's weights are gated and never bundled. The user's folder holds ``model.safetensors``, its
``config.json`` and ``tokenizer.json``; our file holds all three.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast, Sam3Config

from napari_nucleus.errors import ModelError, WeightsError
from napari_nucleus.models.api import ModelInfo
from napari_nucleus.models.checkpoints import LoadReport, load_into, read_checkpoint
from napari_nucleus.models.devices import resolve_device
from napari_nucleus.models.promptgroup.config import Sam3Inference
from napari_nucleus.models.promptgroup.sam3 import Sam3Network
from napari_nucleus.models.promptgroup.sam3_predictor import Sam3Predictor
from napari_nucleus.models.weights import check_system, fill, read_weights, write_weights

__all__ = ["SYSTEM", "adopt_checkpoint", "load_predictor", "restore_network", "save_network"]

SYSTEM = "sam3"

TRACKING = ("tracker_model.", "tracker_neck.")
"""Parts of video models, which an image has no use for."""


def adopt_checkpoint(file: Path, out: Path, class_order: tuple[int, ...] = ()) -> LoadReport:
    """Write the user's SAM3 as a file of ours.

    Parameters
    ----------
    file
        ``model.safetensors`` of `transformers`' layout; ``tokenizer.json`` must lie beside it, and
        ``config.json`` where its sizes are not SAM3's.
    out
        Our weights file.
    class_order
        SAM3 has no classes: must be empty.

    Raises
    ------
    ModelError
        If a class order is given.
    WeightsError
        If a file is missing, cannot be read, or is another model's.
    """
    if class_order:
        raise ModelError("SAM3 has no classes; leave --class-order out.")
    if file.suffix != ".safetensors":
        raise WeightsError(
            f"{file}: SAM3 is taken from safetensors alone; the original program's file has other "
            "names."
        )
    text = _beside(file, "tokenizer.json").read_text("utf-8")
    network = Sam3Network(_config_of(file), _tokenizer(text, file))
    state, tracking = _detector(read_checkpoint(file))
    report = load_into(
        network, {f"sam3.{name}": value for name, value in state.items()}, file, tracking
    )
    if report.missing:
        raise WeightsError(
            f"{file.name}: lacks {report.missing[0]} and {len(report.missing) - 1} more; "
            "a whole model has all."
        )
    save_network(network, text, out, {"adopted": file.name})
    return report


def save_network(
    network: Sam3Network, tokenizer: str, file: Path, provenance: dict[str, Any]
) -> None:
    """Write a SAM3 with its configuration and the text of its ``tokenizer.json``."""
    header = {
        "system": SYSTEM,
        "config": network.sam3.config.to_dict(),
        "tokenizer": tokenizer,
        "provenance": provenance,
    }
    write_weights(file, network.state_dict(), header, torch.float32)


def restore_network(file: Path) -> tuple[Sam3Network, str]:
    """Return the network that `save_network` wrote, and the digest of its file.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, or holds another model.
    """
    weights = read_weights(file)
    check_system(weights, file, SYSTEM)
    try:
        config = Sam3Config.from_dict(weights.header["config"])
        network = Sam3Network(config, _tokenizer(weights.header["tokenizer"], file))
    except WeightsError:
        raise
    except Exception as error:  # the library has errors of its own for values it does not take
        reason = " ".join(str(error).split())
        raise WeightsError(f"{file}: its configuration is of another version: {reason}.") from error
    fill(network, weights.tensors, file.name)
    return network, weights.digest


def load_predictor(info: ModelInfo, file: Path, device: str) -> Sam3Predictor:
    """Load a predictor.

    Raises
    ------
    ModelError, WeightsError
        If there is no such device; if the file is missing, damaged, or holds another model.
    """
    on = resolve_device(device)
    network, digest = restore_network(file)
    return Sam3Predictor(network.to(on), info, digest, Sam3Inference())


def _detector(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Return the detector's tensors, and the names of those that track objects in videos."""
    tracking = [name for name in state if name.startswith(TRACKING)]
    inner = {name.removeprefix("detector_model."): value for name, value in state.items()}
    return {n: v for n, v in inner.items() if not n.startswith(TRACKING)}, tracking


def _config_of(file: Path) -> Sam3Config:
    beside = file.with_name("config.json")
    if not beside.is_file():
        return Sam3Config()
    try:
        values = json.loads(beside.read_text("utf-8"))
        return Sam3Config.from_dict(values.get("detector_config") or values)
    except Exception as error:  # the library has errors of its own for values it does not take
        reason = " ".join(str(error).split())
        raise WeightsError(f"{beside}: no configuration of SAM3 ({reason}).") from error


def _beside(file: Path, name: str) -> Path:
    beside = file.with_name(name)
    if not beside.is_file():
        raise WeightsError(f"{beside}: not there; SAM3 needs it to read texts.")
    return beside


def _tokenizer(text: str, file: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of the text of a ``tokenizer.json``; texts are padded with its end."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        path.write_text(text, "utf-8")
        try:
            tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(path))
        except Exception as error:  # what the library raises on a damaged file is of any kind
            raise WeightsError(f"{file}: its tokenizer cannot be read ({error}).") from error
    tokens = tokenizer.get_vocab()
    pad = "<|endoftext|>" if "<|endoftext|>" in tokens else next(iter(tokens))
    tokenizer.pad_token = pad
    return tokenizer
