"""COCO instances: masks as run lengths or as polygons, in one JSON file of one image.

Follows the data format of COCO's object detection task and what pycocotools does with it. Ids of
annotations are those of the nuclei, from 1, for 0 counts as unmatched there; ids of categories are
those of the classes, and unclassified nuclei have a category of their own after them. ``bbox`` and
``area`` are of the mask in either form. Polygons are the outer rings of the exact outlines,
corner-origin; the format has no holes. What COCO does not have is in ``info``, ``score`` and the
``color`` of categories.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import shapely
from numpy.typing import NDArray

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.annotation_file import (
    AnnotationFile,
    Stated,
    of_masks,
    of_polygons,
    outline_masks,
)
from napari_nucleus.io.atomic import replacing
from napari_nucleus.io.formats.base import PLAIN, Export, Format, Keeps
from napari_nucleus.io.formats.members import (
    class_types,
    color_in,
    members_of,
    number_in,
    provenance_in,
    scheme_in,
    shape_in,
    whole_in,
)
from napari_nucleus.io.formats.rle import (
    LARGEST_FRAME,
    RleError,
    RunLengths,
    crops_of,
    run_lengths_of_labels,
    run_lengths_of_strings,
    strings_of,
)
from napari_nucleus.io.results import ResultBlock, SegmentationResult

__all__ = [
    "COCO",
    "COCO_POLYGONS",
    "is_coco",
    "read_coco",
    "write_coco",
    "write_coco_polygons",
]

IMAGE = 1
"""Id of the one image of a file."""

SCORE_DIGITS = 4


def write_coco(
    path: str | os.PathLike[str], result: SegmentationResult, export: Export = PLAIN
) -> None:
    """Write the nuclei of an image with masks as compressed run lengths.

    Raises
    ------
    AnnotationError
        If the file cannot be written, or the image has more pixels than COCO's tools can count.
    """
    height, width = result.shape
    if height * width > LARGEST_FRAME:
        raise AnnotationError(
            f"{Path(path).name}: COCO's tools count pixels with 32 bits, too few for "
            f"{width:,} x {height:,}; nothing was written. Choose COCO polygons, or a region."
        )
    _write(path, result, export, with_run_lengths=True)


def write_coco_polygons(
    path: str | os.PathLike[str], result: SegmentationResult, export: Export = PLAIN
) -> None:
    """Write the nuclei of an image with polygons; holes are filled, parts are kept.

    Raises
    ------
    AnnotationError
        If the file cannot be written.
    """
    _write(path, result, export, with_run_lengths=False)


def _write(
    path: str | os.PathLike[str],
    result: SegmentationResult,
    export: Export,
    with_run_lengths: bool,
) -> None:
    no_class = max(result.scheme.ids, default=0) + 1
    types = class_types(result)
    head = {
        "info": {"description": "Nuclei of an H&E image", **members_of(result)},
        "licenses": [],
        "images": [
            {
                "id": IMAGE,
                "file_name": export.stem,
                "width": result.shape[1],
                "height": result.shape[0],
            }
        ],
        "categories": _categories(result.scheme, no_class if (types == 0).any() else None),
    }
    with replacing(path) as file:
        file.write(orjson.dumps(head)[:-1] + b',"annotations":[')
        separator = b"\n"
        for block in export.blocks(result):
            shapes = _run_lengths(block) if with_run_lengths else _polygons(block, export)
            lines = [orjson.dumps(a) for a in _annotations(block, types, no_class, shapes)]
            file.write(separator + b",\n".join(lines))
            separator = b",\n"
        file.write(b"\n]}\n")


def _categories(scheme: ClassScheme, no_class: int | None) -> list[dict[str, Any]]:
    classes = [(c.id, c.name, c.color) for c in scheme.classes]
    if no_class is not None:
        classes.append((no_class, "unclassified", scheme.unknown_color))
    return [
        {"id": i, "name": name, "supercategory": "nucleus", "color": list(color)}
        for i, name, color in classes
    ]


def _annotations(
    block: ResultBlock, types: NDArray[np.int32], no_class: int, shapes: Iterator[Any]
) -> Iterator[dict[str, Any]]:
    y0, x0, y1, x1 = block.boxes.T
    bboxes = np.column_stack([x0, y0, x1 - x0, y1 - y0]).tolist()
    categories = np.where(types[block.rows] > 0, types[block.rows], no_class).tolist()
    areas = block.result.table.areas[block.rows].tolist()
    scores = np.round(block.scores.astype(np.float64), SCORE_DIGITS).tolist()
    ids = block.ids.tolist()
    for row, shape in enumerate(shapes):
        annotation = {
            "id": ids[row],
            "image_id": IMAGE,
            "category_id": categories[row],
            "bbox": bboxes[row],
            "area": areas[row],
            "iscrowd": 0,
            "segmentation": shape,
        }
        if np.isfinite(scores[row]):
            annotation["score"] = scores[row]
        yield annotation


def _run_lengths(block: ResultBlock) -> Iterator[dict[str, Any]]:
    shape = block.result.shape
    _, run_lengths = run_lengths_of_labels(block.labels, block.box[:2], shape)
    for text in strings_of(run_lengths):
        yield {"size": list(shape), "counts": text}


def _polygons(block: ResultBlock, export: Export) -> Iterator[list[Sequence[float]]]:
    outlines = export.outlines(block)
    parts, of_outline = shapely.get_parts(outlines, return_index=True)
    rings = shapely.get_exterior_ring(parts)
    xy = shapely.get_coordinates(rings)
    whole = (xy == np.rint(xy)).all()
    numbers = xy.astype(np.int64) if whole else xy
    ends = np.cumsum(shapely.get_num_coordinates(rings))
    # Without the last corner, which is the first again.
    flat: list[Sequence[float]] = [
        numbers[a : b - 1].ravel().tolist()
        for a, b in zip(np.append(0, ends), ends.tolist(), strict=False)
    ]
    stops = np.searchsorted(of_outline, np.arange(1, len(outlines) + 1)).tolist()
    for begin, stop in zip([0, *stops[:-1]], stops, strict=True):
        yield flat[begin:stop]


def is_coco(value: Any) -> bool:
    """Return True if a JSON value is a file of COCO instances."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("images"), list)
        and isinstance(value.get("annotations"), list)
    )


