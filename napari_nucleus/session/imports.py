"""Nuclei and label maps from elsewhere, entered as one undo step, all or nothing.

The policy is `placement`'s: they take background only and replace nothing. An import so large that
it would hold up a viewer can go through `Document.run` and `Run.add` instead, batch by batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.geometry import grouped_by_cell
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.errors import LabelsError
from napari_nucleus.session.document import Document
from napari_nucleus.session.edits import Edit
from napari_nucleus.session.grid import TILE_SIZE
from napari_nucleus.session.label_map import nuclei_of_label_map
from napari_nucleus.session.outlines import ActionResult
from napari_nucleus.session.placement import Placed, in_scheme, place_nuclei
from napari_nucleus.session.table import NucleusState

__all__ = ["batches_of", "import_labels", "import_nuclei"]


def import_nuclei(
    document: Document,
    nuclei: Nuclei,
    *,
    ids: Sequence[int] | None = None,
    name: str = "Import nuclei",
) -> ActionResult:
    """Add nuclei from elsewhere in one step, all or nothing.

    They take background only; one that would keep less than half of its pixels is left out.

    Parameters
    ----------
    nuclei
        In level-0 pixels. ``class_prob`` has no columns or those of the document's scheme.
    ids
        Ids they had elsewhere, kept if none was ever used here (`Document.reserve_ids`).
    name
        Name of the undo step.

    Raises
    ------
    LabelsError
        If the classes are not the document's; nothing is added then.
    """
    class_ids, nuclei = in_scheme(nuclei, document.scheme)
    new_ids = document.reserve_ids(len(nuclei), ids)
    batches: list[Placed] = []

    def edits() -> Iterator[Edit]:
        for index in batches_of(nuclei):
            placed = place_nuclei(
                document.store,
                nuclei.select(index),
                new_ids[index].tolist(),
                class_ids[index],
                NucleusState.IMPORTED,
            )
            batches.append(placed)
            if placed.edit:
                yield placed.edit

    action_id = document.commit(name, edits())
    entered = tuple(sorted(i for placed in batches for i in placed.ids))
    return ActionResult(
        name,
        action_id,
        entered,
        (),
        sum(placed.trimmed_px for placed in batches),
        tuple(sorted(set().union(*(placed.trimmed_by for placed in batches)))),
        _message(batches),
    )


def import_labels(
    document: Document,
    labels: NDArray,
    *,
    class_of_id: Mapping[int, int] | None = None,
    source: str = "import",
    name: str = "Import labels",
) -> ActionResult:
    """Add the nuclei of a label map of the whole image in one step, all or nothing.

    Parameters
    ----------
    labels
        ``(H, W)`` of the image's size; see `core.nuclei.check_labels` for what is taken.
    class_of_id
        Class id in the document's scheme of each label; 0 where it names none.
    source
        What the rows say made them, and the map's name in an error.
    name
        Name of the undo step.

    Raises
    ------
    LabelsError
        If the array is no label map or has another size than the image; nothing is added then.
    """
    if labels.ndim == 2 and labels.shape != document.shape:
        raise LabelsError(
            f"{source}: the label map has {labels.shape[0]} x {labels.shape[1]} pixels, the image "
            f"{document.shape[0]} x {document.shape[1]}; nothing was added. Use a map of the "
            "image's full size."
        )
    scheme = document.scheme if class_of_id else None
    nuclei, ids = nuclei_of_label_map(labels, class_of_id, scheme, source, source)
    return import_nuclei(document, nuclei, ids=ids.tolist(), name=name)


def batches_of(nuclei: Nuclei, size: int = 2 * TILE_SIZE) -> Iterator[NDArray[np.int64]]:
    """Yield the indices of nuclei that begin in the same square of ``size`` pixels, row by row."""
    return grouped_by_cell(nuclei.boxes, size)


def _message(batches: Sequence[Placed]) -> str:
    added = sum(len(placed.ids) for placed in batches)
    message = f"{added:,} {'nucleus' if added == 1 else 'nuclei'} imported"
    for count, text in (
        (sum(p.trimmed_px for p in batches), "px left to nuclei that hold them"),
        (sum(p.left_out for p in batches), "left out because others hold their place"),
        (sum(p.outside for p in batches), "left out because they lie outside the image"),
    ):
        if count:
            message += f"; {count:,} {text}"
    return message + "."
