"""Batches for NuNext: windows that the frozen encoder has seen, and the answers to them.

Each augmented crop is encoded once and kept; pieces of it, mirrored and put anywhere in the frame,
are windows. Answers are written with faults in them, because what a network writes has faults too:
points left out, points that are none, points a little off. What is right after each is told from
the true points alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.models.nunext.config import NuNextConfig
from napari_nucleus.models.nunext.losses import IGNORED
from napari_nucleus.models.nunext.network import CELL, Seen, Written, see
from napari_nucleus.models.nunext.tokens import Vocabulary, point_bins, reading_order
from napari_nucleus.models.uninuc.network import Segmenter
from napari_nucleus.training.batches import TrainingImages, class_sets, network_pixels, pixels_of
from napari_nucleus.training.sampler import Crop, CropSampler, SamplerConfig

__all__ = [
    "NuNextBatch",
    "NuNextPlan",
    "SeenWindows",
    "draw_windows",
    "load_windows",
    "save_windows",
    "see_windows",
    "window_batches",
]


@dataclass(frozen=True, slots=True)
class NuNextPlan:
    """What a step is made of.

    Parameters
    ----------
    sizes
        Side of the windows and how many of them, until the given share of the steps is done.
    left_out, added
        Share of the points that an answer lacks, and how many that are none it has for each.
    off
        Standard deviation, in pixels, of the points' error.
    sparse
        Share of the windows that are the emptiest of a few.
    """

    sizes: tuple[tuple[float, int, int], ...] = ((0.7, 128, 16), (1.0, 256, 6))
    left_out: float = 0.1
    added: float = 0.1
    off: float = 1.0
    sparse: float = 0.15


@dataclass(frozen=True, eq=False)
class SeenWindows:
    """Encoded crops: ``seen`` in half precision, ``labels`` ``(N, S, S)`` int16, and of each crop
    the centroids ``(n, 2)`` in pixels and the class targets ``(n,)``.
    """

    seen: Seen
    labels: NDArray[np.int16]
    points: tuple[NDArray[np.float64], ...]
    classes: tuple[NDArray[np.uint8], ...]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> int:
        """Side of a crop in pixels."""
        return self.labels.shape[1]

    def inside(self, i: int, y: int, x: int, size: int) -> NDArray[np.bool_]:
        """Return which points of crop ``i`` lie in a square."""
        local = self.points[i] - (y, x)
        return np.all((local >= 0) & (local < size), axis=1)


@dataclass(frozen=True, eq=False)
class NuNextBatch:
    """Windows and answers.

    Parameters
    ----------
    seen
        Of B windows.
    corner
        ``(B, 2)`` y and x of each in the frame.
    written
        Answers with faults, N points; those of shorter ones are filled up.
    target
        ``(B, 3 N + 1)`` what is right next, as ids; `IGNORED` where nothing is.
    class_sets
        ``(B, 3 N + 1, C)`` bool, the classes that would be right.
    union
        ``(B, S, S)`` bool, all nuclei.
    points
        True points of each window, in pixels of the window.
    """

    seen: Seen
    corner: Tensor
    written: Written
    target: Tensor
    class_sets: Tensor
    union: Tensor
    points: tuple[NDArray[np.float64], ...]


@torch.inference_mode()
def see_windows(
    segmenter: Segmenter,
    images: TrainingImages,
    count: int,
    size: int,
    sampler: SamplerConfig,
    seed: int,
    say: Callable[[str], None],
    blank: int = 30,
) -> SeenWindows:
    """Draw ``count`` augmented crops and let the encoder see each; every ``blank``-th is glass."""
    crops = CropSampler(images.annotated, (), size, sampler, seed)
    rng = np.random.default_rng([seed, 3])
    kept: list[Seen] = []
    labels, points, classes = [], [], []
    for i in range(count):
        crop = _glass(size, rng) if i % blank == blank - 1 else crops.draw()
        found = see(segmenter, network_pixels(pixels_of([crop])))
        kept.append(Seen(*(v.half() for v in found)))
        nuclei, ids = Nuclei.from_labels(crop.labels)
        labels.append(crop.labels.astype(np.int16))
        points.append(nuclei.centroids_yx)
        classes.append(crop.class_target[ids])
        if (i + 1) % 200 == 0:
            say(f"{i + 1} of {count} crops seen")
    seen = Seen(*(torch.cat(v) for v in zip(*kept, strict=True)))
    return SeenWindows(seen, np.stack(labels), tuple(points), tuple(classes))


def _glass(size: int, rng: np.random.Generator) -> Crop:
    """Return a crop of empty glass."""
    colour = rng.uniform(225, 252, 3) + rng.normal(0, rng.uniform(0.5, 4), (size, size, 3))
    return Crop(
        np.clip(colour, 0, 255).astype(np.uint8),
        np.zeros((size, size), np.int32),
        np.zeros(1, np.uint8),
        np.ones((size, size), bool),
    )


def save_windows(windows: SeenWindows, file: Path) -> None:
    """Keep encoded crops in a file."""
    state: dict[str, Any] = {
        "seen": list(windows.seen),
        "labels": torch.from_numpy(windows.labels),
        "points": [torch.from_numpy(p) for p in windows.points],
        "classes": [torch.from_numpy(c) for c in windows.classes],
    }
    torch.save(state, file)


def load_windows(file: Path) -> SeenWindows:
    """Return what `save_windows` kept."""
    state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    return SeenWindows(
        Seen(*state["seen"]),
        state["labels"].numpy(),
        tuple(p.numpy() for p in state["points"]),
        tuple(c.numpy() for c in state["classes"]),
    )


def window_batches(
    windows: SeenWindows,
    config: NuNextConfig,
    vocabulary: Vocabulary,
    plan: NuNextPlan,
    steps: int,
    seed: int,
    start: int = 0,
) -> Iterator[NuNextBatch]:
    """Yield the batches from step ``start`` to the end of the run."""
    step = start
    rng = np.random.default_rng([seed, start])
    for share, size, count in plan.sizes:
        while step < round(share * steps):
            yield draw_windows(
                windows, config, vocabulary, plan, min(size, windows.size), count, rng
            )
            step += 1


def draw_windows(
    windows: SeenWindows,
    config: NuNextConfig,
    vocabulary: Vocabulary,
    plan: NuNextPlan,
    size: int,
    count: int,
    rng: np.random.Generator,
) -> NuNextBatch:
    """Draw windows, put them into the frame, and write the answers to them."""
    seen: list[Seen] = []
    corners, unions, answers, truths = [], [], [], []
    for _ in range(count):
        i, y, x = _place(windows, size, plan.sparse, rng)
        chosen = windows.inside(i, y, x, size)
        points = windows.points[i][chosen] - np.array([y, x], np.float64)
        classes = windows.classes[i][chosen]
        union = windows.labels[i, y : y + size, x : x + size] > 0
        part = Seen(*(_cut(v[i], y, x, size, windows.size) for v in windows.seen))
        for axis in (0, 1):
            if rng.random() < 0.5:
                part = Seen(*(v.flip(axis + 1) for v in part))
                union = np.flip(union, axis)
                points[:, axis] = size - points[:, axis]
        room = (config.sequence.frame - size) // CELL
        corner = CELL * rng.integers(0, room + 1, 2)
        seen.append(part)
        corners.append(corner)
        truths.append(points)
        unions.append(np.ascontiguousarray(union))
        answers.append(
            _answer(points + corner, classes, corner, size, config, vocabulary, plan, rng)
        )
    written, target, sets = _stacked(answers, config.n_classes, vocabulary)
    return NuNextBatch(
        Seen(*(torch.stack(v) for v in zip(*seen, strict=True))),
        torch.from_numpy(np.stack(corners)),
        written,
        target,
        sets,
        torch.from_numpy(np.stack(unions)),
        tuple(truths),
    )


def _place(
    windows: SeenWindows, size: int, sparse: float, rng: np.random.Generator
) -> tuple[int, int, int]:
    """Return a crop and where in it a window begins."""
    room = (windows.size - size) // CELL
    tries = 8 if rng.random() < sparse else 1
    drawn = []
    for _ in range(tries):
        i = int(rng.integers(len(windows)))
        y, x = (CELL * int(v) for v in rng.integers(0, room + 1, 2))
        drawn.append((int(windows.inside(i, y, x, size).sum()), (i, y, x)))
    return min(drawn)[1]


def _cut(value: Tensor, y: int, x: int, size: int, whole: int) -> Tensor:
    """Return a square of a map ``(c, h, w)`` of a crop of ``whole`` pixels."""
    stride = whole // value.shape[-1]
    a, b, n = y // stride, x // stride, size // stride
    return value[:, a : a + n, b : b + n].float()


@dataclass(frozen=True, eq=False)
class _Answer:
    """One answer: ``bins`` ``(n, 2)`` y and x, ``separator`` ``(n,)`` ids, ``target``
    ``(3 n + 1,)``, and ``sets`` ``(n, C)`` of its separators.
    """

    bins: NDArray[np.int64]
    separator: NDArray[np.int64]
    target: NDArray[np.int64]
    sets: NDArray[np.bool_]


def _answer(
    points: NDArray[np.float64],
    classes: NDArray[np.uint8],
    corner: NDArray[np.int64],
    size: int,
    config: NuNextConfig,
    vocabulary: Vocabulary,
    plan: NuNextPlan,
    rng: np.random.Generator,
) -> _Answer:
    """Write points in the frame with faults, and what is right after each of its tokens."""
    sequence = config.sequence
    k, frame, line = sequence.bins, sequence.frame, sequence.line
    order = reading_order(points, line)
    points, classes = points[order], classes[order]
    true = point_bins(points, frame, k)
    sets = class_sets(classes, config.n_classes).T.astype(bool).reshape(-1, config.n_classes)
    said = _entries(points, corner, size, line, plan, rng)
    off = np.round(rng.normal(0, plan.off, (len(said), 2))) * (k / frame)
    bins, separator, kinds = [], [], []
    target = [_next(true, 0, vocabulary, first=True)]
    after = 0
    for (index, place), shift in zip(said, off, strict=True):
        if index < 0:
            bins.append(point_bins(place, frame, k)[0])
            separator.append(vocabulary.separators[1 + int(rng.integers(config.n_classes))])
            kinds.append(np.zeros(config.n_classes, bool))
            target += [IGNORED, IGNORED]
        else:
            after = index + 1
            bins.append(np.clip(true[index] + shift, 0, k - 1).astype(np.int64))
            right = np.flatnonzero(sets[index])
            chosen = vocabulary.separators[1 + int(rng.choice(right))] if len(right) else IGNORED
            separator.append(chosen if len(right) else vocabulary.separators[0])
            kinds.append(sets[index])
            target += [vocabulary.coordinates[true[index, 0]], chosen]
        target.append(_next(true, after, vocabulary))
    return _Answer(
        np.array(bins, np.int64).reshape(-1, 2),
        np.array(separator, np.int64),
        np.array(target, np.int64),
        np.array(kinds, bool).reshape(-1, config.n_classes),
    )


def _next(true: NDArray[np.int64], index: int, vocabulary: Vocabulary, first: bool = False) -> int:
    """Return the token that comes next before true point ``index``."""
    if index < len(true):
        return vocabulary.coordinates[true[index, 1]]
    return vocabulary.none[0] if first else vocabulary.end


def _entries(
    points: NDArray[np.float64],
    corner: NDArray[np.int64],
    size: int,
    line: int,
    plan: NuNextPlan,
    rng: np.random.Generator,
) -> list[tuple[int, NDArray[np.float64]]]:
    """Return what is written, in order: true points by index, and others as −1 with their place."""
    kept = [(i, points[i]) for i in range(len(points)) if rng.random() >= plan.left_out]
    more = rng.binomial(max(len(points), 3), plan.added)
    kept += [
        (-1, place)
        for place in rng.random((more, 2)) * size + corner
        if not len(points) or np.linalg.norm(points - place, axis=1).min() > CELL
    ]
    if not kept:
        return []
    order = reading_order(np.array([place for _, place in kept]), line)
    return [kept[i] for i in order]


def _stacked(
    answers: list[_Answer], n_classes: int, vocabulary: Vocabulary
) -> tuple[Written, Tensor, Tensor]:
    """Return answers filled up to the longest."""
    batch, most = len(answers), max(len(a.bins) for a in answers)
    bins = torch.zeros((batch, most, 2), dtype=torch.long)
    separator = torch.full((batch, most), vocabulary.separators[0])
    target = torch.full((batch, 3 * most + 1), IGNORED)
    sets = torch.zeros((batch, 3 * most + 1, n_classes), dtype=torch.bool)
    for b, answer in enumerate(answers):
        n = len(answer.bins)
        bins[b, :n] = torch.from_numpy(answer.bins)
        separator[b, :n] = torch.from_numpy(answer.separator)
        target[b, : 3 * n + 1] = torch.from_numpy(answer.target)
        sets[b, 2 : 3 * n + 1 : 3] = torch.from_numpy(answer.sets)
    return Written(bins[..., 1], bins[..., 0], separator), target, sets
