"""Damaged and hostile annotation files: every one is read, or refused in one clear sentence.

The corpus is made here: real files of every format, mutated byte by byte and value by value, from
fixed seeds; and values that hypothesis thinks of in the place of JSON. A file that is refused
leaves the document that it was meant for as it was.
"""

from __future__ import annotations

import contextlib
import copy
import faulthandler
import gzip
import json
import math
import random
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.image import ArraySource
from napari_nucleus.errors import NucleusError
from napari_nucleus.io.formats import FORMATS, Export, Format, read_annotations
from napari_nucleus.io.importing import import_annotations
from napari_nucleus.session.document import Document
from napari_nucleus.session.memory_store import MemoryStore

READ = [f for f in FORMATS.values() if f.is_read and f.write is not None]
JSONS = [f for f in READ if f.read_json is not None]

BYTE_CASES, VALUE_CASES = 130, 90
"""Mutated files of each format, of bytes and of values of JSON."""

HANG_SECONDS = 60
"""A file that takes longer ends the run with a trace of where it hung."""

STRANGE: tuple[Any, ...] = (
    None,
    True,
    "",
    "x" * 5000,
    "NaN",
    "\u0000",
    -1,
    0,
    1e308,
    2**63,
    -(2**31),
    [],
    {},
    [[]],
    [None],
    {"a": {"b": []}},
    [1e9, 1e9],
    [[0, 0], [1e7, 0], [1e7, 1e7], [0, 0]],
    "/home/pat/slide.svs",
)


