"""Builds an UperHoVer predictor from a weights file, and a weights file from a trained network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from napari_nucleus.core.stain import LabStatistics
from napari_nucleus.errors import ModelError, WeightsError
from napari_nucleus.models.api import ModelInfo
from napari_nucleus.models.checkpoints import LoadReport
from napari_nucleus.models.devices import resolve_device
from napari_nucleus.models.uperhover.config import UperHoverConfig
from napari_nucleus.models.uperhover.convert import load_checkpoint
from napari_nucleus.models.uperhover.network import UperHover
from napari_nucleus.models.uperhover.predictor import UperHoverPredictor
from napari_nucleus.models.uperhover.presets import UNI2H
from napari_nucleus.models.weights import (
    check_system,
    fill,
    read_weights,
    stain_header,
    training_stain_of,
    write_weights,
)

__all__ = ["SYSTEM", "adopt_checkpoint", "load_predictor", "restore_network", "save_network"]

SYSTEM = "uperhover"


def load_predictor(info: ModelInfo, file: Path, device: str) -> UperHoverPredictor:
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
        network = UperHover(UperHoverConfig.from_dict(weights.header["config"]))
    except Exception as error:  # each library has errors of its own for values it does not take
        reason = " ".join(str(error).split())
        raise WeightsError(f"{file}: its configuration is of another version: {reason}.") from error
    if network.config.inference.mpp != info.working_mpp:
        raise WeightsError(
            f"{file}: these weights work at {network.config.inference.mpp} µm per pixel, "
            f"{info.name} at {info.working_mpp}; they are of another size of UperHoVer."
        )
    fill(network, weights.tensors, file.name)
    stain = training_stain_of(weights, file)
    return UperHoverPredictor(network.to(on), info, weights.digest, stain)


def adopt_checkpoint(file: Path, out: Path, class_order: tuple[int, ...] = ()) -> LoadReport:
    """Write another program's weights of the published model as a file of ours.

    Parameters
    ----------
    file
        A whole model of UNI2-h's encoder, four projections and two UperNet heads.
    out
        Our weights file.
    class_order
        The class id of each of the model's outputs, background 0 included; empty where they are
        in the order of the ids.

    Raises
    ------
    ModelError
        If the order is none of all the ids.
    WeightsError
        If the file cannot be read, or is another model's.
    """
    return _adopt(
        replace(UNI2H, encoder=replace(UNI2H.encoder, tap_norm=False)), file, out, class_order
    )


def _adopt(
    config: UperHoverConfig, file: Path, out: Path, class_order: tuple[int, ...]
) -> LoadReport:
    if class_order and sorted(class_order) != list(range(1 + config.n_classes)):
        raise ModelError(
            f"The class order {', '.join(map(str, class_order))} does not name each of "
            f"0 to {config.n_classes} once."
        )
    inference = replace(config.inference, class_order=class_order)
    network = UperHover(replace(config, inference=inference))
    report = load_checkpoint(network, file)
    lacking = [name for name in report.missing if not name.endswith("num_batches_tracked")]
    if lacking:
        raise WeightsError(
            f"{file.name}: lacks {lacking[0]} and {len(lacking) - 1} more; a whole model has all."
        )
    # Half precision would lose variances of batch norms that were made in single precision.
    save_network(network, out, None, {"adopted": file.name}, torch.float32)
    return report


def restore_network(file: Path, config: UperHoverConfig) -> UperHover:
    """Return a network to train further from the weights that `save_network` wrote.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, or of another model or configuration.
    """
    weights = read_weights(file)
    check_system(weights, file, SYSTEM)
    network = UperHover(config)
    fill(network, weights.tensors, file.name)
    return network


def save_network(
    network: UperHover,
    file: Path,
    training_stain: LabStatistics | None,
    provenance: dict[str, Any],
    precision: torch.dtype = torch.float16,
) -> None:
    """Write a network with all that inference needs; ``provenance`` is kept in the header."""
    header = {"system": SYSTEM, "config": network.config.to_dict(), "provenance": provenance}
    header |= stain_header(training_stain)
    write_weights(file, network.state_dict(), header, precision)
