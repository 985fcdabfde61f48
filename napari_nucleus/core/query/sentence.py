"""What is known of a sentence while it is read: classes, conditions, links and negations so far.

Holds the rules of "and", "or" and "not" (`grammar`); what the parts are is the business of `parts`
and `relations`, which move `at` on and call `add`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from napari_nucleus.core.query.lexicon import Kind
from napari_nucleus.core.query.limits import Limit, Refused, limit_at
from napari_nucleus.core.query.query import BORDER, EDGE, Condition, Quality, Query, Relation
from napari_nucleus.core.query.targets import Target, is_a
from napari_nucleus.core.query.tokens import Item

__all__ = ["EXCLUSIVE", "Sentence", "quiet_limit", "where"]

EXCLUSIVE = (
    frozenset(("large", "medium", "small")),
    frozenset(("round", "oval", "elongated")),
    frozenset(("irregular", "regular")),
    frozenset(("dark", "pale")),
    frozenset(("isolated", "crowded")),
    frozenset(("corrected", "accepted", "imported")),
)
"""Qualities of which a nucleus has one at most."""


class Sentence:
    """A text that is being read, from left to right.

    Parameters
    ----------
    items
        All of them known.
    mpp
        µm per pixel, or None.

    Attributes
    ----------
    at
        The item that is read next.
    wanted, left_out
        Classes so far.
    tissues
        Classes in whose tissue nuclei should lie.
    has_head
        True once "nuclei" was there.
    link
        "and", "or" or "," since the last part, else "".
    last
        Kind of the last part: class, quality, limit or relation.
    usual_unit
        The unit of a size that has one, for those that have none.
    """

    def __init__(self, items: Sequence[Item], mpp: float | None) -> None:
        self.items, self.mpp = items, mpp
        self.at = 0
        self.wanted: list[str] = []
        self.left_out: list[str] = []
        self.tissues: list[str] = []
        self.has_head = False
        self.link = ""
        self.last = ""
        limits = (quiet_limit(items, at) for at in range(len(items)))
        units = (x.unit for x in limits if x is not None and x.attribute in (None, "size"))
        self.usual_unit = next((unit for unit in units if unit is not None), None)
        self._groups: list[list[Condition]] = []
        self._joined = ""  # how the part that is being added is joined to the last one
        self._parts = 0  # groups that the last part has brought
        self._no = ""  # "not" or "except" while it holds
        self._no_word = ""
        self._no_kind = ""  # of the part that it was used for
        self._said: list[Condition] = []  # all conditions, in their order
        self._before = 0  # how many of them there were at the last link

    @property
    def has_content(self) -> bool:
        """True once it asks for something."""
        return bool(self.wanted or self.left_out or self._groups)

    @property
    def is_negated(self) -> bool:
        """True if the next part is what is not wanted."""
        return bool(self._no and not self._no_kind)

    def query(self, text: str) -> Query:
        """Return what the whole text asks for.

        Raises
        ------
        Refused
            If it has no meaning.
        """
        if self.is_negated:
            raise Refused(f"“{self._no_word}” what?")
        if self.link in ("and", "or"):
            raise Refused(f"something is missing after “{self.link}”")
        for name in self.tissues:
            # Nuclei "in the stroma" are those of its class, and nothing else.
            if self.wanted and set(self.wanted) != {name}:
                raise Refused(where(name))
            self.wanted = [name]
        if not (self.has_content or self.has_head):
            raise Refused("it names neither nuclei nor what they should be like")
        both = sorted(set(self.wanted) & set(self.left_out))
        if both:
            raise Refused(f"{both[0]} nuclei are asked for and left out at once")
        groups = tuple(dict.fromkeys(tuple(dict.fromkeys(group)) for group in self._groups))
        _check_qualities(groups)
        return Query(_once(self.wanted), _once(self.left_out), groups, text)

    # ---- links and negations

    def set_link(self, link: str) -> None:
        """Note a link between parts; a comma beside "and" adds nothing to it."""
        if not (link == "," and self.link):
            self.link = link
        self._before = len(self._said)

    def begin_no(self, no: str, word: str) -> None:
        """Note a negation, "not" or "except", in the word that was typed."""
        if self.is_negated:
            raise Refused(f"“{self._no_word} {word}” is said twice over")
        self._no, self._no_word, self._no_kind = no, word, ""

    def next_is_negated(self, kind: str) -> bool:
        """Note that a part of a kind comes next, and return whether a negation concerns it."""
        link, self.link = self.link, ""
        last, self.last = self.last, kind
        self._joined = link
        if link == "or" and last and (last == "class") != (kind == "class"):
            raise Refused("“or” joins classes, or conditions, but not one with the other")
        if not self._no:
            return False
        if not self._no_kind:
            self._no_kind = kind
            return True
        if self._no == "except" and not link:
            raise Refused(
                f"what follows “{self._no_word}” is too much at once; leave out one thing, or a "
                "list of classes"
            )
        if kind == self._no_kind and self._reaches(link, kind):
            self._joined = "and"  # neither the one nor the other
            return True
        self._no = ""
        return False

    def _reaches(self, link: str, kind: str) -> bool:
        """Return True if a negation goes on over a link to another part of its kind."""
        if self._no == "except":
            return link in ("and", "or") or kind == "class"
        if link == "," and kind == "class":
            at = self.at
            while is_a(self.items, at, Kind.CLASS, Kind.NUCLEI, Kind.COMMA, Kind.GLUE):
                at += 1
            return is_a(self.items, at, Kind.OR)
        return link == "or" or (link == "and" and kind == "class")

    # ---- parts

    def add_class(self, name: str, word: str) -> None:
        """Take in a class, with "-" for all but it."""
        last = self.last
        negated = self.next_is_negated("class")
        if name.startswith("-"):
            name, negated = name[1:], not negated
        if negated:
            self.left_out.append(name)
            return
        if self.wanted and name not in self.wanted:
            if not self._joined and last == "class":
                raise Refused(
                    f"a nucleus has one class, not {self.wanted[-1]} and {name}; say “or” between "
                    "them"
                )
            before, since = self._said[: self._before], self._said[self._before :]
            if last == "quality" and any(one not in before for one in since):
                raise Refused(
                    f"“{word}” nuclei would have other conditions than the {self.wanted[0]} ones; "
                    "ask for one kind at a time"
                )
        self.wanted.append(name)

    def add(self, kind: str, groups: Iterable[Iterable[Condition]]) -> None:
        """Take in groups of conditions that hold together; a negation turns them around."""
        added = [list(group) for group in groups]
        if self.next_is_negated(kind):
            added = _opposite(added)
        self._said += [one for group in added for one in group]
        either = self._joined == "or" and bool(self._groups)
        if either and not (len(added) == self._parts == 1):
            raise Refused("“or” joins single conditions, not ranges or several at once")
        if either or self._excludes_last(added):
            self._groups[-1] += added[0]
        else:
            self._groups += added
        self._parts = len(added)

    def _excludes_last(self, groups: list[list[Condition]]) -> bool:
        """Return True for a quality that no nucleus can have together with the last one."""
        if not (self._groups and self._joined in ("and", ",") and len(groups) == 1):
            return False
        names = [_positive(one) for one in (*groups[0], *self._groups[-1])]
        return all(name and _exclude(name, names[0]) for name in names)

    def relate(self, kind: str, target: Target, limit_um: float | None = None) -> None:
        """Take in a relation, in the sense that it has for its target."""
        relations: list[Condition] = []
        for name in target.names:
            if name == EDGE:
                relations.append(Relation("at", EDGE, limit_um, negated=kind == "far"))
            elif name == BORDER and kind == "touching":
                relations.append(Relation("near", BORDER, limit_um))
            else:
                relations.append(Relation(kind, name, limit_um))
        self.add("relation", [relations] if target.either else [[one] for one in relations])

    def attach(self, limit: Limit, kind: str) -> bool:
        """Give the relation before a limit its distance; return False if there is none to give."""
        group = self._groups[-1] if self._groups and self.last == "relation" else []
        relations = [one for one in group if isinstance(one, Relation)]
        if not relations or any(one.kind != kind or one.limit_um is not None for one in relations):
            return False
        distance = limit.micrometres(self.mpp)
        self._groups[-1] = [
            Relation(one.kind, one.target, distance, one.negated) for one in relations
        ]
        self.at, self.link = limit.end, ""
        return True


def quiet_limit(items: Sequence[Item], at: int) -> Limit | None:
    """Return the limit at a place; None also where it cannot be."""
    try:
        return limit_at(items, at)
    except Refused:
        return None


def where(name: str) -> str:
    """Return why nuclei in the tissue of a class are not found."""
    return f"where {name} tissue is, is not known; “near {name} nuclei” is understood"


def _opposite(groups: list[list[Condition]]) -> list[list[Condition]]:
    """Return the opposite: not both is not the one, or not the other."""
    if len(groups) > 1:
        return [[one.opposite() for group in groups for one in group]]
    return [[one.opposite()] for one in groups[0]]


def _positive(condition: Condition) -> str:
    """Return the quality that a condition asks for, or ""."""
    if isinstance(condition, Quality) and not condition.negated:
        return condition.name
    return ""


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
