"""Progress and cancellation, passed as values into everything that takes time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from napari_nucleus.errors import CancelledError

__all__ = ["Cancel", "Progress", "ignore_progress"]


@dataclass(frozen=True, slots=True)
class Progress:
    """A state of a long job: ``done`` of ``total`` steps, since ``started`` (seconds).

    ``text`` says what is being done, for people.
    """

    done: int
    total: int
    text: str = ""
    started: float = field(default_factory=time.monotonic)

    @property
    def fraction(self) -> float:
        """Share that is done, 0–1; 1 for a job without steps."""
        return 1.0 if self.total <= 0 else min(self.done / self.total, 1.0)

    def seconds_left(self, now: float | None = None) -> float | None:
        """Estimate the remaining seconds from the pace so far; None before the first step."""
        if self.done <= 0:
            return None
        elapsed = (time.monotonic() if now is None else now) - self.started
        return elapsed / self.done * max(self.total - self.done, 0)


ProgressCallback = Callable[[Progress], None]


def ignore_progress(_: Progress) -> None:
    """Take a progress report and do nothing."""


class Cancel:
    """A flag that one thread sets and a job looks at between its steps."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Ask the job to stop."""
        self._event.set()

    def __bool__(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        """Raise `CancelledError` if the job was asked to stop."""
        if self._event.is_set():
            raise CancelledError("Cancelled; what was finished before is kept.")
