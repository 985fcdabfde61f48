"""Quick scores of the NuNext nano on the development split, which select its checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from napari_nucleus.core.metrics import DetectionTable, detection_f1, detection_radius
from napari_nucleus.core.nuclei import Nuclei
from napari_nucleus.models.nunext.generation import generate
from napari_nucleus.models.nunext.guide import find_peaks
from napari_nucleus.models.nunext.network import NuNext, Seen
from napari_nucleus.models.working import normalise
from napari_nucleus.training.data import AnnotatedImage

__all__ = ["score_points"]

MPP = 0.25

MOST = 160
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
    kept: list[Seen] = []

    @torch.inference_mode()
    def score(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, NuNext)
        model.eval()
        device = next(model.parameters()).device
        if not kept:  # the encoder is frozen: it looks once
            kept.extend(model.see(_pixels(rgb, device)) for rgb, _ in pieces)
        found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"peaks": [], "words": [], "f1": []}
        sizes = torch.full((1, 2), window, device=device)
        for seen, (_, truth) in zip(kept, pieces, strict=True):
            looked = model.look(seen, sizes)
            found["peaks"].append((truth, _peaks(model, looked.heat, sizes)))
            for name, bias in (("words", 0.0), ("f1", 1.0)):
                answer = generate(model, looked, bias, most=MOST)
                yx = torch.stack([answer.written.y, answer.written.x], 2)[0, : answer.count[0]]
                found[name].append((truth, model.pixels_of(yx).cpu().numpy()))
        return {name: round(_f1(pairs), 4) for name, pairs in found.items()}

    return score


def _pixels(rgb: np.ndarray, device: torch.device) -> Tensor:
    pixels = torch.tensor(rgb, device=device).permute(2, 0, 1)[None].float() / 255
    return normalise(pixels).contiguous(memory_format=torch.channels_last)


def _peaks(model: NuNext, heat: Tensor, sizes: Tensor) -> np.ndarray:
    """Return the peaks of the map that count as nuclei ``(n, 2)``."""
    config = model.config
    peaks = find_peaks(heat, torch.zeros_like(sizes), config.guide, config.sequence)
    likely = peaks.probability[0] >= config.inference.peak
    return peaks.yx[0, likely].cpu().numpy()


def _f1(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Return F1 of true and found points, all windows together."""
    tables = []
    for truth, points in pairs:
        none = [np.zeros(len(p), int) for p in (truth, points)]
        tables.append(DetectionTable.of(truth, none[0], points, none[1], detection_radius(MPP)))
    return detection_f1(DetectionTable.concatenate(tables))
