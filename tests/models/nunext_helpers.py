"""A tokenizer and a network in the layout of Qwen2.5-VL's, of a few thousand parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)

from napari_nucleus.core.geometry import Frame
from napari_nucleus.core.image import Tile
from napari_nucleus.models.nunext.tokens import CLASS_TOKENS

Coordinates = Literal["re-purposed", "appended", "absent"]

MARKS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)


def tiny_tokenizer(
    folder: Path,
    coordinates: Coordinates = "appended",
    own_tokens: bool = False,
    marks: bool = True,
    bins: int = 10,
) -> PreTrainedTokenizerFast:
    """Return a tokenizer of bytes, kept in ``folder``.

    ``coordinates`` are rows below the marks, rows after them, or absent; ``own_tokens`` are the
    class separators and two latents.
    """
    vocabulary = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    places = tuple(f"<{i}>" for i in range(bins))
    if coordinates == "re-purposed":
        vocabulary |= {t: len(vocabulary) + i for i, t in enumerate(places)}
    tokenizer = Tokenizer(BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [
        *(MARKS if marks else ()),
        *(places if coordinates != "absent" else ()),
        *((*CLASS_TOKENS, "<cv0>", "<cv1>") if own_tokens else ()),
    ]
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in special])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        eos_token="<|im_end|>" if marks else None,
        pad_token="<|endoftext|>" if marks else None,
    )


SMALL = {
    "bins": 10,
    "window": 32,
    "side": 112,
    "halo": 8,
    "max_points": 6,
    "radius": 0.0,
    "sigma": 0.5,
}
"""Settings with which a window of 32 px is 16 tokens."""


def make_tile(height: int = 32, width: int = 32, seed: int = 0) -> Tile:
    rng = np.random.default_rng(seed)
    return Tile(rng.integers(0, 255, (height, width, 3), np.uint8), Frame(mpp=0.25))


def write_qwen(
    folder: Path,
    coordinates: Coordinates = "appended",
    own_tokens: bool = True,
    spare_rows: int = 3,
    seed: int = 0,
    **settings: Any,
) -> Path:
    """Write a checkpoint of random weights as its makers offer theirs, and our settings."""
    tokenizer = tiny_tokenizer(folder, coordinates, own_tokens)
    known = tokenizer.get_vocab()
    torch.manual_seed(seed)
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer) + spare_rows,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 1, 1]},
            "bos_token_id": known["<|endoftext|>"],
            "eos_token_id": known["<|im_end|>"],
        },
        vision_config={
            "depth": 2,
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_heads": 2,
            "out_hidden_size": 32,
            "window_size": 56,
            "fullatt_block_indexes": [1],
        },
        image_token_id=known["<|image_pad|>"],
        video_token_id=known["<|video_pad|>"],
        vision_start_token_id=known["<|vision_start|>"],
        vision_end_token_id=known["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    with torch.no_grad():  # large enough for answers that differ from picture to picture
        for name, value in model.named_parameters():
            if "norm" not in name:
                value.normal_(0, 0.3 if "language" in name else 0.6)
    model.save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>"})
    )
    (folder / "nunext.json").write_text(json.dumps({**SMALL, **settings}))
    return folder
