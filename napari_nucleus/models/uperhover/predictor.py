"""Automatic segmentation: maps of a tile, nuclei by the watershed, classes by vote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from napari_nucleus.core.image import Tile
from napari_nucleus.core.morphology import clean_nuclei
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.stain import LabStatistics
from napari_nucleus.core.watershed import Instances, instances_of_maps
from napari_nucleus.models.api import Calibration, ModelInfo
from napari_nucleus.models.calibrate import NucleusSizes
from napari_nucleus.models.predicting import Predictor
from napari_nucleus.models.uperhover.config import InferenceConfig
from napari_nucleus.models.uperhover.network import UperHover
from napari_nucleus.models.uperhover.windows import predict_maps
from napari_nucleus.models.working import Working, to_working

__all__ = ["UperHoverPredictor", "nuclei_of_maps"]


SIZING_SAMPLES = 6
"""Most samples, each of one window, that the magnification is estimated from."""


class UperHoverPredictor(Predictor):
    """Automatic segmentation with one set of weights.

    Parameters
    ----------
    network
        With weights loaded, on its device.
    info
        Name, classes, tile sizes.
    digest
        Identifies the weights.
    training_stain
        LAB statistics of the training data, to which other stains are moved.
    """

    def __init__(
        self,
        network: UperHover,
        info: ModelInfo,
        digest: str,
        training_stain: LabStatistics | None,
    ) -> None:
        super().__init__(network, network.config.inference, info, digest, training_stain)
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.config: InferenceConfig = network.config.inference

    def segment(self, tile: Tile, calibration: Calibration | None = None) -> Nuclei:
        """Return the nuclei of a tile, in tile pixels; no two share a pixel."""
        calibration = calibration or self.calibrate([tile], tile.frame.raster_mpp)
        classes, hv = self._maps(self._working(tile, calibration))
        nuclei = nuclei_of_maps(
            classes, hv, tile.shape, calibration.mpp, self.config, self.info.not_told_apart
        )
        return replace(nuclei, source=self.info.name)

    def look(
        self, tile: Tile, calibration: Calibration
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32], Instances]:
        """Return a tile at the working magnification, its class probabilities, its instances.

        The tile is ``(h, w, 3)`` in its own stain, the probabilities are ``(1 + C, h, w)``. Classes
        that are not told apart are summed in the first of them: which of them it is would
        otherwise count as doubt.
        """
        classes, hv = self._maps(self._working(tile, calibration))
        plain = to_working(tile.rgb, calibration, 1, None, 0, self._device).rgb
        rgb = (plain[0].permute(1, 2, 0) * 255).round().byte().cpu().numpy()
        pooled = _voting_together(classes, self.info.not_told_apart)
        return rgb, pooled, _instances(pooled, hv, self.config)

    def _maps(self, working: Working) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return class probabilities ``(1 + C, h, w)`` and offsets ``(2, h, w)``."""
        with self._autocast():
            maps = predict_maps(self.network, working.rgb, self.config)
        return maps.classes[0].cpu().numpy(), maps.hv[0].cpu().numpy()

    def _sizes_at(self, samples: Sequence[Tile], zoom: float) -> NucleusSizes:
        """Find nuclei of one window of each sample at ``zoom`` working pixels per image pixel."""
        diameters: list[NDArray] = []
        sure: list[NDArray] = []
        for tile in samples[:SIZING_SAMPLES]:
            tile = tile.middle(round(self.config.window / zoom))
            calibration = Calibration(zoom, self.config.mpp * zoom)
            classes, hv = self._maps(self._working(tile, calibration))
            found = _instances(classes, hv, self.config)
            area = np.bincount(found.labels.ravel(), minlength=len(found) + 1)[1:]
            diameters.append(2 * np.sqrt(area / np.pi))
            sure.append(found.score)
        scores = np.concatenate([np.zeros(0), *sure])
        return NucleusSizes(
            np.concatenate([np.zeros(0), *diameters]), float(scores.mean()) if len(scores) else 0.0
        )


def nuclei_of_maps(
    classes: NDArray[np.float32],
    hv: NDArray[np.float32],
    shape: tuple[int, int],
    mpp: float,
    config: InferenceConfig,
    not_told_apart: tuple[int, ...] = (),
) -> Nuclei:
    """Return the nuclei of maps at the working magnification, in pixels of a tile.

    Parameters
    ----------
    classes
        ``(1 + C, h, w)`` probabilities, background first.
    hv
        ``(2, h, w)`` offsets, x then y.
    shape
        Of the tile.
    mpp
        µm per tile pixel.
    not_told_apart
        Class ids that vote together; which of them a nucleus is, the mean of each decides.
    """
    found = _instances(_voting_together(classes, not_told_apart), hv, config)
    nuclei = found.nuclei()
    if not_told_apart and len(nuclei):
        prob = _parted(found, nuclei.class_prob, classes, not_told_apart)
        nuclei = Nuclei(nuclei.boxes, nuclei.masks, nuclei.score, prob)
    nuclei = nuclei.select(nuclei.score >= config.min_score)
    if found.labels.shape != shape:
        nuclei = _on_tile(nuclei, found.labels.shape, shape)
    return clean_nuclei(nuclei, mpp)


def _instances(
    classes: NDArray[np.float32], hv: NDArray[np.float32], config: InferenceConfig
) -> Instances:
    foreground = 1 - classes[0]
    return instances_of_maps(hv, foreground, classes, config.mpp, config.watershed)


def _voting_together(
    classes: NDArray[np.float32], together: tuple[int, ...]
) -> NDArray[np.float32]:
    """Return the maps with the classes of ``together`` summed in the first of them."""
    if not together:
        return classes
    pooled = classes.copy()
    pooled[together[0]] = classes[list(together)].sum(axis=0)
    pooled[list(together[1:])] = 0
    return pooled


def _parted(
    found: Instances,
    prob: NDArray[np.float32],
    classes: NDArray[np.float32],
    together: tuple[int, ...],
) -> NDArray[np.float32]:
    """Return class probabilities ``(n, C)`` with the pooled one parted as the maps have it.

    Where the pooled class was voted its likelier part stays the most probable of all, whose
    probability it takes in exchange for its own.
    """
    columns = np.array([c - 1 for c in together])
    inside = np.flatnonzero(found.labels)
    owner = found.labels.ravel()[inside] - 1
    share = np.stack(
        [np.bincount(owner, classes[c].ravel()[inside], len(found)) for c in together], axis=1
    )
    share /= np.maximum(share.sum(axis=1, keepdims=True), 1e-9)
    out = prob.copy()
    out[:, columns] = prob[:, columns].sum(axis=1, keepdims=True) * share
    which = np.flatnonzero(found.classes == together[0])
    if len(which):
        voted, likeliest = columns[share[which].argmax(axis=1)], out[which].argmax(axis=1)
        out[which, voted], out[which, likeliest] = out[which, likeliest], out[which, voted]
    return out


def _on_tile(nuclei: Nuclei, working: tuple[int, ...], shape: tuple[int, int]) -> Nuclei:
    """Return nuclei of a ``working`` map in the pixels of a tile of ``shape``, by nearest pixel."""
    labels = nuclei.to_labels((working[0], working[1]))
    rows, columns = (
        np.minimum(((np.arange(n) + 0.5) * m / n).astype(int), m - 1)
        for n, m in zip(shape, working, strict=True)
    )
    seen, ids = Nuclei.from_labels(labels[np.ix_(rows, columns)], source=nuclei.source)
    return Nuclei(seen.boxes, seen.masks, nuclei.score[ids - 1], nuclei.class_prob[ids - 1])
