"""Going on where one was: the view, the tab and the selected nucleus of an image that was left."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray
from psygnal import Signal

from napari_nucleus.errors import ProjectError
from napari_nucleus.session.view import View
from napari_nucleus.widgets.annotation import Annotation
from napari_nucleus.widgets.keeping import Keeping
from napari_nucleus.widgets.layers import point_of_event

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["Resuming"]


class Resuming:
    """Keeps the view of each image with its project, and as long as the app runs.

    Attributes
    ----------
    tab
        Name of the tab that is open; set by whoever shows it.
    tab_wanted
        Emitted with the name of the tab that was open.
    """

    tab_wanted = Signal(str)

    def __init__(self, viewer: Viewer, keeping: Keeping) -> None:
        self._viewer, self._keeping = viewer, keeping
        self._views: dict[str, View] = {}
        self.tab = ""

    def leave(self, annotation: Annotation) -> None:
        """Note where one is in an image that is about to be left."""
        view = _view_of(self._viewer, annotation.image, self.tab, annotation.tool.selected)
        self._views[self._keeping.fingerprint] = view
        project = self._keeping.project
        if project is not None and not project.read_only:
            with contextlib.suppress(ProjectError):  # a convenience: no reason to keep one here
                project.view = view

    def resume(self, annotation: Annotation) -> bool:
        """Go to where one was in an image; False if it was never left."""
        project = self._keeping.project
        view = self._views.get(self._keeping.fingerprint)
        if view is None and project is not None:
            view = project.view
        if view is None:
            return False
        if view.tab and view.tab != self.tab:
            self.tab_wanted.emit(view.tab)
        if view.selected is not None and view.selected in annotation.document:
            annotation.select(view.selected)
        _look(self._viewer, annotation.image, view)
        return True


def _view_of(viewer: Viewer, image: Image, tab: str, selected: int | None) -> View:
    camera = viewer.scene.camera
    before = np.zeros(image.ndim - 2)
    y, x = point_of_event(image, [*before, *camera.center[-2:]])
    return View((float(y), float(x)), float(camera.zoom) * _pixel_side(image), tab, selected)


def _look(viewer: Viewer, image: Image, view: View) -> None:
    camera = viewer.scene.camera
    camera.center = (*camera.center[:-2], *_world(image, np.array(view.centre_yx)))
    camera.zoom = view.zoom / _pixel_side(image)


def _pixel_side(image: Image) -> float:
    """Return how long the side of a pixel is in the world."""
    return float(np.linalg.norm(_world(image, np.array([1.0, 0.0])) - _world(image, np.zeros(2))))


def _world(image: Image, point_yx: NDArray[np.float64]) -> NDArray[np.float64]:
    before = np.zeros(image.ndim - 2)
    return np.asarray(image.data_to_world(np.concatenate([before, point_yx - 0.5])))[-2:]
