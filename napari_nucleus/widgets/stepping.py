"""Long changes of a document in the app, a slice of work for each turn of the event loop."""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from typing import Any

from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_nucleus.errors import NucleusError

__all__ = ["BUSY", "Stepping"]

BUSY = "The last change is still being made; wait a moment."
"""What the user is told who wants something else meanwhile."""

SLICE_S = 0.02
"""Seconds of work between two turns of the event loop."""


class Stepping:
    """A change under way; until it has ended, nothing else may change the document.

    Parameters
    ----------
    steps
        Yields between pieces of work, and returns the outcome; see `Document.commit_in_steps`.

    Attributes
    ----------
    progressed
        Emitted after each slice with what the steps yielded last.
    failed
        Emitted with a sentence when it cannot be done; nothing was changed then.
    ended
        Emitted with the outcome, or with None when nothing was changed.
    """

    progressed = Signal(object)
    failed = Signal(str)
    ended = Signal(object)

    def __init__(self, steps: Generator[Any, None, Any]) -> None:
        self._steps: Generator[Any, None, Any] | None = steps

    @property
    def running(self) -> bool:
        """True until it has ended."""
        return self._steps is not None

    def start(self) -> None:
        """Begin; what is done within the first slice has ended when it returns."""
        self._go_on(SLICE_S)

    def finish(self) -> None:
        """Work through to the end without another turn of the event loop."""
        self._go_on(math.inf)

    def stop(self) -> None:
        """Give it up: the document is as it was."""
        if self._steps is not None:
            self._steps.close()
            self._end(None)

    def _go_on(self, seconds: float) -> None:
        if self._steps is None:
            return
        until = time.perf_counter() + seconds
        try:
            done = next(self._steps)
            while time.perf_counter() < until:
                done = next(self._steps)
        except StopIteration as end:
            self._end(end.value)
        except NucleusError as error:
            self.failed.emit(str(error))
            self._end(None)
        else:
            self.progressed.emit(done)
            # A method alone would be held weakly, and the change with it.
            QTimer.singleShot(0, lambda: self._go_on(SLICE_S))

    def _end(self, outcome: Any) -> None:
        self._steps = None
        self.ended.emit(outcome)
