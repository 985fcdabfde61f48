"""Edits, click memories and label tiles as bytes, and back to the last bit.

A packed value is a JSON head followed by the arrays that the head speaks of, one after the other;
all of it compressed with Zstandard. Readers know nothing of Python's objects: a file from somebody
else can hold wrong values, but runs nothing.
"""

from __future__ import annotations

from typing import Any

import imagecodecs
import numpy as np
import orjson
from numpy.typing import NDArray

from napari_nucleus.core.prompts import MaskLogits, Prompts
from napari_nucleus.session.edits import Edit, NucleusChange, Patch
from napari_nucleus.session.table import ClickMemory, NucleusRow, NucleusState

__all__ = [
    "decode_edit",
    "decode_memory",
    "decode_tile",
    "encode_edit",
    "encode_memory",
    "encode_tile",
]

LEVEL = 1
"""Zstandard's fastest level: label tiles shrink a hundredfold with it already."""

HEAD_BYTES = 4
"""Length of the number, little-endian, that says how long the head is."""

LOGIT_TYPES = ("<f2", "<f4", "<f8")


def encode_tile(labels: NDArray[np.int32]) -> bytes:
    """Return a tile of labels as bytes."""
    return bytes(imagecodecs.zstd_encode(labels.astype("<i4", copy=False).tobytes(), level=LEVEL))


def decode_tile(data: bytes, size: int) -> NDArray[np.int32]:
    """Return the labels ``(size, size)``, writable.

    Raises
    ------
    ValueError
        If the bytes are no tile of this size.
    """
    flat = np.frombuffer(_decompressed(data), "<i4").astype(np.int32)
    if flat.size != size * size:
        raise ValueError(f"a label tile has {flat.size} pixels, expected {size * size}")
    return flat.reshape(size, size)


def encode_memory(memory: ClickMemory) -> bytes:
    """Return a click memory as bytes."""
    arrays = _Arrays()
    return arrays.packed(_memory_head(memory, arrays))


def decode_memory(data: bytes) -> ClickMemory:
    """Return the click memory; ValueError if the bytes hold none."""
    memory = _memory_of(*_unpacked(data))
    if memory is None:
        raise ValueError("there is no memory in it")
    return memory


def encode_edit(edit: Edit) -> bytes:
    """Return an edit as bytes."""
    arrays = _Arrays()
    patches = []
    for patch in edit.patches:
        arrays.add(np.frombuffer(patch.bits, np.uint8))
        patches.append([*patch.box, len(patch.bits), patch.before, patch.after])
    changes = []
    for change in edit.changes:
        before = _memory_head(change.memory_before, arrays)
        same = change.memory_after is change.memory_before
        after = None if same else _memory_head(change.memory_after, arrays)
        changes.append(
            [_row_head(change.row_before), _row_head(change.row_after), before, after, same]
        )
    return arrays.packed({"patches": patches, "changes": changes})


def decode_edit(data: bytes) -> Edit:
    """Return the edit; ValueError if the bytes hold none."""
    head, arrays = _unpacked(data)
    patches = tuple(
        Patch((y0, x0, y1, x1), arrays.take("|u1", (length,)).tobytes(), before, after)
        for y0, x0, y1, x1, length, before, after in head["patches"]
    )
    changes = []
    for row_before, row_after, before_head, after_head, same in head["changes"]:
        before = _memory_of(before_head, arrays)
        after = before if same else _memory_of(after_head, arrays)
        changes.append(NucleusChange(_row_of(row_before), _row_of(row_after), before, after))
    return Edit(patches, tuple(changes))


class _Arrays:
    """Arrays in the order in which they are written and read."""

    def __init__(self, data: memoryview | None = None) -> None:
        self._parts: list[bytes] = []
        self._data = memoryview(b"") if data is None else data

    def add(self, array: NDArray) -> None:
        self._parts.append(np.ascontiguousarray(array).tobytes())

    def take(self, dtype: str, shape: tuple[int, ...]) -> NDArray:
        """Return the next array, a copy."""
        count = int(np.prod(shape))
        length = count * np.dtype(dtype).itemsize
        if length > len(self._data):
            raise ValueError("the arrays of a packed value are cut off")
        array = np.frombuffer(self._data[:length], dtype).reshape(shape).copy()
        self._data = self._data[length:]
        return array

    def packed(self, head: Any) -> bytes:
        text = orjson.dumps(head, option=orjson.OPT_SERIALIZE_NUMPY)
        whole = len(text).to_bytes(HEAD_BYTES, "little") + text + b"".join(self._parts)
        return bytes(imagecodecs.zstd_encode(whole, level=LEVEL))


def _unpacked(data: bytes) -> tuple[Any, _Arrays]:
    whole = memoryview(_decompressed(data))
    length = int.from_bytes(whole[:HEAD_BYTES], "little")
    head = orjson.loads(whole[HEAD_BYTES : HEAD_BYTES + length])
    return head, _Arrays(whole[HEAD_BYTES + length :])


def _decompressed(data: bytes) -> bytes:
    try:
        return bytes(imagecodecs.zstd_decode(data))
    except imagecodecs.ZstdError as error:
        raise ValueError(f"not a packed value: {error}") from error


def _row_head(row: NucleusRow | None) -> list[Any] | None:
    if row is None:
        return None
    return [
        row.id,
        row.box,
        row.area,
        row.centroid_yx,
        row.class_id,
        row.class_prob,
        row.score,
        row.iou,
        row.state,
        row.source,
    ]


def _row_of(head: list[Any] | None) -> NucleusRow | None:
    if head is None:
        return None
    nucleus_id, box, area, centroid, class_id, class_prob, score, iou, state, source = head
    return NucleusRow(
        nucleus_id,
        tuple(box),
        area,
        tuple(centroid),
        class_id,
        tuple(class_prob),
        score,
        iou,
        NucleusState(state),
        source,
    )


def _memory_head(memory: ClickMemory | None, arrays: _Arrays) -> list[Any] | None:
    if memory is None:
        return None
    prompts, logits = memory.prompts, memory.logits
    arrays.add(prompts.points_yx.astype("<f8", copy=False))
    arrays.add(prompts.positive.astype(np.uint8))
    scribble = prompts.scribble_yx
    if scribble is not None:
        arrays.add(scribble.astype("<f8", copy=False))
    grid = None
    if logits is not None:
        dtype = logits.grid.dtype.newbyteorder("<").str
        arrays.add(logits.grid.astype(dtype, copy=False))
        grid = [dtype, *logits.grid.shape, logits.window]
    return [
        len(prompts.points_yx),
        prompts.box,
        None if scribble is None else len(scribble),
        grid,
    ]


def _memory_of(head: list[Any] | None, arrays: _Arrays) -> ClickMemory | None:
    if head is None:
        return None
    n_points, box, n_scribble, grid = head
    points = arrays.take("<f8", (n_points, 2))
    positive = arrays.take("|u1", (n_points,)).astype(bool)
    scribble = None if n_scribble is None else arrays.take("<f8", (n_scribble, 2))
    prompts = Prompts(points, positive, None if box is None else tuple(box), scribble)
    if grid is None:
        return ClickMemory(prompts)
    dtype, height, width, window = grid
    if dtype not in LOGIT_TYPES:
        raise ValueError(f"logits of type {dtype!r}")
    return ClickMemory(prompts, MaskLogits(arrays.take(dtype, (height, width)), tuple(window)))