@contextmanager
def not_hanging() -> Iterator[None]:
    faulthandler.dump_traceback_later(HANG_SECONDS, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def document(labels) -> Document:
    """A document with some nuclei of its own, of the image that the files belong to."""
    from napari_nucleus.session.imports import import_labels

    document = Document(MemoryStore(labels.shape), PANNUKE, 0.25)
    import_labels(document, np.roll(labels, (3, 5), axis=(0, 1)))
    return document


def taken_or_refused(path: Path, one: Format, document: Document) -> bool:
    """Import a file and undo that; return True if it was taken.

    All else than a clear refusal that leaves the document as it was is a failure.
    """
    before, rows = document.labels(), document.rows()
    with not_hanging():
        try:
            result = import_annotations(document, read_annotations(path, one), "add")
        except NucleusError as error:
            sentence = str(error)
            assert path.name in sentence or found_name(path) in sentence, sentence
            assert str(path.parent) not in sentence
            assert "Traceback" not in sentence
            np.testing.assert_array_equal(document.labels(), before)
            assert document.rows() == rows
            return False
    if result.action_id is not None:
        document.undo()
    np.testing.assert_array_equal(document.labels(), before)
    assert document.rows() == rows
    return True


def found_name(path: Path) -> str:
    return path.stem.split(".")[0]


def original(one: Format, result, folder: Path) -> Path:
    """Write a good file of a format, with the image beside it where the format has it."""
    path = folder / f"case{one.ending}"
    assert one.write is not None
    source = ArraySource(np.full((*result.shape, 3), 200, np.uint8), 0.25)
    one.write(path, result, Export(stem="case", source=source))
    return path


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Return bytes with a few faults of the kinds that disks, networks and editors make."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        size = len(out)
        if not size:
            break
        at = rng.randrange(size)
        kind = rng.randrange(7)
        if kind == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del out[at:]
        elif kind == 2:
            del out[at : at + rng.randrange(1, 64)]
        elif kind == 3:
            out[at:at] = rng.randbytes(rng.randrange(1, 64))
        elif kind == 4:
            out[at : at + 8] = rng.choice((b"\xff", b"\x00", b"9")) * 8
        elif kind == 5:
            begin = rng.randrange(size)
            out[at:at] = out[begin : begin + rng.randrange(1, 200)]
        else:
            text = rng.choice((b"NaN", b"1e400", b"-1", b"null", b'"', b"]", b"}", b"<!DOCTYPE x>"))
            out[at : at + len(text)] = text
    return bytes(out)


def places(value: Any, at: tuple = ()) -> Iterator[tuple]:
    """Yield the way to every value inside a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in inner:
        yield (*at, key)
        if isinstance(part, dict | list):
            yield from places(part, (*at, key))


def altered(value: Any, rng: random.Random, ways: list[tuple]) -> Any:
    """Return a copy with some values replaced, left out or doubled."""
    changed = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 3))):
        way = rng.choice(ways)
        parent = changed
        try:
            for key in way[:-1]:
                parent = parent[key]
            kind = rng.randrange(4)
            if kind == 0:
                del parent[way[-1]]
            elif kind == 1 and isinstance(parent, list):
                parent.insert(way[-1], copy.deepcopy(parent[way[-1]]))
            else:
                parent[way[-1]] = copy.deepcopy(rng.choice(STRANGE))
        except (KeyError, IndexError, TypeError):
            continue
    return changed


def files_of(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


@pytest.mark.parametrize("one", READ, ids=[f.name for f in READ])
def test_files_with_damaged_bytes_are_read_or_refused_in_words(one, result, tmp_path, document):
    good = original(one, result, tmp_path)
    assert taken_or_refused(good, one, document)
    rng = random.Random(f"bytes of {one.name}")
    for number in range(BYTE_CASES):
        bad = tmp_path / f"bad{number}{one.ending}"
        if good.is_dir():
            shutil.copytree(good, bad)
            target = rng.choice(files_of(bad))
            if rng.randrange(8) == 0:
                target.unlink()
            else:
                target.write_bytes(mutated(target.read_bytes(), rng))
        else:
            data = good.read_bytes()
            if data[:2] == b"\x1f\x8b" and rng.randrange(2):
                bad.write_bytes(gzip.compress(mutated(gzip.decompress(data), rng)))
            else:
                bad.write_bytes(mutated(data, rng))
        taken_or_refused(bad, one, document)
        shutil.rmtree(bad) if bad.is_dir() else bad.unlink()


@pytest.mark.parametrize("one", JSONS, ids=[f.name for f in JSONS])
def test_json_with_wrong_values_is_read_or_refused_in_words(one, result, tmp_path, document):
    good = original(one, result, tmp_path)
    data = good.read_bytes()
    value = json.loads(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
    ways = list(places(value))
    rng = random.Random(f"values of {one.name}")
    bad = tmp_path / "bad.json"
    for _ in range(VALUE_CASES):
        bad.write_text(json.dumps(altered(value, rng, ways)), "utf-8")
        taken_or_refused(bad, one, document)


MEMBERS = (
    *("type", "features", "geometry", "coordinates", "properties", "nuc", "contour", "cells"),
    *("images", "annotations", "categories", "segmentation", "elements", "points", "size"),
)
"""Names of members that formats look for."""

any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(MEMBERS) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=14,
)


@given(value=any_json)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_json_is_read_or_refused_in_words(value, tmp_path_factory):
    path = tmp_path_factory.mktemp("json") / "case.json"
    path.write_text(json.dumps(value), "utf-8")
    with not_hanging(), contextlib.suppress(NucleusError):
        read_annotations(path)


@pytest.mark.parametrize("one", READ, ids=[f.name for f in READ])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 100,
        b"{",
        b"[" * 100_000,
        b"PK\x03\x04",
        b"II*\x00\xff\xff\xff\xff",
        b"\xff\xfe",
    ],
    ids=["empty", "zeros", "brace", "deep", "zip", "tiff", "utf-16"],
)
def test_files_that_are_something_else_are_refused(one, data, tmp_path, document):
    path = tmp_path / f"case{one.ending}"
    path.write_bytes(data)
    assert not taken_or_refused(path, one, document)


def test_the_corpus_has_two_thousand_cases():
    cases = len(READ) * BYTE_CASES + len(JSONS) * VALUE_CASES + 150 + 7 * len(READ)
    assert cases >= 2000, math.ceil(cases)
