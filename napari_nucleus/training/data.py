"""Annotated images for training and evaluation, read from a folder the user names.

The layout is ``<folder>/<set>/NAME.png|jpg`` with ``NAME_inst.png`` (16-bit instance ids) and, for
CoNSeP, ``NAME_cls.png`` (8-bit merged classes). The development split of CoNSeP is fixed and never
trained on; a set named ``dev_eval`` is never read for training.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_nucleus.core.classes import CONSEP_MERGED_TO_CANONICAL, UNKNOWN_CLASS
from napari_nucleus.core.nuclei import check_labels
from napari_nucleus.errors import ImageError, LabelsError
from napari_nucleus.io.images import ImageFile, open_image
from napari_nucleus.io.labels import read_labels

__all__ = [
    "CONSEP_DEVELOPMENT",
    "EPITHELIAL_EITHER",
    "AnnotatedImage",
    "PointImage",
    "evaluation_pairs",
    "load_annotated",
    "load_consep",
    "load_dsb2018",
    "load_nucls",
    "load_points",
    "nuclei_count",
    "opened_pairs",
]

CONSEP_DEVELOPMENT: tuple[str, ...] = tuple(
    f"consep_train_{n}" for n in ("02", "06", "12", "14", "19")
)
"""Images of CoNSeP that select checkpoints and are never trained on."""

EPITHELIAL_EITHER = 15
"""Class target of a nucleus that is neoplastic or epithelial, one cannot tell which."""

_NUCLS_CLASSES = {
    "tumor_any": 1,
    "nonTIL_stromal": 3,
    "sTIL": 2,
    "other_nucleus": UNKNOWN_CLASS,
}


@dataclass(frozen=True, eq=False)
class AnnotatedImage:
    """An image with every nucleus outlined.

    Parameters
    ----------
    name, source
        File stem and data set.
    rgb
        ``(H, W, 3)`` uint8.
    labels
        ``(H, W)`` int32, ids 1..n without gaps.
    class_target
        ``(n + 1,)`` uint8: canonical class, `EPITHELIAL_EITHER` or `UNKNOWN_CLASS`; entry 0 is
        background.
    """

    name: str
    source: str
    rgb: NDArray[np.uint8]
    labels: NDArray[np.int32]
    class_target: NDArray[np.uint8]

    @property
    def count(self) -> int:
        """Number of nuclei."""
        return len(self.class_target) - 1

    @property
    def median_diameter(self) -> float:
        """Median equivalent diameter in pixels; 0 without nuclei."""
        areas = np.bincount(self.labels.ravel())[1:]
        return float(2 * np.sqrt(np.median(areas) / np.pi)) if len(areas) else 0.0


@dataclass(frozen=True, eq=False)
class PointImage:
    """An image with a point on some nuclei: ``points_yx`` ``(k, 2)``, ``class_target`` ``(k,)``."""

    name: str
    rgb: NDArray[np.uint8]
    points_yx: NDArray[np.float64]
    class_target: NDArray[np.uint8]


def load_annotated(image: Path, source: str = "") -> AnnotatedImage:
    """Read ``NAME.*`` with ``NAME_inst.png`` and, if there is one, ``NAME_cls.png``.

    Raises
    ------
    ImageError, LabelsError
        If a file cannot be read, there is no annotation, or its size is not the image's.
    """
    instance_file = image.with_name(f"{image.stem}_inst.png")
    class_file = image.with_name(f"{image.stem}_cls.png")
    if not instance_file.exists():
        raise LabelsError(f"{instance_file}: no such file; {image.name} has no annotation.")
    rgb = _pixels(image, "RGB")
    raw = check_labels(_pixels(instance_file), instance_file.name)
    if raw.shape != rgb.shape[:2]:
        raise LabelsError(
            f"{instance_file.name}: {raw.shape} labels for an image of {rgb.shape[:2]}."
        )
    ids, labels = np.unique(raw, return_inverse=True)
    labels = labels.reshape(raw.shape).astype(np.int32)
    if ids[0] != 0:
        labels += 1
    target = np.full(labels.max() + 1, UNKNOWN_CLASS, np.uint8)
    target[0] = 0
    if class_file.exists():
        classes = _pixels(class_file)
        if classes.shape != labels.shape:
            raise LabelsError(
                f"{class_file.name}: {classes.shape} classes for an image of {labels.shape}."
            )
        for merged, canonical in CONSEP_MERGED_TO_CANONICAL.items():
            members = np.unique(labels[(classes == merged) & (labels > 0)])
            target[members] = canonical[0] if len(canonical) == 1 else EPITHELIAL_EITHER
    return AnnotatedImage(image.stem, source, rgb, labels, target)


def load_consep(folder: Path, development: bool = False) -> list[AnnotatedImage]:
    """Return CoNSeP without the development split, or only that split."""
    files = sorted(_existing(folder / "consep").glob("*.jpg"))
    return [
        load_annotated(f, "consep") for f in files if (f.stem in CONSEP_DEVELOPMENT) == development
    ]


def load_dsb2018(folder: Path) -> list[AnnotatedImage]:
    """Return the purple-stained images of the Data Science Bowl 2018."""
    files = sorted(_existing(folder / "dsb2018").glob("*.png"))
    return [load_annotated(f, "dsb2018") for f in files if not f.stem.endswith(("_inst", "_cls"))]


def load_nucls(folder: Path, split: str = "train") -> list[PointImage]:
    """Return NuCLS tiles with points; ``split`` is ``"train"`` or ``"test"``."""
    files = sorted(_existing(folder / "nucls_points").glob(f"nucls_{split}_*.png"))
    return [load_points(file) for file in files]


def load_points(image: Path) -> PointImage:
    """Read ``NAME.png`` with ``NAME_points.csv``.

    Raises
    ------
    ImageError, LabelsError
        If a file cannot be read.
    """
    points, target = _points(image.with_name(f"{image.stem}_points.csv"))
    return PointImage(image.stem, _pixels(image, "RGB"), points, target)


def _points(file: Path) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Read pixel centres ``(k, 2)`` and class targets ``(k,)`` from a table of NuCLS."""
    try:
        with file.open(newline="") as handle:
            rows = list(csv.DictReader(handle))
        points = np.array([[float(r["y"]), float(r["x"])] for r in rows]).reshape(-1, 2) + 0.5
        target = [_NUCLS_CLASSES.get(r["class"], UNKNOWN_CLASS) for r in rows]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise LabelsError(f"{file}: no table of x, y and class ({error}).") from error
    return points, np.array(target, np.uint8)


