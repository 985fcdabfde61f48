"""What is exported of an image that is worked on."""

from __future__ import annotations

from datetime import UTC, datetime

from napari_nucleus import __version__
from napari_nucleus.io.results import SegmentationResult, result_of_labels
from napari_nucleus.widgets.annotation import Annotation

__all__ = ["snapshot"]


def snapshot(annotation: Annotation) -> SegmentationResult:
    """Return the document as it is now."""
    labels, rows = annotation.document.to_arrays()
    provenance = {
        "program": f"napari-nucleus {__version__}",
        "model": annotation.model.name,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return result_of_labels(
        labels,
        annotation.document.scheme,
        {row.id: row.class_id for row in rows},
        {row.id: row.score for row in rows},
        annotation.mpp,
        provenance,
    )
