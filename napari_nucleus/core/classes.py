"""Nucleus classes: ids, names, colours and keys; the only place where class orders are mapped.

The canonical order is PanNuke's five classes with background 0 (as in HoVer-Net, CellViT and
PromptNucSeg). Sources with other orders come in through named maps; other schemes, and how classes
go from one to another, are in `schemes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CONSEP_MERGED_TO_CANONICAL",
    "KEYS",
    "LARGEST_ID",
    "PANNUKE",
    "PANNUKE_CHANNELS",
    "UNKNOWN_CLASS",
    "ClassScheme",
    "NucleusClass",
]

UNKNOWN_CLASS = 255
"""Class id of a nucleus whose class cannot be known; losses ignore it."""

LARGEST_ID = 120
"""Largest id of a class: 8-bit rasters need two values for each, and some for marks."""

KEYS = ("1", "2", "3", "4", "5", "6", "7", "8", "9")
"""Keys that give a nucleus a class."""


@dataclass(frozen=True, slots=True)
class NucleusClass:
    """A class: ``id`` (1–`LARGEST_ID`), ``name``, ``color`` (r, g, b in 0–255) and its ``key``."""

    id: int
    name: str
    color: tuple[int, int, int]
    key: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.id <= LARGEST_ID:
            raise ValueError(f"class id must be 1–{LARGEST_ID}, got {self.id} for {self.name!r}")
        if not self.name.strip():
            raise ValueError(f"class {self.id} has no name")
        if len(self.color) != 3 or not all(0 <= c <= 255 for c in self.color):
            raise ValueError(f"colour of class {self.name!r} is not (r, g, b): {self.color}")


@dataclass(frozen=True)
class ClassScheme:
    """A set of nucleus classes, in the order of their probabilities.

    Parameters
    ----------
    name
        What people call the scheme.
    classes
        Column ``i`` of ``Nuclei.class_prob`` belongs to ``classes[i]``. Ids, names (case does not
        matter) and keys differ, empty keys apart.
    unknown_color
        For nuclei without a class (id 0).
    taken_in
        What the user decided of classes of other schemes: their name, in small letters, and the id
        that they become here, 0 for unclassified; see `schemes.class_mapping`.
    """

    name: str
    classes: tuple[NucleusClass, ...]
    unknown_color: tuple[int, int, int] = (216, 255, 24)
    taken_in: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ValueError("a class scheme has no name")
        for what, values in (
            ("id", [c.id for c in self.classes]),
            ("name", [c.name.casefold() for c in self.classes]),
            ("key", [c.key for c in self.classes if c.key]),
        ):
            twice = next((v for i, v in enumerate(values) if v in values[:i]), None)
            if twice is not None:
                raise ValueError(f"scheme {self.name!r} repeats the class {what} {twice!r}")
        for name, class_id in self.taken_in:
            if class_id != 0 and self.by_id(class_id) is None:
                raise ValueError(f"scheme {self.name!r} takes in {name!r} as {class_id}, no class")

    @property
    def ids(self) -> tuple[int, ...]:
        """Class ids in order."""
        return tuple(c.id for c in self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names in order."""
        return tuple(c.name for c in self.classes)

    def __len__(self) -> int:
        return len(self.classes)

    def by_id(self, class_id: int) -> NucleusClass | None:
        """Return the class with this id, or None for 0 and ids the scheme does not have."""
        return next((c for c in self.classes if c.id == class_id), None)

    def by_name(self, name: str) -> NucleusClass | None:
        """Return the class with this name (case does not matter), or None."""
        return next((c for c in self.classes if c.name.casefold() == name.casefold()), None)

    def by_key(self, key: str) -> NucleusClass | None:
        """Return the class with this key, or None."""
        return next((c for c in self.classes if c.key == key and key), None)

    def name_of(self, class_id: int) -> str:
        """Return a class's name, ``"unclassified"`` for 0 and unknown ids."""
        found = self.by_id(class_id)
        return found.name if found else "unclassified"

    def color_of(self, class_id: int) -> tuple[int, int, int]:
        """Return a class's colour, ``unknown_color`` for 0 and unknown ids."""
        found = self.by_id(class_id)
        return found.color if found else self.unknown_color

    def ids_of_probabilities(self, class_prob: NDArray[np.floating]) -> NDArray[np.int32]:
        """Return the most probable class id of each row ``(n, C)``; 0 where a row is all zero."""
        if class_prob.shape[1] == 0 or len(class_prob) == 0:
            return np.zeros(len(class_prob), np.int32)
        ids = np.asarray(self.ids, np.int32)[class_prob.argmax(axis=1)]
        return np.where(class_prob.max(axis=1) > 0, ids, 0).astype(np.int32)

    def one_hot(self, class_ids: NDArray[np.integer]) -> NDArray[np.float32]:
        """Return ``(n, C)`` with 1 in the column of each class id; zeros for those it lacks."""
        columns = np.asarray(self.ids, np.int64)
        return (np.asarray(class_ids)[:, None] == columns[None, :]).astype(np.float32)


PANNUKE = ClassScheme(
    "PanNuke",
    (
        NucleusClass(1, "neoplastic", (230, 85, 13), "1"),
        NucleusClass(2, "inflammatory", (10, 175, 85), "2"),
        NucleusClass(3, "connective", (0, 114, 220), "3"),
        NucleusClass(4, "dead", (20, 20, 20), "4"),
        NucleusClass(5, "epithelial", (0, 204, 252), "5"),
    ),
)
"""PanNuke's five classes. Vermilion, green, blue, black and cyan keep their distance from each
other and from the pink and purple of the stain, also for people with any of the three kinds of
dichromacy."""

PANNUKE_CHANNELS: tuple[int, ...] = (1, 2, 3, 4, 5)
"""Canonical class of mask channels 0–4 of PanNuke's arrays; channel 5 is background."""

CONSEP_MERGED_TO_CANONICAL: Mapping[int, tuple[int, ...]] = {
    1: (UNKNOWN_CLASS,),
    2: (2,),
    3: (1, 5),
    4: (3,),
}
"""CoNSeP's four merged classes (other, inflammatory, epithelial, spindle-shaped).

Epithelial covers healthy and malignant nuclei, which cannot be told apart: either class counts as
right.
"""
