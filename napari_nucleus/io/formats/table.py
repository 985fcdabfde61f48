"""A table of nuclei as CSV: one row a nucleus, UTF-8, a point as decimal sign, no index column.

Columns in micrometres are there in every table and empty when the pixel size is unknown, so that
the tables of several images fit together.
"""

from __future__ import annotations

import csv
import io
import os

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.io.atomic import replacing
from napari_nucleus.io.formats.base import PLAIN, Export, Format, Keeps
from napari_nucleus.io.results import SegmentationResult

__all__ = ["CSV", "table_columns", "write_table"]


def table_columns(result: SegmentationResult) -> dict[str, list[str]]:
    """Return the table as text, by column.

    Positions count from the top-left corner of the image, in level-0 pixels or micrometres.
    """
    shape, mpp = result.measurements, result.mpp
    y, x = shape.centroid_yx.T
    return {
        "id": [str(i) for i in result.ids],
        "class": result.class_names,
        "class_id": [str(c) for c in result.class_ids],
        "score": _text(result.scores, 4),
        "centroid_x_px": _text(x, 2),
        "centroid_y_px": _text(y, 2),
        "centroid_x_um": _scaled(x, mpp, 1, 3),
        "centroid_y_um": _scaled(y, mpp, 1, 3),
        "area_px": [str(a) for a in shape.area],
        "area_um2": _scaled(shape.area, mpp, 2, 3),
        "perimeter_px": _text(shape.perimeter, 2),
        "perimeter_um": _scaled(shape.perimeter, mpp, 1, 3),
        "equivalent_diameter_px": _text(shape.equivalent_diameter, 2),
        "equivalent_diameter_um": _scaled(shape.equivalent_diameter, mpp, 1, 3),
        "major_axis_px": _text(shape.major_axis, 2),
        "major_axis_um": _scaled(shape.major_axis, mpp, 1, 3),
        "minor_axis_px": _text(shape.minor_axis, 2),
        "minor_axis_um": _scaled(shape.minor_axis, mpp, 1, 3),
        "eccentricity": _text(shape.eccentricity, 4),
        "solidity": _text(shape.solidity, 4),
    }


def write_table(
    path: str | os.PathLike[str], result: SegmentationResult, export: Export = PLAIN
) -> None:
    """Write the table of a result; the file is complete or as it was before.

    Raises
    ------
    AnnotationError
        If the file cannot be written.
    """
    columns = table_columns(result)
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(columns)
    rows.writerows(zip(*columns.values(), strict=True))
    with replacing(path) as file:
        file.write(text.getvalue().encode("utf-8"))


def _text(values: NDArray, digits: int) -> list[str]:
    return [f"{v:.{digits}f}" if np.isfinite(v) else "" for v in values]


def _scaled(values: NDArray, mpp: float | None, power: int, digits: int) -> list[str]:
    return [""] * len(values) if mpp is None else _text(values * mpp**power, digits)


CSV = Format(
    "csv",
    "CSV table",
    ".csv",
    Keeps(masks=False, holes=False, parts=False, scheme=False, shape=False, provenance=False),
    write_table,
    note="A table holds no outlines, so it cannot be imported.",
)
"""Measurements, a row a nucleus."""
