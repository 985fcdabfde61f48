"""How well nuclei are named: F1 of each class where all nuclei are known, recall where points are.

The data cannot tell neoplastic from benign epithelium, so both count as epithelial; only the points
of NuCLS know tumour, and of points only recall can be taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from napari_nucleus.core.cells import NEOPLASTIC_OR_EPITHELIAL
from napari_nucleus.core.classes import PANNUKE, UNKNOWN_CLASS
from napari_nucleus.core.image import ArraySource, check_mpp
from napari_nucleus.core.metrics import DetectionTable, class_f1, detection_radius
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.errors import ImageError
from napari_nucleus.hosting.local import calibrate_source, segment_source
from napari_nucleus.models import zoo
from napari_nucleus.training.data import (
    EPITHELIAL_EITHER,
    AnnotatedImage,
    PointImage,
    load_annotated,
    load_points,
)

__all__ = ["class_scores", "classified_pairs", "evaluate_classes", "point_recall"]


def classified_pairs(image: AnnotatedImage, nuclei: Nuclei, mpp: float) -> DetectionTable:
    """Pair found and true nuclei within 3 µm; epithelium is one class, `EPITHELIAL_EITHER`.

    True nuclei of unknown class, and what is found there, count for no class.
    """
    true = Nuclei.from_labels(image.labels)[0]
    return DetectionTable.of(
        true.centroids_yx,
        _merged(image.class_target[1:]),
        nuclei.centroids_yx,
        _merged(_likeliest(nuclei)),
        detection_radius(mpp),
    )


def class_scores(tables: Sequence[DetectionTable]) -> dict[str, float]:
    """Return the F1 of each class over several images, by name; pairs of unknown class left out."""
    table = DetectionTable.concatenate(tables)
    known = table.paired_true != UNKNOWN_CLASS
    table = DetectionTable(
        table.paired_true[known], table.paired_pred[known], table.missed, table.extra
    )
    names = {2: PANNUKE.names[1], EPITHELIAL_EITHER: "epithelium", 3: PANNUKE.names[2]}
    return {name: class_f1(table, class_id) for class_id, name in names.items()}


def point_recall(image: PointImage, nuclei: Nuclei, mpp: float) -> dict[int, NDArray[np.int64]]:
    """Return, by true class of the points, the class of the nucleus found there; 0 for none.

    A nucleus is found where one covers the point or has its centre within 3 µm.
    """
    labels = nuclei.to_labels((image.rgb.shape[0], image.rgb.shape[1]))
    pixels = np.floor(image.points_yx).astype(int).clip(0, np.array(labels.shape) - 1)
    owner = labels[tuple(pixels.T)]
    if len(nuclei):
        away, near = cKDTree(nuclei.centroids_yx).query(image.points_yx)
        owner = np.where((owner == 0) & (away <= detection_radius(mpp)), near + 1, owner)
    found = np.concatenate([[0], _likeliest(nuclei)])[owner]
    return {int(c): found[image.class_target == c] for c in np.unique(image.class_target)}


def evaluate_classes(
    images: Path, model: str, mpp: float, names: Sequence[str], device: str, weights: Path | None
) -> dict[str, Any]:
    """Segment a folder's images and score their classes.

    Images with ``NAME_inst.png`` and ``NAME_cls.png`` give the F1 of each class, those with
    ``NAME_points.csv`` the recall of each class of points.

    Returns
    -------
    ``f1`` by class name; ``points``: for each class how many points there are, the share that was
    found, and the share that was found and got each class.

    Raises
    ------
    NucleusError
        If the model, the pixel size or a file is not what it should be.
    """
    check_mpp(mpp, "--mpp")
    outlined, pointed = _annotated(images, names)
    loaded = zoo.load_model(model, device, weights)

    def segment(rgb: NDArray[np.uint8], name: str) -> Nuclei:
        source = ArraySource(rgb, mpp, name)
        return segment_source(loaded, source, calibrate_source(loaded, source))

    tables = [classified_pairs(i, segment(i.rgb, i.name), mpp) for i in outlined]
    by_class: dict[int, list[NDArray[np.int64]]] = {}
    for image in pointed:
        for class_id, given in point_recall(image, segment(image.rgb, image.name), mpp).items():
            by_class.setdefault(class_id, []).append(given)
    return {
        "f1": {name: _rounded(f1) for name, f1 in class_scores(tables).items()} if tables else {},
        "points": {
            _name(class_id): _recall(np.concatenate(given))
            for class_id, given in sorted(by_class.items())
        },
    }


def _annotated(folder: Path, names: Sequence[str]) -> tuple[list[AnnotatedImage], list[PointImage]]:
    if not folder.is_dir():
        raise ImageError(f"{folder}: no such folder.")
    outlined, pointed = [], []
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() not in (".png", ".jpg", ".jpeg") or (
            names and file.stem not in names
        ):
            continue
        if file.with_name(f"{file.stem}_cls.png").exists():
            outlined.append(load_annotated(file))
        elif file.with_name(f"{file.stem}_points.csv").exists():
            pointed.append(load_points(file))
    absent = sorted(set(names) - {image.name for image in (*outlined, *pointed)})
    if absent:
        raise ImageError(f"{folder}: no image {absent[0]!r} with NAME_cls.png or NAME_points.csv.")
    if not outlined and not pointed:
        raise ImageError(f"{folder}: no image here has NAME_cls.png or NAME_points.csv.")
    return outlined, pointed


def _recall(given: NDArray[np.int64]) -> dict[str, Any]:
    shares = {
        PANNUKE.names[i]: _rounded((given == i + 1).mean()) for i in range(len(PANNUKE.names))
    }
    return {"points": len(given), "found": _rounded((given > 0).mean()), "named": shares}


def _name(class_id: int) -> str:
    return "other" if class_id == UNKNOWN_CLASS else PANNUKE.names[class_id - 1]


def _likeliest(nuclei: Nuclei) -> NDArray[np.int64]:
    """Return the class id of each nucleus, 0 where it has none."""
    return PANNUKE.ids_of_probabilities(nuclei.class_prob).astype(np.int64)


def _merged(class_ids: ArrayLike) -> NDArray[np.int64]:
    ids = np.asarray(class_ids, np.int64)
    return np.where(np.isin(ids, NEOPLASTIC_OR_EPITHELIAL), EPITHELIAL_EITHER, ids)


def _rounded(value: float) -> float | None:
    """Return four digits; None where it is undefined, since JSON has no NaN."""
    return round(float(value), 4) if np.isfinite(value) else None
