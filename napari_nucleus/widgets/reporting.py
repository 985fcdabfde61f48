"""Reports of what is measured, written on another thread."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from napari_nucleus import __version__
from napari_nucleus.core.classes import PANNUKE, ClassScheme
from napari_nucleus.core.progress import Cancel, ProgressCallback
from napari_nucleus.core.schemes import class_mapping
from napari_nucleus.errors import ImageError
from napari_nucleus.io.measurements import write_measurements
from napari_nucleus.session.provenance import provenance_of
from napari_nucleus.widgets.measuring import Measuring

if TYPE_CHECKING:
    from napari_nucleus.widgets.workspace import Workspace

__all__ = ["canonical_scheme", "write_report"]


def write_report(
    workspace: Workspace,
    measuring: Measuring,
    folder: Path,
    stem: str,
    formats: Collection[str],
) -> None:
    """Write the files of what is measured now, as `io.measurements` does; returns at once.

    Raises
    ------
    ImageError
        If nothing is measured, or files are being written already.
    """
    annotation, lives = workspace.annotation, measuring.lives
    if annotation is None or lives is None:
        raise ImageError("Nothing is measured yet; wait a moment.")
    document = annotation.document
    provenance = {
        "program": f"napari-nucleus {__version__}",
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        **provenance_of(document.models, measuring.models),
    }
    scheme = canonical_scheme(document.scheme)

    def write(report: ProgressCallback, cancel: Cancel) -> str:
        measurements = lives.measurements()
        files = write_measurements(
            measurements, folder, stem, provenance, scheme, formats, report, cancel
        )
        return f"{measurements[0].name} measured: {', '.join(file.name for file in files)}"

    workspace.exporting.write(write)


def canonical_scheme(scheme: ClassScheme) -> ClassScheme:
    """Return the canonical classes in the colours that a document's scheme gives them."""
    mapping = class_mapping(scheme, PANNUKE)
    colors = {mapping[c.id]: c.color for c in reversed(scheme.classes)}
    return replace(
        PANNUKE,
        classes=tuple(replace(c, color=colors.get(c.id, c.color)) for c in PANNUKE.classes),
    )
