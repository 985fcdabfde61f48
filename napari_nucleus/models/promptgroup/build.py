"""Builds a text-prompted nano from a weights file, and a weights file from a trained network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_nucleus.core.stain import LabStatistics
from napari_nucleus.errors import WeightsError
from napari_nucleus.models.api import ModelInfo
from napari_nucleus.models.devices import resolve_device
from napari_nucleus.models.promptgroup.config import PromptGroupConfig
from napari_nucleus.models.promptgroup.network import PromptGroup
from napari_nucleus.models.promptgroup.predictor import PromptGroupPredictor
from napari_nucleus.models.weights import (
    check_system,
    fill,
    read_weights,
    stain_header,
    training_stain_of,
    write_weights,
)

__all__ = ["SYSTEM", "load_predictor", "new_network", "restore_network", "save_network"]

SYSTEM = "promptgroup"


def load_predictor(info: ModelInfo, file: Path, device: str) -> PromptGroupPredictor:
    """Load a predictor; the file's header says the network's configuration.

    Raises
    ------
    ModelError, WeightsError
        If there is no such device; if the file is missing, damaged, or holds another model.
    """
    on = resolve_device(device)
    weights = read_weights(file)
    check_system(weights, file, SYSTEM)
    try:
        network = PromptGroup(PromptGroupConfig.from_dict(weights.header["config"]))
    except Exception as error:  # each library has errors of its own for values it does not take
        reason = " ".join(str(error).split())
        raise WeightsError(f"{file}: its configuration is of another version: {reason}.") from error
    fill(network, weights.tensors, file.name)
    stain = training_stain_of(weights, file)
    return PromptGroupPredictor(network.to(on), info, weights.digest, stain)


def new_network(config: PromptGroupConfig, vision: Path) -> PromptGroup:
    """Return a network to train: the encoder and heads of a UperHoVer's weights, all else new.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, or of another configuration.
    """
    network = PromptGroup(config)
    weights = read_weights(vision)
    check_system(weights, vision, "uperhover")
    fill(network.vision, weights.tensors, vision.name)
    return network


def restore_network(file: Path, config: PromptGroupConfig) -> PromptGroup:
    """Return a network to train further from the weights that `save_network` wrote.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, or of another model or configuration.
    """
    weights = read_weights(file)
    check_system(weights, file, SYSTEM)
    network = PromptGroup(config)
    fill(network, weights.tensors, file.name)
    return network


def save_network(
    network: PromptGroup,
    file: Path,
    training_stain: LabStatistics | None,
    provenance: dict[str, Any],
) -> None:
    """Write a network with all that inference needs; ``provenance`` is kept in the header."""
    header = {"system": SYSTEM, "config": network.config.to_dict(), "provenance": provenance}
    write_weights(file, network.state_dict(), header | stain_header(training_stain))
