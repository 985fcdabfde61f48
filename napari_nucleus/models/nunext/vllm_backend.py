"""Answers written by vLLM in place of `transformers`, where ``backend`` asks for it.

vLLM is imported here and nowhere else, and is no dependency. It takes an answer as a regular
expression over the text, and the ids that may be used at all: both together leave the grammar's
answers. It knows no margin of lines, and gives the probabilities of the likeliest tokens alone, so
that scores leave out what is unlikely. It sees to its device and batches itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from napari_nucleus.errors import ModelError
from napari_nucleus.models.nunext.grammar import Grammar
from napari_nucleus.models.nunext.qwen import CELL, LEAST_CELLS, Answer
from napari_nucleus.models.nunext.qwen_config import QwenSettings
from napari_nucleus.models.nunext.qwen_script import Script
from napari_nucleus.models.nunext.tokens import Vocabulary, decode_points, point_bins

__all__ = ["VllmSheet", "VllmWriter", "answer_pattern"]

Told = Sequence[Mapping[int, Any]]
"""For each token of an answer the likeliest ids, and what vLLM says of them."""


class VllmWriter:
    """A checkpoint's folder, opened by vLLM.

    Raises
    ------
    ModelError
        If vLLM is not installed, or too old.
    """

    device = "vllm"

    def __init__(self, folder: Path, tokenizer: Any, settings: QwenSettings) -> None:
        try:
            self.vllm = import_module("vllm")
            self.outputs = import_module("vllm.sampling_params").StructuredOutputsParams
        except (ImportError, AttributeError) as error:
            raise ModelError(
                f"{folder}: backend is 'vllm', which needs vLLM 0.11 or later ({error}); install "
                "it, or set backend to 'transformers'."
            ) from error
        self.tokenizer = tokenizer
        self.told = max(2 * settings.reach, len(settings.class_tokens)) + 1
        self.engine = self.vllm.LLM(
            model=str(folder),
            limit_mm_per_prompt={"image": 1},
            mm_processor_kwargs={
                "min_pixels": (LEAST_CELLS * CELL) ** 2,
                "max_pixels": settings.side**2,
            },
            max_logprobs=self.told,
            logprobs_mode="processed_logprobs",
        )

    def open(self, pictures: Sequence[Tensor], script: Script) -> VllmSheet:
        """Put a question on each picture ``(3, h, w)`` in 0–1, sides multiples of 28."""
        return VllmSheet(self, pictures, script)


class VllmSheet:
    """Answers on a batch of pictures, written by a `VllmWriter`."""

    def __init__(self, writer: VllmWriter, pictures: Sequence[Tensor], script: Script) -> None:
        self._writer, self._script = writer, script
        self._pictures = [_image_of(picture) for picture in pictures]
        # vLLM makes as many tokens of a picture's one as it needs.
        self._written = [script.question(1) for _ in pictures]

    def say(self, ids: Sequence[int]) -> None:
        """Write the same tokens in every answer."""
        for row in self._written:
            row.extend(ids)

    def points(self, settings: QwenSettings) -> list[Answer]:
        """Write a list of points in every answer."""
        grammar = self._script.grammar(settings)
        v = grammar.vocabulary
        writer = self._writer
        used = {*v.coordinates, *v.separators, *v.none, v.end, v.stop}
        order = writer.vllm.SamplingParams(
            temperature=0.0,
            max_tokens=3 * grammar.max_points + len(v.none) + 2,
            allowed_token_ids=sorted(used),
            stop_token_ids=[v.stop],
            logprobs=writer.told,
            structured_outputs=writer.outputs(regex=answer_pattern(writer.tokenizer, grammar)),
        )
        prompts = [
            {"prompt_token_ids": list(row), "multi_modal_data": {"image": picture}}
            for row, picture in zip(self._written, self._pictures, strict=True)
        ]
        answers = []
        for row, found in zip(
            self._written, writer.engine.generate(prompts, order, use_tqdm=False), strict=True
        ):
            ids = _whole(list(found.outputs[0].token_ids), grammar)
            answers.append(_answer(ids, found.outputs[0].logprobs, grammar, settings.reach))
            row.extend(ids)
        return answers


def answer_pattern(tokenizer: Any, grammar: Grammar) -> str:
    """Return the regular expression of what follows ``begin``, to ``end``."""
    v = grammar.vocabulary
    text = [re.escape(tokenizer.decode([i])) for i in (*v.separators, v.end)]
    none = re.escape(tokenizer.decode(list(v.none)))
    point, separator = r"(<\d+>){2}", f"({'|'.join(text[:-1])})"
    if grammar.separator_needed:
        points = f"({point}{separator})+"
    else:
        points = f"{point}({separator}{point})*"
    return f"({none}|{points}){text[-1]}"


def _whole(ids: list[int], grammar: Grammar) -> list[int]:
    """Return an answer to its ``end``; one that had no room for it ends after the last point."""
    v = grammar.vocabulary
    if v.end in ids:
        ids = ids[: ids.index(v.end) + 1]
        if len(ids) <= 3 * grammar.max_points + 1:
            return ids
    room = 3 * min(len(ids) // 3, grammar.max_points)
    return [*ids[: room - (not grammar.separator_needed)], v.end]


def _answer(ids: list[int], told: Told, grammar: Grammar, reach: int) -> Answer:
    """Return the points of an answer to its ``end``."""
    v = grammar.vocabulary
    yx, kinds = decode_points([v.begin, *ids], v, v.bins, grammar.separator_needed)
    bins = point_bins(yx, v.bins, v.bins)
    score = np.zeros(len(bins), np.float32)
    class_prob = np.zeros((len(bins), v.n_classes), np.float32)
    for i, (y, x) in enumerate(bins):
        score[i] = _near(told[3 * i], x, v, reach) * _near(told[3 * i + 1], y, v, reach)
        if kinds[i]:
            chances = np.array([_chance(told[3 * i + 2], s) for s in v.separators[1:]])
            class_prob[i] = chances / chances.sum()
    return Answer(bins, score, class_prob)


def _near(told: Mapping[int, Any], chosen: int, v: Vocabulary, reach: int) -> float:
    """Return the probability of the coordinates within ``reach`` bins of the one chosen."""
    near = v.coordinates[max(chosen - reach, 0) : chosen + reach + 1]
    return min(sum(_chance(told, token) for token in near), 1.0)


def _chance(told: Mapping[int, Any], token: int) -> float:
    return math.exp(told[token].logprob) if token in told else 0.0


def _image_of(picture: Tensor) -> Image.Image:
    values = (picture.cpu() * 255).round().byte().permute(1, 2, 0)
    return Image.fromarray(values.numpy())