def _pixels(file: Path, mode: str | None = None) -> NDArray:
    """Read a picture as it is, or in one of Pillow's modes."""
    try:
        with Image.open(file) as picture:
            return np.asarray(picture if mode is None else picture.convert(mode))
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"{file}: damaged, or no picture ({error}).") from error


def opened_pairs(
    pairs: Iterable[tuple[Path, Path]], mpp: float | None = None
) -> Iterator[tuple[str, ImageFile, NDArray]]:
    """Yield name, image and label map ``(H, W)`` of each of `evaluation_pairs`, opened in turn.

    Raises
    ------
    NucleusError
        If a file is not what it should be.
    """
    for image_file, label_file in pairs:
        source = open_image(image_file, mpp)
        yield image_file.stem, source, read_labels(label_file, source.shape).labels


def evaluation_pairs(
    images: Path, names: Sequence[str] = (), truth: Path | None = None
) -> list[tuple[Path, Path]]:
    """Return (image, label map) files, optionally only those with the given stems.

    The truth of ``NAME.*`` is ``NAME_inst.png`` or ``NAME_inst.tif`` in ``truth``, by default the
    same folder; in another folder it may be called ``NAME.*`` as well.

    Raises
    ------
    ImageError
        If a folder is missing, a name is not there, or nothing pairs up.
    """
    labels = _existing(truth or images)
    pairs = []
    for file in sorted(_existing(images).iterdir()):
        if file.suffix.lower() not in (".png", ".jpg", ".jpeg", ".tif", ".tiff"):
            continue
        endings = ["_inst.png", "_inst.tif", "_inst.npy"]
        if labels.resolve() != images.resolve():
            endings += [".png", ".tif", ".npy"]
        found = (labels / f"{file.stem}{ending}" for ending in endings)
        label_file = next((f for f in found if f.exists()), None)
        if label_file is not None and (not names or file.stem in names):
            pairs.append((file, label_file))
    absent = sorted(set(names) - {image.stem for image, _ in pairs})
    if absent:
        raise ImageError(f"{images}: no image {absent[0]!r} with a label map in {labels}.")
    if not pairs:
        raise ImageError(f"{images}: no image here has a label map NAME_inst.png in {labels}.")
    return pairs


def nuclei_count(images: Iterable[AnnotatedImage]) -> int:
    """Return how many nuclei the images hold."""
    return sum(image.count for image in images)


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise ImageError(f"{folder}: no such folder; give the folder that holds the data sets.")
    return folder
