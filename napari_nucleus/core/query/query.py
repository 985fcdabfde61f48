"""What was asked for, as a value: classes, and conditions on the nuclei; and how it is said.

Knows neither the words that lead to it (`words`, `grammar`) nor nuclei (`answer`). `Query.notation`
is the short form in which two readings are compared, `Query.describe` the line that a user reads.
That line is itself a text that is understood, as the same query.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = [
    "ALL",
    "BORDER",
    "CLASSES",
    "EDGE",
    "QUALITIES",
    "UNCLASSIFIED",
    "Bound",
    "Condition",
    "Quality",
    "Query",
    "Relation",
    "Unknown",
]

UNCLASSIFIED = "unclassified"

CLASSES = ("neoplastic", "inflammatory", "connective", "dead", "epithelial", UNCLASSIFIED)
"""Classes by their canonical names; a scheme can have others, by its own names."""

QUALITIES = (
    *("large", "medium", "small"),
    *("round", "oval", "elongated", "irregular", "regular"),
    *("dark", "pale"),
    *("isolated", "crowded"),
    *("doubtful", "corrected", "accepted", "imported"),
)
"""What a nucleus can be; the rules are in `rules`."""

ALL, BORDER, EDGE = "all", "border", "edge"
"""Where relations lead, besides classes: other nuclei, the drawn border, the edge of the image."""

_OPPOSITE = {">": "<=", "<": ">=", ">=": "<", "<=": ">"}

_MORE_OR_LESS = {
    ">": "more than",
    "<": "less than",
    ">=": "at least",
    "<=": "at most",
}
_LARGER_OR_SMALLER = {**_MORE_OR_LESS, ">": "larger than", "<": "smaller than"}

_UNITS = {"area": " µm²", "diameter": " µm"}


@dataclass(frozen=True, slots=True)
class Quality:
    """What nuclei are, one of `QUALITIES`, or are not."""

    name: str
    negated: bool = False

    def __str__(self) -> str:
        return f"-{self.name}" if self.negated else self.name

    def opposite(self) -> Quality:
        """Return what is asked of the nuclei for which this does not hold."""
        return Quality(self.name, not self.negated)

    def words(self) -> str:
        """Return it in words."""
        return f"not {self.name}" if self.negated else self.name


@dataclass(frozen=True, slots=True)
class Bound:
    """A limit that a nucleus keeps to.

    Parameters
    ----------
    attribute
        ``area`` (µm²), ``diameter`` (µm, of the circle of the same area), ``eccentricity``,
        ``solidity`` or ``score``.
    op
        ``>``, ``<``, ``>=`` or ``<=``.
    value
        The limit.
    """

    attribute: str
    op: str
    value: float

    def __str__(self) -> str:
        return f"{self.attribute}{self.op}{self.value:g}"

    def opposite(self) -> Bound:
        """Return the limit that the others keep to."""
        return Bound(self.attribute, _OPPOSITE[self.op], self.value)

    def words(self) -> str:
        """Return it in words."""
        value = f"{_plain(self.value)}{_UNITS.get(self.attribute, '')}"
        if self.attribute == "area":
            return f"{_LARGER_OR_SMALLER[self.op]} {value}"
        return f"{self.attribute} {_MORE_OR_LESS[self.op]} {value}"


@dataclass(frozen=True, slots=True)
class Relation:
    """Where nuclei lie.

    Parameters
    ----------
    kind
        ``touching``, ``near``, ``far``, ``in`` or ``at``.
    target
        A class, `ALL`, `BORDER` or `EDGE`.
    limit_um
        How near or far, µm; None for what `rules` says.
    negated
        True for the nuclei that do not lie so.
    """

    kind: str
    target: str
    limit_um: float | None = None
    negated: bool = False

    def __str__(self) -> str:
        op = ">" if self.kind == "far" else "<="
        limit = "" if self.limit_um is None else f"{op}{self.limit_um:g}"
        return f"{'-' * self.negated}{self.kind}:{self.target}{limit}"

    def opposite(self) -> Relation:
        """Return what is asked of the nuclei that do not lie so."""
        return Relation(self.kind, self.target, self.limit_um, not self.negated)

    def words(self) -> str:
        """Return it in words."""
        places = {ALL: "other nuclei", BORDER: "the border", EDGE: "the image edge"}
        where = places.get(self.target, f"{self.target} nuclei")
        if self.kind == "in":
            return f"{'outside' if self.negated else 'inside'} {where}"
        far = self.kind == "far"
        if self.limit_um is None:
            # "Not far from" means near in everybody's mouth.
            says = ("distant from" if self.negated else "far from") if far else self.kind
        else:
            limit = f"{_plain(self.limit_um)} µm"
            says = f"more than {limit} from" if far else f"within {limit} of"
            if far and self.negated:
                says = f"those {says}"
        return f"{'not ' * self.negated}{says} {where}"


Condition = Quality | Bound | Relation


@dataclass(frozen=True, slots=True)
class Query:
    """Which nuclei are asked for.

    Parameters
    ----------
    classes
        Of one of these classes; empty for any.
    left_out
        Of none of these.
    conditions
        Groups of conditions; of each group one holds at least.
    text
        What was typed.
    """

    classes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    conditions: tuple[tuple[Condition, ...], ...] = ()
    text: str = field(default="", compare=False)

    def notation(self) -> str:
        """Return its short form: sorted, with spaces, such as ``area<40 inflammatory``."""
        parts = {*(self.classes or (ALL,)), *(f"-{name}" for name in self.left_out)}
        parts.update(str(condition) for group in self.conditions for condition in group)
        return " ".join(sorted(parts))

    def describe(self, count: int | None = None) -> str:
        """Return how it was understood, in one line, and how many nuclei were found."""
        before: list[str] = []
        after = [f"not {name}" for name in self.left_out]
        rest = list(self.conditions)
        while rest:
            group = rest.pop(0)
            end = next((other for other in rest if _is_range(group, other)), None)
            if end is not None:
                rest.remove(end)
                after.append(_range(group, end))
            elif all(isinstance(c, Quality) and not c.negated for c in group):
                before.append(" or ".join(c.words() for c in group))
            else:
                # What is not wanted comes last: "not A or B" says neither.
                ordered = sorted(group, key=lambda c: str(c).startswith("-"))
                after.append(" or ".join(c.words() for c in ordered))
        kinds = " or ".join(self.classes)
        if not (kinds or before or after):
            kinds = ALL
        head = " ".join(part for part in (", ".join(before), kinds, "nuclei") if part)
        line = ", ".join((head, *after))
        return line if count is None else f"{line}: {count:,}"


def _plain(value: float) -> str:
    """Return a number without an exponent."""
    text = f"{value:g}"
    return f"{value:.9f}".rstrip("0").rstrip(".") if "e" in text else text


def _ends(*groups: tuple[Condition, ...]) -> list[Bound]:
    """Return the limits that groups of one are, the lower one first."""
    bounds = [g[0] for g in groups if len(g) == 1 and isinstance(g[0], Bound)]
    return sorted(bounds, key=lambda bound: bound.op, reverse=True)


def _is_range(one: tuple[Condition, ...], other: tuple[Condition, ...]) -> bool:
    """Return True if two groups are both ends of a range, so that they can be said as one."""
    ends = _ends(one, other)
    return (
        [end.op for end in ends] == [">=", "<="]
        and ends[0].attribute == ends[1].attribute
        and ends[0].value <= ends[1].value
    )


def _range(one: tuple[Condition, ...], other: tuple[Condition, ...]) -> str:
    low, high = _ends(one, other)
    unit = _UNITS.get(low.attribute, "")
    return f"{low.attribute} between {_plain(low.value)} and {_plain(high.value)}{unit}"


@dataclass(frozen=True, slots=True)
class Unknown:
    """A text that was not understood; nothing is shown for it.

    Parameters
    ----------
    why
        What is wrong with it, a clause without a full stop.
    words
        Words that are not known, in their order.
    """

    why: str
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"Not understood: {self.why}."
