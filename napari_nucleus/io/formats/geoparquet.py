"""GeoParquet 1.1: nuclei as a table with outlines, for geopandas, DuckDB, QGIS and R.

One row a nucleus, a group of rows for every block of the image, so that a part of a slide can be
read by its box. Outlines are WKB in level-0 pixels with the origin in the top-left corner and
without a reference system. Columns are named as in the CSV table; areas are those of the masks.
What concerns all nuclei is a text of ours beside the format's own ``geo``.

Any GeoParquet with polygons is read; columns are found by the names that programs give them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import shapely

from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.annotation_file import AnnotationFile, Stated, of_polygons
from napari_nucleus.io.atomic import replacing
from napari_nucleus.io.formats.attributes import CLASSES, IDS, SCORES, class_names_in
from napari_nucleus.io.formats.base import PLAIN, Export, Format, Keeps
from napari_nucleus.io.formats.members import whole_in
from napari_nucleus.io.formats.our_text import OUR_KEY, our_text, stated_in_text
from napari_nucleus.io.formats.wkb import polygons_of_wkb
from napari_nucleus.io.results import ResultBlock, SegmentationResult

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["GEOPARQUET", "read_geoparquet", "write_geoparquet"]

MOST_ROWS = 20_000_000
"""Nuclei of a file; a slide has a tenth of that."""

MOST_BYTES = 2**33
"""Bytes of all geometries of a file together."""

BATCH = 8192


def write_geoparquet(path: Path, result: SegmentationResult, export: Export = PLAIN) -> None:
    """Write the nuclei of an image as GeoParquet.

    Raises
    ------
    AnnotationError
        If the file cannot be written.
    CancelledError
        If it was cancelled; a file that was there is as it was.
    """
    import pyarrow.parquet as pq

    schema = _schema(result, export)
    with replacing(path) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for block in export.blocks(result):
            writer.write_table(_rows(block, export, schema))


def _schema(result: SegmentationResult, export: Export) -> pa.Schema:
    import pyarrow as pa

    box = pa.struct([(side, pa.float64()) for side in ("xmin", "ymin", "xmax", "ymax")])
    columns = [
        ("id", pa.int64()),
        ("class", pa.string()),
        ("class_id", pa.int32()),
        ("score", pa.float32()),
        ("area_px", pa.int64()),
        ("centroid_x_px", pa.float64()),
        ("centroid_y_px", pa.float64()),
        ("perimeter_px", pa.float64()),
        ("eccentricity", pa.float64()),
        ("solidity", pa.float64()),
        ("geometry", pa.binary()),
        ("bbox", box),
    ]
    geometry: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": ["Polygon", "MultiPolygon"],
        "crs": None,
        "edges": "planar",
        "covering": {"bbox": {side: ["bbox", side] for side in ("xmin", "ymin", "xmax", "ymax")}},
    }
    if not export.simplify:  # the tracer turns shells and holes as the format wants to be told
        geometry["orientation"] = "counterclockwise"
    if len(result):
        boxes = result.table.boxes
        (y0, x0), (y1, x1) = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
        geometry["bbox"] = [float(v) for v in (x0, y0, x1, y1)]
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": geometry}}
    return pa.schema(columns, {"geo": orjson.dumps(geo), OUR_KEY: our_text(result)})


def _rows(block: ResultBlock, export: Export, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    outlines = export.outlines(block)
    shape, scheme = block.measurements, block.result.scheme
    bounds = shapely.bounds(outlines).reshape(-1, 4).T
    box = pa.StructArray.from_arrays(list(bounds), fields=list(schema.field("bbox").type))
    columns = [
        block.ids,
        [scheme.name_of(c) for c in block.class_ids.tolist()],
        block.class_ids,
        pa.array(block.scores, mask=np.isnan(block.scores)),
        shape.area,
        *shape.centroid_yx.T[::-1],
        shape.perimeter,
        shape.eccentricity,
        shape.solidity,
        shapely.to_wkb(outlines),
        box,
    ]
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, kind)
        for column, kind in zip(columns, schema.types, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def read_geoparquet(path: Path) -> AnnotationFile:
    """Read the polygons of a GeoParquet file.

    Raises
    ------
    AnnotationError
        If it is no GeoParquet, damaged, or larger than nuclei can be.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = path.name
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
        texts = [f.name for f in schema if _is_text(f.type) or _is_binary(f.type)]
        # Once each, however often it comes: a small file may repeat a large value a million times.
        with pq.ParquetFile(path, read_dictionary=texts) as file:
            return _read(file, schema, name)
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise AnnotationError(f"{name}: is damaged, or no Parquet ({reason}).") from error


