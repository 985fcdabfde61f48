"""QuPath detections: one GeoJSON feature a nucleus, readable by QuPath 0.4 and later.

Follows what QuPath's importer enforces: a classification always has a colour, measurements are
finite numbers, rings are closed and valid, ids are unique UUIDs. Outlines are in whole level-0
pixels with the origin in the top-left corner; exact, or with fewer corners where that is asked
for, while areas are always those of the masks. QuPath applies its own pixel size.

Beside the features stand members that QuPath and GIS programs pass over, so that a file read by
`geojson_in` gives all of the result back: ``image`` (width, height, mpp), ``provenance``,
``classes`` (the scheme) and ``parts``. The label id is the entry ``id`` of a detection's
``metadata``, which QuPath 0.5 and later keep; QuPath 0.4 drops it.

QuPath holds a whole file in memory, several gigabytes for 150,000 exact outlines. A result of more
than `PER_FILE` nuclei goes into files of equal size, ``STEM_1of3.geojson`` and so on, each of
which QuPath can read alone.
"""

from __future__ import annotations

import gzip
import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import orjson
import shapely
from numpy.typing import NDArray

from napari_nucleus.core.schemes import text_of_scheme
from napari_nucleus.io.atomic import replacing
from napari_nucleus.io.formats.base import NUCLEI_NAMESPACE, PLAIN, Export, Format, Keeps
from napari_nucleus.io.formats.geojson_in import is_geojson, read_geojson
from napari_nucleus.io.formats.geojson_parts import part_name, with_other_parts
from napari_nucleus.io.results import ResultBlock, SegmentationResult

__all__ = ["GEOJSON", "GEOJSON_GZ", "PER_FILE", "detection_ids", "geojson_files", "write_geojson"]

PER_FILE = 250_000
"""Nuclei of one file at most; as exact outlines some 350 MB, for which QuPath needs 6 GB."""

BATCH = 1000
"""Features that are handed to the file at once."""

DECIMALS = 4
"""Of measurements: a tenth of a nanometre, and less than any score means."""


