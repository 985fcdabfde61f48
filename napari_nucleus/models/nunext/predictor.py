"""The NuNext nano as the rest of the program sees it: tiles in, points out.

A predictor holds weights and nothing about images. It looks through UniNuc's encoder, and asks it
for the magnification of images that do not state theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_nucleus.core.image import Tile
from napari_nucleus.core.points import Points
from napari_nucleus.models.api import Calibration, ModelInfo
from napari_nucleus.models.calibrate import NucleusSizes
from napari_nucleus.models.nunext.config import NuNextInference
from napari_nucleus.models.nunext.generation import generate
from napari_nucleus.models.nunext.network import Looked, NuNext, Seen
from napari_nucleus.models.nunext.windows import Piece, detect_in_windows
from napari_nucleus.models.predicting import Predictor
from napari_nucleus.models.uninuc.predictor import UniNucPredictor
from napari_nucleus.models.working import mirror_to, normalise

__all__ = ["NuNextPredictor"]


class NuNextPredictor(Predictor):
    """Detection of nuclei as points.

    Parameters
    ----------
    network
        With weights loaded, on its device.
    info, digest
        As for every `Predictor`.
    eyes
        The predictor whose encoder the network looks through.
    """

    def __init__(
        self, network: NuNext, info: ModelInfo, digest: str, eyes: UniNucPredictor
    ) -> None:
        config = network.config.inference
        super().__init__(network, config, info, digest, eyes.training_stain)
        self.network, self.eyes = network, eyes
        self.config: NuNextInference = config

    def detect(self, tile: Tile, calibration: Calibration | None = None) -> Points:
        """Return the centres of the nuclei of a tile, in tile pixels."""
        return self.detect_many([tile], calibration)[0]

    def detect_many(
        self, tiles: Sequence[Tile], calibration: Calibration | None = None
    ) -> list[Points]:
        """Return the centres of the nuclei of several tiles, written together."""
        return self._in_windows(tiles, calibration, self._written)

    def peaks(self, tile: Tile, calibration: Calibration | None = None) -> Points:
        """Return the peaks of the map of centres alone, without a word written."""
        return self._in_windows([tile], calibration, self._peaks)[0]

    def with_bias(self, scale: float) -> NuNextPredictor:
        """Return this predictor with the guide counting ``scale`` times; 0 leaves it out."""
        other = copy(self)
        other.config = replace(self.config, bias=scale)
        return other

    def _in_windows(
        self,
        tiles: Sequence[Tile],
        calibration: Calibration | None,
        find: Callable[[Looked, Tensor], list[Points]],
    ) -> list[Points]:
        """Return the points that ``find`` makes of windows, in pixels of each tile."""
        workings = [
            self._working(t, calibration or self.calibrate([t], t.frame.raster_mpp)) for t in tiles
        ]

        def windows(pieces: Sequence[Piece]) -> list[Points]:
            cut = [
                workings[p.tile].rgb[0][:, slice(*p.window.box[::2]), slice(*p.window.box[1::2])]
                for p in pieces
            ]
            return find(*self._look(cut))

        config = self.config
        found = detect_in_windows(
            [(w.rgb.shape[-2], w.rgb.shape[-1]) for w in workings],
            windows,
            config.window,
            config.halo,
            config.radius,
            config.batch,
        )
        return [
            points.scaled((1 / w.per_tile_pixel[0], 1 / w.per_tile_pixel[1]))
            for points, w in zip(found, workings, strict=True)
        ]

    @torch.inference_mode()
    def _look(self, windows: Sequence[Tensor]) -> tuple[Looked, Tensor]:
        """Return what is seen in windows ``(3, h, w)`` of any sizes, and those sizes ``(B, 2)``."""
        sizes = torch.tensor([w.shape[-2:] for w in windows], device=self._device)
        multiple = self.network.segmenter.config.encoder.multiple
        height, width = (-(-int(n) // multiple) * multiple for n in sizes.amax(0))
        batch = torch.cat([_filled(w, height, width) for w in windows])
        pixels = normalise(batch).contiguous(memory_format=torch.channels_last)
        with self._autocast():
            seen = self.network.see(pixels)
            looked = self.network.look(Seen(*(v.float() for v in seen)), sizes)
        return looked, sizes

    def _written(self, looked: Looked, sizes: Tensor) -> list[Points]:
        """Return the points that are written on windows."""
        config = self.config
        least = config.min_score if config.bias else config.min_score_alone
        guided = looked._replace(peaks=looked.peaks.likely(config.peak))
        with self._autocast():
            answer = generate(self.network, guided, config.bias, config.end)
        network = self.network
        yx = torch.stack(
            [network.pixels_of(answer.written.y), network.pixels_of(answer.written.x)], 2
        )
        out = []
        for b, count in enumerate(answer.count.tolist()):
            points = Points(
                _array(yx[b, :count]).astype(np.float64),
                _array(answer.confidence[b, :count]),
                _array(answer.classes[b, :count]),
            )
            kept = (points.score >= least) & _within(points.yx, sizes[b])
            out.append(points.select(kept))
        return out

    def _peaks(self, looked: Looked, sizes: Tensor) -> list[Points]:
        """Return the peaks of the map that are likely enough."""
        peaks = looked.peaks.likely(self.config.peak)
        out = []
        for b, size in enumerate(sizes):
            yx, score = _array(peaks.yx[b]).astype(np.float64), _array(peaks.probability[b])
            kept = (score > 0) & _within(yx, size)
            classes = np.zeros((int(kept.sum()), self.network.config.n_classes), np.float32)
            out.append(Points(yx[kept], score[kept], classes))
        return out

    def _sizes_at(self, samples: Sequence[Tile], zoom: float) -> NucleusSizes:
        return self.eyes._sizes_at(samples, zoom)


def _filled(window: Tensor, height: int, width: int) -> Tensor:
    """Return a window ``(1, 3, height, width)``, mirrored at its far sides."""
    return mirror_to(window[None], (height, width))


def _array(value: Tensor) -> NDArray[np.float32]:
    return value.float().cpu().numpy()


def _within(yx: NDArray[np.floating], size: Tensor) -> NDArray[np.bool_]:
    """Return which points lie inside a window of a size."""
    return np.all(yx < size.cpu().numpy(), axis=1)
