"""Commands of napari's File menu: they open the dialogs of the dock, and the dock itself."""

from __future__ import annotations

import napari.viewer

from napari_nucleus.widgets.dock import NucleusDock

__all__ = ["export_nuclei", "import_nuclei"]

DOCK = ("napari-nucleus", "Segment and correct nuclei")


def export_nuclei(viewer: napari.viewer.Viewer) -> None:
    """Ask what to export."""
    _dock_in(viewer).footer.open_export()


def import_nuclei(viewer: napari.viewer.Viewer) -> None:
    """Ask what to import."""
    _dock_in(viewer).footer.open_import()


def _dock_in(viewer: napari.viewer.Viewer) -> NucleusDock:
    for widget in viewer.window.dock_widgets.values():
        if isinstance(widget, NucleusDock):
            return widget
    return viewer.window.add_plugin_dock_widget(*DOCK)[1]
