"""QuPath detections: one GeoJSON feature a nucleus, readable by QuPath 0.4 and later.

Follows what QuPath's importer enforces: a classification always has a colour, measurements are
finite numbers, rings are closed and valid, ids are unique UUIDs. Polygons are exact, in whole
level-0 pixels with the origin in the top-left corner. QuPath applies its own pixel size.
"""

from __future__ import annotations

import gzip
import math
import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import orjson
import shapely
from numpy.typing import NDArray

from napari_nucleus.io.atomic import replacing
from napari_nucleus.io.formats.base import NUCLEI_NAMESPACE, PLAIN, Export, Format, Keeps
from napari_nucleus.io.results import ResultBlock, SegmentationResult

__all__ = ["GEOJSON", "detection_ids", "write_geojson"]


def write_geojson(
    path: str | os.PathLike[str], result: SegmentationResult, export: Export = PLAIN
) -> None:
    """Write the nuclei of an image as QuPath detections.

    Parameters
    ----------
    path
        File to write, compressed if it ends in ``.gz``; it is complete or as it was before.
    result
        The nuclei.
    export
        Its namespace gives each detection, with the label id, the same UUID in every export.

    Raises
    ------
    AnnotationError
        If the file cannot be written.
    """
    with ExitStack() as stack:
        file: BinaryIO = stack.enter_context(replacing(path))
        if Path(path).suffix.lower() == ".gz":
            # No time and no file name in the header: equal nuclei give equal files.
            packed = gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0)
            file = cast(BinaryIO, stack.enter_context(packed))
        file.write(b'{"type":"FeatureCollection",')
        if result.provenance:
            file.write(b'"provenance":' + orjson.dumps(dict(result.provenance)) + b",")
        file.write(b'"features":[')
        separator = b"\n"
        for block in export.blocks(result):
            features = _features(block, export.namespace)
            lines = (orjson.dumps(f, option=orjson.OPT_SERIALIZE_NUMPY) for f in features)
            file.write(separator + b",\n".join(lines))
            separator = b",\n"
        file.write(b"\n]}\n")


def detection_ids(
    ids: NDArray[np.int64], namespace: uuid.UUID = NUCLEI_NAMESPACE
) -> list[uuid.UUID]:
    """Return the UUID of each label id: always the same in one namespace (RFC 4122, version 5)."""
    return [uuid.uuid5(namespace, str(int(i))) for i in ids]


def _features(block: ResultBlock, namespace: uuid.UUID) -> Iterator[dict[str, Any]]:
    scheme = block.result.scheme
    uuids = detection_ids(block.ids, namespace)
    columns = _measurements(block)
    classes = {
        c: {"name": scheme.name_of(c), "color": list(scheme.color_of(c))}
        for c in np.unique(block.class_ids).tolist()
    }
    for row, geometry in enumerate(_geometries(block.polygons)):
        yield {
            "type": "Feature",
            "id": str(uuids[row]),
            "geometry": geometry,
            "properties": {
                "objectType": "detection",
                "classification": classes[int(block.class_ids[row])],
                "measurements": {
                    k: float(v[row]) for k, v in columns.items() if math.isfinite(v[row])
                },
            },
        }


def _measurements(block: ResultBlock) -> dict[str, NDArray]:
    """Return the measurements under the names QuPath uses; lengths in µm if they are known."""
    shape, mpp = block.measurements, block.result.mpp
    scale, unit = (1.0, "px") if mpp is None else (mpp, "µm")
    return {
        "Score": block.scores,
        f"Area {unit}^2": shape.area * scale**2,
        f"Perimeter {unit}": shape.perimeter * scale,
        f"Equivalent diameter {unit}": shape.equivalent_diameter * scale,
        "Eccentricity": shape.eccentricity,
        "Solidity": shape.solidity,
    }


def _geometries(polygons: NDArray[np.object_]) -> Iterator[dict[str, Any]]:
    """Return GeoJSON geometries with whole-number coordinates."""
    parts, polygon_of_part = shapely.get_parts(polygons, return_index=True)
    rings, part_of_ring = shapely.get_rings(parts, return_index=True)
    xy = shapely.get_coordinates(rings).astype(np.int64)
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
    endings=(".geojson.gz",),
)
"""QuPath's GeoJSON, plain or compressed."""
