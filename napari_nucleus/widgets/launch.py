"""Opens napari with an image and the dock, from the command line."""

from __future__ import annotations

import napari

from napari_nucleus.core.image import ImageSource
from napari_nucleus.widgets.dock import NucleusDock

__all__ = ["launch", "open_viewer"]


def open_viewer(source: ImageSource, name: str) -> tuple[napari.Viewer, NucleusDock]:
    """Return a viewer that shows an image, with the dock working on it."""
    viewer = napari.Viewer(title="napari-nucleus")
    scale = {} if source.mpp is None else {"scale": (source.mpp,) * 2, "units": ("µm", "µm")}
    image = viewer.add_image(source.read((0, 0, *source.shape)), name=name, rgb=True, **scale)
    if source.mpp is not None:
        viewer.canvas.overlays.scale_bar.visible = True
    dock = NucleusDock(viewer)
    viewer.window.add_dock_widget(dock, name="Nuclei", area="right")
    dock.work_on(image)
    return viewer, dock


def launch(source: ImageSource, name: str) -> None:
    """Open the app on an image and run it until its window is closed."""
    open_viewer(source, name)
    napari.run()
