"""SAM3 as the rest of the program sees it: a tile and a text in, nuclei out.

A tile is cut into windows that are stretched to SAM3's input; each is seen once. Instances above
the thresholds become nuclei (MODELS.md A.6); where a window has more than the detector's queries
can tell, its semantic answer is parted instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from napari_nucleus.core.image import Tile
from napari_nucleus.core.morphology import clean_nuclei
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.watershed import instances_of_maps
from napari_nucleus.errors import ModelError
from napari_nucleus.models.api import Calibration, Embedding, ModelInfo, TextAnswer
from napari_nucleus.models.calibrate import NucleusSizes
from napari_nucleus.models.predicting import Predictor
from napari_nucleus.models.promptgroup.answers import nuclei_of_masks, of_window, on_tile
from napari_nucleus.models.promptgroup.config import Sam3Inference
from napari_nucleus.models.promptgroup.network import Answers
from napari_nucleus.models.promptgroup.sam3 import Sam3Network, Sam3Seen, to_input
from napari_nucleus.models.uperhover.config import InferenceConfig
from napari_nucleus.models.uperhover.windows import window_starts
from napari_nucleus.models.working import mirror_to

__all__ = ["Sam3Predictor"]

ANY_NUCLEUS = "cell nuclei"
"""What is asked for to estimate the magnification."""

SIZING_SAMPLES = 2
"""Most samples, each of one window, that the magnification is estimated from."""


class Sam3Predictor(Predictor):
    """Segmentation by any text with one set of weights.

    Parameters
    ----------
    network
        With weights loaded, on its device.
    info
        Name, tile sizes.
    digest
        Identifies the weights; embeddings carry it.
    settings
        Windows and thresholds.
    """

    def __init__(
        self, network: Sam3Network, info: ModelInfo, digest: str, settings: Sam3Inference
    ) -> None:
        super().__init__(network, settings, info, digest, None)
        self.network = network
        self.settings = settings

    @torch.inference_mode()
    def embed(self, tile: Tile, calibration: Calibration | None = None) -> Embedding:
        """Encode a tile once, for any number of texts."""
        calibration = calibration or self.calibrate([tile], tile.frame.raster_mpp)
        rgb = self._working(tile, calibration).rgb
        side = self.settings.window
        starts = self._starts(rgb.shape[-2:])
        size = (max(y for y, _ in starts) + side, max(x for _, x in starts) + side)
        padded = mirror_to(rgb, size)
        arrays: dict[str, NDArray[Any]] = {
            "starts": np.asarray(starts),
            "working": np.asarray(rgb.shape[-2:]),
        }
        with self._autocast():
            seen = [self._see(padded[..., y : y + side, x : x + side]) for y, x in starts]
        for i, levels in enumerate(zip(*(s.levels for s in seen), strict=True)):
            arrays[f"level{i}"] = torch.cat(levels).half().cpu().numpy()
        arrays["place"] = seen[0].place.half().cpu().numpy()
        return Embedding(arrays, tile.shape, tile.frame, calibration, self.digest)

    def answer(self, embedding: Embedding, text: str) -> TextAnswer:
        """Answer a text on an encoded tile.

        Raises
        ------
        ModelError
            If the embedding is another model's, or the text is empty.
        """
        return self.answer_many(embedding, [text])[0]

    @torch.inference_mode()
    def answer_many(self, embedding: Embedding, texts: Sequence[str]) -> list[TextAnswer]:
        """Answer several texts on one encoded tile."""
        if embedding.model != self.digest:
            raise ModelError(
                f"{self.info.name}: this tile was encoded by another model; encode it again."
            )
        if not all(text.strip() for text in texts):
            raise ModelError(f"{self.info.name}: an empty text asks for nothing.")
        levels = (v for k, v in sorted(embedding.arrays.items()) if k.startswith("level"))
        seen = Sam3Seen(
            tuple(torch.tensor(v, device=self._device).float() for v in levels),
            torch.tensor(embedding.arrays["place"], device=self._device).float(),
        )
        return [self._answered(text, seen, embedding) for text in texts]

    def _answered(self, text: str, seen: Sam3Seen, embedding: Embedding) -> TextAnswer:
        read = self.network.read_texts([text])
        starts = [(int(y), int(x)) for y, x in embedding.arrays["starts"]]
        found: list[Nuclei] = []
        presence = 0.0
        for number, (y, x) in enumerate(starts):
            index = torch.tensor([number], device=self._device)
            with self._autocast():
                answers = self.network(seen.of(index), read)
            there = float(answers.presence[0].float().sigmoid())
            presence = max(presence, there)
            nuclei = self._nuclei(answers, there).shifted(y, x)
            found.append(nuclei.select(of_window(nuclei, number, starts, self.settings.window)))
        nuclei = Nuclei.concatenate(found)
        working = tuple(int(n) for n in embedding.arrays["working"])
        nuclei = clean_nuclei(on_tile(nuclei, working, embedding.shape), embedding.calibration.mpp)
        sure = float(nuclei.score.mean()) if len(nuclei) else presence
        return TextAnswer(text, replace(nuclei, source=self.info.name), presence, sure)

    def query(self, tile: Tile, text: str, calibration: Calibration | None = None) -> TextAnswer:
        """Encode a tile and answer one text on it."""
        return self.answer(self.embed(tile, calibration), text)

    def _see(self, rgb: Tensor) -> Sam3Seen:
        return self.network.see(to_input(rgb, self.network.size))

    def _starts(self, shape: Sequence[int]) -> list[tuple[int, int]]:
        cut = InferenceConfig(window=self.settings.window, stride=self.settings.stride)
        return [(y, x) for y in window_starts(shape[0], cut) for x in window_starts(shape[1], cut)]

    def _nuclei(self, answers: Answers, presence: float) -> Nuclei:
        """Return the nuclei of one window, in its pixels."""
        settings = self.settings
        if presence < settings.presence:
            return Nuclei.empty()
        scores = answers.scores[0].float().sigmoid() * presence
        chosen = torch.nonzero(scores >= settings.score)[:, 0]
        if len(chosen) > settings.crowded:
            return self._parted(answers.semantic)
        masks = self._on_window(answers.masks[:, chosen])[0] >= settings.mask
        return nuclei_of_masks(masks.cpu().numpy(), scores[chosen].cpu().numpy(), settings.overlap)

    def _parted(self, semantic: Tensor) -> Nuclei:
        """Part a semantic answer by the distance to the background."""
        probability = self._on_window(semantic)[0, 0].cpu().numpy()
        none = np.zeros((2, *probability.shape), np.float32)
        watershed = replace(self.settings.watershed, foreground=self.settings.mask)
        return instances_of_maps(none, probability, None, self.settings.mpp, watershed).nuclei()

    def _on_window(self, logits: Tensor) -> Tensor:
        """Return probabilities of logits ``(1, n, h, w)`` at the pixels of the window."""
        side = self.settings.window
        whole = F.interpolate(logits.float(), (side, side), mode="bilinear", align_corners=False)
        return whole.sigmoid()

    def _sizes_at(self, samples: Sequence[Tile], zoom: float) -> NucleusSizes:
        """Find nuclei of one window of each sample at ``zoom`` working pixels per image pixel."""
        diameters: list[NDArray] = []
        sure: list[NDArray] = []
        for tile in samples[:SIZING_SAMPLES]:
            tile = tile.middle(round(self.settings.window / zoom))
            calibration = Calibration(zoom, self.settings.mpp * zoom)
            nuclei = self.query(tile, ANY_NUCLEUS, calibration).nuclei
            diameters.append(2 * zoom * np.sqrt(nuclei.areas / np.pi))
            sure.append(nuclei.score)
        scores = np.concatenate([np.zeros(0), *sure])
        return NucleusSizes(
            np.concatenate([np.zeros(0), *diameters]), float(scores.mean()) if len(scores) else 0.0
        )
