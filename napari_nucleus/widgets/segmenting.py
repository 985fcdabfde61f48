"""A segmentation under way in the app: its nuclei enter the document as they come.

All tiles are one undo step; what the user does meanwhile is never overwritten (see `session.run`).
"""

from __future__ import annotations

from collections.abc import Callable

from napari_nucleus.core.geometry import Box
from napari_nucleus.core.nuclei import Nuclei, counted
from napari_nucleus.errors import NucleusError
from napari_nucleus.session.run import Run
from napari_nucleus.widgets.tile_run import TileRun

__all__ = ["Segmentation"]


class Segmentation(TileRun):
    """One automatic run over a part of an annotated image; see `TileRun`."""

    _run: Run | None = None

    def _open(self) -> Callable[[Box], bool]:
        self._run = self._annotation.document.run(
            f"Segment {self._extent.name}",
            self._extent.polygons,
            made_by=self._model.made_by,
            alike=self._alike,
        )
        return self._run.ground.meets

    def _take(self, core: Box, nuclei: Nuclei) -> None:
        if self._run is not None:
            self._run.add_tile(core, nuclei)

    def _found(self) -> str:
        if self._run is None:
            return "Nothing was found yet."
        text = f"{counted(self._run.added)} in the {self._extent.name}."
        if self._run.left_out:
            text += f" {self._run.left_out:,} gave way to nuclei of yours."
        if any(region.meets(self._extent.box) for region in self._run.ground.closed):
            text += " Excluded and signed-off regions were left as they are."
        return text

    def _close(self) -> None:
        if self._run is not None:
            try:
                self._run.close()
            except NucleusError as error:
                self._annotation.warned.emit(str(error))
