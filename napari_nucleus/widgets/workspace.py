"""What the app is doing in one viewer: the models, the image that is worked on, runs, exports.

Widgets show it and call it; tests drive it. Main thread only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from napari.layers import Image, Labels, Shapes
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.core.nuclei import counted
from napari_nucleus.core.progress import Progress
from napari_nucleus.errors import ImageError, NucleusError
from napari_nucleus.session.hands import Gesture
from napari_nucleus.session.outlines import ActionResult
from napari_nucleus.session.regions import Ground
from napari_nucleus.session.rescheme import scheme_change_steps
from napari_nucleus.session.shelf import Shelf, default_shelf
from napari_nucleus.widgets.adopting import Adoption
from napari_nucleus.widgets.annotation import Annotation
from napari_nucleus.widgets.exporting import Exporting
from napari_nucleus.widgets.keeping import Keeping
from napari_nucleus.widgets.keys import KeyBinder, key_card
from napari_nucleus.widgets.layers import (
    layer_mpp,
    layer_source,
    region_polygons,
    role_of,
    visible_box,
)
from napari_nucleus.widgets.models import AppModels
from napari_nucleus.widgets.opening import Opening
from napari_nucleus.widgets.pointer import Pointer
from napari_nucleus.widgets.prefetching import Prefetching
from napari_nucleus.widgets.regions import RegionTools
from napari_nucleus.widgets.resuming import Resuming
from napari_nucleus.widgets.segmenting import Extent, Segmentation
from napari_nucleus.widgets.series_walk import SeriesWalk
from napari_nucleus.widgets.stepping import BUSY, Stepping

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["Workspace"]


class Workspace:
    """The state of the app in one viewer.

    Parameters
    ----------
    viewer
        The viewer.
    models
        The models in their processes; by default the bundled ones.
    shelf
        Where projects without a name are kept; by default in the user's data folder.

    Attributes
    ----------
    said, warned
        Emitted with a sentence for the status line; with one that must not be missed.
    annotation_changed
        Emitted when another image is worked on, or none.
    document_changed
        Emitted when nuclei, their classes or the history changed.
    progressed
        Emitted with a `Progress` during a run, with None when it has ended.
    table_asked
        Emitted when the user wants to see the table of nuclei, or no longer.
    """

    said = Signal(str)
    warned = Signal(str)
    annotation_changed = Signal()
    document_changed = Signal()
    progressed = Signal(object)
    table_asked = Signal()

    def __init__(
        self, viewer: Viewer, models: AppModels | None = None, shelf: Shelf | None = None
    ) -> None:
        self.viewer = viewer
        self.models = models or AppModels()
        self.annotation: Annotation | None = None
        self.segmentation: Segmentation | None = None
        self._rescheming: Stepping | None = None
        self.keeping = Keeping(shelf or default_shelf())
        self.keeping.warned.connect(self._warn)
        self.keeping.said.connect(self._say)
        self.models.choose(self.keeping.preferences.automatic_model)
        self.opening = Opening(self)
        self.resuming = Resuming(viewer, self.keeping)
        self.series = SeriesWalk(self)
        self.exporting = Exporting()
        self.exporting.warned.connect(self._warn)
        self.exporting.said.connect(self._say)
        self.regions = RegionTools(self)
        self._pointer = Pointer(viewer, self._annotation_if_shown)
        self._keys: KeyBinder | None = None
        self._switching = False
        self._prefetching = Prefetching(self)
        self._document_timer = QTimer()
        self._document_timer.setSingleShot(True)
        self._document_timer.setInterval(0)
        self._document_timer.timeout.connect(lambda: self.document_changed.emit())
        viewer.layers.events.removed.connect(self._on_layer_removed)
        self.models.clicks.start()

    def close(self) -> None:
        """Let go of the viewer and end the models' processes."""
        self._prefetching.close()
        self.exporting.close()
        self.opening.close()
        self.series.close()
        self.disarm()
        if self.segmentation is not None:
            # Whoever shows its progress may be gone already.
            self.segmentation.progressed.disconnect(self._on_progress)
            self.segmentation.finished.disconnect(self._on_segmented)
        self.viewer.layers.events.removed.disconnect(self._on_layer_removed)
        self._leave_image()
        self._document_timer.stop()
        self.models.close()

    # ---- the image

    def set_image(self, image: Image | None) -> None:
        """Work on an image layer; what was annotated on the same pixels before is there again."""
        if image is not None and role_of(image) is not None:
            image = None
        if self._switching or (self.annotation is not None and self.annotation.image is image):
            return
        # Layers of ours come and go meanwhile, which has the header look for an image.
        self._switching = True
        try:
            armed = self.armed
            self.disarm()
            self._leave_image()
            if image is not None:
                self._enter_image(image)
        except NucleusError as error:
            self.warned.emit(str(error))
        finally:
            self._switching = False
        if armed:
            self.arm()
        self.annotation_changed.emit()
        self.document_changed.emit()
        if self.annotation is not None:
            self.resuming.resume(self.annotation)

    def _enter_image(self, image: Image) -> None:
        document = self.keeping.take(image, layer_source(image, layer_mpp(image)))
        try:
            annotation = Annotation(self.viewer, image, self.models.clicks, document)
        except NucleusError:
            self.keeping.leave()
            raise
        self.annotation = annotation
        self.viewer.canvas.overlays.scale_bar.visible = layer_mpp(image) is not None
        annotation.said.connect(self._say)
        annotation.warned.connect(self._warn)
        annotation.document.changed.connect(self._on_document)
        annotation.document.regions_changed.connect(self._on_document)
        annotation.document.history_changed.connect(self._on_document)
        self._prefetching.schedule()

    def _leave_image(self) -> None:
        self.regions.finish()
        annotation, self.annotation = self.annotation, None
        if annotation is None:
            return
        if self.segmentation is not None and self.segmentation.running:
            self.segmentation.stop()
        if self._rescheming is not None:
            self._rescheming.stop()
        annotation.finish_change()
        annotation.document.changed.disconnect(self._on_document)
        annotation.document.regions_changed.disconnect(self._on_document)
        annotation.document.history_changed.disconnect(self._on_document)
        self.resuming.leave(annotation)
        annotation.close()
        self.keeping.leave()

    def _on_layer_removed(self, event: Any) -> None:
        if self.annotation is None or event.value != self.annotation.image:
            return
        count = self.annotation.document.count
        name = self.annotation.image.name
        self.set_image(None)
        if count:
            self.warned.emit(
                f"{name} was closed; its annotation ({counted(count)}) is kept. Open the same "
                "image again to go on."
            )

    def _say(self, message: str) -> None:
        self.said.emit(message)

    def _warn(self, message: str) -> None:
        self.warned.emit(message)

    def _on_progress(self, report: Progress) -> None:
        self.progressed.emit(report)

    def _on_document(self, *_: Any) -> None:
        # Labels, table and history change together; what shows them is drawn once, after them.
        self._document_timer.start()

    def _annotation_if_shown(self) -> Annotation | None:
        annotation = self.annotation
        return annotation if annotation is not None and annotation.image.visible else None

    # ---- correcting

    @property
    def armed(self) -> bool:
        """True while clicks on the canvas correct nuclei."""
        return self._pointer.armed

    def arm(self) -> None:
        """Let clicks on the canvas correct nuclei."""
        if self.armed:
            return
        self._pointer.arm()
        self._keys = KeyBinder(self.viewer, self._handlers())
        self._keys.bind()
        self._prefetching.schedule()

    def disarm(self) -> None:
        """Give mouse and keys back to napari."""
        if self._keys is not None:
            self._keys.unbind()
            self._keys = None
        self._pointer.disarm()
        if self.annotation is not None:
            self.annotation.by_hand.brush.put_down()
            self.annotation.marks.show_box(None, None)

    def _handlers(self) -> dict[str, Callable[[], None]]:
        def of_annotation(act: Callable[[Annotation], None]) -> Callable[[], None]:
            def handler() -> None:
                if self.annotation is not None:
                    act(self.annotation)

            return handler

        handlers = {
            "toggle_sign": of_annotation(Annotation.toggle_sign),
            "swap": of_annotation(Annotation.swap),
            "delete": of_annotation(Annotation.delete),
            "next_doubtful": of_annotation(Annotation.next_doubtful),
            "previous_doubtful": of_annotation(lambda a: a.next_doubtful(forward=False)),
            "accept": of_annotation(Annotation.accept_and_advance),
            "sign_off_view": self.regions.sign_off_view,
            "lift_region": self.regions.lift_under_pointer,
            "brush": of_annotation(lambda a: a.by_hand.take_brush(erases=False)),
            "eraser": of_annotation(lambda a: a.by_hand.take_brush(erases=True)),
            "choose_like": of_annotation(lambda a: a.by_hand.choose_like_selected()),
            "fill_holes": of_annotation(lambda a: a.by_hand.fill_holes()),
            "smooth": of_annotation(lambda a: a.by_hand.smooth()),
            "fill": of_annotation(Annotation.toggle_fill),
            "hide": of_annotation(Annotation.toggle_hidden),
            "table": lambda: self.table_asked.emit(),
            "undo": of_annotation(Annotation.undo),
            "redo": of_annotation(Annotation.redo),
            "escape": of_annotation(Annotation.escape),
            "help": lambda: self.said.emit(key_card()),
        }
        for gesture in get_args(Gesture):
            handlers[gesture] = of_annotation(lambda a, g=gesture: a.by_hand.begin(g))
        for digit in range(1, 10):
            handlers[str(digit)] = of_annotation(lambda a, d=digit: a.classify_by_key(str(d)))
        return handlers

    # ---- segmenting

    def region_of_view(self) -> Extent:
        """Return what the canvas shows of the image."""
        return Extent("view", visible_box(self._worked_on().image))

    def region_of_image(self) -> Extent:
        """Return the whole image."""
        return Extent("image", (0, 0, *self._worked_on().source.shape))

    def region_of_shapes(self, shapes: Shapes) -> Extent:
        """Return the drawn shapes as one region.

        Raises
        ------
        ImageError
            If nothing is drawn.
        """
        annotation = self._worked_on()
        polygons = region_polygons(shapes, annotation.image)
        if not polygons:
            raise ImageError(f"{shapes.name}: draw a region first, with three corners or more.")
        points = np.concatenate(polygons)
        low, high = np.floor(points.min(0)).astype(int), np.ceil(points.max(0)).astype(int)
        height, width = annotation.source.shape
        box = (
            max(int(low[0]), 0),
            max(int(low[1]), 0),
            min(int(high[0]), height),
            min(int(high[1]), width),
        )
        if box[0] >= box[2] or box[1] >= box[3]:
            raise ImageError(f"{shapes.name}: the drawn region lies outside the image.")
        return Extent("region", box, tuple(polygons))

    def choose_model(self, name: str) -> None:
        """Let a model find the nuclei from now on, also when the app is opened again."""
        self.models.choose(name)
        self.keeping.preferences.automatic_model = self.models.automatic.name

    def segment(self, extent: Extent) -> Segmentation:
        """Find every nucleus of a part of the image; returns at once.

        Raises
        ------
        ImageError
            If a run is going on already, or all of it is excluded or signed off.
        """
        annotation = self._at_rest()
        if self.segmentation is not None and self.segmentation.running:
            raise ImageError("A segmentation is running; cancel it first.")
        if not Ground(extent.polygons, annotation.document.regions).meets(extent.box):
            raise ImageError(
                f"All of the {extent.name} is excluded or signed off, and segmenting leaves that "
                "alone. Lift a region first (Lift in the Correct tab)."
            )
        visible = visible_box(annotation.image)
        centre = ((visible[0] + visible[2]) / 2, (visible[1] + visible[3]) / 2)
        segmentation = Segmentation(annotation, self.models.automatic, extent, visible, centre)
        self.segmentation = segmentation
        segmentation.progressed.connect(self._on_progress)
        segmentation.finished.connect(self._on_segmented)
        segmentation.start()
        return segmentation

    def _on_segmented(self, message: str) -> None:
        self.progressed.emit(None)
        self._renew_review()
        self.said.emit(message)
        self._prefetching.schedule()

    def _renew_review(self) -> None:
        if self.annotation is not None:
            self.annotation.review.renew()

    def cancel(self) -> None:
        """Stop the run that is going on."""
        if self.segmentation is not None and self.segmentation.running:
            self.segmentation.cancel()

    def _worked_on(self) -> Annotation:
        if self.annotation is None:
            raise ImageError("Open an image first.")
        return self.annotation

    def _at_rest(self) -> Annotation:
        annotation = self._worked_on()
        if annotation.busy or self._rescheming is not None:
            raise ImageError(BUSY)
        return annotation

    # ---- classes

    def change_scheme(self, scheme: ClassScheme) -> Stepping:
        """Return the change to another class scheme, which is to be started.

        Until it has ended, nothing else may change the document; clicks that are not answered yet
        are given up.
        """
        annotation = self._at_rest()
        annotation.asking.drop()
        self._rescheming = Stepping(scheme_change_steps(annotation.document, scheme))
        self._rescheming.ended.connect(self._on_rescheming)
        return self._rescheming

    def _on_rescheming(self, result: ActionResult | None) -> None:
        self._rescheming = None
        if result is not None:
            self.said.emit(result.message)

    # ---- labels from elsewhere

    def adopt(self, labels: Labels) -> Adoption:
        """Enter the nuclei of a label layer into the document as one step; returns at once."""
        adoption = Adoption(self._at_rest(), labels)
        adoption.finished.connect(self._on_adopted)
        adoption.failed.connect(self._warn)
        adoption.start()
        return adoption

    def _on_adopted(self, message: str) -> None:
        self._renew_review()
        self.said.emit(message)

    # ---- export

    def export(self, folder: Path, stem: str, formats: Collection[str]) -> None:
        """Write the document's files, some of `io.export.FORMATS`; returns at once.

        Raises
        ------
        ImageError
            If there is nothing to export, or an export is going on already.
        """
        project = self.keeping.project
        self.exporting.begin(
            self._worked_on(), None if project is None else project.path, folder, stem, formats
        )
