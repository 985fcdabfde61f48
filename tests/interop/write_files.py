"""Write files for programs of other environments: ``python -m tests.interop.write_files FOLDER``.

Two images: the odd nuclei that every format is tested with, and a field of 2,025. Beside the files
stands what readers have to find, by id.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from benchmarks.fields import nuclei_field
from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.io.export import write_all
from napari_nucleus.io.results import SegmentationResult, result_of_labels
from tests.io.conftest import odd_labels, odd_result

FORMATS = ("geojson", "tiatoolbox", "geoparquet", "ome-zarr", "ome-zarr-0.4", "dsa")


def field_result() -> SegmentationResult:
    """Return the field; every class, none among them, and every score."""
    labels = nuclei_field()
    numbers = np.unique(labels)[1:].tolist()
    classes = {i: i % 6 for i in numbers}
    return result_of_labels(labels, PANNUKE, classes, {i: i % 100 / 100 for i in numbers}, 0.25)


def main(folder: Path) -> None:
    """Write both images in all formats."""
    for stem, result in (("odd", odd_result(odd_labels())), ("field", field_result())):
        write_all(result, None, folder, stem, FORMATS)
        expected = {
            "areas": dict(zip(result.ids.tolist(), result.table.areas.tolist(), strict=True)),
            "boxes": dict(zip(result.ids.tolist(), result.table.boxes.tolist(), strict=True)),
            "classes": dict(zip(result.ids.tolist(), result.class_names, strict=True)),
            "mpp": result.mpp,
        }
        (folder / f"{stem}.expected.json").write_text(json.dumps(expected), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
