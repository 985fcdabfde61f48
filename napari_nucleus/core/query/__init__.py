"""Asking for nuclei in words: a small grammar over the classes and measurements of nuclei.

`parse` makes a `Query` of a text, or says why not (`Unknown`); `answer` finds the nuclei that a
query means in a `NucleiTable`; `completions` offers words while somebody types.
"""

from napari_nucleus.core.query.answer import Answer, answer, check, prepare
from napari_nucleus.core.query.completing import completions
from napari_nucleus.core.query.grammar import parse
from napari_nucleus.core.query.query import Query, Unknown
from napari_nucleus.core.query.table import NucleiTable

__all__ = [
    "Answer",
    "NucleiTable",
    "Query",
    "Unknown",
    "answer",
    "check",
    "completions",
    "parse",
    "prepare",
]
