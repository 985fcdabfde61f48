"""``napari-nucleus evaluate text``: what texts find, how much that depends on their wording.

Dice is of the pixels of the nuclei that come back against those of the truth, where the class is
known; empty against empty is 1. It is taken for each text on each image that has what is asked
for; spreads over texts are standard deviations on an image, averaged over images. Presence is
counted on tiles of 256 px. The data cannot tell neoplastic from benign epithelium: texts for both
are scored against both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.geometry import Frame
from napari_nucleus.core.image import ArraySource, Tile, check_mpp
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.errors import ImageError, ModelError
from napari_nucleus.hosting.local import calibrate_source, segment_source
from napari_nucleus.hosting.planning import read_samples
from napari_nucleus.models import zoo
from napari_nucleus.models.api import Calibration, TextSegmenter
from napari_nucleus.training.data import AnnotatedImage, load_annotated
from napari_nucleus.training.paraphrases import paraphrases
from napari_nucleus.training.prompt_bank import ALL_CLASSES, QUALITIES, bank
from napari_nucleus.training.prompt_targets import Wanted, wanted_mask

__all__ = ["CONCEPTS", "Presence", "bank_sample", "dice", "evaluate_texts", "tile_truth"]

CONCEPTS: Mapping[str, tuple[int, ...]] = {
    "all": ALL_CLASSES,
    "inflammatory": (2,),
    "epithelial": (1, 5),
    "connective": (3,),
}
"""What the data can score, and the classes whose texts ask for it."""

TILE = 256
"""Side in pixels of the tiles on which presence is counted."""

PRESENCE_TEXTS = 2
"""How many of a concept's texts are asked on every tile."""

BY_QUALITY = 2
"""How many texts of the bank are asked of each quality and class."""


@dataclass(slots=True)
class Presence:
    """Counts over tiles and texts: those where nothing is there and that nothing was answered on;
    those where something is and that a nucleus of it was hit on.
    """

    absent: int = 0
    empty: int = 0
    present: int = 0
    found: int = 0

    def add(self, truth: int, answer: NDArray[np.bool_], wanted: Wanted) -> None:
        """Count one answer on a tile whose truth is 1, 0 or, not to be counted, −1."""
        if truth == 0:
            self.absent += 1
            self.empty += not answer.any()
        elif truth == 1:
            self.present += 1
            self.found += bool((answer & wanted.mask).any())

    def shares(self) -> dict[str, float | int | None]:
        """Return the counts and the shares."""
        return {
            "absent": self.absent,
            "empty_where_absent": _share(self.empty, self.absent),
            "present": self.present,
            "found_where_present": _share(self.found, self.present),
        }


def dice(answer: NDArray[np.bool_], wanted: Wanted) -> float:
    """Return the Dice of an answer ``(H, W)`` where the truth is known; both empty give 1."""
    found, true = answer & wanted.known, wanted.mask & wanted.known
    area = int(found.sum()) + int(true.sum())
    return 2 * int((found & true).sum()) / area if area else 1.0


def tile_truth(labels: NDArray[np.int32], part: tuple[slice, slice], wanted: Wanted) -> int:
    """Return whether what is asked for is on a tile: 1, 0, or −1 for less than half a nucleus.

    ``labels`` are of the whole image, ``wanted`` of its ``part``.
    """
    inside = np.bincount(labels[part][wanted.mask], minlength=1)
    whole = np.bincount(labels.ravel(), minlength=len(inside))[: len(inside)]
    if not wanted.mask.any():
        return 0
    return 1 if (inside[1:] * 2 >= np.maximum(whole[1:], 1)).any() else -1


def bank_sample(classes: tuple[int, ...], quality: str, count: int = BY_QUALITY) -> tuple[str, ...]:
    """Return ``count`` texts of the training bank, evenly spread over those of a quality."""
    pool = [p.text for p in bank(classes) if p.quality == quality]
    return tuple(pool[i] for i in np.linspace(0, len(pool) - 1, count).round().astype(int))


def evaluate_texts(
    images: Path,
    model: str,
    mpp: float,
    names: Sequence[str],
    device: str,
    weights: Path | None,
    baseline: str = "uperhover-nano",
) -> dict[str, Any]:
    """Ask a model the texts that were kept out of training, on images with classes.

    Returns
    -------
    ``texts``: for each concept how many texts, the mean of Dice and its spread, the text with the
    lowest Dice, and what ``baseline``'s nuclei filtered by class reach; ``quality``: mean and
    spread over low, medium and high prompts of the training bank; ``presence``: as `Presence`.

    Raises
    ------
    NucleusError
        If the model, the pixel size or a file is not what it should be.
    """
    check_mpp(mpp, "--mpp")
    loaded = zoo.load_model(model, device, weights)
    if not isinstance(loaded, TextSegmenter):
        raise ModelError(f"{model} answers no texts; name one that does, see `models`.")
    other = zoo.load_model(baseline, device)
    kept: dict[str, list[NDArray]] = {name: [] for name in CONCEPTS}
    banked: dict[str, list[NDArray]] = {name: [] for name in CONCEPTS}
    filtered: dict[str, list[float]] = {name: [] for name in CONCEPTS}
    presence = {name: Presence() for name in CONCEPTS if name != "all"}
    for image in _classified(images, names):
        source = ArraySource(image.rgb, mpp, image.name)
        calibration = loaded.calibrate(read_samples(source, loaded.info, mpp), mpp)
        nuclei = segment_source(other, source, calibrate_source(other, source))
        embedding = loaded.embed(Tile(image.rgb, Frame(mpp=mpp)), calibration)
        class_map = image.class_target[image.labels]
        for name, classes in CONCEPTS.items():
            wanted = _wanted(class_map, classes)
            if not wanted.mask.any():
                continue

            def asked(texts: Sequence[str], wanted: Wanted = wanted) -> list[float]:
                shape = (wanted.mask.shape[0], wanted.mask.shape[1])
                answers = loaded.answer_many(embedding, texts)  # noqa: B023
                return [dice(a.nuclei.to_labels(shape) > 0, wanted) for a in answers]

            kept[name].append(np.array(asked(_texts(name))))
            banked[name].append(
                np.array([asked(_bank_texts(classes, quality)) for quality in QUALITIES])
            )
            filtered[name].append(dice(_filtered(nuclei, classes, wanted), wanted))
        _count_presence(loaded, image, calibration, mpp, presence)
    return {
        "texts": {
            name: _of_texts(np.stack(values), _texts(name), filtered[name])
            for name, values in kept.items()
            if values
        },
        "quality": {n: _of_quality(np.stack(values)) for n, values in banked.items() if values},
        "presence": {name: counts.shares() for name, counts in presence.items()}
        | {"together": _together(presence.values()).shares()},
    }


