"""HoVer-Net's JSON, and CellViT's that came of it: one contour, class and centroid a nucleus.

Follows what HoVer-Net writes (Graham et al. 2019): ``bbox`` is ``[[row, column], [row, column]]``
with the last ones exclusive, ``centroid`` and ``contour`` are ``[x, y]`` positions of pixels, with
0 in the middle of the first (see `contours`). ``mag`` is null, as for tiles: coordinates are
level-0 pixels. A contour has no holes and one part, the largest; that of one or two pixels, which
HoVer-Net drops, has its last point repeated. What HoVer-Net does not have stands beside ``nuc``.

CellViT's ``cells.json`` has the same of each cell in a list, in level-0 pixels, and names its
types.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from napari_nucleus.core.geometry import points_to_centre_origin
from napari_nucleus.errors import AnnotationError
from napari_nucleus.io.annotation_file import AnnotationFile, Stated, of_masks
from napari_nucleus.io.atomic import replacing
from napari_nucleus.io.formats.base import PLAIN, Export, Format, Keeps
from napari_nucleus.io.formats.contours import (
    checked_contour,
    contours_of_labels,
    masks_of_contours,
)
from napari_nucleus.io.formats.members import (
    class_types,
    members_of,
    names_of_types,
    number_in,
    provenance_in,
    scheme_in,
    shape_in,
    type_names_in,
    whole_in,
)
from napari_nucleus.io.results import ResultBlock, SegmentationResult

__all__ = ["HOVERNET", "is_hovernet", "read_hovernet", "write_hovernet"]

CENTROID_DIGITS = 4
SCORE_DIGITS = 4


def write_hovernet(
    path: str | os.PathLike[str], result: SegmentationResult, export: Export = PLAIN
) -> None:
    """Write the nuclei of an image as HoVer-Net writes those of a tile.

    Raises
    ------
    AnnotationError
        If the file cannot be written.
    """
    types = class_types(result)
    head = orjson.dumps({"mag": None, **members_of(result)})
    with replacing(path) as file:
        file.write(head[:-1] + b',"nuc":{')
        separator = b"\n"
        for block in export.blocks(result):
            entries = zip(block.ids.tolist(), _nuclei(block, types[block.rows]), strict=True)
            option = orjson.OPT_SERIALIZE_NUMPY
            lines = [b'"%d":' % i + orjson.dumps(n, option=option) for i, n in entries]
            file.write(separator + b",\n".join(lines))
            separator = b",\n"
        file.write(b"\n}}\n")


def _nuclei(block: ResultBlock, types: NDArray[np.int32]) -> Iterator[dict[str, Any]]:
    _, contours = contours_of_labels(block.labels, block.box[:2])
    boxes = block.boxes.reshape(-1, 2, 2).tolist()
    centroids = points_to_centre_origin(block.result.table.centroids_yx[block.rows])[:, ::-1]
    rounded = np.round(centroids, CENTROID_DIGITS).tolist()
    scores = np.round(block.scores.astype(np.float64), SCORE_DIGITS).tolist()
    for row, contour in enumerate(contours):
        yield {
            "bbox": boxes[row],
            "centroid": rounded[row],
            "contour": contour,
            "type_prob": scores[row] if np.isfinite(scores[row]) else None,
            "type": int(types[row]),
        }


def is_hovernet(value: Any) -> bool:
    """Return True if a JSON value is a file of HoVer-Net or of CellViT."""
    if not isinstance(value, dict):
        return False
    if isinstance(value.get("nuc"), dict):
        return True
    cells = value.get("cells")
    if not isinstance(cells, list):
        return False
    return not cells or (isinstance(cells[0], dict) and "centroid" in cells[0])


def read_hovernet(value: Any, name: str) -> AnnotationFile:
    """Read HoVer-Net's JSON, or CellViT's.

    Parameters
    ----------
    value
        The parsed JSON, of which `is_hovernet` is True.
    name
        Of the file.

    Raises
    ------
    AnnotationError
        If a nucleus has no contour that can be.
    """
    notes: list[str] = []
    nuc = value.get("nuc")
    if isinstance(nuc, dict):
        ids: list[int | None] | None = [whole_in(key) for key in nuc]
        nuclei, keys = list(nuc.values()), list(nuc)
        info, mpp = value.get("type_info"), number_in(value.get("mpp"))
    else:
        ids, nuclei = None, value["cells"]
        keys = list(range(1, len(nuclei) + 1))
        info, mpp = value.get("type_map"), _mpp_of_cellvit(value.get("wsi_metadata"))
    mag = number_in(value.get("mag"))
    if mag is not None:
        notes.append(
            f"{name}: was made at {mag:g}x; its coordinates are taken for level-0 pixels, which is "
            "right if the image is of that magnification."
        )
    for key, nucleus in zip(keys, nuclei, strict=True):
        if not isinstance(nucleus, dict):
            raise AnnotationError(f"{name}: nucleus {key} is no JSON object; nothing was read.")
    contours = _contours(nuclei, keys, name)
    masks, offsets = masks_of_contours(name, contours, notes)
    scores = [number_in(n.get("type_prob")) for n in nuclei]
    types = [whole_in(n.get("type")) for n in nuclei]
    stated = Stated(
        ids=ids,
        classes=names_of_types(types, type_names_in(info), name, notes),
        scores=[np.nan if s is None else s for s in scores],
        scheme=scheme_in(info, name),
        shape=shape_in(value.get("shape")),
        mpp=mpp,
        provenance=provenance_in(value.get("provenance")),
        notes=notes,
    )
    return of_masks(name, masks, offsets, stated)


def _contours(
    nuclei: Sequence[Mapping[str, Any]], keys: Sequence[object], name: str
) -> list[NDArray[np.float64]]:
    """Return the contours; CellViT also writes files of centroids alone, which have none."""
    found = [n.get("contour") for n in nuclei]
    if found and all(contour is None for contour in found):
        raise AnnotationError(
            f"{name}: has no contours, only centroids; nothing was read. Take the file with "
            "contours of the same run (CellViT: cells.json)."
        )
    return [
        checked_contour([] if contour is None else contour, name, key)
        for contour, key in zip(found, keys, strict=True)
    ]


def _mpp_of_cellvit(metadata: Any) -> float | None:
    return number_in(metadata.get("base_mpp")) if isinstance(metadata, dict) else None


HOVERNET = Format(
    "hovernet",
    "HoVer-Net JSON",
    "_hovernet.json",
    Keeps(holes=False, parts=False),
    write_hovernet,
    endings=(".json", ".json.gz"),
    is_json=is_hovernet,
    read_json=read_hovernet,
    note="Contours have no holes and one part: the largest part comes back, filled.",
)
"""HoVer-Net's JSON; CellViT's cells.json is read too."""
