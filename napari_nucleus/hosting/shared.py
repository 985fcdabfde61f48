"""Messages with large arrays between two processes: shared memory beside a pipe.

A message is pickled with its large arrays out of band (pickle protocol 5, PEP 574). What is small
goes through the pipe, what is large through a block of shared memory that the pipe only names.

Lifetimes: the host's end makes and unlinks every block, the worker's end only attaches. So a
worker may die at any time and nothing is left behind; when the host itself is killed, Python's
resource tracker unlinks. There are two blocks, one a direction, each reused by all messages and
replaced by a larger one when needed; that is safe because a request is sent only after the last
one was answered, and a reader copies before it answers. A reply that does not fit travels through
the pipe and the next request brings a larger block. Where the system has no room for shared
memory, everything travels through the pipe.
"""

from __future__ import annotations

import os
import pickle
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

__all__ = ["BLOCK_PREFIX", "HostEnd", "WorkerEnd"]

BLOCK_PREFIX = "nucleus-"
"""How the names of our blocks begin; the host's process id follows."""

OUT_OF_BAND = 64 * 1024
"""Bytes from which an array is not copied into the pickle."""

INLINE = 128 * 1024
"""Bytes up to which a message goes through the pipe as it is."""

SMALLEST_BLOCK = 1024 * 1024

Part = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class _Parcel:
    """What goes through the pipe: the parts of a message, or their sizes within a block.

    ``blocks`` names the live blocks, for requests and for replies; the worker lets go of others.
    """

    parts: tuple[bytes, ...]
    sizes: tuple[int, ...] = ()
    blocks: tuple[str | None, str | None] = (None, None)


class _Block:
    """A piece of shared memory; the side that made it is the side that removes it."""

    def __init__(self, memory: SharedMemory, owned: bool) -> None:
        self._memory = memory
        self._owned = owned
        self.name = memory.name
        self.size = memory.size

    @classmethod
    def create(cls, size: int) -> _Block | None:
        """Return a new block of at least ``size`` bytes, or None where the system has no room."""
        if not _has_room(size):
            return None
        try:
            name = f"{BLOCK_PREFIX}{os.getpid()}-{secrets.token_hex(6)}"
            return cls(SharedMemory(name, create=True, size=size), owned=True)
        except OSError:
            return None

    @classmethod
    def attach(cls, name: str) -> _Block:
        """Return the block with this name."""
        return cls(SharedMemory(name), owned=False)

    @property
    def _bytes(self) -> memoryview:
        if self._memory.buf is None:
            raise OSError(f"the shared memory {self.name} was let go of")
        return self._memory.buf

    def write(self, parts: Sequence[Part]) -> None:
        """Put the parts one after the other."""
        start = 0
        for part in parts:
            end = start + len(part)
            self._bytes[start:end] = part
            start = end

    def read(self, sizes: Sequence[int]) -> list[bytearray]:
        """Return copies of parts of these sizes."""
        parts, start = [], 0
        for size in sizes:
            parts.append(bytearray(self._bytes[start : start + size]))
            start += size
        return parts

    def close(self) -> None:
        """Let go of the memory, and remove it if it was made here."""
        self._memory.close()
        if self._owned:
            self._memory.unlink()


def _has_room(size: int) -> bool:
    """Say whether a block fits; on Linux a full /dev/shm kills the writer instead of raising."""
    shm = Path("/dev/shm")
    return not shm.is_dir() or shutil.disk_usage(shm).free > 2 * size


