"""Requests of the click tool on their way to the model and back. Main thread only."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING

from napari_nucleus.core.geometry import Box
from napari_nucleus.core.prompts import MaskPrediction
from napari_nucleus.hosting.planning import click_tile
from napari_nucleus.models.api import Calibration
from napari_nucleus.session.outcomes import Done, Nothing, Outcome, Request
from napari_nucleus.widgets.background import on_main_thread, when_done

if TYPE_CHECKING:
    from napari_nucleus.widgets.annotation import Annotation

__all__ = ["Asking"]


class Asking:
    """What an annotation has asked the model, and was not answered yet."""

    def __init__(self, annotation: Annotation) -> None:
        self._annotation = annotation
        self._answers: dict[int, Future[list[MaskPrediction]]] = {}
        self._tile: Box | None = None

    def ask(self, request: Request) -> None:
        """Send a request; its answer becomes an edit when it comes."""
        for number in request.supersedes:
            self.forget(number)
        self._annotation.marks.wait(request.number)
        when_done(
            self._annotation.calibration(),
            partial(self._send, request),
            partial(self._on_no_answer, request),
        )

    def forget(self, number: int) -> None:
        """Want no answer to a request any more."""
        self._annotation.marks.done(number)
        answer = self._answers.pop(number, None)
        if answer is not None:
            answer.cancel()

    def drop(self) -> bool:
        """Give up what is not answered yet; return False if nothing is."""
        tool = self._annotation.tool
        if not tool.pending:
            return False
        for request in tool.pending:
            self.forget(request.number)
        tool.escape()
        return True

    def close(self) -> None:
        """Want no answer at all."""
        for number in list(self._answers):
            self.forget(number)

    def _send(self, request: Request, calibration: Calibration) -> None:
        annotation = self._annotation
        if request.number not in {r.number for r in annotation.tool.pending}:
            annotation.marks.done(request.number)
            return
        model, source = annotation.model, annotation.source
        self._tile = click_tile(request.box, source.shape, model.info, calibration, self._tile)
        answer = model.host.refine(
            source,
            self._tile,
            calibration,
            [c.prompts for c in request.candidates],
            on_encoding=lambda _: on_main_thread(self._on_encoding, request),
        )
        self._answers[request.number] = answer
        when_done(answer, partial(self._on_answer, request), partial(self._on_no_answer, request))

    def _on_encoding(self, request: Request) -> None:
        if request.number in self._answers:
            self._annotation.marks.wait(request.number, "encoding…")

    def _on_answer(self, request: Request, predictions: Sequence[MaskPrediction]) -> None:
        annotation = self._annotation
        self._answers.pop(request.number, None)
        annotation.marks.done(request.number)

        def take() -> Outcome:
            result = annotation.tool.answer(request, predictions, annotation.model.made_by)
            return Nothing("") if result is None else Done(result)

        annotation.do(take)

    def _on_no_answer(self, request: Request, error: BaseException) -> None:
        self._annotation.tool.failed(request)
        self.forget(request.number)
        self._annotation.tell_failure(error)
