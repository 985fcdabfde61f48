"""Annotation files as results, so that one format is written from another.

Nuclei stay masks, and labels are painted where a writer asks for them: what is held follows the
nuclei, not the image, however large that is.
"""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from napari_nucleus.core.geometry import Box
from napari_nucleus.core.label_runs import LabelTable
from napari_nucleus.core.nuclei import Nuclei, paint
from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.annotation_file import AnnotationFile
from napari_nucleus.io.results import SegmentationResult
from napari_nucleus.session.import_batch import Incoming, incoming_of, parted_in_steps
from napari_nucleus.session.steps import finished

__all__ = ["result_of_annotations"]

MOST_PIXELS = 2**36
"""Pixels of an image whose size nobody states; the largest slides have half as many."""


def result_of_annotations(
    annotations: AnnotationFile,
    shape: tuple[int, int] | None = None,
    mpp: float | None = None,
) -> tuple[SegmentationResult, list[str]]:
    """Make a result of the nuclei of a file.

    Where nuclei overlap the better score has the pixels; one of which less than half would be left
    goes, as when nuclei enter a document.

    Parameters
    ----------
    annotations
        The file.
    shape
        Of the image; by default what the file says, else what holds all nuclei.
    mpp
        By default what the file says.

    Returns
    -------
    result
        The nuclei, under the file's ids.
    notes
        Sentences about those that are not among them.

    Raises
    ------
    AnnotationError
        If nobody states the size of the image, and it would be larger than any slide.
    """
    height, width = shape or annotations.shape or _size_of(annotations)
    incoming = finished(
        parted_in_steps(
            incoming_of(
                annotations.nuclei,
                (height, width),
                annotations.class_ids,
                annotations.scores,
                annotations.ids,
            )
        )
    )
    assert incoming.ids is not None
    incoming = incoming.select(np.argsort(incoming.ids))
    notes = [
        f"{annotations.name}: {count:,} of its nuclei {why}; left out."
        for count, why in (
            (incoming.left_out, "lie on others"),
            (incoming.outside, f"lie outside of {width:,} x {height:,} pixels"),
        )
        if count
    ]
    result = SegmentationResult(
        (height, width),
        _table(incoming),
        incoming.class_ids,
        incoming.scores,
        annotations.mpp if mpp is None else mpp,
        annotations.scheme,
        _Painting(incoming).read,
        annotations.provenance,
    )
    return result, notes


def _size_of(annotations: AnnotationFile) -> tuple[int, int]:
    """Return height and width of what holds all nuclei."""
    ends = annotations.nuclei.boxes[:, 2:].max(axis=0, initial=1).tolist()
    height, width = int(ends[0]), int(ends[1])
    if height * width > MOST_PIXELS:
        raise AnnotationError(
            f"{annotations.name}: its nuclei lie on {width:,} x {height:,} pixels, more than any "
            "slide has; state the image that they belong to."
        )
    return height, width


def _table(incoming: Incoming) -> LabelTable:
    nuclei = incoming.nuclei
    assert incoming.ids is not None
    return LabelTable(incoming.ids, nuclei.boxes, nuclei.areas, nuclei.centroids_yx)


class _Painting:
    """The labels of nuclei that share no pixels, painted box by box."""

    def __init__(self, incoming: Incoming) -> None:
        assert incoming.ids is not None
        self._nuclei: Nuclei = incoming.nuclei
        self._ids: NDArray[np.int64] = incoming.ids
        y0, x0, y1, x1 = incoming.nuclei.boxes.T
        self._tree = shapely.STRtree(shapely.box(x0, y0, x1, y1))

    def read(self, box: Box) -> NDArray[np.int32]:
        """Return the labels ``(h, w)`` of a box."""
        y0, x0, y1, x1 = box
        labels = np.zeros((y1 - y0, x1 - x0), np.int32)
        for i in self._tree.query(shapely.box(x0, y0, x1, y1)).tolist():
            place = self._nuclei.boxes[i] - np.array([y0, x0, y0, x0])
            paint(labels, place, self._nuclei.masks[i], int(self._ids[i]))
        return labels
