"""Requests on their way from a host to its worker, and the jobs that send many of them.

Knows tiles, futures and threads: pixels are read on helper threads where the worker needs them, a
newer request takes the place of an older one about the same thing, and what a closing host must
stop is remembered. What is asked, and what becomes of an answer, its callers say.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import CancelledError as FutureCancelledError
from concurrent.futures import Future
from typing import Any

from napari_nucleus.core.image import Tile
from napari_nucleus.core.tiling import TileSpec
from napari_nucleus.errors import CancelledError
from napari_nucleus.hosting.dispatcher import Dispatcher
from napari_nucleus.hosting.job import Job
from napari_nucleus.hosting.messages import Description, Request
from napari_nucleus.hosting.mirror import EncodingCallback, Mirror, TileOnDemand
from napari_nucleus.hosting.queue import Item, Priority
from napari_nucleus.hosting.tiles import F, S, Seams, TileOrder, run_tiles
from napari_nucleus.models.api import ModelInfo

__all__ = ["Requests"]


class Requests:
    """What a host sends to its worker.

    Parameters
    ----------
    dispatcher
        Serves the requests.
    mirror
        What the worker has encoded.
    """

    def __init__(self, dispatcher: Dispatcher, mirror: Mirror) -> None:
        self.mirror = mirror
        self._dispatcher = dispatcher
        self._lock = threading.Lock()
        self._newest: dict[Hashable, Item] = {}
        self._jobs: set[Job] = set()

    @property
    def info(self) -> ModelInfo:
        """The loaded model; there is one when a request is sent."""
        return self._dispatcher.loaded.result().info

    def cancel_jobs(self) -> list[Job]:
        """Cancel all jobs and return them; those in a callback or reading pixels take a while."""
        with self._lock:
            jobs = list(self._jobs)
        for job in jobs:
            job.cancel()
        return jobs

    def info_when_loaded(self) -> Future[ModelInfo]:
        """Return a future of its own, so that one waiter can be cancelled without the others."""
        waiter: Future[ModelInfo] = Future()

        def pass_on(loaded: Future[Description]) -> None:
            if loaded.cancelled():
                waiter.cancel()
            if waiter.set_running_or_notify_cancel():
                error = loaded.exception()
                if error is None:
                    waiter.set_result(loaded.result().info)
                else:
                    waiter.set_exception(error)

        self._dispatcher.loaded.add_done_callback(pass_on)
        return waiter

    def submit_newest(
        self,
        item: Item,
        tile: TileOnDemand,
        key: Hashable,
        on_encoding: EncodingCallback | None,
    ) -> None:
        """Submit a request on a tile in the place of the older one with the same key."""
        if key is not None:
            self._supersede(key, item)
        self.submit_tile(item, tile, on_encoding)

    def submit_tile(
        self, item: Item, tile: TileOnDemand, on_encoding: EncodingCallback | None = None
    ) -> None:
        """Submit a request on a tile, with pixels if they are needed now or turn out to be."""

        def prepare() -> None:
            if not item.future.cancelled():
                tile.prepare(on_encoding)

        def on_missing(item: Item) -> None:
            tile.missing()
            self.submit_after(prepare, item)

        item.on_missing = on_missing
        if tile.is_ready:
            self._dispatcher.submit(item)
        else:
            self.submit_after(prepare, item)

    def submit_after(self, work: Callable[[], None], item: Item) -> None:
        """Submit ``item`` once ``work`` was done on a helper thread; it fails if that fails."""

        def run() -> None:
            try:
                work()
            except FutureCancelledError:
                item.withdraw(CancelledError("The model was closed before it was loaded."))
            except Exception as error:
                item.fail(error)
            else:
                self._dispatcher.submit(item)

        threading.Thread(target=run, name="nucleus pixels", daemon=True).start()

    def run_job(self, job: Job, work: Callable[[], int]) -> None:
        """Do ``work`` on a thread of its own and set the job's future."""

        def run() -> None:
            try:
                job.future.set_result(work())
            except FutureCancelledError:
                job.future.set_exception(CancelledError("Cancelled; what was finished is kept."))
            except Exception as error:
                job.future.set_exception(error)
            finally:
                with self._lock:
                    self._jobs.discard(job)

        with self._lock:
            self._jobs.add(job)
        threading.Thread(target=run, name="nucleus job", daemon=True).start()

    def run_tiles(
        self,
        order: TileOrder,
        request: Callable[[TileSpec, Tile], Request],
        found: Callable[[TileSpec, Any], F],
        seams: Callable[[list[TileSpec]], Seams[F, S]],
        on_tile: Callable[[TileSpec, S], None],
        plan: Callable[[ModelInfo], list[TileSpec]] | None = None,
        what: str = "Segmenting tiles",
    ) -> Job:
        """Send a request for each tile of an order.

        Parameters
        ----------
        order
            Where.
        request
            Makes the request of a tile.
        found
            Takes what was found, in pixels of the tile, out of the reply.
        seams
            Makes, for all tiles, what turns findings of tiles into findings that come once.
        on_tile
            Takes what became final with a tile.
        plan
            Makes the tiles; by default those of the order.
        what
            What is being done, for people.
        """

        def submit(spec: TileSpec, tile: Tile) -> Future[F]:
            item = Item(
                f"the tile at y {spec.core[0]}, x {spec.core[1]}",
                Priority.VISIBLE if order.shows(spec.core) else Priority.REST,
                lambda: request(spec, tile),
                lambda reply: found(spec, reply),
            )
            self._dispatcher.submit(item)
            return job.follow(item.future)

        def work() -> int:
            info = job.follow(self.info_when_loaded()).result()
            specs = (plan or order.plan)(info)
            return run_tiles(
                specs,
                order.source,
                order.calibration,
                submit,
                seams(specs),
                on_tile,
                order.on_progress,
                job.cancelled,
                what,
            )

        job = Job()
        self.run_job(job, work)
        return job

    def _supersede(self, key: Hashable, item: Item) -> None:
        """Cancel the request with this key that has not begun; ``item`` takes its place."""

        def forget(_: Future[object]) -> None:
            with self._lock:
                if self._newest.get(key) is item:
                    del self._newest[key]

        with self._lock:
            older = self._newest.get(key)
            self._newest[key] = item
        item.future.add_done_callback(forget)
        if older is not None:
            older.future.cancel()
