"""Going through the images of a folder: one is open, the others are a key away."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari.layers import Image
from psygnal import Signal

from napari_nucleus.core.nuclei import counted
from napari_nucleus.errors import ProjectError
from napari_nucleus.io.images import IMAGE_SUFFIXES
from napari_nucleus.session.reading import ProjectSummary, peek
from napari_nucleus.session.series import Series
from napari_nucleus.widgets.background import in_background
from napari_nucleus.widgets.keys import KeyBinder
from napari_nucleus.widgets.layers import role_of
from napari_nucleus.widgets.project_images import LoadedImage

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_nucleus.widgets.workspace import Workspace

__all__ = ["SeriesWalk"]


class SeriesWalk:
    """The folder that is gone through in one viewer.

    Attributes
    ----------
    changed
        Emitted when another folder or image is open or being read, or more is known of them.
    series
        The images; None before a folder is opened.
    at
        The place of the image that is open in the series, or None.
    wanted
        The place of the image that is being read, or None.
    """

    changed = Signal()

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self.series: Series | None = None
        self.at: int | None = None
        self.wanted: int | None = None
        self._mpp: float | None = None
        self._layer: Image | None = None
        self._known: dict[Path, ProjectSummary] = {}
        self._keys: KeyBinder | None = None
        self._closed = False

    def open(self, folder: Path, mpp: float | None = None) -> None:
        """Go through the images of a folder, from the one where it was left; returns at once.

        Parameters
        ----------
        mpp
            µm per pixel of all of them, if the user knows better than the files.
        """
        shelf = self._workspace.keeping.shelf

        def look() -> tuple[Series, int]:
            series = Series.of_folder(folder.resolve(), IMAGE_SUFFIXES)
            return series, shelf.positions.of(series)

        def begin(found: tuple[Series, int]) -> None:
            if self._closed:
                return
            self.series, first = found
            self.at, self._mpp, self._known = None, mpp, {}
            if self._keys is None:
                handlers = {"previous_image": self.previous, "next_image": self.next}
                self._keys = KeyBinder(self._workspace.viewer, handlers)
                self._keys.bind()
            self._look_at_projects(self.series)
            self._read(first, [*range(first + 1, len(self.series)), *range(first - 1, -1, -1)])

        in_background(look, begin, lambda error: self._workspace.warned.emit(str(error)))

    def next(self) -> None:
        """Put the image away and open the next one."""
        self._step(forward=True)

    def previous(self) -> None:
        """Put the image away and open the one before."""
        self._step(forward=False)

    def go(self, index: int) -> None:
        """Put the image away and open this one of the series."""
        self._read(index, [])

    def about(self, index: int) -> str:
        """Return what is known of an image of the series, in words; else ""."""
        if self.series is None:
            return ""
        if index in self.series.unreadable:
            return "cannot be read"
        known = self._known.get(self.series.files[index])
        if known is None or not known.nuclei:
            return ""
        return f"{counted(known.nuclei)}, {known.looked_at:,} looked at"

    def close(self) -> None:
        """Give the keys back, and let what is not known yet come too late."""
        self._closed = True
        self.changed.disconnect()
        if self._keys is not None:
            self._keys.unbind()
            self._keys = None

    def _step(self, forward: bool) -> None:
        series, here = self.series, self.at if self.wanted is None else self.wanted
        if series is None or here is None:
            return
        index = series.after(here, forward)
        if index is None:
            which = "last" if forward else "first"
            self._workspace.said.emit(f"This is the {which} image of {series.folder.name}.")
            return
        others = range(index + 1, len(series)) if forward else range(index - 1, -1, -1)
        self._read(index, list(others))

    def _read(self, index: int, others: list[int]) -> None:
        """Read an image; where it cannot be read, the first of these others that can."""
        series = self.series
        assert series is not None
        self.wanted = index
        self._workspace.opening.image(
            series.files[index],
            self._mpp,
            partial(self._show, series, index),
            partial(self._pass_over, series, index, others),
        )
        self.changed.emit()

    def _pass_over(
        self, series: Series, index: int, others: list[int], error: BaseException
    ) -> None:
        series.unreadable[index] = str(error)
        left = [i for i in others if i not in series.unreadable]
        passed = " It is passed over." if left else ""
        self._workspace.warned.emit(f"{error}{passed}")
        self.wanted = None
        if left:
            self._read(left[0], left[1:])
        else:
            self.changed.emit()

    def _show(self, series: Series, index: int, loaded: LoadedImage) -> None:
        workspace = self._workspace
        before, layer = workspace.annotation, self._layer
        project = workspace.keeping.project
        series.unreadable.pop(index, None)
        self.at, self.wanted = index, None
        self._layer = workspace.opening.show(loaded, loaded.file.stem)
        # What was drawn on the image goes with it.
        layers = [] if layer is None or layer not in workspace.viewer.layers else [layer]
        if before is not None and before.image is layer:
            layers += [x for x in workspace.viewer.layers if _document_of(x) == before.key]
        for old in layers:
            workspace.viewer.layers.remove(old)
        if workspace.annotation is None or not workspace.resuming.resume(workspace.annotation):
            workspace.viewer.reset_view()
        workspace.keeping.shelf.positions.note(series, index)
        if project is not None:
            self._look_again(project.path)
        self.changed.emit()

    # ---- what is known of the others

    def _look_at_projects(self, series: Series) -> None:
        shelf = self._workspace.keeping.shelf

        def on_known(known: dict[Path, ProjectSummary]) -> None:
            if self.series is series:
                self._known = known | self._known
                self.changed.emit()

        in_background(lambda: shelf.about(series.files), on_known, lambda _: None)

    def _look_again(self, project: Path) -> None:
        """Learn how far the annotation of an image is that was just put away."""
        series = self.series

        def look() -> ProjectSummary | None:
            try:
                return peek(project)
            except ProjectError:  # one in which nothing was done leaves no file
                return None

        def on_known(known: ProjectSummary | None) -> None:
            if known is not None and self.series is series:
                self._known[Path(known.image.path)] = known
                self.changed.emit()

        in_background(look, on_known, lambda _: None)


def _document_of(layer: Layer) -> str | None:
    """Return the key of the document that a layer of ours belongs to."""
    role = role_of(layer)
    return None if role is None else role[0]
