"""Named configurations of UperHoVer."""

from __future__ import annotations

from napari_nucleus.models.uperhover.config import (
    EncoderConfig,
    HeadConfig,
    InferenceConfig,
    UperHoverConfig,
)

__all__ = ["NANO", "UNI2H"]

UNI2H = UperHoverConfig()
"""The published model: UNI2-h with 681 million parameters, two heads of 80 million."""

NANO = UperHoverConfig(
    encoder=EncoderConfig(
        image_size=256,
        patch_size=16,
        dim=192,
        depth=4,
        heads=6,
        registers=4,
        layer_scale=1.0,
        taps=(0, 1, 2, 3),
        pyramid_dims=(64, 64, 96, 128),
        pyramid_strides=(4, 8, 16, 32),
        stem_dims=(32, 64),
        stem_blocks=2,
    ),
    head=HeadConfig(dim=64, norm="channel", fine_dim=32),
    inference=InferenceConfig(
        mpp=0.25,
        window=256,
        stride=224,
        padding="reflect",
        flips=2,
        stain_strength=0.3,
        canonical_diameter=17.0,
        min_score=0.7,
    ),
)
"""The bundled model: two CPU cores, nuclei from 13 px."""
