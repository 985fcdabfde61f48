"""COCO's run lengths against pycocotools on whole frames: ``python -m benchmarks coco``."""

from __future__ import annotations

import time
from types import ModuleType

import numpy as np

from benchmarks.fields import nuclei_field
from benchmarks.timing import cpu_seconds, row
from napari_nucleus.io.formats.contours import contours_of_labels, masks_of_contours
from napari_nucleus.io.formats.rle import (
    RunLengths,
    crops_of,
    run_lengths_of_labels,
    run_lengths_of_strings,
    strings_of,
)

WHOLE_FRAMES = 40
"""Nuclei that pycocotools encodes; a frame of each would take minutes."""


def pycocotools_mask() -> ModuleType | None:
    """Return pycocotools' masks, which only tests and benchmarks have."""
    try:
        from pycocotools import mask
    except ImportError:
        return None
    return mask


def main() -> None:
    """Print the rows of run lengths, and of contours, which HoVer-Net has in their place."""
    labels = nuclei_field()
    shape = (labels.shape[0], labels.shape[1])

    def texts() -> list[str]:
        return strings_of(run_lengths_of_labels(labels, (0, 0), shape)[1])

    found = texts()
    ids = run_lengths_of_labels(labels, (0, 0), shape)[0]
    n = len(found)
    note = f"{n:,} nuclei, 2048 x 2048"
    ours = cpu_seconds(texts) / n * 1e3
    row("COCO run lengths, a nucleus", ours, "CPU-ms", 0.6, note)
    theirs = pycocotools_mask()
    if theirs is not None:
        begin, same = time.process_time(), 0
        for i, text in zip(ids[:WHOLE_FRAMES].tolist(), found, strict=False):
            whole = theirs.encode(np.asfortranarray(labels == i, np.uint8))
            same += whole["counts"].decode() == text
        seconds = (time.process_time() - begin) / WHOLE_FRAMES * 1e3
        row("  pycocotools on whole frames, a nucleus", seconds, "CPU-ms", None, f"{same} equal")
    heights, widths = np.full(n, shape[0]), np.full(n, shape[1])

    def back(run_lengths: RunLengths) -> object:
        return crops_of(run_lengths, heights, widths, "field")

    reading = cpu_seconds(lambda: back(run_lengths_of_strings(found))) / n * 1e3
    row("  and back to masks, a nucleus", reading, "CPU-ms")
    tracing = cpu_seconds(lambda: contours_of_labels(labels))
    row("contours as OpenCV's", tracing, "CPU-s", None, note)
    contours = contours_of_labels(labels)[1]
    filling = cpu_seconds(lambda: masks_of_contours("field", list(contours), []))
    row("  and back to masks", filling, "CPU-s")


if __name__ == "__main__":
    main()
