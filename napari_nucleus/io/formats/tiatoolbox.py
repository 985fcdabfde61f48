"""Annotation stores of TIAToolbox: SQLite, in the layout that its version 1.0.1 has.

Three tables: ``annotations`` with a row a nucleus, outline as WKB packed by zlib and properties as
JSON; ``rtree``, SQLite's index of boxes under the same numbers; ``metadata``, values as JSON. The
package itself is not needed, and its heavy dependencies neither. Outlines are in level-0 pixels
with the origin in the top-left corner. Properties are ``type``, by which TIAToolbox draws colours,
``prob`` as its own models call a score, and ``id``.

A store of somebody else's may be made to do harm, so it is opened for reading alone, its schema is
not trusted, and its tables have to be tables.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import orjson
import shapely

from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.annotation_file import AnnotationFile, Stated, of_polygons
from napari_nucleus.io.atomic import replacing
from napari_nucleus.io.formats.attributes import CLASSES, SCORES, class_names_in
from napari_nucleus.io.formats.base import PLAIN, Export, Format, Keeps
from napari_nucleus.io.formats.geojson import detection_ids
from napari_nucleus.io.formats.members import number_in, whole_in
from napari_nucleus.io.formats.our_text import OUR_KEY, our_text, stated_in_text
from napari_nucleus.io.formats.wkb import polygons_of_wkb
from napari_nucleus.io.results import ResultBlock, SegmentationResult

__all__ = ["TIATOOLBOX", "read_tiatoolbox", "write_tiatoolbox"]

LAYOUT = "1.0.1"

LEVEL = 6
"""Of packing: a tenth larger than TIAToolbox's 9, in a fraction of the time."""

MAGIC = b"SQLite format 3\0"

LARGEST_GEOMETRY = 2**26
"""Bytes of an outline, unpacked; four million corners."""

MOST_BYTES = 2**33
"""Bytes of all outlines together."""

BATCH = 4096

TABLES = (
    "CREATE VIRTUAL TABLE rtree USING rtree(id, min_x, max_x, min_y, max_y)",
    "CREATE TABLE annotations(id INTEGER PRIMARY KEY, key TEXT UNIQUE, objtype TEXT, "
    "cx FLOAT NOT NULL, cy FLOAT NOT NULL, geometry BLOB, properties TEXT, area FLOAT NOT NULL)",
    "CREATE TABLE metadata (key TEXT UNIQUE, value TEXT)",
)


def write_tiatoolbox(path: Path, result: SegmentationResult, export: Export = PLAIN) -> None:
    """Write the nuclei of an image as an annotation store.

    Raises
    ------
    AnnotationError
        If the file cannot be written, or this Python's SQLite has no R*Tree.
    CancelledError
        If it was cancelled; a file that was there is as it was.
    """
    with replacing(path) as file:
        try:
            with closing(sqlite3.connect(file.name, isolation_level=None)) as store:
                _fill(store, result, export)
        except sqlite3.Error as error:
            if "no such module" in str(error):
                raise AnnotationError(
                    f"{path.name}: this Python's SQLite has no R*Tree, which the format needs; "
                    "choose another format, or another build of Python."
                ) from error
            raise OSError(0, str(error)) from error


def _fill(store: sqlite3.Connection, result: SegmentationResult, export: Export) -> None:
    # The file counts only when it is complete, and is forced to the disk as a whole.
    store.execute("PRAGMA journal_mode = OFF")
    store.execute("PRAGMA synchronous = OFF")
    store.execute("BEGIN")
    for table in TABLES:
        store.execute(table)
    facts = {"version": LAYOUT, "compression": "zlib", "compression_level": LEVEL}
    rows = [(key, orjson.dumps(value).decode()) for key, value in facts.items()]
    rows.append((OUR_KEY, our_text(result).decode()))
    store.executemany("INSERT INTO metadata VALUES(?, ?)", rows)
    first = 1
    for block in export.blocks(result):
        outlines = export.outlines(block)
        numbers = range(first, first + len(block))
        store.executemany(
            "INSERT INTO annotations VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
            zip(numbers, *_columns(block, export, outlines), strict=True),
        )
        x0, y0, x1, y1 = shapely.bounds(outlines).reshape(-1, 4).T.tolist()
        store.executemany(
            "INSERT INTO rtree VALUES(?, ?, ?, ?, ?)",
            zip(numbers, x0, x1, y0, y1, strict=True),
        )
        first += len(block)
    store.execute("COMMIT")


def _columns(block: ResultBlock, export: Export, outlines: np.ndarray) -> Iterator[list[Any]]:
    """Yield the columns of ``annotations`` after the first."""
    scheme = block.result.scheme
    yield [str(key) for key in detection_ids(block.ids, export.namespace)]
    kinds = {3: "Polygon", 6: "MultiPolygon"}
    yield [kinds[kind] for kind in shapely.get_type_id(outlines).tolist()]
    middles = shapely.centroid(outlines)
    yield shapely.get_x(middles).tolist()
    yield shapely.get_y(middles).tolist()
    yield [zlib.compress(blob, LEVEL) for blob in shapely.to_wkb(outlines).tolist()]
    properties = []
    scores = np.round(block.scores.astype(np.float64), 4).tolist()
    for number, class_id, score in zip(
        block.ids.tolist(), block.class_ids.tolist(), scores, strict=True
    ):
        value: dict[str, Any] = {"type": scheme.name_of(class_id), "id": number}
        if np.isfinite(score):
            value["prob"] = score
        properties.append(orjson.dumps(value).decode())
    yield properties
    yield shapely.area(outlines).tolist()


