"""Builds a UniNuc predictor from a weights file, and a weights file from a trained network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_nucleus.core.stain import LabStatistics
from napari_nucleus.errors import WeightsError
from napari_nucleus.models.api import ModelInfo
from napari_nucleus.models.devices import resolve_device
from napari_nucleus.models.uninuc.config import UniNucConfig
from napari_nucleus.models.uninuc.network import UniNuc
from napari_nucleus.models.uninuc.predictor import UniNucPredictor
from napari_nucleus.models.weights import (
    check_system,
    fill,
    read_weights,
    stain_header,
    training_stain_of,
    write_weights,
)

__all__ = ["load_predictor", "restore_network", "save_network"]

QUERIES = "detector.query_feat.weight"
PROPOSALS = "detector.proposal_heads."


def load_predictor(info: ModelInfo, file: Path, device: str) -> UniNucPredictor:
    """Load a predictor; the file's header says the network's configuration.

    Raises
    ------
    ModelError, WeightsError
        If there is no such device; if the file is missing, damaged, or holds another model.
    """
    on = resolve_device(device)
    weights = read_weights(file)
    check_system(weights, file, "uninuc")
    try:
        network = UniNuc(UniNucConfig.from_dict(weights.header["config"]))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise WeightsError(f"{file}: its configuration is of another version: {error}.") from error
    fill(network, weights.tensors, file.name)
    return UniNucPredictor(network.to(on), info, weights.digest, training_stain_of(weights, file))


def restore_network(file: Path, config: UniNucConfig) -> UniNuc:
    """Return a network to train further from the weights that `save_network` wrote.

    Every query group of ``config`` starts as the one that was written.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, or of another model or configuration.
    """
    tensors = dict(read_weights(file).tensors)
    if QUERIES not in tensors:
        raise WeightsError(f"{file}: holds no UniNuc; training can only go on from one.")
    tensors[QUERIES] = tensors[QUERIES].repeat(config.detector.groups, 1)
    first = f"{PROPOSALS}0."
    for name in [n for n in tensors if n.startswith(first)]:
        for group in range(1, config.detector.groups):
            tensors[f"{PROPOSALS}{group}.{name.removeprefix(first)}"] = tensors[name]
    network = UniNuc(config)
    fill(network, tensors, file.name)
    return network


def save_network(
    network: UniNuc, file: Path, training_stain: LabStatistics | None, provenance: dict[str, Any]
) -> None:
    """Write a network with all that inference needs; ``provenance`` is kept in the header.

    Of the detector's query groups only the first is written: the others only taught it.
    """
    detector = replace(network.config.detector, groups=1)
    config = replace(network.config, detector=detector)
    single = UniNuc(config).state_dict()
    state = {
        name: value[: len(single[name])] if name == QUERIES else value
        for name, value in network.state_dict().items()
        if name in single
    }
    header: dict[str, Any] = {
        "system": "uninuc",
        "config": config.to_dict(),
        "provenance": provenance,
    }
    write_weights(file, state, header | stain_header(training_stain))
