"""Opens napari with an image and the dock, from the command line."""

from __future__ import annotations

import napari

from napari_nucleus.core.image import ArraySource, ImageSource
from napari_nucleus.widgets.dock import NucleusDock
from napari_nucleus.widgets.layers import show_source

__all__ = ["launch", "open_viewer"]


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
    loaded = ArraySource(source.read((0, 0, *source.shape)), source.mpp, name)
    viewer = napari.Viewer(title="napari-nucleus")
    image = show_source(viewer, loaded, name, path)
    dock = NucleusDock(viewer)
    viewer.window.add_dock_widget(dock, name="Nuclei", area="right")
    dock.work_on(image)
    if note:
        dock.workspace.warned.emit(note)
    return viewer, dock


def launch(source: ImageSource, name: str, path: str = "", note: str = "") -> None:
    """Open the app on an image and run it until its window is closed; see `open_viewer`."""
    open_viewer(source, name, path, note)
    napari.run()
