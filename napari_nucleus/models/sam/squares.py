"""What every promptable model of SAM's kind does with tiles: squares in, masks in tile pixels out.

A tile is one square, or several that overlap and one of all of it; each is encoded once. A nucleus
is decoded in the square in whose middle it lies, and one that no square holds in that of all of the
tile. How a square is encoded, and prompts on it are decoded, is the subclass's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_nucleus.core.image import Tile
from napari_nucleus.core.prompts import MaskPrediction, Prompts
from napari_nucleus.errors import ModelError
from napari_nucleus.models.api import Calibration, Embedding, ModelInfo
from napari_nucleus.models.sam.config import SamInference
from napari_nucleus.models.uninuc.crops import LOGIT_RANGE, PromptBatch
from napari_nucleus.models.uninuc.decoding import Answers, obey_clicks, prediction_of
from napari_nucleus.models.uninuc.prompting import batch_on, says_nothing, where
from napari_nucleus.models.uperhover.config import InferenceConfig
from napari_nucleus.models.uperhover.windows import window_starts

__all__ = ["SquarePredictor", "squares_of"]

SQUARES = "squares"
"""Name of the array that says where the squares of an embedding lie."""

ONE = (1.0, 1.0)


class SquarePredictor(ABC):
    """A promptable model that sees squares.

    Parameters
    ----------
    info
        Name, tile sizes.
    digest
        Identifies the weights; embeddings carry it.
    settings
        Squares, and what is done to their pixels.
    grid
        Side of the answers to a square, in cells.
    """

    def __init__(self, info: ModelInfo, digest: str, settings: SamInference, grid: int) -> None:
        self.info, self.digest, self.settings, self._grid = info, digest, settings, grid

    @abstractmethod
    def _encode(self, rgb: NDArray[np.uint8], side: int) -> dict[str, NDArray]:
        """Return the maps of the square of ``side`` pixels whose first pixels are ``rgb``."""

    @abstractmethod
    def _decode(self, maps: Mapping[str, NDArray], batch: PromptBatch) -> tuple[Tensor, Tensor]:
        """Return logits ``(B, grid, grid)`` and predicted IoU ``(B,)`` of prompts on one square.

        ``maps`` are those that `_encode` made, ``batch.windows`` the square in tile pixels.
        """

    def calibrate(self, samples: Sequence[Tile], mpp: float | None) -> Calibration:
        """Return the calibration of an image of stated pixel size; the samples are not looked at.

        Raises
        ------
        ModelError
            If the pixel size is unknown: the model cannot find nuclei to measure.
        """
        if mpp is None:
            raise ModelError(
                f"{self.info.name}: cannot estimate the magnification; state µm per pixel."
            )
        return Calibration(mpp / self.settings.mpp, mpp)

    def embed(self, tile: Tile, calibration: Calibration | None = None) -> Embedding:
        """Encode a tile once, for any number of prompts."""
        calibration = calibration or self.calibrate([tile], tile.frame.raster_mpp)
        squares = squares_of(tile.shape, calibration.scale, self.settings)
        made = [self._encode(tile.rgb[y0:y1, x0:x1], y1 - y0) for y0, x0, y1, x1 in squares]
        arrays = {name: np.stack([maps[name] for maps in made]) for name in made[0]}
        arrays[SQUARES] = squares
        return Embedding(arrays, tile.shape, tile.frame, calibration, self.digest)

    def refine(self, embedding: Embedding, prompts: Prompts) -> MaskPrediction:
        """Return the mask that the prompts ask for, in tile pixels.

        Raises
        ------
        ModelError
            If the embedding is another model's, or the prompts are empty.
        """
        return self.refine_many(embedding, [prompts])[0]

    @torch.inference_mode()
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
        squares = embedding.arrays[SQUARES].astype(np.float64)
        chosen = _holding(*where(prompts, ONE), squares)
        found: dict[int, MaskPrediction] = {}
        for number in np.unique(chosen).tolist():
            rows = np.flatnonzero(chosen == number).tolist()
            some = [prompts[i] for i in rows]
            maps = {k: v[number] for k, v in embedding.arrays.items() if k != SQUARES}
            answers = self._answers(maps, squares[number], some, embedding.shape)
            found |= dict(zip(rows, answers, strict=True))
        return [found[i] for i in range(len(prompts))]

    def _answers(
        self,
        maps: Mapping[str, NDArray],
        square: NDArray[np.float64],
        prompts: Sequence[Prompts],
        shape: tuple[int, int],
    ) -> list[MaskPrediction]:
        """Return the answers on one square."""
        windows = torch.from_numpy(square).float().expand(len(prompts), 4)
        batch = batch_on(prompts, ONE, windows, self._grid)
        logits, iou = self._decode(maps, batch)
        logits = obey_clicks(logits.clamp(-LOGIT_RANGE, LOGIT_RANGE), batch)
        out = []
        for i, prompt in enumerate(prompts):
            grid, window = _cut(logits[i], square)
            answer = Answers(grid[None], iou[i : i + 1].clamp(0, 1), torch.ones(1))
            out.append(prediction_of(answer, window[None], 0, shape, prompt))
        return out


def squares_of(shape: tuple[int, int], scale: float, settings: SamInference) -> NDArray[np.int64]:
    """Return the squares ``(n, 4)`` that a tile is seen in, in its pixels.

    They begin inside the tile; one that is larger than the tile ends outside. Of several, the last
    is of all of the tile.

    Parameters
    ----------
    shape
        Height and width of the tile.
    scale
        Working pixels per tile pixel.
    """
    window, stride, largest = (
        max(round(v / scale), 1) for v in (settings.window, settings.stride, settings.largest)
    )
    if max(shape) <= largest:
        side = max(*shape, window)
        return np.array([[0, 0, side, side]])
    cut = InferenceConfig(window=window, stride=stride)
    rows, columns = (window_starts(length, cut) for length in shape)
    windows = [[y, x, y + window, x + window] for y in rows for x in columns]
    return np.array([*windows, [0, 0, max(shape), max(shape)]])


def _holding(
    centres: NDArray[np.float64], sizes: NDArray[np.float64], squares: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return, for each nucleus, the square that holds it with its middle nearest.

    ``centres`` ``(B, 2)`` and largest sides ``sizes`` ``(B,)``; the last square holds all.
    """
    middles, sides = (squares[:, :2] + squares[:, 2:]) / 2, squares[:, 2] - squares[:, 0]
    away = np.abs(centres[:, None] - middles).max(axis=2)
    holds = away + sizes[:, None] / 2 <= sides / 2
    # Of several, that of all of the tile is the largest, and is not taken where another holds.
    holds[:, -1] = ~holds[:, :-1].any(axis=1)
    return np.where(holds, away, np.inf).argmin(axis=1)


def _cut(logits: Tensor, square: NDArray[np.float64]) -> tuple[Tensor, NDArray[np.float64]]:
    """Return the part of logits ``(G, G)`` where they say anything, and where it lies.

    What is left out is at the lower end of their range, as `sample_logits` takes it again.
    """
    said = torch.nonzero(logits > -LOGIT_RANGE)
    if not len(said):
        said = torch.zeros((1, 2), dtype=torch.long)
    first = (said.amin(0) - 1).clamp(min=0)
    last = (said.amax(0) + 2).clamp(max=len(logits))
    cell = (square[2:] - square[:2]) / len(logits)
    start = np.tile(square[:2], 2)
    window = start + np.concatenate([first.numpy() * cell, last.numpy() * cell])
    return logits[first[0] : last[0], first[1] : last[1]], window
