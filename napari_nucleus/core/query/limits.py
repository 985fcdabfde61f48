"""Limits in a query: "larger than 80 µm²", "between 25 and 35", "at most 20 µm".

Reads a limit at a place among the items of a text; what it limits, and whether a distance is meant,
follows from what stands beside it, which is `grammar`'s business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from napari_nucleus.core.query.lexicon import Kind
from napari_nucleus.core.query.query import Bound
from napari_nucleus.core.query.tokens import Item

__all__ = ["Limit", "Refused", "bounds_of", "limit_at", "number_at", "skip"]

_FLIPPED = {">": "<", "<": ">", ">=": "<=", "<=": ">="}
_NOT = {">": "<=", "<": ">=", ">=": "<", "<=": ">"}
_INCLUDED = {">": ">=", "<": "<=", ">=": ">=", "<=": "<="}

LARGEST = 1e6
"""No distance in µm, and no area of a nucleus in µm², is larger."""

_SHARES = ("eccentricity", "solidity", "score")
"""Attributes that are numbers in 0–1."""

_LARGE_WORDS = ("large", "big", "long", "in size")
"""Qualities that say nothing after a size: "more than 80 µm² large"."""


class Refused(Exception):
    """A text has no meaning; its message is the `Unknown.why`."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit, or both ends of a range.

    Parameters
    ----------
    ends
        Operators and numbers.
    unit
        As `lexicon.UNIT_WORDS` has it, squared units with a 2; None where there was none.
    attribute
        What is limited; None where it is not said.
    of_size
        True if a word of size was there ("larger"), so that no distance is meant.
    of_distance
        True if a word of distance was there ("within", "closer").
    end
        The item after it.
    """

    ends: tuple[tuple[str, float], ...]
    unit: tuple[str, float] | None
    attribute: str | None
    of_size: bool
    of_distance: bool
    end: int

    @property
    def may_be_distance(self) -> bool:
        """True if it can be a distance, as far as it goes."""
        length = self.unit is None or self.unit[0] in ("um", "px")
        return len(self.ends) == 1 and self.attribute is None and length and not self.of_size

    def micrometres(self, mpp: float | None) -> float:
        """Return the distance.

        Raises
        ------
        Refused
            Without a unit, or in pixels of unknown size.
        """
        value = self.ends[0][1]
        if self.unit is None:
            raise Refused(f"{value:g} what? A distance needs a unit, such as {value:g} µm")
        if not value:
            raise Refused("a distance of nothing is “touching”")
        return _possible("", value * _factor(self.unit, mpp, 1))


def skip(items: Sequence[Item], at: int, *kinds: Kind) -> int:
    """Return the first place from ``at`` on whose item is usually of none of these kinds."""
    while at < len(items) and items[at].kind in kinds:
        at += 1
    return at


def number_at(items: Sequence[Item], at: int) -> tuple[float, tuple[str, float] | None, int] | None:
    """Return number, unit and the place behind; None if there is no number."""
    if at >= len(items) or not items[at].is_a(Kind.NUMBER):
        return None
    unit = None
    if at + 1 < len(items) and items[at + 1].kind is Kind.UNIT:
        unit = items[at + 1].value(Kind.UNIT)
    return items[at].value(Kind.NUMBER), unit, at + 1 + (unit is not None)


def limit_at(items: Sequence[Item], at: int) -> Limit | None:
    """Return the limit that begins at a place, or None."""
    attribute, begin = None, at
    if _is(items, at, Kind.MEASURE):
        attribute = items[at].value(Kind.MEASURE)
        begin = skip(items, at + 1, Kind.GLUE, Kind.OF, Kind.LINK, Kind.NUCLEI)
        if _is(items, begin, Kind.COMMA) and items[begin].text == ":":
            begin += 1
    elif _is(items, at, Kind.COMPARE) and _is(items, at + 1, Kind.MEASURE):
        return _of_extreme(items, at)
    limit = _range_at(items, begin) or _compared_at(items, begin) or _after_number(items, begin)
    if limit is None:
        return None
    if attribute is not None:
        return replace(limit, attribute=limit.attribute or attribute)
    return _with_trailing(items, limit)


def _of_extreme(items: Sequence[Item], at: int) -> Limit | None:
    """Read "minimum area 25 µm²"."""
    found = number_at(items, skip(items, at + 2, Kind.OF, Kind.GLUE))
    if found is None:
        return None
    value, unit, end = found
    op, attribute = items[at].value(Kind.COMPARE), items[at + 1].value(Kind.MEASURE)
    return Limit(((op, value),), unit, attribute, False, False, end)


def _range_at(items: Sequence[Item], at: int) -> Limit | None:
    between = _is(items, at, Kind.BETWEEN)
    begin = at + (between or _is(items, at, Kind.FROM))
    first = number_at(items, begin)
    if first is None:
        return None
    low, unit, at = first
    joins = (Kind.AND, Kind.TO) if between else (Kind.TO,)
    second = number_at(items, at + 1) if _is(items, at, *joins) else None
    if second is None:
        return None
    high, other, at = second
    if unit is not None and other is not None and unit != other:
        raise Refused(f"{low:g} and {high:g} have different units")
    low, high = min(low, high), max(low, high)
    return Limit(((">=", low), ("<=", high)), other or unit, None, False, False, at)


def _compared_at(items: Sequence[Item], at: int) -> Limit | None:
    """Read an operator and a number: "not more than 20 µm", "within 20 µm"."""
    negated = _is(items, at, Kind.NOT)
    at += negated
    op, what, distance = "", None, False
    behind = at + 1
    if _is(items, at, Kind.WITHIN) and not negated:
        op, distance = "<=", True
    elif _is(items, at, Kind.COMPARE):
        op = items[at].value(Kind.COMPARE)
    elif _is(items, at, Kind.LARGER):
        op, what = items[at].value(Kind.LARGER)
        behind = skip(items, behind, Kind.NUCLEI, Kind.THAN)
    elif _is(items, at, Kind.CLOSER) and _is(items, at + 1, Kind.THAN):
        op, distance, behind = items[at].value(Kind.CLOSER), True, at + 2
    found = number_at(items, skip(items, behind, Kind.OF, Kind.GLUE)) if op else None
    if found is None:
        return None
    value, unit, end = found
    attribute = what if what == "diameter" else None
    op = _NOT[op] if negated else op
    return Limit(((op, value),), unit, attribute, what is not None, distance, end)


def _after_number(items: Sequence[Item], at: int) -> Limit | None:
    """Read "80 µm² or more", or "80 < area < 120"."""
    found = number_at(items, at)
    if found is None:
        return None
    value, unit, at = found
    if _is(items, at, Kind.COMPARE) and _is(items, at + 1, Kind.MEASURE):
        attribute = items[at + 1].value(Kind.MEASURE)
        ends = [(_FLIPPED[items[at].value(Kind.COMPARE)], value)]
        second = _compared_at(items, at + 2)
        if second is not None:
            ends += second.ends
            unit, at = second.unit or unit, second.end
        else:
            at += 2
        return Limit(tuple(ends), unit, attribute, False, False, at)
    op = items[at].value(Kind.COMPARE) if _is(items, at, Kind.COMPARE) else None
    if op in (">=", "<=") and number_at(items, at + 1) is None:  # "12 µm at least"
        return Limit(((op, value),), unit, None, False, False, at + 1)
    if not _is(items, at, Kind.OR, Kind.AND):
        return None
    item = items[at + 1] if at + 1 < len(items) else Item("")
    if _is(items, at + 2, Kind.THAN) or number_at(items, at + 2):
        return None
    if unit is None and _is(items, at + 2, Kind.UNIT):  # "80+ µm²"
        unit = items[at + 2].value(Kind.UNIT)
        end = at + 3
    else:
        end = at + 2
    size, distance = False, False
    if item.is_a(Kind.LARGER):
        op, what = item.value(Kind.LARGER)
        size = what is not None
    elif item.is_a(Kind.CLOSER):
        op, distance = item.value(Kind.CLOSER), True
    elif item.is_a(Kind.COMPARE):
        op = item.value(Kind.COMPARE)
    else:
        return None
    return Limit(((_INCLUDED[op], value),), unit, None, size, distance, end)


def _with_trailing(items: Sequence[Item], limit: Limit) -> Limit:
    """Take in what is limited where it follows: "more than 12 µm in diameter", "80 µm² large"."""
    at = limit.end
    if limit.attribute is not None:
        return limit
    begin = skip(items, at, Kind.IN, Kind.OF)
    if _is(items, begin, Kind.MEASURE) and limit_at(items, begin) is None:
        attribute = items[begin].value(Kind.MEASURE)
        return replace(limit, attribute=attribute, of_size=True, end=begin + 1)
    if _is(items, at, Kind.QUALITY) and items[at].text in _LARGE_WORDS and limit.unit is not None:
        return replace(limit, of_size=True, end=at + 1)
    return limit


def bounds_of(limit: Limit, mpp: float | None, usual: tuple[str, float] | None) -> list[Bound]:
    """Return what a limit that is no distance asks of a nucleus.

    Parameters
    ----------
    limit
        As it was read.
    mpp
        µm per pixel, for limits in pixels; None when unknown.
    usual
        Unit that counts where a size has none: that of the other sizes beside it.

    Raises
    ------
    Refused
        If it cannot be.
    """
    unit = limit.unit
    attribute = limit.attribute
    if attribute in _SHARES:
        if unit is not None and unit[0] != "%":
            raise Refused(f"{attribute} is a number from 0 to 1, without a unit")
        ends = [(op, value * (unit[1] if unit else 1)) for op, value in limit.ends]
        wrong = next((value for _, value in ends if value > 1), None)
        if wrong is not None:
            raise Refused(f"{attribute} is a number from 0 to 1, not {wrong:g}")
        return [Bound(attribute, op, value) for op, value in ends]
    if unit is not None and unit[0] == "%":
        raise Refused("percent of what? A score, for one, is understood: “score below 50 %”")
    if attribute in (None, "size"):
        known = unit or usual
        attribute = "diameter" if known is not None and known[0] == "um" else "area"
        unit = unit if unit is not None or usual is None or usual[1] == 1 else usual
    power = 2 if attribute == "area" else 1
    factor = 1.0 if unit is None else _factor(unit, mpp, power)
    return [Bound(attribute, op, _possible(op, value * factor)) for op, value in limit.ends]


def _possible(op: str, value: float) -> float:
    """Return a size or distance, or refuse one that no nucleus can keep to."""
    if value > LARGEST:
        raise Refused(f"{value:g} is more than any slide has")
    if value == 0 and op.startswith("<"):
        raise Refused("no nucleus is smaller than nothing")
    return value


def _factor(unit: tuple[str, float], mpp: float | None, power: int) -> float:
    """Return how many µm, or µm² for a power of 2, a unit is."""
    name, factor = unit
    if name in ("px", "px2"):
        if mpp is None:
            raise Refused("pixels say nothing while the pixel size is unknown; say it in µm")
        return mpp**power
    if (name == "um2" and power == 1) or (name == "um" and power == 2 and factor != 1):
        raise Refused("a length and an area were mixed up: lengths are in µm, areas in µm²")
    return factor


def _is(items: Sequence[Item], at: int, *kinds: Kind) -> bool:
    return at < len(items) and items[at].is_a(*kinds)
