"""UniNuc as the rest of the program sees it: tiles and prompts in, nuclei and masks out.

Torch stays behind this door. A predictor holds weights and nothing about images: what belongs to
an image is passed in as a `Calibration` and an `Embedding`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional as F

from napari_nucleus.core.image import Tile
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.prompts import MaskPrediction, Prompts
from napari_nucleus.core.stain import LabStatistics
from napari_nucleus.errors import ModelError
from napari_nucleus.models.api import Calibration, Embedding, ModelInfo
from napari_nucleus.models.calibrate import NucleusSizes
from napari_nucleus.models.predicting import Predictor
from napari_nucleus.models.uninuc.automatic import segment_tile, without_padding
from napari_nucleus.models.uninuc.config import InferenceConfig
from napari_nucleus.models.uninuc.decoding import (
    Answers,
    decode_all,
    obey_clicks,
    prediction_of,
)
from napari_nucleus.models.uninuc.network import UniNuc
from napari_nucleus.models.uninuc.postprocess import dense_instances
from napari_nucleus.models.uninuc.prompting import prompt_batch, says_nothing
from napari_nucleus.models.working import to_network

__all__ = ["UniNucPredictor"]


SIZING_TILE, SIZING_SAMPLES = 320, 6
"""Working pixels of each sample, and most samples, that the magnification is estimated from."""

CLASS_STRIDE = 4
"""Tile pixels per cell, at working magnification, of the class map that embeddings hold."""


class UniNucPredictor(Predictor):
    """Automatic and promptable segmentation with one set of weights.

    Parameters
    ----------
    network
        With weights loaded, in evaluation mode, on its device.
    info
        Name, classes, tile sizes.
    digest
        Identifies the weights; embeddings carry it.
    training_stain
        LAB statistics of the training data, to which other stains are moved.
    """

    def __init__(
        self,
        network: UniNuc,
        info: ModelInfo,
        digest: str,
        training_stain: LabStatistics | None,
    ) -> None:
        config = network.config.inference
        super().__init__(network, config, info, digest, training_stain, config.upscale)
        self.network = network
        self.config: InferenceConfig = config

    def segment(self, tile: Tile, calibration: Calibration | None = None) -> Nuclei:
        """Return the nuclei of a tile, in tile pixels; no two share a pixel."""
        calibration = calibration or self.calibrate([tile], tile.frame.raster_mpp)
        working = self._working(tile, calibration)
        with self._autocast():
            return segment_tile(self.network, working, tile.shape, self.config, self.info.name)

    @torch.inference_mode()
    def embed(self, tile: Tile, calibration: Calibration | None = None) -> Embedding:
        """Encode a tile once, for any number of prompts."""
        calibration = calibration or self.calibrate([tile], tile.frame.raster_mpp)
        working = self._working(tile, calibration)
        segmenter = self.network.segmenter
        with self._autocast():
            features = segmenter.encoder(to_network(working.rgb, segmenter.config.encoder.multiple))
            projected = segmenter.mask_decoder.project(features)
        arrays = {f"f{i}": f.half().cpu().numpy() for i, f in enumerate(projected)}
        arrays["per_tile_pixel"] = np.asarray(working.per_tile_pixel)
        if segmenter.dense is not None:
            classes = segmenter.dense(features[0]).classes.softmax(1)
            factor = CLASS_STRIDE // segmenter.config.encoder.strides[0]
            pooled = F.avg_pool2d(classes, factor) if factor > 1 else classes
            arrays["classes"] = pooled[0].half().cpu().numpy()
        return Embedding(arrays, tile.shape, tile.frame, calibration, self.digest)

    def refine(self, embedding: Embedding, prompts: Prompts) -> MaskPrediction:
        """Return the mask that the prompts ask for, in tile pixels.

        Raises
        ------
        ModelError
            If the embedding is another model's, or the prompts are empty.
        """
        return self.refine_many(embedding, [prompts])[0]

    def refine_many(self, embedding: Embedding, prompts: Sequence[Prompts]) -> list[MaskPrediction]:
        """Return the masks of several nuclei of one tile, decoded together."""
        if embedding.model != self.digest:
            raise ModelError(
                f"{self.info.name}: this tile was encoded by another model; encode it again."
            )
        if any(says_nothing(p) for p in prompts):
            raise ModelError(f"{self.info.name}: a prompt has neither point nor box nor mask.")
        if not prompts:
            return []
        projected = tuple(
            torch.tensor(embedding.arrays[f"f{i}"], device=self._device).float() for i in range(3)
        )
        per = tuple(map(float, embedding.arrays["per_tile_pixel"]))
        extents = np.zeros(len(prompts))
        answers, windows = self._answer(prompts, per, projected, extents)  # type: ignore[arg-type]
        sides = (windows[:, 2] - windows[:, 0]) * per[0]
        may_grow = sides < self.network.config.decoder.crop_windows[-1] - 1
        cut = may_grow & _cut_off(answers, windows, embedding.shape)
        if cut.any():
            # The nucleus is larger than the window that was guessed for it.
            extents[cut] = self.network.config.decoder.crop_windows[-1]
            answers, windows = self._answer(prompts, per, projected, extents)  # type: ignore[arg-type]
        found = [
            prediction_of(answers, windows, i, embedding.shape, p) for i, p in enumerate(prompts)
        ]
        return [replace(p, class_prob=_classes_under(p, embedding.arrays)) for p in found]

    def _answer(
        self,
        prompts: Sequence[Prompts],
        per: tuple[float, float],
        projected: tuple,
        extents: np.ndarray,
    ) -> tuple[Answers, np.ndarray]:
        batch = prompt_batch(prompts, per, self.network.config.decoder, extents)
        answers = decode_all(self.network.segmenter, projected, batch)
        answers = replace(answers, logits=obey_clicks(answers.logits, batch))
        return answers, batch.windows.numpy().astype(np.float64) / np.tile(per, 2)

    @torch.inference_mode()
    def _sizes_at(self, samples: Sequence[Tile], zoom: float) -> NucleusSizes:
        """Find nuclei with the dense heads alone, at ``zoom`` working pixels per image pixel."""
        segmenter = self.network.segmenter
        if segmenter.dense is None:
            raise ModelError(
                f"{self.info.name}: cannot estimate the magnification; state µm per pixel."
            )
        diameters: list[np.ndarray] = []
        sure: list[float] = []
        for tile in samples[:SIZING_SAMPLES]:
            tile = tile.middle(round(SIZING_TILE / zoom))
            calibration = Calibration(zoom, self.config.mpp * zoom)
            working = self._working(tile, calibration)
            with self._autocast():
                maps = segmenter.dense(
                    segmenter.encoder(to_network(working.rgb, segmenter.config.encoder.multiple))[0]
                )
            stride = segmenter.config.encoder.strides[0]
            size = (working.rgb.shape[-2], working.rgb.shape[-1])
            foreground, distance = without_padding(maps, stride, size)
            labels = dense_instances(foreground, distance, sigma=1.0 / stride, min_area=5)
            areas = np.bincount(labels.ravel())[1:]
            diameters.append(2 * stride * np.sqrt(areas[areas > 0] / np.pi))
            if (labels > 0).any():
                sure.append(float(distance[labels > 0].mean() * foreground[labels > 0].mean()))
        return NucleusSizes(
            np.concatenate([np.zeros(0), *diameters]), float(np.mean(sure)) if sure else 0.0
        )


def _cut_off(answers: Answers, windows: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return which answers reach a border of their window that lies inside the tile."""
    inside = answers.logits.numpy() > 0
    edges = [
        inside[:, 0].any(1) & (windows[:, 0] > 0),
        inside[:, :, 0].any(1) & (windows[:, 1] > 0),
        inside[:, -1].any(1) & (windows[:, 2] < shape[0]),
        inside[:, :, -1].any(1) & (windows[:, 3] < shape[1]),
    ]
    return np.any(edges, axis=0)


def _classes_under(
    prediction: MaskPrediction, arrays: Mapping[str, np.ndarray]
) -> tuple[float, ...]:
    """Return the mean class probabilities under a mask; empty if it is, or without classes."""
    if not prediction.area or "classes" not in arrays:
        return ()
    classes = arrays["classes"]
    pixels = np.argwhere(prediction.mask) + np.array(prediction.box[:2]) + 0.5
    cells = np.floor(pixels * arrays["per_tile_pixel"] / CLASS_STRIDE).astype(int)
    rows, columns = np.minimum(cells, np.array(classes.shape[1:]) - 1).T
    return tuple(classes[:, rows, columns].astype(np.float64).mean(axis=1).tolist())
