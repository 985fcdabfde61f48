"""Segmenting what a text asks for from the command line, one image at a time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from napari_nucleus import __version__
from napari_nucleus.cli.bars import shown_progress
from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.image import ImageSource
from napari_nucleus.core.query import Query, Unknown, parse
from napari_nucleus.errors import ModelError, QueryError
from napari_nucleus.hosting.local import ask_source, calibrate_source
from napari_nucleus.io.results import SegmentationResult, result_of_nuclei
from napari_nucleus.models import zoo
from napari_nucleus.models.api import Calibration, ModelInfo
from napari_nucleus.models.point_segmenter import PointSegmenter
from napari_nucleus.session.document import Document
from napari_nucleus.session.memory_store import MemoryStore
from napari_nucleus.session.provenance import MadeBy
from napari_nucleus.session.text_search import TextSearch
from napari_nucleus.training.wordings import texts_for

__all__ = ["ask_image", "facts_of_run", "read_question"]


def read_question(text: str, info: ModelInfo) -> Query:
    """Return what a text asks for.

    Raises
    ------
    QueryError
        If it is not understood; what is not known in it is named.
    ModelError
        If the model does not understand words.
    """
    if "text" not in info.capabilities:
        raise ModelError(
            f"{info.name} does not understand words; choose a model that does, such as "
            "promptgroup-nano."
        )
    query = parse(text, info.classes or PANNUKE)
    if isinstance(query, Unknown):
        raise QueryError(str(query))
    return query


def ask_image(
    model: Any, source: ImageSource, name: str, query: Query
) -> tuple[SegmentationResult, Calibration, str]:
    """Segment the nuclei of an image that are asked for, with a progress bar.

    Returns
    -------
    result
        The nuclei.
    calibration
        The scale that was used.
    sentence
        How the text was understood, and how many nuclei it means.
    """
    calibration = calibrate_source(model, source)
    scheme = model.info.classes or PANNUKE
    document = Document(MemoryStore(source.shape), scheme, calibration.mpp)
    made_by = MadeBy(model.info.name, model.digest, classes=model.info.classes)
    search = TextSearch(
        document,
        query,
        made_by,
        (0, 0, *source.shape),
        source=source,
        guessing=zoo.guessing([model.info]),
    )
    with shown_progress(name, "tiles") as show:
        ask_source(
            model,
            source,
            calibration,
            texts_for(query),
            search.add_tile,
            lambda core, answers: search.add_wordings(core, [a.nuclei for a in answers[1:]]),
            show,
        )
    found = search.conclude()
    made = {**facts_of_run(model, calibration), "text": query.text, "understood": query.describe()}
    if found.agreement is not None:
        made["agreement"] = round(found.agreement, 3)
    nuclei = found.new.nuclei
    result = result_of_nuclei(nuclei, source.shape, scheme, calibration.mpp, made)
    return result, calibration, found.sentence


def facts_of_run(model: Any, calibration: Calibration) -> dict[str, str | float | int]:
    """Return what files say of the model that made their nuclei, and of the scale it worked at."""
    facts: dict[str, str | float | int] = {
        "program": f"napari-nucleus {__version__}",
        "model": model.info.name,
        "weights": model.digest[:16],
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "mpp": round(calibration.mpp, 4),
        "mpp_estimated": int(calibration.mpp_estimated),
    }
    if isinstance(model, PointSegmenter):
        facts["segmenter"] = model.segmenter.info.name
        facts["segmenter_weights"] = str(getattr(model.segmenter, "digest", ""))[:16]
    return facts
