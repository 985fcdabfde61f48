"""The text-prompted nano as the rest of the program sees it: a tile and a text in, nuclei out.

Torch stays behind this door. The encoder sees a tile once, as an `Embedding`; each text is read,
and if every word of it is known it is answered on the embedding: SAM3's semantic answer says which
pixels are asked for, offsets of the encoder's heads part them into nuclei.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.image import Tile
from napari_nucleus.core.morphology import clean_nuclei
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.stain import LabStatistics
from napari_nucleus.core.watershed import instances_of_maps
from napari_nucleus.errors import ModelError
from napari_nucleus.models.api import Calibration, Embedding, ModelInfo, TextAnswer
from napari_nucleus.models.calibrate import NucleusSizes
from napari_nucleus.models.predicting import Predictor
from napari_nucleus.models.promptgroup.answers import on_tile
from napari_nucleus.models.promptgroup.config import PromptGroupConfig
from napari_nucleus.models.promptgroup.network import PromptGroup, Seen
from napari_nucleus.models.promptgroup.text import Read
from napari_nucleus.models.promptgroup.windows import SeenTile, answer_windows, see_tile
from napari_nucleus.models.promptgroup.words import Reading, meaning, plain_text, read_text
from napari_nucleus.models.uperhover.config import InferenceConfig
from napari_nucleus.models.uperhover.predictor import UperHoverPredictor

__all__ = ["PromptGroupPredictor", "Understood"]

WINDOWS = 4
"""Windows that the encoder sees at a time; more are no faster on a CPU."""


@dataclass(frozen=True, eq=False)
class Understood:
    """A text as the network reads it: ``classes`` that it asks for, and how sure that is.

    ``read`` is what is answered: the text, or the plainest one for its classes.
    """

    reading: Reading
    read: Read
    classes: tuple[int, ...]
    confidence: float


@dataclass(frozen=True, eq=False)
class _Asked:
    """The tile that was asked about last, as the network takes it, and what was answered.

    ``answers`` are by the classes that were asked for: of a text that is being typed they hardly
    change from key to key.
    """

    embedding: Embedding
    tile: SeenTile
    answers: dict[tuple[int, ...], TextAnswer]


class PromptGroupPredictor(Predictor):
    """Segmentation by text with one set of weights.

    Parameters
    ----------
    network
        With weights loaded, on its device.
    info
        Name, classes, tile sizes.
    digest
        Identifies the weights; embeddings carry it.
    training_stain
        LAB statistics of the training data, to which other stains are moved.
    """

    def __init__(
        self,
        network: PromptGroup,
        info: ModelInfo,
        digest: str,
        training_stain: LabStatistics | None,
    ) -> None:
        super().__init__(network, network.config.vision.inference, info, digest, training_stain)
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.settings: PromptGroupConfig = network.config
        self.config: InferenceConfig = network.config.vision.inference
        self._eyes = UperHoverPredictor(network.vision, info, digest, training_stain)
        self._last: _Asked | None = None

    @torch.inference_mode()
    def embed(self, tile: Tile, calibration: Calibration | None = None) -> Embedding:
        """Encode a tile once, for any number of texts."""
        calibration = calibration or self.calibrate([tile], tile.frame.raster_mpp)
        working = self._working(tile, calibration)
        with self._autocast():
            seen = see_tile(self.network, working.rgb, WINDOWS)
        values = {"fine": seen.seen.fine, "middle": seen.seen.middle, "coarse": seen.seen.coarse}
        arrays: dict[str, NDArray[Any]] = {
            name: value.half().cpu().numpy() for name, value in values.items()
        }
        arrays["maps"] = seen.maps.half().cpu().numpy()
        arrays["starts"] = np.asarray(seen.starts)
        arrays["working"] = np.asarray(working.rgb.shape[-2:])
        return Embedding(arrays, tile.shape, tile.frame, calibration, self.digest)

    def answer(self, embedding: Embedding, text: str) -> TextAnswer:
        """Answer a text on an encoded tile.

        Raises
        ------
        ModelError
            If the embedding is another model's.
        """
        return self.answer_many(embedding, [text])[0]

    @torch.inference_mode()
    def answer_many(self, embedding: Embedding, texts: Sequence[str]) -> list[TextAnswer]:
        """Answer several texts on one encoded tile."""
        if embedding.model != self.digest:
            raise ModelError(
                f"{self.info.name}: this tile was encoded by another model; encode it again."
            )
        answers = []
        for text in texts:
            understood = self.understand(text)
            if self._is_doubtful(understood):
                answers.append(self._refusal(text, understood))
                continue
            asked = self._asked_about(embedding)
            known = asked.answers.get(understood.classes) if self.settings.answer.plain else None
            if known is None:
                known = self._answered(text, understood, asked.tile, embedding)
                asked.answers[understood.classes] = known
            answers.append(
                replace(
                    known,
                    text=text,
                    confidence=understood.confidence,
                    words=explained(understood),
                )
            )
        return answers

    def query(self, tile: Tile, text: str, calibration: Calibration | None = None) -> TextAnswer:
        """Encode a tile and answer one text on it; a text that is not understood costs nothing."""
        understood = self.understand(text)
        if self._is_doubtful(understood):
            return self._refusal(text, understood)
        return self.answer(self.embed(tile, calibration), text)

    @torch.inference_mode()
    def understand(self, text: str) -> Understood:
        """Read a text: which classes it asks for, and whether that is what it means."""
        reading = read_text(text)
        read = self.network.read([reading.words])
        wanted = read.wanted[0].float().sigmoid().cpu().numpy()
        classes = tuple(int(i) + 1 for i in np.flatnonzero(wanted >= 0.5))
        doubt = bool(reading.unknown) or not reading.naming or not classes
        certainty = 0.0 if doubt else float((2 * np.abs(wanted - 0.5)).min())
        if self.settings.answer.plain and not doubt:
            read = self.network.read_texts([plain_text(classes)])
        return Understood(reading, read, classes, certainty)

    def semantic(
        self, embedding: Embedding, understood: Understood
    ) -> tuple[NDArray[np.float32], float]:
        """Return the probability of each working pixel being asked for, and of anything being.

        ``(h, w)``; pixels of windows in which nothing asked for is found are 0.
        """
        with torch.inference_mode():
            probability, presence = self._asked(understood, self._seen(embedding))
            size = tuple(int(n) for n in embedding.arrays["working"])
            return _on(probability[None], size)[0], presence

    def _asked(self, understood: Understood, tile: SeenTile) -> tuple[torch.Tensor, float]:
        settings = self.settings.answer
        half = self._device.type == "cuda" or (
            settings.precision == "auto" and half_precision_is_faster()
        )
        with torch.autocast(self._device.type, torch.bfloat16, enabled=half):
            return answer_windows(
                self.network, tile, understood.read, settings.presence, settings.batch
            )

    def _answered(
        self, text: str, understood: Understood, tile: SeenTile, embedding: Embedding
    ) -> TextAnswer:
        probability, presence = self._asked(understood, tile)
        size = tuple(int(n) for n in embedding.arrays["working"])
        nuclei = self._nuclei(probability, tile.maps, size, understood.classes, embedding)
        return TextAnswer(
            text,
            nuclei,
            presence,
            understood.confidence,
            explained(understood),
            (),
            understood.classes,
        )

    def _nuclei(
        self,
        probability: torch.Tensor,
        maps: torch.Tensor,
        size: tuple[int, ...],
        classes: tuple[int, ...],
        embedding: Embedding,
    ) -> Nuclei:
        """Part the answer into nuclei, in tile pixels; they are of the classes asked for."""
        settings = self.settings.answer
        if float(probability.max()) < settings.mask:
            return Nuclei.empty(self.settings.vision.n_classes, self.info.name)
        whole = _on(torch.cat([probability[None], maps]), size)
        asked, seen, hv = whole[0], whole[1:-2], whole[-2:]
        named = np.zeros_like(seen)
        named[[0, *classes]] = seen[[0, *classes]]
        # Where the encoder saw another class the text has the last word.
        named[list(classes)] += 1e-3 * asked
        watershed = replace(self.config.watershed, foreground=settings.mask)
        found = instances_of_maps(hv, asked, named, self.config.mpp, watershed)
        nuclei = found.nuclei(self.info.name)
        nuclei = nuclei.select(nuclei.score >= settings.score)
        if found.labels.shape != embedding.shape:
            nuclei = on_tile(nuclei, found.labels.shape, embedding.shape)
        return clean_nuclei(nuclei, embedding.calibration.mpp)

    def _asked_about(self, embedding: Embedding) -> _Asked:
        """Return what is kept of a tile; of one tile at a time."""
        if self._last is None or self._last.embedding is not embedding:
            self._last = _Asked(embedding, self._seen(embedding), {})
        return self._last

    def _seen(self, embedding: Embedding) -> SeenTile:
        fine, middle, coarse = (
            torch.tensor(embedding.arrays[name], device=self._device)
            .float()
            .contiguous(memory_format=torch.channels_last)
            for name in ("fine", "middle", "coarse")
        )
        maps = torch.tensor(embedding.arrays["maps"], device=self._device).float()
        starts = tuple((int(y), int(x)) for y, x in embedding.arrays["starts"])
        seen = Seen(fine, middle, coarse, fine[:, :0])
        return SeenTile(seen, maps, starts, len(fine) // len(starts))

    def _is_doubtful(self, understood: Understood) -> bool:
        return understood.confidence < self.settings.answer.confidence

    def _refusal(self, text: str, understood: Understood) -> TextAnswer:
        none = Nuclei.empty(self.settings.vision.n_classes, self.info.name)
        reading = understood.reading
        return TextAnswer(
            text, none, 0.0, understood.confidence, (), reading.unknown, (), low_confidence=True
        )

    def _sizes_at(self, samples: Sequence[Tile], zoom: float) -> NucleusSizes:
        return self._eyes._sizes_at(samples, zoom)


def half_precision_is_faster() -> bool:
    """Return whether this CPU has instructions for bfloat16: with them convolutions take half.

    Torch has no public word for it; measuring it fails on a machine that is busy.
    """
    tell = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(tell is not None and tell())


def explained(understood: Understood) -> tuple[tuple[str, str], ...]:
    """Return the words that name what was asked for, with what each was read as."""
    words = []
    for word in understood.reading.naming:
        classes = meaning(word)
        if not classes:
            words.append((word, "nucleus"))
        elif asked := [c for c in classes if c in understood.classes]:
            words.append((word, PANNUKE.name_of(asked[0])))
    return tuple(words)


def _on(maps: torch.Tensor, size: tuple[int, ...]) -> NDArray[np.float32]:
    """Return maps ``(C, h, w)`` of stride 2 at working pixels, ``(C, *size)``."""
    h, w = maps.shape[-2:]
    whole = F.interpolate(
        maps[None].float(), size=(2 * h, 2 * w), mode="bilinear", align_corners=False
    )
    return whole[0, :, : size[0], : size[1]].cpu().numpy()
