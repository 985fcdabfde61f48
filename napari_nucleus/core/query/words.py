"""From letters to words that mean something: spelling, plurals, single typos, phrases.

A typed word is known if it is in `lexicon`, or becomes so in American spelling or the singular. A
longer word may also be one slip away from a known one: a letter too many, too few, another, or two
swapped (optimal string alignment, Damerau 1964), neither at the beginning nor in the last letter,
for that is where other languages differ. Everything else is unknown, and named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from napari_nucleus.core.query.lexicon import (
    KNOWN_OTHERWISE,
    NUMBER_WORDS,
    UNIT_WORDS,
    Kind,
    phrases,
)

__all__ = ["MOST_WORDS", "Lexicon", "Meaning", "lexicon_of", "plain_word"]

MENDED: dict[Kind, int] = {
    Kind.CLASS: 6,
    Kind.NUCLEI: 6,
    Kind.OUTLINE: 6,
    Kind.QUALITY: 7,
    Kind.RELATION: 7,
    Kind.MEASURE: 7,
}
"""Kinds of words in which a typo is mended, and the letters that they need to have."""

SHORTEST_MENDED = min(MENDED.values())

Meaning = tuple[Kind, Any]

_BRITISH = (
    ("our", "or"),
    ("tre", "ter"),
    ("aem", "em"),
    ("aes", "es"),
    ("oed", "ed"),
    ("lled", "led"),
    ("lling", "ling"),
    ("ise", "ize"),
    ("ising", "izing"),
    ("grey", "gray"),
)
"""British and American letters; tried where a word is not known as it stands."""

_ENDINGS = (("'s", ""), ("s'", ""), ("ies", "y"), ("es", ""), ("s", ""))

_HISSING = ("s", "x", "z", "ch", "sh")
"""Endings of words with a plural in "es"; in other words it is Spanish or French."""

MOST_WORDS = 6
"""Words of the longest phrase."""


@dataclass(frozen=True, eq=False)
class Lexicon:
    """Known phrases and the words they are made of.

    Parameters
    ----------
    meanings
        What each phrase, a tuple of words, can mean; the first meaning is the usual one.
    """

    meanings: dict[tuple[str, ...], tuple[Meaning, ...]]

    def __post_init__(self) -> None:
        words = {word for phrase in self.meanings for word in phrase}
        slips: dict[str, dict[str, int]] = {}
        for phrase, meanings in self.meanings.items():
            shortest = min((MENDED[kind] for kind, _ in meanings if kind in MENDED), default=99)
            for word in phrase:
                if len(word) >= shortest - 1:
                    for rest in (word, *_shortened(word)):
                        slips.setdefault(rest, {})[word] = shortest
        object.__setattr__(self, "_words", words)
        object.__setattr__(self, "_slips", slips)

    def known(self, word: str) -> str | None:
        """Return the word of the lexicon that a typed word is, in small letters, or None."""
        if word in KNOWN_OTHERWISE:
            return None
        plain = self._in_known_form(word)
        return self._mended(word) if plain is None else plain

    def _in_known_form(self, word: str) -> str | None:
        words: set[str] = self._words  # type: ignore[attr-defined]
        for spelled in _spellings(word):
            if spelled in words:
                return spelled
            for ending, instead in _ENDINGS:
                stem = spelled.removesuffix(ending) + instead
                if ending == "es" and not stem.endswith(_HISSING):
                    continue
                if spelled.endswith(ending) and len(stem) >= 3 and stem in words:
                    return stem
        return None

    def _mended(self, word: str) -> str | None:
        if len(word) < SHORTEST_MENDED - 1 or not word.isascii():
            return None
        slips: dict[str, dict[str, int]] = self._slips  # type: ignore[attr-defined]
        found = {
            meant
            for typed in (*_spellings(word), *_spellings(word.removesuffix("s")))
            for rest in (typed, *_shortened(typed))
            for meant, shortest in slips.get(rest, {}).items()
            if max(len(typed), len(meant)) >= shortest and _is_slip(typed, meant)
        }
        return found.pop() if len(found) == 1 else None

    def longest(self, words: Sequence[str]) -> tuple[int, tuple[Meaning, ...]]:
        """Return how many of these words the longest known phrase has, and what it can mean."""
        for n in range(min(len(words), MOST_WORDS), 0, -1):
            meanings = self.meanings.get(tuple(words[:n]))
            if meanings:
                return n, meanings
        return 0, ()


@cache
def lexicon_of(names: tuple[str, ...] = ()) -> Lexicon:
    """Return the words that are known, with those of the names of a scheme's classes."""
    meanings: dict[tuple[str, ...], list[Meaning]] = {}
    for name in names:
        words = tuple(word for word in re.findall(r"[^\W_]+", plain_word(name)))
        if words:
            meanings.setdefault(words, []).append((Kind.CLASS, name))
    for phrase, kind, value in phrases():
        meanings.setdefault(tuple(phrase.split()), []).append((kind, value))
    for word, number in NUMBER_WORDS.items():
        meanings.setdefault((word,), []).append((Kind.NUMBER, number))
    for word, unit in UNIT_WORDS.items():
        meanings.setdefault((word,), []).append((Kind.UNIT, unit))
    return Lexicon({words: tuple(found) for words, found in meanings.items()})


def plain_word(text: str) -> str:
    """Return text in small letters, with one kind of apostrophe, dash and micro sign."""
    for one, other in (("\u03bc", "µ"), ("’", "'"), ("‘", "'"), ("`", "'"), ("²", "2")):
        text = text.replace(one, other)
    return text.lower()


def _spellings(word: str) -> Iterator[str]:
    yield word
    for british, american in _BRITISH:
        if british in word:
            yield word.replace(british, american)


def _shortened(word: str) -> Iterator[str]:
    """Yield the word without each of its letters but the first."""
    for i in range(1, len(word)):
        yield word[:i] + word[i + 1 :]


def _is_slip(typed: str, meant: str) -> bool:
    """Return True if one slip, not in the first letter and not in the last one, parts two words."""
    if typed[0] != meant[0]:
        return False
    n = min(len(typed), len(meant))
    same = next((i for i in range(n) if typed[i] != meant[i]), n)
    if len(typed) == len(meant):
        swapped = meant[same + 1 : same + 2] + meant[same : same + 1]
        if typed[same : same + 2] == swapped:
            return typed[same + 2 :] == meant[same + 2 :]
        return typed[-1] == meant[-1] and typed[same + 1 :] == meant[same + 1 :]
    longer, shorter = (typed, meant) if len(typed) > len(meant) else (meant, typed)
    if len(longer) - len(shorter) != 1 or typed[-1] != meant[-1]:
        return False
    return longer[same + 1 :] == shorter[same:]
