"""The published size as the rest of the program sees it: tiles in, points out.

A tile is brought to the working pixels and cut into windows that are stretched to the model's
input; the points of each list are read back into the tile. Masks are a promptable model's work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from napari_nucleus.core.image import Tile
from napari_nucleus.core.points import Points
from napari_nucleus.models import zoo
from napari_nucleus.models.api import Calibration, ModelInfo
from napari_nucleus.models.nunext.qwen import Answer, Writer, to_input
from napari_nucleus.models.nunext.qwen_config import QwenSettings
from napari_nucleus.models.nunext.qwen_script import Script
from napari_nucleus.models.nunext.tokens import bin_centres
from napari_nucleus.models.nunext.windows import Piece, detect_in_windows
from napari_nucleus.models.working import to_working

__all__ = ["QwenPredictor"]


class QwenPredictor:
    """Detection by a language model with one set of weights.

    Parameters
    ----------
    writer
        Writes answers.
    script
        What it is asked.
    info
        Name, tile sizes; classes are left out where the weights tell none.
    digest
        Identifies the weights and their settings.
    settings
        Windows, and how answers are read.
    """

    def __init__(
        self, writer: Writer, script: Script, info: ModelInfo, digest: str, settings: QwenSettings
    ) -> None:
        self.writer, self.script, self.settings = writer, script, settings
        self.info = info if script.classes else replace(info, classes=None)
        self.digest = digest

    @property
    def device(self) -> str:
        """The device in words."""
        return self.writer.device

    def calibrate(self, samples: Sequence[Tile], mpp: float | None) -> Calibration:
        """Return the calibration of an image.

        Points have no size: where ``mpp`` is None, the bundled default model estimates it from
        the nuclei that it outlines.
        """
        if mpp is None:
            sized = zoo.load_model(zoo.DEFAULT_MODEL, "cpu").calibrate(samples, None)
            return replace(sized, scale=sized.mpp / self.settings.mpp)
        return Calibration(mpp / self.settings.mpp, mpp)

    def detect(self, tile: Tile, calibration: Calibration | None = None) -> Points:
        """Return the centres of the nuclei of a tile, in tile pixels."""
        return self.detect_many([tile], calibration)[0]

    @torch.inference_mode()
    def detect_many(
        self, tiles: Sequence[Tile], calibration: Calibration | None = None
    ) -> list[Points]:
        """Return the centres of the nuclei of several tiles, found together.

        Without a calibration each tile is calibrated by itself.
        """
        device = torch.device("cpu")
        workings = [
            to_working(
                tile.rgb,
                calibration or self.calibrate([tile], tile.frame.raster_mpp),
                1,
                None,
                0.0,
                device,
            )
            for tile in tiles
        ]
        settings = self.settings

        def detect(pieces: Sequence[Piece]) -> list[Points]:
            windows = []
            for piece in pieces:
                y0, x0, y1, x1 = piece.window.box
                windows.append(workings[piece.tile].rgb[0, :, y0:y1, x0:x1])
            return self._points(windows)

        found = detect_in_windows(
            [(int(w.rgb.shape[-2]), int(w.rgb.shape[-1])) for w in workings],
            detect,
            settings.window,
            settings.halo,
            settings.radius,
            settings.batch,
        )
        return [
            points.scaled((1 / w.per_tile_pixel[0], 1 / w.per_tile_pixel[1]))
            for points, w in zip(found, workings, strict=True)
        ]

    def _points(self, windows: Sequence[torch.Tensor]) -> list[Points]:
        """Return the points of windows ``(3, h, w)`` in 0–1, in their pixels."""
        settings, script = self.settings, self.script
        stretch = settings.side / settings.window
        sheet = self.writer.open([to_input(window, stretch) for window in windows], script)
        found: list[list[Points]] = [[] for _ in windows]
        for number, opening in enumerate(script.openings):
            sheet.say(opening)
            for i, answer in enumerate(sheet.points(settings)):
                size = (int(windows[i].shape[-2]), int(windows[i].shape[-1]))
                found[i].append(self._of_answer(answer, number, size))
        return [Points.joined(parts) for parts in found]

    def _of_answer(self, answer: Answer, number: int, size: tuple[int, int]) -> Points:
        """Return the points of the list of that number, in pixels of a window of that size."""
        told = answer.class_prob
        if self.script.by_list:
            told = np.zeros((len(answer.bins), self.script.classes), np.float32)
            told[:, number] = 1
        yx = bin_centres(answer.bins, size, self.script.vocabulary.bins)
        return Points(yx, answer.score, told)
