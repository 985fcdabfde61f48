"""The run of a model on the image that is worked on; one at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from napari_nucleus.core.progress import Progress
from napari_nucleus.errors import ImageError
from napari_nucleus.session.points_book import PointBook
from napari_nucleus.session.regions import Ground
from napari_nucleus.session.text_search import TextSearch
from napari_nucleus.widgets.comparing import ComparisonRun
from napari_nucleus.widgets.extents import Extent
from napari_nucleus.widgets.layers import visible_box
from napari_nucleus.widgets.model import AppModel
from napari_nucleus.widgets.points_run import OutlinesRun, PointsRun
from napari_nucleus.widgets.segmenting import Segmentation
from napari_nucleus.widgets.text_run import TextRun
from napari_nucleus.widgets.tile_run import ModelRun

if TYPE_CHECKING:
    from napari_nucleus.widgets.workspace import Workspace

__all__ = ["Runs"]

R = TypeVar("R", bound=ModelRun)


class Runs:
    """Starts and ends runs for a workspace, which tells how they get on.

    Attributes
    ----------
    current
        The run begun last, which may have ended; None before the first.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self.current: ModelRun | None = None

    @property
    def running(self) -> bool:
        """True while a model is at work."""
        return self.current is not None and self.current.running

    def segment(self, extent: Extent) -> Segmentation:
        """Find every nucleus of a part of the image; returns at once.

        Raises
        ------
        ImageError
            If a run is going on already, or all of it is excluded or signed off.
        """
        workspace = self._workspace
        run = self._prepare(Segmentation, workspace.models.automatic, extent)

        def on_finished(message: str) -> None:
            workspace.progressed.emit(None)
            if workspace.annotation is not None:
                workspace.annotation.reviewing.queue.renew()
            workspace.said.emit(message)
            workspace.prefetching.schedule()

        run.finished.connect(on_finished)
        run.start()
        return run

    def compare(self, model: AppModel, extent: Extent) -> ComparisonRun:
        """Compare the nuclei of a part of the image with what a model finds there.

        Returns at once. Nothing changes but what nuclei know of the agreement.

        Raises
        ------
        ImageError
            As `segment`.
        """
        workspace = self._workspace
        annotation = workspace.at_rest()
        run = self._prepare(ComparisonRun, model, extent)

        def on_finished(message: str) -> None:
            workspace.progressed.emit(None)
            workspace.said.emit(message)
            comparison = run.comparison
            if comparison is not None and workspace.annotation is annotation:
                annotation.opinion.conclude(comparison)
            workspace.prefetching.schedule()

        run.finished.connect(on_finished)
        run.start()
        return run

    def ask(
        self,
        model: AppModel,
        extent: Extent,
        search: TextSearch,
        texts: Sequence[str],
        then: Callable[[], None],
    ) -> TextRun:
        """Let a model look for what a text means; returns at once and changes nothing.

        Parameters
        ----------
        search
            Takes in what it finds.
        texts
            The text, and other wordings of it.
        then
            Called once it has looked everywhere; not if it was cancelled.

        Raises
        ------
        ImageError
            As `segment`.
        """
        workspace = self._workspace
        run = self._prepare(lambda *arguments: TextRun(search, texts, *arguments), model, extent)

        def on_finished(message: str) -> None:
            workspace.progressed.emit(None)
            workspace.said.emit(message)
            if run.complete:
                then()
            workspace.prefetching.schedule()

        run.finished.connect(on_finished)
        run.start()
        return run

    def find_points(self, model: AppModel, extent: Extent, book: PointBook) -> PointsRun:
        """Let a model find nuclei as points; returns at once and changes no nucleus.

        Parameters
        ----------
        book
            Takes in what it finds.

        Raises
        ------
        ImageError
            As `segment`.
        """
        run = self._prepare(lambda *arguments: PointsRun(book, *arguments), model, extent)
        run.finished.connect(self._on_finished)
        run.start()
        return run

    def outline(
        self, model: AppModel, extent: Extent, book: PointBook, then: Callable[[], None]
    ) -> OutlinesRun:
        """Let a model outline the points that have no outline yet; returns at once.

        Parameters
        ----------
        book
            The points.
        then
            Called once all are outlined; not if it was cancelled.

        Raises
        ------
        ImageError
            As `segment`.
        """
        run = self._prepare(lambda *arguments: OutlinesRun(book, *arguments), model, extent)

        def on_finished(message: str) -> None:
            self._on_finished(message)
            if run.complete:
                then()

        run.finished.connect(on_finished)
        run.start()
        return run

    def _on_finished(self, message: str) -> None:
        self._workspace.progressed.emit(None)
        self._workspace.said.emit(message)
        self._workspace.prefetching.schedule()

    def cancel(self) -> None:
        """Stop the run that is going on."""
        if self.current is not None and self.current.running:
            self.current.cancel()

    def stop(self) -> None:
        """Stop it before its image is left."""
        if self.current is not None and self.current.running:
            self.current.stop()

    def close(self) -> None:
        """Tell nothing more: whoever shows it may be gone already."""
        if self.current is not None:
            self.current.progressed.disconnect()
            self.current.finished.disconnect()

    def _prepare(self, kind: Callable[..., R], model: AppModel, extent: Extent) -> R:
        workspace = self._workspace
        annotation = workspace.at_rest()
        if self.running:
            raise ImageError("A model is at work on this image; cancel that first.")
        if not Ground(extent.polygons, annotation.document.regions).meets(extent.box):
            raise ImageError(
                f"All of the {extent.name} is excluded or signed off, and models leave that alone. "
                "Lift a region first (Lift in the Correct tab)."
            )
        visible = visible_box(annotation.image)
        centre = ((visible[0] + visible[2]) / 2, (visible[1] + visible[3]) / 2)
        alike = workspace.models.alike(annotation.document.scheme)
        self.current = run = kind(annotation, model, extent, visible, centre, alike)
        run.progressed.connect(self._on_progress)
        return run

    def _on_progress(self, report: Progress) -> None:
        self._workspace.progressed.emit(report)
