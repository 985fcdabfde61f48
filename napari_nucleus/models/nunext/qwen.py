"""Qwen2.5-VL as it comes from `transformers`, and one batch of answers as it is written by it.

Pictures of a batch may differ in size; questions are then padded on the left. What was read once is
kept as keys and values. Tokens are chosen by the grammar alone and the greatest probability; what
the grammar leaves no choice about is not asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Qwen2_5_VLForConditionalGeneration

from napari_nucleus.models.nunext.grammar import Grammar, Phase
from napari_nucleus.models.nunext.qwen_config import QwenSettings
from napari_nucleus.models.nunext.qwen_script import Script
from napari_nucleus.models.nunext.tokens import Vocabulary

__all__ = [
    "Answer",
    "QwenNetwork",
    "QwenSheet",
    "Sheet",
    "Writer",
    "mass_near",
    "picture_tokens",
    "to_input",
    "to_patches",
]

PATCH, MERGE = 14, 2
"""Pixels of a side of a patch, and patches of a side of a token of the picture."""

CELL = PATCH * MERGE

LEAST_CELLS = 4
"""Tokens of the shortest side of a picture: smaller ones Rex-Omni was never shown."""

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, eq=False)
class Answer:
    """Points of one list.

    Parameters
    ----------
    bins
        ``(n, 2)`` y and x.
    score
        ``(n,)`` 0–1: how much of the probability of x lies near it, times that of y.
    class_prob
        ``(n, C)`` of the class separators; zeros where the comma was written.
    """

    bins: NDArray[np.int64]
    score: NDArray[np.float32]
    class_prob: NDArray[np.float32]


class Sheet(Protocol):
    """Answers on a batch of pictures, while they are written."""

    def say(self, ids: Sequence[int]) -> None:
        """Write the same tokens in every answer."""
        ...

    def points(self, settings: QwenSettings) -> list[Answer]:
        """Write a list of points in every answer."""
        ...


class Writer(Protocol):
    """A network that writes answers."""

    device: str

    def open(self, pictures: Sequence[Tensor], script: Script) -> Sheet:
        """Put a question on each picture ``(3, h, w)`` in 0–1, sides multiples of 28."""
        ...


class QwenNetwork(nn.Module):
    """A Qwen2.5-VL with weights; ``mean`` and ``std`` are those of its pictures' values."""

    def __init__(
        self,
        model: Qwen2_5_VLForConditionalGeneration,
        mean: Sequence[float] = CLIP_MEAN,
        std: Sequence[float] = CLIP_STD,
    ) -> None:
        super().__init__()
        self.model = model.eval()
        self.mean, self.std = tuple(mean), tuple(std)

    @property
    def rows(self) -> int:
        """Rows of the vocabulary."""
        return int(self.model.get_input_embeddings().weight.shape[0])  # type: ignore[union-attr]

    @property
    def device(self) -> str:
        """Where the weights are."""
        return str(self.model.device)

    def open(self, pictures: Sequence[Tensor], script: Script) -> QwenSheet:
        """Put a question on each picture ``(3, h, w)`` in 0–1, sides multiples of 28."""
        return QwenSheet(self, pictures, script)


class QwenSheet:
    """Answers on a batch of pictures, written by a `QwenNetwork`."""

    def __init__(self, network: QwenNetwork, pictures: Sequence[Tensor], script: Script) -> None:
        self._model = network.model
        self._device = network.model.device
        vision: Any = self._model.config.vision_config
        frames = vision.temporal_patch_size
        sheets = [
            to_patches(p.to(self._device), network.mean, network.std, frames) for p in pictures
        ]
        self._patches = torch.cat([patches for patches, _ in sheets])
        self._grids = torch.tensor([grid for _, grid in sheets], device=self._device)
        self._script = script
        self._unread = [script.question(picture_tokens(p)) for p in pictures]
        empty = torch.zeros((len(pictures), 0), device=self._device)
        self._mask = empty.bool()
        self._place = torch.zeros(len(pictures), dtype=torch.long, device=self._device)
        self._cache: Any = None
        self._logits = empty

    @torch.inference_mode()
    def say(self, ids: Sequence[int]) -> None:
        """Write the same tokens in every answer."""
        rows = [[*unread, *ids] for unread in self._unread]
        self._unread = [[] for _ in rows]
        longest = max(map(len, rows))
        padded = [[0] * (longest - len(row)) + row for row in rows]
        real = [[False] * (longest - len(row)) + [True] * len(row) for row in rows]
        self._read(
            torch.tensor(padded, device=self._device), torch.tensor(real, device=self._device)
        )

    @torch.inference_mode()
    def points(self, settings: QwenSettings) -> list[Answer]:
        """Write a list of points in every answer."""
        grammar, reach = self._script.grammar(settings, self._device), settings.reach
        v = grammar.vocabulary
        comma_alone = grammar.separator_needed and not v.n_classes
        classes = torch.tensor(v.separators[1:], dtype=torch.long, device=self._device)
        state = grammar.start(len(self._unread))
        pens: list[tuple[Tensor, ...]] = []
        while True:
            x, sure_x = self._choose(grammar, state, reach)
            state = grammar.advance(state, x)
            writing = state.phase == Phase.Y
            if not bool(writing.any()):
                break
            self._read(x[:, None], writing[:, None])
            y, sure_y = self._choose(grammar, state, reach)
            state = grammar.advance(state, y)
            told = torch.zeros((len(x), len(classes)), device=self._device)
            if comma_alone:
                separator = torch.full_like(y, v.separators[0])
                both = torch.stack([y, separator], 1)
                self._read(both, writing[:, None].expand_as(both))
            else:
                self._read(y[:, None], writing[:, None])
                separator, _ = self._choose(grammar, state, reach)
                if len(classes):
                    told = self._logits[:, classes].float().softmax(-1)
                    told = told * (separator != v.separators[0])[:, None]
            state = grammar.advance(state, separator)
            goes_on = writing & (state.phase != Phase.STOP)
            if not comma_alone and bool(goes_on.any()):
                self._read(separator[:, None], goes_on[:, None])
            pens.append((writing, x, y, sure_x * sure_y, told))
        answers = _answers(pens, grammar, len(self._unread), len(classes))
        self._unread = [[*(() if len(answer.bins) else v.none), v.end] for answer in answers]
        return answers

    def _choose(self, grammar: Grammar, state: Any, reach: int) -> tuple[Tensor, Tensor]:
        """Return the likeliest allowed tokens, and how much of the probability is near each."""
        probability = grammar.constrain(self._logits.float(), state).softmax(-1)
        token = probability.argmax(-1)
        return token, mass_near(probability, token, grammar.vocabulary, reach)

    def _read(self, ids: Tensor, real: Tensor) -> None:
        """Read tokens ``(B, n)``; those that are not ``real`` are never looked at."""
        pictures: dict[str, Tensor] = {}
        if self._cache is None:
            pictures = {
                "pixel_values": self._patches.to(self._model.dtype),
                "image_grid_thw": self._grids,
            }
            index: Any = self._model.model.get_rope_index
            places, _ = index(
                ids,
                mm_token_type_ids=(ids == self._script.image).int(),
                image_grid_thw=self._grids,
                attention_mask=real,
            )
            self._patches = self._patches[:0]  # seen once
        else:
            places = (self._place[:, None] + real.cumsum(1) - 1).expand(3, -1, -1)
        self._mask = torch.cat([self._mask, real], 1)
        out = self._model(
            input_ids=ids,
            attention_mask=self._mask.long(),
            position_ids=places,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
            **pictures,
        )
        furthest = places.amax(0).masked_fill(~real, -1).amax(1) + 1
        self._place = torch.maximum(self._place, furthest)
        self._cache, self._logits = out.past_key_values, out.logits[:, -1]


