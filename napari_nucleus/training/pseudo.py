"""Labels that a model gives to unlabelled tiles, and which of them the next stage may learn from.

A tile's score is the mean entropy of its class probabilities (nats) over the predicted foreground;
tiles below the 70th percentile of all are kept. Tiles without foreground have no score: a few of
them are kept as examples of nothing (SegTME-UNI2's curriculum).
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_nucleus.core.image import Tile
from napari_nucleus.errors import ImageError, NucleusError
from napari_nucleus.io.folders import make_folder
from napari_nucleus.io.images import IMAGE_SUFFIXES, open_image
from napari_nucleus.models.uperhover.predictor import UperHoverPredictor
from napari_nucleus.training.data import EPITHELIAL_EITHER, AnnotatedImage

__all__ = [
    "FilterConfig",
    "PseudoTile",
    "kept_tiles",
    "label_folder",
    "mean_entropy",
    "unlabelled_images",
]


@dataclass(frozen=True, slots=True)
class FilterConfig:
    """Which tiles are kept.

    Parameters
    ----------
    percentile
        Of the scores; tiles that reach it are left out.
    empty_share
        Share of the tiles without foreground that is kept.
    side
        Of a tile, in working pixels.
    """

    percentile: float = 70.0
    empty_share: float = 0.05
    side: int = 256


@dataclass(frozen=True, eq=False)
class PseudoTile:
    """A tile with the labels that a model gave it; ``entropy`` is None without foreground."""

    image: AnnotatedImage
    semantic: NDArray[np.uint8]
    entropy: float | None


def mean_entropy(classes: NDArray[np.floating]) -> float | None:
    """Return the mean entropy, in nats, of ``(1 + C, H, W)`` probabilities over the foreground.

    Foreground is where background is not the most probable; None if there is none.
    """
    foreground = classes.argmax(axis=0) > 0
    if not foreground.any():
        return None
    p = np.clip(classes[:, foreground], 1e-12, 1)
    return float(-(p * np.log(p)).sum(axis=0).mean())


def kept_tiles(
    tiles: Sequence[PseudoTile], config: FilterConfig, rng: np.random.Generator
) -> list[PseudoTile]:
    """Return the tiles that the model is surest of, and a few empty ones."""
    scores = [t.entropy for t in tiles if t.entropy is not None]
    limit = np.percentile(scores, config.percentile) if scores else 0.0
    return [
        t
        for t in tiles
        if (t.entropy is None and rng.random() < config.empty_share)
        or (t.entropy is not None and t.entropy < limit)
    ]


def label_folder(
    predictor: UperHoverPredictor,
    images: Path,
    out: Path,
    config: FilterConfig,
    seed: int,
    say: Callable[[str], None],
) -> list[AnnotatedImage]:
    """Label every image of a folder tile by tile and return the tiles that are kept.

    ``out`` receives ``NAME_sem_map.png`` (class ids) and ``NAME_inst.png`` (instances) of each kept
    tile, and ``scores.csv`` of all.

    Raises
    ------
    ImageError
        If the folder is missing, holds no image, or no tile is kept.
    """
    tiles: list[PseudoTile] = []
    for file in unlabelled_images(images):
        try:
            tiles += _label_image(predictor, file, config.side)
        except NucleusError as error:
            say(f"left out: {error}")
    kept = kept_tiles(tiles, config, np.random.default_rng(seed))
    if not kept:
        raise ImageError(f"{images}: of {len(tiles)} tiles none is sure enough to learn from.")
    _write(tiles, kept, make_folder(out))
    say(f"labelled {len(tiles)} tiles of {images.name}, kept {len(kept)}")
    return [t.image for t in kept]


def unlabelled_images(folder: Path) -> list[Path]:
    """Return the images of a folder; label maps beside them are none.

    Raises
    ------
    ImageError
        If the folder is missing or holds no image.
    """
    if not folder.is_dir():
        raise ImageError(f"{folder}: no such folder of unlabelled images.")
    ours = ("_inst", "_cls", "_sem_map")
    files = [
        f
        for f in sorted(folder.iterdir())
        if f.suffix.lower() in IMAGE_SUFFIXES and not f.stem.endswith(ours)
    ]
    if not files:
        raise ImageError(f"{folder}: holds no image.")
    return files


def _label_image(predictor: UperHoverPredictor, file: Path, side: int) -> list[PseudoTile]:
    source = open_image(file)
    height, width = source.shape
    whole = Tile(source.read((0, 0, height, width)))
    calibration = predictor.calibrate([whole.middle(2048)], source.mpp)
    step = max(round(side / calibration.scale), 1)
    tiles = []
    for y in range(0, max(height - step // 2, 1), step):
        for x in range(0, max(width - step // 2, 1), step):
            piece = Tile(whole.rgb[y : y + step, x : x + step])
            rgb, classes, found = predictor.look(piece, calibration)
            target = np.concatenate([[0], found.classes]).astype(np.uint8)
            target[np.isin(target, predictor.info.not_told_apart)] = EPITHELIAL_EITHER
            name = f"{file.name}_{y}_{x}"
            image = AnnotatedImage(name, "pseudo", rgb, found.labels, target)
            tiles.append(
                PseudoTile(image, classes.argmax(0).astype(np.uint8), mean_entropy(classes))
            )
    return tiles


def _write(tiles: Sequence[PseudoTile], kept: Sequence[PseudoTile], out: Path) -> None:
    for stale in [*out.glob("*_sem_map.png"), *out.glob("*_inst.png")]:
        stale.unlink()
    for tile in kept:
        name = tile.image.name
        Image.fromarray(tile.semantic).save(out / f"{name}_sem_map.png")
        Image.fromarray(tile.image.labels.astype(np.uint16)).save(out / f"{name}_inst.png")
    chosen = {id(t) for t in kept}
    with (out / "scores.csv").open("w", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(["tile", "entropy", "nuclei", "kept"])
        for tile in tiles:
            entropy = "" if tile.entropy is None else f"{tile.entropy:.4f}"
            table.writerow([tile.image.name, entropy, tile.image.count, int(id(tile) in chosen)])
