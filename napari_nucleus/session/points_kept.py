"""Points that are no nuclei yet, kept with the project so that they are there again.

Outlines are not kept: whoever opens the image has them made again.
"""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import orjson

from napari_nucleus.core.schemes import scheme_of_text, text_of_scheme
from napari_nucleus.session.document import Document
from napari_nucleus.session.points_book import PointBook
from napari_nucleus.session.points_table import PointTable
from napari_nucleus.session.points_values import PointSearch
from napari_nucleus.session.provenance import MadeBy

__all__ = ["POINTS_FACT", "keep_points", "kept_points", "points_of_text", "text_of_points"]

POINTS_FACT = "points"
"""Key under which a store keeps points; its text is empty while there are none."""


def keep_points(document: Document, book: PointBook | None) -> None:
    """Keep points with a document, in the place of those kept before; None keeps none.

    Raises
    ------
    ProjectError
        If the project takes no changes.
    """
    text = "" if book is None else text_of_points(book)
    if text != (document.store.fact(POINTS_FACT) or ""):
        with document.store.transaction():
            document.store.put_fact(POINTS_FACT, text)


def kept_points(document: Document) -> PointBook | None:
    """Return the points kept with a document; None without any that can be read."""
    text = document.store.fact(POINTS_FACT)
    if not text:
        return None
    try:
        book = points_of_text(text, document.shape)
    except ValueError:
        return None  # written by another version; nuclei do not depend on it
    book.rescheme(document.scheme)
    return book


def text_of_points(book: PointBook) -> str:
    """Return points as JSON."""
    table = {f.name: getattr(book.table, f.name).tolist() for f in fields(book.table)}
    searches = [
        [s.made_by.to_head(), [p.tolist() for p in s.within], [list(core) for core in s.cores]]
        for s in book.searches
    ]
    value = {
        "scheme": text_of_scheme(book.scheme),
        "mpp": book.mpp,
        "threshold": book.threshold,
        "searches": searches,
        "table": table,
    }
    return orjson.dumps(value).decode()


def points_of_text(text: str, shape: tuple[int, int]) -> PointBook:
    """Return what `text_of_points` wrote.

    Parameters
    ----------
    text
        The JSON.
    shape
        Height and width of the image.

    Raises
    ------
    ValueError
        If it is something else, or of another image.
    """
    try:
        value = orjson.loads(text)
        scheme, mpp = scheme_of_text(value["scheme"]), float(value["mpp"])
        if not (np.isfinite(mpp) and mpp > 0):
            raise ValueError(f"no points: pixels of {mpp} µm")
        searches = [
            PointSearch(
                MadeBy.of_head(head),
                tuple(np.array(polygon, float).reshape(-1, 2) for polygon in within),
                [(int(a), int(b), int(c), int(d)) for a, b, c, d in cores],
            )
            for head, within, cores in value["searches"]
        ]
        table = _table(value["table"], len(scheme), len(searches))
        book = PointBook.of(shape, scheme, mpp, table, searches)
        book.threshold = float(value["threshold"])
    except (AttributeError, KeyError, OverflowError, TypeError) as error:
        raise ValueError(f"no points: {error}") from error
    if not book.contains(table.yx).all():
        raise ValueError("no points of this image")
    return book


def _table(columns: dict[str, list[object]], classes: int, searches: int) -> PointTable:
    like = PointTable.empty(classes)
    n = len(columns["ids"])
    read = {
        f.name: np.array(columns[f.name], getattr(like, f.name).dtype).reshape(
            n, *getattr(like, f.name).shape[1:]
        )
        for f in fields(like)
    }
    table = PointTable(**read)
    numbers = np.concatenate([table.yx.ravel(), table.score, table.class_prob.ravel()])
    if not np.isfinite(numbers).all() or not (np.diff(table.ids) > 0).all():
        raise ValueError("no points: ids out of order, or a number that is not finite")
    if n and not -1 <= int(table.search.min()) <= int(table.search.max()) < searches:
        raise ValueError("no points: of a search that is not there")
    return table
