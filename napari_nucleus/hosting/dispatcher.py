"""One thread that keeps a worker alive and hands it one request at a time.

Knows requests, replies and processes; knows nothing of images. The thread alone touches the worker
process and the request in flight. Other threads fill the queue and wake it. ``_lock`` guards that
nothing is queued once requests are refused, and the one pending wake-up; the queue's own lock is
taken inside it, never the other way round; no signal is emitted and no future set under a lock.

The life of a worker: it is started, loads the model, and answers. When it dies it is started
again, and the request it died on is sent once more; the second time that request fails and the
next one is served. Deaths that no request explains (while loading or idle) are counted, and after
`MAX_DEATHS` in a row without an answer the dispatcher gives up: everything that waits fails with
the reason, and so does everything that comes later.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing import Pipe
from typing import Literal

from psygnal import Signal

from napari_nucleus.errors import CancelledError, HostError
from napari_nucleus.hosting.messages import (
    Description,
    Failure,
    Load,
    MissingTile,
    ModelSpec,
    Reply,
)
from napari_nucleus.hosting.process import Event, WorkerProcess
from napari_nucleus.hosting.queue import Item, RequestQueue
from napari_nucleus.hosting.worker import WorkerOptions

__all__ = ["Dispatcher", "State"]

State = Literal["new", "starting", "ready", "busy", "restarting", "failed", "closed"]

MAX_DEATHS = 3
"""Deaths that no request explains, in a row, after which it is given up."""

JOIN_S = 5.0
"""Seconds that `Dispatcher.close` waits for a listener that holds up the thread."""

_log = logging.getLogger(__name__)


class Dispatcher:
    """Serves a queue of requests with a worker process that may die.

    Parameters
    ----------
    spec
        The model to load.
    options
        What the worker may use.
    on_fresh_worker
        Called on the dispatcher's thread before a worker is started: its cache is empty.
    """

    state_changed = Signal(str)

    def __init__(
        self, spec: ModelSpec, options: WorkerOptions, on_fresh_worker: Callable[[], None]
    ) -> None:
        self.loaded: Future[Description] = Future()
        self._spec = spec
        self._options = options
        self._on_fresh_worker = on_fresh_worker
        self._queue = RequestQueue()
        self._lock = threading.Lock()
        self._state: State = "new"
        self._refusal: Exception | None = None
        self._woken = False
        self._closing = threading.Event()
        self._wake_receiver, self._wake_sender = Pipe(duplex=False)
        self._thread = threading.Thread(target=self._run, name="nucleus host", daemon=True)
        self._worker: WorkerProcess | None = None
        self._loading = False
        self._in_flight: Item | None = None
        self._deaths = 0

    @property
    def state(self) -> State:
        """What the worker is doing."""
        return self._state

    @property
    def pid(self) -> int | None:
        """Process id of the worker, or None while there is none."""
        worker = self._worker
        return worker.pid if worker else None

    def start(self) -> None:
        """Start the worker and return at once; a second call does nothing."""
        with self._lock:
            if self._state != "new":
                return
            self._state = "starting"
        self._emit("starting")
        self._thread.start()

    def submit(self, item: Item) -> None:
        """Queue an item; it fails at once where nothing will be served any more."""
        with self._lock:
            refusal = self._refusal
            if refusal is None:
                self._queue.push(item)
        if refusal is None:
            self._wake()
        else:
            item.fail(refusal)

    def close(self) -> None:
        """End the worker, also in the middle of a request; what waits is cancelled."""
        self._closing.set()
        self._wake()
        if threading.current_thread() is self._thread:
            return
        if self._thread.is_alive():
            self._thread.join(JOIN_S)
        if not self._thread.is_alive():
            self._finish()

    # The rest runs on the dispatcher's thread.

    def _run(self) -> None:
        try:
            self._start_worker()
            while self._refusal is None and not self._closing.is_set():
                self._send_next()
                self._await_worker()
        except Exception as fault:
            _log.exception("the model process cannot be served")
            self._give_up(
                HostError(f"The model process cannot be served: {type(fault).__name__}: {fault}.")
            )
        finally:
            self._stop_worker()
            if self._closing.is_set():
                self._finish()

    def _start_worker(self) -> None:
        self._on_fresh_worker()
        self._worker = WorkerProcess(self._options)
        self._loading = True
        self._worker.send(Load(self._spec))

    def _send_next(self) -> None:
        if self._worker is None or self._loading or self._in_flight is not None:
            return
        self._in_flight = self._queue.pop()
        if self._in_flight is None:
            self._set_state("ready")
            return
        self._set_state("busy")
        self._worker.send(self._in_flight.request())

    def _await_worker(self) -> None:
        if self._worker is None:
            return
        for event in self._worker.wait(self._wake_receiver):
            if event is Event.WAKE:
                self._take_wake()
            elif event is Event.DEATH:
                self._recover(self._worker)
            else:
                try:
                    reply = self._worker.receive()
                except (EOFError, OSError):
                    self._recover(self._worker)
                else:
                    self._deliver(reply)

    def _deliver(self, reply: Reply) -> None:
        """Hand a reply to whom it belongs."""
        if self._loading:
            self._loading = False
            if isinstance(reply, Failure):
                self._give_up(reply.to_error())
            elif isinstance(reply, Description) and not self.loaded.done():
                self._set_state("ready")
                self.loaded.set_result(reply)
            return
        self._deaths = 0
        item, self._in_flight = self._in_flight, None
        assert item is not None
        if isinstance(reply, Failure):
            item.fail(reply.to_error())
        elif isinstance(reply, MissingTile) and item.on_missing is not None:
            item.on_missing(item)
        else:
            item.succeed(reply)

    def _recover(self, worker: WorkerProcess) -> None:
        """Start another worker after one died, and see to the request it died on."""
        cause = worker.cause_of_death()
        _log.warning("the model process died: %s", cause)
        self._stop_worker()
        item, self._in_flight = self._in_flight, None
        if item is None:
            self._deaths += 1
            if self._deaths >= MAX_DEATHS:
                self._give_up(
                    HostError(
                        f"The model process died {self._deaths} times in a row: {cause}. "
                        "Nothing that was annotated is lost; choose a smaller model or the CPU."
                    )
                )
                return
        else:
            item.deaths += 1
            if item.deaths == 1:
                self._queue.push(item)
            else:
                item.fail(
                    HostError(
                        f"The model process died twice on {item.what}: {cause}. It starts again "
                        "and what was finished is kept; try another place or a smaller model."
                    )
                )
        self._set_state("restarting")
        self._start_worker()

    def _give_up(self, error: Exception) -> None:
        """Fail everything that waits and will come, with ``error``."""
        for item in self._refuse(error):
            item.fail(error)
        if not self.loaded.done():
            self.loaded.set_exception(error)
        self._set_state("failed")

    def _finish(self) -> None:
        """Let go of everything; what still waits, or comes later, is cancelled."""
        closed = CancelledError("The model was closed; what was finished before is kept.")
        for item in self._refuse(closed):
            item.withdraw(closed)
        self.loaded.cancel()
        self._set_state("closed")

    def _refuse(self, error: Exception) -> list[Item]:
        """Let what comes from now on fail with ``error``; return what waits."""
        with self._lock:
            self._refusal = error
        in_flight, self._in_flight = self._in_flight, None
        return ([in_flight] if in_flight else []) + self._queue.drain()

    def _stop_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop(at_once=self._loading or self._in_flight is not None)

    def _wake(self) -> None:
        with self._lock:
            if not self._woken:
                self._woken = True
                self._wake_sender.send_bytes(b"!")

    def _take_wake(self) -> None:
        with self._lock:
            self._wake_receiver.recv_bytes()
            self._woken = False

    def _set_state(self, state: State) -> None:
        if state != self._state:
            self._state = state
            self._emit(state)

    def _emit(self, state: State) -> None:
        try:
            self.state_changed.emit(state)
        except Exception:
            _log.exception("a listener failed on state %r", state)
