"""Small documents, shapes and answers for the tests of the session package."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest

from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.prompts import MaskLogits, MaskPrediction, Prompts
from napari_nucleus.session.actions import Outline
from napari_nucleus.session.document import Document
from napari_nucleus.session.memory_store import MemoryStore
from napari_nucleus.session.schema import create_tables
from napari_nucleus.session.sqlite_store import SqliteStore


def file_store(shape, tile_size=16, **options):
    """A store in a SQLite database, which lives in memory for speed."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("BEGIN")
    create_tables(connection)
    SqliteStore.begin(connection, shape, tile_size)
    connection.execute("COMMIT")
    return SqliteStore(connection, "test.nucleus", cached_tiles=3, **options)


STORES = pytest.mark.parametrize("make", [MemoryStore, file_store])
"""Runs a test with each kind of store."""


def make_document(shape=(64, 64), tile_size=16, mpp=0.25, store=None):
    return Document(MemoryStore(shape, tile_size) if store is None else store, mpp=mpp)


def block(y0, x0, y1, x1):
    """An outline that is a full rectangle."""
    return Outline(np.ones((y1 - y0, x1 - x0), bool), (y0, x0, y1, x1))


def clicks(*points):
    """Prompts of ``(y, x, sign)`` clicks at pixel centres."""
    yx = np.array([(y + 0.5, x + 0.5) for y, x, _ in points]).reshape(-1, 2)
    return Prompts(yx, np.array([sign for _, _, sign in points], bool))


def logits_of(box, value=1.0):
    return MaskLogits(np.full((4, 4), value, np.float16), tuple(float(v) for v in box))


def answer_of(y0, x0, y1, x1, iou=0.9):
    """A model's answer that is a full rectangle."""
    box = (y0, x0, y1, x1)
    return MaskPrediction(np.ones((y1 - y0, x1 - x0), bool), box, logits_of(box, iou), iou)


EMPTY_ANSWER = MaskPrediction(np.zeros((0, 0), bool), (0, 0, 0, 0), logits_of((0, 0, 1, 1)), 0.1)


def batch(*boxes, score=None, class_prob=None, source="model", logits=()):
    """Nuclei that are full rectangles."""
    masks = [np.ones((b[2] - b[0], b[3] - b[1]), bool) for b in boxes]
    offsets = np.array([b[:2] for b in boxes]).reshape(-1, 2)
    return Nuclei.from_masks(masks, offsets, score, class_prob, logits, source)


def seen(memory):
    """A click memory as plain values that compare to the last bit."""
    if memory is None:
        return None
    p, z = memory.prompts, memory.logits
    prompts = (p.points_yx.tobytes(), p.positive.tobytes(), p.box)
    return prompts, None if z is None else (z.grid.tobytes(), z.grid.dtype.str, z.window)


def seen_region(region):
    """A region as plain values that compare to the last bit."""
    points = tuple(p.tobytes() for p in region.polygons)
    return region.id, region.kind.value, points, region.note, region.annotator, region.made


def snapshot(document):
    """All that a user could see of a document's nuclei and regions, as comparable values."""
    labels, rows = document.to_arrays()
    return (
        labels.tobytes(),
        tuple(rows),
        tuple(seen(document.memory(row.id)) for row in rows),
        document.counts_by_class(),
        tuple(seen_region(region) for region in document.regions),
    )


def check_consistent(document):
    """The table, the counts and the index say what the pixels say."""
    labels, rows = document.to_arrays()
    assert sorted(np.unique(labels[labels != 0]).tolist()) == [row.id for row in rows]
    counts: dict[int, int] = {}
    for row in rows:
        r, c = np.nonzero(labels == row.id)
        assert row.box == (r.min(), c.min(), r.max() + 1, c.max() + 1)
        assert row.area == len(r)
        assert np.allclose(row.centroid_yx, (r.mean() + 0.5, c.mean() + 0.5), rtol=0, atol=1e-9)
        assert row.id in document.ids_in(row.box)
        assert row.id < document.store.next_id
        counts[row.class_id] = counts.get(row.class_id, 0) + 1
    assert document.counts_by_class() == dict(sorted(counts.items()))
    assert document.count == len(rows)
    assert document.store.count_untouched() == sum(not row.touched for row in rows)
    assert document.ids.tolist() == [row.id for row in rows]


class FailingStore(MemoryStore):
    """A store on a disk that is full after ``writes_left`` more writes."""

    writes_left = 10**9

    def _on_rollback(self, call, *args):
        super()._on_rollback(call, *args)
        self.writes_left -= 1
        if self.writes_left < 0:
            raise OSError("disk full")


class FakeClock:
    """A clock that goes when told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now