def _classified(folder: Path, names: Sequence[str]) -> Iterator[AnnotatedImage]:
    if not folder.is_dir():
        raise ImageError(f"{folder}: no such folder.")
    files = [
        file
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in (".png", ".jpg", ".jpeg")
        and file.with_name(f"{file.stem}_cls.png").exists()
        and (not names or file.stem in names)
    ]
    absent = sorted(set(names) - {file.stem for file in files})
    if absent or not files:
        raise ImageError(f"{folder}: no image {absent[0] if absent else ''!r} with NAME_cls.png.")
    for file in files:
        yield load_annotated(file)


def _wanted(class_map: NDArray[np.uint8], classes: tuple[int, ...]) -> Wanted:
    return wanted_mask(class_map, classes)


def _texts(name: str) -> tuple[str, ...]:
    classes = CONCEPTS[name]
    return paraphrases(() if classes == ALL_CLASSES else classes)


def _bank_texts(classes: tuple[int, ...], quality: str) -> tuple[str, ...]:
    groups = (classes,) if classes == ALL_CLASSES else tuple((c,) for c in classes)
    count = BY_QUALITY if len(groups) == 1 else 1
    return tuple(text for group in groups for text in bank_sample(group, quality, count))


def _filtered(nuclei: Nuclei, classes: tuple[int, ...], wanted: Wanted) -> NDArray[np.bool_]:
    """Return the pixels of another model's nuclei of these classes."""
    ids = PANNUKE.ids_of_probabilities(nuclei.class_prob)
    some = nuclei if classes == ALL_CLASSES else nuclei.select(np.isin(ids, classes))
    return some.to_labels((wanted.mask.shape[0], wanted.mask.shape[1])) > 0


def _count_presence(
    model: TextSegmenter,
    image: AnnotatedImage,
    calibration: Calibration,
    mpp: float,
    presence: Mapping[str, Presence],
) -> None:
    class_map = image.class_target[image.labels]
    for part in _tiles(image.labels.shape):
        tile = Tile(np.ascontiguousarray(image.rgb[part]), Frame(mpp=mpp))
        embedding = model.embed(tile, calibration)
        for name, counts in presence.items():
            wanted = _wanted(class_map[part], CONCEPTS[name])
            truth = tile_truth(image.labels, part, wanted)
            for text in _spread(_texts(name), PRESENCE_TEXTS):
                answer = model.answer(embedding, text).nuclei.to_labels(tile.shape) > 0
                counts.add(truth, answer, wanted)


def _tiles(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """Yield tiles that cover an image; the last of a row ends with it."""
    lines = [np.unique(np.linspace(0, max(n - TILE, 0), -(-n // TILE)).astype(int)) for n in shape]
    for y in lines[0]:
        for x in lines[1]:
            yield slice(int(y), int(y) + TILE), slice(int(x), int(x) + TILE)


def _spread(texts: tuple[str, ...], count: int) -> list[str]:
    return [texts[i] for i in np.linspace(0, len(texts) - 1, count).round().astype(int)]


def _together(counts: Any) -> Presence:
    total = Presence()
    for one in counts:
        total.absent += one.absent
        total.empty += one.empty
        total.present += one.present
        total.found += one.found
    return total


def _of_texts(
    scores: NDArray[np.float64], texts: Sequence[str], filtered: Sequence[float]
) -> dict[str, Any]:
    """Return what is printed of Dice ``(images, texts)``."""
    by_text = scores.mean(0)
    base = float(np.mean(filtered))
    mean = float(scores.mean())
    return {
        "texts": scores.shape[1],
        "dice": round(mean, 4),
        "sd": round(float(scores.std(1).mean()), 4),
        "baseline": round(base, 4),
        "ratio": _share(mean, base),
        "worst": {"text": texts[int(by_text.argmin())], "dice": round(float(by_text.min()), 4)},
    }


def _of_quality(scores: NDArray[np.float64]) -> dict[str, float]:
    """Return what is printed of Dice ``(images, qualities, texts)``."""
    by_quality = scores.mean((0, 2))
    return {
        **{q: round(float(d), 4) for q, d in zip(QUALITIES, by_quality, strict=True)},
        "mean": round(float(scores.mean()), 4),
        "sd": round(float(scores.reshape(len(scores), -1).std(1).mean()), 4),
        "sd_between": round(float(scores.mean(2).std(1).mean()), 4),
    }


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None