def read_coco(value: Any, name: str) -> AnnotationFile:
    """Read COCO instances of one image, of masks and polygons in any mixture.

    Parameters
    ----------
    value
        The parsed JSON, of which `is_coco` is True.
    name
        Of the file.

    Raises
    ------
    AnnotationError
        If it has annotations of several images, or a mask that cannot be.
    """
    annotations = [a for a in value["annotations"] if isinstance(a, dict)]
    image = _image(value["images"], annotations, name)
    shape = shape_in([image.get("height"), image.get("width")])
    notes: list[str] = []
    if len(annotations) < len(value["annotations"]):
        notes.append(f"{name}: annotations that are no JSON objects; left out.")
    listed = value.get("categories")
    categories = [c for c in listed if isinstance(c, dict)] if isinstance(listed, list) else []
    names = {_key(c.get("id")): str(c["name"]) for c in categories if c.get("name")}
    given = value.get("info")
    info: Mapping[str, Any] = given if isinstance(given, dict) else {}
    scores = [number_in(a.get("score")) for a in annotations]
    stated = Stated(
        ids=[whole_in(a.get("id")) for a in annotations],
        classes=[names.get(_key(a.get("category_id"))) for a in annotations],
        colors=_colors(categories),
        scores=[np.nan if s is None else s for s in scores],
        scheme=scheme_in(info.get("type_info"), name),
        shape=shape,
        mpp=number_in(info.get("mpp")),
        provenance=provenance_in(info.get("provenance")),
        notes=notes,
    )
    return _drawn(name, annotations, shape, stated, notes)


def _key(value: Any) -> str:
    """Return an id as text, for files have it as a number here and as text there."""
    return str(value)


def _image(
    images: list[Any], annotations: Sequence[Mapping[str, Any]], name: str
) -> Mapping[str, Any]:
    """Return the one image that the annotations are of."""
    listed = [i for i in images if isinstance(i, dict)]
    used = dict.fromkeys(_key(a.get("image_id")) for a in annotations)
    if len(used) > 1:
        titles = {_key(i.get("id")): str(i.get("file_name", i.get("id"))) for i in listed}
        some = [repr(titles.get(i, i)) for i in list(used)[:3]]
        raise AnnotationError(
            f"{name}: has annotations of {len(used):,} images ({', '.join(some)}"
            f"{' …' if len(used) > len(some) else ''}); nothing was read. Save those of one image "
            "in a file of their own."
        )
    if len(listed) == 1:
        return listed[0]
    return next((i for i in listed if _key(i.get("id")) in used), {})


def _colors(categories: Sequence[Mapping[str, Any]]) -> dict[str, tuple[int, int, int]]:
    found = {str(c.get("name")): color_in(c.get("color")) for c in categories}
    return {label: color for label, color in found.items() if color is not None}


