"""Words to offer while a query is typed."""

from __future__ import annotations

from functools import cache

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.core.query.words import plain_word

__all__ = ["OFFERED", "completions"]

OFFERED = (
    *("tumour", "neoplastic", "inflammatory", "lymphocytes", "immune", "connective", "stromal"),
    *("fibroblasts", "dead", "necrotic", "apoptotic", "epithelial", "benign epithelial"),
    *("unclassified", "nuclei", "not", "except", "without", "and", "or"),
    *("large", "medium-sized", "small", "round", "oval", "elongated", "spindle-shaped"),
    *("irregular", "regular", "dark", "pale", "isolated", "crowded", "doubtful", "corrected"),
    *("accepted", "imported", "automatic"),
    *("larger than", "smaller than", "at least", "at most", "between", "area", "diameter"),
    *("eccentricity", "solidity", "score", "µm", "µm²"),
    *("touching", "near", "far from", "within", "more than", "next to", "other nuclei"),
    *("inside the border", "outside the border", "near the border", "at the image edge"),
)
"""What is offered: for each thing the words that most people use, in an order that makes sense."""

MOST_WORDS = 3
"""Words of the longest phrase that is offered, less one."""


@cache
def _plain() -> tuple[tuple[str, str], ...]:
    return tuple((plain_word(offer), offer) for offer in OFFERED)


def completions(prefix: str, scheme: ClassScheme | None = None, limit: int = 12) -> list[str]:
    """Return texts that a text may go on as: ``"small ly"`` as ``"small lymphocytes"``.

    Parameters
    ----------
    prefix
        What is typed so far; after a space nothing is begun, and nothing is offered.
    scheme
        Classes whose names are offered besides.
    limit
        Largest number of texts.
    """
    words = prefix.split(" ")
    names = () if scheme is None else scheme.names
    offers = (*_plain(), *((plain_word(name), name) for name in names))
    for n in range(min(MOST_WORDS, len(words)), 0, -1):
        begun = plain_word(" ".join(words[-n:]))
        if not begun.strip() or begun != begun.lstrip():
            continue
        kept = " ".join([*words[:-n], ""]) if n < len(words) else ""
        found = [
            kept + offer for plain, offer in offers if plain.startswith(begun) and plain != begun
        ]
        if found:
            return list(dict.fromkeys(found))[:limit]
    return []
