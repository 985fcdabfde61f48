"""What a model answers to prompts on an image; each click tile is embedded once."""

from __future__ import annotations

from collections.abc import Sequence

from napari_nucleus.core.geometry import Box
from napari_nucleus.core.image import ImageSource
from napari_nucleus.core.prompts import MaskPrediction, Prompts
from napari_nucleus.hosting.planning import read_tile
from napari_nucleus.models.api import Calibration, Embedding, PromptableSegmenter

__all__ = ["Embeddings"]


class Embeddings:
    """Embeddings of an image's click tiles.

    Parameters
    ----------
    model, source, calibration
        The model, the image, and what the model knows of it.
    """

    def __init__(
        self, model: PromptableSegmenter, source: ImageSource, calibration: Calibration
    ) -> None:
        self.model, self.source, self.calibration = model, source, calibration
        self._made: dict[Box, Embedding] = {}

    def refine(self, tile: Box, prompts: Sequence[Prompts]) -> list[MaskPrediction]:
        """Return the answers to prompts on one tile; all in level-0 pixels."""
        if tile not in self._made:
            piece = read_tile(self.source, tile, self.calibration.mpp)
            self._made[tile] = self.model.embed(piece, self.calibration)
        y, x = tile[:2]
        local = [p.shifted(-y, -x) for p in prompts]
        return [a.shifted(y, x) for a in self.model.refine_many(self._made[tile], local)]
