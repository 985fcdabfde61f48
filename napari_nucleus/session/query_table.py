"""The nuclei of a document as the table that queries in words are answered on.

The table is what the document holds at that moment. What is computed from its pixels later reads
them later, so a table is good until the document changes; then another one takes over what still
holds.
"""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_nucleus.core.image import ImageSource
from napari_nucleus.core.query import NucleiTable
from napari_nucleus.session.document import Document
from napari_nucleus.session.review import doubts

__all__ = ["query_table"]


def query_table(
    document: Document,
    border: shapely.Geometry | None = None,
    source: ImageSource | None = None,
    before: NucleiTable | None = None,
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
    """
    rows = document.rows()
    n = len(rows)
    classes = len(document.scheme)
    prob = np.zeros((n, classes))
    for i, row in enumerate(rows):
        if len(row.class_prob) == classes:
            prob[i] = row.class_prob
    ids = np.fromiter((row.id for row in rows), np.int64, n)
    table = NucleiTable(
        ids,
        np.fromiter((row.class_id for row in rows), np.int32, n),
        prob,
        np.fromiter((row.score for row in rows), np.float64, n),
        np.fromiter((row.area for row in rows), np.int64, n),
        np.array([row.centroid_yx for row in rows], np.float64).reshape(n, 2),
        np.array([row.box for row in rows], np.int32).reshape(n, 4),
        np.array([row.state.value for row in rows], "U9"),
        _doubts(document, ids),
        document.shape,
        document.scheme,
        document.mpp,
        document.store.read_labels,
        source,
        border,
    )
    if before is not None:
        table.take_over(before)
    return table


def _doubts(document: Document, ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how doubtful nuclei are, as the review has it; those that a user looked at are not."""
    opinions = document.store.opinions()
    found = np.zeros(len(ids))
    found[np.searchsorted(ids, opinions.ids)] = doubts(opinions)
    return found
