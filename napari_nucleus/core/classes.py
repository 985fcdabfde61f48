"""Nucleus classes: ids, names, colours and keys; the only place where class orders are mapped.

The canonical order is PanNuke's five classes with background 0 (as in HoVer-Net, CellViT and
PromptNucSeg). Sources with other orders come in through named maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CONSEP_MERGED_TO_CANONICAL",
    "PANNUKE",
    "PANNUKE_CHANNELS",
    "UNKNOWN_CLASS",
    "ClassScheme",
    "NucleusClass",
]

UNKNOWN_CLASS = 255
"""Class id of a nucleus whose class cannot be known; losses ignore it."""

LARGEST_ID = 250
"""Largest id of a class; what is above serves as marks in 8-bit rasters of classes."""


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

    Column ``i`` of ``Nuclei.class_prob`` belongs to ``classes[i]``. ``unknown_color`` is used for
    nuclei without a class (id 0).
    """

    name: str
    classes: tuple[NucleusClass, ...]
    unknown_color: tuple[int, int, int] = (255, 225, 25)

    def __post_init__(self) -> None:
        ids = [c.id for c in self.classes]
        names = [c.name for c in self.classes]
        if len(set(ids)) != len(ids) or len(set(names)) != len(names):
            raise ValueError(f"scheme {self.name!r} repeats a class id or name")

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


PANNUKE = ClassScheme(
    "PanNuke",
    (
        NucleusClass(1, "neoplastic", (230, 85, 13), "1"),
        NucleusClass(2, "inflammatory", (0, 200, 83), "2"),
        NucleusClass(3, "connective", (0, 114, 220), "3"),
        NucleusClass(4, "dead", (20, 20, 20), "4"),
        NucleusClass(5, "epithelial", (0, 214, 230), "5"),
    ),
)
"""PanNuke's five classes. Colours keep their distance under red-green blindness and stand out on
pink and purple: vermilion, green, blue, black and cyan differ in lightness as well as in hue."""

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
