"""Quick scores of the NuNext nano on the development split, which select its checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from napari_nucleus.core.metrics import DetectionTable, detection_f1, detection_radius
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.models.nunext.generation import generate
from napari_nucleus.models.nunext.guide import Peaks
from napari_nucleus.models.nunext.network import Looked, NuNext, Seen
from napari_nucleus.training.batches import network_pixels_of
from napari_nucleus.training.data import AnnotatedImage

__all__ = ["score_points"]

MPP = 0.25

TOGETHER = 5
"""Windows that are written at a time."""

MOST = 120
"""Points after which an answer to a window is cut off: at first a network does not know to end."""


def score_points(
    images: Sequence[AnnotatedImage], window: int = 256, every: int = 3
) -> Callable[[nn.Module], dict[str, float]]:
    """Return a function that scores what is written on windows of the development images.

    F1 within 3 µm of all windows together: ``peaks`` of the map of centres alone, ``words``
    without the guide, ``f1`` with it.
    """
    pieces = []
    for image in images:
        whole = Nuclei.from_labels(image.labels)[0].centroids_yx
        height, width = image.labels.shape
        corners = [
            (y, x)
            for y in range(0, height - window + 1, window)
            for x in range(0, width - window + 1, window)
        ]
        for y, x in corners[::every]:
            local = whole - (y, x)
            inside = ((local >= 0) & (local < window)).all(axis=1)
            pieces.append((image.rgb[y : y + window, x : x + window], local[inside]))
    groups = [pieces[i : i + TOGETHER] for i in range(0, len(pieces), TOGETHER)]
    kept: list[Seen] = []

    @torch.inference_mode()
    def score(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, NuNext)
        model.eval()
        device = next(model.parameters()).device
        if not kept:  # the encoder is frozen: it looks once
            kept.extend(
                model.see(network_pixels_of([rgb for rgb, _ in some], device)) for some in groups
            )
        found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"peaks": [], "words": [], "f1": []}
        for seen, some in zip(kept, groups, strict=True):
            truths = [truth for _, truth in some]
            looked = model.look(seen, torch.full((len(some), 2), window, device=device))
            looked = looked._replace(peaks=looked.peaks.likely(model.config.inference.peak))
            found["peaks"] += zip(truths, _placed(looked.peaks), strict=True)
            for name, bias in (("words", 0.0), ("f1", model.config.inference.bias)):
                found[name] += zip(truths, _written(model, looked, bias), strict=True)
        return {name: round(_f1(pairs), 4) for name, pairs in found.items()}

    return score


def _placed(peaks: Peaks) -> list[np.ndarray]:
    """Return where the peaks of each window are ``(n, 2)``."""
    return [
        yx[likely].cpu().numpy()
        for yx, likely in zip(peaks.yx, peaks.logit > -torch.inf, strict=True)
    ]


def _written(model: NuNext, looked: Looked, bias: float) -> list[np.ndarray]:
    """Return the points ``(n, 2)`` that are written on each window."""
    answer = generate(model, looked, bias, most=MOST)
    yx = model.pixels_of(torch.stack([answer.written.y, answer.written.x], 2)).cpu().numpy()
    return [points[:n] for points, n in zip(yx, answer.count.tolist(), strict=True)]


def _f1(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Return F1 of true and found points, all windows together."""
    tables = []
    for truth, points in pairs:
        none = [np.zeros(len(p), int) for p in (truth, points)]
        tables.append(DetectionTable.of(truth, none[0], points, none[1], detection_radius(MPP)))
    return detection_f1(DetectionTable.concatenate(tables))
