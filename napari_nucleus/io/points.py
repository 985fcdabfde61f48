"""Nuclei as points, written as a table or as QuPath detections.

Positions are level-0 pixels with the origin in the top-left corner; a table has micrometres beside
them, empty where the pixel size is unknown. In GeoJSON each point is a detection with its class and
its score, as QuPath 0.4 and later read it.
"""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import numpy as np
import orjson

from napari_nucleus.core.classes import PANNUKE, ClassScheme
from napari_nucleus.core.points import Points
from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.atomic import replacing

__all__ = ["check_points_file", "write_points"]

TABLE, GEOJSON = ".csv", ".geojson"


def check_points_file(path: str | os.PathLike[str]) -> None:
    """Refuse a name that says no format of points.

    Raises
    ------
    AnnotationError
        If it ends neither with ``.csv`` nor with ``.geojson``.
    """
    path = Path(path)
    if path.suffix.lower() not in (TABLE, GEOJSON):
        raise AnnotationError(f"{path.name}: points are written as {TABLE} or {GEOJSON}.")


def write_points(
    path: str | os.PathLike[str], points: Points, scheme: ClassScheme | None, mpp: float | None
) -> None:
    """Write points in the format that the name ends with.

    Parameters
    ----------
    path
        The file; it is complete or as it was before.
    points
        In level-0 pixels.
    scheme
        Of their classes; PanNuke's where they have none.
    mpp
        µm per pixel, or None where it is unknown.

    Raises
    ------
    AnnotationError
        If the name says no format, or the file cannot be written.
    """
    check_points_file(path)
    scheme = scheme or PANNUKE
    class_ids = scheme.ids_of_probabilities(points.class_prob).tolist()
    text = _table if Path(path).suffix.lower() == TABLE else _geojson
    with replacing(path) as file:
        file.write(text(points, class_ids, scheme, mpp))


def _table(points: Points, class_ids: list[int], scheme: ClassScheme, mpp: float | None) -> bytes:
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["x_px", "y_px", "x_um", "y_um", "class", "class_id", "score"])
    for (y, x), class_id, score in zip(points.yx, class_ids, points.score, strict=True):
        um = ["", ""] if mpp is None else [f"{x * mpp:.3f}", f"{y * mpp:.3f}"]
        row = [f"{x:.2f}", f"{y:.2f}", *um, scheme.name_of(class_id), class_id, f"{score:.4f}"]
        rows.writerow(row)
    return text.getvalue().encode("utf-8")


def _geojson(points: Points, class_ids: list[int], scheme: ClassScheme, _: float | None) -> bytes:
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": xy},
            "properties": {
                "objectType": "detection",
                "classification": {
                    # A line break in the name of a class stops QuPath.
                    "name": " ".join(scheme.name_of(class_id).split()),
                    "color": list(scheme.color_of(class_id)),
                },
                "measurements": {"Score": score},
            },
        }
        for xy, class_id, score in zip(
            np.round(points.yx[:, ::-1], 2).tolist(),
            class_ids,
            np.round(points.score.astype(float), 4).tolist(),
            strict=True,
        )
    ]
    return orjson.dumps({"type": "FeatureCollection", "features": features})