def _drawn(
    name: str,
    annotations: Sequence[Mapping[str, Any]],
    shape: tuple[int, int] | None,
    stated: Stated,
    notes: list[str],
) -> AnnotationFile:
    """Make masks of what is written as either, or keep polygons where there is nothing else."""
    forms: list[Any] = [a.get("segmentation") for a in annotations]
    coded = [i for i, form in enumerate(forms) if isinstance(form, dict)]
    if not coded:
        outlines = [_outline(form, i, name) for i, form in enumerate(forms)]
        return of_polygons(name, outlines, stated)
    masks: list[NDArray[np.bool_] | None] = [None] * len(forms)
    offsets = np.zeros((len(forms), 2), np.int64)
    crops, offsets[coded] = _decoded([forms[i] for i in coded], coded, shape, name, notes)
    for i, crop in zip(coded, crops, strict=True):
        masks[i] = crop
    others = sorted(set(range(len(forms))) - set(coded))
    if others:
        shapes = [_outline(forms[i], i, name) for i in others]
        kept, boxes, drawn = outline_masks(name, shapes, notes)
        for i, box, mask in zip(kept.tolist(), boxes, drawn, strict=True):
            masks[others[i]], offsets[others[i]] = mask, box[:2]
    return of_masks(name, masks, offsets, stated)


def _outline(form: Any, index: int, name: str) -> shapely.Geometry:
    """Return the polygon, or what several cover together; empty where there is none."""
    if not form:
        return shapely.Polygon()
    parts = form if isinstance(form, list) and isinstance(form[0], list) else [form]
    shells = []
    for part in parts:
        try:
            xy = np.asarray(part, np.float64).reshape(-1, 2)
        except (TypeError, ValueError, OverflowError) as error:
            raise AnnotationError(
                f"{name}: the segmentation of annotation {index + 1} is no list of x and y."
            ) from error
        if not np.isfinite(xy).all():
            raise AnnotationError(
                f"{name}: the segmentation of annotation {index + 1} has a coordinate that is no "
                "number."
            )
        if len(xy) >= 3:
            shells.append(shapely.Polygon(xy))
    if len(shells) == 1:
        return shells[0]
    several = shapely.MultiPolygon(shells)
    return several if several.is_valid else shapely.union_all(shapely.make_valid(shells))


def _decoded(
    forms: Sequence[Mapping[str, Any]],
    which: Sequence[int],
    shape: tuple[int, int] | None,
    name: str,
    notes: list[str],
) -> tuple[list[NDArray[np.bool_] | None], NDArray[np.int64]]:
    """Return masks and offsets of run lengths, compressed or not."""
    sizes = np.array([_size(f, i, shape, name) for f, i in zip(forms, which, strict=True)])
    lists = [_counts(f.get("counts"), i, name) for f, i in zip(forms, which, strict=True)]
    texts = [counts for counts in lists if isinstance(counts, str)]
    of_text = [row for row, counts in enumerate(lists) if isinstance(counts, str)]
    try:
        unpacked = run_lengths_of_strings(texts)
    except RleError as error:
        raise _refused(error, which[of_text[error.index]], name) from error
    pieces = iter(np.split(unpacked.counts, np.cumsum(unpacked.sizes)[:-1]) if texts else [])
    arrays = [next(pieces) if isinstance(counts, str) else counts for counts in lists]
    run_lengths = RunLengths(np.concatenate(arrays), np.array([len(a) for a in arrays], np.int64))
    try:
        masks, offsets, found = crops_of(run_lengths, sizes[:, 0], sizes[:, 1], name)
    except RleError as error:
        raise _refused(error, which[error.index], name) from error
    notes += found
    return masks, offsets


def _refused(error: RleError, index: int, name: str) -> AnnotationError:
    return AnnotationError(f"{name}: the RLE of annotation {index + 1} {error}; nothing was read.")


def _size(
    form: Mapping[str, Any], index: int, shape: tuple[int, int] | None, name: str
) -> tuple[int, int]:
    size = shape_in(form.get("size"))
    if size is None or (shape is not None and size != shape):
        stated = f", its image {list(shape)}" if shape else ""
        raise AnnotationError(
            f"{name}: the RLE of annotation {index + 1} has the size "
            f"{str(form.get('size'))[:60]}{stated} (height, width)."
        )
    return size


def _counts(counts: Any, index: int, name: str) -> str | NDArray[np.int64]:
    if isinstance(counts, str):
        return counts
    whole = [whole_in(c) for c in counts] if isinstance(counts, list) else [None]
    if any(c is None or not 0 <= c <= LARGEST_FRAME for c in whole):
        raise AnnotationError(
            f"{name}: the counts of annotation {index + 1} are no run lengths; nothing was read."
        )
    return np.array(whole, np.int64)


COCO = Format(
    "coco",
    "COCO instances (RLE masks)",
    "_coco.json",
    Keeps(),
    write_coco,
    endings=(".json", ".json.gz"),
    is_json=is_coco,
    read_json=read_coco,
    note="Masks are exact; some loaders of training sets take polygons only.",
)
"""COCO with masks as compressed run lengths."""

COCO_POLYGONS = Format(
    "coco-polygons",
    "COCO instances (polygons)",
    "_coco_polygons.json",
    Keeps(holes=False),
    write_coco_polygons,
    is_json=is_coco,
    read_json=read_coco,
    note="COCO's polygons have no holes: they come back filled.",
)
"""COCO with masks as polygons."""
