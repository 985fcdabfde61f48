"""The dock: header, tabs, footer; and how they follow the viewer."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari.viewer
from napari.utils.notifications import show_warning
from qtpy.QtCore import QTimer
from qtpy.QtGui import QCloseEvent, QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QLineEdit, QTabWidget, QVBoxLayout, QWidget

from napari_nucleus.sample_data.fields import crypts
from napari_nucleus.widgets.comparing import ComparisonRun
from napari_nucleus.widgets.correct_tab import CorrectTab
from napari_nucleus.widgets.footer import Footer
from napari_nucleus.widgets.header import Header
from napari_nucleus.widgets.image_question import ImageQuestion
from napari_nucleus.widgets.measure_tab import MeasureTab
from napari_nucleus.widgets.napari_files import holds_nuclei
from napari_nucleus.widgets.nuclei_table import NucleiTable
from napari_nucleus.widgets.segment_tab import SegmentTab
from napari_nucleus.widgets.segmenting import Segmentation
from napari_nucleus.widgets.text_tab import TextTab
from napari_nucleus.widgets.workspace import Workspace

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_nucleus.session.shelf import Shelf
    from napari_nucleus.widgets.models import AppModels
    from napari_nucleus.widgets.project_images import ChangedImage, MovedImage

__all__ = ["NucleusDock"]


class NucleusDock(QWidget):
    """Segment and correct the nuclei of an image.

    Parameters
    ----------
    viewer
        The viewer that the dock belongs to.
    models
        The models in their processes; by default the bundled ones.
    shelf
        Where projects without a name are kept; by default in the user's data folder.
    """

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        models: AppModels | None = None,
        shelf: Shelf | None = None,
    ) -> None:
        super().__init__()
        self.workspace = Workspace(viewer, models, shelf)
        self.header = Header(self.workspace)
        self.segment_tab = SegmentTab(self.workspace)
        self.correct_tab = CorrectTab(self.workspace)
        self.text_tab = TextTab(self.workspace)
        self.measure_tab = MeasureTab(self.workspace)
        self.footer = Footer(self.workspace)
        self.tabs = QTabWidget()
        self.tabs.addTab(self.segment_tab, "Segment")
        self.tabs.addTab(self.correct_tab, "Correct")
        self.tabs.addTab(self.text_tab, "Text")
        self.tabs.addTab(self.measure_tab, "Measure")
        layout = QVBoxLayout(self)
        layout.addWidget(self.header)
        layout.addWidget(self.tabs, 1)
        layout.addWidget(self.footer)
        self.setMinimumWidth(320)
        self.setAcceptDrops(True)
        for field in self.findChildren(QLineEdit):
            # A field would take a dropped file's name for text.
            field.setAcceptDrops(False)

        self._viewer = viewer
        self.tabs.currentChanged.connect(self._on_tab)
        self.workspace.resuming.tab = self.tabs.tabText(0)
        self.workspace.resuming.tab_wanted.connect(self._show_tab)
        self.workspace.opening.asked.connect(self._on_question)
        self.measure_tab.correct.toggled.connect(lambda _: self._on_measure_tab())
        self.segment_tab.sample.clicked.connect(self._on_sample)
        self.workspace.warned.connect(show_warning)
        self.workspace.progressed.connect(self._on_progress)
        self.table = NucleiTable(self.workspace)
        self.workspace.table_asked.connect(self.toggle_table)
        self.workspace.entropy_asked.connect(self.measure_tab.toggle_entropy)
        self.workspace.export_asked.connect(self.footer.open_export)
        events = viewer.layers.events
        self._events = (events.inserted, events.removed, events.reordered)
        for event in self._events:
            event.connect(self._on_layers)
        self._closed = False
        self.destroyed.connect(lambda: self._let_go())
        self._on_layers()

    def work_on(self, image: Image) -> None:
        """Make an image layer the one that is worked on."""
        self.header.choose(image)

    def toggle_table(self) -> None:
        """Show the table of nuclei below the canvas, or put it away."""
        docked = self.table.parentWidget()
        if docked is None:
            self._viewer.window.add_dock_widget(
                self.table, name="Table of nuclei", area="bottom", add_vertical_stretch=False
            )
            self.table.show()
        else:
            docked.setVisible(docked.isHidden())

    def _close_table(self) -> None:
        # The window may be gone before the dock is.
        with contextlib.suppress(LookupError, RuntimeError):
            self.table.let_go()
            if self.table.parentWidget() is not None:
                self._viewer.window.remove_dock_widget(self.table)
            self.table.deleteLater()

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """End the models' processes and give mouse and keys back."""
        self._let_go()
        super().closeEvent(event)

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        """Take files of nuclei; all others are napari's."""
        if event is not None and _dropped(event) is not None:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        """Ask what to do with the nuclei of a file."""
        path = None if event is None else _dropped(event)
        if event is not None and path is not None:
            event.acceptProposedAction()
            # The drop must have ended before a dialog opens.
            QTimer.singleShot(0, lambda: self.footer.open_import(path))

    def _let_go(self) -> None:
        if not self._closed:
            self._closed = True
            for event in self._events:
                event.disconnect(self._on_layers)
            self._close_table()
            self.measure_tab.let_go()
            self.workspace.close()

    def _on_layers(self, _: Any = None) -> None:
        self.header.reset_choices()
        self.segment_tab.reset_choices()

    def _show_tab(self, name: str) -> None:
        names = [self.tabs.tabText(i) for i in range(self.tabs.count())]
        if name in names:
            self.tabs.setCurrentIndex(names.index(name))

    def _on_question(self, question: MovedImage | ChangedImage) -> None:
        ImageQuestion(question, self.workspace.opening, self).open()

    def _on_tab(self, index: int) -> None:
        self.workspace.resuming.tab = self.tabs.tabText(index)
        if self.tabs.widget(index) is not self.segment_tab:
            self.workspace.points.rest()
        if self.tabs.widget(index) is self.correct_tab:
            self.workspace.arm()
        elif self.tabs.widget(index) is self.measure_tab:
            self._on_measure_tab()
        else:
            self.workspace.disarm()

    def _on_measure_tab(self) -> None:
        if self.measure_tab.correct.isChecked():
            self.workspace.arm()
        else:
            self.workspace.look()

    def _on_progress(self, report: object) -> None:
        """Turn to Correct when a segmentation begins: its nuclei can be corrected as they come."""
        changing = isinstance(self.workspace.runs.current, Segmentation | ComparisonRun)
        if report is not None and changing and self.tabs.currentWidget() is self.segment_tab:
            self.tabs.setCurrentWidget(self.correct_tab)

    def _on_sample(self) -> None:
        rgb, arguments, _ = crypts()[0]
        self.work_on(self._viewer.add_image(rgb, **arguments))
        self.segment_tab.whole.setChecked(True)
        self.segment_tab.segment.click()


def _dropped(event: QDropEvent) -> Path | None:
    """Return the file of nuclei that is dropped; None if it is another one, or several."""
    mime = event.mimeData()
    urls = [] if mime is None else mime.urls()
    if len(urls) != 1 or not urls[0].isLocalFile():
        return None
    path = Path(urls[0].toLocalFile())
    return path if holds_nuclei(path, look=False) else None
