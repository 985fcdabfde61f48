"""Other words for the classes that a text asks for, to see whether a model is sure of its answer.

They come from the bank that the bundled model was taught with, one of each quality.
"""

from __future__ import annotations

from collections.abc import Collection

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.query import Query
from napari_nucleus.models.promptgroup.words import plain_text
from napari_nucleus.training.prompt_bank import ALL_CLASSES, QUALITIES, bank

__all__ = ["texts_for", "wordings"]


def wordings(classes: Collection[int]) -> tuple[str, ...]:
    """Return three texts that ask for the same classes, the plainest first.

    Parameters
    ----------
    classes
        Ids of PanNuke; all nuclei if there are none.
    """
    plain = plain_text(classes)
    wanted = tuple(sorted(classes)) or ALL_CLASSES
    if wanted == ALL_CLASSES or len(wanted) == 1:
        others = [
            next(p.text for p in bank(wanted) if p.quality == quality and p.text != plain)
            for quality in QUALITIES[1:]
        ]
        return plain, *others
    names = " and ".join(PANNUKE.name_of(i) for i in wanted)
    return plain, f"segment the {names} cell nuclei", f"nuclei of {names} cells in this patch"


def texts_for(query: Query) -> tuple[str, ...]:
    """Return what a model is asked for a query: the plainest text, and two other wordings of it.

    So the answer is that to the classes which were understood, and the same however they were
    asked for. What was typed is one of the other wordings where it is about classes alone: a model
    that reads it as something else disagrees. Conditions, and classes that are left out, are looked
    at afterwards on what the model has found.
    """
    first, *others = wordings([c.id for c in PANNUKE.classes if c.name in query.classes])
    typed = query.text.strip()
    about_classes = not query.conditions and not query.left_out and typed
    if about_classes and typed != first:
        others.insert(0, typed)
    return (first, *dict.fromkeys(others))[:3]
