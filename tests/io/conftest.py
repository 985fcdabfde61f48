from __future__ import annotations

import builtins
import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_nucleus.core.classes import ClassScheme, NucleusClass
from napari_nucleus.io.results import SegmentationResult, result_of_labels

SCHEME = ClassScheme(
    "test",
    (
        NucleusClass(1, "Tumör, fest", (230, 85, 13)),
        NucleusClass(2, "inflammatory", (0, 200, 83)),
        NucleusClass(9, "dead", (20, 20, 20)),
    ),
    unknown_color=(1, 2, 3),
)


def odd_labels() -> np.ndarray:
    """A nucleus with a hole, one of one pixel, two that meet at a corner, one of two parts, one
    at the border, gaps in the ids and one above 65,535."""
    labels = np.zeros((40, 60), np.int32)
    labels[5:12, 5:12] = 1
    labels[8, 8] = 0
    labels[20, 20] = 3
    labels[2:5, 20:24] = 4
    labels[5:8, 24:27] = 70_000
    labels[30:33, 30:33] = labels[35:38, 40:44] = 9
    labels[30:, 55:] = 12
    return labels


def odd_result(labels: np.ndarray) -> SegmentationResult:
    """Of `odd_labels`: a class of other letters, one that no scheme has, scores that are nan."""
    return result_of_labels(
        labels,
        SCHEME,
        {1: 1, 3: 2, 4: 9, 9: 2, 12: 77},
        {1: 0.91, 3: 0.5, 4: np.nan, 12: 1.0},
        0.25,
        {"model": "nano", "version": "1.2"},
    )


@pytest.fixture
def labels() -> np.ndarray:
    return odd_labels()


@pytest.fixture
def result(labels: np.ndarray) -> SegmentationResult:
    return odd_result(labels)


@pytest.fixture(params=["full disk", "read-only folder", "failed rename"])
def unwritable(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make every attempt to write a file fail; root may write anywhere, so it is simulated."""
    real_open = builtins.open

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def read_only(file, mode="r", *args, **kwargs):
        if set(mode) & set("wxa+"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real_open(file, mode, *args, **kwargs)

    if request.param == "full disk":
        monkeypatch.setattr(os, "fsync", full)
        return os.strerror(errno.ENOSPC)
    if request.param == "read-only folder":
        monkeypatch.setattr(builtins, "open", read_only)
        return os.strerror(errno.EROFS)
    monkeypatch.setattr(os, "replace", full)
    return os.strerror(errno.ENOSPC)


@pytest.fixture
def assert_untouched(tmp_path: Path) -> Callable[[], None]:
    """Put a file into the folder, and say later that it is all there is and as it was."""
    folder = tmp_path / "out"
    folder.mkdir()
    for name in ("a.tif", "a.geojson", "a.geojson.gz", "a.csv", "a_overlay.png", "a.png"):
        (folder / name).write_bytes(b"before")

    def check() -> None:
        assert {p.read_bytes() for p in folder.iterdir()} == {b"before"}
        assert len(list(folder.iterdir())) == 6

    return check
