"""A comparison under way in the app: another model looks at an image that has nuclei already."""

from __future__ import annotations

from collections.abc import Callable

from napari_nucleus.core.geometry import Box
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.session.comparison import Comparison
from napari_nucleus.widgets.tile_run import TileRun

__all__ = ["ComparisonRun"]


class ComparisonRun(TileRun):
    """One run of another model, which changes nothing; see `TileRun`.

    Attributes
    ----------
    comparison
        What came of it; None until the model has begun.
    """

    comparison: Comparison | None = None

    def _open(self) -> Callable[[Box], bool]:
        self.comparison = Comparison(
            self._annotation.document, self._model.made_by, self._extent.polygons, self._alike
        )
        return self.comparison.ground.meets

    def _take(self, core: Box, nuclei: Nuclei) -> None:
        if self.comparison is not None:
            self.comparison.add_tile(core, nuclei)

    def _found(self) -> str:
        if self.comparison is None:
            return "Nothing was compared."
        return f"{self._model.name} has looked at the {self._extent.name}."

    def _close(self) -> None:
        """There is nothing to close: what it has found is noted by whoever asked for it."""
