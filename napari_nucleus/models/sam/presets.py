"""The published models: their sizes, as `transformers` takes them, and their published files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from napari_nucleus.models.sam.config import SamInference

__all__ = ["PRESETS", "SamPreset"]

MEDSAM = SamInference(values="range", resize="bicubic")


@dataclass(frozen=True, slots=True)
class SamPreset:
    """A model whose weights users have.

    Parameters
    ----------
    config
        Plain values of a `SamConfig` or `Sam2Config`; ``model_type`` says which.
    inference
        How it works on tiles.
    published
        SHA-256 of published files by their names; a file of such a name must have it.
    """

    config: dict[str, Any]
    inference: SamInference = field(default_factory=SamInference)
    published: Mapping[str, str] = field(default_factory=dict)


def _vit(dim: int, layers: int, heads: int, whole: tuple[int, ...]) -> dict[str, Any]:
    """Return the configuration of a SAM whose layers ``whole`` attend to the whole image."""
    return {
        "model_type": "sam",
        "vision_config": {
            "hidden_size": dim,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "global_attn_indexes": list(whole),
        },
        # The original's transformer has torch's default here, the library's own another.
        "mask_decoder_config": {"layer_norm_eps": 1e-5},
    }


def _hiera(
    dim: int,
    heads: int,
    stages: tuple[int, ...],
    whole: tuple[int, ...],
    background: int = 7,
    windows: tuple[int, ...] = (8, 4, 14, 7),
) -> dict[str, Any]:
    """Return the configuration of a SAM2.1; channels and heads double at each stage."""
    dims = [dim * 2**i for i in range(len(stages))]
    return {
        "model_type": "sam2",
        "vision_config": {
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": dim,
                "num_attention_heads": heads,
                "blocks_per_stage": list(stages),
                "embed_dim_per_stage": dims,
                "num_attention_heads_per_stage": [heads * 2**i for i in range(len(stages))],
                "window_size_per_stage": list(windows),
                "global_attention_blocks": list(whole),
                "window_positional_embedding_background_size": [background] * 2,
            },
            "backbone_channel_list": dims[::-1],
        },
    }


VIT_B = _vit(768, 12, 12, (2, 5, 8, 11))
VIT_L = _vit(1024, 24, 16, (5, 11, 17, 23))
VIT_H = _vit(1280, 32, 16, (7, 15, 23, 31))

PRESETS: Mapping[str, SamPreset] = {
    "sam-vit-b": SamPreset(
        VIT_B,
        published={
            "sam_vit_b_01ec64.pth": (
                "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912"
            )
        },
    ),
    "sam-vit-l": SamPreset(
        VIT_L,
        published={
            "sam_vit_l_0b3195.pth": (
                "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622"
            )
        },
    ),
    "sam-vit-h": SamPreset(
        VIT_H,
        published={
            "sam_vit_h_4b8939.pth": (
                "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e"
            )
        },
    ),
    "sam2.1-tiny": SamPreset(
        _hiera(96, 1, (1, 2, 7, 2), (5, 7, 9)),
        published={
            "sam2.1_hiera_tiny.pt": (
                "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69"
            )
        },
    ),
    "sam2.1-small": SamPreset(
        _hiera(96, 1, (1, 2, 11, 2), (7, 10, 13)),
        published={
            "sam2.1_hiera_small.pt": (
                "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38"
            )
        },
    ),
    "sam2.1-base-plus": SamPreset(
        _hiera(112, 2, (2, 3, 16, 3), (12, 16, 20), 14),
        published={
            "sam2.1_hiera_base_plus.pt": (
                "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5"
            )
        },
    ),
    "sam2.1-large": SamPreset(
        _hiera(144, 2, (2, 6, 36, 4), (23, 33, 43), 7, (8, 4, 16, 8)),
        published={
            "sam2.1_hiera_large.pt": (
                "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318"
            )
        },
    ),
    "pathosam-vit-b": SamPreset(VIT_B),
    "pathosam-vit-l": SamPreset(VIT_L),
    "pathosam-vit-h": SamPreset(VIT_H),
    "medsam": SamPreset(VIT_B, MEDSAM),
}
