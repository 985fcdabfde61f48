"""Transformers' SAM2 prompt encoder and mask decoder with the weights of ours.

Original checkpoints and ours share their parameter names; transformers has its own.
"""

from __future__ import annotations

import re

import torch
from transformers import Sam2MaskDecoderConfig, Sam2PromptEncoderConfig
from transformers.models.sam2.modeling_sam2 import Sam2MaskDecoder, Sam2PromptEncoder

from napari_nucleus.models.uninuc.config import DecoderConfig
from napari_nucleus.models.uninuc.mask_decoder import MaskDecoder
from napari_nucleus.models.uninuc.prompt_encoder import PromptEncoder

PROMPT_NAMES = {
    "pe_layer.positional_encoding_gaussian_matrix": "shared_embedding.positional_embedding",
    "not_a_point_embed.weight": "not_a_point_embed.weight",
    "no_mask_embed.weight": "no_mask_embed.weight",
    "mask_downscaling.0": "mask_embed.conv1",
    "mask_downscaling.1": "mask_embed.layer_norm1",
    "mask_downscaling.3": "mask_embed.conv2",
    "mask_downscaling.4": "mask_embed.layer_norm2",
    "mask_downscaling.6": "mask_embed.conv3",
}

DECODER_NAMES = (
    (r"^output_upscaling\.0", "upscale_conv1"),
    (r"^output_upscaling\.1", "upscale_layer_norm"),
    (r"^output_upscaling\.3", "upscale_conv2"),
    (r"\.norm(\d)\.", r".layer_norm\1."),
    (r"\.norm_final_attn", ".layer_norm_final_attn"),
    (r"\.out_proj", ".o_proj"),
    (r"\.mlp\.layers\.0", ".mlp.proj_in"),
    (r"\.mlp\.layers\.1", ".mlp.proj_out"),
    (r"^(output_hypernetworks_mlps\.\d|\w+_head)\.layers\.0", r"\1.proj_in"),
    (r"^(output_hypernetworks_mlps\.\d|\w+_head)\.layers\.1", r"\1.layers.0"),
    (r"^(output_hypernetworks_mlps\.\d|\w+_head)\.layers\.2", r"\1.proj_out"),
)

HIGH_QUALITY = ("hf_token", "hf_mlp", "hq.")


def prompt_encoder_oracle(ours: PromptEncoder, dim: int, image: int, patch: int):
    theirs = Sam2PromptEncoder(
        Sam2PromptEncoderConfig(hidden_size=dim, image_size=image, patch_size=patch)
    ).eval()
    state = {}
    for name, value in ours.state_dict().items():
        for own, other in PROMPT_NAMES.items():
            if name.startswith(own):
                state[name.replace(own, other)] = value
    points = [ours.state_dict()[f"point_embeddings.{i}.weight"] for i in range(4)]
    state["point_embed.weight"] = torch.cat(points)
    theirs.load_state_dict(state)
    return theirs


def mask_decoder_oracle(ours: MaskDecoder, config: DecoderConfig):
    theirs = Sam2MaskDecoder(
        Sam2MaskDecoderConfig(
            hidden_size=config.dim,
            mlp_dim=config.mlp_dim,
            num_hidden_layers=config.depth,
            num_attention_heads=config.heads,
            attention_downsample_rate=config.downsample_rate,
            iou_head_hidden_dim=config.dim,
            dynamic_multimask_via_stability=False,
        )
    ).eval()
    state = {}
    for name, value in ours.state_dict().items():
        if name.startswith(HIGH_QUALITY):
            continue
        for pattern, other in DECODER_NAMES:
            name = re.sub(pattern, other, name)
        state[name] = value
    theirs.load_state_dict(state)
    return theirs