def read_tiatoolbox(path: Path) -> AnnotationFile:
    """Read the polygons of an annotation store.

    Raises
    ------
    AnnotationError
        If it is no store, damaged, or made to do other things than to be read.
    """
    name = path.name
    with open(path, "rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise AnnotationError(f"{name}: is no SQLite file, which stores of TIAToolbox are.")
    address = f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(address, uri=True)) as store:
            store.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_GEOMETRY)
            store.execute("PRAGMA trusted_schema = OFF")
            store.execute("PRAGMA cell_size_check = ON")
            store.text_factory = lambda data: data.decode("utf-8", "replace")
            _check(store, name)
            return _read(store, name)
    except sqlite3.Error as error:
        raise AnnotationError(
            f"{name}: is damaged, or no store of TIAToolbox ({error})."
        ) from error


def _check(store: sqlite3.Connection, name: str) -> None:
    """Refuse views, computed columns and damaged pages."""
    kinds = dict(store.execute("SELECT name, type || ifnull(sql, '') FROM sqlite_master"))
    for table, wanted in (
        ("annotations", ("geometry", "properties")),
        ("metadata", ("key", "value")),
    ):
        made = " ".join(kinds.get(table, "").casefold().split())
        columns = {row[1]: row[6] for row in store.execute(f"PRAGMA table_xinfo({table})")}
        if not made.startswith("tablecreate table") or any(columns.get(c) != 0 for c in wanted):
            raise AnnotationError(f"{name}: is SQLite, but no annotation store of TIAToolbox.")
    # It also ends on pages that point to each other in a circle, where reading would not.
    (found,) = store.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise AnnotationError(f"{name}: is damaged ({' '.join(str(found).split())[:200]}).")


def _read(store: sqlite3.Connection, name: str) -> AnnotationFile:
    kept = {str(k): v for k, v in store.execute("SELECT key, value FROM metadata")}
    compression = _value(kept.get("compression"))
    if compression not in (None, "zlib"):
        raise AnnotationError(f"{name}: its outlines are packed by {str(compression)[:40]!r}.")
    polygons: list[Any] = []
    values: list[Any] = []
    others, size = 0, 0
    rows = store.execute("SELECT geometry, properties FROM annotations ORDER BY id")
    while batch := rows.fetchmany(BATCH):
        blobs = [_unpacked(blob, compression, name) for blob, _ in batch]
        size += sum(len(blob) for blob in blobs if blob is not None)
        if size > MOST_BYTES:
            raise AnnotationError(f"{name}: its outlines are larger than {MOST_BYTES:,} bytes.")
        found, has_area = polygons_of_wkb(name, blobs)
        polygons += found[has_area].tolist()
        values += [_value(batch[i][1]) for i in np.flatnonzero(has_area).tolist()]
        others += int((~has_area).sum())
    notes = [f"{name}: {others:,} annotations are no polygons; left out."] if others else []
    stated = stated_in_text(kept.get(OUR_KEY), name)
    properties = [value if isinstance(value, dict) else {} for value in values]
    ids = [_id(p) for p in properties]
    labels = [next((p[k] for k in CLASSES if k in p), None) for p in properties]
    classes, colors = class_names_in(labels, stated.get("scheme"), name, notes)
    return of_polygons(
        name,
        polygons,
        Stated(
            ids=ids if any(i is not None for i in ids) else None,
            classes=classes,
            colors=colors,
            scores=[_score(p) for p in properties],
            notes=notes,
            **stated,
        ),
    )


def _unpacked(blob: Any, compression: Any, name: str) -> bytes | None:
    """Return WKB; None for points, which the layout stores without, and for text."""
    if not isinstance(blob, bytes):
        return None
    if compression is None:
        return blob
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(blob, LARGEST_GEOMETRY)
    except zlib.error as error:
        raise AnnotationError(f"{name}: an outline is damaged ({error}).") from error
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise AnnotationError(f"{name}: an outline is cut off, or larger than a nucleus can be.")
    return data


def _value(text: Any) -> Any:
    try:
        return orjson.loads(text) if isinstance(text, str) else None
    except orjson.JSONDecodeError:
        return None


def _id(properties: Mapping[str, Any]) -> int | None:
    """Return the id in properties, or in the metadata that detections of QuPath have in them."""
    metadata = properties.get("metadata")
    inner = metadata.get("id") if isinstance(metadata, dict) else None
    return whole_in(properties.get("id", inner))


def _score(properties: Mapping[str, Any]) -> float:
    """Return the score in properties, or in the measurements that detections have in them."""
    measured = properties.get("measurements")
    for values in (properties, measured if isinstance(measured, dict) else {}):
        low = {key.casefold(): value for key, value in values.items()}
        found = (number_in(low[k]) for k in SCORES if k in low)
        score = next((v for v in found if v is not None), None)
        if score is not None:
            return score
    return float("nan")


TIATOOLBOX = Format(
    "tiatoolbox",
    "TIAToolbox annotation store",
    ".db",
    Keeps(),
    write_tiatoolbox,
    read_tiatoolbox,
)
"""Annotation stores of TIAToolbox."""
