"""A text model at work on a part of an image in the app; it changes nothing, see `TileRun`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from napari_nucleus.core.geometry import Box
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.tiling import TileSpec
from napari_nucleus.hosting.job import Job
from napari_nucleus.hosting.tiles import TileOrder
from napari_nucleus.models.api import Calibration, TextAnswer
from napari_nucleus.session.text_search import TextSearch
from napari_nucleus.widgets.background import on_main_thread
from napari_nucleus.widgets.tile_run import TileRun

__all__ = ["TextRun"]


class TextRun(TileRun):
    """One search for what a text means.

    Parameters
    ----------
    search
        Takes in what the model finds.
    texts
        What the model is asked: the text, and other wordings of it.
    arguments
        Those of `TileRun`.

    Attributes
    ----------
    complete
        True once the model has looked everywhere.
    """

    def __init__(self, search: TextSearch, texts: Sequence[str], *arguments: Any) -> None:
        super().__init__(*arguments)
        self.search = search
        self.complete = False
        self._texts = tuple(texts)

    def _open(self) -> Callable[[Box], bool]:
        return self.search.ground.meets

    def _send(self, calibration: Calibration, wanted: Callable[[Box], bool]) -> Job:
        order = TileOrder(
            self._annotation.source,
            calibration,
            self._extent.box,
            self._start,
            on_tile=lambda spec, nuclei: on_main_thread(self._on_tile, spec, nuclei),
            on_progress=lambda report: on_main_thread(self._on_progress, report),
            visible=self._visible,
            wanted=wanted,
        )
        return self._model.host.ask_all(
            order,
            self._texts,
            lambda spec, answers: on_main_thread(self._on_answers, spec, answers),
        )

    def _on_answers(self, spec: TileSpec, answers: list[TextAnswer]) -> None:
        if self.running:
            self.search.add_wordings(spec.core, [answer.nuclei for answer in answers[1:]])

    def _take(self, core: Box, nuclei: Nuclei) -> None:
        self.search.add_tile(core, nuclei)

    def _succeed(self, count: int) -> None:
        self.complete = True
        super()._succeed(count)

    def _found(self) -> str:
        return f"{self._model.name} has looked at the {self._extent.name}."

    def _close(self) -> None:
        """There is nothing to close: what was found is put together by whoever asked."""
