"""Points of nuclei as a sequence of tokens, and back.

An answer is ``<|box_start|> x y , x y , … <|box_end|> <|im_end|>``, or ``None`` between the two
marks: the layout of Rex-Omni, with a separator after every point, also the last, so that each
point has a token that can carry its class. Coordinates are bins of the width and the height of the
image, read at their centres. Knows ids alone, no network and no image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_nucleus.errors import ModelError

__all__ = [
    "CLASS_TOKENS",
    "TokenizerVocabulary",
    "Vocabulary",
    "bin_centres",
    "decode_points",
    "encode_points",
    "is_well_formed",
    "point_bins",
    "reading_order",
]

CLASS_TOKENS = ("<neo>", "<inf>", "<con>", "<dead>", "<epi>")
"""Separators that tell a class, in the order of PanNuke's ids 1–5."""

BEGIN, END, STOP, NONE, COMMA = "<|box_start|>", "<|box_end|>", "<|im_end|>", "None", ","

Size = float | tuple[float, float]
"""Height and width of an image in pixels, or the side of a square one."""


class TokenizerVocabulary(NamedTuple):
    """A `Vocabulary` and what became of the tokenizer it was looked up in.

    ``appended``: tokens that the tokenizer lacked and has now; nothing was ever learnt of them.
    ``rows``: how many rows the embedding of the network must have.
    """

    vocabulary: Vocabulary
    appended: tuple[str, ...]
    rows: int

    @property
    def repurposed(self) -> int:
        """How many coordinates have rows that had been words': those below the marks."""
        return sum(i < self.vocabulary.begin for i in self.vocabulary.coordinates)


@dataclass(frozen=True)
class Vocabulary:
    """Ids of the tokens that answers are made of.

    Parameters
    ----------
    coordinates
        Id of each bin, along x and y alike.
    separators
        The plain comma, then the separator of each class 1–C.
    begin, end
        ``<|box_start|>`` and ``<|box_end|>``.
    none
        What stands for no nuclei: ``None``, in as many tokens as the tokenizer makes of it.
    stop
        ``<|im_end|>``, which ends an answer.
    latent
        Tokens forced before ``begin``; a mask is read off their hidden states.
    size
        Rows of the vocabulary.
    words
        Ids of the words of instructions, of a vocabulary made by `nano`.
    """

    coordinates: tuple[int, ...]
    separators: tuple[int, ...]
    begin: int
    end: int
    none: tuple[int, ...]
    stop: int
    latent: tuple[int, ...]
    size: int
    words: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not (self.coordinates and self.separators and self.none):
            raise ValueError("a vocabulary needs coordinates, a separator and a token for none")
        answer = (
            *self.coordinates,
            *self.separators,
            self.none[0],
            self.begin,
            self.end,
            self.stop,
        )
        every = (*answer, *self.latent)
        if len(set(every)) < len(every):
            raise ValueError("two tokens of a vocabulary have one id")
        out = next((i for i in (*every, *self.none, *self.words) if not 0 <= i < self.size), None)
        if out is not None:
            raise ValueError(f"id {out} is none of a vocabulary of {self.size} rows")

    @property
    def bins(self) -> int:
        """How many bins a side of an image has."""
        return len(self.coordinates)

    @property
    def n_classes(self) -> int:
        """How many classes separators tell apart; 0 where all are commas."""
        return len(self.separators) - 1

    @classmethod
    def nano(
        cls, bins: int, n_classes: int, n_latent: int, words: Sequence[str] = ()
    ) -> Vocabulary:
        """Lay a small vocabulary out densely.

        Coordinates have the ids from 0 on; separators, begin, end, none, stop, latents and
        ``words`` follow in this order.
        """
        size = bins + n_classes + 5 + n_latent + len(words)
        ids = iter(range(size))
        coordinates = tuple(islice(ids, bins))
        separators = tuple(islice(ids, 1 + n_classes))
        begin, end, none, stop = islice(ids, 4)
        latent = tuple(islice(ids, n_latent))
        return cls(coordinates, separators, begin, end, (none,), stop, latent, size, tuple(ids))

    @classmethod
    def of_tokenizer(
        cls,
        tokenizer: Any,
        bins: int = 1000,
        classes: Sequence[str] = CLASS_TOKENS,
        n_latent: int = 16,
        rows: int = 0,
    ) -> TokenizerVocabulary:
        """Look the tokens up in a tokenizer of `transformers`, by their strings.

        Coordinates are ``<0>``, ``<1>`` …, whether they have rows of their own or rows that had
        been words'; latents ``<cv0>`` …. Of these and ``classes``, what is missing is added to the
        tokenizer.

        Parameters
        ----------
        tokenizer
            It is changed where tokens are missing.
        bins, classes, n_latent
            How many coordinates; the strings of the class separators; how many latents.
        rows
            Rows that the embedding of the network has now: often more than the tokenizer knows,
            and the first of the spare ones serve what is added.

        Raises
        ------
        ModelError
            If the tokenizer lacks the marks of an answer.
        """
        wanted = (
            *(f"<{i}>" for i in range(bins)),
            *classes,
            *(f"<cv{i}>" for i in range(n_latent)),
        )
        known = tokenizer.get_vocab()
        absent = next((mark for mark in (BEGIN, END, STOP) if mark not in known), None)
        if absent is not None:
            raise ModelError(f"This tokenizer has no {absent}; it is not Qwen2.5-VL's.")
        appended = tuple(token for token in wanted if token not in known)
        if appended:
            tokenizer.add_tokens(list(appended), special_tokens=True)
            known = tokenizer.get_vocab()
        ids = [int(known[token]) for token in wanted]
        comma = _plain_ids(tokenizer, COMMA)
        if len(comma) != 1:
            raise ModelError("This tokenizer makes several tokens of a comma, which parts points.")
        marks = (int(known[BEGIN]), int(known[END]), int(known[STOP]))
        none = _plain_ids(tokenizer, NONE)
        size = max(rows, 1 + max(*ids, *marks, *comma, *none, len(tokenizer) - 1))
        after = bins + len(classes)
        vocabulary = cls(
            tuple(ids[:bins]),
            (*comma, *ids[bins:after]),
            marks[0],
            marks[1],
            none,
            marks[2],
            tuple(ids[after:]),
            size,
        )
        return TokenizerVocabulary(vocabulary, appended, size)


