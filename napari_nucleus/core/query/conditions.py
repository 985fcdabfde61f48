"""Which nuclei keep a condition, and how clearly: the rules of `rules` on a `NucleiTable`.

A condition is measured by a margin: how far a nucleus lies from where the condition begins to hold,
1 for clearly inside, -1 for clearly outside, nan where nothing is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from napari_nucleus.core.cells import NEOPLASTIC_OR_EPITHELIAL
from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.neighbourhood import nearest_member
from napari_nucleus.core.query import rules
from napari_nucleus.core.query.query import (
    ALL,
    BORDER,
    EDGE,
    UNCLASSIFIED,
    Bound,
    Condition,
    Quality,
    Relation,
)
from napari_nucleus.core.query.table import DARKNESS, NucleiTable
from napari_nucleus.core.schemes import class_mapping
from napari_nucleus.errors import QueryError

__all__ = ["Judge", "either_epithelial", "ids_of_class", "members_of"]

Margins = NDArray[np.float64]

_STATES = {"corrected": "user", "accepted": "accepted", "imported": "imported"}

_SCALES = {"eccentricity": 0.1, "solidity": 0.05, "score": 0.25}
"""How far from a limit a value is clear; for sizes it is half of the limit."""


def ids_of_class(name: str, table: NucleiTable) -> tuple[int, ...]:
    """Return the ids of a class of a query in the table's scheme.

    A class of another name counts if `core.schemes` takes it for this one; where a scheme splits
    a class, all its parts count.

    Raises
    ------
    QueryError
        If the scheme has nothing like it.
    """
    scheme = table.scheme
    if name == UNCLASSIFIED:
        present = {int(i) for i in np.unique(table.class_ids)}
        return tuple(sorted({0} | (present - set(scheme.ids))))
    own, canonical = scheme.by_name(name), PANNUKE.by_name(name)
    if own is not None:
        return (own.id,)
    found: tuple[int, ...] = ()
    if canonical is not None:
        back = class_mapping(scheme, PANNUKE)
        found = tuple(i for i in scheme.ids if back[i] == canonical.id)
        there = class_mapping(PANNUKE, scheme)[canonical.id]
        found = found or ((there,) if there else ())
    if not found:
        raise QueryError(
            f"The classes of these nuclei ({scheme.name}: {', '.join(scheme.names)}) have none for "
            f"{name} nuclei; nothing was chosen."
        )
    return found


def members_of(names: Iterable[str], table: NucleiTable) -> NDArray[np.bool_]:
    """Return which nuclei ``(n,)`` are of one of some classes of a query.

    Raises
    ------
    QueryError
        As `ids_of_class`.
    """
    wanted = {i for name in names for i in ids_of_class(name, table)}
    members = np.isin(table.class_ids, sorted(wanted))
    either = either_epithelial(table)
    if table.guessed is not None and wanted & either:
        members |= table.guessed & np.isin(table.class_ids, sorted(either))
    return members


def either_epithelial(table: NucleiTable) -> set[int]:
    """Return the ids of neoplastic and of epithelial nuclei in the table's scheme."""
    back = class_mapping(table.scheme, PANNUKE)
    return {i for i, canonical in back.items() if canonical in NEOPLASTIC_OR_EPITHELIAL}


