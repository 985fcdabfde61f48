"""Parts of a query that say what nuclei are: classes and qualities; and the order of reading.

Each function reads one kind of part at the place where a `Sentence` is, and returns True if it was
one; see `grammar`.
"""

from __future__ import annotations

from collections.abc import Sequence

from napari_nucleus.core.query.lexicon import Kind
from napari_nucleus.core.query.limits import Refused, limit_at
from napari_nucleus.core.query.query import BORDER, Quality, Query, Relation
from napari_nucleus.core.query.relations import (
    read_along,
    read_company,
    read_distance,
    read_limit,
    read_outlined,
    read_place,
    read_place_word,
    read_relation,
)
from napari_nucleus.core.query.sentence import Sentence
from napari_nucleus.core.query.targets import class_at, is_a, loose, outline_at, region_at
from napari_nucleus.core.query.tokens import Item

__all__ = ["query_of_items"]

_OF_LEVEL = {
    ("eccentricity", ">"): "elongated",
    ("eccentricity", "<"): "round",
    ("solidity", ">"): "regular",
    ("solidity", "<"): "irregular",
    ("score", ">"): "-doubtful",
    ("score", "<"): "doubtful",
    ("area", ">"): "large",
    ("area", "<"): "small",
    ("size", ">"): "large",
    ("size", "<"): "small",
    ("diameter", ">"): "large",
    ("diameter", "<"): "small",
}
"""What a high or low value of an attribute is called."""

_OF_COMPARATIVE = {
    "larger": "large",
    "bigger": "large",
    "smaller": "small",
    "tinier": "small",
    "longer": "elongated",
}
"""What a comparative means that compares with nothing."""

_SIZES = ("large", "medium", "small")
_EVERY = ("all", "every", "everything", "any", "each")
_PASSED_OVER = (
    *(Kind.GLUE, Kind.LINK, Kind.SHAPE, Kind.PICTURE, Kind.TISSUE, Kind.OF, Kind.FROM),
    *(Kind.WITH, Kind.IN, Kind.ON, Kind.DRAWN),
)


def query_of_items(items: Sequence[Item], mpp: float | None, text: str) -> Query:
    """Return what the items of a text, all of them known, ask for.

    Raises
    ------
    Refused
        If they have no meaning together.
    """
    sentence = Sentence(items, mpp)
    while sentence.at < len(items):
        item = items[sentence.at]
        if not any(read(sentence, item) for read in _READERS):
            _read_rest(sentence, item)
            sentence.at += 1
    return sentence.query(text)


def _read_rest(s: Sentence, item: Item) -> None:
    """Take note of links and heads, pass over glue, and refuse what is left over."""
    if item.kind is Kind.QUESTION:
        raise Refused("questions are not answered here; say which nuclei to find")
    if item.is_a(Kind.NUCLEI):
        s.has_head = True
    elif item.is_a(Kind.AND, Kind.OR, Kind.COMMA):
        s.set_link("and" if item.is_a(Kind.AND) else "or" if item.is_a(Kind.OR) else ",")
    elif item.is_a(Kind.TO) and s.last == "quality":
        s.set_link("or")
    elif item.is_a(Kind.MEASURE) and not item.is_a(*_PASSED_OVER):
        raise Refused(f"“{item.said}”: above, below or between what?")
    elif item.is_a(Kind.NUMBER, Kind.UNIT):
        raise Refused(f"“{item.said}”: more or less than that, and of what?")
    elif not item.is_a(*_PASSED_OVER):
        raise Refused(f"“{item.said}” what?")


def _read_no(s: Sentence, item: Item) -> bool:
    if item.kind is Kind.BUT:
        following = loose(s.items, s.at + 1)
        before = {word for one in s.items[: s.at] for word in one.text.split()}
        if is_a(s.items, following, Kind.NOT, Kind.EXCEPT):
            s.set_link("and")
        elif not s.has_content and before.intersection(_EVERY):
            s.begin_no("except", item.said)
        else:
            s.set_link("and")
    elif item.kind in (Kind.NOT, Kind.EXCEPT):
        s.begin_no("not" if item.kind is Kind.NOT else "except", item.said)
    else:
        return False
    s.at += 1
    return True