def point_bins(yx: ArrayLike, size: Size, bins: int) -> NDArray[np.int64]:
    """Return the bins ``(n, 2)`` of points ``(n, 2)`` in pixels, y before x, clipped to the image.

    Bin ``i`` of ``K`` covers the pixels from ``i / K`` to ``(i + 1) / K`` of a side.
    """
    points = np.asarray(yx, np.float64).reshape(-1, 2)
    return np.clip(np.floor(points / _sides(size) * bins), 0, bins - 1).astype(np.int64)


def bin_centres(index: ArrayLike, size: Size, bins: int) -> NDArray[np.float64]:
    """Return the points ``(n, 2)`` in pixels at the centres of bins ``(n, 2)``, y before x."""
    return (np.asarray(index, np.float64).reshape(-1, 2) + 0.5) / bins * _sides(size)


def reading_order(yx: ArrayLike, line: float | None = None) -> NDArray[np.int64]:
    """Return the order ``(n,)`` in which points ``(n, 2)`` are written: rows before columns.

    Parameters
    ----------
    yx
        Pixels, or bins.
    line
        Height of a line of writing, in the unit of ``yx``: points of one line go from left to
        right. None or 0 is the order of the paper, in which every y is a line of its own; it is
        meant for bins.
    """
    y, x = np.asarray(yx).reshape(-1, 2).T
    return np.lexsort((y, x, np.floor(y / line))) if line else np.lexsort((x, y))


