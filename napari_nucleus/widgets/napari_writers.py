"""Writers for napari's own Save: a label layer as a file of nuclei of any format.

A layer of the dock is written with the classes, scores and provenance of its document; a layer that
`napari_files` opened with those of its file; any other one without classes.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtWidgets import QApplication

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.errors import AnnotationError, LabelsError
from napari_nucleus.io.formats import Export, Format, format_named
from napari_nucleus.io.formats.base import NUCLEI_NAMESPACE
from napari_nucleus.io.results import SegmentationResult, result_of_labels
from napari_nucleus.widgets.exporting import result_of_annotation
from napari_nucleus.widgets.file_layers import classes_of_features, scheme_of_layer
from napari_nucleus.widgets.layers import METADATA_KEY, mpp_of_place

if TYPE_CHECKING:
    from napari_nucleus.widgets.annotation import Annotation

__all__ = ["result_of_layer", "writer_of"]

Writer = Callable[[str, Any, dict[str, Any]], list[str]]
"""Takes path, data and attributes of a layer; returns the paths that were written."""


def result_of_layer(data: Any, attributes: dict[str, Any]) -> SegmentationResult:
    """Return the nuclei that a label layer shows.

    Parameters
    ----------
    data, attributes
        As ``Layer.as_layer_data_tuple`` returns them.

    Raises
    ------
    LabelsError
        If it is no label map of one plane.
    AnnotationError
        If it belongs to a document that is not open any more.
    """
    metadata = attributes.get("metadata", {})
    known = metadata.get(METADATA_KEY)
    if isinstance(known, dict) and "role" in known:
        return result_of_annotation(_annotation_of(known["document"], attributes["name"]))
    levels = data if isinstance(data, list | tuple) else [data]
    labels = np.asarray(levels[0])
    if labels.ndim != 2:
        raise LabelsError(
            f"{attributes['name']}: has {labels.ndim} dimensions; nuclei are written from a 2-D "
            "label layer."
        )
    mpp = mpp_of_place(attributes.get("scale"), attributes.get("units"))
    scheme = scheme_of_layer(metadata)
    if scheme is None:
        return result_of_labels(labels, PANNUKE, mpp=mpp)
    class_of_id, score_of_id = classes_of_features(attributes.get("features"), scheme)
    return result_of_labels(labels, scheme, class_of_id, score_of_id, mpp)


def _annotation_of(key: str, name: str) -> Annotation:
    from napari_nucleus.widgets.dock import NucleusDock

    for dock in QApplication.allWidgets():
        if isinstance(dock, NucleusDock):
            annotation = dock.workspace.annotation
            if annotation is not None and annotation.key == key:
                return annotation
    raise AnnotationError(f"{name}: the nuclei that it showed are not open any more.")


def writer_of(name: str) -> Writer:
    """Return what writes a label layer in the format of this name."""

    def write(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
        one = format_named(name)
        file = _with_ending(Path(path), one)
        stem = file.name.split(".")[0] or "nuclei"
        result = result_of_layer(data, attributes)
        assert one.write is not None
        one.write(file, result, Export(stem, uuid.uuid5(NUCLEI_NAMESPACE, stem)))
        return [str(target) for target in one.targets(file, len(result))]

    return write


def _with_ending(path: Path, one: Format) -> Path:
    """Return a path that ends as files of a format do."""
    last = f".{one.ending.rpartition('.')[2]}"
    if one.fits(path.name) or path.name.casefold().endswith(last):
        return path
    return path.with_name(f"{path.name}{one.ending}")


write_labels = writer_of("labels")
write_ome_tiff = writer_of("ome-tiff")
write_ome_zarr = writer_of("ome-zarr")
write_ome_zarr_0_4 = writer_of("ome-zarr-0.4")
write_labels = writer_of("labels")
write_ome_tiff = writer_of("ome-tiff")
write_ome_zarr = writer_of("ome-zarr")
write_ome_zarr_0_4 = writer_of("ome-zarr-0.4")
write_geojson = writer_of("geojson")
write_geojson_gz = writer_of("geojson-gz")
write_csv = writer_of("csv")
write_coco = writer_of("coco")
write_coco_polygons = writer_of("coco-polygons")
write_hovernet = writer_of("hovernet")
write_hovernet_mat = writer_of("hovernet-mat")
write_cellpose = writer_of("cellpose")
write_dsa = writer_of("dsa")
write_geoparquet = writer_of("geoparquet")
write_imagej = writer_of("imagej")
write_imagescope = writer_of("imagescope")
write_tiatoolbox = writer_of("tiatoolbox")
