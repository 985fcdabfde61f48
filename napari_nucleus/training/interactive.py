"""How well a model is corrected: simulated clicks on every nucleus of annotated images.

The protocol of PathoSAM and UniNuc: start from a point or the true box, then in each round one
random click in what is missing and one in what is surplus, answers fed back; the masks of each
round are painted into one map (large before small, nothing overwritten) and scored by mSA.
Starting from the automatic result instead, one click a round is placed in the larger error and
every answer goes through the document's own actions, as in the app: that measures what a user of
the app gets, clicks per nucleus included, and whether neighbours change.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_nucleus.core.geometry import Box, box_union, clip_box, pad_box
from napari_nucleus.core.image import ImageSource, check_mpp
from napari_nucleus.core.metrics import OverlapTable, mean_segmentation_accuracy
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.prompts import MaskPrediction, Prompts
from napari_nucleus.errors import EditRefusedError
from napari_nucleus.hosting.local import calibrate_source, segment_source
from napari_nucleus.hosting.planning import click_tile, read_tile
from napari_nucleus.io.images import open_image
from napari_nucleus.io.labels import read_labels
from napari_nucleus.models import zoo
from napari_nucleus.models.api import Calibration, Embedding, PromptableSegmenter
from napari_nucleus.session import actions
from napari_nucleus.session.document import Document
from napari_nucleus.session.store import MemoryStore
from napari_nucleus.training.data import evaluation_pairs

__all__ = [
    "ClickCounts",
    "Start",
    "evaluate_automatic_start",
    "evaluate_interactive",
    "evaluate_prompt_start",
]

Start = Literal["point", "box", "automatic"]

TARGETS = (0.80, 0.85, 0.90)
"""IoUs to which clicks are counted."""

CORE_DEPTH = 0.5
"""Share of its greatest depth from which a click that takes away removes a nucleus."""


@dataclass
class ClickCounts:
    """Tallies over all nuclei and clicks.

    Attributes
    ----------
    clicks_to
        For each IoU target, the clicks each nucleus took; None where it was never reached.
    positive, positive_inside, negative, negative_outside
        Clicks of each sign, and those whose pixel ended on its side.
    clicks, lowered
        Rounds in which clicks were given, and those after which the IoU was lower by more than a
        thousandth.
    neighbours_changed
        Pixels of other nuclei that any correction changed.
    """

    clicks_to: dict[float, list[int | None]] = field(
        default_factory=lambda: {t: [] for t in TARGETS}
    )
    positive: int = 0
    positive_inside: int = 0
    negative: int = 0
    negative_outside: int = 0
    clicks: int = 0
    lowered: int = 0
    neighbours_changed: int = 0

    def summary(self) -> dict[str, Any]:
        """Return rates and medians; nuclei that never reach a target count as the worst."""
        out: dict[str, Any] = {}
        for target, counts in self.clicks_to.items():
            reached = [c for c in counts if c is not None]
            padded = sorted(reached) + [np.inf] * (len(counts) - len(reached))
            median = float(np.median(padded)) if padded else None
            out[f"clicks_to_{target:.2f}"] = {
                "median": None if median is None or not np.isfinite(median) else median,
                "mean_of_reached": round(float(np.mean(reached)), 3) if reached else None,
                "never": round(1 - len(reached) / max(len(counts), 1), 4),
            }
        out["positive_inside"] = round(self.positive_inside / max(self.positive, 1), 4)
        out["negative_outside"] = round(self.negative_outside / max(self.negative, 1), 4)
        out["lowered"] = round(self.lowered / max(self.clicks, 1), 4)
        out["neighbour_pixels_changed"] = self.neighbours_changed
        return out


@dataclass
class _Case:
    """One nucleus under correction; coordinates are level-0 pixels."""

    truth: NDArray[np.bool_]
    box: Box
    tile: Box
    prompts: Prompts
    mask: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0), bool))
    mask_box: Box = (0, 0, 0, 0)
    spent: int = 0
    ious: list[float] = field(default_factory=list)
    spent_at: list[int] = field(default_factory=list)

    def take(self, answer: MaskPrediction) -> None:
        self.mask, self.mask_box = answer.mask, answer.box
        self.prompts = self.prompts.with_logits(answer.logits)

    def window(self) -> tuple[Box, NDArray[np.bool_], NDArray[np.bool_]]:
        """Return a common box with truth and mask in it."""
        box = box_union(self.box, self.mask_box) if self.mask.any() else self.box
        return box, _placed(self.truth, self.box, box), _placed(self.mask, self.mask_box, box)

    def iou(self) -> float:
        _, truth, mask = self.window()
        return float((truth & mask).sum() / max((truth | mask).sum(), 1))


class _Embeddings:
    """Embeddings of an image's click tiles, made when first needed."""

    def __init__(
        self, model: PromptableSegmenter, source: ImageSource, calibration: Calibration
    ) -> None:
        self.model, self.source, self.calibration = model, source, calibration
        self._made: dict[Box, Embedding] = {}

    def refine(self, tile: Box, prompts: Sequence[Prompts]) -> list[MaskPrediction]:
        if tile not in self._made:
            piece = read_tile(self.source, tile, self.calibration.mpp)
            self._made[tile] = self.model.embed(piece, self.calibration)
        y, x = tile[:2]
        local = [p.shifted(-y, -x) for p in prompts]
        return [a.shifted(y, x) for a in self.model.refine_many(self._made[tile], local)]


