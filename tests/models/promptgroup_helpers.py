"""Text-prompted models of a few thousand parameters, and a SAM3 folder as a user would have it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import Sam3Config, Sam3Model
from uperhover_helpers import TINY as TINY_EYES

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.geometry import Frame
from napari_nucleus.core.image import Tile
from napari_nucleus.models.api import ModelInfo
from napari_nucleus.models.promptgroup.config import (
    AnswerConfig,
    FusionConfig,
    PromptGroupConfig,
    TextConfig,
)
from napari_nucleus.models.promptgroup.network import PromptGroup
from napari_nucleus.models.promptgroup.predictor import PromptGroupPredictor

TINY = PromptGroupConfig(
    vision=replace(TINY_EYES, encoder=replace(TINY_EYES.encoder, pyramid_dims=(8, 8, 12, 16))),
    text=TextConfig(buckets=512, dim=16, heads=2, ffn_dim=32),
    fusion=FusionConfig(dim=16, heads=2, ffn_dim=32, decoder_layers=1, queries=4),
)
"""The nano in small."""

INFO = ModelInfo(
    name="tiny",
    title="A tiny text model",
    capabilities=("text",),
    classes=PANNUKE,
    working_mpp=0.25,
    tile=64,
    halo=16,
    click_tile=64,
    licence="none",
    source="bundled",
)

WORDS = ("<|endoftext|>", "<unk>", "cell", "nuclei", "all", "tumor")


def make_network(config: PromptGroupConfig = TINY, seed: int = 0) -> PromptGroup:
    torch.manual_seed(seed)
    return PromptGroup(config).eval()


def make_predictor(network: PromptGroup | None = None, **answer: Any) -> PromptGroupPredictor:
    """A predictor that takes every known text as understood, unless told otherwise."""
    network = network or make_network()
    settings = {"presence": 0.0, "confidence": 1e-9, "score": 0.0, **answer}
    network.config = replace(network.config, answer=replace(AnswerConfig(), **settings))
    return PromptGroupPredictor(network, INFO, "digest", None)


def make_tile(height: int = 64, width: int = 64, seed: int = 0) -> Tile:
    rng = np.random.default_rng(seed)
    return Tile(rng.integers(0, 255, (height, width, 3), np.uint8), Frame(mpp=0.25))


def tiny_sam3() -> dict[str, Any]:
    """The configuration of a SAM3 of 56 px images; 14 queries."""
    sizes = {"num_attention_heads": 2, "intermediate_size": 16}
    detr = {"hidden_size": 16, "num_layers": 1, "dropout": 0.0, **sizes}
    return Sam3Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam3_vit_model",
                "hidden_size": 16,
                "num_hidden_layers": 2,
                "image_size": 56,
                "patch_size": 14,
                "window_size": 2,
                "global_attn_indexes": [1],
                "pretrain_image_size": 56,
                **sizes,
            },
            "fpn_hidden_size": 16,
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        },
        text_config={
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "max_position_embeddings": 8,
            "projection_dim": 8,
            "vocab_size": 64,
            "bos_token_id": 0,
            "eos_token_id": 0,
            "pad_token_id": 0,
            **sizes,
        },
        geometry_encoder_config=detr,
        detr_encoder_config=detr,
        detr_decoder_config={**detr, "num_queries": 14},
        mask_decoder_config={"hidden_size": 16, "num_attention_heads": 2},
    ).to_dict()


def write_sam3(folder: Path, prefix: str = "", seed: int = 0) -> Path:
    """Write weights, configuration and tokenizer as the model's page offers them."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    model = Sam3Model(Sam3Config.from_dict(tiny_sam3()))
    state = {prefix + k: v.clone() for k, v in model.state_dict().items()}
    if prefix:
        state["tracker_model.memory.weight"] = torch.zeros(2)
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(tiny_sam3()))
    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(str(folder / "tokenizer.json"))
    return folder / "model.safetensors"
