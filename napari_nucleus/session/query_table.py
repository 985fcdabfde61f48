"""The nuclei of a document as the table that queries in words are answered on.

The table is what the document holds at that moment. What is computed from its pixels later reads
them later, so a table is good until the document changes; then another one takes over what still
holds.
"""

from __future__ import annotations

from collections.abc import Collection, Generator

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_nucleus.core.geometry import Box
from napari_nucleus.core.image import ImageSource
from napari_nucleus.core.query import NucleiTable
from napari_nucleus.session.document import Document
from napari_nucleus.session.review import doubts
from napari_nucleus.session.steps import finished
from napari_nucleus.session.table import NucleusRow

__all__ = ["query_table", "query_table_in_steps"]

SLICE = 1000
"""Rows that are read at once: some 20 ms from a file."""


def query_table(
    document: Document,
    border: shapely.Geometry | None = None,
    source: ImageSource | None = None,
    before: NucleiTable | None = None,
    box: Box | None = None,
    guessing: Collection[str] = (),
) -> NucleiTable:
    """Return the nuclei of a document as a table.

    Parameters
    ----------
    document
        Where they are kept; its labels are read when shapes, darkness or touching are asked for.
    border
        What the user's tumour border goes around, ``(x, y)`` level-0 pixels; None without one.
    source
        The image, to see which nuclei are dark; None where it is not at hand.
    before
        A table of the same document as it was earlier: what it computed of nuclei that have not
        changed is not computed again.
    box
        Level-0 box whose nuclei the table has; by default all of the image.
    guessing
        Names of models that do not tell neoplastic from epithelial nuclei.
    """
    return finished(query_table_in_steps(document, border, source, before, box, guessing))


def query_table_in_steps(
    document: Document,
    border: shapely.Geometry | None = None,
    source: ImageSource | None = None,
    before: NucleiTable | None = None,
    box: Box | None = None,
    guessing: Collection[str] = (),
) -> Generator[None, None, NucleiTable]:
    """Do as `query_table`, pausing after each slice; the document must not change meanwhile."""
    ids = document.ids if box is None else np.array(document.ids_in(box), np.int64)
    parts = [_columns([], len(document.scheme), guessing)]
    for begin in range(0, len(ids), SLICE):
        rows = document.rows(ids[begin : begin + SLICE].tolist())
        parts.append(_columns(rows, len(document.scheme), guessing))
        yield
    classes, prob, scores, areas, centroids_yx, boxes, states, guessed = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    table = NucleiTable(
        ids,
        classes,
        prob,
        scores,
        areas,
        centroids_yx,
        boxes,
        states,
        _doubts(document, ids, box),
        document.shape,
        document.scheme,
        document.mpp,
        document.store.read_labels,
        source,
        border,
        guessed,
    )
    if before is not None:
        table.take_over(before)
    return table


def _columns(
    rows: list[NucleusRow], classes: int, guessing: Collection[str]
) -> tuple[NDArray, ...]:
    """Return the columns of rows: class, probabilities, score, area, centroid, box, state, and
    whether the class is a guess between neoplastic and epithelial."""
    n = len(rows)
    prob = np.zeros((n, classes))
    for i, row in enumerate(rows):
        if len(row.class_prob) == classes:
            prob[i] = row.class_prob
    return (
        np.array([row.class_id for row in rows], np.int32),
        prob,
        np.array([row.score for row in rows], np.float64),
        np.array([row.area for row in rows], np.int64),
        np.array([row.centroid_yx for row in rows], np.float64).reshape(n, 2),
        np.array([row.box for row in rows], np.int32).reshape(n, 4),
        np.array([row.state.value for row in rows], "U9"),
        # Once the user has named the class, there are no probabilities of a model any more.
        np.array([bool(row.class_prob) and row.source in guessing for row in rows], np.bool_),
    )


def _doubts(document: Document, ids: NDArray[np.int64], box: Box | None) -> NDArray[np.float64]:
    """Return how doubtful nuclei are, as the review has it; those that a user looked at are not."""
    opinions = document.store.opinions(box)
    found, there = np.zeros(len(ids)), np.isin(opinions.ids, ids)
    found[np.searchsorted(ids, opinions.ids[there])] = doubts(opinions)[there]
    return found