def evaluate_prompt_start(
    model: PromptableSegmenter,
    source: ImageSource,
    true: NDArray[np.integer],
    start: Literal["point", "box"],
    iterations: int,
    counts: ClickCounts,
    rng: np.random.Generator,
) -> list[float]:
    """Return the mSA of ``iterations`` rounds on one image, from points or boxes.

    Parameters
    ----------
    true
        ``(H, W)`` label map of the image.
    counts
        Tallies, added to.
    """
    calibration = calibrate_source(model, source)
    embeddings = _Embeddings(model, source, calibration)
    cases = _cases(model, source, calibration, true, start)
    scores = []
    for t in range(iterations):
        _answer_all(embeddings, cases)
        for case in cases:
            _tally(case, counts)
        scores.append(_map_score(true, cases))
        if t + 1 < iterations:
            for case in cases:
                _click_both(case, rng)
    for case in cases:
        _count_clicks(case, counts)
    return scores


def evaluate_automatic_start(
    model: Any,
    source: ImageSource,
    true: NDArray[np.integer],
    iterations: int,
    counts: ClickCounts,
    rng: np.random.Generator,
) -> list[float]:
    """Return the mSA after 0, 1, … clicks on each nucleus that the automatic result got wrong.

    Each nucleus is corrected on its own from the same automatic document, through the actions of
    the app; then its edits are undone. A nucleus that was not found costs one click to add.
    """
    calibration = calibrate_source(model, source)
    embeddings = _Embeddings(model, source, calibration)
    document = Document(MemoryStore(source.shape), model.info.classes, calibration.mpp)
    found = segment_source(model, source, calibration)
    height, width = source.shape
    with document.run("Segment image") as run:
        run.add_tile((0, 0, height, width), found)
    automatic = document.labels()
    cases = _cases(model, source, calibration, true, "point")
    history: list[list[tuple[NDArray[np.bool_], Box]]] = []
    for case in cases:
        history.append(_correct_one(document, automatic, case, embeddings, iterations, counts, rng))
        _count_clicks(case, counts)
    later = (
        _painted_score(true, [steps[min(t, len(steps) - 1)] for steps in history])
        for t in range(1, iterations)
    )
    return [_score_of(true, automatic), *later]


def _cases(
    model: PromptableSegmenter,
    source: ImageSource,
    calibration: Calibration,
    true: NDArray[np.integer],
    start: Start,
) -> list[_Case]:
    """Return a case for each true nucleus, with its first prompt."""
    nuclei, _ = Nuclei.from_labels(true)
    cases = []
    for raw, mask in zip(nuclei.boxes, nuclei.masks, strict=True):
        box: Box = tuple(int(v) for v in raw)  # type: ignore[assignment]
        tile = click_tile(box, source.shape, model.info, calibration)
        if start == "box":
            prompts = Prompts(box=tuple(map(float, box)))  # type: ignore[arg-type]
        else:
            prompts = Prompts([_deepest(mask) + np.array(box[:2])], [True])  # type: ignore[arg-type]
        cases.append(_Case(mask, box, tile, prompts, spent=1))
    return cases


