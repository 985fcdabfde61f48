"""Points and their outlines over an image: the two layers in which they are seen and changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.session.points_book import PointBook
from napari_nucleus.session.points_raster import PointsRaster
from napari_nucleus.session.points_table import Origin
from napari_nucleus.widgets.binding import raster_colormap
from napari_nucleus.widgets.marked_layer import PictureLayer
from napari_nucleus.widgets.points_layer import PointsChange, PointsLayer, ShownPoints

if TYPE_CHECKING:
    from napari_nucleus.widgets.annotation import Annotation

__all__ = ["OUTLINES_ROLE", "PointsView"]

OUTLINES_ROLE = "point outlines"

USERS = (1.0, 0.88, 0.1, 1.0)
"""Colour of the border of points that the user has added or changed."""

FACE_ALPHA = 0.9


class PointsView:
    """Shows points of a book, and what the user does to them.

    A layer that the user deletes comes back: points are discarded otherwise.

    Parameters
    ----------
    annotation
        The image.
    book
        The points.
    keys
        What keys do while the layer of points is active.

    Attributes
    ----------
    new_class
        Class of points that the user adds; `show` makes it true.
    edited
        Emitted with a `PointsChange` that is to be made true; `show` must be called after it.
    touched
        Emitted when another mode or selection of points is.
    restored
        Emitted after a deleted layer of points came back.
    """

    edited = Signal(object)
    touched = Signal()
    restored = Signal()

    def __init__(
        self,
        annotation: Annotation,
        book: PointBook,
        keys: Mapping[str, Callable[[], None]],
    ) -> None:
        self._annotation, self._book, self._keys = annotation, book, keys
        self.new_class = 0
        self._raster = PointsRaster(annotation.document, book)
        self._outlines = self._add_outlines()
        self._points = self._add_points()
        annotation.viewer.layers.events.removed.connect(self._on_removed)
        self.show()

    def show(self) -> None:
        """Show points and outlines as they are."""
        self._points.show(_shown(self._book))
        self._points.expect(_face(self._book.scheme, self.new_class), USERS)
        self.draw()

    def draw(self) -> None:
        """Draw outlines where they are others than before."""
        if self._outlines.is_there:
            self._outlines.redraw_in_steps(self._raster.changed())
            return
        self._outlines = self._add_outlines()
        if self._points.is_there:
            layers = self._annotation.viewer.layers
            layers.move(layers.index(self._outlines.layer), layers.index(self._points.layer))

    @property
    def is_behind(self) -> bool:
        """True while outlines wait to be drawn."""
        return self._outlines.is_behind

    def set_scheme(self, scheme: ClassScheme) -> None:
        """Show all in the colours of a scheme."""
        self._outlines.layer.colormap = raster_colormap(scheme, filled=False)
        self.show()

    def close(self) -> None:
        """Take the layers out of the viewer."""
        self._annotation.viewer.layers.events.removed.disconnect(self._on_removed)
        self._points.rest()
        self._points.close()
        self._outlines.close()

    # ---- what the user does

    @property
    def mode(self) -> str:
        """What clicks on the canvas do to points: ``"add"``, ``"select"``, or another thing."""
        return self._points.mode

    @property
    def selected(self) -> NDArray[np.int64]:
        """Ids of the selected points, ``(k,)``."""
        return self._points.selected

    def work(self, mode: str) -> None:
        """Let clicks on the canvas ``"add"`` points, or ``"select"`` and move them."""
        self._points.work(mode)

    def rest(self) -> None:
        """Let clicks on the canvas do nothing to points."""
        self._points.rest()

    def delete_selected(self) -> None:
        """Take the selected points out, as the key Delete does."""
        self._points.delete_selected()

    def take_changes(self) -> PointsChange | None:
        """Return what the user did that was not told yet, such as points that were pasted."""
        return self._points.take_changes()

    # ---- layers

    def _add_points(self) -> PointsLayer:
        annotation = self._annotation
        points = PointsLayer(annotation.viewer, annotation.image, annotation.key, self._keys)
        points.changed.connect(self._on_edited)
        points.layer.events.mode.connect(self._on_touched)
        points.layer.selected_data.events.items_changed.connect(self._on_touched)
        return points

    def _add_outlines(self) -> PictureLayer[PointsRaster]:
        annotation = self._annotation
        return PictureLayer(
            annotation.viewer,
            annotation.image,
            annotation.document,
            self._raster,
            raster_colormap(annotation.document.scheme, filled=False),
            annotation.key,
            OUTLINES_ROLE,
            "outlines of points",
        )

    def _on_edited(self, change: PointsChange) -> None:
        self.edited.emit(change)

    def _on_touched(self, _: Any = None) -> None:
        self.touched.emit()

    def _on_removed(self, event: Any) -> None:
        if event.value is self._points.layer:
            mode = self.mode
            self._points.close()
            self._points = self._add_points()
            self.show()
            if mode in ("add", "select"):
                self.work(mode)
            self.restored.emit()


def _shown(book: PointBook) -> ShownPoints:
    """Return points as they are to be shown: by class inside, by score on the border."""
    table = book.table.select(book.shown)
    classes = book.classes_of(table)
    known = np.unique(classes)
    at = np.searchsorted(known, classes)
    faces = np.array([_face(book.scheme, int(c)) for c in known], np.float32).reshape(-1, 4)
    names = np.array([book.scheme.name_of(int(c)) for c in known], object)
    border = np.ones((len(table), 4), np.float32)
    border[:, :3] = table.score[:, None]
    border[table.origin != Origin.FOUND] = USERS
    return ShownPoints(
        table.ids,
        table.yx,
        faces[at],
        border,
        np.isin(table.ids, book.outlines.empty),
        {"class": names[at], "score": np.round(table.score.astype(float), 2)},
    )


def _face(scheme: ClassScheme, class_id: int) -> tuple[float, ...]:
    return (*(c / 255 for c in scheme.color_of(class_id)), FACE_ALPHA)
