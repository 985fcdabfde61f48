"""Which model made an edit, and which models a project knows.

What a journal keeps of a model is its name and the digest of its weights, never a place on a disk.
When and by whom an edit was made is the journal's own affair.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from napari_nucleus.core.classes import ClassScheme

if TYPE_CHECKING:
    from napari_nucleus.session.store import Store

__all__ = ["MODELS_FACT", "MadeBy", "known_models", "note_model", "provenance_of"]

MODELS_FACT = "models"
"""Key under which a store keeps all models that ever made an edit in it."""

SHOWN_DIGITS = 16
"""Digits of a digest that exported files name."""


@dataclass(frozen=True, slots=True)
class MadeBy:
    """A model, as the maker of an edit.

    Parameters
    ----------
    model
        Its name.
    weights
        SHA-256 of its weights in hex; empty for a model without any.
    program
        Name and version of the program that it ran in.
    classes
        The classes of its probabilities; None if it has none, or the document's. Not kept.
    """

    model: str
    weights: str = ""
    program: str = ""
    classes: ClassScheme | None = field(default=None, compare=False)

    def to_head(self) -> list[str]:
        """Return what a journal keeps."""
        return [self.model, self.weights, self.program]

    @classmethod
    def of_head(cls, head: list[Any]) -> MadeBy:
        """Return what `to_head` gave; ValueError if it is something else."""
        if len(head) != 3 or not all(isinstance(part, str) for part in head):
            raise ValueError(f"no model: {head!r}")
        return cls(*head)


def known_models(store: Store) -> tuple[MadeBy, ...]:
    """Return all models that ever made an edit here, undone ones included, the first one first."""
    text = store.fact(MODELS_FACT)
    return tuple(MadeBy.of_head(head) for head in orjson.loads(text)) if text else ()


def note_model(store: Store, made_by: MadeBy) -> None:
    """Keep a model among those known, inside the store's open transaction."""
    known = known_models(store)
    if made_by not in known:
        heads = [m.to_head() for m in (*known, made_by)]
        store.put_fact(MODELS_FACT, orjson.dumps(heads).decode())


def provenance_of(models: Iterable[MadeBy], sources: Iterable[str]) -> dict[str, str]:
    """Return what exported files say of the models that made their nuclei.

    Parameters
    ----------
    models
        Models known.
    sources
        What the rows of the nuclei say made them.
    """
    present = set(sources)
    made = [m for m in models if m.model in present]
    if not made:
        return {}
    found = {"model": ", ".join(dict.fromkeys(m.model for m in made))}
    weights = ", ".join(dict.fromkeys(m.weights[:SHOWN_DIGITS] for m in made if m.weights))
    return found | ({"weights": weights} if weights else {})
