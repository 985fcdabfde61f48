"""Named configurations of UniNuc."""

from __future__ import annotations

from napari_nucleus.models.uninuc.config import (
    DecoderConfig,
    DenseConfig,
    DetectorConfig,
    EncoderConfig,
    InferenceConfig,
    UniNucConfig,
)

__all__ = ["NANO"]

NANO = UniNucConfig(
    encoder=EncoderConfig(
        embed_dim=32,
        heads=1,
        stages=(1, 2, 5, 1),
        windows=(8, 8, 8, 8),
        global_blocks=(),
        background_grid=8,
        stem_dim=32,
        stem_blocks=2,
        neck_dims=(32, 64, 96, 96, 96),
        top_down=(0, 1, 2, 3),
        neck_blocks=1,
        kept_levels=4,
    ),
    decoder=DecoderConfig(
        dim=96,
        fine_dims=(32, 48),
        heads=4,
        mlp_dim=256,
        hq_dim=32,
        raster_prompts=True,
        refine_dims=(32, 64, 96),
        crop_grid=32,
        crop_windows=(64, 128),
    ),
    dense=DenseConfig(dim=48),
    detector=DetectorConfig(
        backbone="shared",
        levels=(1, 2),
        dim=96,
        heads=8,
        layers=3,
        ffn_dim=256,
        c2f_blocks=0,
        queries=400,
        query_area=256 * 256,
        query_threshold=0.05,
        groups=5,
        base_size=12.0,
        reference_px=256.0,
        slot_queries=False,
    ),
    inference=InferenceConfig(
        tile=512,
        halo=32,
        click_tile=256,
        score_threshold=0.5,
        peak_score=1.0,
        foreground_threshold=0.4,
        flips=2,
        stain_strength=0.3,
    ),
)
"""The bundled model: stride 2, two CPU cores, nuclei from 13 px."""
