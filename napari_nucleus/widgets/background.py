"""Work off the main thread, and the way back to it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError as FutureCancelledError
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from superqt.utils import ensure_main_thread

from napari_nucleus.errors import CancelledError

__all__ = ["WORKERS", "in_background", "on_main_thread", "when_done"]

T = TypeVar("T")

WORKERS = 4
"""Threads that background work is done on."""

_POOL = ThreadPoolExecutor(WORKERS, thread_name_prefix="napari-nucleus")


def on_main_thread(function: Callable[..., Any], *arguments: Any) -> None:
    """Call a function on the main thread, later if this is another thread."""
    ensure_main_thread(function)(*arguments)  # type: ignore[operator]


def when_done(
    future: Future[T],
    then: Callable[[T], None],
    failed: Callable[[BaseException], None],
) -> None:
    """Call ``then`` with a future's result, or ``failed`` with its error, on the main thread.

    A cancelled future calls ``failed`` with `CancelledError`.
    """

    def report(done: Future[T]) -> None:
        try:
            result = done.result()
        except (FutureCancelledError, CancelledError):
            on_main_thread(failed, CancelledError("Cancelled."))
        except Exception as error:  # whatever went wrong is for the user to read
            on_main_thread(failed, error)
        else:
            on_main_thread(then, result)

    future.add_done_callback(report)


def in_background(
    work: Callable[[], T],
    then: Callable[[T], None],
    failed: Callable[[BaseException], None],
) -> Future[T]:
    """Do work on another thread; what comes of it is told on the main thread as by `when_done`."""
    future = _POOL.submit(work)
    when_done(future, then, failed)
    return future
