"""Parts of a query that say where nuclei lie, and limits, which may be distances.

Each function reads one kind of part at the place where a `Sentence` is, and returns True if it was
one; see `grammar`.
"""

from __future__ import annotations

from napari_nucleus.core.query.lexicon import Kind
from napari_nucleus.core.query.limits import Limit, Refused, bounds_of, limit_at, number_at
from napari_nucleus.core.query.query import ALL, BORDER, EDGE, Quality, Relation
from napari_nucleus.core.query.sentence import Sentence, quiet_limit, where
from napari_nucleus.core.query.targets import (
    Target,
    class_at,
    is_a,
    loose,
    outline_at,
    place_at,
    target_at,
)
from napari_nucleus.core.query.tokens import Item

__all__ = [
    "read_along",
    "read_company",
    "read_distance",
    "read_limit",
    "read_outlined",
    "read_place",
    "read_place_word",
    "read_relation",
]


def read_limit(s: Sentence, item: Item) -> bool:
    """Read "larger than 80 µm²", "within 20 µm of tumour nuclei"."""
    limit = limit_at(s.items, s.at)
    if limit is None:
        return _bare_distance(s)
    if limit.may_be_distance and _distance_from(s, limit):
        return True
    if limit.of_distance:
        if s.attach(limit, _kind_of(limit)):
            return True
        raise Refused(f"“{item.said} {limit.ends[0][1]:g}” of or from what?")
    if limit.may_be_distance and _joined_to_relation(s) and s.attach(limit, _kind_of(limit)):
        return True
    bounds = bounds_of(limit, s.mpp, s.usual_unit)
    s.at = limit.end
    s.add("limit", [[bound] for bound in bounds])
    return True


def _joined_to_relation(s: Sentence) -> bool:
    return s.last == "relation" and s.link in ("", ",")


def _bare_distance(s: Sentence) -> bool:
    """Read "20 µm from the border", or "20 µm" behind a relation."""
    found = number_at(s.items, s.at)
    if found is None or found[1] is None or found[1][0] not in ("um", "px"):
        return False
    value, unit, end = found
    limit = Limit((("<=", value),), unit, None, False, True, end)
    if _distance_from(s, limit):
        return True
    return _joined_to_relation(s) and s.attach(limit, _kind_of(limit))


def _distance_from(s: Sentence, limit: Limit) -> bool:
    """Read a limit that is followed by what the distance is from."""
    items, at = s.items, limit.end
    while is_a(items, at, Kind.AWAY, Kind.GLUE, Kind.DISTANCE):
        at += 1
    if is_a(items, at, Kind.RELATION) and items[at].value(Kind.RELATION) == "far":
        at += 1  # "away from"
    elif is_a(items, at, Kind.FROM, Kind.TO) or (limit.of_distance and is_a(items, at, Kind.OF)):
        at += 1
    elif limit.of_distance and is_a(items, at, Kind.RELATION):
        at += 1  # "within 20 µm around"
    else:
        return False
    target = target_at(items, at)
    if target is None:
        return False
    s.at = target.end
    s.relate(_kind_of(limit), target, limit.micrometres(s.mpp))
    return True


def read_place_word(s: Sentence, item: Item) -> bool:
    """Read "intratumoural", "cut off"."""
    if item.kind is not Kind.PLACE:
        return False
    kind, target = item.value(Kind.PLACE).split(":")
    s.at += 1
    s.add("relation", [[Relation(kind, target)]])
    return True


def read_company(s: Sentence, item: Item) -> bool:
    """Read "with tumour nuclei nearby", "without neighbours that touch"."""
    items, at = s.items, s.at
    without = item.text in ("without", "no", "lacking")
    if not (without or item.is_a(Kind.WITH)):
        return False
    at = loose(items, at + 1)
    if is_a(items, at, Kind.NOT) and items[at].text == "no":
        without, at = True, loose(items, at + 1)
    found = class_at(items, at) if is_a(items, at, Kind.CLASS) else None
    if found is not None:
        names, at = (found[0],), found[1]
        at += is_a(items, at, Kind.NUCLEI)
    elif is_a(items, at, Kind.NUCLEI, Kind.NEIGHBOR):
        names, at = (ALL,), at + is_a(items, at, Kind.NUCLEI)
    else:
        return False
    at = loose(items, at)
    kind, distance = "near", None
    named = is_a(items, at, Kind.NEIGHBOR)
    at += named
    limit = quiet_limit(items, loose(items, at))
    if limit is not None and limit.may_be_distance and _kind_of(limit) == "near":
        end = limit.end
        if is_a(items, end, Kind.OF, Kind.FROM) and target_at(items, end + 1):
            return False
        distance, at = limit.micrometres(s.mpp), end
    elif is_a(items, at, Kind.RELATION):
        kind = items[at].value(Kind.RELATION)
        at += 1
        while is_a(items, at, Kind.GLUE):
            at += 1
        if kind == "far" or target_at(items, at) is not None:
            return False
    elif not named:
        return False
    elif names == (ALL,):
        s.at = at
        s.add("quality", [[Quality("isolated", not without)]])
        return True
    if names[0].startswith("-"):
        return False
    s.at = at
    relation = Relation(kind, names[0], distance)
    s.add("relation", [[relation.opposite() if without else relation]])
    return True


