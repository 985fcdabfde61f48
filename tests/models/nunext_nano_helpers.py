"""A NuNext nano of a few thousand parameters, and windows whose centres are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from uninuc_helpers import INFO, make_predictor

from napari_nucleus.models.nunext.config import (
    LanguageConfig,
    NuNextConfig,
    NuNextInference,
    SequenceConfig,
)
from napari_nucleus.models.nunext.network import Looked, NuNext, Seen
from napari_nucleus.models.nunext.predictor import NuNextPredictor
from napari_nucleus.training.targets import heatmap_of_points

TINY_NEXT = NuNextConfig(
    language=LanguageConfig(dim=32, heads=2, layers=2, ffn_dim=32, dropout=0.0, waves=16),
    sequence=SequenceConfig(bins=64, frame=64, line=16, latent=3, max_points=40),
    inference=NuNextInference(window=64, halo=8, batch=3, min_score=0.0, min_score_alone=0.0),
)


def make_next(config: NuNextConfig = TINY_NEXT, seed: int = 0) -> NuNext:
    segmenter = make_predictor(seed).network.segmenter
    torch.manual_seed(seed)
    return NuNext(config, segmenter).eval()


def silent(network: NuNext) -> NuNext:
    """Let the words say nothing, so that the guide alone decides: every peak is a nucleus."""
    with torch.no_grad():
        network.scale.zero_()
        network.pointer.offset.fill_(-20.0)
        network.guide.slope.fill_(6.0)
        network.guide.shift.fill_(12.0)
    return network


def seen_with(network: NuNext, points: np.ndarray, size: int, height: float = 12.0) -> Seen:
    """What an encoder would see that finds a centre at each of some points ``(n, 2)``, pixels."""
    half = heatmap_of_points(points / 2 - 0.5, (size // 2, size // 2), 1.0)
    centre = torch.from_numpy(half) * height - height / 2
    maps = torch.stack([centre, centre, torch.from_numpy(half)])[None]
    decoder = network.segmenter.config.decoder
    dims = (*decoder.fine_dims, decoder.dim)
    f0, f1, f2 = (torch.zeros(1, d, size >> s, size >> s) for s, d in enumerate(dims, 1))
    classes = torch.zeros(1, network.config.n_classes, size // 8, size // 8)
    return Seen(f0, f1, f2, maps, classes)


def looked_at(network: NuNext, points: np.ndarray, size: int) -> Looked:
    with torch.no_grad():
        return network.look(seen_with(network, points, size), torch.tensor([[size, size]]))


def make_next_predictor(seed: int = 0, **inference: object) -> NuNextPredictor:
    config = replace(TINY_NEXT, inference=replace(TINY_NEXT.inference, **inference))  # type: ignore[arg-type]
    info = replace(INFO, capabilities=("automatic", "points"))
    eyes = make_predictor(seed)
    torch.manual_seed(seed)
    network = NuNext(config, eyes.network.segmenter)
    return NuNextPredictor(network, info, "digest", eyes)
