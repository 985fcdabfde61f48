"""Words in the running app, from the last key to the preview: ``python -m benchmarks text``.

A real viewer, the text model in its process, the tile in view encoded before. The pause after which
a preview is made is part of the time.
"""

from __future__ import annotations

import os
import statistics
import time

from napari.layers import Image

from benchmarks.app import open_app, wait
from benchmarks.timing import percentile, row
from napari_nucleus.core.query import parse
from napari_nucleus.sample_data.fields import load_field
from napari_nucleus.session.imports import import_labels

TEXTS = (
    "lymphocytes",
    "tumour nuclei",
    "all nuclei",
    "fibroblasts",
    "large tumour nuclei",
    "round lymphocytes",
    "stromal nuclei near lymphocytes",
    "nuclei larger than 40 µm²",
    "elongated nuclei",
    "epithelial nuclei",
)

CLASSES = ("dead nuclei", "lymphocytes", "tumour nuclei", "all nuclei", "fibroblasts", "epithelium")
"""Each asks the model for something else."""

PLACES = ((128, 128), (128, 640), (384, 384), (640, 128), (640, 640))
"""Pixels that are looked at, each in the middle of another tile."""


def main() -> None:
    """Print the rows of a preview, and of reading a text."""
    os.environ.setdefault("QT_QPA_PLATFORM", "xcb")
    field = load_field("crypts")
    viewer, dock = open_app()
    image = viewer.add_image(field.rgb, name="field", scale=(0.25, 0.25), units=("µm", "µm"))
    assert isinstance(image, Image)
    dock.work_on(image)
    annotation, words, tab = dock.workspace.annotation, dock.workspace.words, dock.text_tab
    assert annotation is not None
    import_labels(annotation.document, field.labels)
    dock.tabs.setCurrentWidget(tab)

    def preview(text: str) -> float:
        """Return the milliseconds from the last key of a text to its preview."""
        tab.line.clear()
        tab._on_edited("")
        wait(lambda: words.previewed is None)
        tab.line.setText(text)
        start = time.perf_counter()
        tab.line.textEdited.emit(text)
        wait(lambda: words.previewed is not None)
        return (time.perf_counter() - start) * 1000

    first, again = [], []
    for y, x in PLACES:
        viewer.scene.camera.center = (0, y / 4, x / 4)
        preview(CLASSES[0])  # encodes the tile; the first of all loads the model
        first += [preview(text) for text in CLASSES[1:]]
        again += [preview(text) for text in TEXTS]
    note = f"{annotation.document.count:,} nuclei there"
    for title, times in (("first text for a class", first), ("any text after it", again)):
        name = f"last key to preview, encoded tile, {title}"
        row(f"{name}, median", statistics.median(times), "ms", 300, note)
        row(f"{name}, 95 %", percentile(times, 0.95), "ms", 300, note)
    begin = time.perf_counter()
    for text in TEXTS * 20:
        parse(text)
    row("reading a text", (time.perf_counter() - begin) * 1000 / (20 * len(TEXTS)), "ms")
    dock.close()
    viewer.close()


if __name__ == "__main__":
    main()
