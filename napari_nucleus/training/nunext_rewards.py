"""What a sequence of points is worth (MODELS.md C.3): its form, its points, and their masks.

A malformed sequence is worth nothing. Any other is worth the F1 of its points and γ times the
panoptic quality of the masks that a frozen segmenter makes of them. Which points are nuclei is told
too: each nucleus is found once, so that a duplicate is a wrong point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from napari_nucleus.core.matching import match_points
from napari_nucleus.core.metrics import OverlapTable, panoptic_quality
from napari_nucleus.models.nunext.losses import GrpoConfig
from napari_nucleus.models.nunext.tokens import Vocabulary, decode_points, is_well_formed
from napari_nucleus.training.grpo import Verdict

__all__ = [
    "Masks",
    "Reward",
    "Truth",
    "detection_of",
    "points_of_tokens",
    "quality_of",
    "reward_of",
    "verdict",
]

Masks = Callable[[NDArray[np.float64]], NDArray[np.integer]]
"""Takes points ``(n, 2)`` in pixels, y before x, and returns a label map ``(H, W)`` of them."""


@dataclass(frozen=True, eq=False, slots=True)
class Truth:
    """The nuclei of an image.

    Parameters
    ----------
    yx
        ``(m, 2)`` centres in pixels of the image.
    size
        Side, or height and width, of what the bins of a sequence span, in pixels.
    labels
        ``(H, W)`` label map; wanted where masks are rewarded.
    mpp
        µm per pixel.
    """

    yx: NDArray[np.float64]
    size: float | tuple[float, float]
    labels: NDArray[np.integer] | None = None
    mpp: float = 0.25


@dataclass(frozen=True, eq=False, slots=True)
class Reward:
    """What one sequence is worth.

    Parameters
    ----------
    value
        What it is rewarded with.
    well_formed
        Whether it is a list of points at all.
    detection, quality
        F1 of the points, and panoptic quality of their masks; 0 where not looked at.
    hit
        ``(n,)`` bool, the points that are nuclei.
    """

    value: float
    well_formed: bool
    detection: float
    quality: float
    hit: NDArray[np.bool_]


def quality_of(true: NDArray[np.integer], points: NDArray[np.float64], masks: Masks) -> float:
    """Return the panoptic quality of the masks of points ``(n, 2)`` against a label map.

    1 if there are neither nuclei nor points, 0 if there are only the ones, whatever masks the
    others make.
    """
    if not true.any() or not len(points):
        return float(not true.any() and not len(points))
    return panoptic_quality(OverlapTable.of(true, masks(points))).pq


def detection_of(
    true_yx: ArrayLike, pred_yx: ArrayLike, radius: float
) -> tuple[float, NDArray[np.bool_]]:
    """Return the F1 of points, and which of them are nuclei, ``(n,)``.

    All points of the smaller set are paired at the least total distance, then pairs farther apart
    than ``radius`` pixels count as unpaired. F1 is 1 if both sets are empty, 0 if one is.
    """
    true, pred = np.reshape(true_yx, (-1, 2)), np.reshape(pred_yx, (-1, 2))
    hit = np.zeros(len(pred), bool)
    hit[match_points(true, pred, radius)[1]] = True
    if not len(true) and not len(pred):
        return 1.0, hit
    return 2 * int(hit.sum()) / (len(true) + len(pred)), hit


def reward_of(
    ids: Sequence[int],
    truth: Truth,
    vocabulary: Vocabulary,
    config: GrpoConfig,
    masks: Masks | None = None,
) -> Reward:
    """Return what one sequence is worth.

    Parameters
    ----------
    ids
        Tokens, with the latent ones before the answer or without.
    masks
        The frozen segmenter; wanted if the reward is ``"task"``.
    """
    if not is_well_formed(ids, vocabulary):
        return Reward(0.0, False, 0.0, 0.0, np.zeros(0, bool))
    points, _ = decode_points(ids, vocabulary, truth.size)
    detection, hit = detection_of(truth.yx, points, config.radius_um / truth.mpp)
    if config.reward == "format":
        return Reward(1.0, True, detection, 0.0, hit)
    if config.reward == "detection":
        return Reward(detection, True, detection, 0.0, hit)
    if masks is None or truth.labels is None:
        raise ValueError("to reward masks takes a segmenter and a label map")
    quality = quality_of(truth.labels, points, masks)
    return Reward(detection + config.gamma * quality, True, detection, quality, hit)


def points_of_tokens(ids: Sequence[int], vocabulary: Vocabulary) -> NDArray[np.int64]:
    """Return which point each token of an answer belongs to, ``(L,)``, −1 for none.

    x, y and the separator after them are a point's; nothing is in a malformed answer.
    """
    owner = np.full(len(ids), -1)
    if not is_well_formed(ids, vocabulary) or vocabulary.none[0] in ids:
        return owner
    first, last = list(ids).index(vocabulary.begin) + 1, list(ids).index(vocabulary.end)
    owner[first:last] = np.arange(last - first) // 3
    return owner


def verdict(
    tokens: Tensor,
    truth: Truth,
    vocabulary: Vocabulary,
    config: GrpoConfig,
    masks: Masks | None = None,
) -> Verdict:
    """Judge the sequences ``(G, L)`` of one image, padded with ``stop``."""
    rows = tokens.tolist()
    rewards = [reward_of(ids, truth, vocabulary, config, masks) for ids in rows]
    most = max(len(r.hit) for r in rewards)
    hit = np.zeros((len(rows), most), bool)
    for row, reward in zip(hit, rewards, strict=True):
        row[: len(reward.hit)] = reward.hit
    owners = np.stack([points_of_tokens(ids, vocabulary) for ids in rows])
    told: dict[str, Any] = {
        "well_formed": [r.well_formed for r in rewards],
        "f1": [r.detection for r in rewards],
        "pq": [r.quality for r in rewards],
        "points": [len(r.hit) for r in rewards],
    }
    return Verdict(
        torch.tensor([r.value for r in rewards], dtype=torch.float32, device=tokens.device),
        torch.from_numpy(hit).to(tokens.device),
        torch.from_numpy(owners).to(tokens.device),
        {name: float(np.mean(values)) for name, values in told.items()},
    )
