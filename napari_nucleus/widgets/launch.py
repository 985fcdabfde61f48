"""Opens napari with the dock on an image, a project or a folder, from the command line."""

from __future__ import annotations

from pathlib import Path

import napari

from napari_nucleus.core.image import ImageSource
from napari_nucleus.widgets.dock import NucleusDock
from napari_nucleus.widgets.layers import show_source
from napari_nucleus.widgets.project_images import ready_to_show

__all__ = ["launch", "launch_folder", "launch_project", "open_viewer"]


def open_viewer(
    source: ImageSource, name: str, path: str = "", note: str = ""
) -> tuple[napari.Viewer, NucleusDock]:
    """Return a viewer that shows an image, with the dock working on it.

    ``path`` is the image's file, ``note`` what the user should be told of it.

    Raises
    ------
    ImageError
        If the pixels cannot be read; no window has opened then.
    """
    loaded = ready_to_show(source, name)
    viewer = napari.Viewer(title="napari-nucleus")
    image = show_source(viewer, loaded, name, path)
    dock = _docked(viewer)
    dock.work_on(image)
    if note:
        dock.workspace.warned.emit(note)
    return viewer, dock


def launch(source: ImageSource, name: str, path: str = "", note: str = "") -> None:
    """Open the app on an image and run it until its window is closed; see `open_viewer`."""
    open_viewer(source, name, path, note)
    napari.run()


def launch_project(project: Path) -> None:
    """Open the app on a project and its image, which it asks for where it has to; run it."""
    _docked(napari.Viewer(title="napari-nucleus")).workspace.opening.project(project)
    napari.run()


def launch_folder(folder: Path, mpp: float | None = None) -> None:
    """Open the app on the images of a folder and run it; ``mpp`` as stated by the user."""
    _docked(napari.Viewer(title="napari-nucleus")).workspace.series.open(folder, mpp)
    napari.run()


def _docked(viewer: napari.Viewer) -> NucleusDock:
    dock = NucleusDock(viewer)
    viewer.window.add_dock_widget(dock, name="Nuclei", area="right")
    return dock
