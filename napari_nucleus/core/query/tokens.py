"""The parts of a text that queries are parsed from: phrases, numbers with units, signs.

Articles are dropped. What is no word that is known becomes an item without a meaning; `items_of`
returns it all the same, so that everything unknown can be named at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isfinite
from typing import Any

from napari_nucleus.core.query.lexicon import UNIT_WORDS, Kind
from napari_nucleus.core.query.words import MOST_WORDS, Lexicon, Meaning, plain_word

__all__ = ["Item", "items_of"]

HYPHENS = "-\u2010\u2011"

ARTICLES = frozenset(("a", "an", "the"))

_OPERATORS = {"≥": ">=", "≤": "<=", "=>": ">=", "=<": "<=", "⩾": ">=", "⩽": "<=", "≧": ">="}

_TOKEN = re.compile(
    r"""(?P<number>\d+(?:[.,]\d+)*|\.\d+)
      | (?P<op>>=|<=|=>|=<|[<>≥≤⩾⩽≧])
      | (?P<word>[^\W\d_](?:[^\W\d_]|')*)
      | (?P<sign>\S)""",
    re.VERBOSE,
)

_SQUARED = re.compile(r"(?:\s*\^\s*2|2|\s*\*\*\s*2|\s*squared?\b)(?!\d)")

_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?")

_SIGNS: dict[str, Meaning] = {
    **dict.fromkeys(",;.:()[]!?\"'–—|“”„", (Kind.COMMA, None)),
    "&": (Kind.AND, None),
    "/": (Kind.OR, None),
    "+": (Kind.AND, None),
    "%": (Kind.UNIT, UNIT_WORDS["%"]),
}


@dataclass(frozen=True, slots=True)
class Item:
    """A phrase, number or sign of a text and what it can mean; nothing if it is not known."""

    text: str
    meanings: tuple[Meaning, ...] = ()
    typed: str = ""

    @property
    def said(self) -> str:
        """As it was typed."""
        return self.typed or self.text

    def value(self, kind: Kind) -> Any:
        """Return what it means as this kind; None also where a kind has no values."""
        return next((value for k, value in self.meanings if k is kind), None)

    def is_a(self, *kinds: Kind) -> bool:
        """Return True if it can be one of these kinds."""
        return any(kind in kinds for kind, _ in self.meanings)

    @property
    def kind(self) -> Kind | None:
        """What it usually is."""
        return self.meanings[0][0] if self.meanings else None


@dataclass(frozen=True, slots=True)
class _Raw:
    """A token: its kind, its text, and whether space or a hyphen parts it from the one before."""

    kind: str
    text: str
    begin: int
    end: int


def items_of(text: str, lexicon: Lexicon) -> list[Item]:
    """Return the items of a text, in order."""
    plain = re.sub(r"\bh\s*&\s*e\b", "h e", plain_word(text))
    plain = re.sub(r"\bw/(?=o\b)", "with", plain).replace("witho ", "without ")
    plain = re.sub(r"\bw/", "with ", plain)
    plain = re.sub(r"\b(min|max|excl|approx|diam|ca)\.", r"\1 ", plain)
    plain = re.sub(r"\bsq(?:uared|\.|\b)\s*(?=[a-zµ])", "square ", plain)
    raw = [
        _Raw(str(match.lastgroup), match.group(), *match.span())
        for match in _TOKEN.finditer(plain)
        if match.group() not in ARTICLES
    ]
    known = [lexicon.known(token.text) if token.kind == "word" else None for token in raw]
    items: list[Item] = []
    at = 0
    while at < len(raw):
        taken, found = _item_at(raw, known, at, plain, lexicon)
        items += found
        at += taken
    return items


def _item_at(
    raw: list[_Raw], known: list[str | None], at: int, plain: str, lexicon: Lexicon
) -> tuple[int, list[Item]]:
    """Return how many tokens an item takes, and the item; dashes in words give none."""
    token = raw[at]
    if token.kind == "number":
        value = _number(token.text)
        return 1, [Item(token.text, () if value is None else ((Kind.NUMBER, value),))]
    if token.kind == "op":
        return 1, [Item(token.text, ((Kind.COMPARE, _OPERATORS.get(token.text, token.text)),))]
    if token.kind == "sign":
        return _sign_at(raw, at, plain)
    unit = _unit_at(raw, at, plain)
    if unit:
        return unit
    return _phrase_at(raw, known, at, plain, lexicon)


def _sign_at(raw: list[_Raw], at: int, plain: str) -> tuple[int, list[Item]]:
    token = raw[at]
    before = raw[at - 1] if at else None
    after = raw[at + 1] if at + 1 < len(raw) else None
    dashes = HYPHENS + "–—"
    if token.text in dashes and before and after:
        joined_before, joined_after = before.end == token.begin, after.begin == token.end
        if after.kind == "number" and (before.kind == "number" or joined_before):
            return 1, [Item(token.text, ((Kind.TO, None),))]
        if joined_before and joined_after:
            return 1, []
    if token.text in dashes:
        if after and after.kind == "word" and after.begin == token.end:
            return 1, [Item(token.text, ((Kind.NOT, None),))]
        if after and after.kind == "number":
            return 1, [Item(token.text + after.text)]
        return 1, [Item(token.text, ((Kind.COMMA, None),))]
    if token.text == "+" and before and before.kind == "number":
        return 1, [
            Item("or", ((Kind.OR, None),)),
            Item("more", ((Kind.LARGER, (">", None)),)),
        ]
    if token.text == "=":
        # "class = dead" names, "area = 80" asks for a value that no nucleus has exactly.
        if after and after.kind == "number":
            return 1, [Item("=")]
        return 1, []
    meaning = _SIGNS.get(token.text)
    return 1, [Item(token.text, () if meaning is None else (meaning,))]


def _unit_at(raw: list[_Raw], at: int, plain: str) -> tuple[int, list[Item]] | None:
    """Return a unit of length or area, or None."""
    begin = at
    square = raw[at].text == "square"
    at += square
    name = raw[at].text if at < len(raw) else ""
    unit = UNIT_WORDS.get(name) or UNIT_WORDS.get(name.removesuffix("s"))
    if unit is None and name.endswith(("metre", "metres")):
        unit = UNIT_WORDS.get(name.removesuffix("s").replace("metre", "meter"))
    if unit is None:
        return None
    at += 1
    kind, factor = unit
    squared = None if square else _SQUARED.match(plain, raw[at - 1].end)
    if squared:
        while at < len(raw) and raw[at].begin < squared.end():
            at += 1
    if square or squared:
        if kind == "%":
            return None
        kind, factor = f"{kind}2", factor**2
    return at - begin, [
        Item(plain[raw[begin].begin : raw[at - 1].end], ((Kind.UNIT, (kind, factor)),))
    ]


def _phrase_at(
    raw: list[_Raw], known: list[str | None], at: int, plain: str, lexicon: Lexicon
) -> tuple[int, list[Item]]:
    """Return the longest phrase that begins here; hyphens may join its words."""
    places: list[int] = []
    words: list[str] = []
    for i in range(at, min(at + 2 * MOST_WORDS, len(raw))):
        word = known[i]
        if word is not None:
            places.append(i)
            words.append(word)
        elif not (raw[i].text in HYPHENS and i > at and raw[i - 1].end == raw[i].begin):
            break
    n, meanings = lexicon.longest(words)
    if not n:
        return 1, [Item(raw[at].text)]
    last = places[n - 1]
    typed = plain[raw[at].begin : raw[last].end]
    if meanings[0][0] is Kind.STRANGE:
        return last + 1 - at, [Item(typed)]
    return last + 1 - at, [Item(" ".join(words[:n]), meanings, typed)]


def _number(text: str) -> float | None:
    """Return a number with a decimal point or comma; commas may part thousands."""
    if _THOUSANDS.fullmatch(text):
        return float(text.replace(",", ""))
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return None
    return value if isfinite(value) else None
