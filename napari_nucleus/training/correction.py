"""What the automatic result saves: user actions to correct it, against redrawing from nothing.

A simulated user (`simulated_user`) works on one document of the app until every true nucleus has
an IoU of `TARGET`, and removes what is no nucleus. He starts from the automatic result or from
nothing; from nothing, each nucleus is begun with a click.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.image import ImageSource, check_mpp
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.hosting.local import calibrate_source, segment_source
from napari_nucleus.models import zoo
from napari_nucleus.session.document import Document
from napari_nucleus.session.memory_store import MemoryStore
from napari_nucleus.session.tool import ASSUMED_MPP
from napari_nucleus.training.data import evaluation_pairs, opened_pairs
from napari_nucleus.training.desk import Desk
from napari_nucleus.training.embeddings import Embeddings
from napari_nucleus.training.simulated_user import TARGET, Means, SimulatedUser, Tallies

__all__ = ["MEANS", "STARTS", "Outcome", "Start", "correct_image", "evaluate_correction"]

Start = Literal["automatic", "nothing"]

STARTS: tuple[Start, ...] = ("automatic", "nothing")
MEANS: tuple[Means, ...] = ("all", "boxes", "clicks")

ROUNDS = 2
"""How often the user walks over all nuclei: correcting one may have spoilt another."""


@dataclass(frozen=True)
class Outcome:
    """What one session on an image came to.

    Parameters
    ----------
    spent
        ``(n,)`` actions on each true nucleus.
    first, last
        ``(n,)`` IoU of each before the first action and after the last.
    removals
        Actions that removed false nuclei.
    tallies
        Actions by kind and by tactic.
    neighbours_changed
        Pixels that answers of the model changed of nuclei that were not meant.
    """

    spent: NDArray[np.int64]
    first: NDArray[np.float64]
    last: NDArray[np.float64]
    removals: int
    tallies: Tallies
    neighbours_changed: int


def correct_image(
    embeddings: Embeddings,
    found: Nuclei | None,
    true: NDArray[np.int32],
    means: Means,
    seed: int,
) -> Outcome:
    """Have a simulated user correct one image.

    Parameters
    ----------
    embeddings
        The image and the model.
    found
        The automatic result to start from; None to start from nothing.
    true
        ``(H, W)`` label map.
    means
        What the user uses.
    seed
        Of the user's hand.
    """
    source, model = embeddings.source, embeddings.model
    mpp = embeddings.calibration.mpp
    document = Document(MemoryStore(source.shape), model.info.classes, mpp)  # type: ignore[arg-type]
    if found is not None:
        height, width = source.shape
        with document.run("Segment image") as run:
            run.add_tile((0, 0, height, width), found)
    desk = Desk(document, embeddings)
    user = SimulatedUser(
        desk, true, means, found is None, mpp or ASSUMED_MPP, np.random.default_rng(seed)
    )
    first = np.array([user.look(number).iou for number in user.boxes])
    removals = 0
    for nucleus in user.stray_nuclei():
        user.remove(nucleus)
        removals += 1
    for _ in range(ROUNDS):
        for number in user.boxes:
            user.correct(number)
    for nucleus in user.false_nuclei():
        user.remove(nucleus)
        removals += 1
    last = np.array([user.look(number).iou for number in user.boxes])
    spent = np.array([user.spent[number] for number in user.boxes], np.int64)
    return Outcome(spent, first, last, removals, user.tallies, desk.neighbours_changed)


def evaluate_correction(
    images: Path,
    truth: Path,
    model: str,
    means: Sequence[Means],
    mpp: float | None,
    seed: int,
    names: Sequence[str],
    device: str,
    weights: Path | None,
) -> dict[str, Any]:
    """Simulate the correction of a folder of annotated images, from both starts.

    Returns
    -------
    ``runs``: for each start and means, ``total`` (see `summary`), ``images`` (the same by name),
    ``kinds`` (actions by kind) and ``tactics`` (uses, mean IoU before and after each);
    ``ratios``: for each means, the mean actions from the automatic result by those from nothing;
    ``all_to_clicks``: all means from the automatic result by clicks alone from nothing.

    Raises
    ------
    NucleusError
        If the model, the pixel size or a file is not what it should be.
    """
    check_mpp(mpp, "--mpp")
    pairs = evaluation_pairs(images, names, truth)
    loaded = zoo.load_model(model, device, weights)
    outcomes: dict[tuple[Start, Means], dict[str, Outcome]] = defaultdict(dict)
    for name, source, labels in opened_pairs(pairs, mpp):
        true = labels.astype(np.int32)
        for (start, used), outcome in _sessions(loaded, source, true, means, seed):
            outcomes[start, used][name] = outcome
    runs = [
        {
            "start": start,
            "means": used,
            "total": summary(list(by_image.values())),
            "images": {name: summary([outcome]) for name, outcome in by_image.items()},
            **_actions(list(by_image.values())),
        }
        for (start, used), by_image in outcomes.items()
    ]
    mean = {(run["start"], run["means"]): run["total"]["mean"] for run in runs}
    out: dict[str, Any] = {
        "runs": runs,
        "ratios": {m: _ratio(mean["automatic", m], mean["nothing", m]) for m in means},
    }
    if "all" in means and "clicks" in means:
        out["all_to_clicks"] = _ratio(mean["automatic", "all"], mean["nothing", "clicks"])
    return out


def _sessions(
    model: Any, source: ImageSource, true: NDArray[np.int32], means: Sequence[Means], seed: int
) -> list[tuple[tuple[Start, Means], Outcome]]:
    """Run a session on an image for each start and means."""
    calibration = calibrate_source(model, source)
    found = segment_source(model, source, calibration)
    embeddings = Embeddings(model, source, calibration)
    return [
        (
            (start, used),
            correct_image(embeddings, found if start == "automatic" else None, true, used, seed),
        )
        for used in means
        for start in STARTS
    ]


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the figures of some sessions together.

    ``mean`` counts all actions, removals of false nuclei included, for each true nucleus;
    ``median`` and ``q90`` are over the nuclei that took any; ``none`` and ``never`` are the shares
    that were right from the start, and that are not right at the end.
    """
    spent = np.concatenate([o.spent for o in outcomes])
    first, last = (np.concatenate([getattr(o, k) for o in outcomes]) for k in ("first", "last"))
    removals = sum(o.removals for o in outcomes)
    n, worked = max(len(spent), 1), spent[spent > 0]
    return {
        "n_nuclei": len(spent),
        "mean": round(float((spent.sum() + removals) / n), 3),
        "removals": round(removals / n, 3),
        "median": float(np.median(worked)) if len(worked) else 0.0,
        "q90": float(np.quantile(worked, 0.9)) if len(worked) else 0.0,
        "none": round(float((first >= TARGET).sum() / n), 4),
        "never": round(float((last < TARGET).sum() / n), 4),
        "neighbour_pixels_changed": sum(o.neighbours_changed for o in outcomes),
    }


def _actions(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return actions by kind and by tactic."""
    kinds: Counter[str] = Counter()
    tactics: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for outcome in outcomes:
        kinds.update(outcome.tallies.kinds)
        for name, uses in outcome.tallies.tactics.items():
            tactics[name].extend(uses)
    return {
        "kinds": dict(kinds.most_common()),
        "tactics": {
            name: {
                "uses": len(uses),
                "iou_before": round(float(np.mean([u[0] for u in uses])), 3),
                "iou_after": round(float(np.mean([u[1] for u in uses])), 3),
            }
            for name, uses in sorted(tactics.items(), key=lambda item: -len(item[1]))
        },
    }


def _ratio(a: float, b: float) -> float | None:
    return round(a / b, 3) if b else None
