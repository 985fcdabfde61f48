"""Names of tensors: from those of the original programs to those of `transformers`.

`segment_anything`'s and `sam2`'s checkpoints (PathoSAM's and MedSAM's have the former's names) and
the library's own are taken. Only names change, but for SAM2's four embeddings of points, which the
library holds as one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from napari_nucleus.errors import WeightsError
from napari_nucleus.models.checkpoints import LoadReport, load_into, read_checkpoint
from napari_nucleus.models.sam.network import SamNetwork

__all__ = ["load_checkpoint", "renamed"]

POSITIONS = "shared_image_embedding.positional_embedding"
PROMPT_POSITIONS = "prompt_encoder.shared_embedding.positional_embedding"
"""The library holds the encoding of positions twice."""

POINTS = "prompt_encoder.point_embed"

_MLP = r"((?:output_hypernetworks_mlps\.\d+|iou_prediction_head|pred_obj_score_head)\.)"

_SHARED = (
    (r"^prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$", POSITIONS),
    (r"^prompt_encoder\.point_embeddings\.", f"{POINTS}."),
    (r"\.mask_downscaling\.0\.", ".mask_embed.conv1."),
    (r"\.mask_downscaling\.1\.", ".mask_embed.layer_norm1."),
    (r"\.mask_downscaling\.3\.", ".mask_embed.conv2."),
    (r"\.mask_downscaling\.4\.", ".mask_embed.layer_norm2."),
    (r"\.mask_downscaling\.6\.", ".mask_embed.conv3."),
    (r"\.output_upscaling\.0\.", ".upscale_conv1."),
    (r"\.output_upscaling\.1\.", ".upscale_layer_norm."),
    (r"\.output_upscaling\.3\.", ".upscale_conv2."),
    (r"\.norm(\d)\.", r".layer_norm\1."),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
    (_MLP + r"layers\.0\.", r"\1proj_in."),
    (_MLP + r"layers\.1\.", r"\1layers.0."),
    (_MLP + r"layers\.2\.", r"\1proj_out."),
)

_SAM = (
    (r"^image_encoder\.", "vision_encoder."),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
    (r"^vision_encoder\.blocks\.", "vision_encoder.layers."),
    (r"^vision_encoder\.neck\.0\.", "vision_encoder.neck.conv1."),
    (r"^vision_encoder\.neck\.1\.", "vision_encoder.neck.layer_norm1."),
    (r"^vision_encoder\.neck\.2\.", "vision_encoder.neck.conv2."),
    (r"^vision_encoder\.neck\.3\.", "vision_encoder.neck.layer_norm2."),
    *_SHARED,
)

_SAM2 = (
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
    (r"^image_encoder\.neck\.convs\.(\d)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (r"^sam_prompt_encoder\.", "prompt_encoder."),
    (r"^sam_mask_decoder\.", "mask_decoder."),
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"\.mlp\.layers\.0\.", ".mlp.proj_in."),
    (r"\.mlp\.layers\.1\.", ".mlp.proj_out."),
    (r"^(mask_decoder\..*)\.out_proj\.", r"\1.o_proj."),
    *_SHARED,
)

_VIDEO = ("memory_", "maskmem_", "no_mem_pos", "no_obj_", "obj_ptr_", "mask_downsample.")
"""Parts of SAM2 that follow objects through videos, under the original's names."""


def renamed(names: Iterable[str], family: str) -> dict[str, str]:
    """Return the library's name of each tensor of an original program.

    Parameters
    ----------
    names
        As they are in a checkpoint, without wrappers.
    family
        ``"sam"`` or ``"sam2"``.
    """
    rules = _SAM if family == "sam" else _SAM2
    told = {}
    for name in names:
        new = name
        for pattern, replacement in rules:
            new = re.sub(pattern, replacement, new)
        told[name] = new
    return told


def load_checkpoint(network: SamNetwork, file: Path) -> LoadReport:
    """Load a checkpoint of an original program, or of the library, into a network.

    Raises
    ------
    WeightsError
        If the file cannot be read, is another model's, or lacks anything.
    """
    state = read_checkpoint(file)
    unexpected: list[str] = []
    if any(name.startswith("image_encoder.") for name in state):
        unexpected = [n for n in state if network.family == "sam2" and n.startswith(_VIDEO)]
        told = renamed(set(state) - set(unexpected), network.family)
        state = {new: state[name] for name, new in told.items()}
    state = _as_held(state, network.family)
    report = load_into(network.sam, state, file, unexpected)
    if report.missing:
        raise WeightsError(
            f"{file.name}: lacks {report.missing[0]} and {len(report.missing) - 1} more; "
            "a whole model has all."
        )
    return report


def _as_held(state: dict[str, Tensor], family: str) -> dict[str, Tensor]:
    """Return a state with the positions twice and, of SAM2, the embeddings of points as one."""
    state = dict(state)
    positions = state.get(POSITIONS, state.get(PROMPT_POSITIONS))
    if positions is not None:
        state |= {POSITIONS: positions, PROMPT_POSITIONS: positions}
    each = [f"{POINTS}.{i}.weight" for i in range(4)]
    if family == "sam2" and all(name in state for name in each):
        state[f"{POINTS}.weight"] = torch.cat([state.pop(name) for name in each])
    return state
