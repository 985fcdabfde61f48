"""The nuclei of a label map of any size, by one pass over its runs.

Cost follows the pixels once and then the nuclei, see `core.label_runs`. Knows arrays only.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.core.label_runs import label_table
from napari_nucleus.core.nuclei import Nuclei, check_labels

__all__ = ["nuclei_of_label_map"]


def nuclei_of_label_map(
    labels: NDArray,
    class_of_id: Mapping[int, int] | None = None,
    scheme: ClassScheme | None = None,
    source: str = "import",
    name: str = "labels",
) -> tuple[Nuclei, NDArray[np.int64]]:
    """Return the nuclei of a label map, and the label of each, ascending.

    Parameters
    ----------
    labels
        ``(H, W)`` of a type that `check_labels` takes; 0 is background, ids need not follow one
        another, a nucleus may have several parts.
    class_of_id
        Class id of each label; those it does not name are unclassified. Needs ``scheme``.
    scheme
        Classes, in the order of the columns of ``class_prob``.
    source, name
        What made the nuclei, and what to call the map in an error.

    Raises
    ------
    LabelsError
        If the array is no label map.
    """
    labels = check_labels(labels, name)
    table = label_table(labels)
    ids, boxes = table.ids, table.boxes
    masks = tuple(
        labels[y0:y1, x0:x1] == i
        for i, (y0, x0, y1, x1) in zip(ids.tolist(), boxes.tolist(), strict=True)
    )
    classes = class_of_id or {}
    prob = np.zeros((len(ids), 0), np.float32)
    if scheme is not None:
        prob = scheme.one_hot(np.array([classes.get(i, 0) for i in ids.tolist()], np.int64))
    return Nuclei(boxes, masks, np.ones(len(ids), np.float32), prob, (), source), ids