def _read_level(s: Sentence, item: Item) -> bool:
    """Read "high eccentricity", "score is low", "size: large"."""
    items, at = s.items, s.at
    if item.is_a(Kind.MEASURE):
        end = loose(items, at + 1)
        end += is_a(items, end, Kind.COMMA) and items[end].text == ":"
        if is_a(items, end, Kind.QUALITY) and items[end].value(Kind.QUALITY) in _SIZES:
            s.at = end
            return True
        attribute, level = item.value(Kind.MEASURE), end
    else:
        attribute, level = None, at
        end = loose(items, at + 1)
        if is_a(items, end, Kind.MEASURE) and limit_at(items, end) is None:
            attribute = items[end].value(Kind.MEASURE)
    if attribute is None or not is_a(items, level, Kind.LEVEL, Kind.LARGER):
        return False
    op = items[level].value(Kind.LEVEL) or (items[level].value(Kind.LARGER) or " ")[0]
    quality = _OF_LEVEL.get((attribute, op))
    if quality is None or is_a(items, end + 1, Kind.THAN):
        return False
    s.at = end + 1
    s.add("quality", [[_quality(quality)]])
    return True


def _read_class(s: Sentence, item: Item) -> bool:
    if item.kind is not Kind.CLASS or outline_at(s.items, s.at):
        return False
    region = region_at(s.items, s.at)
    if region is not None:  # "nuclei of the tumour area"
        if not (s.has_head or s.wanted or is_a(s.items, region, Kind.NUCLEI)):
            raise Refused(f"what of “{item.said} …”? “nuclei in the tumour” is understood")
        s.at = region
        s.add("relation", [[Relation("in", BORDER)]])
        return True
    found = class_at(s.items, s.at)
    assert found is not None
    s.add_class(found[0], item.said)
    s.at = found[1]
    return True


def _read_quality(s: Sentence, item: Item) -> bool:
    if item.kind is not Kind.QUALITY:
        return False
    names = item.value(Kind.QUALITY).split()
    items = s.items
    end = s.at + 1
    if any(name.lstrip("-") in _SIZES for name in names):
        measure = end + is_a(items, end, Kind.IN, Kind.OF)
        if is_a(items, measure, Kind.MEASURE) and limit_at(items, measure) is None:
            end = measure + 1
    if is_a(items, end, Kind.THAN):
        raise Refused(f"“{item.said} than” what? Sizes are compared with numbers")
    s.at = end
    s.add("quality", [[_quality(name)] for name in names])
    return True


def _read_comparative(s: Sentence, item: Item) -> bool:
    """Read "larger nuclei", "more irregular"."""
    if not item.is_a(Kind.LARGER):
        return False
    op, what = item.value(Kind.LARGER)
    following = loose(s.items, s.at + 1)
    than = is_a(s.items, following, Kind.THAN)
    average = than and is_a(s.items, following + 1, Kind.AVERAGE)
    if than and not average:
        raise Refused(f"“{item.said} than” what? Sizes are compared with numbers")
    if what is None and op == ">" and is_a(s.items, following, Kind.QUALITY):
        s.at = following
        return True
    name = _OF_COMPARATIVE.get(item.text)
    if name is None:
        raise Refused(f"“{item.said}” than what?")
    s.at = following + 2 if average else s.at + 1
    s.add("quality", [[Quality(name)]])
    return True


def _quality(name: str) -> Quality:
    return Quality(name.lstrip("-"), name.startswith("-"))


_READERS = (
    read_limit,
    read_place_word,
    read_company,
    _read_no,
    read_relation,
    read_place,
    read_along,
    read_distance,
    _read_level,
    _read_class,
    _read_quality,
    _read_comparative,
    read_outlined,
)
"""The kinds of parts, in the order in which they are tried."""