def _dump(message: Any) -> list[Part]:
    """Return the pickle of a message followed by its large arrays."""
    buffers: list[Part] = []

    def in_band(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < OUT_OF_BAND:
            return True
        buffers.append(raw)
        return False

    stream = pickle.dumps(message, protocol=5, buffer_callback=in_band)
    return [stream, *buffers]


def _load(parts: Sequence[Part]) -> Any:
    """Return the message of these parts; its large arrays live in them."""
    return pickle.loads(parts[0], buffers=parts[1:])


def _post(
    connection: Connection,
    parts: Sequence[Part],
    block: _Block | None,
    blocks: tuple[str | None, str | None] = (None, None),
) -> None:
    """Send parts through ``block``, or through the pipe where there is none."""
    if block is None:
        parcel = _Parcel(tuple(bytes(p) for p in parts), blocks=blocks)
    else:
        block.write(parts)
        parcel = _Parcel((), tuple(len(p) for p in parts), blocks)
    connection.send_bytes(pickle.dumps(parcel, protocol=5))


def _receive(connection: Connection) -> _Parcel:
    """Wait for the next parcel; `EOFError` or `OSError` if the other side is gone."""
    return pickle.loads(connection.recv_bytes())


def _inline(parcel: _Parcel) -> Any:
    """Return the message of a parcel that came whole through the pipe."""
    return _load([bytearray(part) for part in parcel.parts])


class HostEnd:
    """The end of a pipe that owns the shared memory; used by one thread."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._requests: _Block | None = None
        self._replies: _Block | None = _Block.create(SMALLEST_BLOCK)

    def send(self, message: Any) -> None:
        """Send a message; `OSError` if the other side is gone."""
        parts = _dump(message)
        size = sum(len(p) for p in parts)
        if size > INLINE:
            self._requests = _at_least(self._requests, size)
        names = (_name(self._requests), _name(self._replies))
        _post(self.connection, parts, self._requests if size > INLINE else None, names)

    def receive(self) -> Any:
        """Return the next message; `EOFError` or `OSError` if the other side is gone."""
        parcel = _receive(self.connection)
        if parcel.parts:
            size = sum(len(p) for p in parcel.parts)
            if size > INLINE:
                self._replies = _at_least(self._replies, size)
            return _inline(parcel)
        if self._replies is None:
            raise OSError("a reply came through shared memory that was never offered")
        return _load(self._replies.read(parcel.sizes))

    def close(self) -> None:
        """Close the pipe and remove the shared memory."""
        self.connection.close()
        for block in (self._requests, self._replies):
            if block is not None:
                block.close()
        self._requests = self._replies = None


class WorkerEnd:
    """The end of a pipe that only attaches to shared memory; used by one thread."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._attached: dict[str, _Block] = {}
        self._replies: _Block | None = None

    def receive(self) -> Any:
        """Return the next message; `EOFError` or `OSError` if the other side is gone."""
        parcel = _receive(self.connection)
        for name in set(self._attached) - set(parcel.blocks):
            self._attached.pop(name).close()
        requests, replies = (self._attach(name) for name in parcel.blocks)
        self._replies = replies
        if parcel.parts:
            return _inline(parcel)
        if requests is None:
            raise OSError("a request came through shared memory that it did not name")
        return _load(requests.read(parcel.sizes))

    def send(self, message: Any) -> None:
        """Send a message; `OSError` if the other side is gone."""
        parts = _dump(message)
        size = sum(len(p) for p in parts)
        fits = self._replies is not None and INLINE < size <= self._replies.size
        _post(self.connection, parts, self._replies if fits else None)

    def close(self) -> None:
        """Close the pipe and let go of the shared memory."""
        self.connection.close()
        for block in self._attached.values():
            block.close()
        self._attached.clear()
        self._replies = None

    def _attach(self, name: str | None) -> _Block | None:
        if name is None:
            return None
        if name not in self._attached:
            self._attached[name] = _Block.attach(name)
        return self._attached[name]


def _name(block: _Block | None) -> str | None:
    return None if block is None else block.name


def _at_least(block: _Block | None, size: int) -> _Block | None:
    """Return ``block`` if it holds ``size`` bytes, else a larger one in its place."""
    if block is not None and block.size >= size:
        return block
    if block is not None:
        block.close()
    return _Block.create(max(SMALLEST_BLOCK, size + size // 2))
