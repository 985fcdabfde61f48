"""Asking for nuclei in words: a small grammar over the classes and measurements of nuclei.

`parse` makes a `Query` of a text, or says why not (`Unknown`).
"""

from napari_nucleus.core.query.grammar import parse
from napari_nucleus.core.query.query import Query, Unknown

__all__ = ["Query", "Unknown", "parse"]
