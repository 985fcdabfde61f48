"""Opens napari with an image and the dock, from the command line."""

from __future__ import annotations

import napari

from napari_nucleus.core.image import ImageSource
from napari_nucleus.widgets.dock import NucleusDock

__all__ = ["launch", "open_viewer"]


def open_viewer(
    source: ImageSource, name: str, note: str = ""
) -> tuple[napari.Viewer, NucleusDock]:
    """Return a viewer that shows an image, with the dock working on it.

    ``note`` is what the user should be told of the file.

    Raises
    ------
    ImageError
        If the pixels cannot be read; no window has opened then.
    """
    pixels = source.read((0, 0, *source.shape))
    viewer = napari.Viewer(title="napari-nucleus")
    scale = {} if source.mpp is None else {"scale": (source.mpp,) * 2, "units": ("µm", "µm")}
    image = viewer.add_image(pixels, name=name, rgb=True, **scale)
    if source.mpp is not None:
        viewer.canvas.overlays.scale_bar.visible = True
    dock = NucleusDock(viewer)
    viewer.window.add_dock_widget(dock, name="Nuclei", area="right")
    dock.work_on(image)
    if note:
        dock.workspace.warned.emit(note)
    return viewer, dock


def launch(source: ImageSource, name: str, note: str = "") -> None:
    """Open the app on an image and run it until its window is closed; see `open_viewer`."""
    open_viewer(source, name, note)
    napari.run()
