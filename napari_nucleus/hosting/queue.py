"""Requests that wait for the worker: the most urgent first, the older first among equals."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from napari_nucleus.hosting.messages import Request

__all__ = ["Item", "Priority", "RequestQueue"]


class Priority(IntEnum):
    """How urgent a request is; the smaller goes first."""

    CLICK = 0
    VISIBLE = 1
    REST = 2
    IDLE = 3


@dataclass(eq=False)
class Item:
    """A request on its way, held by one thread at a time.

    Parameters
    ----------
    what
        What it is for, for people: ``"the click"``.
    priority
        How urgent it is.
    request
        Makes the request at the moment it is sent.
    result
        Makes the future's result of the reply.
    on_missing
        Takes the item when the worker lacks its pixels, and submits it again with them.
    future
        Where the result goes; cancelling it before the request is sent withdraws the request.
    deaths
        How often the worker died on it.
    """

    what: str
    priority: Priority
    request: Callable[[], Request]
    result: Callable[[Any], Any]
    on_missing: Callable[[Item], None] | None = None
    future: Future[Any] = field(default_factory=Future)
    deaths: int = 0
    _place: tuple[int, int] | None = None
    _begun: bool | None = None

    def __lt__(self, other: Item) -> bool:
        return (self._place or (0, 0)) < (other._place or (0, 0))

    def place(self, count: int) -> None:
        """Take a place in the queue; one that comes back keeps the place it had."""
        self._place = self._place or (self.priority, count)

    def begin(self) -> bool:
        """Take the request up, after which it cannot be cancelled; False if it was before."""
        if self._begun is None:
            self._begun = self.future.set_running_or_notify_cancel()
        return self._begun

    def succeed(self, reply: Any) -> None:
        """Set the result that ``reply`` makes."""
        try:
            self.future.set_result(self.result(reply))
        except Exception as error:
            self.future.set_exception(error)

    def fail(self, error: BaseException) -> None:
        """Set an error, unless the request was cancelled before."""
        if self.begin():
            self.future.set_exception(error)

    def withdraw(self, error: BaseException) -> None:
        """Cancel the request, or fail it with ``error`` if it was taken up before."""
        if self.future.cancel():
            self.begin()
        else:
            self.fail(error)


class RequestQueue:
    """A priority queue of items that any thread may fill."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heap: list[Item] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, item: Item) -> None:
        """Add an item."""
        with self._lock:
            self._count += 1
            item.place(self._count)
            heapq.heappush(self._heap, item)

    def pop(self) -> Item | None:
        """Take up the most urgent item that was not cancelled; None if there is none."""
        with self._lock:
            while self._heap:
                item = heapq.heappop(self._heap)
                if item.begin():
                    return item
        return None

    def drain(self) -> list[Item]:
        """Remove and return all items."""
        with self._lock:
            items, self._heap = self._heap, []
        return sorted(items)
