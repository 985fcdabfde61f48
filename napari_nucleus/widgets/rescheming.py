"""Giving a document another class scheme in the app, bit by bit, as one step."""

from __future__ import annotations

import time
from collections.abc import Generator

from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.errors import NucleusError
from napari_nucleus.session.document import Document
from napari_nucleus.session.outlines import ActionResult
from napari_nucleus.session.rescheme import scheme_change_steps

__all__ = ["Rescheming"]

SLICE_S = 0.02
"""Seconds of work between two turns of the event loop."""


class Rescheming:
    """A change of scheme under way; until it has ended, nothing else may change the document.

    Attributes
    ----------
    progressed
        Emitted with the number of nuclei that are done.
    ended
        Emitted with the result, or with None when nothing was changed.
    failed
        Emitted with a sentence when it cannot be done; nothing was changed then.
    """

    progressed = Signal(int)
    ended = Signal(object)
    failed = Signal(str)

    def __init__(self, document: Document, scheme: ClassScheme) -> None:
        self._steps: Generator[int, None, ActionResult] | None = scheme_change_steps(
            document, scheme
        )

    @property
    def running(self) -> bool:
        """True until it has ended."""
        return self._steps is not None

    def start(self) -> None:
        """Begin; returns soon."""
        self._go_on()

    def stop(self) -> None:
        """Give it up: the document is as it was."""
        steps, self._steps = self._steps, None
        if steps is not None:
            steps.close()
            self.ended.emit(None)

    def _go_on(self) -> None:
        if self._steps is None:
            return
        until, done = time.perf_counter() + SLICE_S, 0
        try:
            while time.perf_counter() < until:
                done = next(self._steps)
        except StopIteration as end:
            self._steps = None
            self.ended.emit(end.value)
        except NucleusError as error:
            self._steps = None
            self.failed.emit(str(error))
            self.ended.emit(None)
        else:
            self.progressed.emit(done)
            # A method alone would be held weakly, and the change with it.
            QTimer.singleShot(0, lambda: self._go_on())
