"""Makes `hosting_fakes` importable, here and in the worker processes, which inherit sys.path."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

PATIENCE_S = 60.0

OBEDIENT = ("threshold", "reader", "pointer", "dies_once_while_loading", "loads_slowly")
"""Fakes that take orders from a folder."""


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for something that another process or thread brings about."""
    limit = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < limit, "it did not happen"
        time.sleep(0.005)


@pytest.fixture
def until():
    return wait_until


@pytest.fixture
def blobs() -> np.ndarray:
    """A picture of 300 x 280 with dark discs on glass, many of them across the seams of tiles."""
    rgb = np.full((300, 280, 3), 240, np.uint8)
    yy, xx = np.mgrid[:300, :280]
    for y in range(16, 300, 16):
        for x in range(16, 280, 16):
            rgb[(yy - y) ** 2 + (xx - x) ** 2 < 25] = 60
    return rgb


@pytest.fixture
def start(tmp_path):
    """Start a host of a fake model that takes its orders from ``tmp_path``; close it at the end."""
    from napari_nucleus.hosting.host import Host
    from napari_nucleus.hosting.messages import ModelSpec

    hosts = []

    def make(factory: str = "threshold", cache_bytes: int = 10**7, **kwargs) -> Host:
        if factory in OBEDIENT:
            kwargs["folder"] = str(tmp_path)
        host = Host(ModelSpec(f"hosting_fakes:{factory}", kwargs), cache_bytes=cache_bytes)
        hosts.append(host)
        host.start()
        return host

    yield make
    for host in hosts:
        host.close()
