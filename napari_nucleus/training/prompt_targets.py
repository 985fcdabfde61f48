"""What a text asks for on a crop: the mask of its classes, where it is known, whether any is there.

CoNSeP's epithelial nuclei count as either of neoplastic and epithelial: a prompt for one of the two
gets them all. Nuclei of unknown class belong to a prompt for all nuclei, and are unknown to others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_nucleus.core.classes import UNKNOWN_CLASS
from napari_nucleus.training.data import EPITHELIAL_EITHER
from napari_nucleus.training.prompt_bank import ALL_CLASSES

__all__ = ["GroupShares", "Wanted", "draw_classes", "wanted_mask"]

LEAST = 20
"""Pixels of a nucleus from which on it can be seen that it is there."""


@dataclass(frozen=True, eq=False)
class Wanted:
    """``mask`` and ``known`` ``(H, W)`` bool; ``present`` 1, 0, or -1 if that is not known."""

    mask: NDArray[np.bool_]
    known: NDArray[np.bool_]
    present: int


def wanted_mask(class_map: NDArray[np.uint8], classes: tuple[int, ...]) -> Wanted:
    """Return what a prompt for ``classes`` asks for.

    ``class_map`` ``(H, W)`` holds the class target of each pixel, 0 where there is no nucleus.
    """
    unclear = class_map == UNKNOWN_CLASS
    either = class_map == EPITHELIAL_EITHER
    if classes == ALL_CLASSES:
        mask, known = class_map > 0, np.ones(class_map.shape, bool)
    else:
        mask, known = np.isin(class_map, classes), ~unclear
        asked = sum(c in classes for c in (1, 5))
        if asked == 2 or (asked == 1 and len(classes) == 1):
            mask |= either
        elif asked == 1:
            known &= ~either
    area = int(mask.sum())
    if area >= LEAST:
        return Wanted(mask, known, 1)
    # Dead cells are among the nuclei of unknown class; the other classes are not.
    hidden = (4 in classes and unclear.any()) or not known[either].all()
    return Wanted(mask, known, -1 if area or hidden else 0)


@dataclass(frozen=True, slots=True)
class GroupShares:
    """Which groups are drawn for a crop.

    Parameters
    ----------
    by_class
        Groups of type T2 beside the one of type T1.
    negative
        Share of the groups of type T2 that ask for a class that is not there.
    several
        Share of them that ask for several classes.
    """

    by_class: int = 2
    negative: float = 0.225
    several: float = 0.1


def draw_classes(
    class_map: NDArray[np.uint8], shares: GroupShares, rng: np.random.Generator
) -> list[tuple[int, ...]]:
    """Return the classes that each group of a crop asks for; the first asks for all nuclei."""
    groups: list[tuple[int, ...]] = [ALL_CLASSES]
    seen = set(np.unique(class_map).tolist()) - {0, UNKNOWN_CLASS}
    named = (class_map > 0) & (class_map != UNKNOWN_CLASS)
    if named.sum() < 0.5 * (class_map > 0).sum():
        return groups  # hardly a class is known here
    if EPITHELIAL_EITHER in seen:
        seen = (seen - {EPITHELIAL_EITHER}) | {1, 5}
    absent = [c for c in ALL_CLASSES if c not in seen]
    for _ in range(shares.by_class):
        draw = rng.random()
        if absent and (not seen or draw < shares.negative):
            groups.append((int(rng.choice(absent)),))
        elif draw > 1 - shares.several:
            size = int(rng.integers(2, 5))
            groups.append(tuple(sorted(int(c) for c in rng.choice(ALL_CLASSES, size, False))))
        elif seen:
            groups.append((_one_of(seen, rng),))
    return groups


def _one_of(seen: Sequence[int] | set[int], rng: np.random.Generator) -> int:
    """Return one of the classes; the two kinds of epithelium together as often as another."""
    weight = np.array([0.5 if c in (1, 5) and {1, 5} <= set(seen) else 1.0 for c in sorted(seen)])
    return int(rng.choice(sorted(seen), p=weight / weight.sum()))
