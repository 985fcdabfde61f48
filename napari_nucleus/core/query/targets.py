"""What a relation leads to: classes, other nuclei, the drawn border, the edge of the image.

Reads at a place among the items of a text and returns what is there with the place behind it, or
None; what nuclei have to do with it is `grammar`'s business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from napari_nucleus.core.query.lexicon import Kind
from napari_nucleus.core.query.limits import Refused, limit_at
from napari_nucleus.core.query.query import ALL, BORDER, EDGE
from napari_nucleus.core.query.tokens import Item

__all__ = [
    "Place",
    "Target",
    "class_at",
    "is_a",
    "loose",
    "outline_at",
    "place_at",
    "region_at",
    "target_at",
]

_LOOSE = (Kind.GLUE, Kind.OF)
_TUMOUR = "neoplastic"
_LINES = ("border", "boundary", "perimeter", "borderline")
"""Outlines that something can be in, rather than along."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a relation leads; to any of ``names`` if ``either``, else to each."""

    names: tuple[str, ...]
    end: int
    either: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where "in" and "outside" lead.

    Parameters
    ----------
    name
        `BORDER`, `EDGE`, a class (tissue of that kind), or "" for the whole image.
    end
        The place behind it.
    along
        True for what lies along an outline, such as the invasive margin.
    """

    name: str
    end: int
    along: bool = False


def is_a(items: Sequence[Item], at: int, *kinds: Kind) -> bool:
    """Return True if there is an item of one of these kinds at a place."""
    return 0 <= at < len(items) and items[at].is_a(*kinds)


def loose(items: Sequence[Item], at: int) -> int:
    """Return the first place from ``at`` on that holds more than glue."""
    while at < len(items) and items[at].kind in _LOOSE:
        at += 1
    return at


def class_at(items: Sequence[Item], at: int) -> tuple[str, int] | None:
    """Return the class that one or more words name, and the place behind them.

    Raises
    ------
    Refused
        If words side by side name different classes.
    """
    name, was_benign = "", False
    while is_a(items, at, Kind.CLASS):
        more = items[at].value(Kind.CLASS)
        benign = "benign" in items[at].text
        if {name, more} == {_TUMOUR, "epithelial"} and not (benign or was_benign):
            name = _TUMOUR  # epithelial and malignant at once
        elif name and more != name:
            raise Refused(f"a nucleus has one class, not {name} and {more}; say “or” between them")
        name, was_benign = name or more, benign
        at += 1
        while is_a(items, at, Kind.SHAPE) and not items[at].is_a(Kind.REGION):
            at += 1
    return (name, at) if name else None


def outline_at(items: Sequence[Item], at: int) -> tuple[str, int] | None:
    """Return `BORDER` or `EDGE` and the place behind it: "edge of the image", "tumour border"."""
    seen: set[str] = set()
    at = _qualifiers(items, loose(items, at), seen)
    if not is_a(items, at, Kind.OUTLINE):
        return None
    name = items[at].value(Kind.OUTLINE)
    at += 1
    if is_a(items, at, Kind.OF, Kind.IN) or is_a(items, at, Kind.RELATION):
        of: set[str] = set()
        end = _qualifiers(items, loose(items, at + 1), of)
        if of:
            seen |= of
            at = end
    if "picture" in seen:
        name = EDGE
    elif seen:
        name = BORDER
    return name, at


def _qualifiers(items: Sequence[Item], at: int, seen: set[str]) -> int:
    """Note what an outline is one of, and return the place behind those words."""
    while at < len(items):
        item = items[at]
        if item.kind is Kind.CLASS and item.value(Kind.CLASS) == _TUMOUR:
            seen.add("tumour")
        elif item.is_a(Kind.PICTURE):
            seen.add("picture")
        elif item.is_a(Kind.TISSUE, Kind.REGION, Kind.DRAWN) and not item.is_a(Kind.OUTLINE):
            seen.add("region")
        elif item.kind is Kind.QUALITY and item.value(Kind.QUALITY) == "corrected":
            seen.add("region")  # "manually drawn border"
        elif seen and item.is_a(Kind.MEASURE) and item.value(Kind.MEASURE) == "area":
            if limit_at(items, at):
                return at
        elif item.kind is not Kind.GLUE:
            return at
        at += 1
    return at


def target_at(items: Sequence[Item], at: int) -> Target | None:
    """Return what a relation that ends before ``at`` leads to.

    Raises
    ------
    Refused
        If nuclei are described there by more than a class.
    """
    begin = loose(items, at)
    outline = outline_at(items, begin)
    if outline is not None:
        return Target((outline[0],), outline[1])
    place = region_at(items, begin)
    if place is not None:
        return Target((BORDER,), place)
    if is_a(items, begin, Kind.NUCLEI) and is_a(items, begin + 1, Kind.OF):
        listed = _listed(items, loose(items, begin + 1))
        if listed is not None:
            return listed
    if is_a(items, begin, Kind.NUCLEI, Kind.NEIGHBOR):
        return Target((ALL,), begin + 1)
    if begin < len(items) and items[begin].kind in (Kind.QUALITY, Kind.NOT, Kind.LARGER):
        behind = begin + 1
        while is_a(items, behind, Kind.QUALITY, Kind.GLUE, Kind.COMMA):
            behind += 1
        if is_a(items, behind, Kind.CLASS, Kind.NUCLEI):
            raise Refused(
                f"nuclei that others lie near or touch are known by their class only, not as "
                f"“{items[begin].said}”"
            )
        return None
    listed = _listed(items, begin)
    if listed is None and begin > at and items[begin - 1].text in ("other", "another"):
        return Target((ALL,), begin)
    return listed


def region_at(items: Sequence[Item], at: int) -> int | None:
    """Return the place behind a region such as "the tumour area" or "my annotation"."""
    seen: set[str] = set()
    end = _qualifiers(items, at, seen)
    words = items[at:end]
    if "picture" in seen or not seen:
        return None
    area = any(w.is_a(Kind.REGION) or w.value(Kind.MEASURE) == "area" for w in words)
    tissue = any(w.is_a(Kind.TISSUE) for w in words) and "tumour" in seen
    return end if area or tissue else None


def _listed(items: Sequence[Item], at: int) -> Target | None:
    """Return a list of classes with "and", "or" and commas between them."""
    names: list[str] = []
    either, end = False, at
    while True:
        found = class_at(items, loose(items, at))
        if found is None:
            break
        name, at = found
        if name.startswith("-"):
            raise Refused("nuclei that others lie near or touch are known by their class only")
        names.append(name)
        end = at + is_a(items, at, Kind.NUCLEI)
        joint = end
        if is_a(items, joint, Kind.COMMA) and is_a(items, joint + 1, Kind.OR, Kind.AND):
            joint += 1
        if is_a(items, joint, Kind.OR):
            either = True
        elif not is_a(items, joint, Kind.AND) and not _comma_of_list(items, joint):
            break
        at = joint + 1
    return Target(tuple(dict.fromkeys(names)), end, either) if names else None


def _comma_of_list(items: Sequence[Item], at: int) -> bool:
    """Return True at a comma that is followed by a class and, at once or later, by or / and."""
    while is_a(items, at, Kind.COMMA) and is_a(items, loose(items, at + 1), Kind.CLASS):
        at = loose(items, at + 1) + 1
        at += is_a(items, at, Kind.NUCLEI)
        if is_a(items, at, Kind.OR, Kind.AND):
            return is_a(items, loose(items, at + 1), Kind.CLASS)
    return False


def place_at(items: Sequence[Item], at: int) -> Place | None:
    """Return what nuclei are said to be in or outside of, or None if it is no place."""
    begin = loose(items, at)
    outline = outline_at(items, begin)
    if outline is not None:
        name, end = outline
        line = any(item.text in _LINES for item in items[begin:end])
        zone = is_a(items, end, Kind.REGION)
        return Place(name, end + zone, along=not line or zone)
    region = region_at(items, begin)
    if region is not None:
        return Place(BORDER, region)
    if is_a(items, begin, Kind.REGION):
        return Place(BORDER, begin + 1)
    if is_a(items, begin, Kind.PICTURE):
        return Place("", begin + 1)
    if is_a(items, begin, Kind.TISSUE):
        return Place("tissue", begin + 1)
    found = class_at(items, begin)
    if found is not None and not is_a(items, found[1], Kind.NUCLEI):
        name, end = found
        if name == _TUMOUR:
            return Place(BORDER, end + is_a(items, end, Kind.TISSUE))
        if not name.startswith("-"):
            tissue = is_a(items, end, Kind.TISSUE, Kind.REGION) or _is_area(items, end)
            return Place(name, end + tissue)
    return None


def _is_area(items: Sequence[Item], at: int) -> bool:
    return (
        is_a(items, at, Kind.MEASURE)
        and items[at].value(Kind.MEASURE) == "area"
        and limit_at(items, at) is None
    )
