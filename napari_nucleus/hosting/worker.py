"""The worker process: holds one model and its embeddings, answers one request after the other.

`Worker` turns requests into replies and knows no process; `main` is what runs in the child. The
model comes from a factory named in the `Load` request, so this module imports no torch. The child
ends when its pipe closes and when its parent dies, also in the middle of a tile; an interrupt from
the terminal is the parent's affair.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from dataclasses import dataclass
from multiprocessing import connection as mp_connection
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from typing import Any

from napari_nucleus.core.image import Tile
from napari_nucleus.errors import HostError, ModelError, NucleusError
from napari_nucleus.hosting.cache import EmbeddingCache
from napari_nucleus.hosting.messages import (
    Answered,
    Ask,
    Calibrate,
    Calibrated,
    Describe,
    Description,
    Detect,
    Detected,
    Embed,
    Embedded,
    Failure,
    Load,
    MissingTile,
    ModelSpec,
    Refine,
    Refined,
    Reply,
    Request,
    Segmented,
    SegmentTile,
    Shutdown,
    TileKey,
)
from napari_nucleus.hosting.shared import WorkerEnd
from napari_nucleus.models.api import (
    AutomaticSegmenter,
    Embedding,
    PointDetector,
    PromptableSegmenter,
    TextSegmenter,
)

__all__ = ["Worker", "WorkerOptions", "load_model", "main", "usable_threads"]


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What a worker may use: ``threads`` of computation, ``cache_bytes`` for embeddings."""

    threads: int
    cache_bytes: int


def usable_threads() -> int:
    """Return how many threads a model may use beside a viewer.

    The number a user set as ``OMP_NUM_THREADS`` goes first; else all cores of a machine with two,
    and one less than there are on a larger one, which is left to the viewer.
    """
    stated = os.environ.get("OMP_NUM_THREADS", "")
    if stated.isdigit() and int(stated) > 0:
        return int(stated)
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return cores if cores <= 2 else cores - 1


def load_model(spec: ModelSpec) -> Any:
    """Make the model that ``spec`` describes.

    Raises
    ------
    HostError
        If the factory cannot be imported or fails for a reason that is not addressed to the user.
    NucleusError
        What the factory raises for the user, such as `WeightsError`.
    """
    module, _, function = spec.factory.partition(":")
    try:
        return getattr(importlib.import_module(module), function)(**spec.kwargs)
    except NucleusError:
        raise
    except Exception as error:
        raise HostError(
            f"The model {spec.key} could not be loaded: {type(error).__name__}: {error}."
        ) from error


