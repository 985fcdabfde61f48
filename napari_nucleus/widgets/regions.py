"""Drawing regions, signing them off, excluding and lifting them, in one viewer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Shapes
from numpy.typing import NDArray
from qtpy.QtCore import QTimer

from napari_nucleus.errors import CancelledError, ImageError, NucleusError
from napari_nucleus.session import actions
from napari_nucleus.session.document import Document
from napari_nucleus.session.marking import Marking
from napari_nucleus.session.regions import region_at
from napari_nucleus.widgets.layers import (
    METADATA_KEY,
    region_polygons,
    role_of,
    same_place,
    visible_box,
)
from napari_nucleus.widgets.stepping import BUSY

if TYPE_CHECKING:
    from napari_nucleus.widgets.annotation import Annotation
    from napari_nucleus.widgets.workspace import Workspace

__all__ = ["RegionTools"]

DRAWING_ROLE = "region"

TURN_SECONDS = 0.02
"""How long a large region is worked on before the window gets its turn."""


class _Entering:
    """A region on its way into a document, piece by piece as one undo step."""

    def __init__(self, document: Document, marking: Marking) -> None:
        self.marking = marking
        self._run = document.run(marking.name)
        self._pieces = marking.edits(self._run.spared)

    def go_on(self, seconds: float = math.inf) -> bool:
        """Work for about so long, one piece at least; return True when all is entered.

        Raises
        ------
        NucleusError
            If the user has undone it, or the project takes no more; what was entered stays then.
        """
        end = time.monotonic() + seconds
        try:
            for edit in self._pieces:
                self._run.extend(edit)
                if time.monotonic() > end:
                    return False
        except NucleusError:
            self._run.close()
            raise
        self._run.close()
        return True


class RegionTools:
    """What the user does to regions of the image that is worked on."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._entering: _Entering | None = None

    @property
    def busy(self) -> bool:
        """True while the nuclei of a large region are being worked through."""
        return self._entering is not None

    # ---- drawing

    def draw(self) -> Shapes | None:
        """Give the user a shapes layer on the image, ready to draw a polygon."""
        annotation = self._workspace.annotation
        if annotation is None:
            return None
        viewer = self._workspace.viewer
        layer = self.drawing()
        if layer is None:
            layer = Shapes(
                ndim=2,
                name="Region",
                edge_color="#ffe119",
                face_color="transparent",
                metadata={METADATA_KEY: {"document": annotation.key, "role": DRAWING_ROLE}},
                **same_place(annotation.image),
            )
            viewer.add_layer(layer)
        viewer.layers.selection.active = layer
        layer.mode = "add_polygon"
        return layer

    def drawing(self) -> Shapes | None:
        """Return the shapes layer that was drawn in: ours, else one the user has selected."""
        annotation = self._workspace.annotation
        layers = self._workspace.viewer.layers
        key = None if annotation is None else annotation.key
        for layer in layers:
            if role_of(layer) == (key, DRAWING_ROLE):
                return layer  # type: ignore[return-value]
        active = layers.selection.active
        return active if isinstance(active, Shapes) and role_of(active) is None else None

    def _drawn(self, annotation: Annotation) -> tuple[Shapes, list[NDArray[np.float64]]]:
        """Return what is drawn, or let the user draw something first."""
        layer = self.drawing()
        polygons = []
        if layer is not None:
            layer.mode = "pan_zoom"  # ends a polygon that is being drawn
            polygons = region_polygons(layer, annotation.image)
        if layer is None or not polygons:
            self.draw()
            raise ImageError(
                "Draw the region: click its corners, double-click the last. Then press this again."
            )
        return layer, polygons

    # ---- signing off, excluding

    def sign_off_view(self) -> None:
        """Sign off what the canvas shows of the image."""

        def begin(annotation: Annotation) -> Marking:
            y0, x0, y1, x1 = visible_box(annotation.image)
            view = np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]], float)
            return Marking.sign_off(annotation.document, [view])

        self._enter(begin)

    def sign_off_drawn(self) -> None:
        """Sign off what is drawn."""
        self._enter_drawn(lambda document, polygons: Marking.sign_off(document, polygons))

    def exclude_drawn(self, remove_nuclei: bool) -> None:
        """Exclude what is drawn, and remove its untouched nuclei if asked to."""
        self._enter_drawn(
            lambda document, polygons: Marking.exclude(document, polygons, remove_nuclei)
        )

    def _enter_drawn(self, mark: Callable[[Document, list[Any]], Marking]) -> None:
        layers: list[Shapes] = []

        def begin(annotation: Annotation) -> Marking:
            layer, polygons = self._drawn(annotation)
            marking = mark(annotation.document, polygons)
            layers.append(layer)
            return marking

        if self._enter(begin):
            # What was drawn is a region now; a layer of the user's own stays.
            workspace = self._workspace
            if workspace.annotation is not None:
                workspace.viewer.layers.selection.active = workspace.annotation.image
            for layer in layers:
                if role_of(layer) is not None and layer in workspace.viewer.layers:
                    workspace.viewer.layers.remove(layer)

    def _enter(self, begin: Callable[[Annotation], Marking]) -> bool:
        """Begin to enter a region; return True if it is in the document."""
        workspace = self._workspace
        annotation = workspace.annotation
        if annotation is None:
            return False
        try:
            if self._entering is not None or annotation.busy:
                raise ImageError(BUSY)
            self._entering = _Entering(annotation.document, begin(annotation))
        except NucleusError as error:
            workspace.warned.emit(str(error))
            return False
        return self._go_on(TURN_SECONDS)

    def _go_on(self, seconds: float) -> bool:
        """Work for a while; return False if there is nothing to do or it failed."""
        entering = self._entering
        if entering is None:
            return False
        try:
            done = entering.go_on(seconds)
        except CancelledError:
            self._entering = None  # the user has undone it, and was told so
        except NucleusError as error:
            self._entering = None
            self._workspace.warned.emit(str(error))
        else:
            if done:
                self._entering = None
                self._workspace.said.emit(entering.marking.message)
            else:
                QTimer.singleShot(0, lambda: self._go_on(TURN_SECONDS))
            return True
        return False

    def finish(self) -> None:
        """Work a large region through to its end, before its document is left."""
        self._go_on(math.inf)

    # ---- lifting

    def lift(self, region_id: int) -> None:
        """Lift a region."""
        annotation = self._workspace.annotation
        if annotation is None:
            return
        try:
            result = actions.drop_region(annotation.document, region_id)
        except NucleusError as error:
            self._workspace.warned.emit(str(error))
        else:
            self._workspace.said.emit(result.message)

    def lift_under_pointer(self) -> None:
        """Lift the region under the pointer; the smallest where several lie on each other."""
        annotation = self._workspace.annotation
        if annotation is None:
            return
        point = annotation.pointed_at
        region = None if point is None else region_at(annotation.document.regions, point)
        if region is None:
            self._workspace.said.emit("No region under the pointer.")
        else:
            self.lift(region.id)
