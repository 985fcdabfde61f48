"""Nuclei and label maps from elsewhere, entered as one undo step, all or nothing.

They take background only and replace nothing; for other ways see `import_policy`. An import so
large that it would hold up a viewer can go through `import_policy` in steps, or through
`Document.run` and `Run.add`, batch by batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from numpy.typing import NDArray

from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.errors import LabelsError
from napari_nucleus.session.document import Document
from napari_nucleus.session.import_batch import batches_of, incoming_of
from napari_nucleus.session.import_policy import import_incoming
from napari_nucleus.session.label_map import nuclei_of_label_map
from napari_nucleus.session.outlines import ActionResult
from napari_nucleus.session.placement import in_scheme

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
    incoming = incoming_of(nuclei, document.shape, class_ids, ids=ids)
    return import_incoming(document, incoming, name=name)


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