@dataclass(frozen=True, eq=False)
class Judge:
    """Judges some rows of a table.

    Parameters
    ----------
    table
        The nuclei, with what the conditions need computed.
    rows
        ``(m,)`` those of the classes asked for; "large" and "dark" are relative to them.
    """

    table: NucleiTable
    rows: NDArray[np.int64]
    _kept: dict[str, NDArray[np.float64]] = field(default_factory=dict, repr=False)

    def groups(
        self, groups: tuple[tuple[Condition, ...], ...]
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Return for which rows every group holds, ``(m,)``, and how clearly, 0.5–1."""
        held, clear = np.ones(len(self.rows), bool), np.ones(len(self.rows))
        for group in groups:
            best = np.zeros(len(self.rows))
            for condition in group:
                holds, clarity = self.condition(condition)
                best = np.maximum(best, np.where(holds, clarity, 0))
            held &= best > 0
            clear = np.minimum(clear, best)
        return held, clear

    def condition(self, condition: Condition) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Return for which rows a condition holds, and how clearly, 0.5–1."""
        if isinstance(condition, Bound):
            margin, strict = self._bound(condition), condition.op in ("<", ">")
        elif isinstance(condition, Relation):
            margin, strict = self._relation(condition), condition.kind == "far"
        else:
            margin, strict = self._quality(condition.name), False
        holds = margin > 0 if strict else margin >= 0
        if not isinstance(condition, Bound) and condition.negated:
            holds = ~holds & ~np.isnan(margin)
        return holds, 0.5 + 0.5 * np.minimum(np.abs(np.nan_to_num(margin)), 1)

    # ---- limits

    def _bound(self, bound: Bound) -> Margins:
        values = self._attribute(bound.attribute)
        scale = _SCALES.get(bound.attribute, max(0.5 * bound.value, 1e-9))
        sign = 1 if bound.op[0] == ">" else -1
        return sign * (values - bound.value) / scale

    def _attribute(self, name: str) -> Margins:
        areas = self.table.areas[self.rows].astype(np.float64)
        if name == "score":
            return np.asarray(self.table.scores[self.rows], np.float64)
        if name == "area":
            return areas * self._mpp**2
        if name == "diameter":
            return np.asarray(np.sqrt(4 * areas / np.pi) * self._mpp, np.float64)
        return self.table.values(name)[self.rows]

    @property
    def _mpp(self) -> float:
        if self.table.mpp is None:
            raise QueryError(
                "The size of a pixel is not known, so that nothing can be found by sizes or "
                "distances; state µm per pixel first."
            )
        return self.table.mpp

    # ---- qualities

    def _quality(self, name: str) -> Margins:
        table, rows = self.table, self.rows
        if name in ("large", "medium", "small"):
            return self._size(name)
        if name in ("dark", "pale"):
            return self._stain(name)
        if name in _STATES:
            return np.where(table.states[rows] == _STATES[name], 1.0, -1.0)
        if name == "doubtful":
            doubts = np.asarray(table.doubts[rows], np.float64)
            return (doubts - rules.DOUBTFUL) / (1 - rules.DOUBTFUL)
        if name == "isolated":
            return self._beyond(self._nearest(ALL), rules.ISOLATED_UM)
        if name == "crowded":
            return self._crowded()
        eccentricity = self._attribute("eccentricity")
        solidity = self._attribute("solidity")
        shapes: dict[str, Callable[[], Margins]] = {
            "round": lambda: (rules.ROUND - eccentricity) / _SCALES["eccentricity"],
            "elongated": lambda: (eccentricity - rules.ELONGATED) / (1 - rules.ELONGATED),
            "oval": lambda: (
                np.minimum(eccentricity - rules.ROUND, rules.ELONGATED - eccentricity)
                / _SCALES["eccentricity"]
            ),
            "irregular": lambda: (rules.IRREGULAR - solidity) / _SCALES["solidity"],
            "regular": lambda: (solidity - rules.REGULAR) / _SCALES["solidity"],
        }
        return shapes[name]()

    def _size(self, name: str) -> Margins:
        areas = self.table.areas[self.rows].astype(np.float64)
        if len(areas) >= rules.FEW:
            middle = float(np.median(areas))
            small, large = middle / rules.LARGE, middle * rules.LARGE
        else:
            areas = areas * self._mpp**2
            small, large = rules.SMALL_FEW_UM2, rules.LARGE_FEW_UM2
        if name == "large":
            return (areas - large) / (0.5 * large)
        if name == "small":
            return (small - areas) / (0.5 * small)
        # A nucleus is small, medium or large: the limits belong to small and large.
        inside = np.minimum((areas - small) / small, (large - areas) / large)
        return np.where(inside == 0, -1e-9, inside) * 2

    def _stain(self, name: str) -> Margins:
        darkness = self.table.values(DARKNESS)[self.rows]
        if len(darkness) >= rules.FEW:
            middle = float(np.median(darkness))
            spread = max(1.4826 * float(np.median(np.abs(darkness - middle))), 1e-3)
            dark, pale = middle + rules.DARK * spread, middle - rules.DARK * spread
        else:
            dark, pale, spread = rules.DARK_FEW, rules.PALE_FEW, 0.3
        return (darkness - dark) / spread if name == "dark" else (pale - darkness) / spread

    def _crowded(self) -> Margins:
        points = self.table.centroids_yx
        if len(points) <= rules.CROWD:
            return np.full(len(self.rows), -1.0)
        distance, _ = cKDTree(points).query(points[self.rows], [rules.CROWD + 1])
        return self._within(distance[:, 0] * self._mpp, rules.CROWDED_UM)

    # ---- relations

    def _relation(self, relation: Relation) -> Margins:
        if relation.kind == "touching":
            return self._touching(relation.target)
        if relation.kind == "in":
            return np.where(self._signed_distance() < 0, 1.0, -1.0)
        if relation.target == EDGE:
            return self._at_edge(relation.limit_um)
        border = relation.target == BORDER
        distance = np.abs(self._signed_distance()) if border else self._nearest(relation.target)
        if relation.kind == "near":
            usual = rules.NEAR_BORDER_UM if border else rules.NEAR_UM
            return self._within(distance, relation.limit_um or usual)
        usual = rules.FAR_BORDER_UM if border else rules.FAR_UM
        return self._beyond(distance, relation.limit_um or usual)

    @staticmethod
    def _within(distance_um: Margins, limit_um: float) -> Margins:
        return np.maximum((limit_um - distance_um) / limit_um, -1)

    @staticmethod
    def _beyond(distance_um: Margins, limit_um: float) -> Margins:
        return np.minimum((distance_um - limit_um) / limit_um, 1)

    def _members(self, target: str) -> NDArray[np.bool_]:
        if target == ALL:
            return np.ones(len(self.table), bool)
        return members_of([target], self.table)

    def _nearest(self, target: str) -> Margins:
        """Return the distance to the nearest other nucleus of a class, µm; inf without one."""
        if target not in self._kept:
            members = np.flatnonzero(self._members(target))
            squared, _ = nearest_member(self.rows, members, self.table.centroids_yx)
            self._kept[target] = np.sqrt(squared) * self._mpp
        return self._kept[target]

    def _touching(self, target: str) -> Margins:
        pairs = self.table.touching_pairs()
        wanted = pairs[self._members(target)[pairs[:, 1]], 0]
        touches = np.zeros(len(self.table), bool)
        touches[wanted] = True
        return np.where(touches[self.rows], 1.0, -1.0)

    def _signed_distance(self) -> Margins:
        """Return the distance of each centre from the drawn border, µm, < 0 inside."""
        border = self.table.border
        if border is None:
            raise QueryError(
                "No border is drawn around the tumour, so that nothing lies near, inside or "
                "outside of it; draw one first."
            )
        if BORDER not in self._kept:
            points = self.table.centroids_yx[self.rows]
            shapely.prepare(border)
            inside = shapely.contains_xy(border, points[:, 1], points[:, 0])
            line = shapely.boundary(border)
            shapely.prepare(line)
            distance = np.asarray(shapely.distance(line, shapely.points(points[:, ::-1])))
            # Whether a nucleus is inside can be said without the size of a pixel.
            scale = 1.0 if self.table.mpp is None else self.table.mpp
            self._kept[BORDER] = np.where(inside, -1.0, 1.0) * np.maximum(distance, 1e-9) * scale
        return self._kept[BORDER]

    def _at_edge(self, limit_um: float | None) -> Margins:
        height, width = self.table.shape
        y0, x0, y1, x1 = self.table.boxes[self.rows].T
        gap = np.minimum(np.minimum(y0, x0), np.minimum(height - y1, width - x1))
        if limit_um is None:
            return np.where(gap <= 0, 1.0, -1.0)
        return self._within(gap * self._mpp, limit_um)


def is_quality(condition: Condition, *names: str) -> bool:
    """Return True if a condition is one of these qualities, negated or not."""
    return isinstance(condition, Quality) and condition.name in names