class Worker:
    """A model, the embeddings made with it, and the answers to requests.

    Parameters
    ----------
    cache_bytes
        Bytes of embeddings to keep.
    """

    def __init__(self, cache_bytes: int) -> None:
        self._model: Any = None
        self._cache = EmbeddingCache(cache_bytes)

    def answer(self, request: Request) -> Reply:
        """Return the reply to a request; what goes wrong becomes a `Failure`."""
        try:
            return self._answer(request)
        except Exception as error:
            return Failure.of(_out_of_memory(error, self._device) or error)

    def _answer(self, request: Request) -> Reply:
        match request:
            case Load(spec):
                self._model = load_model(spec)
                return self._description()
            case Describe():
                return self._description()
            case Calibrate(samples, mpp):
                return Calibrated(self._loaded().calibrate(samples, mpp))
            case SegmentTile(tile, calibration):
                return Segmented(self._automatic().segment(tile, calibration))
            case Detect(tile, calibration):
                return Detected(self._pointing().detect(tile, calibration))
            case Embed(key, tile):
                embedding, evicted = self._embedding(self._encoder(), key, tile)
                return MissingTile(key) if embedding is None else Embedded(evicted)
            case Refine(key, prompts, tile):
                promptable = self._promptable()
                embedding, evicted = self._embedding(promptable, key, tile)
                if embedding is None:
                    return MissingTile(key)
                return Refined(tuple(promptable.refine_many(embedding, prompts)), evicted)
            case Ask(key, texts, tile):
                asked = self._text()
                embedding, evicted = self._embedding(asked, key, tile)
                if embedding is None:
                    return MissingTile(key)
                return Answered(tuple(asked.answer_many(embedding, texts)), evicted)
        raise HostError(f"A worker does not answer {type(request).__name__}.")

    @property
    def _device(self) -> str:
        return str(getattr(self._model, "device", "cpu"))

    def _description(self) -> Description:
        model = self._loaded()
        weights = str(getattr(model, "digest", ""))
        return Description(model.info, self._device, len(self._cache), self._cache.nbytes, weights)

    def _loaded(self) -> Any:
        if self._model is None:
            raise HostError("No model is loaded; load one first.")
        return self._model

    def _automatic(self) -> AutomaticSegmenter:
        model = self._loaded()
        if not isinstance(model, AutomaticSegmenter):
            raise ModelError(f"{model.info.name} does not find nuclei by itself; choose another.")
        return model

    def _pointing(self) -> PointDetector:
        model = self._loaded()
        if not isinstance(model, PointDetector):
            raise ModelError(
                f"{model.info.name} does not find nuclei as points; choose another model."
            )
        return model

    def _promptable(self) -> PromptableSegmenter:
        model = self._loaded()
        if not isinstance(model, PromptableSegmenter):
            raise ModelError(f"{model.info.name} does not take clicks; choose another model.")
        return model

    def _text(self) -> TextSegmenter:
        model = self._loaded()
        if not isinstance(model, TextSegmenter):
            raise ModelError(f"{model.info.name} does not understand words; choose another model.")
        return model

    def _encoder(self) -> PromptableSegmenter | TextSegmenter:
        model = self._loaded()
        return model if isinstance(model, TextSegmenter) else self._promptable()

    def _embedding(
        self, model: PromptableSegmenter | TextSegmenter, key: TileKey, tile: Tile | None
    ) -> tuple[Embedding | None, tuple[TileKey, ...]]:
        """Return the embedding of a tile, None without its pixels, and what left the cache."""
        found = self._cache.get(key)
        if found is not None or tile is None:
            return found, ()
        made = model.embed(tile, key.calibration)
        return made, self._cache.put(key, made)


def _out_of_memory(error: Exception, device: str) -> HostError | None:
    """Return what to tell the user if ``error`` is a want of memory, else None.

    The GPU's error is known by name and the CPU allocator's by its text, without torch.
    """
    names = {c.__name__ for c in type(error).__mro__}
    on_cpu = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    if not (on_cpu or names & {"OutOfMemoryError", "MemoryError"}):
        return None
    told = HostError(
        f"The model ran out of memory on {device}, even one tile at a time; what was finished is "
        "kept. Close other programs that use the device, or choose a smaller model or the CPU."
    )
    told.__cause__ = error
    return told


def main(connection: Connection, options: WorkerOptions) -> None:
    """Answer requests from ``connection`` until it closes; the child's entry point."""
    _leave_interrupts_to_the_parent()
    threading.Thread(target=_end_with_parent, name="parent watch", daemon=True).start()
    _limit_threads(options.threads)
    worker = Worker(options.cache_bytes)
    end = WorkerEnd(connection)
    try:
        while not isinstance(request := end.receive(), Shutdown):
            end.send(worker.answer(request))
    except (EOFError, OSError):
        pass  # the host is gone
    finally:
        end.close()
    # There is nothing to save, and taking torch down in order would keep a closing viewer waiting
    # for a third of a second.
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(0)


def _leave_interrupts_to_the_parent() -> None:
    """Ignore Ctrl-C, which a terminal sends to parent and child; it was blocked until now."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _end_with_parent() -> None:
    """End this process when its parent dies, whatever it is computing."""
    parent = parent_process()
    if parent is not None:
        mp_connection.wait([parent.sentinel])
        os._exit(1)


def _limit_threads(threads: int) -> None:
    """Let torch use ``threads`` threads; it reads the variable when it is imported."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
