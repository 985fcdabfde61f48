"""A row of the nuclei table as the values that the project file keeps, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_nucleus.session.table import NucleusRow, NucleusState

__all__ = ["COLUMNS", "MARKS", "row_of", "values_of"]

COLUMNS = (
    "id, y0, x0, y1, x1, area, cy, cx, class_id, class_prob, score, iou, state, source, agreement"
)

MARKS = ", ".join("?" * len(COLUMNS.split(",")))
"""What stands for their values in a statement."""


def row_of(values: Sequence) -> NucleusRow:
    """Return what was read of `COLUMNS` as a row."""
    nucleus_id, y0, x0, y1, x1, area, cy, cx, class_id, prob, *rest = values
    score, iou, state, source, agreement = rest
    return NucleusRow(
        nucleus_id,
        (y0, x0, y1, x1),
        area,
        (cy, cx),
        class_id,
        tuple(np.frombuffer(prob, "<f8").tolist()),
        score,
        iou,
        NucleusState(state),
        source,
        agreement,
    )


def values_of(row: NucleusRow) -> tuple:
    """Return a row as values of `COLUMNS`."""
    # Numbers of numpy's own are nothing that SQLite knows.
    return (
        int(row.id),
        *map(int, row.box),
        int(row.area),
        *map(float, row.centroid_yx),
        int(row.class_id),
        np.asarray(row.class_prob, "<f8").tobytes(),
        float(row.score),
        None if row.iou is None else float(row.iou),
        row.state.value,
        row.source,
        None if row.agreement is None else float(row.agreement),
    )
