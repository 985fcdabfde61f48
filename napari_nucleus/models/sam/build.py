"""Makes a weights file of ours from the user's SAM, and a predictor from that file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from napari_nucleus.errors import ModelError, WeightsError
from napari_nucleus.models.api import ModelInfo
from napari_nucleus.models.checkpoints import LoadReport
from napari_nucleus.models.configuration import from_plain
from napari_nucleus.models.devices import resolve_device
from napari_nucleus.models.sam.config import SamInference
from napari_nucleus.models.sam.convert import load_checkpoint
from napari_nucleus.models.sam.network import SamNetwork
from napari_nucleus.models.sam.predictor import SamSegmenter
from napari_nucleus.models.sam.presets import PRESETS, SamPreset
from napari_nucleus.models.weights import (
    check_system,
    digest_of,
    fill,
    read_weights,
    write_weights,
)

__all__ = ["SYSTEM", "adopt_as", "adopt_checkpoint", "load_predictor"]

SYSTEM = "sam"


def adopt_checkpoint(
    name: str, file: Path, out: Path, class_order: tuple[int, ...] = ()
) -> LoadReport:
    """Write the user's weights of a published model as a file of ours.

    Parameters
    ----------
    name
        One of `PRESETS`.
    file
        A checkpoint as the model's authors offer it, or a fine-tuned one of the same layout.
    out
        Our weights file.
    class_order
        These models have no classes: must be empty.

    Raises
    ------
    ModelError
        If a class order is given.
    WeightsError
        If the file cannot be read, is another model's, lacks anything, or has the name of a
        published file and other contents.
    """
    return adopt_as(PRESETS[name], name, file, out, class_order)


def adopt_as(
    preset: SamPreset, name: str, file: Path, out: Path, class_order: tuple[int, ...] = ()
) -> LoadReport:
    """Write a checkpoint of any size as a file of the model ``name``; see `adopt_checkpoint`."""
    if class_order:
        raise ModelError(f"{name} has no classes; leave --class-order out.")
    network = _empty(preset.config)
    report = load_checkpoint(network, file)
    digest = digest_of(file)
    published = preset.published.get(file.name, digest)
    if digest != published:
        raise WeightsError(
            f"{file}: its SHA-256 begins with {digest[:16]}, the published file's with "
            f"{published[:16]}; fetch it again, or give weights of your own another name."
        )
    header = {
        "system": SYSTEM,
        "model": name,
        "config": network.sam.config.to_dict(),
        "inference": asdict(preset.inference),
        "provenance": {"adopted": file.name, "sha256": digest},
    }
    write_weights(out, network.tensors(), header, torch.float32)
    return report


def load_predictor(info: ModelInfo, file: Path, device: str) -> SamSegmenter:
    """Load a predictor; the file's header says the network's configuration.

    Raises
    ------
    ModelError, WeightsError
        If there is no such device; if the file is missing, damaged, or holds another model.
    """
    on = resolve_device(device)
    weights = read_weights(file)
    check_system(weights, file, SYSTEM)
    if weights.header.get("model") != info.name:
        raise WeightsError(
            f"{file}: weights of {weights.header.get('model')}, not {info.name}; "
            f"adopt yours: napari-nucleus adopt {info.name} FILE."
        )
    try:
        settings: SamInference = from_plain(SamInference, weights.header["inference"])
        network = _empty(weights.header["config"])
    except Exception as error:  # the library has errors of its own for values it does not take
        reason = " ".join(str(error).split())
        raise WeightsError(f"{file}: its configuration is of another version: {reason}.") from error
    fill(network.sam, weights.tensors, file.name)
    return SamSegmenter(network.to(on), info, weights.digest, settings)


def _empty(config: dict[str, Any]) -> SamNetwork:
    """Return a network whose weights are not set; random ones would take seconds to make."""
    with torch.device("meta"):
        network = SamNetwork(config)
    return network.to_empty(device="cpu")
