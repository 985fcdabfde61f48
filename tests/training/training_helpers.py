"""Annotated pictures that are drawn from their labels, in memory and on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from napari_nucleus.training.data import AnnotatedImage
from napari_nucleus.training.sampler import Crop, compact_crop

BACKGROUND = (230, 180, 210)


def draw_labels(shape: tuple[int, int], seed: int = 0, n: int = 12) -> np.ndarray:
    """Ellipses that do not overlap, ids 1..n without gaps."""
    rng = np.random.default_rng(seed)
    rows, cols = np.indices(shape) + 0.5
    labels = np.zeros(shape, np.int32)
    for _ in range(200):
        y, x = rng.uniform(4, shape[0] - 4), rng.uniform(4, shape[1] - 4)
        ry, rx = rng.uniform(4, 9, 2)
        inside = ((rows - y) / ry) ** 2 + ((cols - x) / rx) ** 2 <= 1
        if not labels[inside].any():
            labels[inside] = labels.max() + 1
        if labels.max() == n:
            break
    return labels


def paint_labels(labels: np.ndarray) -> np.ndarray:
    """A picture in which each nucleus has a colour of its own, so that both can be compared."""
    rng = np.random.default_rng(7)
    colors = np.concatenate([[BACKGROUND], rng.integers(30, 140, (int(labels.max()), 3))])
    return colors.astype(np.uint8)[labels]


def make_image(shape=(96, 112), seed: int = 0, n: int = 12, source="consep") -> AnnotatedImage:
    labels = draw_labels(shape, seed, n)
    rng = np.random.default_rng(seed)
    target = np.concatenate([[0], rng.choice([2, 3, 15, 255], int(labels.max()))]).astype(np.uint8)
    return AnnotatedImage(f"{source}_{seed}", source, paint_labels(labels), labels, target)


def make_crop(size: int = 64, seed: int = 0, n: int = 8) -> Crop:
    image = make_image((size, size), seed, n)
    labels, target = compact_crop(image.labels, image.class_target)
    return Crop(image.rgb, labels, target, np.ones(labels.shape, bool))


def write_image(
    folder: Path, name: str, labels: np.ndarray, suffix: str, classes: np.ndarray | None = None
) -> None:
    """Write ``NAME``, ``NAME_inst.png`` and, if there are classes, ``NAME_cls.png``."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(paint_labels(labels)).save(folder / f"{name}{suffix}", quality=95)
    Image.fromarray(labels.astype(np.uint16)).save(folder / f"{name}_inst.png")
    if classes is not None:
        Image.fromarray(classes.astype(np.uint8)).save(folder / f"{name}_cls.png")