def mass_near(probability: Tensor, token: Tensor, vocabulary: Vocabulary, reach: int) -> Tensor:
    """Return ``(B,)``: the probability of coordinates within ``reach`` bins of those chosen.

    ``probability`` is ``(B, V)``; the value means nothing where another token was chosen.
    """
    ids = torch.tensor(vocabulary.coordinates, device=probability.device)
    sums = F.pad(probability[:, ids].cumsum(-1), (1, 0))
    chosen = (ids == token[:, None]).int().argmax(-1)
    high = (chosen + reach + 1).clamp(max=vocabulary.bins)
    low = (chosen - reach).clamp(min=0)
    near = sums.gather(1, high[:, None]) - sums.gather(1, low[:, None])
    return near[:, 0].clamp(0, 1)


def to_input(rgb: Tensor, per_pixel: float) -> Tensor:
    """Return a picture ``(3, h, w)`` in 0–1 stretched to about ``per_pixel``, sides of whole cells.

    No side has less than `LEAST_CELLS`. Values are those of 8 bits, as in the model's training.
    """
    size = [CELL * max(round(n * per_pixel / CELL), LEAST_CELLS) for n in rgb.shape[-2:]]
    shrinks = min(size[0] / rgb.shape[-2], size[1] / rgb.shape[-1]) < 1
    stretched = F.interpolate(
        rgb[None], size, mode="bicubic", align_corners=False, antialias=shrinks
    )
    return (stretched[0] * 255).round().clamp(0, 255) / 255


def picture_tokens(picture: Tensor) -> int:
    """Return how many tokens a picture ``(3, h, w)`` has."""
    return (picture.shape[-2] // CELL) * (picture.shape[-1] // CELL)


def to_patches(
    picture: Tensor, mean: Sequence[float], std: Sequence[float], frames: int
) -> tuple[Tensor, tuple[int, int, int]]:
    """Return the patches ``(n, 3 * frames * PATCH²)`` of a picture, and its grid of patches.

    Those that become one token follow each other; the picture is as many equal ``frames``.
    """
    middle, spread = (picture.new_tensor(v)[:, None, None] for v in (mean, std))
    rows, columns = picture.shape[-2] // PATCH, picture.shape[-1] // PATCH
    cut = ((picture - middle) / spread).reshape(
        3, rows // MERGE, MERGE, PATCH, columns // MERGE, MERGE, PATCH
    )
    cut = cut.permute(1, 4, 2, 5, 0, 3, 6).unsqueeze(5)
    repeated = cut.expand(-1, -1, -1, -1, -1, frames, -1, -1)
    return repeated.reshape(rows * columns, -1), (1, rows, columns)


def _answers(
    pens: list[tuple[Tensor, ...]], grammar: Grammar, batch: int, classes: int
) -> list[Answer]:
    """Return what was written in each answer, from the tokens of each round of points."""
    if not pens:
        none = Answer(
            np.zeros((0, 2), np.int64), np.zeros(0, np.float32), np.zeros((0, classes), np.float32)
        )
        return [none] * batch
    writing, x, y, score, told = (torch.stack(values).cpu() for values in zip(*pens, strict=True))
    bin_of = {token: i for i, token in enumerate(grammar.vocabulary.coordinates)}
    answers = []
    for row in range(batch):
        n = int(writing[:, row].sum())
        bins = [
            (bin_of[int(b)], bin_of[int(a)]) for a, b in zip(x[:n, row], y[:n, row], strict=True)
        ]
        answers.append(
            Answer(
                np.asarray(bins, np.int64).reshape(-1, 2),
                score[:n, row].numpy().astype(np.float32),
                told[:n, row].numpy().astype(np.float32),
            )
        )
    return answers