def _deepest(mask: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Return the centre of the pixel deepest inside a mask."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    return np.array(np.unravel_index(int(np.argmax(depth)), depth.shape)) + 0.5


def _answer_all(embeddings: _Embeddings, cases: Sequence[_Case]) -> None:
    by_tile: dict[Box, list[_Case]] = {}
    for case in cases:
        by_tile.setdefault(case.tile, []).append(case)
    for tile, members in by_tile.items():
        answers = embeddings.refine(tile, [c.prompts for c in members])
        for case, answer in zip(members, answers, strict=True):
            case.take(answer)


def _click_both(case: _Case, rng: np.random.Generator) -> None:
    """Click once in what is missing and once in what is surplus, at random pixels."""
    box, truth, mask = case.window()
    for error, positive in ((truth & ~mask, True), (mask & ~truth, False)):
        pixels = np.argwhere(error)
        if len(pixels):
            point = pixels[rng.integers(len(pixels))] + np.array(box[:2]) + 0.5
            case.prompts = case.prompts.with_point(point, positive)
            case.spent += 1


def _tally(case: _Case, counts: ClickCounts) -> None:
    """Note the IoU reached, and whether the last clicks were obeyed and helped."""
    _note(case)
    if len(case.ious) > 1 and case.spent_at[-1] > case.spent_at[-2]:
        counts.clicks += 1
        counts.lowered += case.ious[-1] < case.ious[-2] - 1e-3
        for k in range(case.spent_at[-2] - case.spent_at[-1], 0):
            _tally_obedience(
                case, case.prompts.points_yx[k], bool(case.prompts.positive[k]), counts
            )


def _note(case: _Case) -> None:
    case.ious.append(case.iou())
    case.spent_at.append(case.spent)


def _tally_obedience(
    case: _Case, point: NDArray[np.float64], positive: bool, counts: ClickCounts
) -> None:
    r, c = np.floor(point).astype(int) - np.array(case.mask_box[:2])
    h, w = case.mask.shape
    inside = bool(0 <= r < h and 0 <= c < w and case.mask[r, c])
    if positive:
        counts.positive += 1
        counts.positive_inside += inside
    else:
        counts.negative += 1
        counts.negative_outside += not inside


def _count_clicks(case: _Case, counts: ClickCounts) -> None:
    for target, reached in counts.clicks_to.items():
        first = next((i for i, iou in enumerate(case.ious) if iou >= target), None)
        reached.append(None if first is None else case.spent_at[first])


def _correct_one(
    document: Document,
    automatic: NDArray[np.int32],
    case: _Case,
    embeddings: _Embeddings,
    iterations: int,
    counts: ClickCounts,
    rng: np.random.Generator,
) -> list[tuple[NDArray[np.bool_], Box]]:
    """Correct one nucleus with single clicks; return its mask before and after each click."""
    nucleus = _match(automatic, case)
    case.spent = 0
    if nucleus is not None:
        case.mask, case.mask_box = document.mask(nucleus)
        case.prompts = Prompts()
    steps = [(case.mask, case.mask_box)]
    _tally(case, counts)
    made = 0
    clicked_neighbours: set[int] = set()
    for _ in range(1, iterations):
        if case.ious[-1] >= TARGETS[-1]:
            break
        case.spent += 1
        point, kind = _worst_error(document, case, nucleus, rng)
        if kind == "taken":
            neighbour = _owner(document, point)
            clicked_neighbours.add(neighbour)
            made += _take_from(document, neighbour, point, case, embeddings)
            _note(case)
            counts.negative += 1
            counts.negative_outside += _owner(document, point) != neighbour
            steps.append((case.mask, case.mask_box))
            continue
        if nucleus is None:
            prompts = case.prompts
        else:
            prompts = _earlier(document, nucleus).with_point(point, kind == "missing")
        case.prompts = Prompts(prompts.points_yx, prompts.positive)
        outline = _answer(embeddings, case, prompts)
        try:
            if nucleus is None:
                nucleus = actions.add(document, outline).ids[0]
            else:
                actions.refine(document, nucleus, outline)
            made += 1
        except EditRefusedError:
            pass
        if nucleus is not None:
            case.mask, case.mask_box = document.mask(nucleus)
        _tally(case, counts)
        steps.append((case.mask, case.mask_box))
    counts.neighbours_changed += _changed_elsewhere(
        document, automatic, case, {nucleus or 0, *clicked_neighbours}
    )
    for _ in range(made):
        document.undo()
    return steps


def _worst_error(
    document: Document, case: _Case, nucleus: int | None, rng: np.random.Generator
) -> tuple[NDArray[np.float64], str]:
    """Return where a user would click next, and what is wrong there.

    ``"missing"`` from the nucleus on background, ``"surplus"`` of it, or ``"taken"`` by another
    nucleus, from which it must be taken away first: a click inside a nucleus only selects it. A
    nucleus that is not there yet is clicked at its deepest pixel, unless another one holds that.
    """
    box, truth, mask = case.window()
    owners = document.labels(box)
    if nucleus is None:
        point = case.prompts.points_yx[0]
        return point, "taken" if _owner(document, point) else "missing"
    errors = {
        "missing": truth & (owners == 0),
        "surplus": mask & ~truth,
        "taken": truth & (owners != 0) & (owners != nucleus),
    }
    kind = max(errors, key=lambda name: int(errors[name].sum()))
    pixels = np.argwhere(errors[kind])
    return pixels[rng.integers(len(pixels))] + np.array(box[:2]) + 0.5, kind


def _take_from(
    document: Document,
    neighbour: int,
    point: NDArray[np.float64],
    case: _Case,
    embeddings: _Embeddings,
) -> bool:
    """Ctrl-click into a neighbour: its core removes it, its rim is carved; return if it changed."""
    mask, box = document.mask(neighbour)
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    r, c = np.floor(point).astype(int) - np.array(box[:2])
    try:
        if depth[r, c] >= CORE_DEPTH * depth.max():
            actions.remove(document, [neighbour])
        else:
            prompts = _earlier(document, neighbour).with_point(point, False)
            actions.refine(document, neighbour, _answer(embeddings, case, prompts))
    except EditRefusedError:
        return False
    return True


def _answer(embeddings: _Embeddings, case: _Case, prompts: Prompts) -> actions.Outline:
    answer = embeddings.refine(case.tile, [prompts])[0]
    given = Prompts(prompts.points_yx, prompts.positive)
    return actions.Outline(
        answer.mask, answer.box, iou=answer.iou, prompts=given, logits=answer.logits
    )


def _earlier(document: Document, nucleus: int) -> Prompts:
    """Return a nucleus' clicks with its logits, or with its mask where it has none."""
    given = document.prompts(nucleus)
    logits = document.logits(nucleus)
    if logits is not None:
        return Prompts(given.points_yx, given.positive, logits=logits)
    mask, box = document.mask(nucleus)
    return Prompts(given.points_yx, given.positive, mask=mask, mask_box=box)


def _owner(document: Document, point: NDArray[np.float64]) -> int:
    """Return the nucleus at a point, 0 for none."""
    return document.id_at(point) or 0


def _match(automatic: NDArray[np.int32], case: _Case) -> int | None:
    """Return the automatic nucleus that shares most pixels with the true one, if it is its own.

    A nucleus of which less than half lies in the truth, and which covers less than half of the
    truth, belongs to somebody else.
    """
    y0, x0, y1, x1 = case.box
    under = automatic[y0:y1, x0:x1][case.truth]
    ids, shared = np.unique(under[under > 0], return_counts=True)
    if not len(ids):
        return None
    best = int(ids[shared.argmax()])
    common = int(shared.max())
    near = clip_box(pad_box(case.box, 64), automatic.shape)  # type: ignore[arg-type]
    area = int((automatic[near[0] : near[2], near[1] : near[3]] == best).sum())
    return best if common >= 0.5 * area or common >= 0.5 * case.truth.sum() else None


def _changed_elsewhere(
    document: Document, automatic: NDArray[np.int32], case: _Case, meant: Collection[int]
) -> int:
    """Return how many pixels differ now of automatic nuclei that no click was meant for."""
    box = clip_box(pad_box(box_union(case.box, case.mask_box), 8), automatic.shape)  # type: ignore[arg-type]
    before = automatic[box[0] : box[2], box[1] : box[3]]
    others = (before > 0) & ~np.isin(before, list(meant))
    return int((document.labels(box)[others] != before[others]).sum())


def _placed(mask: NDArray[np.bool_], box: Box, into: Box) -> NDArray[np.bool_]:
    out = np.zeros((into[2] - into[0], into[3] - into[1]), bool)
    if mask.size:
        y, x = box[0] - into[0], box[1] - into[1]
        out[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
    return out


def _map_score(true: NDArray[np.integer], cases: Sequence[_Case]) -> float:
    return _painted_score(true, [(c.mask, c.mask_box) for c in cases])


def _painted_score(
    true: NDArray[np.integer], masks: Sequence[tuple[NDArray[np.bool_], Box]]
) -> float:
    """Return the mSA of masks painted from large to small, each on free pixels only."""
    labels = np.zeros(true.shape, np.int32)
    areas = [int(mask.sum()) for mask, _ in masks]
    for number, i in enumerate(np.argsort(areas)[::-1], start=1):
        mask, box = masks[i]
        if not mask.size:
            continue
        y0, x0, y1, x1 = clip_box(box, true.shape)  # type: ignore[arg-type]
        part = mask[y0 - box[0] : y1 - box[0], x0 - box[1] : x1 - box[1]]
        place = labels[y0:y1, x0:x1]
        place[part & (place == 0)] = number
    return _score_of(true, labels)


def _score_of(true: NDArray[np.integer], labels: NDArray[np.int32]) -> float:
    return float(mean_segmentation_accuracy(OverlapTable.of(true, _parts(labels))))


def _parts(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Give every connected part of every nucleus an id of its own."""
    out = np.zeros_like(labels)
    n = 0
    for number, where in enumerate(ndimage.find_objects(labels), start=1):
        if where is None:
            continue
        parts, count = ndimage.label(labels[where] == number)
        out[where] = np.where(parts > 0, parts + n, out[where])
        n += count
    return out


def evaluate_interactive(
    images: Path,
    truth: Path,
    model: str,
    start: Start,
    iterations: int,
    mpp: float | None,
    seed: int,
    names: Sequence[str],
    device: str,
    weights: Path | None,
) -> dict[str, Any]:
    """Simulate corrections on a folder of annotated images.

    Returns
    -------
    ``msa`` (mean over images, for each round), ``images`` (by name), ``clicks`` (see
    `ClickCounts.summary`), ``n_nuclei``.

    Raises
    ------
    NucleusError
        If the model, the pixel size or a file is not what it should be.
    """
    check_mpp(mpp, "--mpp")
    pairs = evaluation_pairs(images, names, truth)
    loaded = zoo.load_model(model, device, weights)
    counts = ClickCounts()
    by_image: dict[str, list[float]] = {}
    for image_file, label_file in pairs:
        source = open_image(image_file, mpp)
        labels = read_labels(label_file, source.shape).labels
        rng = np.random.default_rng(seed)
        if start == "automatic":
            scores = evaluate_automatic_start(loaded, source, labels, iterations, counts, rng)
        else:
            scores = evaluate_prompt_start(loaded, source, labels, start, iterations, counts, rng)
        by_image[image_file.stem] = [round(s, 4) for s in scores]
    means = np.mean(list(by_image.values()), axis=0)
    return {
        "msa": [round(float(v), 4) for v in means],
        "clicks": counts.summary(),
        "n_nuclei": len(counts.clicks_to[TARGETS[0]]),
        "images": by_image,
    }