def _read(file: pq.ParquetFile, schema: pa.Schema, name: str) -> AnnotationFile:
    kept = {k.decode("utf-8", "replace"): v for k, v in (schema.metadata or {}).items()}
    geometry = _geometry_column(kept.get("geo"), schema, name)
    if file.metadata.num_rows > MOST_ROWS:
        raise AnnotationError(f"{name}: {file.metadata.num_rows:,} rows are no nuclei of an image.")
    columns = _columns(schema, geometry)
    wanted = list(dict.fromkeys([geometry, *columns.values()]))
    polygons: list[Any] = []
    values: dict[str, list[Any]] = {what: [] for what in columns}
    others, size = 0, 0
    for batch in file.iter_batches(BATCH, columns=wanted):
        blobs = _values(batch.column(geometry))
        size += sum(len(blob) for blob in blobs if blob is not None)
        if size > MOST_BYTES:
            raise AnnotationError(f"{name}: its geometries are larger than {MOST_BYTES:,} bytes.")
        found, has_area = polygons_of_wkb(name, blobs)
        polygons += found[has_area].tolist()
        others += int((~has_area).sum())
        rows = np.flatnonzero(has_area)
        for what, column in columns.items():
            values[what] += _values(batch.column(column).take(rows))
    notes = [f"{name}: {others:,} geometries are no polygons; left out."] if others else []
    stated = stated_in_text(kept.get(OUR_KEY), name)
    ids = [whole_in(v) for v in values.get("id", [])]
    classes, colors = class_names_in(values.get("class", []), stated.get("scheme"), name, notes)
    scores = [_number(v) for v in values["score"]] if "score" in values else None
    return of_polygons(
        name,
        polygons,
        Stated(
            ids=ids if any(i is not None for i in ids) else None,
            classes=classes,
            colors=colors,
            scores=scores,
            notes=notes,
            **stated,
        ),
    )


def _values(column: pa.Array) -> list[Any]:
    """Return the values of a column, equal ones as one where it is a dictionary."""
    import pyarrow as pa

    if not isinstance(column, pa.DictionaryArray):
        return column.to_pylist()
    entries = column.dictionary.to_pylist()
    return [None if i is None else entries[i] for i in column.indices.to_pylist()]


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_binary(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _geometry_column(geo: bytes | None, schema: pa.Schema, name: str) -> str:
    try:
        value = orjson.loads(geo or b"")
        column = value["primary_column"]
        encoding = value["columns"][column]["encoding"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise AnnotationError(
            f"{name}: is Parquet without outlines; GeoParquet says in 'geo' where they are."
        ) from error
    if not isinstance(column, str) or schema.get_field_index(column) < 0:
        raise AnnotationError(f"{name}: its geometry column {str(column)[:80]!r} is not there.")
    if encoding != "WKB" or not _is_binary(schema.field(column).type):
        raise AnnotationError(
            f"{name}: its geometries are encoded as {str(encoding)[:40]!r}; only WKB is read. "
            "Write it with the encoding WKB, as geopandas does by default."
        )
    return column


def _columns(schema: pa.Schema, geometry: str) -> dict[str, str]:
    """Return the names of the columns with ids, classes and scores."""
    import pyarrow as pa

    names = {n.casefold(): n for n in reversed(schema.names) if n != geometry}
    is_whole, is_number = pa.types.is_integer, pa.types.is_floating
    found: dict[str, str] = {}
    for what, known in (("id", IDS), ("score", SCORES), ("class", CLASSES)):
        for one in known:
            column = names.get(one)
            if column is None or column in found.values():
                continue
            kind = schema.field(column).type
            is_text = _is_text(kind)
            fits = {
                # The label of a nucleus is a number, that of a class a text.
                "id": is_whole(kind) or (is_text and one != "label"),
                "score": is_number(kind),
                "class": is_text or is_whole(kind) or pa.types.is_struct(kind),
            }
            if fits[what]:
                found[what] = column
                break
    return found


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


GEOPARQUET = Format(
    "geoparquet",
    "GeoParquet",
    ".parquet",
    Keeps(),
    write_geoparquet,
    read_geoparquet,
    endings=(".geoparquet",),
)
"""A table with outlines."""
