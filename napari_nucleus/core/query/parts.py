"""The reader of a query: goes through the items of a text, part by part; the rules of `grammar`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from napari_nucleus.core.query.lexicon import Kind
from napari_nucleus.core.query.limits import Limit, Refused, bounds_of, limit_at, number_at
from napari_nucleus.core.query.query import (
    ALL,
    BORDER,
    EDGE,
    Condition,
    Quality,
    Query,
    Relation,
)
from napari_nucleus.core.query.targets import (
    Target,
    class_at,
    is_a,
    loose,
    outline_at,
    place_at,
    region_at,
    target_at,
)
from napari_nucleus.core.query.tokens import Item

__all__ = ["Reader"]

EXCLUSIVE = (
    frozenset(("large", "medium", "small")),
    frozenset(("round", "oval", "elongated")),
    frozenset(("irregular", "regular")),
    frozenset(("dark", "pale")),
    frozenset(("isolated", "crowded")),
    frozenset(("corrected", "accepted", "imported")),
)
"""Qualities of which a nucleus has one at most."""

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

_SIZES = ("large", "medium", "small")
_EVERY = ("all", "every", "everything", "any", "each")
_PASSED_OVER = (
    *(Kind.GLUE, Kind.LINK, Kind.SHAPE, Kind.PICTURE, Kind.TISSUE, Kind.OF, Kind.FROM),
    *(Kind.WITH, Kind.IN, Kind.ON, Kind.DRAWN),
)


class Reader:
    """Reads the items of one text.

    Parameters
    ----------
    items
        All of them known.
    mpp
        µm per pixel, or None.
    """

    def __init__(self, items: Sequence[Item], mpp: float | None) -> None:
        self._items, self._mpp = items, mpp
        self._at = 0
        self._wanted: list[str] = []
        self._left_out: list[str] = []
        self._groups: list[list[Condition]] = []
        self._tissues: list[str] = []  # classes in whose tissue nuclei should lie
        self._head = False  # "nuclei" was there
        self._link = ""  # "and", "or" or "," since the last part
        self._last = ""  # kind of the last part
        self._no = ""  # "not" or "except" while it holds
        self._no_word = ""
        self._no_kind = ""  # of the part that it was used for
        self._said: list[Condition] = []  # all conditions, in their order
        self._before = 0  # how many of them there were at the last link
        self._sizes = [
            limit.unit
            for at in range(len(items))
            if (limit := _quiet_limit(items, at))
            and limit.unit
            and limit.attribute in (None, "size")
        ]

    def query(self, text: str) -> Query:
        """Return what the text asks for.

        Raises
        ------
        Refused
            If it has no meaning.
        """
        while self._at < len(self._items):
            self._step()
        if self._no and not self._no_kind:
            raise Refused(f"“{self._no_word}” what?")
        if self._link in ("and", "or"):
            raise Refused(f"something is missing after “{self._link}”")
        self._place_in_tissue()
        if not (self._wanted or self._left_out or self._groups or self._head):
            raise Refused("it names neither nuclei nor what they should be like")
        both = set(self._wanted) & set(self._left_out)
        if both:
            raise Refused(f"{both.pop()} nuclei are asked for and left out at once")
        groups = list(dict.fromkeys(tuple(dict.fromkeys(group)) for group in self._groups))
        _check_qualities(groups)
        return Query(_once(self._wanted), _once(self._left_out), tuple(groups), text)

    # ---- one part

    def _step(self) -> None:
        """Read the part that begins here."""
        item = self._items[self._at]
        if item.kind is Kind.QUESTION:
            raise Refused("questions are not answered here; say which nuclei to find")
        readers = (
            self._limit,
            self._place_word,
            self._company,
            self._no_or_but,
            self._relation,
            self._inside,
            self._along,
            self._distance,
            self._level,
            self._class,
            self._quality,
            self._comparative,
            self._outlined,
        )
        if any(reader(item) for reader in readers):
            return
        if item.is_a(Kind.NUCLEI):
            self._head = True
        elif item.is_a(Kind.AND, Kind.OR, Kind.COMMA):
            self._set_link({Kind.AND: "and", Kind.OR: "or"}.get(item.meanings[0][0], ","))
        elif item.is_a(Kind.TO) and self._last == "quality":
            self._set_link("or")
        elif not item.is_a(*_PASSED_OVER):
            raise Refused(self._what_is_missing(item))
        self._at += 1

    def _what_is_missing(self, item: Item) -> str:
        if item.is_a(Kind.MEASURE):
            return f"“{item.said}”: above, below or between what?"
        if item.is_a(Kind.NUMBER, Kind.UNIT):
            return f"“{item.said}”: more or less than that, and of what?"
        return (
            f"“{item.said}” of, from or than what?"
            if item.is_a(Kind.THAN)
            else (f"“{item.said}” what?")
        )

    def _set_link(self, link: str) -> None:
        # A comma before "and" adds nothing to it.
        if not (link == "," and self._link):
            self._link = link
        self._before = len(self._said)

    def _negated(self, kind: str) -> bool:
        """Return whether the next part, of a kind, is negated; and note that there is one."""
        link, self._link = self._link, ""
        last, self._last = self._last, kind
        self._joined = link
        if link == "or" and last and (last == "class") != (kind == "class"):
            raise Refused("“or” joins classes, or conditions, but not one with the other")
        if not self._no:
            return False
        if not self._no_kind:
            self._no_kind = kind
            self._joined = "" if link == "or" else link
            return True
        same = kind == self._no_kind
        if self._no == "except":
            if not link and not self._no_ended:
                raise Refused(
                    f"what follows “{self._no_word}” is too much at once; leave out one thing, or "
                    "a list of classes"
                )
            carried = same and (link in ("and", "or") or kind == "class") and bool(link)
        else:
            carried = same and (link == "or" or (link == "and" and kind == "class"))
            carried = carried or (same and link == "," and kind == "class" and self._list_goes_on())
        if carried:
            self._joined = "and"
            return True
        self._no = ""
        return False

    @property
    def _no_ended(self) -> bool:
        return self._no != "except"

    def _list_goes_on(self) -> bool:
        """Return True if the class here is one of a list that ends with "or"."""
        at = self._at
        while is_a(self._items, at, Kind.CLASS, Kind.NUCLEI, Kind.COMMA, Kind.GLUE):
            at += 1
        return is_a(self._items, at, Kind.OR)

    def _add(self, kind: str, groups: Iterable[Iterable[Condition]]) -> None:
        """Take in groups of conditions that hold together; a negation turns them around."""
        groups = [list(group) for group in groups]
        if self._negated(kind):
            # Not both is: not the one, or not the other.
            groups = _opposite(groups)
        self._said += [one for group in groups for one in group]
        if self._joined == "or" and self._groups and len(groups) == 1:
            self._groups[-1] += groups[0]
        elif self._joined in ("and", ",") and self._excludes_last(groups):
            self._groups[-1] += groups[0]
        else:
            self._groups += groups

    def _excludes_last(self, groups: list[list[Condition]]) -> bool:
        """Return True for a quality that no nucleus can have together with the last one."""
        if not self._groups or len(groups) != 1 or len(groups[0]) != 1:
            return False
        here, before = groups[0][0], self._groups[-1]
        return (
            isinstance(here, Quality)
            and not here.negated
            and all(
                isinstance(one, Quality) and not one.negated and _exclude(one.name, here.name)
                for one in before
            )
        )

    # ---- the kinds of parts; each returns True if it was one

    def _limit(self, item: Item) -> bool:
        limit = limit_at(self._items, self._at)
        if limit is None:
            return self._bare_distance()
        if limit.may_be_distance and self._distance_from(limit):
            return True
        if limit.of_distance:
            if self._attach(limit):
                return True
            raise Refused(f"“{item.said} {limit.ends[0][1]:g}” of or from what?")
        if limit.may_be_distance and self._joined_to_relation() and self._attach(limit):
            return True
        bounds = bounds_of(limit, self._mpp, self._sizes[0] if self._sizes else None)
        self._at = limit.end
        self._add("limit", [[bound] for bound in bounds])
        return True

    def _joined_to_relation(self) -> bool:
        return self._last == "relation" and self._link in ("", ",")

    def _bare_distance(self) -> bool:
        """Read "20 µm from the border", or "20 µm" behind a relation."""
        found = number_at(self._items, self._at)
        if found is None or found[1] is None or found[1][0] not in ("um", "px"):
            return False
        value, unit, end = found
        limit = Limit((("<=", value),), unit, None, False, True, end)
        if self._distance_from(limit):
            return True
        return self._joined_to_relation() and self._attach(limit)

    def _distance_from(self, limit: Limit) -> bool:
        """Read a limit that is followed by what the distance is from."""
        items, at = self._items, limit.end
        while is_a(items, at, Kind.AWAY, Kind.GLUE, Kind.DISTANCE):
            at += 1
        if is_a(items, at, Kind.RELATION) and items[at].value(Kind.RELATION) == "far":
            at += 1  # "away from"
        elif is_a(items, at, Kind.FROM, Kind.TO) or (
            limit.of_distance and is_a(items, at, Kind.OF)
        ):
            at += 1
        elif limit.of_distance and is_a(items, at, Kind.RELATION):
            at += 1  # "within 20 µm around"
        else:
            return False
        target = target_at(items, at)
        if target is None:
            return False
        self._at = target.end
        self._relate(_kind_of(limit), target, limit.micrometres(self._mpp))
        return True

    def _attach(self, limit: Limit) -> bool:
        """Give the relation before a limit its distance."""
        group = self._groups[-1] if self._groups else []
        kind = _kind_of(limit)
        if not (self._last == "relation" and group):
            return False
        if not all(isinstance(one, Relation) and one.kind == kind for one in group):
            return False
        if any(isinstance(one, Relation) and one.limit_um is not None for one in group):
            return False
        distance = limit.micrometres(self._mpp)
        self._groups[-1] = [
            Relation(one.kind, one.target, distance, one.negated)
            for one in group
            if isinstance(one, Relation)
        ]
        self._at, self._link = limit.end, ""
        return True

    def _place_word(self, item: Item) -> bool:
        if item.kind is not Kind.PLACE:
            return False
        kind, target = item.value(Kind.PLACE).split(":")
        self._at += 1
        self._add("relation", [[Relation(kind, target)]])
        return True

    def _company(self, item: Item) -> bool:
        """Read "with tumour nuclei nearby", "without neighbours that touch"."""
        items, at = self._items, self._at
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
        limit = _quiet_limit(items, loose(items, at))
        if limit is not None and limit.may_be_distance and _kind_of(limit) == "near":
            end = limit.end
            if is_a(items, end, Kind.OF, Kind.FROM) and target_at(items, end + 1):
                return False
            distance, at = limit.micrometres(self._mpp), end
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
            self._at = at
            self._add("quality", [[Quality("isolated", not without)]])
            return True
        if names[0].startswith("-"):
            return False
        self._at = at
        relation = Relation(kind, names[0], distance)
        self._add("relation", [[relation.opposite() if without else relation]])
        return True

    def _no_or_but(self, item: Item) -> bool:
        if item.kind is Kind.BUT:
            following = loose(self._items, self._at + 1)
            before = {word for one in self._items[: self._at] for word in one.text.split()}
            content = self._wanted or self._groups or self._left_out
            if is_a(self._items, following, Kind.NOT, Kind.EXCEPT):
                self._set_link("and")
            elif not content and before.intersection(_EVERY):
                self._begin_no("except", item.said)
            else:
                self._set_link("and")
        elif item.kind in (Kind.NOT, Kind.EXCEPT):
            self._begin_no("not" if item.kind is Kind.NOT else "except", item.said)
        else:
            return False
        self._at += 1
        return True

    def _begin_no(self, no: str, word: str) -> None:
        if self._no and not self._no_kind:
            raise Refused(f"“{self._no_word} {word}” is said twice over")
        self._no, self._no_word, self._no_kind = no, word, ""

    def _relation(self, item: Item) -> bool:
        if item.is_a(Kind.CLOSER):
            kind = "near" if item.value(Kind.CLOSER) == "<" else "far"
            begin = self._at + 1
            begin += is_a(self._items, begin, Kind.TO, Kind.FROM)
        elif item.is_a(Kind.BETWEEN):
            kind, begin = "near", self._at + 1
        elif item.is_a(Kind.NEIGHBOR):
            kind, begin = "near", loose(self._items, self._at + 1)
            if not is_a(self._items, begin, Kind.CLASS):
                return False
        elif item.kind is Kind.RELATION or (item.is_a(Kind.RELATION) and not item.is_a(Kind.AWAY)):
            kind, begin = item.value(Kind.RELATION), self._at + 1
        else:
            return False
        target = target_at(self._items, begin)
        if target is None and self._relations_joined(kind, begin):
            return True
        if target is None:
            alone = self._head or self._wanted
            if kind != "touching" or not alone:
                raise Refused(f"“{item.said}” what?")
            target = Target((ALL,), begin)
        self._at = target.end
        self._relate(kind, target, None)
        return True

    def _relations_joined(self, kind: str, at: int) -> bool:
        """Read what follows "near" in "near or touching tumour nuclei"."""
        items, behind = self._items, loose(self._items, at + 1)
        if not (is_a(items, at, Kind.OR, Kind.AND) and is_a(items, behind, Kind.RELATION)):
            return False
        target = target_at(items, behind + 1)
        if target is None:
            return False
        link = "or" if items[at].is_a(Kind.OR) else "and"
        self._relate(kind, target, None)
        self._set_link(link)
        self._relate(items[behind].value(Kind.RELATION), target, None)
        self._at = target.end
        return True

    def _relate(self, kind: str, target: Target, limit_um: float | None) -> None:
        """Take in a relation, in the sense that it has for its target."""
        relations: list[Condition] = []
        for name in target.names:
            if name == EDGE:
                relations.append(Relation("at", EDGE, limit_um, negated=kind == "far"))
            elif name == BORDER and kind == "touching":
                relations.append(Relation("near", BORDER, limit_um))
            else:
                relations.append(Relation(kind, name, limit_um))
        self._add("relation", [relations] if target.either else [[one] for one in relations])

    def _inside(self, item: Item) -> bool:
        """Read "inside the border", "in the tumour", "outside of it"."""
        within = item.is_a(Kind.WITHIN)
        sure = item.is_a(Kind.INSIDE) or within
        if not (sure or item.is_a(Kind.IN)):
            return False
        inside = bool(item.value(Kind.INSIDE)) or not item.is_a(Kind.INSIDE)
        place = place_at(self._items, self._at + 1)
        if place is None or (place.name in ("", "tissue") and inside):
            if sure and (place is None):
                raise Refused(f"“{item.said}” what?")
            self._at = self._at + 1 if place is None else place.end
            return True
        if place.name in (EDGE, "") and not (place.name == EDGE and place.along and inside):
            raise Refused("all nuclei are in the image; “at the image edge” is understood")
        self._at = place.end
        if place.name == EDGE:
            self._add("relation", [[Relation("at", EDGE)]])
        elif place.name in (BORDER, "tissue"):
            relation = Relation("near" if place.along and inside else "in", BORDER)
            self._add("relation", [[relation if inside else relation.opposite()]])
        elif inside and not self._no:
            self._tissues.append(place.name)
        else:
            raise Refused(_where(place.name))
        return True

    def _along(self, item: Item) -> bool:
        """Read "at the border", "on the edge of the image"."""
        if not item.is_a(Kind.ON):
            return False
        outline = outline_at(self._items, self._at + 1)
        if outline is None:
            return False
        self._at = outline[1]
        self._relate("near", Target((outline[0],), outline[1]), None)
        return True

    def _outlined(self, item: Item) -> bool:
        """Read "edge nuclei", "tumour region nuclei"."""
        outline = outline_at(self._items, self._at)
        if outline is None or not is_a(self._items, outline[1], Kind.NUCLEI, Kind.REGION):
            return False
        self._at = outline[1] + is_a(self._items, outline[1], Kind.REGION)
        self._relate("near", Target((outline[0],), outline[1]), None)
        return True

    def _distance(self, item: Item) -> bool:
        """Read "distance to the border below 20 µm", "at a distance of less than 20 µm from it"."""
        if not item.is_a(Kind.DISTANCE):
            return False
        items, at = self._items, self._at + 1
        if is_a(items, at, Kind.TO, Kind.FROM, Kind.OF):
            target = target_at(items, at + 1)
            if target is not None:
                limit = limit_at(items, loose(items, target.end))
                if limit is None or not limit.may_be_distance:
                    raise Refused(f"“{item.said}”: more or less than what?")
                self._at = limit.end
                self._relate(_kind_of(limit), target, limit.micrometres(self._mpp))
                return True
        limit = limit_at(items, loose(items, at))
        if limit is not None and limit.may_be_distance and self._distance_from(limit):
            return True
        raise Refused(f"“{item.said}” from what, and how much?")

    def _level(self, item: Item) -> bool:
        """Read "high eccentricity", "score is low", "size: large"."""
        items, at = self._items, self._at
        if item.is_a(Kind.MEASURE):
            end = loose(items, at + 1)
            end += is_a(items, end, Kind.COMMA) and items[end].text == ":"
            if is_a(items, end, Kind.QUALITY) and items[end].value(Kind.QUALITY) in _SIZES:
                self._at = end
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
        self._at = end + 1
        self._add("quality", [[_quality(quality)]])
        return True

    def _class(self, item: Item) -> bool:
        if item.kind is not Kind.CLASS:
            return False
        if outline_at(self._items, self._at):
            return False
        region = region_at(self._items, self._at)
        if region is not None:  # "nuclei of the tumour area"
            if not (self._head or self._wanted or is_a(self._items, region, Kind.NUCLEI)):
                raise Refused(f"what of “{item.said} …”? “nuclei in the tumour” is understood")
            self._at = region
            self._add("relation", [[Relation("in", BORDER)]])
            return True
        found = class_at(self._items, self._at)
        assert found is not None
        name, end = found
        last = self._last
        negated = self._negated("class")
        self._at = end
        if name.startswith("-"):
            name, negated = name[1:], not negated
        names = self._left_out if negated else self._wanted
        if not negated and self._wanted:
            if not self._joined and last == "class" and self._wanted[-1] != name:
                raise Refused(
                    f"a nucleus has one class, not {self._wanted[-1]} and {name}; say “or” "
                    "between them"
                )
            before, since = self._said[: self._before], self._said[self._before :]
            fresh = any(isinstance(one, Quality) and one not in before for one in since)
            if last == "quality" and fresh and name not in self._wanted:
                raise Refused(
                    f"“{item.said}” nuclei would have other conditions than the {self._wanted[0]} "
                    "ones; ask for one kind at a time"
                )
        names.append(name)
        return True

    def _quality(self, item: Item) -> bool:
        if item.kind is not Kind.QUALITY:
            return False
        names = item.value(Kind.QUALITY).split()
        items = self._items
        end = self._at + 1
        if any(name.lstrip("-") in _SIZES for name in names):
            measure = end + is_a(items, end, Kind.IN, Kind.OF)
            if is_a(items, measure, Kind.MEASURE) and limit_at(items, measure) is None:
                end = measure + 1
        if is_a(items, end, Kind.THAN):
            raise Refused(f"“{item.said} than” what? Sizes are compared with numbers")
        self._at = end
        self._add("quality", [[_quality(name)] for name in names])
        return True

    def _comparative(self, item: Item) -> bool:
        """Read "larger nuclei", "more irregular"."""
        if not item.is_a(Kind.LARGER):
            return False
        op, what = item.value(Kind.LARGER)
        following = loose(self._items, self._at + 1)
        average = is_a(self._items, following + 1, Kind.AVERAGE)
        if is_a(self._items, following, Kind.THAN) and not average:
            raise Refused(f"“{item.said} than” what? Sizes are compared with numbers")
        if what is None and op == ">" and is_a(self._items, following, Kind.QUALITY):
            self._at = following
            return True
        names = {(">", "size"): "large", ("<", "size"): "small", (">", "diameter"): "elongated"}
        if (op, what) not in names or item.text not in ("larger", "bigger", "smaller", "longer"):
            raise Refused(f"“{item.said}” than what?")
        self._at = following + 2 if average else self._at + 1
        self._add("quality", [[Quality(names[op, what])]])
        return True

    def _place_in_tissue(self) -> None:
        """Understand nuclei "in the stroma" as those of its class, and nothing else."""
        for name in self._tissues:
            if self._wanted and set(self._wanted) != {name}:
                raise Refused(_where(name))
            self._wanted = [name]


def _where(name: str) -> str:
    return f"where {name} tissue is, is not known; “near {name} nuclei” is understood"


def _quiet_limit(items: Sequence[Item], at: int) -> Limit | None:
    try:
        return limit_at(items, at)
    except Refused:
        return None


def _kind_of(limit: Limit) -> str:
    return "far" if limit.ends[0][0] in (">", ">=") else "near"


def _quality(name: str) -> Quality:
    return Quality(name.lstrip("-"), name.startswith("-"))


def _opposite(groups: list[list[Condition]]) -> list[list[Condition]]:
    if len(groups) > 1:
        return [[one.opposite() for group in groups for one in group]]
    return [[one.opposite()] for one in groups[0]]


def _exclude(one: str, other: str) -> bool:
    return one == other or any(one in names and other in names for names in EXCLUSIVE)


def _once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _check_qualities(groups: Iterable[Sequence[Condition]]) -> None:
    """Refuse qualities that no nucleus has together."""
    single = [g[0] for g in groups if len(g) == 1 and isinstance(g[0], Quality)]
    positive = [one.name for one in single if not one.negated]
    for one in single:
        if one.negated and one.name in positive:
            raise Refused(f"{one.name} and not {one.name} cannot be")
        rivals = [p for p in positive if p != one.name and _exclude(p, one.name)]
        if not one.negated and rivals:
            raise Refused(f"a nucleus is not {one.name} and {rivals[0]} at once; say “or”")
