"""A tokenizer of a few words in the layout of Qwen2.5-VL's, made here."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

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