def geojson_files(path: Path, n: int) -> list[Path]:
    """Return the files that n nuclei are written to in place of ``path``."""
    count = max(-(-n // PER_FILE), 1)
    if count == 1:
        return [path]
    return [path.with_name(part_name(path.name, k, count)) for k in range(1, count + 1)]


def write_geojson(
    path: str | os.PathLike[str], result: SegmentationResult, export: Export = PLAIN
) -> None:
    """Write the nuclei of an image as QuPath detections.

    Parameters
    ----------
    path
        File to write, compressed if it ends in ``.gz``; it is complete or as it was before. Large
        results go into several files beside it, see `geojson_files`.
    result
        The nuclei.
    export
        Its namespace gives each detection, with the label id, the same UUID in every export.

    Raises
    ------
    AnnotationError
        If a file cannot be written.
    CancelledError
        If it was cancelled; the files that were there are as they were.
    """
    targets = geojson_files(Path(path), len(result))
    count = len(targets)
    features = _features(result, export)
    with ExitStack() as complete:
        for number, target in enumerate(targets, 1):
            share = len(result) * number // count - len(result) * (number - 1) // count
            # The last part takes what is left, which also lets the progress come to its end.
            part = islice(features, share if number < count else None)
            whole = complete.enter_context(replacing(target))
            with _packed(whole, target) as file:
                file.write(_head(result, number, count))
                separator = b"\n"
                while batch := list(islice(part, BATCH)):
                    file.write(separator + b",\n".join(batch))
                    separator = b",\n"
                file.write(b"\n]}\n")


@contextmanager
def _packed(file: BinaryIO, path: Path) -> Iterator[BinaryIO]:
    if path.suffix.lower() != ".gz":
        yield file
        return
    # No time and no file name in the header: equal nuclei give equal files.
    with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as packed:
        yield cast(BinaryIO, packed)


def _head(result: SegmentationResult, number: int, count: int) -> bytes:
    """Return the beginning of a file up to the bracket of its features."""
    height, width = result.shape
    members: dict[str, Any] = {
        "type": "FeatureCollection",
        "image": {"width": width, "height": height, "mpp": result.mpp},
        "classes": orjson.loads(text_of_scheme(result.scheme)),
    }
    if result.provenance:
        members["provenance"] = dict(result.provenance)
    if count > 1:
        members["parts"] = {"here": [number], "of": count, "nuclei": len(result)}
    text = orjson.dumps(members, option=orjson.OPT_SERIALIZE_NUMPY)
    return text.removesuffix(b"}") + b',"features":['


def detection_ids(
    ids: NDArray[np.int64], namespace: uuid.UUID = NUCLEI_NAMESPACE
) -> list[uuid.UUID]:
    """Return the UUID of each label id: always the same in one namespace (RFC 4122, version 5)."""
    return [uuid.uuid5(namespace, str(int(i))) for i in ids]


def _features(result: SegmentationResult, export: Export) -> Iterator[bytes]:
    """Yield the features as JSON, block by block."""
    classes = {
        # A line break in the name of a class stops QuPath.
        c: {
            "name": " ".join(result.scheme.name_of(c).split()),
            "color": list(result.scheme.color_of(c)),
        }
        for c in np.unique(result.class_ids).tolist()
    }
    for block in export.blocks(result):
        for one, label, class_id, geometry, measurements in zip(
            detection_ids(block.ids, export.namespace),
            block.ids.tolist(),
            block.class_ids.tolist(),
            _geometries(export.outlines(block)),
            _measurements(block),
            strict=True,
        ):
            feature = {
                "type": "Feature",
                "id": str(one),
                "geometry": geometry,
                "properties": {
                    "objectType": "detection",
                    "classification": classes[class_id],
                    "measurements": measurements,
                    "metadata": {"id": str(label)},
                },
            }
            yield orjson.dumps(feature, option=orjson.OPT_SERIALIZE_NUMPY)


def _measurements(block: ResultBlock) -> list[dict[str, float]]:
    """Return what each nucleus measures, under QuPath's names; lengths in µm if they are known."""
    shape, mpp = block.measurements, block.result.mpp
    scale, unit = (1.0, "px") if mpp is None else (mpp, "µm")
    columns = {
        "Score": block.scores.astype(np.float64),
        f"Area {unit}^2": shape.area * scale**2,
        f"Perimeter {unit}": shape.perimeter * scale,
        f"Equivalent diameter {unit}": shape.equivalent_diameter * scale,
        "Eccentricity": shape.eccentricity,
        "Solidity": shape.solidity,
    }
    table = np.round(np.column_stack(list(columns.values())), DECIMALS)
    rows = [dict(zip(columns, row, strict=True)) for row in table.tolist()]
    for row, column in np.argwhere(~np.isfinite(table)).tolist():
        del rows[row][list(columns)[column]]
    return rows


def _geometries(polygons: NDArray[np.object_]) -> Iterator[dict[str, Any]]:
    """Return GeoJSON geometries: whole numbers, which outlines of pixels have, or two decimals."""
    parts, polygon_of_part = shapely.get_parts(polygons, return_index=True)
    rings, part_of_ring = shapely.get_rings(parts, return_index=True)
    xy = shapely.get_coordinates(rings)
    xy = xy.astype(np.int64) if (xy == np.rint(xy)).all() else np.round(xy, 2)
    ends = np.cumsum(shapely.get_num_coordinates(rings))
    lines = [xy[begin:end] for begin, end in zip(np.append(0, ends), ends, strict=False)]
    first_ring = np.searchsorted(part_of_ring, np.arange(len(parts) + 1)).tolist()
    first_part = np.searchsorted(polygon_of_part, np.arange(len(polygons) + 1)).tolist()
    for begin, end in pairwise(first_part):
        shells = [lines[first_ring[part] : first_ring[part + 1]] for part in range(begin, end)]
        if len(shells) == 1:
            yield {"type": "Polygon", "coordinates": shells[0]}
        else:
            yield {"type": "MultiPolygon", "coordinates": shells}


GEOJSON = Format(
    "geojson",
    "QuPath GeoJSON (detections)",
    ".geojson",
    Keeps(),
    write_geojson,
    endings=(".json", ".json.gz"),
    is_json=is_geojson,
    read_json=read_geojson,
    files=geojson_files,
    gather=with_other_parts,
    note=f"Above {PER_FILE:,} nuclei it is several files; any of them reads all that lie together.",
)
"""QuPath's GeoJSON; read also as CellViT, InstanSeg and GIS programs write it."""

GEOJSON_GZ = Format(
    "geojson-gz",
    "QuPath GeoJSON, compressed",
    ".geojson.gz",
    Keeps(),
    write_geojson,
    is_json=is_geojson,
    read_json=read_geojson,
    files=geojson_files,
    gather=with_other_parts,
    note="A seventh of the size; QuPath opens it without unpacking.",
)
"""The same in a seventh of the space."""
