"""The grammar of queries: from a text to a `Query`, or to why it was not understood.

Words are those of `lexicon`, brought to one spelling by `words`. Between them everything that only
makes a sentence of it ("show me the ... that are ...") is passed over; a word that is not known
never is. In this notation, ``[x]`` may be missing and ``{x}`` may be repeated::

    query     = part { [ "and" | "or" | "but" | "," ] part }
    part      = [ no ] ( class | quality | limit | relation | place ) | head
    no        = "not" | "non-" | "no" | "except" | "without" | "excluding" | ...
    head      = "nuclei" | "cells" | "everything"
    class     = "tumour" | "neoplastic" | "lymphocytes" | "benign epithelial" | ...
    quality   = "large" | "round" | "dark" | "isolated" | "doubtful" | "corrected" | ...
              | ( "high" | "low" ) ( "eccentricity" | "solidity" | "score" )
    limit     = [ measure ] op number [ unit ] [ [ "in" ] measure ]
              | [ measure ] "between" number "and" number [ unit ]
              | [ measure ] number ( "to" | "-" ) number [ unit ]
              | number [ unit ] "or" ( "more" | "less" )
    measure   = "area" | "size" | "diameter" | "eccentricity" | "solidity" | "score"
    op        = ">" | "larger than" | "over" | "at least" | "no more than" | "<" | ...
    unit      = ( "µm" | "um" | "micron" | "mm" | "px" ) [ "²" | "2" | "^2" ]
              | "square" ( "µm" | "micron" | ... ) | "%"
    relation  = ( "touching" | "near" | "far from" ) target [ within ]
              | within ( "of" | "from" ) target
              | "distance to" target op number unit
              | "with" ( class | head ) ( "nearby" | "touching" | within )
    within    = ( "within" | "at most" | "more than" | ... ) number unit
    target    = class { ( "and" | "or" ) class } | "other nuclei" | border | edge
    place     = ( "inside" | "in" | "outside" ) border | ( "at" | "on" ) ( border | edge )
    border    = "the border" | "the tumour margin" | "the drawn region" | "the tumour"
    edge      = "the image edge" | "the edge of the picture" | "the edge"

Parts hold together, except that classes are listed: "and" between two of them means either. "or"
between two conditions means either; so does "and" between qualities that exclude each other.
"not" concerns the next part, and those joined to it by "or"; "excluding" concerns a list. What is
said after a relation's target concerns the nuclei asked for. A size without a unit is an area,
unless the size beside it is a length.
"""

from __future__ import annotations

from collections.abc import Sequence

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.core.query.limits import Refused
from napari_nucleus.core.query.parts import query_of_items
from napari_nucleus.core.query.query import CLASSES, Query, Unknown
from napari_nucleus.core.query.tokens import items_of
from napari_nucleus.core.query.words import lexicon_of

__all__ = ["MOST_LETTERS", "parse"]

MOST_LETTERS = 400
"""Letters of the longest text that is looked at: several sentences."""

MOST_NAMED = 5
LONGEST_NAMED = 30
"""How many unknown words are named, and how many letters of each."""


def parse(
    text: str, scheme: ClassScheme | None = None, mpp: float | None = None
) -> Query | Unknown:
    """Return what a text asks for, or why it is not understood; never raises.

    Parameters
    ----------
    text
        What the user typed, any string.
    scheme
        Classes whose names are understood besides the canonical ones.
    mpp
        µm per pixel, for sizes in pixels; None when unknown.
    """
    if not text.strip():
        return Unknown("nothing was typed")
    if len(text) > MOST_LETTERS:
        return Unknown(f"the text has {len(text):,} letters, and {MOST_LETTERS} at most are read")
    names = () if scheme is None else tuple(n for n in scheme.names if n not in CLASSES)
    items = items_of(text, lexicon_of(names))
    strange = tuple(dict.fromkeys(item.text for item in items if not item.meanings))
    if strange:
        return Unknown(_named(strange), strange)
    try:
        return query_of_items(items, mpp, text)
    except Refused as refused:
        return Unknown(str(refused))


def _named(words: Sequence[str]) -> str:
    shown = [f"“{_printable(word)}”" for word in words[:MOST_NAMED]]
    rest = len(words) - len(shown)
    if rest:
        shown.append(f"{rest} more")
    listed = shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
    return f"{listed} {'is' if len(words) == 1 else 'are'} not known"


def _printable(word: str) -> str:
    """Return a word as it can be shown in one line."""
    plain = "".join(c if c.isprintable() else f"U+{ord(c):04X}" for c in word)
    return plain if len(plain) <= LONGEST_NAMED else plain[:LONGEST_NAMED] + "…"
