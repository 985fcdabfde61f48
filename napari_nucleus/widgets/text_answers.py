"""What texts mean on the image that is worked on: previews, answers, and what is done with them.

A text is read by the grammar first; what that does not know is said and nothing is drawn. What it
knows is looked for among the nuclei that are there, and by a text model where there is one. A
preview answers for the tile in the middle of the view; `ask` for a part of the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from napari.utils import DirectLabelColormap
from psygnal import Signal

from napari_nucleus.core.classes import PANNUKE
from napari_nucleus.core.geometry import Box
from napari_nucleus.core.nuclei import Nuclei, counted
from napari_nucleus.core.outlines import INTERIOR
from napari_nucleus.core.query import NucleiTable, Query, Unknown, parse
from napari_nucleus.errors import ImageError, NucleusError
from napari_nucleus.hosting.planning import click_tile
from napari_nucleus.models.api import Calibration, TextAnswer
from napari_nucleus.session.actions import classify_in_steps, remove_in_steps
from napari_nucleus.session.answer_raster import MEANT, NEW, AnswerRaster
from napari_nucleus.session.document import Document
from napari_nucleus.session.outlines import ActionResult
from napari_nucleus.session.proposals import Proposals
from napari_nucleus.session.provenance import MadeBy
from napari_nucleus.session.regions import Ground
from napari_nucleus.session.table import NucleusState
from napari_nucleus.session.text_search import LOW_AGREEMENT, TextFound, TextSearch
from napari_nucleus.training.wordings import texts_for
from napari_nucleus.widgets.area_box import BORDER_COLOR, BORDER_ROLE
from napari_nucleus.widgets.background import when_done
from napari_nucleus.widgets.drawn_layer import DrawnLayer
from napari_nucleus.widgets.layers import visible_box
from napari_nucleus.widgets.marked_layer import MarkedLayer

if TYPE_CHECKING:
    from napari_nucleus.widgets.annotation import Annotation
    from napari_nucleus.widgets.extents import Extent
    from napari_nucleus.widgets.model import AppModel
    from napari_nucleus.widgets.workspace import Workspace

__all__ = ["ANSWER_ROLE", "COLORS", "TextAnswers"]

ANSWER_ROLE = "answer"

COLORS = {MEANT: "#ffe119", NEW: "#ffffff"}
"""Of nuclei that are meant, and of new ones."""

FILL_ALPHA = 0.4

PREVIEW = "preview"


@dataclass(frozen=True, eq=False)
class _Asked:
    """A text, how it was understood, and what the model is asked; its number tells the newest."""

    number: int
    query: Query
    texts: tuple[str, ...]


class TextAnswers:
    """Answers to texts, for a workspace.

    Attributes
    ----------
    changed
        Emitted when `found` or `previewed` is another.
    found
        What was asked for last, in a part of the image; None without one.
    previewed
        What the text that is being typed means in the tile in view; None without one.
    extent
        Where `found` was looked for.
    """

    changed = Signal()

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._layer: MarkedLayer | None = None
        self._table: NucleiTable | None = None
        self._number = 0
        self._last: tuple[tuple[Any, ...], Future[list[TextAnswer]]] | None = None
        self.model: AppModel | None = next(iter(workspace.models.texts), None)
        self.found: TextFound | None = None
        self.previewed: TextFound | None = None
        self.extent: Extent | None = None
        workspace.annotation_changed.connect(self.put_away)

    # ---- reading

    def read(self, text: str) -> Query | Unknown:
        """Return how a text is understood, by the classes of the document; never raises."""
        annotation = self._workspace.annotation
        if annotation is None:
            return parse(text, PANNUKE)
        return parse(text, annotation.document.scheme, annotation.mpp)

    def _asked(self, query: Query) -> _Asked:
        """Return what a model is asked; nothing asked before counts any more."""
        self._number += 1
        return _Asked(self._number, query, texts_for(query))

    def _search(self, annotation: Annotation, query: Query, box: Box, **where: Any) -> TextSearch:
        border = DrawnLayer(annotation, BORDER_ROLE, "Tumour border", BORDER_COLOR).polygons
        shape = shapely.union_all([shapely.Polygon(p[:, ::-1]) for p in border]) if border else None
        model = None if self.model is None else self.model.made_by
        return TextSearch(
            annotation.document,
            query,
            model,
            box,
            source=annotation.source,
            border=shape,
            before=self._table,
            guessing=self._workspace.models.guessing,
            **where,
        )

    # ---- preview

    def preview(self, text: str) -> Query | Unknown:
        """Show what a text means in the middle of the view, soon; return how it is understood."""
        query = self.read(text)
        annotation = self._workspace.annotation
        self._number += 1  # an answer that is on its way is too late
        if isinstance(query, Unknown) or annotation is None or annotation.busy:
            self._show_preview(None)
            return query
        asked = self._asked(query)
        view = visible_box(annotation.image)
        if self.model is None:
            self._conclude_preview(asked, annotation, view, None)
        else:
            calibration = self.model.calibration(annotation.source, annotation.mpp)
            when_done(
                calibration,
                lambda known: self._ask_tile(asked, annotation, view, known),
                lambda _: self._conclude_preview(asked, annotation, view, None),
            )
        return query

    def expect(self, text: str) -> None:
        """Have the model answer a text that is still being typed, so that its preview is at hand.

        Nothing is shown, and nothing is waited for.
        """
        query = self.read(text)
        annotation = self._workspace.annotation
        if isinstance(query, Unknown) or annotation is None or annotation.busy:
            return
        if self.model is not None:
            known = self.model.calibration(annotation.source, annotation.mpp)
            if known.done() and known.exception() is None:
                view = visible_box(annotation.image)
                self._answers(texts_for(query), annotation, view, known.result())

    def _ask_tile(
        self, asked: _Asked, annotation: Annotation, view: Box, calibration: Calibration
    ) -> None:
        """Ask about the tile in the middle of the view."""
        if self._is_late(asked, annotation) or self.model is None:
            return
        box, answers = self._answers(asked.texts, annotation, view, calibration)
        when_done(
            answers,
            lambda got: self._conclude_preview(asked, annotation, box, got[0].nuclei),
            lambda _: None,  # a newer text has taken its place, or the app closes
        )

    def _answers(
        self, texts: tuple[str, ...], annotation: Annotation, view: Box, calibration: Calibration
    ) -> tuple[Box, Future[list[TextAnswer]]]:
        """Return a tile in the middle of the view, and what will be answered to the first text.

        What was asked last is not asked again: a preview takes the answer that was expected.
        """
        assert self.model is not None
        centre = ((view[0] + view[2]) / 2, (view[1] + view[3]) / 2)
        box = click_tile(centre, annotation.source.shape, self.model.info, calibration)
        question = (self.model, annotation, box, calibration, texts[:1])
        if self._last is None or self._last[0] != question or _is_lost(self._last[1]):
            answers = self.model.host.ask(
                annotation.source, box, calibration, texts[:1], key=PREVIEW
            )
            self._last = question, answers
        return box, self._last[1]

    def _conclude_preview(
        self, asked: _Asked, annotation: Annotation, box: Box, nuclei: Nuclei | None
    ) -> None:
        if self._is_late(asked, annotation) or annotation.busy:
            return
        search = self._search(annotation, asked.query, box, only_box=True)
        if nuclei is not None:
            search.add_tile(box, nuclei)
        try:
            self._show_preview(search.conclude())
        except NucleusError as error:
            self._show_preview(None)
            self._workspace.said.emit(str(error))

    def _is_late(self, asked: _Asked, annotation: Annotation) -> bool:
        return asked.number != self._number or self._workspace.annotation is not annotation

    def _show_preview(self, found: TextFound | None) -> None:
        self.previewed = found
        self._draw(found if found is not None else self.found)
        self.changed.emit()

    # ---- the answer

    def ask(self, text: str, extent: Extent) -> None:
        """Find what a text means in a part of the image; returns at once.

        Raises
        ------
        NucleusError
            If the text is not understood, or something else is being done.
        """
        workspace = self._workspace
        annotation = workspace.at_rest()
        query = self.read(text)
        if isinstance(query, Unknown):
            raise ImageError(str(query))
        asked = self._asked(query)
        self._show_preview(None)
        search = self._search(annotation, query, extent.box, within=extent.polygons)
        self.extent = extent
        if self.model is None:
            self._conclude(annotation, search)
            return
        workspace.runs.ask(
            self.model, extent, search, asked.texts, lambda: self._conclude(annotation, search)
        )

    def _conclude(self, annotation: Annotation, search: TextSearch) -> None:
        if self._workspace.annotation is not annotation:
            return
        annotation.finish_change()
        annotation.work(search.conclude_in_steps(), lambda found: self._show(search, found))

    def _show(self, search: TextSearch, found: TextFound) -> str:
        annotation = self._workspace.worked_on()
        self.found, self._table = found, search.table
        low = found.agreement is not None and found.agreement < LOW_AGREEMENT
        annotation.reviewing.queue.doubt(found.doubtful if low else {})
        self._draw(found)
        self.changed.emit()
        if not low:
            return f"{found.query.describe(len(found))}."
        return f"{found.sentence} N goes through those that not all wordings led to."

    def put_away(self) -> None:
        """Forget the answer; nuclei are left as they are."""
        self._number += 1
        self.found = self.previewed = self.extent = None
        self._table = self._last = None
        annotation = self._workspace.annotation
        if annotation is not None:
            annotation.reviewing.queue.doubt({})
        self._close_layer()
        self.changed.emit()

    def close(self) -> None:
        """Take what is shown out of the viewer."""
        self._number += 1
        self._last = None
        self._close_layer()

    # ---- shown

    @property
    def visible(self) -> bool:
        """True while an answer is shown over the image."""
        return self._layer is not None and self._layer.visible

    @visible.setter
    def visible(self, visible: bool) -> None:
        if self._layer is None and visible:
            self._draw(self.found)
        elif self._layer is not None:
            self._layer.visible = visible
        self.changed.emit()

    def _draw(self, found: TextFound | None) -> None:
        annotation = self._workspace.annotation
        if self._layer is not None and not self._layer.is_there:
            self._layer = None  # the user has deleted it
        if annotation is None:
            self._close_layer()
            return
        if found is None or not len(found):
            if self._layer is not None:
                # It stays for the next text: to make a layer and to remove it takes longer than
                # everything else of a preview.
                self._layer.show(_nothing(annotation.document))
                self._layer.layer.name = f"{annotation.image.name} answer"
                self._layer.visible = True
            return
        raster = AnswerRaster(annotation.document, found.ids, found.boxes, found.new)
        title = f"{annotation.image.name} answer: {found.query.text.strip()[:30]}"
        if self._layer is not None:
            self._layer.show(raster)
            self._layer.layer.name = title
            return
        self._layer = MarkedLayer(
            annotation.viewer,
            annotation.image,
            annotation.document,
            raster,
            _colormap(),
            annotation.key,
            ANSWER_ROLE,
            "answer",
        )
        self._layer.layer.name = title

    def _close_layer(self) -> None:
        if self._layer is not None:
            self._layer.close()
            self._layer = None

    # ---- what is done with it

    @property
    def ids(self) -> list[int]:
        """Nuclei of the answer that are still there."""
        annotation = self._workspace.annotation
        if self.found is None or annotation is None:
            return []
        return [row.id for row in annotation.document.store.rows(self.found.ids.tolist())]

    def choose(self) -> None:
        """Choose the nuclei of the answer, to change them together."""
        self._workspace.worked_on().by_hand.choose_these(self.ids)

    def classify(self, class_id: int) -> None:
        """Give the nuclei of the answer a class, as one step."""
        annotation = self._workspace.at_rest()
        annotation.work(classify_in_steps(annotation.document, self.ids, class_id), _message)

    def delete(self) -> None:
        """Remove the nuclei of the answer, as one step."""
        annotation = self._workspace.at_rest()
        annotation.work(remove_in_steps(annotation.document, self.ids), _message)

    def keep_only(self) -> None:
        """Remove all other nuclei of the part of the image that was asked about, as one step."""
        annotation, extent = self._workspace.at_rest(), self.extent
        if extent is None:
            return
        rows = annotation.document.store.rows(annotation.document.ids_in(extent.box))
        points = np.array([row.centroid_yx for row in rows]).reshape(-1, 2)
        held = Ground(extent.polygons).holds(points)
        kept = set(self.ids)
        inside = [row.id for row, on in zip(rows, held.tolist(), strict=True) if on]
        others = [nucleus for nucleus in inside if nucleus not in kept]
        annotation.work(remove_in_steps(annotation.document, others), _message)

    def add_new(self) -> None:
        """Make nuclei of those that only the model found, as one step."""
        annotation, found = self._workspace.at_rest(), self.found
        if found is None or not len(found.new):
            return
        new = found.new

        def tell(result: ActionResult) -> str:
            annotation.reviewing.queue.renew()
            self._take_over(result.ids)
            return result.message

        annotation.work(new.take_in_steps(new.ids.tolist(), NucleusState.AUTOMATIC), tell)

    def _take_over(self, ids: Sequence[int]) -> None:
        """Let nuclei that were new belong to those of the answer."""
        if self.found is None:
            return
        document = self._workspace.worked_on().document
        rows = document.store.rows([*self.found.ids.tolist(), *ids])
        score = dict(zip(self.found.ids.tolist(), self.found.scores.tolist(), strict=True))
        self.found = replace(
            self.found,
            ids=np.array([row.id for row in rows], np.int64),
            scores=np.array([score.get(row.id, row.score) for row in rows], np.float64),
            boxes=np.array([row.box for row in rows], np.int32).reshape(-1, 4),
        )
        self.found.new.follow((0, 0, *document.shape))
        self._draw(self.found)
        self.changed.emit()

    def describe(self) -> str:
        """Return the answer in a line, with what has become of it."""
        found = self.found
        if found is None:
            return ""
        left = len(self.ids)
        gone = len(found.ids) - left
        return found.sentence + (f" {counted(gone)} of them are gone." if gone else "")


def _message(result: ActionResult) -> str:
    return result.message or f"{result.name}."


def _is_lost(answers: Future[list[TextAnswer]]) -> bool:
    """Return True if there will be no answer, or it has failed."""
    return answers.done() and (answers.cancelled() or answers.exception() is not None)


def _nothing(document: Document) -> AnswerRaster:
    """Return the picture of an answer without nuclei."""
    none = Proposals(document, Nuclei.empty(len(document.scheme)), MadeBy(""), [])
    return AnswerRaster(document, np.zeros(0, np.int64), np.zeros((0, 4), np.int32), none)


def _colormap() -> DirectLabelColormap:
    colors: dict[int | None, Any] = {None: (0, 0, 0, 0), 0: (0, 0, 0, 0)}
    for mark, color in COLORS.items():
        rgb = tuple(int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
        colors[mark] = (*rgb, 1.0)
        colors[mark + INTERIOR] = (*rgb, FILL_ALPHA)
    return DirectLabelColormap(color_dict=colors)