def encode_points(
    yx: ArrayLike,
    classes: ArrayLike | None,
    vocabulary: Vocabulary,
    size: Size,
    line: float | None = None,
    separator_needed: bool = True,
) -> list[int]:
    """Return the answer that tells of points, from ``begin`` to ``stop``.

    Parameters
    ----------
    yx
        ``(n, 2)`` in pixels, in any order.
    classes
        ``(n,)``: 1–C chooses the separator after a point, every other number the comma; None for
        commas alone.
    vocabulary
        What the tokens are.
    size
        Height and width of the image in pixels, or its one side.
    line
        As for `reading_order`, in pixels; None for the order of bins.
    separator_needed
        Write a separator after the last point too; without, separators stand between points, as
        in Rex-Omni's own answers.
    """
    pixels = np.asarray(yx, np.float64).reshape(-1, 2)
    if not len(pixels):
        return [vocabulary.begin, *vocabulary.none, vocabulary.end, vocabulary.stop]
    bins = point_bins(pixels, size, vocabulary.bins)
    order = reading_order(pixels, line) if line else reading_order(bins)
    kinds = np.zeros(len(pixels), int) if classes is None else np.asarray(classes, int)
    kinds = np.where((kinds >= 1) & (kinds <= vocabulary.n_classes), kinds, 0)
    ids = [vocabulary.begin]
    for (y, x), kind in zip(bins[order], kinds[order], strict=True):
        ids += [vocabulary.coordinates[x], vocabulary.coordinates[y], vocabulary.separators[kind]]
    if not separator_needed:
        ids.pop()
    return [*ids, vocabulary.end, vocabulary.stop]


def decode_points(
    ids: Sequence[int], vocabulary: Vocabulary, size: Size, separator_needed: bool = True
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the points ``(n, 2)`` in pixels and the classes ``(n,)``, 0 for none, of an answer.

    Latent tokens before the answer are skipped, ``stop`` after it is optional.

    Raises
    ------
    ModelError
        If the answer is malformed; see `is_well_formed`.
    """
    found = _read(ids, vocabulary, separator_needed)
    if found is None:
        raise ModelError(f"An answer of {len(ids)} tokens is no list of points.")
    bins, kinds = found
    return bin_centres(bins, size, vocabulary.bins), kinds


def is_well_formed(
    ids: Sequence[int], vocabulary: Vocabulary, separator_needed: bool = True
) -> bool:
    """Tell whether an answer is ``begin``, points or ``None``, ``end``, and nothing else.

    Latent tokens before ``begin`` and any number of ``stop`` after ``end`` are allowed. Every
    point has a separator; the last is without where ``separator_needed`` is False.
    """
    return _read(ids, vocabulary, separator_needed) is not None


def _read(
    ids: Sequence[int], vocabulary: Vocabulary, separator_needed: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Return the bins ``(n, 2)`` and classes ``(n,)`` of an answer; None if it is malformed."""
    inner = _between_marks(list(ids), vocabulary)
    if inner is None:
        return None
    if tuple(inner) == vocabulary.none:
        return np.zeros((0, 2), np.int64), np.zeros(0, np.int64)
    kinds_of = {token: kind for kind, token in enumerate(vocabulary.separators)}
    if not separator_needed:
        inner = [*inner, vocabulary.separators[0]]
    if len(inner) < 3 or len(inner) % 3:
        return None
    bin_of = {token: i for i, token in enumerate(vocabulary.coordinates)}
    xs, ys = ([bin_of.get(token, -1) for token in inner[k::3]] for k in (0, 1))
    kinds = [kinds_of.get(token, -1) for token in inner[2::3]]
    if min(*xs, *ys, *kinds) < 0:
        return None
    return np.stack([ys, xs], axis=1).astype(np.int64), np.asarray(kinds, np.int64)


def _between_marks(ids: list[int], vocabulary: Vocabulary) -> list[int] | None:
    """Return what stands between ``begin`` and ``end``; None if either is not where it belongs."""
    last = len(ids)
    while last and ids[last - 1] == vocabulary.stop:
        last -= 1
    first = next((i for i, t in enumerate(ids[:last]) if t not in vocabulary.latent), last)
    if last - first < 2 or ids[first] != vocabulary.begin or ids[last - 1] != vocabulary.end:
        return None
    return ids[first + 1 : last - 1]


def _plain_ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    """Return the ids of a text, without marks around it."""
    return tuple(int(i) for i in tokenizer.encode(text, add_special_tokens=False))


def _sides(size: Size) -> NDArray[np.float64]:
    """Return the height and width of an image."""
    return np.broadcast_to(np.asarray(size, np.float64), 2)
