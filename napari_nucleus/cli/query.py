"""Asking a project for nuclei in words, from the command line."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely

from napari_nucleus import __version__
from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.image import check_mpp
from napari_nucleus.core.query import Answer, Query, Unknown, answer, parse
from napari_nucleus.errors import AnnotationError, LabelsError, ProjectError, QueryError
from napari_nucleus.io.atomic import replacing_together
from napari_nucleus.io.drawn_regions import read_regions
from napari_nucleus.io.formats import Export, format_of_path
from napari_nucleus.io.formats.base import NUCLEI_NAMESPACE
from napari_nucleus.io.images import ImageFile, open_image
from napari_nucleus.io.results import result_of_rows
from napari_nucleus.models import zoo
from napari_nucleus.session.document import MPP_FACT, Document
from napari_nucleus.session.project import SUFFIX
from napari_nucleus.session.provenance import known_models, provenance_of
from napari_nucleus.session.query_table import query_table
from napari_nucleus.session.reading import reading
from napari_nucleus.session.recoding import scheme_in

__all__ = ["QueryOrder", "query_project"]

Say = Callable[[str], None]


@dataclass(frozen=True)
class QueryOrder:
    """What is asked of which project.

    Parameters
    ----------
    project
        Project file; it is only read.
    text
        What to find, in words.
    as_json
        Whether ids and scores are said too, as JSON.
    out
        Annotation file for the nuclei found, its ending tells the format; None for none.
    mpp
        µm per pixel; by default what the project states.
    image
        The image, to see which nuclei are dark; None where nobody asks.
    border
        GeoJSON of what the tumour border goes around.
    """

    project: Path
    text: str
    as_json: bool = False
    out: Path | None = None
    mpp: float | None = None
    image: Path | None = None
    border: Path | None = None


def query_project(order: QueryOrder, say: Say) -> Answer:
    """Find the nuclei that a text means, say how it was understood, and how many there are.

    Raises
    ------
    QueryError
        If the text is not understood, or the project lacks what it needs; nothing is written.
    NucleusError
        If a file cannot be read or written.
    """
    check_mpp(order.mpp, "--mpp")
    if order.project.suffix != SUFFIX:
        raise ProjectError(f"{order.project.name}: no project; its name would end with {SUFFIX}.")
    image = None if order.image is None else open_image(order.image, order.mpp)
    border = None if order.border is None else _geometry(order.border)
    with reading(order.project) as store:
        scheme = scheme_in(store) or PANNUKE
        mpp = order.mpp or _mpp_in(store.fact(MPP_FACT), order.project.name)
        query = parse(order.text, scheme, mpp)
        if isinstance(query, Unknown):
            raise QueryError(str(query))
        document = Document(store, scheme, mpp)
        if image is not None and image.shape != document.shape:
            raise LabelsError(
                f"{order.project.name} is about an image of {document.shape[1]} x "
                f"{document.shape[0]} px, {image.name} has {image.shape[1]} x {image.shape[0]} px."
            )
        table = query_table(document, border, image, guessing=zoo.guessing())
        found = answer(query, table)
        if order.out is not None:
            _write(order, document, query, found, image)
    line = query.describe(len(found))
    if order.as_json:
        say(_as_json(order, query, found))
        return found
    say(line)
    if found.note:
        say(found.note)
    if order.out is not None:
        say(f"written: {order.out.name}")
    return found


def _geometry(path: Path) -> shapely.Geometry:
    return shapely.union_all([region.geometry for region in read_regions(path)])


def _mpp_in(text: str | None, name: str) -> float | None:
    """Return the pixel size that a project notes."""
    try:
        return check_mpp(float(text), name) if text else None
    except ValueError as error:
        raise ProjectError(f"{name}: its pixel size is {text!r}, which cannot be.") from error


def _as_json(order: QueryOrder, query: Query, found: Answer) -> str:
    value = {
        "project": order.project.name,
        "query": order.text,
        "understood": query.describe(),
        "notation": query.notation(),
        "count": len(found),
        "note": found.note,
        "nuclei": [
            {"id": i, "score": round(score, 4)}
            for i, score in zip(found.ids.tolist(), found.scores.tolist(), strict=True)
        ],
    }
    return json.dumps(value, indent=1, ensure_ascii=False)


def _write(
    order: QueryOrder, document: Document, query: Query, found: Answer, image: ImageFile | None
) -> None:
    """Write the nuclei found as an annotation file."""
    out = order.out
    assert out is not None
    one = format_of_path(out)
    assert one.write is not None
    for read in (order.project, order.image, order.border):
        if read is not None and read.resolve() == out.resolve():
            raise AnnotationError(
                f"{out.name}: it would take the place of what is read; rename it."
            )
    rows = document.rows()
    made = {
        "program": f"napari-nucleus {__version__}",
        "query": query.describe(),
        **provenance_of(known_models(document.store), {row.source for row in rows}),
    }
    result = result_of_rows(
        rows, document.shape, document.labels, document.scheme, document.mpp, made
    )
    stem = out.name[: -one.matched(out.name)] or out.stem
    export = Export(stem, uuid.uuid5(NUCLEI_NAMESPACE, stem), image)
    with replacing_together(out.parent, out.name) as part:
        one.write(part / out.name, result.select(np.isin(result.ids, found.ids)), export)
