"""Nuclei as points first: found by a detector, put right by the user, outlined, then accepted.

Points are no annotations until they are accepted, but they are work: they are kept with the project
as they change, and are there again when its image is opened. Main thread only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_nucleus.core.classes import KEYS
from napari_nucleus.errors import ImageError, NucleusError
from napari_nucleus.session.outlines import ActionResult
from napari_nucleus.session.points_book import PointBook
from napari_nucleus.session.points_entry import enter_points_in_steps
from napari_nucleus.session.points_kept import keep_points, kept_points
from napari_nucleus.widgets.extents import whole_extent
from napari_nucleus.widgets.keys import current_keys
from napari_nucleus.widgets.points_layer import PointsChange
from napari_nucleus.widgets.points_preview import PointsPreview
from napari_nucleus.widgets.points_run import counted_points
from napari_nucleus.widgets.points_view import PointsView

if TYPE_CHECKING:
    from napari_nucleus.widgets.annotation import Annotation
    from napari_nucleus.widgets.extents import Extent
    from napari_nucleus.widgets.workspace import Workspace

__all__ = ["PointsFirst"]

SHOW_MS = 250
"""How long points that come in wait to be shown together."""

KEEP_MS = 1500
"""How long points must rest before they are kept with the project."""


class PointsFirst:
    """The points of the image that a workspace works on.

    Attributes
    ----------
    changed
        Emitted when there are other points, outlines or ways to work on them.
    book
        The points; None while there are none.
    """

    changed = Signal()

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._annotation: Annotation | None = None
        self._view: PointsView | None = None
        self._preview: PointsPreview | None = None
        self._away: PointBook | None = None
        self._closed = False
        self.book: PointBook | None = None
        self._showing = _timer(SHOW_MS, lambda: self._show())
        self._keeping = _timer(KEEP_MS, lambda: self._keep())
        workspace.annotation_changed.connect(self._on_annotation)

    # ---- what there is

    @property
    def can_find(self) -> bool:
        """True if the chosen model finds nuclei as points."""
        return "points" in self._workspace.models.automatic.info.capabilities

    @property
    def put_away(self) -> int:
        """Number of points that were discarded or accepted here last, and can be brought back."""
        return 0 if self._away is None else len(self._away.table)

    @property
    def mode(self) -> str:
        """What clicks on the canvas do to points: ``"add"``, ``"select"``, or another thing."""
        return "" if self._view is None else self._view.mode

    @property
    def selected(self) -> int:
        """Number of points that are selected."""
        return 0 if self._view is None else len(self._view.selected)

    @property
    def new_class(self) -> int:
        """Class of points that the user adds; 0 for that of the model which outlines them."""
        return 0 if self._view is None else self._view.new_class

    @property
    def at_work(self) -> bool:
        """True while outlines in view are on their way, or something waits to be shown."""
        asking = self._preview is not None and self._preview.at_work
        behind = self._view is not None and self._view.is_behind
        return asking or behind or self._showing.isActive()

    # ---- from the detector to the document

    def find(self, extent: Extent) -> None:
        """Have the chosen model find nuclei as points in a part of the image; returns at once.

        What was found before there, and nobody has touched, makes room.

        Raises
        ------
        ImageError
            If the model cannot, or something else is being done.
        """
        workspace = self._workspace
        annotation, model = workspace.at_rest(), workspace.models.automatic
        if not self.can_find:
            raise ImageError(f"{model.name} finds no points; choose a model that does.")
        if annotation.mpp is None:
            raise ImageError("How large are the pixels? State µm/px above first.")
        document = annotation.document
        book = self.book or PointBook(document.shape, document.scheme, annotation.mpp)
        run = workspace.runs.find_points(model, extent, book)
        if not run.running:
            return  # it could not even begin, and has said so
        run.came.connect(self._on_found)
        run.finished.connect(self._on_searched)
        if self.book is None:
            self._take_up(annotation, book)
        self._away = None
        self.changed.emit()

    def accept(self) -> None:
        """Make nuclei of all points that are shown, as one undo step; returns at once.

        Those that have no outline yet are outlined first.

        Raises
        ------
        ImageError
            If there are none, or something else is being done.
        """
        workspace, book = self._workspace, self.book
        annotation = workspace.at_rest()
        if workspace.runs.running:
            raise ImageError("A model is at work on this image; cancel that first.")
        self._take_pasted()
        if book is None or not book.standing.shown:
            raise ImageError("There are no points to accept.")
        if self._preview is not None:
            self._preview.stop()
        self.rest()
        if not book.standing.waiting:
            self._enter()
            return
        run = workspace.runs.outline(annotation.model, whole_extent(annotation), book, self._enter)
        run.came.connect(self._on_outlined)

    def _enter(self) -> None:
        annotation, book = self._annotation, self.book
        if annotation is None or book is None or annotation is not self._workspace.annotation:
            return
        alike = self._workspace.models.alike(annotation.document.scheme)

        def tell(result: ActionResult) -> str:
            self.discard()
            annotation.reviewing.queue.renew()
            return result.message

        made_by = annotation.model.made_by
        annotation.work(enter_points_in_steps(annotation.document, book, made_by, alike), tell)

    def discard(self) -> None:
        """Put the points away; `bring_back` shows them again."""
        book = self.book
        if book is not None:
            self._put_down()
            self._away = book
            self._keep()
            self.changed.emit()

    def bring_back(self) -> None:
        """Show the points again that were discarded or accepted last."""
        annotation, book = self._workspace.annotation, self._away
        if annotation is None or book is None or self.book is not None:
            return
        self._away = None
        book.rescheme(annotation.document.scheme)
        self._take_up(annotation, book)
        self._keep()

    # ---- what the user does to points

    def work(self, mode: str) -> None:
        """Let clicks on the canvas ``"add"`` points, or ``"select"`` and move them."""
        if self._view is not None:
            self._view.work(mode)

    def rest(self) -> None:
        """Let clicks on the canvas do nothing to points."""
        if self._view is not None:
            self._view.rest()

    def delete_selected(self) -> None:
        """Take the selected points out."""
        if self._view is not None:
            self._view.delete_selected()

    def classify(self, class_id: int) -> None:
        """Give the selected points a class, and those that are added from now on."""
        if self.book is None or self._view is None:
            return
        self._view.new_class = class_id
        self.book.classify(self._view.selected, class_id)
        self._follow()

    def _keys(self) -> dict[str, Callable[[], None]]:
        """Return what keys do on the layer of points: digits name classes, as for nuclei."""
        keys = current_keys()
        digits: dict[str, Callable[[], None]] = {
            key: partial(self._classify_by_key, key) for key in KEYS
        }
        return digits | {keys["undo"]: self.undo, keys["redo"]: self.redo}

    def _classify_by_key(self, key: str) -> None:
        found = None if self.book is None else self.book.scheme.by_key(key)
        if found is None:
            self._workspace.said.emit(f"No class has the key {key}.")
        else:
            self.classify(found.id)

    def set_threshold(self, threshold: float) -> None:
        """Hide points with a lower score that nobody has touched."""
        if self.book is not None and self._preview is not None:
            self.book.threshold = threshold
            self._showing.start()
            self._preview.schedule()
            self._keeping.start()

    def undo(self) -> None:
        """Take back the last change of points."""
        self._step(PointBook.undo, "Undone")

    def redo(self) -> None:
        """Bring back the change of points that was taken back last."""
        self._step(PointBook.redo, "Done again")

    def _step(self, act: Callable[[PointBook], str | None], done: str) -> None:
        if self.book is None:
            return
        name = act(self.book)
        self._workspace.said.emit(f"{done}: {name}." if name else "No change of points to go to.")
        if name:
            self._follow()

    def _on_change(self, change: PointsChange) -> None:
        book = self.book
        if book is None:
            return
        book.remove(change.removed)
        on = book.contains(change.moved_yx)
        book.move(change.moved[on], change.moved_yx[on])
        new = change.added_yx[book.contains(change.added_yx)]
        book.add(new, self.new_class)
        outside = len(change.added_yx) - len(new)
        if outside:
            self._workspace.said.emit(f"{counted_points(outside)} beside the image dropped.")
        elif not on.all():
            self._workspace.said.emit("A point stays on the image; it was put back.")
        places = np.concatenate([change.moved_yx[on], new])
        self._follow(places[0] if len(places) else None)

    def _take_pasted(self) -> None:
        change = None if self._view is None else self._view.take_changes()
        if change is not None:
            self._on_change(change)

    def _follow(self, near: NDArray[np.float64] | None = None) -> None:
        """Show what has changed, and have outlines follow."""
        self._show()
        if self._preview is not None:
            self._preview.schedule(urgent=True, near=near)
        self._keeping.start()

    # ---- points and outlines come

    def _on_found(self) -> None:
        if not self._showing.isActive():
            self._showing.start()
        if self._preview is not None:
            self._preview.schedule()
        self._keeping.start()

    def _on_searched(self, _: str) -> None:
        if self.book is not None and not len(self.book.table):
            self.discard()
            self._away = None
        else:
            self._show()
            if not self._workspace.armed:
                self.work("select")
        self.changed.emit()

    def _on_outlined(self) -> None:
        if self._view is not None:
            self._view.draw()
        if not self._showing.isActive():
            self._showing.start()

    # ---- the image and its project

    def _take_up(self, annotation: Annotation, book: PointBook) -> None:
        """Let these be the points of the image."""
        self._annotation, self.book = annotation, book
        self._preview = PointsPreview(annotation, book)
        self._preview.came.connect(self._on_outlined)
        self._preview.failed.connect(self._on_no_outline)
        self._view = PointsView(annotation, book, self._keys())
        self._view.edited.connect(self._on_change)
        self._view.touched.connect(self._on_touched)
        self._view.restored.connect(self._on_restored)
        annotation.closing.connect(self._on_closing)
        annotation.scheme_changed.connect(self._on_scheme)
        self._preview.schedule()
        self.changed.emit()

    def _put_down(self) -> None:
        """Let go of points, layers and image."""
        annotation, self._annotation = self._annotation, None
        preview, self._preview = self._preview, None
        view, self._view = self._view, None
        self.book = None
        self._showing.stop()
        if preview is not None:
            preview.close()
        if view is not None:
            view.close()
        if annotation is not None:
            annotation.closing.disconnect(self._on_closing)
            annotation.scheme_changed.disconnect(self._on_scheme)

    def _on_touched(self) -> None:
        self.changed.emit()

    def _on_restored(self) -> None:
        self._workspace.said.emit("The points belong to the image and were put back; see Discard.")

    def _show(self) -> None:
        if self._view is not None:
            self._view.show()
            self.changed.emit()

    def _on_annotation(self) -> None:
        annotation = self._workspace.annotation
        if annotation is self._annotation:
            return
        self._away = None
        book = None if annotation is None else kept_points(annotation.document)
        if annotation is not None and book is not None and len(book.table):
            self._take_up(annotation, book)
            self._workspace.said.emit(
                f"{counted_points(len(book.table))} wait here to be accepted, in the Segment tab."
            )
        self.changed.emit()

    def _on_closing(self) -> None:
        book, annotation = self.book, self._annotation
        if book is None or annotation is None:
            return
        self._take_pasted()
        kept = self._keep()
        self._put_down()
        if kept and not self._closed:
            self._workspace.warned.emit(
                f"{annotation.image.name}: {counted_points(len(book.table))} are not accepted yet; "
                "they are kept with the project."
            )

    def _on_scheme(self) -> None:
        if self.book is None or self._annotation is None:
            return
        scheme = self._annotation.document.scheme
        self.book.rescheme(scheme)
        if self._view is not None:
            self._view.new_class = 0
            self._view.set_scheme(scheme)
        self.changed.emit()
        self._keeping.start()

    def _on_no_outline(self, sentence: str) -> None:
        self._workspace.said.emit(f"Points are not outlined: {sentence}")

    def _keep(self) -> bool:
        """Keep the points with the project; False if that cannot be."""
        annotation = self._annotation or self._workspace.annotation
        self._keeping.stop()
        if annotation is None:
            return False
        if annotation.busy:
            self._keeping.start()
            return False
        try:
            keep_points(annotation.document, self.book)
        except NucleusError as error:
            self._workspace.said.emit(f"The points could not be kept: {error}")
            return False
        return True

    def close(self) -> None:
        """Say nothing more when the image is left: the app is closing."""
        self._closed = True


def _timer(milliseconds: int, act: Callable[[], object]) -> QTimer:
    timer = QTimer()
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.timeout.connect(lambda: act())
    return timer
