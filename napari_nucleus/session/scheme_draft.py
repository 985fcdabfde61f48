"""A class scheme that is being written, and what its classes would take in.

What a dialog shows and changes; nothing of it reaches a document before `SchemeDraft.scheme` is
given to `rescheme.change_scheme`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from napari_nucleus.core.class_names import free_color
from napari_nucleus.core.classes import KEYS, LARGEST_ID, ClassScheme, NucleusClass
from napari_nucleus.core.schemes import SCHEMES, class_mapping

__all__ = ["ClassDraft", "SchemeDraft"]


@dataclass(slots=True, eq=False)
class ClassDraft:
    """A class that is being written; ``id`` stays what it is, the rest may change."""

    id: int
    name: str
    color: tuple[int, int, int]
    key: str = ""


class SchemeDraft:
    """A scheme that can be changed.

    Parameters
    ----------
    present
        The scheme that the document has.
    model
        The classes that the model tells apart, or None.

    Attributes
    ----------
    name, classes, unknown_color
        As those of `ClassScheme`, in order.
    """

    def __init__(self, present: ClassScheme, model: ClassScheme | None = None) -> None:
        self._present, self._model = present, model
        self.begin(present)

    def begin(self, scheme: ClassScheme) -> None:
        """Begin anew with a scheme."""
        self._base = scheme
        self.name = scheme.name
        self.unknown_color = scheme.unknown_color
        self.classes = [ClassDraft(c.id, c.name, c.color, c.key) for c in scheme.classes]
        self._decided: dict[str, ClassDraft | None] = {}
        if scheme == self._present:
            # A class that gets another name takes its nuclei along.
            self._decided = {c.name.casefold(): c for c in self.classes}

    # ---- changing

    def add(self) -> ClassDraft | None:
        """Add a class at the end; None if there are as many as there can be."""
        used = {c.id for c in self.classes} | {c.id for c in self._base.classes}
        free = next((i for i in range(1, LARGEST_ID + 1) if i not in used), None)
        if free is None:
            return None
        colors, keys = {c.color for c in self.classes}, {c.key for c in self.classes}
        names = {c.name.casefold() for c in self.classes}
        number = next(n for n in range(1, LARGEST_ID + 2) if f"class {n}" not in names)
        new = ClassDraft(
            free,
            f"class {number}",
            free_color(colors),
            next((key for key in KEYS if key not in keys), ""),
        )
        self.classes.append(new)
        self._own()
        return new

    def remove(self, place: int) -> None:
        """Take a class away; what it took in goes by the rule again."""
        gone = self.classes.pop(place)
        self._decided = {n: c for n, c in self._decided.items() if c is not gone}
        self._own()

    def move(self, place: int, by: int) -> int:
        """Move a class up (-1) or down (1) if it can go there, and return where it is."""
        there = place + by
        if not 0 <= there < len(self.classes):
            return place
        self.classes[place], self.classes[there] = self.classes[there], self.classes[place]
        return there

    def rename(self, place: int, name: str) -> None:
        """Give a class another name."""
        name = " ".join(name.split())
        if name != self.classes[place].name:
            self.classes[place].name = name
            self._own()

    def decide(self, name: str, place: int | None) -> None:
        """Have nuclei of a class of this name become one of the classes; None: unclassified."""
        self._decided[name.casefold()] = None if place is None else self.classes[place]

    def _own(self) -> None:
        """Give a scheme that is no longer the one of its name another name."""
        if self.name in SCHEMES:
            self.name = f"{self.name}, own"

    # ---- looking

    @property
    def sources(self) -> list[NucleusClass]:
        """The classes that go somewhere: the document's, then what only the model has."""
        names = {c.name.casefold() for c in self._present.classes}
        further = self._model.classes if self._model is not None else ()
        return [*self._present.classes, *(c for c in further if c.name.casefold() not in names)]

    def targets(self) -> list[int | None]:
        """Return for each of `sources` its place among the classes; None for unclassified."""
        places = {c.id: place for place, c in enumerate(self.classes)}
        return [places.get(self._target_id(source)) for source in self.sources]

    def unclassified(self, counts: Mapping[int, int]) -> int:
        """Return how many nuclei would have no class any more, of counts by present class id."""
        lost = (c for c in self._present.classes if not self._target_id(c))
        return sum(counts.get(c.id, 0) for c in lost)

    @property
    def problem(self) -> str:
        """What keeps it from being a scheme, as a sentence; empty if it is one."""
        if not self.name.strip():
            return "Give the scheme a name."
        if not self.classes:
            return "Add a class; a scheme has one or more."
        if len(self.classes) > LARGEST_ID:
            return f"A scheme has at most {LARGEST_ID} classes; this one has {len(self.classes)}."
        seen: set[str] = set()
        for place, draft in enumerate(self.classes, 1):
            if not draft.name.strip():
                return f"Class {place} has no name."
            if draft.name.casefold() in seen:
                return f"Two classes are called {draft.name!r}; give one another name."
            seen.add(draft.name.casefold())
        keys = [c.key for c in self.classes if c.key]
        twice = next((key for i, key in enumerate(keys) if key in keys[:i]), "")
        return f"Two classes have the key {twice}; give one another key." if twice else ""

    def scheme(self) -> ClassScheme:
        """Return the scheme; ValueError with `problem` if it is none."""
        if self.problem:
            raise ValueError(self.problem)
        bare = self._bare()
        taken_in = self._kept()
        for source in self.sources:
            wanted, name = self._target_id(source), source.name.casefold()
            if wanted != _mapped(source, bare):
                taken_in[name] = wanted
            else:
                taken_in.pop(name, None)
        return replace(bare, taken_in=tuple(sorted(taken_in.items())))

    def _target_id(self, source: NucleusClass) -> int:
        name = source.name.casefold()
        if name in self._decided:
            draft = self._decided[name]
            return 0 if draft is None else draft.id
        kept = self._kept()
        return kept[name] if name in kept else _mapped(source, self._bare())

    def _kept(self) -> dict[str, int]:
        """Return what was decided of other names before, as far as its classes are still there."""
        ids = {c.id for c in self.classes}
        return {n: i for n, i in self._base.taken_in if i == 0 or i in ids}

    def _bare(self) -> ClassScheme:
        """Return the classes without decisions; of those that have one name, the first."""
        first = {c.name.casefold(): c for c in reversed(self.classes)}
        kinds = [
            NucleusClass(c.id, c.name, c.color, c.key)
            for c in self.classes
            if c.name.strip() and first[c.name.casefold()] is c
        ]
        if self.problem:
            kinds = [replace(kind, key="") for kind in kinds]
        return ClassScheme(self.name.strip() or "-", tuple(kinds), self.unknown_color)


def _mapped(source: NucleusClass, target: ClassScheme) -> int:
    """Return the id that a class becomes in a scheme by the rule."""
    return class_mapping(ClassScheme("-", (source,)), target)[source.id]
