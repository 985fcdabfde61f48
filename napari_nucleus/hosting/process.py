"""The host's handle on a worker process: start it, talk to it, see it die, end it.

Used by one thread, the dispatcher's. Nothing of a worker outlives `WorkerProcess.stop`: neither
the process nor its shared memory.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from multiprocessing import connection as mp_connection
from multiprocessing.connection import Connection
from types import ModuleType

from napari_nucleus.hosting.messages import Reply, Request, Shutdown
from napari_nucleus.hosting.shared import HostEnd
from napari_nucleus.hosting.worker import WorkerOptions, main

__all__ = ["Event", "WorkerProcess"]

PATIENCE_S = 2.0
"""Seconds an idle worker gets to end by itself, and a terminated one to be gone."""

_SPAWNING = threading.Lock()
"""Held while the main module is hidden, which is the interpreter's, not one host's."""


class Event(Enum):
    """What `WorkerProcess.wait` woke up for."""

    REPLY = "reply"
    DEATH = "death"
    WAKE = "wake"


class WorkerProcess:
    """A running worker; made in a process of its own by spawning, so that it inherits nothing."""

    def __init__(self, options: WorkerOptions) -> None:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        self._end = HostEnd(here)
        self._process = context.Process(
            target=main, args=(there, options), name="nucleus worker", daemon=True
        )
        try:
            with _interrupts_blocked(), _main_module_hidden():
                self._process.start()
        except BaseException:
            self._end.close()
            raise
        finally:
            there.close()

    @property
    def pid(self) -> int | None:
        """Process id of the worker."""
        return self._process.pid

    def send(self, request: Request) -> None:
        """Send a request; a worker that is gone is reported by `wait`, not here."""
        try:
            self._end.send(request)
        except (BrokenPipeError, ConnectionError):
            return

    def receive(self) -> Reply:
        """Return the reply that `wait` announced; `EOFError` or `OSError` if it was cut off."""
        return self._end.receive()

    def wait(self, wake: Connection) -> list[Event]:
        """Wait for the worker or for ``wake``; a reply comes before a death that followed it."""
        ready = mp_connection.wait([wake, self._end.connection, self._process.sentinel])
        events = []
        if wake in ready:
            events.append(Event.WAKE)
        if self._end.connection in ready:
            events.append(Event.REPLY)
        elif self._process.sentinel in ready:
            events.append(Event.DEATH)
        return events

    def cause_of_death(self) -> str:
        """Say in a few words how the process ended."""
        self._process.join(PATIENCE_S)
        code = self._process.exitcode
        if code is None:
            return "it closed its connection"
        if code >= 0:
            return f"it ended with exit code {code}"
        if code == -9:
            return "the system killed it (SIGKILL), most often because memory ran out"
        return f"it was ended by signal {-code} ({signal.strsignal(-code)})"

    def stop(self, at_once: bool) -> None:
        """End the worker: ``at_once``, or after a polite request if it is idle."""
        if not at_once:
            self.send(Shutdown())
            self._process.join(PATIENCE_S)
        for end in (self._process.terminate, self._process.kill):
            if self._process.is_alive():
                end()
                self._process.join(PATIENCE_S)
        self._end.close()
        if not self._process.is_alive():
            self._process.close()


@contextmanager
def _main_module_hidden() -> Iterator[None]:
    """Keep spawning from running the user's script again in the worker.

    It imports the parent's main module into the child, for functions defined there; a worker needs
    none, and a script that opens a viewer without an ``if __name__ == "__main__"`` would open a
    second one. The standard library offers no other way to say so.
    """
    with _SPAWNING:
        main_module = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main_module


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Let a child start with Ctrl-C blocked: it would print a traceback before it can ignore it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
