import os
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_nucleus.core.image import Tile
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.hosting import shared
from napari_nucleus.hosting.messages import Segmented, SegmentTile
from napari_nucleus.hosting.shared import BLOCK_PREFIX, HostEnd, WorkerEnd
from napari_nucleus.models.api import Calibration

SHM = Path("/dev/shm")
needs_shm = pytest.mark.skipif(not SHM.is_dir(), reason="shared memory is not a folder here")


def blocks() -> list[str]:
    return [p.name for p in SHM.glob(f"{BLOCK_PREFIX}{os.getpid()}-*")]


@pytest.fixture
def ends():
    here, there = Pipe()
    host, worker = HostEnd(here), WorkerEnd(there)
    yield host, worker
    worker.close()
    host.close()


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, shape, np.uint8)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 400_000), min_size=1, max_size=4))
def test_arrays_of_any_size_arrive_as_they_were_sent_both_ways(sizes):
    here, there = Pipe()
    host, worker = HostEnd(here), WorkerEnd(there)
    try:
        for size in sizes:
            # a pipe holds little, so what exceeds it must not wait for a reader in this thread
            if size > shared.INLINE // 4:
                size += shared.INLINE
            sent = {"a": noise(size), "text": "µm"}
            host.send(sent)
            got = worker.receive()
            np.testing.assert_array_equal(got["a"], sent["a"])
            assert got["text"] == "µm"
            worker.send(got)
            np.testing.assert_array_equal(host.receive()["a"], sent["a"])
    finally:
        worker.close()
        host.close()


def test_messages_with_nuclei_and_pixels_survive(ends):
    host, worker = ends
    tile = Tile(noise(500, 400, 3))
    host.send(SegmentTile(tile, Calibration(1.0, 0.5)))
    got = worker.receive()
    np.testing.assert_array_equal(got.tile.rgb, tile.rgb)
    assert got.calibration == Calibration(1.0, 0.5)

    nuclei = Nuclei.from_masks([noise(40, 30) > 100] * 200, np.arange(400).reshape(200, 2))
    worker.send(Segmented(nuclei))
    back = host.receive().nuclei
    np.testing.assert_array_equal(back.boxes, nuclei.boxes)
    assert all((a == b).all() for a, b in zip(back.masks, nuclei.masks, strict=True))


def test_received_arrays_are_copies_that_may_be_written(ends):
    host, worker = ends
    host.send(noise(300_000))
    first = worker.receive()
    host.send(np.zeros(300_000, np.uint8))
    second = worker.receive()
    np.testing.assert_array_equal(first, noise(300_000))
    second[:] = 7
    assert first.flags.writeable


def test_a_reply_larger_than_its_block_arrives_and_the_next_fits(ends, monkeypatch):
    host, worker = ends
    large = noise(3 * shared.SMALLEST_BLOCK)
    through_pipe = []
    post = shared._post

    def spy(connection, parts, block, *rest):
        through_pipe.append(block is None)
        if block is None and sum(map(len, parts)) > shared.INLINE:
            parcel = shared._Parcel(tuple(bytes(p) for p in parts))
            monkeypatch.setattr(shared, "_receive", lambda _: parcel)
        else:
            post(connection, parts, block, *rest)

    monkeypatch.setattr(shared, "_post", spy)
    receive = shared._receive
    host.send("first")
    worker.receive()
    worker.send(large)
    np.testing.assert_array_equal(host.receive(), large)
    monkeypatch.setattr(shared, "_receive", receive)
    host.send("second")
    worker.receive()
    worker.send(large)
    np.testing.assert_array_equal(host.receive(), large)
    assert through_pipe == [True, True, True, False]


@needs_shm
def test_blocks_are_replaced_not_gathered_and_removed_at_the_end():
    here, there = Pipe()
    host, worker = HostEnd(here), WorkerEnd(there)
    for size in (10, 1 << 20, 4 << 20, 16 << 20):
        host.send(np.zeros(size, np.uint8))
        worker.receive()
        assert len(blocks()) <= 2
    worker.close()
    host.close()
    assert blocks() == []


@needs_shm
def test_without_room_for_shared_memory_nothing_is_put_there(monkeypatch):
    monkeypatch.setattr(shared, "_has_room", lambda size: False)
    here, there = Pipe()
    host = HostEnd(here)
    host.send(np.zeros(10))
    assert blocks() == []
    there.close()
    host.close()


def test_a_closed_pipe_is_an_end_of_file(ends):
    host, worker = ends
    host.connection.close()
    with pytest.raises((EOFError, OSError)):
        worker.receive()
