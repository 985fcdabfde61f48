"""The nuclei of a document as the cells that the microenvironment is measured on."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from napari_nucleus.core.cells import Cells, canonical_classes
from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.session.table import NucleusRow

__all__ = ["cells_of_rows", "classifying_models"]


def cells_of_rows(
    rows: Iterable[NucleusRow], scheme: ClassScheme, mpp: float
) -> tuple[Cells, tuple[int, ...]]:
    """Return the cells of rows of the nuclei table.

    Parameters
    ----------
    rows
        Rows of one document.
    scheme
        The document's classes.
    mpp
        Micrometres per pixel.

    Returns
    -------
    cells
        Under the ids of their rows.
    not_told_apart
        Canonical classes that ``scheme`` does not tell apart.
    """
    rows = list(rows)
    classes = np.array([row.class_id for row in rows], np.int64)
    canonical, not_told_apart = canonical_classes(classes, scheme)
    cells = Cells(
        np.array([row.centroid_yx for row in rows], np.float64).reshape(-1, 2),
        np.array([row.area for row in rows], np.float64),
        canonical,
        mpp,
        np.array([row.id for row in rows], np.int64),
    )
    return cells, not_told_apart


def classifying_models(rows: Iterable[NucleusRow]) -> set[str]:
    """Return the models from which nuclei still have their class, by name; users' choices apart."""
    return {row.source for row in rows if row.class_id and row.class_prob}