def read_relation(s: Sentence, item: Item) -> bool:
    """Read "touching tumour nuclei", "closer to the border"."""
    if item.is_a(Kind.CLOSER):
        kind = "near" if item.value(Kind.CLOSER) == "<" else "far"
        begin = s.at + 1
        begin += is_a(s.items, begin, Kind.TO, Kind.FROM)
    elif item.is_a(Kind.BETWEEN):
        kind, begin = "near", s.at + 1
    elif item.is_a(Kind.NEIGHBOR):
        kind, begin = "near", loose(s.items, s.at + 1)
        if not is_a(s.items, begin, Kind.CLASS):
            return False
    elif item.kind is Kind.RELATION or (item.is_a(Kind.RELATION) and not item.is_a(Kind.AWAY)):
        kind, begin = item.value(Kind.RELATION), s.at + 1
    else:
        return False
    target = target_at(s.items, begin)
    if target is None and _relations_joined(s, kind, begin):
        return True
    if target is None:
        alone = s.has_head or s.wanted
        if kind != "touching" or not alone:
            raise Refused(f"“{item.said}” what?")
        target = Target((ALL,), begin)
    s.at = target.end
    s.relate(kind, target, None)
    return True


def _relations_joined(s: Sentence, kind: str, at: int) -> bool:
    """Read what follows "near" in "near or touching tumour nuclei"."""
    items, behind = s.items, loose(s.items, at + 1)
    if not (is_a(items, at, Kind.OR, Kind.AND) and is_a(items, behind, Kind.RELATION)):
        return False
    target = target_at(items, behind + 1)
    if target is None:
        return False
    link = "or" if items[at].is_a(Kind.OR) else "and"
    s.relate(kind, target, None)
    s.set_link(link)
    s.relate(items[behind].value(Kind.RELATION), target, None)
    s.at = target.end
    return True


def read_place(s: Sentence, item: Item) -> bool:
    """Read "inside the border", "in the tumour", "outside of it"."""
    within = item.is_a(Kind.WITHIN)
    sure = item.is_a(Kind.INSIDE) or within
    if not (sure or item.is_a(Kind.IN)):
        return False
    inside = bool(item.value(Kind.INSIDE)) or not item.is_a(Kind.INSIDE)
    place = place_at(s.items, s.at + 1)
    if place is None or (place.name in ("", "tissue") and inside):
        if sure and (place is None):
            raise Refused(f"“{item.said}” what?")
        s.at = s.at + 1 if place is None else place.end
        return True
    if place.name in (EDGE, "") and not (place.name == EDGE and place.along and inside):
        raise Refused("all nuclei are in the image; “at the image edge” is understood")
    s.at = place.end
    if place.name == EDGE:
        s.add("relation", [[Relation("at", EDGE)]])
    elif place.name in (BORDER, "tissue"):
        relation = Relation("near" if place.along and inside else "in", BORDER)
        s.add("relation", [[relation if inside else relation.opposite()]])
    elif inside and not s.is_negated:
        s.tissues.append(place.name)
    else:
        raise Refused(where(place.name))
    return True


def read_along(s: Sentence, item: Item) -> bool:
    """Read "at the border", "on the edge of the image"."""
    if not item.is_a(Kind.ON):
        return False
    outline = outline_at(s.items, s.at + 1)
    if outline is None:
        return False
    s.at = outline[1]
    s.relate("near", Target((outline[0],), outline[1]), None)
    return True


def read_outlined(s: Sentence, item: Item) -> bool:
    """Read "edge nuclei", "tumour region nuclei"."""
    outline = outline_at(s.items, s.at)
    if outline is None or not is_a(s.items, outline[1], Kind.NUCLEI, Kind.REGION):
        return False
    s.at = outline[1] + is_a(s.items, outline[1], Kind.REGION)
    s.relate("near", Target((outline[0],), outline[1]), None)
    return True


def read_distance(s: Sentence, item: Item) -> bool:
    """Read "distance to the border below 20 µm", "at a distance of less than 20 µm from it"."""
    if not item.is_a(Kind.DISTANCE):
        return False
    items, at = s.items, s.at + 1
    if is_a(items, at, Kind.TO, Kind.FROM, Kind.OF):
        target = target_at(items, at + 1)
        if target is not None:
            limit = limit_at(items, loose(items, target.end))
            if limit is None or not limit.may_be_distance:
                raise Refused(f"“{item.said}”: more or less than what?")
            s.at = limit.end
            s.relate(_kind_of(limit), target, limit.micrometres(s.mpp))
            return True
    limit = limit_at(items, loose(items, at))
    if limit is not None and limit.may_be_distance and _distance_from(s, limit):
        return True
    raise Refused(f"“{item.said}” from what, and how much?")


def _kind_of(limit: Limit) -> str:
    return "far" if limit.ends[0][0] in (">", ">=") else "near"
