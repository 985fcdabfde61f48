"""Builds a NuNext nano from its weights and UniNuc's, and a weights file from a trained network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_nucleus.errors import WeightsError
from napari_nucleus.models import zoo
from napari_nucleus.models.api import ModelInfo
from napari_nucleus.models.devices import resolve_device
from napari_nucleus.models.nunext.config import NuNextConfig
from napari_nucleus.models.nunext.network import NuNext
from napari_nucleus.models.nunext.predictor import NuNextPredictor
from napari_nucleus.models.uninuc.predictor import UniNucPredictor
from napari_nucleus.models.weights import check_system, fill, read_weights, write_weights

__all__ = ["EYES", "SYSTEM", "load_predictor", "new_network", "restore_network", "save_network"]

SYSTEM = "nunext"

EYES = "uninuc-nano"
"""The model through whose encoder the nano looks."""


def load_predictor(info: ModelInfo, file: Path, device: str) -> NuNextPredictor:
    """Load a predictor; the file's header says the network's configuration.

    Raises
    ------
    ModelError, WeightsError
        If there is no such device; if the file is missing, damaged, or holds another model, or one
        that looked through other weights of `EYES`.
    """
    on = resolve_device(device)
    eyes: UniNucPredictor = zoo.load_model(EYES, device)
    weights = read_weights(file)
    check_system(weights, file, SYSTEM)
    if weights.header.get("eyes") != eyes.digest:
        raise WeightsError(
            f"{file}: learned to look through other weights of {EYES} than those here."
        )
    try:
        config = NuNextConfig.from_dict(weights.header["config"])
        network = NuNext(config, eyes.network.segmenter)
    except Exception as error:  # each library has errors of its own for values it does not take
        reason = " ".join(str(error).split())
        raise WeightsError(f"{file}: its configuration is of another version: {reason}.") from error
    fill(network, weights.tensors, file.name)
    return NuNextPredictor(network.to(on), info, weights.digest, eyes)


def new_network(config: NuNextConfig) -> NuNext:
    """Return a network to train, which looks through `EYES`."""
    return NuNext(config, zoo.load_model(EYES, "cpu").network.segmenter)


def restore_network(file: Path, config: NuNextConfig) -> NuNext:
    """Return a network to train further from the weights that `save_network` wrote.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, or of another model or configuration.
    """
    weights = read_weights(file)
    check_system(weights, file, SYSTEM)
    network = new_network(config)
    fill(network, weights.tensors, file.name)
    return network


def save_network(network: NuNext, file: Path, provenance: dict[str, Any]) -> None:
    """Write a network without its eyes, whose digest is kept beside the provenance."""
    header = {
        "system": SYSTEM,
        "config": network.config.to_dict(),
        "provenance": provenance,
        "eyes": read_weights(zoo.weights_file(EYES)).digest,
    }
    write_weights(file, network.state_dict(), header)
