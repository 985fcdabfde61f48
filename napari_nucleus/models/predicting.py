"""What predictors of all systems share: device, calibration, and tiles at the working pixels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import nn

from napari_nucleus.core.image import Tile
from napari_nucleus.core.stain import LabStatistics
from napari_nucleus.models.api import Calibration, ModelInfo
from napari_nucleus.models.calibrate import NucleusSizes, calibrate
from napari_nucleus.models.devices import device_in_words
from napari_nucleus.models.working import Working, to_working

__all__ = ["Predictor", "WorkingConfig"]


class WorkingConfig(Protocol):
    """What a configuration of inference says of the working pixels; see the systems' own."""

    @property
    def mpp(self) -> float:
        """Working pixel size, µm."""
        ...

    @property
    def canonical_diameter(self) -> float:
        """Median diameter, in working pixels, to which unknown magnifications are brought."""
        ...

    @property
    def stain_strength(self) -> float:
        """How far an image's stain is moved to that of the training data."""
        ...


class Predictor(ABC):
    """A network with its weights on a device; the base of every system's predictor.

    Parameters
    ----------
    network
        With weights loaded, on its device.
    config
        Of inference.
    info
        Name, classes, tile sizes.
    digest
        Identifies the weights.
    training_stain
        LAB statistics of the training data, to which other stains are moved.
    upscale
        Network pixels per working pixel.
    """

    def __init__(
        self,
        network: nn.Module,
        config: WorkingConfig,
        info: ModelInfo,
        digest: str,
        training_stain: LabStatistics | None,
        upscale: float = 1,
    ) -> None:
        network.eval()
        self.info = info
        self.digest = digest
        self.training_stain = training_stain
        self._device = next(network.parameters()).device
        self.config, self._upscale = config, upscale

    @property
    def device(self) -> str:
        """The device in words, such as ``"cpu"`` or the name of a GPU."""
        return device_in_words(self._device)

    def calibrate(self, samples: Sequence[Tile], mpp: float | None) -> Calibration:
        """Estimate magnification (if ``mpp`` is None) and stain from samples of an image."""
        config = self.config
        return calibrate(samples, mpp, config.mpp, config.canonical_diameter, self._sizes_at)

    @abstractmethod
    def _sizes_at(self, samples: Sequence[Tile], zoom: float) -> NucleusSizes:
        """Find nuclei of samples at ``zoom`` working pixels per image pixel."""

    def _working(self, tile: Tile, calibration: Calibration) -> Working:
        return to_working(
            tile.rgb,
            calibration,
            self._upscale,
            self.training_stain,
            self.config.stain_strength,
            self._device,
        )

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"
        )
