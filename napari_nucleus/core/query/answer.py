"""Which nuclei a query means, and how sure that is.

The score of a nucleus is how sure its class is times how clearly it keeps the conditions. The
first is the model's probability of the classes asked for, 1 where a person named the class, and
where any class will do the score with which it was found. The second is 0.5 at the limit of a
condition and 1 far inside, the least of all conditions; where either of two is enough, the clearer
one counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.query.conditions import (
    Judge,
    either_epithelial,
    ids_of_class,
    is_quality,
    members_of,
)
from napari_nucleus.core.query.query import (
    ALL,
    BORDER,
    Bound,
    Condition,
    Query,
    Relation,
)
from napari_nucleus.core.query.rules import FEW
from napari_nucleus.core.query.table import DARKNESS, SHAPE, TOUCHING, NucleiTable
from napari_nucleus.errors import QueryError

__all__ = ["Answer", "answer", "check", "prepare"]


@dataclass(frozen=True, eq=False, slots=True)
class Answer:
    """The nuclei that a query means.

    Parameters
    ----------
    ids
        ``(k,)`` ascending.
    scores
        ``(k,)`` in 0–1.
    note
        What to know about it, a sentence; may be empty.
    """

    ids: NDArray[np.int64]
    scores: NDArray[np.float64]
    note: str = ""

    def __len__(self) -> int:
        return len(self.ids)


def answer(query: Query, table: NucleiTable) -> Answer:
    """Return the nuclei that a query means.

    What has to be computed from pixels is computed now, all at once; see `prepare`.

    Raises
    ------
    QueryError
        If the table lacks what the query needs; a sentence for the user.
    """
    for _ in prepare(query, table):
        pass
    rows = _rows(query, table)
    held, clear = Judge(table, rows).groups(query.conditions)
    rows, clear = rows[held], clear[held]
    scores = np.clip(_certainty(query, table, rows) * clear, 0, 1)
    return Answer(table.ids[rows], scores, _note(query, table))


def prepare(query: Query, table: NucleiTable) -> Iterator[tuple[int, int]]:
    """Compute what a query needs from pixels, block by block.

    Yields
    ------
    tuple
        Nuclei that are done and nuclei in all, after each block; nothing where all is there.

    Raises
    ------
    QueryError
        As `check`.
    """
    check(query, table)
    rows = _rows(query, table)
    work = [(what, table.missing(what, rows)) for what in sorted(_needs(query))]
    total, done = sum(len(missing) for _, missing in work), 0
    for what, missing in work:
        for n in table.compute(what, missing):
            done += n
            yield done, total


def check(query: Query, table: NucleiTable) -> None:
    """Refuse in words what a table cannot answer; costs nothing that grows with pixels.

    Raises
    ------
    QueryError
        If the table lacks what the query needs.
    """
    conditions = list(_conditions(query))
    relations = [one for one in conditions if isinstance(one, Relation)]
    named = {one.target for one in relations if one.target not in (ALL, BORDER, "edge")}
    for name in (*query.classes, *query.left_out, *sorted(named)):
        ids_of_class(name, table)
    needs = _needs(query)
    if DARKNESS in needs and table.source is None:
        raise QueryError(
            "Whether nuclei are dark or pale is seen in the image, which is not at hand; nothing "
            "was chosen."
        )
    if needs and table.read is None:
        raise QueryError("The outlines of the nuclei are not at hand; nothing was chosen.")
    if any(one.target == BORDER for one in relations) and table.border is None:
        raise QueryError(
            "No border is drawn around the tumour, so that nothing is known to lie near, inside or "
            "outside of it; draw one first."
        )
    if table.mpp is None and any(_has_length(one, query, table) for one in conditions):
        raise QueryError(
            "The size of a pixel is not known, so that nothing can be found by sizes in µm or by "
            "distances; state µm per pixel first."
        )


def _conditions(query: Query) -> Iterator[Condition]:
    for group in query.conditions:
        yield from group


def _has_length(condition: Condition, query: Query, table: NucleiTable) -> bool:
    """Return True for a condition that needs the size of a pixel."""
    if isinstance(condition, Bound):
        return condition.attribute in ("area", "diameter")
    if isinstance(condition, Relation):
        return condition.limit_um is not None or condition.kind in ("near", "far")
    if is_quality(condition, "large", "medium", "small"):
        return len(_rows(query, table)) < FEW
    return is_quality(condition, "isolated", "crowded")


def _needs(query: Query) -> set[str]:
    """Return what of pixels a query needs."""
    needs: set[str] = set()
    for one in _conditions(query):
        of_shape = isinstance(one, Bound) and one.attribute in ("eccentricity", "solidity")
        if of_shape or is_quality(one, "round", "oval", "elongated", "irregular", "regular"):
            needs.add(SHAPE)
        elif is_quality(one, "dark", "pale"):
            needs.add(DARKNESS)
        elif isinstance(one, Relation) and one.kind == "touching":
            needs.add(TOUCHING)
    return needs


def _rows(query: Query, table: NucleiTable) -> NDArray[np.int64]:
    """Return the rows of the classes asked for."""
    kept = np.ones(len(table), bool)
    if query.classes:
        kept &= members_of(query.classes, table)
    if query.left_out:
        kept &= ~members_of(query.left_out, table)
    return np.flatnonzero(kept)


def _certainty(query: Query, table: NucleiTable, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    if not query.classes:
        return np.nan_to_num(table.scores[rows].astype(np.float64), nan=1.0)
    wanted = {i for name in query.classes for i in ids_of_class(name, table)}
    prob = table.class_prob[rows].astype(np.float64)
    known = prob.sum(axis=1) > 0
    sure = np.where(known, prob[:, _columns(wanted, table)].sum(axis=1), 1.0)
    either = either_epithelial(table)
    if table.guessed is None or not wanted & either:
        return sure
    both = np.where(known, prob[:, _columns(wanted | either, table)].sum(axis=1), 1.0)
    return np.where(table.guessed[rows], both, sure)


def _columns(ids: set[int], table: NucleiTable) -> list[int]:
    return [column for column, i in enumerate(table.scheme.ids) if i in ids]


def _note(query: Query, table: NucleiTable) -> str:
    """Say where a class of the scheme stands for more than was asked for."""
    relations = (one for one in _conditions(query) if isinstance(one, Relation))
    named = {*query.classes, *query.left_out, *(one.target for one in relations)}
    other = [
        f"{table.scheme.name_of(i)} for {name}"
        for name in PANNUKE.names
        if name in named and table.scheme.by_name(name) is None
        for i in ids_of_class(name, table)
    ]
    notes = [f"{table.scheme.name} has {', '.join(other)} nuclei."] if other else []
    either = {table.scheme.name_of(i) for i in either_epithelial(table)}
    if table.guessed is not None and table.guessed.any() and len(either & named) == 1:
        both = " and ".join(sorted(either))
        notes.append(f"The model does not tell {both} nuclei apart; both count.")
    return " ".join(notes)
