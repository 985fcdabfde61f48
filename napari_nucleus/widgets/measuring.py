"""The microenvironment of the image that is worked on, measured while somebody looks at it.

Rows are read on the main thread in slices that nobody notices, and kept as arrays; everything else
happens on other threads. After a correction only what it concerns is read and computed again
(`core.tme_live`). Values come first; what takes longer (curves, regions, the entropy map) follows
when the corrections have paused.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_nucleus.core.entropy_map import entropy_map
from napari_nucleus.core.geometry import Box
from napari_nucleus.core.nuclei import counted
from napari_nucleus.core.tme_measurement import TmeMeasurement
from napari_nucleus.core.tme_words import merging_note
from napari_nucleus.session.cell_book import CellBook
from napari_nucleus.widgets.background import in_background
from napari_nucleus.widgets.map_picture import MapPicture, map_picture
from napari_nucleus.widgets.measured_area import Lives, Where

if TYPE_CHECKING:
    from napari_nucleus.widgets.annotation import Annotation
    from napari_nucleus.widgets.workspace import Workspace

__all__ = ["Details", "Measuring"]

SLICE_S = 0.015
"""Seconds of reading between two turns of the event loop."""

AT_ONCE = 250
"""Rows that are read at once."""

MOST_BOXES = 300
"""If more places have changed, all rows are read again."""

AREA_MS = 250
"""How long view and shapes must rest before they are measured."""

DETAILS_MS = 500
"""How long corrections must pause before the rest follows, so that it delays none of them."""

LONGEST_DETAILS_S = 4.0
"""How long the rest is put off at most."""

BUSY_MS = 40
"""How long is waited for a long change to be made."""


@dataclass(frozen=True, eq=False)
class Details:
    """What follows the values.

    Parameters
    ----------
    whole
        All of the chosen area.
    regions
        Each drawn or signed-off region.
    entropies
        The map of the area, if one is wanted.
    """

    whole: TmeMeasurement
    regions: tuple[TmeMeasurement, ...]
    entropies: MapPicture | None


class Measuring:
    """Measures as long as it is `active`.

    Attributes
    ----------
    measured
        Emitted with a `TmeMeasurement` without curves, or None when there is nothing to measure.
    detailed
        Emitted with `Details`.
    noted
        Emitted with a sentence about what could not be measured as asked; empty for none.
    began
        Emitted when a measurement that may take a while begins.
    area_wanted
        Emitted when the area may be another: `measure` should be called with it.
    """

    measured = Signal(object)
    detailed = Signal(object)
    noted = Signal(str)
    began = Signal()
    area_wanted = Signal()

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._annotation: Annotation | None = None
        self._active = False
        self._where: Where | None = None
        self._wants_map = False
        self._book = CellBook()
        self._lives: Lives | None = None
        self._forget()
        self._working = self._detailing = False
        self._put_off_since = 0.0
        self._turns, self._details = _timer(self._turn), _timer(self._detail)
        self._area = _timer(self._renew_area)
        workspace.annotation_changed.connect(self._on_annotation)
        self._on_annotation()

    def _forget(self) -> None:
        """Begin anew: nothing is known of the document."""
        self._book.clear()
        self._lives = None
        self._unread: Iterator[list[int]] | None = None
        self._all_stale, self._area_stale = True, True
        self._boxes: list[Box] = []
        self._changed: set[int] = set()
        self._removed: set[int] = set()

    def close(self) -> None:
        """Measure nothing more."""
        self._active = False
        for timer in (self._turns, self._details, self._area):
            timer.stop()
        self._let_go()

    # ---- what is wanted

    @property
    def active(self) -> bool:
        """True while somebody looks: only then is anything read or computed."""
        return self._active

    @active.setter
    def active(self, active: bool) -> None:
        self._active = active
        if active:
            self._area.start(0)

    @property
    def where(self) -> Where | None:
        """What is measured; None for nothing."""
        return self._where

    def measure(self, where: Where | None) -> None:
        """Measure an area; one that is measured already is only kept up."""
        annotation, before, lives = self._annotation, self._where, self._lives
        self._where = where
        same = where is not None and before is not None and where.is_like(before)
        known = lives is not None and annotation is not None and lives.mpp == annotation.mpp
        if not (same and known):
            self._area_stale = True
        self._soon()

    @property
    def lives(self) -> Lives | None:
        """What is measured now; None before anything is."""
        return None if self._where is None else self._lives

    @property
    def models(self) -> set[str]:
        """Names of the models from which nuclei have their class."""
        return self._book.models

    @property
    def wants_map(self) -> bool:
        """True if the entropy map is wanted as well."""
        return self._wants_map

    @wants_map.setter
    def wants_map(self, wanted: bool) -> None:
        self._wants_map = wanted
        if wanted:
            self._details.start(0)

    # ---- following

    def _on_annotation(self) -> None:
        self._let_go()
        self._annotation = annotation = self._workspace.annotation
        self._where = None
        self._forget()
        if annotation is not None:
            annotation.document.changed.connect(self._on_changed)
            annotation.scheme_changed.connect(self._on_scheme)
            annotation.mpp_changed.connect(self._on_area)
            annotation.document.regions_changed.connect(self._on_area)
        self.measured.emit(None)
        self._on_area()

    def _let_go(self) -> None:
        annotation, self._annotation = self._annotation, None
        if annotation is not None:
            annotation.document.changed.disconnect(self._on_changed)
            annotation.scheme_changed.disconnect(self._on_scheme)
            annotation.mpp_changed.disconnect(self._on_area)
            annotation.document.regions_changed.disconnect(self._on_area)

    def _on_changed(self, box: Box, _: frozenset[str]) -> None:
        if self._all_stale:
            return
        self._boxes.append(box)
        if len(self._boxes) > MOST_BOXES:
            self._all_stale = True
        self._soon()

    def _on_scheme(self) -> None:
        self._all_stale = True
        self._soon()

    def _on_area(self, *_: Any) -> None:
        self.area_changes()

    def area_changes(self) -> None:
        """Take note that the view or a shape has changed; what comes of it is measured soon."""
        if self._active:
            self._area.start(AREA_MS)

    def _renew_area(self) -> None:
        if self._active:
            self.area_wanted.emit()

    # ---- turns of work on the main thread

    def _soon(self) -> None:
        if self._active and not self._working and not self._turns.isActive():
            self._turns.start(0)

    def _turn(self) -> None:
        annotation = self._annotation
        if not self._active or self._working or annotation is None or self._where is None:
            return
        if annotation.busy:  # rows may yet be taken back
            self._turns.start(BUSY_MS)
            return
        until = time.perf_counter() + SLICE_S
        while not self._read(annotation):
            if time.perf_counter() > until:
                self._turns.start(0)
                return
        self._compute(annotation, self._where)

    def _read(self, annotation: Annotation) -> bool:
        """Read some rows; return True when none is left to be read."""
        store = annotation.document.store
        if self._all_stale:
            self._forget()
            self._all_stale = False
            ids = annotation.document.ids.tolist()
            self._unread = (ids[i : i + AT_ONCE] for i in range(0, len(ids), AT_ONCE))
            if len(ids) > AT_ONCE:
                self.began.emit()
        if self._unread is not None:
            some = next(self._unread, None)
            if some is None:
                self._unread = None
            else:
                self._book.put(store.rows(some))
            return False
        if not self._boxes:
            return True
        box = self._boxes.pop()
        rows = store.rows(store.ids_in(box))
        present = {row.id for row in rows}
        gone = self._book.gone_from(box, present)
        changed = self._book.put(rows)
        self._book.drop(gone)
        self._changed = (self._changed | changed).difference(gone)
        self._removed = self._removed.union(gone) - present
        return not self._boxes

    def _compute(self, annotation: Annotation, where: Where) -> None:
        """Have what was read computed on another thread."""
        document, lives = annotation.document, self._lives
        mpp, scheme = document.mpp, document.scheme
        guessing = self._workspace.models.guessing
        guessed = self._book.guessed_yx(scheme, guessing)
        anew = self._area_stale or lives is None
        if not anew and not (self._changed or self._removed):
            return
        ids = None if anew else sorted(self._changed)
        cells, together = self._book.cells(scheme, mpp or 1.0, ids)
        removed = sorted(self._removed)
        self._area_stale, self._changed, self._removed = False, set(), set()
        self._working = True
        if anew and len(cells) > AT_ONCE:
            self.began.emit()

        def work() -> tuple[Lives, TmeMeasurement]:
            if anew or lives is None:
                done = Lives.of(cells, where, mpp, guessed, together)
            else:
                done = lives.updated(cells, removed, guessed, together)
            return done, done.values

        def then(result: tuple[Lives, TmeMeasurement]) -> None:
            done, values = result
            self._working = False
            if self._annotation is not annotation:
                self._soon()
                return
            self._lives = done
            if done.needs_all:
                self._area_stale = True
            else:
                self.noted.emit(_note(done, self.models & guessing))
                self.measured.emit(values)
                self._details_soon()
            self._soon()

        def failed(error: BaseException) -> None:
            self._working = False
            self._lives, self._area_stale = None, True
            self._workspace.warned.emit(str(error) or type(error).__name__)

        in_background(work, then, failed)

    def _details_soon(self) -> None:
        now = time.monotonic()
        if not self._details.isActive():
            self._put_off_since = now
        if now - self._put_off_since < LONGEST_DETAILS_S:
            self._details.start(DETAILS_MS)

    def _detail(self) -> None:
        """Have the rest computed on another thread, from what the cells were a moment ago."""
        lives, annotation = self._lives, self._annotation
        if self._detailing or not self._active or lives is None or annotation is None:
            return
        self._detailing = True
        with_map, shape = self._wants_map, annotation.source.shape

        def work() -> Details:
            whole, *regions = lives.measurements()
            shown = None
            if with_map:
                entropies = entropy_map(whole.cells, lives.areas[0], whole.mpp)
                shown = map_picture(entropies, shape)
            return Details(whole, tuple(regions), shown)

        def then(details: Details) -> None:
            self._detailing = False
            if self._annotation is annotation:
                self.detailed.emit(details)
                if self._lives is not lives or self._wants_map != with_map:
                    self._details_soon()

        def failed(error: BaseException) -> None:
            self._detailing = False
            self._workspace.warned.emit(str(error) or type(error).__name__)

        in_background(work, then, failed)


def _note(lives: Lives, guessing: set[str]) -> str:
    """Return what is to be said of a measurement, a sentence to a line."""
    told_apart = merging_note(lives.settings)
    if lives.guessed:
        told_apart = (
            f"Neoplastic and benign epithelial nuclei count as one class, epithelial: "
            f"{counted(lives.guessed)} have their class from {', '.join(sorted(guessing))}, which "
            "cannot tell the two apart."
        )
    return "\n".join(filter(None, (told_apart, lives.note)))


def _timer(act: Any) -> QTimer:
    timer = QTimer()
    timer.setSingleShot(True)
    # A method alone would be held weakly.
    timer.timeout.connect(lambda: act())
    return timer
