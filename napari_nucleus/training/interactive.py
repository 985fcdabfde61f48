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
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_nucleus.core.geometry import Box, box_union, clip_box, pad_box
from napari_nucleus.core.image import ImageSource, check_mpp
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.core.prompts import Prompts
from napari_nucleus.errors import EditRefusedError
from napari_nucleus.hosting.local import calibrate_source, segment_source
from napari_nucleus.hosting.planning import click_tile
from napari_nucleus.models import zoo
from napari_nucleus.models.api import Calibration, PromptableSegmenter
from napari_nucleus.session import actions
from napari_nucleus.session.document import Document
from napari_nucleus.session.memory_store import MemoryStore
from napari_nucleus.training.cases import (
    TARGETS,
    Case,
    ClickCounts,
    Painted,
    msa_of_labels,
    msa_of_masks,
)
from napari_nucleus.training.data import evaluation_pairs, opened_pairs
from napari_nucleus.training.embeddings import Embeddings
from napari_nucleus.training.views import deepest

__all__ = [
    "Start",
    "evaluate_automatic_start",
    "evaluate_interactive",
    "evaluate_prompt_start",
]

Start = Literal["point", "box", "automatic"]

CORE_DEPTH = 0.5
"""Share of its greatest depth from which a click that takes away removes a nucleus."""


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
    embeddings = Embeddings(model, source, calibration)
    cases = _cases(model, source, calibration, true, start)
    scores = []
    for t in range(iterations):
        _answer_all(embeddings, cases)
        for case in cases:
            counts.tally(case)
        scores.append(msa_of_masks(true, [(c.mask, c.mask_box) for c in cases]))
        if t + 1 < iterations:
            for case in cases:
                _click_both(case, rng)
    for case in cases:
        counts.finish(case)
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
    embeddings = Embeddings(model, source, calibration)
    document = Document(MemoryStore(source.shape), model.info.classes, calibration.mpp)
    found = segment_source(model, source, calibration)
    height, width = source.shape
    with document.run("Segment image") as run:
        run.add_tile((0, 0, height, width), found)
    automatic = document.labels()
    cases = _cases(model, source, calibration, true, "point")
    history: list[list[Painted]] = []
    for case in cases:
        history.append(_correct_one(document, automatic, case, embeddings, iterations, counts, rng))
        counts.finish(case)
    later = (
        msa_of_masks(true, [steps[min(t, len(steps) - 1)] for steps in history])
        for t in range(1, iterations)
    )
    return [msa_of_labels(true, automatic), *later]


def _cases(
    model: PromptableSegmenter,
    source: ImageSource,
    calibration: Calibration,
    true: NDArray[np.integer],
    start: Start,
) -> list[Case]:
    """Return a case for each true nucleus, with its first prompt."""
    nuclei, _ = Nuclei.from_labels(true)
    cases = []
    for raw, mask in zip(nuclei.boxes, nuclei.masks, strict=True):
        box: Box = tuple(int(v) for v in raw)  # type: ignore[assignment]
        tile = click_tile(box, source.shape, model.info, calibration)
        if start == "box":
            prompts = Prompts(box=tuple(map(float, box)))  # type: ignore[arg-type]
        else:
            prompts = Prompts([deepest(mask) + np.array(box[:2])], [True])  # type: ignore[arg-type]
        cases.append(Case(mask, box, tile, prompts, spent=1))
    return cases


def _answer_all(embeddings: Embeddings, cases: Sequence[Case]) -> None:
    by_tile: dict[Box, list[Case]] = {}
    for case in cases:
        by_tile.setdefault(case.tile, []).append(case)
    for tile, members in by_tile.items():
        answers = embeddings.refine(tile, [c.prompts for c in members])
        for case, answer in zip(members, answers, strict=True):
            case.take(answer)


def _click_both(case: Case, rng: np.random.Generator) -> None:
    """Click once in what is missing and once in what is surplus, at random pixels."""
    box, truth, mask = case.window()
    for error, positive in ((truth & ~mask, True), (mask & ~truth, False)):
        pixels = np.argwhere(error)
        if len(pixels):
            point = pixels[rng.integers(len(pixels))] + np.array(box[:2]) + 0.5
            case.prompts = case.prompts.with_point(point, positive)
            case.spent += 1


def _correct_one(
    document: Document,
    automatic: NDArray[np.int32],
    case: Case,
    embeddings: Embeddings,
    iterations: int,
    counts: ClickCounts,
    rng: np.random.Generator,
) -> list[Painted]:
    """Correct one nucleus with single clicks; return its mask before and after each click."""
    nucleus = _match(automatic, case)
    case.spent = 0
    if nucleus is not None:
        case.mask, case.mask_box = document.mask(nucleus)
        case.prompts = Prompts()
    steps = [(case.mask, case.mask_box)]
    counts.tally(case)
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
            case.note()
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
        counts.tally(case)
        steps.append((case.mask, case.mask_box))
    counts.neighbours_changed += _changed_elsewhere(
        document, automatic, case, {nucleus or 0, *clicked_neighbours}
    )
    for _ in range(made):
        document.undo()
    return steps


def _worst_error(
    document: Document, case: Case, nucleus: int | None, rng: np.random.Generator
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
    case: Case,
    embeddings: Embeddings,
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


def _answer(embeddings: Embeddings, case: Case, prompts: Prompts) -> actions.Outline:
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


def _match(automatic: NDArray[np.int32], case: Case) -> int | None:
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
    document: Document, automatic: NDArray[np.int32], case: Case, meant: Collection[int]
) -> int:
    """Return how many pixels differ now of automatic nuclei that no click was meant for."""
    box = clip_box(pad_box(box_union(case.box, case.mask_box), 8), automatic.shape)  # type: ignore[arg-type]
    before = automatic[box[0] : box[2], box[1] : box[3]]
    others = (before > 0) & ~np.isin(before, list(meant))
    return int((document.labels(box)[others] != before[others]).sum())


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
    for name, source, labels in opened_pairs(pairs, mpp):
        rng = np.random.default_rng(seed)
        if start == "automatic":
            scores = evaluate_automatic_start(loaded, source, labels, iterations, counts, rng)
        else:
            scores = evaluate_prompt_start(loaded, source, labels, start, iterations, counts, rng)
        by_image[name] = [round(s, 4) for s in scores]
    means = np.mean(list(by_image.values()), axis=0)
    return {
        "msa": [round(float(v), 4) for v in means],
        "clicks": counts.summary(),
        "n_nuclei": len(counts.clicks_to[TARGETS[0]]),
        "images": by_image,
    }
