"""What the app is doing in one viewer: the models, the image that is worked on, runs, exports.

Widgets show it and call it; tests drive it. Main thread only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from napari.layers import Image, Labels
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_nucleus.core.classes import ClassScheme
from napari_nucleus.core.nuclei import counted
from napari_nucleus.errors import ImageError, NucleusError
from napari_nucleus.session.hands import Gesture
from napari_nucleus.session.outlines import ActionResult
from napari_nucleus.session.rescheme import scheme_change_steps
from napari_nucleus.session.shelf import Shelf, default_shelf
from napari_nucleus.widgets.adopting import Adoption
from napari_nucleus.widgets.annotation import Annotation
from napari_nucleus.widgets.exported_nuclei import EVERYTHING, ExportedNuclei
from napari_nucleus.widgets.exporting import Exporting
from napari_nucleus.widgets.extents import (
    Extent,
    Where,
    drawn_extent,
    view_extent,
    whole_extent,
)
from napari_nucleus.widgets.importing import Importing
from napari_nucleus.widgets.keeping import Keeping
from napari_nucleus.widgets.keys import KeyBinder, key_card
from napari_nucleus.widgets.layers import (
    layer_mpp,
    layer_source,
    role_of,
)
from napari_nucleus.widgets.models import AppModels
from napari_nucleus.widgets.opening import Opening
from napari_nucleus.widgets.pointer import Pointer
from napari_nucleus.widgets.points_first import PointsFirst
from napari_nucleus.widgets.prefetching import Prefetching
from napari_nucleus.widgets.regions import RegionTools
from napari_nucleus.widgets.resuming import Resuming
from napari_nucleus.widgets.runs import Runs
from napari_nucleus.widgets.series_walk import SeriesWalk
from napari_nucleus.widgets.stepping import BUSY, Stepping
from napari_nucleus.widgets.text_answers import TextAnswers

if TYPE_CHECKING:
    from napari.viewer import Viewer

__all__ = ["Workspace"]

LOOKING = ("fill", "hide", "agreement", "table", "entropy", "undo", "redo", "help")
"""Keys that do something where clicks do not correct nuclei."""


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
    table_asked, entropy_asked
        Emitted when the user wants to see the table of nuclei or the entropy map, or no longer.
    export_asked
        Emitted with the ids of nuclei that the user wants to export, and no others.
    """

    said = Signal(str)
    warned = Signal(str)
    annotation_changed = Signal()
    document_changed = Signal()
    progressed = Signal(object)
    table_asked = Signal()
    entropy_asked = Signal()
    export_asked = Signal(tuple)

    def __init__(
        self, viewer: Viewer, models: AppModels | None = None, shelf: Shelf | None = None
    ) -> None:
        self.viewer = viewer
        self.models = models or AppModels()
        self.annotation: Annotation | None = None
        self.runs = Runs(self)
        self._rescheming: Stepping | None = None
        self.keeping = Keeping(shelf or default_shelf())
        self.keeping.warned.connect(self._warn)
        self.keeping.said.connect(self._say)
        self.models.choose(self.keeping.preferences.automatic_model)
        self.models.choose_clicks(self.keeping.preferences.click_model)
        self.opening = Opening(self)
        self.resuming = Resuming(viewer, self.keeping)
        self.series = SeriesWalk(self)
        self.exporting = Exporting()
        self.exporting.warned.connect(self._warn)
        self.exporting.said.connect(self._say)
        self.importing = Importing(self)
        self.regions = RegionTools(self)
        self.words = TextAnswers(self)
        self.points = PointsFirst(self)
        self._pointer = Pointer(viewer, self._annotation_if_shown)
        self._keys: KeyBinder | None = None
        self._switching = self._looking = False
        self.prefetching = Prefetching(self)
        self._document_timer = QTimer()
        self._document_timer.setSingleShot(True)
        self._document_timer.setInterval(0)
        self._document_timer.timeout.connect(lambda: self.document_changed.emit())
        viewer.layers.events.removed.connect(self._on_layer_removed)
        self.models.clicks.start()

    def close(self) -> None:
        """Let go of the viewer and end the models' processes."""
        self.prefetching.close()
        self.exporting.close()
        self.importing.close()
        self.opening.close()
        self.series.close()
        self.disarm()
        self.runs.close()
        self.words.close()
        self.points.close()
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
            armed, looking = self.armed, self._looking
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
        elif looking:
            self.look()
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
        self.prefetching.schedule()

    def _leave_image(self) -> None:
        self.regions.finish()
        annotation, self.annotation = self.annotation, None
        if annotation is None:
            return
        self.runs.stop()
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
        self._bind(self._handlers())
        self.prefetching.schedule()

    def _bind(self, handlers: Mapping[str, Callable[[], None]]) -> None:
        """Let these keys do something, and no others."""
        if self._keys is not None:
            self._keys.unbind()
            self._keys = None
        if handlers:
            self._keys = KeyBinder(self.viewer, handlers)
            self._keys.bind()

    def look(self) -> None:
        """Let keys that show something do so, and no click correct anything."""
        self.disarm()
        handlers = self._handlers()
        self._bind({name: handlers[name] for name in LOOKING})
        self._looking = True

    def disarm(self) -> None:
        """Give mouse and keys back to napari."""
        self._bind({})
        self._looking = False
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
            "delete": of_annotation(lambda a: a.reviewing.delete()),
            "next_doubtful": of_annotation(lambda a: a.reviewing.next()),
            "previous_doubtful": of_annotation(lambda a: a.reviewing.next(forward=False)),
            "accept": of_annotation(lambda a: a.reviewing.accept()),
            "sign_off_view": self.regions.sign_off_view,
            "lift_region": self.regions.lift_under_pointer,
            "brush": of_annotation(lambda a: a.by_hand.take_brush(erases=False)),
            "eraser": of_annotation(lambda a: a.by_hand.take_brush(erases=True)),
            "choose_like": of_annotation(lambda a: a.by_hand.choose_like_selected()),
            "fill_holes": of_annotation(lambda a: a.by_hand.fill_holes()),
            "smooth": of_annotation(lambda a: a.by_hand.smooth()),
            "fill": of_annotation(Annotation.toggle_fill),
            "hide": of_annotation(Annotation.toggle_hidden),
            "agreement": of_annotation(lambda a: a.opinion.toggle()),
            "table": lambda: self.table_asked.emit(),
            "entropy": lambda: self.entropy_asked.emit(),
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

    # ---- models

    def choose_model(self, name: str) -> None:
        """Let a model find the nuclei from now on, also when the app is opened again."""
        self.models.choose(name)
        self.keeping.preferences.automatic_model = self.models.automatic.name

    def choose_click_model(self, name: str) -> None:
        """Let a model answer clicks from now on, also when the app is opened again."""
        self.models.choose_clicks(name)
        self.keeping.preferences.click_model = self.models.clicks.name
        self.models.clicks.start()
        if self.annotation is not None:
            self.annotation.answer_with(self.models.clicks)
            self.prefetching.schedule()

    def worked_on(self) -> Annotation:
        """Return what is worked on; ImageError if there is no image."""
        if self.annotation is None:
            raise ImageError("Open an image first.")
        return self.annotation

    def extent(self, where: Where) -> Extent:
        """Return a part of the image, to let a model work there.

        Raises
        ------
        ImageError
            If there is no image, or nothing is drawn; while the size of a pixel is unknown it is
            estimated, and the user asked for it.
        """
        annotation = self.worked_on()
        if where == "region":
            layer = self.regions.drawing()
            if layer is None:
                raise ImageError("Draw a region first: press Draw… and click its corners.")
            layer.mode = "pan_zoom"
            extent = drawn_extent(annotation, layer)
        else:
            extent = (view_extent if where == "view" else whole_extent)(annotation)
        if annotation.mpp is None:
            if annotation.estimated_mpp is None:
                annotation.estimate_mpp()
            raise ImageError(
                "How large are the pixels? State µm/px above, or take the estimate that appears "
                "there; then press this again."
            )
        return extent

    def at_rest(self) -> Annotation:
        """Return what is worked on; ImageError while a long change is being made, too."""
        annotation = self.worked_on()
        if annotation.busy or self._rescheming is not None:
            raise ImageError(BUSY)
        return annotation

    # ---- classes

    def change_scheme(self, scheme: ClassScheme) -> Stepping:
        """Return the change to another class scheme, which is to be started.

        Until it has ended, nothing else may change the document; clicks that are not answered yet
        are given up.
        """
        annotation = self.at_rest()
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
        adoption = Adoption(self.at_rest(), labels)
        adoption.finished.connect(self._on_adopted)
        adoption.failed.connect(self._warn)
        adoption.start()
        return adoption

    def _on_adopted(self, message: str) -> None:
        if self.annotation is not None:
            self.annotation.reviewing.queue.renew()
        self.said.emit(message)

    # ---- export

    def export(
        self,
        folder: Path,
        stem: str,
        formats: Collection[str],
        nuclei: ExportedNuclei = EVERYTHING,
        simplify: bool = False,
    ) -> None:
        """Write the document's files, some of `io.export.WRITTEN`; returns at once.

        Raises
        ------
        ImageError
            If there is nothing to export, or an export is going on already.
        """
        project = self.keeping.project
        path = None if project is None else project.path
        self.exporting.begin(self.worked_on(), path, folder, stem, formats, nuclei, simplify)
