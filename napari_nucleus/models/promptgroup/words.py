"""The words that the bundled model knows, and how a text is read with them; free of torch.

A word is known if it is in this vocabulary, or so near to a word of it that it can only be that one
mistyped. A text with any other word asks for what the model was never taught: it is told so and
nothing is drawn, since to drop "mitotic" from "mitotic nuclei" would answer another question.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache, lru_cache

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.models.promptgroup.vocabulary import (
    CLASS_WORDS,
    FILLERS,
    LEAVING_OUT,
    MORPHOLOGY,
    NOT_NUCLEI,
    NUCLEUS_WORDS,
)

__all__ = [
    "Reading",
    "known_word",
    "meaning",
    "plain_text",
    "read_text",
    "split_words",
    "vocabulary",
]

NEAR = 0.84
"""Least likeness (`difflib`'s ratio) of a mistyped word to the word that it is read as."""

SHORTEST = 5
"""Letters from which on a word is looked up among the mistyped."""

_SPLIT = re.compile(r"[^a-z0-9&]+")


@dataclass(frozen=True, slots=True)
class Reading:
    """A text as the model reads it.

    Parameters
    ----------
    words
        Its words in small letters, the mistyped as what they are read as.
    unknown
        Words of the text that are read as none.
    corrected
        Words as typed and as read, where the two differ.
    """

    words: tuple[str, ...]
    unknown: tuple[str, ...] = ()
    corrected: tuple[tuple[str, str], ...] = ()

    @property
    def naming(self) -> tuple[str, ...]:
        """The words that name a class, an appearance or nuclei, each once, in their order."""
        telling = _telling()
        return tuple(dict.fromkeys(word for word in self.words if word in telling))


def plain_text(classes: Collection[int]) -> str:
    """Return the plainest text that asks for classes of PanNuke, by their ids; for all if empty."""
    if not classes or set(classes) >= set(CLASS_WORDS):
        return "all nuclei"
    return f"{' and '.join(PANNUKE.name_of(i) for i in sorted(classes))} nuclei"


def split_words(text: str) -> tuple[str, ...]:
    """Return the words of a text in small letters; ``h&e`` is one."""
    return tuple(w for w in (p.strip("&") for p in _SPLIT.split(text.lower())) if w)


def read_text(text: str) -> Reading:
    """Return a text's words, and those that ask for what the model does not know."""
    words, unknown, corrected = [], [], []
    leaving_out = False
    for typed in split_words(text):
        word = known_word(typed)
        words.append(word or typed)
        leaving_out |= word in LEAVING_OUT
        if word is None or (word in NOT_NUCLEI and not leaving_out):
            unknown.append(typed)
        elif word != typed:
            corrected.append((typed, word))
    return Reading(tuple(words), tuple(dict.fromkeys(unknown)), tuple(dict.fromkeys(corrected)))


@lru_cache(maxsize=4096)
def known_word(typed: str) -> str | None:
    """Return the word of the vocabulary that this is, as it is or mistyped; None if there is none.

    Numbers are known as they are.
    """
    known = vocabulary()
    if typed in known or typed.isdigit():
        return typed
    if len(typed) < SHORTEST:
        return None
    best, likeness = None, NEAR
    for word in known:
        if abs(len(word) - len(typed)) > 2 or len(word) < SHORTEST - 1:
            continue
        matcher = SequenceMatcher(None, typed, word, autojunk=False)
        if matcher.quick_ratio() >= likeness and (ratio := matcher.ratio()) >= likeness:
            best, likeness = word, ratio
    return best


def meaning(word: str) -> tuple[int, ...]:
    """Return the classes that a word names or describes; none for nuclei as such and small words.

    Words of appearance come after those that name a class.
    """
    groups = (CLASS_WORDS, MORPHOLOGY)
    return tuple(c for group in groups for c, words in group.items() if word in words)


@cache
def vocabulary() -> tuple[str, ...]:
    """Return every word that the model knows, in order."""
    return tuple(sorted(_telling() | set(FILLERS) | set(NOT_NUCLEI)))


@cache
def _telling() -> frozenset[str]:
    words = [w for group in (CLASS_WORDS, MORPHOLOGY) for some in group.values() for w in some]
    return frozenset(part for word in (*words, *NUCLEUS_WORDS) for part in split_words(word))
