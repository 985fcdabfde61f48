"""Annotation files into documents: what of a file can enter, and what must be told about it.

Coordinates of a file are level-0 pixels of the image that it was made on. Whether that is the
document's image is checked as far as a file says: its size must be the same, some nucleus must lie
inside, and another pixel size is told. How nuclei enter is `session.import_policy`'s business.
"""

from __future__ import annotations

import numpy as np
import shapely

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.schemes import class_mapping, mapped_ids
from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.annotation_file import AnnotationFile
from napari_nucleus.session.agreement import SAME_IOU
from napari_nucleus.session.document import Document
from napari_nucleus.session.import_batch import Incoming, incoming_of
from napari_nucleus.session.import_policy import (
    ImportPolicy,
    Steps,
    import_incoming,
    import_incoming_in_steps,
)
from napari_nucleus.session.outlines import ActionResult

__all__ = [
    "SAME_MPP",
    "check_size",
    "import_annotations",
    "import_annotations_in_steps",
    "incoming_from",
]

SAME_MPP = 0.02
"""Pixel sizes that differ by a smaller share are the same: headers round them."""

NAMED_CLASSES = 3
"""Classes without a counterpart that are named; more are counted."""


def import_annotations(
    document: Document,
    annotations: AnnotationFile,
    policy: ImportPolicy = ImportPolicy.ADD,
    *,
    within: shapely.Geometry | None = None,
    same_iou: float = SAME_IOU,
    name: str = "Import nuclei",
) -> ActionResult:
    """Let the nuclei of a file enter a document in one step, all or nothing.

    Parameters
    ----------
    annotations
        What `formats.read_annotations` returned; its notes are the caller's to tell.
    policy, within, same_iou, name
        As in `session.import_policy.import_incoming`.

    Raises
    ------
    AnnotationError
        If it is of another image, see `incoming_from`; nothing was changed.
    ProjectError
        If the document cannot be changed; it is then as it was.
    """
    incoming = incoming_from(annotations, document.shape, document.scheme, document.mpp)
    return import_incoming(document, incoming, policy, within=within, same_iou=same_iou, name=name)


def import_annotations_in_steps(
    document: Document,
    annotations: AnnotationFile,
    policy: ImportPolicy = ImportPolicy.ADD,
    *,
    within: shapely.Geometry | None = None,
    same_iou: float = SAME_IOU,
    name: str = "Import nuclei",
) -> Steps:
    """Do as `import_annotations`, pausing square by square; see `Document.commit_in_steps`."""
    incoming = incoming_from(annotations, document.shape, document.scheme, document.mpp)
    return import_incoming_in_steps(
        document, incoming, policy, within=within, same_iou=same_iou, name=name
    )


def incoming_from(
    annotations: AnnotationFile,
    shape: tuple[int, int],
    scheme: ClassScheme,
    mpp: float | None = None,
) -> Incoming:
    """Return what of a file can enter a document; may be called from any thread.

    Classes go from the file's scheme to the document's by the rule of `core.schemes`. What has no
    counterpart becomes unclassified. That, and another pixel size, is told in the notes.

    Parameters
    ----------
    annotations
        The file.
    shape, scheme, mpp
        Height and width, classes and pixel size of the document.

    Raises
    ------
    AnnotationError
        If the file says that its image has another size, or all its nuclei lie outside this one.
    """
    check_size(annotations.name, annotations.shape, shape)
    nuclei = annotations.nuclei
    mapping = class_mapping(annotations.scheme, scheme)
    incoming = incoming_of(
        # A file names classes; probabilities are a model's.
        Nuclei(
            nuclei.boxes,
            nuclei.masks,
            nuclei.score,
            np.zeros((len(nuclei), 0), np.float32),
            source=nuclei.source,
        ),
        shape,
        mapped_ids(annotations.class_ids, mapping),
        annotations.scores,
        annotations.ids if annotations.ids_stated else None,
        [*_classes_lost(annotations, mapping), *_scale_note(annotations.mpp, mpp)],
    )
    if len(annotations) and not len(incoming):
        y0, x0 = nuclei.boxes[:, :2].min(axis=0).tolist()
        y1, x1 = nuclei.boxes[:, 2:].max(axis=0).tolist()
        raise AnnotationError(
            f"{annotations.name}: all of its nuclei lie outside the image, at x {x0:,} to {x1:,} "
            f"and y {y0:,} to {y1:,} of {shape[1]:,} x {shape[0]:,} pixels; nothing was changed. "
            "It belongs to another image, or to another level of this one."
        )
    return incoming


def check_size(name: str, theirs: tuple[int, int] | None, ours: tuple[int, int]) -> None:
    """Refuse a file that says that it is of an image of another size.

    Parameters
    ----------
    name
        Of the file.
    theirs, ours
        Height and width that the file states, if it does, and those of the image.

    Raises
    ------
    AnnotationError
        If they differ.
    """
    if theirs is not None and theirs != ours:
        raise AnnotationError(
            f"{name}: it is of an image of {theirs[1]:,} x {theirs[0]:,} pixels, this one has "
            f"{ours[1]:,} x {ours[0]:,}; nothing was changed. Use it with its own image."
        )


def _classes_lost(annotations: AnnotationFile, mapping: dict[int, int]) -> list[str]:
    """Return which classes have no counterpart, and how many nuclei they have."""
    ids, counts = np.unique(annotations.class_ids, return_counts=True)
    lost = [
        (n, annotations.scheme.name_of(i))
        for i, n in zip(ids.tolist(), counts.tolist(), strict=True)
        if annotations.scheme.by_id(i) is not None and not mapping[i]
    ]
    lost.sort(key=lambda found: -found[0])
    listed = ", ".join(f"{n:,} of class {name!r}" for n, name in lost[:NAMED_CLASSES])
    if len(lost) > NAMED_CLASSES:
        rest = sum(n for n, _ in lost[NAMED_CLASSES:])
        listed += f" and {rest:,} of {len(lost) - NAMED_CLASSES} others"
    return [f"{listed} have no such class here and are unclassified"] if lost else []


def _scale_note(theirs: float | None, ours: float | None) -> list[str]:
    if theirs is None or ours is None or abs(theirs / ours - 1) <= SAME_MPP:
        return []
    return [
        f"the file states {theirs:.4g} µm per pixel and the image has {ours:.4g}, so it may be of "
        "another scale"
    ]
