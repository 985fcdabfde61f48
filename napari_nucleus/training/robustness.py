"""A model on annotated images and on changed copies of them: other scale, stain, compression."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_nucleus.core.image import ArraySource, check_mpp
from napari_nucleus.core.stain import LabStatistics, lab_statistics, restain
from napari_nucleus.errors import ModelError
from napari_nucleus.hosting.local import calibrate_source, segment_source
from napari_nucleus.models import zoo
from napari_nucleus.training.data import evaluation_pairs, opened_pairs
from napari_nucleus.training.evaluation import SegmentationScores, compare_labels, summarise

__all__ = ["CHANGES", "changed_copy", "evaluate_model"]

CHANGES = ("halved", "doubled", "restained", "jpeg40")

OTHER_STAIN = LabStatistics((62.0, 22.0, -8.0), (15.0, 9.0, 7.0))
"""Pinker and duller than most scanners' pictures: where ``restained`` moves an image."""


def changed_copy(
    rgb: NDArray[np.uint8], labels: NDArray[np.integer], change: str
) -> tuple[NDArray[np.uint8], NDArray[np.integer], float]:
    """Return a changed picture, its labels, and the factor on its pixel size.

    Raises
    ------
    ModelError
        If there is no such change.
    """
    _check_change(change)
    if change in ("halved", "doubled"):
        h, w = labels.shape
        size = (w // 2, h // 2) if change == "halved" else (w * 2, h * 2)
        picture = Image.fromarray(rgb).resize(
            size, Image.Resampling.BOX if change == "halved" else Image.Resampling.BICUBIC
        )
        resized = Image.fromarray(labels.astype(np.int32)).resize(size, Image.Resampling.NEAREST)
        return np.asarray(picture), np.asarray(resized), w / size[0]
    if change == "restained":
        source = lab_statistics(rgb)
        return (rgb if source is None else restain(rgb, source, OTHER_STAIN)), labels, 1.0
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=40)
    return np.asarray(Image.open(buffer)), labels, 1.0


def _check_change(change: str) -> None:
    if change not in CHANGES:
        raise ModelError(f"No change {change!r}; there is {', '.join(CHANGES)}.")


def evaluate_model(
    images: Path,
    model: str,
    mpp: float | None,
    changes: Sequence[str],
    names: Sequence[str],
    device: str,
    weights: Path | None,
) -> dict[str, Any]:
    """Segment a folder's images, unchanged and changed, and score each variant.

    Parameters
    ----------
    mpp
        µm per pixel of the unchanged images, None to have it estimated on every copy.
    changes
        Some of `CHANGES`.

    Returns
    -------
    For ``"original"`` and each change what `summarise` returns.

    Raises
    ------
    NucleusError
        If the model, a change, the pixel size or a file is not what it should be.
    """
    check_mpp(mpp, "--mpp")
    for change in changes:
        _check_change(change)
    pairs = evaluation_pairs(images, names)
    loaded = zoo.load_model(model, device, weights)
    scores: dict[str, dict[str, SegmentationScores]] = {}
    for name, source, labels in opened_pairs(pairs):
        rgb = source.read((0, 0, *source.shape))
        stated = mpp if mpp is not None else source.mpp
        for change in ("original", *changes):
            picture, truth, factor = (
                (rgb, labels, 1.0) if change == "original" else changed_copy(rgb, labels, change)
            )
            copy = ArraySource(picture, None if stated is None else stated * factor, change)
            found = segment_source(loaded, copy, calibrate_source(loaded, copy))
            scores.setdefault(change, {})[name] = compare_labels(
                truth, found.to_labels(copy.shape), (stated or 0.25) * factor
            )
    return {change: summarise(by_image) for change, by_image in scores.items()}
