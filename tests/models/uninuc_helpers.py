"""A UniNuc of a few thousand parameters, and tiles to show it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.models.api import Calibration, ModelInfo
from napari_nucleus.models.uninuc.config import (
    DecoderConfig,
    DenseConfig,
    DetectorConfig,
    EncoderConfig,
    InferenceConfig,
    UniNucConfig,
)
from napari_nucleus.models.uninuc.network import UniNuc
from napari_nucleus.models.uninuc.predictor import UniNucPredictor

TINY = UniNucConfig(
    encoder=EncoderConfig(
        embed_dim=8,
        heads=1,
        stages=(1, 1, 1),
        windows=(2, 2, 2),
        global_blocks=(),
        background_grid=2,
        stem_dim=8,
        stem_blocks=1,
        neck_dims=(8, 16, 16, 16),
        top_down=(0, 1, 2),
        neck_blocks=1,
        kept_levels=4,
    ),
    decoder=DecoderConfig(
        dim=16,
        fine_dims=(8, 8),
        heads=2,
        mlp_dim=32,
        hq_dim=8,
        raster_prompts=True,
        refine_dims=(8, 16),
        crop_grid=16,
        crop_windows=(32, 64),
    ),
    dense=DenseConfig(dim=8),
    detector=DetectorConfig(
        backbone="shared",
        levels=(1, 2),
        dim=16,
        heads=2,
        layers=2,
        ffn_dim=32,
        cross_heads=4,
        points=2,
        c2f_blocks=0,
        queries=40,
        query_area=64 * 64,
        groups=2,
        base_size=12.0,
        reference_px=64.0,
        slot_queries=False,
    ),
    inference=InferenceConfig(
        tile=64, halo=16, click_tile=64, score_threshold=0.0, peak_score=1.0, flips=2
    ),
)
"""The nano in small: stem, raster prompts, hourglass, shared detector; nothing is filtered out."""

INFO = ModelInfo(
    name="tiny",
    title="A tiny UniNuc",
    capabilities=("automatic", "promptable"),
    classes=PANNUKE,
    working_mpp=0.25,
    tile=64,
    halo=16,
    click_tile=64,
    licence="none",
    source="bundled",
)


def make_network(config: UniNucConfig = TINY, seed: int = 0, spread: float = 3.0) -> UniNuc:
    """A network with random weights; heads that start at zero get weights as well."""
    torch.manual_seed(seed)
    network = UniNuc(config).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "hf_mlp" in name or "hq.raster" in name or "bbox_embed" in name:
                parameter.normal_(0, 0.1)
        for mlp in network.segmenter.mask_decoder.output_hypernetworks_mlps:
            mlp.layers[-1].weight.mul_(spread)
    return network


def make_predictor(seed: int = 0, **inference: object) -> UniNucPredictor:
    config = replace(TINY, inference=replace(TINY.inference, **inference))  # type: ignore[arg-type]
    return UniNucPredictor(make_network(config, seed), INFO, "digest", None)


def at_scale(scale: float) -> Calibration:
    return Calibration(scale, 0.25 * scale)


def tissue(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Pink noise with dark blue discs; any size."""
    rng = np.random.default_rng(seed)
    h, w = shape
    rgb = np.array([225.0, 170.0, 200.0]) + rng.normal(0, 12, (h, w, 1))
    rows, cols = np.indices(shape)
    for _ in range(max(h * w // 400, 1)):
        y, x, r = rng.uniform(0, h), rng.uniform(0, w), rng.uniform(4, 8)
        rgb[(rows - y) ** 2 + (cols - x) ** 2 < r * r] = (90, 60, 140)
    return np.clip(rgb, 0, 255).astype(np.uint8)
