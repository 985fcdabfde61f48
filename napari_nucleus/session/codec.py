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
from napari_nucleus.core.schemes import scheme_of_text, text_of_scheme
from napari_nucleus.session.edits import Edit, NucleusChange, Patch, RegionChange
from napari_nucleus.session.provenance import MadeBy
from napari_nucleus.session.recoding import Classes, Recoding
from napari_nucleus.session.regions import Polygons, Region, RegionKind
from napari_nucleus.session.table import ClickMemory, NucleusRow, NucleusState

__all__ = [
    "decode_edit",
    "decode_memory",
    "decode_polygons",
    "decode_tile",
    "encode_edit",
    "encode_memory",
    "encode_polygons",
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


def encode_polygons(polygons: Polygons) -> bytes:
    """Return polygons as bytes."""
    arrays = _Arrays()
    return arrays.packed(_polygon_head(polygons, arrays))


def decode_polygons(data: bytes) -> Polygons:
    """Return the polygons; ValueError if the bytes hold none."""
    return _polygons_of(*_unpacked(data))


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
    head: dict[str, Any] = {"patches": patches, "changes": changes}
    if edit.regions:
        head["regions"] = [
            [_region_head(change.before, arrays), _region_head(change.after, arrays)]
            for change in edit.regions
        ]
    if edit.recoding is not None:
        head["recoding"] = _recoding_head(edit.recoding, arrays)
    if edit.made_by is not None:
        head["made_by"] = edit.made_by.to_head()
    return arrays.packed(head)


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
    regions = tuple(
        RegionChange(_region_of(before, arrays), _region_of(after, arrays))
        for before, after in head.get("regions", ())
    )
    recoding, made_by = head.get("recoding"), head.get("made_by")
    return Edit(
        patches,
        tuple(changes),
        regions,
        None if recoding is None else _recoding_of(recoding, arrays),
        None if made_by is None else MadeBy.of_head(made_by),
    )


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
        row.agreement,
    ]


def _row_of(head: list[Any] | None) -> NucleusRow | None:
    if head is None:
        return None
    # Rows of journals before version 2 end with the source.
    nucleus_id, box, area, centroid, class_id, class_prob, score, iou, state, source, *rest = head
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
        rest[0] if rest else None,
    )


def _recoding_head(recoding: Recoding, arrays: _Arrays) -> list[Any]:
    arrays.add(recoding.ids.astype("<i8", copy=False))
    schemes = []
    for classes in (recoding.before, recoding.after):
        arrays.add(classes.class_ids.astype("<i4", copy=False))
        arrays.add(classes.class_prob.astype("<f8", copy=False))
        schemes.append(text_of_scheme(classes.scheme))
    return [len(recoding.ids), recoding.box, *schemes]


def _recoding_of(head: list[Any], arrays: _Arrays) -> Recoding:
    count, box, *schemes = head
    ids = arrays.take("<i8", (count,))
    before, after = (
        Classes(
            scheme,
            arrays.take("<i4", (count,)),
            arrays.take("<f8", (count, len(scheme))),
        )
        for scheme in map(scheme_of_text, schemes)
    )
    return Recoding(ids, None if box is None else tuple(box), before, after)


def _region_head(region: Region | None, arrays: _Arrays) -> list[Any] | None:
    if region is None:
        return None
    lengths = _polygon_head(region.polygons, arrays)
    return [region.id, region.kind, lengths, region.note, region.annotator, region.made]


def _region_of(head: list[Any] | None, arrays: _Arrays) -> Region | None:
    if head is None:
        return None
    region_id, kind, lengths, note, annotator, made = head
    return Region(region_id, RegionKind(kind), _polygons_of(lengths, arrays), note, annotator, made)


def _polygon_head(polygons: Polygons, arrays: _Arrays) -> list[int]:
    for points in polygons:
        arrays.add(points.astype("<f8", copy=False))
    return [len(points) for points in polygons]


def _polygons_of(lengths: list[int], arrays: _Arrays) -> Polygons:
    if not lengths or min(lengths) < 3:
        raise ValueError(f"a region of polygons with {lengths} corners")
    return tuple(arrays.take("<f8", (n, 2)) for n in lengths)


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
