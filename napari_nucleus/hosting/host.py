"""What an application asks of a model on a device of this machine, without ever waiting for it.

A `Host` owns one worker process and speaks in images and level-0 coordinates; it cuts tiles, moves
coordinates, reads pixels on helper threads and remembers which tiles the worker has encoded. It
imports no torch and knows no Qt: futures are resolved and callbacks called on the host's own
threads, and a graphical application passes them on to its main thread.

The life of a click: `Host.refine` returns at once. If the worker has the tile's embedding the
request is queued directly; else a helper thread says so (``on_encoding``), reads the tile and then
queues it. Either way it overtakes everything but older clicks, and a newer click on the same thing
takes its place. If the worker turns out not to have the tile (it was restarted, or the embedding
had to go) it says so and the request is sent again with pixels.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, wait
from dataclasses import replace

from psygnal import SignalInstance

from napari_nucleus.core.geometry import Box
from napari_nucleus.core.image import ImageSource, Tile
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.points import Points
from napari_nucleus.core.progress import ProgressCallback, ignore_progress
from napari_nucleus.core.prompts import MaskPrediction, Prompts
from napari_nucleus.core.tiling import SeamResolver, TileSpec
from napari_nucleus.hosting import points as points_of
from napari_nucleus.hosting.dispatcher import Dispatcher, State
from napari_nucleus.hosting.job import Job
from napari_nucleus.hosting.messages import (
    Answered,
    Ask,
    Calibrate,
    Calibrated,
    Describe,
    Description,
    Embed,
    Embedded,
    ModelSpec,
    Refine,
    Refined,
    SegmentTile,
)
from napari_nucleus.hosting.mirror import EncodingCallback, Mirror, TileOnDemand
from napari_nucleus.hosting.planning import read_samples
from napari_nucleus.hosting.point_tiles import MasksCallback, ignore_masks
from napari_nucleus.hosting.points import PointsCallback
from napari_nucleus.hosting.queue import Item, Priority
from napari_nucleus.hosting.requests import Requests
from napari_nucleus.hosting.tiles import TileCallback, TileOrder, ignore_tile
from napari_nucleus.hosting.worker import WorkerOptions, usable_threads
from napari_nucleus.models.api import Calibration, ModelInfo, TextAnswer
from napari_nucleus.models.point_prompting import PointMasks, PointPrompting

__all__ = ["Host"]

CACHE_BYTES = 512 * 1024**2

AnswersCallback = Callable[[TileSpec, list[TextAnswer]], None]
"""Takes a tile and the answers to all texts on it."""

CLOSE_PATIENCE_S = 1.0
"""Seconds that `Host.close` waits for jobs that are in a callback or reading pixels."""


def _ignore_answers(_: TileSpec, __: list[TextAnswer]) -> None:
    """Take the answers on a tile and do nothing."""


def _shifted(answer: TextAnswer, box: Box) -> TextAnswer:
    """Return an answer in level-0 pixels; it was in those of the tile with this box."""
    return replace(answer, nuclei=answer.nuclei.shifted(box[0], box[1]))


class Host:
    """A model in a process of its own; every method but `close` returns at once, on any thread.

    Parameters
    ----------
    spec
        The model to load.
    threads
        Threads of computation; by default `usable_threads`.
    cache_bytes
        Bytes of embeddings that the worker keeps.

    Notes
    -----
    Errors arrive through futures: `WeightsError` and the like when the model cannot be loaded,
    `HostError` when its process dies twice on a request, `ImageError` when pixels cannot be read,
    `CancelledError` when the host was closed.
    Sources are read on helper threads.
    """

    def __init__(
        self, spec: ModelSpec, *, threads: int | None = None, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self.spec = spec
        self._mirror = Mirror(spec.key)
        self._dispatcher = Dispatcher(
            spec, WorkerOptions(threads or usable_threads(), cache_bytes), self._mirror.clear
        )
        self._requests = Requests(self._dispatcher, self._mirror)
        self._lock = threading.Lock()
        self._prefetch: Job | None = None

    def __enter__(self) -> Host:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the worker process; requests may be made before and are kept."""
        atexit.register(self.close)
        self._dispatcher.start()

    def close(self) -> None:
        """End the worker process, also in the middle of a tile; what waits is cancelled."""
        jobs = self._requests.cancel_jobs()
        self._dispatcher.close()
        wait([job.future for job in jobs], timeout=CLOSE_PATIENCE_S)
        atexit.unregister(self.close)

    @property
    def state(self) -> State:
        """What the worker is doing; ``"new"`` before `start`."""
        return self._dispatcher.state

    @property
    def state_changed(self) -> SignalInstance:
        """Signal that carries the new state, emitted on the host's thread."""
        return self._dispatcher.state_changed

    @property
    def pid(self) -> int | None:
        """Process id of the worker, or None while there is none."""
        return self._dispatcher.pid

    @property
    def loaded(self) -> Future[Description]:
        """What was loaded and where it runs, once it is."""
        return self._dispatcher.loaded

    @property
    def info(self) -> ModelInfo | None:
        """The loaded model, or None as long as there is none."""
        description = self._description()
        return description.info if description else None

    @property
    def device(self) -> str | None:
        """Where the model runs, such as ``"cpu"`` or ``"cuda:0"``, or None until it is loaded."""
        description = self._description()
        return description.device if description else None

    @property
    def weights(self) -> str:
        """SHA-256 of the loaded model's weights in hex; empty for none, and until it is loaded."""
        description = self._description()
        return description.weights if description else ""

    def describe(self) -> Future[Description]:
        """Ask the worker what is loaded and how full its cache is."""
        item = Item("a question", Priority.CLICK, Describe, lambda reply: reply)
        self._dispatcher.submit(item)
        return item.future

    def calibrate(self, source: ImageSource, mpp: float | None = None) -> Future[Calibration]:
        """Estimate what the model needs to know of a whole image, from samples of its tissue.

        Parameters
        ----------
        source
            The image.
        mpp
            µm per level-0 pixel; by default what the image states, and if it states none the
            model estimates it.
        """
        mpp = source.mpp if mpp is None else mpp
        samples: list[Tile] = []

        def read() -> None:
            info = self._requests.info_when_loaded().result()
            samples.extend(read_samples(source, info, mpp))

        def result(reply: Calibrated) -> Calibration:
            return reply.calibration

        item = Item(
            "the calibration", Priority.CLICK, lambda: Calibrate(tuple(samples), mpp), result
        )
        self._requests.submit_after(read, item)
        return item.future

    def refine(
        self,
        source: ImageSource,
        tile_box: Box,
        calibration: Calibration,
        prompts: Sequence[Prompts],
        key: Hashable = None,
        on_encoding: EncodingCallback | None = None,
    ) -> Future[list[MaskPrediction]]:
        """Segment one nucleus for each of ``prompts``.

        Parameters
        ----------
        source
            The image.
        tile_box
            Level-0 box to embed, from `click_tile`.
        calibration
            What `calibrate` gave for this image.
        prompts
            Prompts of nuclei within the tile, in level-0 pixels.
        key
            What the click is about. A request that has not begun is cancelled by the next one with
            the same key; None is never cancelled this way.
        on_encoding
            Called with the tile's box, on a helper thread, if the tile must be encoded first.

        Returns
        -------
        Future
            One prediction for each of ``prompts``, in level-0 pixels.
        """
        tile = TileOnDemand(self._mirror, source, tile_box, calibration)
        y0, x0 = tile.box[:2]
        local = tuple(p.shifted(-y0, -x0) for p in prompts)

        def result(reply: Refined) -> list[MaskPrediction]:
            tile.encoded(reply.evicted)
            return [p.shifted(y0, x0) for p in reply.predictions]

        item = Item(
            "the click",
            Priority.CLICK,
            lambda: Refine(tile.key, local, tile.pixels_to_send()),
            result,
        )
        self._requests.submit_newest(item, tile, key, on_encoding)
        return item.future

    def ask(
        self,
        source: ImageSource,
        tile_box: Box,
        calibration: Calibration,
        texts: Sequence[str],
        key: Hashable = None,
        on_encoding: EncodingCallback | None = None,
    ) -> Future[list[TextAnswer]]:
        """Answer texts on a tile, each by itself.

        Parameters are those of `refine`.

        Returns
        -------
        Future
            One answer for each of ``texts``, its nuclei in level-0 pixels.
        """
        tile = TileOnDemand(self._mirror, source, tile_box, calibration)

        def result(reply: Answered) -> list[TextAnswer]:
            tile.encoded(reply.evicted)
            return [_shifted(answer, tile.box) for answer in reply.answers]

        item = Item(
            "the text",
            Priority.CLICK,
            lambda: Ask(tile.key, tuple(texts), tile.pixels_to_send()),
            result,
        )
        self._requests.submit_newest(item, tile, key, on_encoding)
        return item.future

    def ask_all(
        self,
        order: TileOrder,
        texts: Sequence[str],
        on_answers: AnswersCallback = _ignore_answers,
    ) -> Job:
        """Answer texts on an image or a region, tile by tile.

        Parameters
        ----------
        order
            Where, and who is told; its ``on_tile`` takes the nuclei that the first text asks for.
        texts
            Each is answered by itself.
        on_answers
            Takes, before that, a tile and the answers to all texts on it, in level-0 pixels; nuclei
            near its border may come with a neighbouring tile as well.
        """
        asked = tuple(texts)

        def request(spec: TileSpec, tile: Tile) -> Ask:
            return Ask(self._mirror.key(order.source, spec.outer, order.calibration), asked, tile)

        def nuclei(spec: TileSpec, reply: Answered) -> Nuclei:
            on_answers(spec, [_shifted(answer, spec.outer) for answer in reply.answers])
            return reply.answers[0].nuclei

        return self._requests.run_tiles(order, request, nuclei, SeamResolver, order.on_tile)

    def segment(
        self,
        source: ImageSource,
        calibration: Calibration,
        region: Box | None = None,
        start_yx: tuple[float, float] | None = None,
        on_tile: TileCallback = ignore_tile,
        on_progress: ProgressCallback = ignore_progress,
        visible: Box | None = None,
        wanted: Callable[[Box], bool] | None = None,
    ) -> Job:
        """Find every nucleus of an image or of a region, streaming from a point outwards.

        Parameters are those of `TileOrder`.
        """
        order = TileOrder(
            source, calibration, region, start_yx, on_tile, on_progress, visible, wanted
        )
        return self._requests.run_tiles(
            order,
            lambda _, tile: SegmentTile(tile, calibration),
            lambda _, reply: reply.nuclei,
            SeamResolver,
            on_tile,
        )

    def detect_all(self, order: TileOrder, on_points: PointsCallback) -> Job:
        """Find every nucleus of an image or of a region as a point, tile by tile.

        Parameters
        ----------
        order
            Where, and who is told of progress; its ``on_tile`` is not called.
        on_points
            Takes a tile and the points that became final with it, in level-0 pixels: one for each
            nucleus, also where tiles meet. Called on the job's thread.

        Returns
        -------
        Job
            Its result is the number of points.
        """
        return points_of.detect_all(self._requests, order, on_points)

    def masks_of(
        self,
        source: ImageSource,
        tile_box: Box,
        calibration: Calibration,
        points: Points,
        prompting: PointPrompting | None = None,
        key: Hashable = None,
        on_encoding: EncodingCallback | None = None,
    ) -> Future[PointMasks]:
        """Outline the nuclei at points of one tile, which is encoded as for clicks.

        Parameters
        ----------
        source, tile_box, calibration, key, on_encoding
            As in `refine`.
        points
            In level-0 pixels; those outside of the tile get no nucleus.
        prompting
            How the model is asked; by default what is usual for it.

        Returns
        -------
        Future
            The nuclei, in level-0 pixels, and which of them each point became.
        """
        return points_of.masks_of(
            self._requests, source, tile_box, calibration, points, prompting, key, on_encoding
        )

    def masks_of_all(
        self,
        order: TileOrder,
        points: Points,
        on_masks: MasksCallback = ignore_masks,
        prompting: PointPrompting | None = None,
    ) -> Job:
        """Outline the nuclei at any number of points of an image, on the tiles of clicks.

        Parameters
        ----------
        order
            Where, and who is told; tiles without points are not read. Its ``on_tile`` takes the
            nuclei that became final with a tile.
        points
            In level-0 pixels.
        on_masks
            Takes, before that, a tile, the positions in ``points`` of those that became final with
            it, and their nuclei. Called on the job's thread.
        prompting
            As in `masks_of`.

        Returns
        -------
        Job
            Its result is the number of nuclei.
        """
        return points_of.masks_of_all(self._requests, order, points, on_masks, prompting)

    def prefetch(self, source: ImageSource, boxes: Sequence[Box], calibration: Calibration) -> Job:
        """Encode tiles while nothing else is to be done, in the order given.

        What was to be prefetched before and has not begun is forgotten, so that the newest view
        counts. The job's result is the number of tiles that were encoded.
        """

        def encode(box: Box) -> bool:
            tile = TileOnDemand(self._mirror, source, box, calibration)
            if tile.key in self._mirror:
                return False

            def result(reply: Embedded) -> bool:
                tile.encoded(reply.evicted)
                return True

            item = Item(
                "a tile in advance",
                Priority.IDLE,
                lambda: Embed(tile.key, tile.pixels_to_send()),
                result,
            )
            self._requests.submit_tile(item, tile)
            return job.follow(item.future).result()

        def work() -> int:
            count = 0
            for box in boxes:
                job.cancelled.check()
                count += encode(box)
            return count

        job = Job()
        with self._lock:
            older, self._prefetch = self._prefetch, job
        if older is not None:
            older.cancel()
        self._requests.run_job(job, work)
        return job

    def _description(self) -> Description | None:
        loaded = self.loaded
        done = loaded.done() and not loaded.cancelled() and loaded.exception() is None
        return loaded.result() if done else None
