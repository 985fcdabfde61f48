"""Going on with a project: those used last, or a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QGroupBox,
    QHBoxLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_nucleus.core.nuclei import counted
from napari_nucleus.widgets.project_dialog import ProjectDialog

if TYPE_CHECKING:
    from napari_nucleus.widgets.workspace import Workspace

__all__ = ["RecentBox"]


class RecentBox(QGroupBox):
    """The projects used last, buttons for any other and for a folder of images."""

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__("Or open a project or a folder", parent)
        self._workspace = workspace
        self.recents = QComboBox()
        self.recents.setToolTip("Projects used last")
        self.recents.setMinimumContentsLength(12)
        self.recents.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.go_on = QPushButton("Open")
        self.go_on.setToolTip("Open this project and its image")
        self.other = QPushButton("Other…")
        self.other.setToolTip("Open a project from a file")
        self.folder = QPushButton("Open folder…")
        self.folder.setToolTip("Go through the images of a folder, one after the other")
        line = QHBoxLayout()
        line.addWidget(self.recents, 1)
        line.addWidget(self.go_on)
        line.addWidget(self.other)
        lines = QVBoxLayout(self)
        lines.addLayout(line)
        lines.addWidget(self.folder)
        self.go_on.clicked.connect(
            lambda: workspace.opening.project(Path(self.recents.currentData()))
        )
        self.folder.clicked.connect(self._on_folder)
        self.other.clicked.connect(self._on_other)
        workspace.keeping.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """List the projects anew."""
        self.recents.clear()
        for recent in self._workspace.keeping.recents():
            day, time = recent.used[:10], recent.used[11:16]
            text = f"{recent.image}: {counted(recent.nuclei)}, {day} {time}"
            self.recents.addItem(text, recent.path)
        self.go_on.setEnabled(self.recents.count() > 0)

    def _on_other(self) -> None:
        dialog = ProjectDialog.to_open(self)
        dialog.chosen.connect(self._workspace.opening.project)
        dialog.open()

    def _on_folder(self) -> None:
        dialog = QFileDialog(self, "Open a folder of images", str(Path.home()))
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        dialog.fileSelected.connect(lambda folder: self._workspace.series.open(Path(folder)))
        dialog.open()
